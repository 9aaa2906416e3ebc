//! What goes over the API, and what `--json` prints. Documented for users in `docs/json.md`.

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// `neblo status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program that runs the node.
    pub version: String,
    /// The node's libp2p identity.
    pub peer_id: String,
    /// Addresses others can join through, each with `/p2p/<peer id>`.
    pub listen_addrs: Vec<String>,
    /// Name of the network.
    pub network: String,
    /// Whether the node is on the ring and can publish and ask: paths that are not there yet are built when they are needed.
    pub ready: bool,
    /// Place on the ring, once subscribed.
    pub ring: Option<Ring>,
    /// The subgroup, once joined.
    pub subgroup: Option<Subgroup>,
    /// Publications that this node offers.
    pub publications: usize,
    /// Those of them that a leader has acknowledged.
    pub publications_held: usize,
    /// The node's own paths.
    pub paths: PathState,
    /// Peers among which this node hides.
    pub anonymity_set: usize,
    /// Peers connected now.
    pub connections: usize,
    /// Streams relayed for others now.
    pub relayed_streams: usize,
    /// Bytes relayed for others since the start.
    pub relayed_bytes: u64,
    /// Rows in the directory, as a leader.
    pub directory_rows: usize,
    /// Leaders known, as a leader.
    pub leaders: usize,
    /// What the node counts since its start: frames, their bytes by kind, drops, dials, violations.
    #[serde(default)]
    pub counters: std::collections::BTreeMap<String, u64>,
    /// Why a bootstrap address did not work, the latest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A place on the ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// The overlay address, 32 hex digits.
    pub address: String,
    /// The range owned.
    pub range: Range,
    /// Length of the successor list.
    pub successors: usize,
    /// Fingers known.
    pub fingers: usize,
}

/// Overlay addresses after `after` up to and with `to`, clockwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The last address before the range, 32 hex digits.
    pub after: String,
    /// The last address in it, 32 hex digits.
    pub to: String,
}

/// A subgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subgroup {
    /// Its id, 32 hex digits.
    pub id: String,
    /// What this node is in it.
    pub role: Role,
    /// Peer id of the leader.
    pub leader: Option<String>,
    /// Members, the leader included.
    pub members: usize,
    /// Its place among those who lead next, from 1; null for the leader.
    pub candidate: Option<usize>,
}

/// What a node is in its subgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It keeps the directory.
    Leader,
    /// It asks and is asked.
    Member,
}

/// Purposes of paths (`publishing`, `searching`, `downloading`) by state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathState {
    /// Ready to be used.
    pub ready: Vec<String>,
    /// Being built.
    pub building: Vec<String>,
    /// Built when they are needed, or at a moment of their own.
    #[serde(default)]
    pub later: Vec<String>,
}

/// `neblo paths`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paths {
    /// The node's own paths.
    pub own: PathState,
    /// Peers among which this node hides.
    pub anonymity_set: usize,
    /// Links of other peers' paths that this node relays.
    pub relayed_paths: usize,
    /// Streams relayed for others now.
    pub relayed_streams: usize,
    /// Bytes relayed for others since the start.
    pub relayed_bytes: u64,
    /// Paths lost and rebuilt since the start.
    pub lost: u64,
}

/// A line of `neblo peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The peer.
    pub peer_id: String,
    /// The address of its oldest connection.
    pub address: String,
    /// Which side dialled.
    pub direction: Direction,
    /// `tcp` or `quic`.
    pub transport: String,
    /// Connections to it.
    pub connections: u32,
    /// Seconds since the first of them.
    pub seconds: u64,
}

/// Which side dialled a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The other side.
    Inbound,
    /// This side.
    Outbound,
}

/// `neblo publish`: what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRequest {
    /// Absolute path of the file or folder.
    pub path: String,
    /// Name to publish under; the file's own by default.
    pub name: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<(String, String)>,
    /// Go on with fewer than four subgroup members.
    #[serde(default)]
    pub allow_weak: bool,
}

/// `neblo publish`: what comes back, a line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PublishEvent {
    /// Reading the source.
    Hashing {
        /// Bytes read.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Telling the leader.
    Announcing,
    /// A warning to show.
    Warning {
        /// Its text.
        message: String,
    },
    /// A leader has it. The last line.
    Published(Publication),
    /// It did not work. The last line.
    Error(Problem),
}

/// A publication, as `neblo publish` and `neblo list` print it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The `neblo:` link.
    pub link: String,
    /// Root of the content's tree, 64 hex digits.
    pub root: String,
    /// The published name.
    pub name: String,
    /// Size for the user.
    pub size: u64,
    /// Whether it is a folder.
    pub collection: bool,
    /// Where the source is.
    pub path: String,
    /// What has become of it.
    pub state: PublicationState,
    /// Why, if it is not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The day it expires on unless it is renewed, days since 1970.
    pub expiry_day: u32,
}

/// What has become of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicationState {
    /// A leader has it.
    Offered,
    /// It is being announced.
    Announcing,
    /// The source differs from what was published: it is not served.
    Changed,
    /// The source is gone: it is not served.
    Missing,
}

/// `neblo unpublish`: what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpublishRequest {
    /// A `neblo:` link or a root.
    pub target: String,
}

/// `neblo unpublish`: the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpublished {
    /// The roots that are no longer offered.
    pub unpublished: Vec<Publication>,
}

/// `neblo search`: what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchRequest {
    /// The query as typed.
    pub query: String,
    /// Most hits wanted.
    pub limit: usize,
    /// How long leaders are waited for, in milliseconds.
    pub timeout_ms: u64,
    /// Go on with fewer than four subgroup members.
    #[serde(default)]
    pub allow_weak: bool,
}

/// `neblo search`: what comes back, a line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum SearchEvent {
    /// A warning to show.
    Warning {
        /// Its text.
        message: String,
    },
    /// Something was found.
    Hit(SearchHit),
    /// How many leaders have answered so far.
    Answered {
        /// Leaders that answered.
        answered: u32,
        /// Leaders that were asked.
        asked: u32,
    },
    /// Nothing more will come. The last line.
    Done {
        /// Hits with different roots.
        hits: usize,
        /// Leaders that answered.
        answered: u32,
        /// Leaders that were asked.
        asked: u32,
        /// From the question to the last answer.
        milliseconds: u64,
    },
    /// It did not work. The last line.
    Error(Problem),
}

/// Something found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchHit {
    /// Published name.
    pub name: String,
    /// Size for the user.
    pub size: u64,
    /// Media type.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Whether it is a folder.
    pub collection: bool,
    /// Root of the content's tree, 64 hex digits.
    pub root: String,
    /// The `neblo:` link.
    pub link: String,
    /// Tags, by key.
    pub tags: std::collections::BTreeMap<String, String>,
}

/// `neblo get`: what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRequest {
    /// A `neblo:` link or a root.
    pub target: String,
    /// Absolute path to write to; a folder means "under its own name in there".
    pub output: String,
    /// Replace what is there.
    #[serde(default)]
    pub overwrite: bool,
    /// Go on with fewer than four subgroup members.
    #[serde(default)]
    pub allow_weak: bool,
}

/// `neblo get`: what comes back, a line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum GetEvent {
    /// A warning to show.
    Warning {
        /// Its text.
        message: String,
    },
    /// Publishers were found; the transfer has a number now.
    Started {
        /// Number of the transfer.
        transfer: u64,
        /// Name of the file or folder.
        name: String,
        /// Bytes there already from an earlier run.
        resumed: u64,
        /// Bytes in all.
        total: u64,
        /// Publications with this content.
        publishers: usize,
    },
    /// Bytes came in.
    Progress {
        /// Verified bytes on disk.
        done: u64,
        /// Bytes in all.
        total: u64,
        /// Streams opened so far.
        streams: u64,
    },
    /// The stream broke and is opened anew.
    Retrying {
        /// Why.
        reason: String,
        /// How often so far.
        attempt: u32,
    },
    /// All is there and verified. The last line.
    Done {
        /// The file or folder.
        path: String,
        /// Root of the content's tree, 64 hex digits.
        root: String,
        /// Bytes written.
        bytes: u64,
        /// From the first byte of this run to the end.
        milliseconds: u64,
        /// How often the stream was opened anew.
        retries: u32,
    },
    /// It did not work. The last line.
    Error(Problem),
}

/// A line of `neblo transfers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Its number.
    pub id: u64,
    /// Name of the file or folder.
    pub name: String,
    /// Root of the content's tree, 64 hex digits.
    pub root: String,
    /// Where it goes.
    pub output: String,
    /// What has become of it.
    pub state: TransferState,
    /// Verified bytes on disk.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// Why, if it waits or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What has become of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// Looking for publishers.
    Searching,
    /// Bytes come in.
    Running,
    /// The stream broke or no publisher was found; it is tried again.
    Waiting,
    /// All is there.
    Done,
    /// It cannot go on.
    Failed,
    /// Stopped by `neblo transfers --cancel`.
    Cancelled,
}

/// `neblo up`: printed on stdout when others can join through this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The node's libp2p identity.
    pub peer_id: String,
    /// Name of the network.
    pub network: String,
    /// Addresses for `--bootstrap`.
    pub bootstrap: Vec<String>,
}

/// `neblo verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The file or folder that was read.
    pub path: String,
    /// Whether root and length are those of the link.
    pub matches: bool,
    /// How it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
