//! What the demo prints, a step each.

use serde::Serialize;

use crate::units::human;

/// One step of the demo, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The nodes listen.
    Started {
        /// How many.
        nodes: usize,
        /// Members at which a subgroup is full.
        subgroup_size: usize,
    },
    /// All nodes are on one ring with their paths ready.
    Ready {
        /// How many.
        nodes: usize,
        /// Subgroups.
        subgroups: usize,
        /// Since the first node started.
        milliseconds: u64,
    },
    /// A leader has the publication.
    Published {
        /// Number of the node.
        node: usize,
        /// The link.
        link: String,
        /// Size of the file.
        bytes: u64,
    },
    /// The file was found from another subgroup.
    Found {
        /// Number of the node that asked.
        node: usize,
        /// The query.
        query: String,
        /// Leaders that answered.
        answered: u32,
        /// Leaders that were asked.
        asked: u32,
        /// From the question to the hit.
        milliseconds: u64,
    },
    /// The path that the download takes, as only this process can know it.
    Path(PathShown),
    /// A relay of that path was killed.
    Killed {
        /// Number of the node.
        node: usize,
        /// Bytes that were there by then.
        bytes: u64,
        /// Share of the file in percent.
        percent: u64,
    },
    /// The download goes on where it was.
    Restored {
        /// From the kill to the next byte.
        milliseconds: u64,
        /// Bytes that were there and stayed.
        kept: u64,
        /// The path it takes now.
        path: PathShown,
    },
    /// The file is there and is the same.
    Verified {
        /// Its size.
        bytes: u64,
        /// Its root, 64 hex digits.
        root: String,
    },
    /// The last line.
    Summary {
        /// Whether all of it held.
        ok: bool,
        /// Connections that a byte crossed from publisher to requester, on the path after the kill.
        hops: usize,
        /// Bytes a second after the kill, without a cap.
        bytes_per_second: u64,
        /// From the kill to the next byte.
        restore_milliseconds: u64,
        /// Bytes of the stream that leaders relayed.
        relayed_by_leaders: u64,
        /// Bytes that all relays together relayed.
        relayed: u64,
        /// What did not hold.
        failed: Vec<String>,
    },
}

/// A path, as only a process that runs all its nodes can know it. Nodes by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PathShown {
    /// Who fetches.
    pub requester: usize,
    /// Relays in the requester's subgroup, in no order; one that the path crosses twice stands here twice.
    pub requester_relays: Vec<usize>,
    /// Relays in the publisher's subgroup, likewise.
    pub publisher_relays: Vec<usize>,
    /// Who serves.
    pub publisher: usize,
}

impl PathShown {
    /// All relays.
    pub fn relays(&self) -> impl Iterator<Item = usize> + '_ {
        self.requester_relays.iter().chain(&self.publisher_relays).copied()
    }

    /// Connections from end to end.
    pub fn hops(&self) -> usize {
        self.relays().count().saturating_add(1)
    }

    fn text(&self) -> String {
        let list = |relays: &[usize]| {
            let names = relays.iter().map(|relay| format!("#{relay}"));
            names.collect::<Vec<_>>().join(" ")
        };
        format!(
            "#{} asks, relays {} in its subgroup and {} in that of #{}, who serves: {} hops",
            self.requester,
            list(&self.requester_relays),
            list(&self.publisher_relays),
            self.publisher,
            self.hops()
        )
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.2} s", std::time::Duration::from_millis(milliseconds).as_secs_f64())
}

impl Step {
    /// The step for people.
    pub fn text(&self) -> String {
        match self {
            Self::Started { nodes, subgroup_size } => format!(
                "started    {nodes} nodes that share nothing but loopback sockets, subgroups of at most {subgroup_size}"
            ),
            Self::Ready { nodes, subgroups, milliseconds } => format!(
                "ready      one ring of {nodes}, {subgroups} subgroups, paths built, after {}",
                seconds(*milliseconds)
            ),
            Self::Published { node, link, bytes } => {
                format!("published  {} by #{node}\n           {link}", human(*bytes))
            }
            Self::Found { node, query, answered, asked, milliseconds } => format!(
                "found      by #{node}, in another subgroup, asking for '{query}': {answered} of {asked} leaders answered, {}",
                seconds(*milliseconds)
            ),
            Self::Path(path) => format!("path       {}", path.text()),
            Self::Killed { node, bytes, percent } => {
                format!("killed     relay #{node} of that path, with {} ({percent} %) fetched", human(*bytes))
            }
            Self::Restored { milliseconds, kept, path } => format!(
                "restored   after {}, {} kept\npath       {}",
                seconds(*milliseconds),
                human(*kept),
                path.text()
            ),
            Self::Verified { bytes, root } => {
                format!("verified   {}, same bytes, root {root}", human(*bytes))
            }
            Self::Summary { ok, hops, bytes_per_second, restore_milliseconds, relayed_by_leaders, relayed, failed } => {
                let mut text = format!(
                    "{}         {hops} hops, {}/s, restored in {}, {} relayed in all, {relayed_by_leaders} bytes by leaders",
                    if *ok { "OK" } else { "NO" },
                    human(*bytes_per_second),
                    seconds(*restore_milliseconds),
                    human(*relayed),
                );
                for what in failed {
                    text.push_str(&format!("\n  did not hold: {what}"));
                }
                text
            }
        }
    }
}
