//! `neblo status`, `peers`, `paths` and `transfers`.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::Env;
use crate::{
    api::{self, Direction, Role, Transfer, TransferState},
    problem::{Code, Problem},
    units::human,
};

/// Show how the node is doing
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  neblo status
  neblo status --wait-ready            wait at most 60 seconds until it can publish and ask
  neblo status --wait-ready 20 --json | jq .anonymity_set

With --wait-ready the exit code is 5 if the node is not ready in time.")]
pub(super) struct Status {
    /// Wait until the node is on the ring and its paths are ready
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", value_parser = super::search::seconds)]
    wait_ready: Option<f64>,
}

impl Status {
    pub(super) async fn run(self, env: &Env) -> Result<(), Problem> {
        let deadline = self.wait_ready.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
        let client = env.client();
        let status = loop {
            let status = client.get::<api::Status>("/v1/status").await;
            match (&status, deadline) {
                (Ok(status), Some(deadline)) if !status.ready && Instant::now() < deadline => {}
                // The node may be about to start.
                (Err(problem), Some(deadline)) if problem.code == Code::NotRunning && Instant::now() < deadline => {}
                _ => break status?,
            }
            sleep(Duration::from_millis(100)).await;
        };
        env.out.data(&status, describe);
        if self.wait_ready.is_some() && !status.ready {
            return Err(not_ready(&status));
        }
        Ok(())
    }
}

fn not_ready(status: &api::Status) -> Problem {
    let trouble = status.trouble.as_ref().map(|trouble| format!(": {trouble}"));
    let trouble = trouble.unwrap_or_default();
    if status.ring.is_none() {
        return Problem::new(Code::Unreachable, format!("the node is not on the ring yet{trouble}"))
            .hint("check that a --bootstrap address is right and that its node runs");
    }
    let problem = Problem::new(
        Code::Unreachable,
        format!("the node is on the ring, but its paths are not ready ({} to hide among)", status.anonymity_set),
    );
    match status.anonymity_set {
        0..4 => problem.hint("start more nodes: paths need relays, anonymity needs at least 4 peers"),
        _ => problem.hint("wait a little longer; `neblo paths` shows which are being built"),
    }
}

fn describe(status: &api::Status) -> String {
    let mut text = format!(
        "{}\npeer        {}\nnetwork     {}\n",
        if status.ready { "READY" } else { "NOT READY" },
        status.peer_id,
        status.network
    );
    for address in &status.listen_addrs {
        text.push_str(&format!("address     {address}\n"));
    }
    match &status.ring {
        Some(ring) => text.push_str(&format!(
            "ring        {} ({} successors, {} fingers)\n",
            ring.address, ring.successors, ring.fingers
        )),
        None => text.push_str("ring        not subscribed\n"),
    }
    match &status.subgroup {
        Some(group) => text.push_str(&format!(
            "subgroup    {}, {} of {} members\n",
            group.id,
            match group.role {
                Role::Leader => "leader",
                Role::Member => "member",
            },
            group.members
        )),
        None => text.push_str("subgroup    none\n"),
    }
    let list = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    text.push_str(&format!(
        "paths       ready: {}; being built: {}; when needed: {}\nanonymity   among {} peers{}\n",
        list(&status.paths.ready),
        list(&status.paths.building),
        list(&status.paths.later),
        status.anonymity_set,
        if status.anonymity_set < 13 { " (weak)" } else { "" },
    ));
    text.push_str(&format!(
        "offering    {} ({} held by leaders)\nconnected   {} peers\nrelaying    {} streams, {} so far",
        status.publications,
        status.publications_held,
        status.connections,
        status.relayed_streams,
        human(status.relayed_bytes)
    ));
    if let Some(trouble) = &status.trouble {
        text.push_str(&format!("\ntrouble     {trouble}"));
    }
    text
}

/// List connected peers
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  neblo peers\n  neblo peers --json | jq -r .peer_id")]
pub(super) struct Peers {}

impl Peers {
    pub(super) async fn run(self, env: &Env) -> Result<(), Problem> {
        let peers: Vec<api::Peer> = env.client().get("/v1/peers").await?;
        if peers.is_empty() {
            env.out.say("no peer is connected");
        }
        for peer in &peers {
            env.out.data(peer, |peer| {
                let direction = match peer.direction {
                    Direction::Inbound => "in ",
                    Direction::Outbound => "out",
                };
                format!("{direction} {:<4} {}  {}", peer.transport, peer.peer_id, peer.address)
            });
        }
        Ok(())
    }
}

/// Show the node's own paths and what it relays for others
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  neblo paths\n  neblo paths --json | jq .own.ready")]
pub(super) struct Paths {}

impl Paths {
    pub(super) async fn run(self, env: &Env) -> Result<(), Problem> {
        let paths: api::Paths = env.client().get("/v1/paths").await?;
        env.out.data(&paths, |paths| {
            let mut text = String::new();
            for name in &paths.own.ready {
                text.push_str(&format!("{name:<12} ready\n"));
            }
            for name in &paths.own.building {
                text.push_str(&format!("{name:<12} being built\n"));
            }
            for name in &paths.own.later {
                text.push_str(&format!("{name:<12} built when it is needed, or at a moment of its own\n"));
            }
            text.push_str(&format!(
                "relaying     {} links, {} streams, {} so far\nanonymity    among {} peers",
                paths.relayed_paths,
                paths.relayed_streams,
                human(paths.relayed_bytes),
                paths.anonymity_set
            ));
            text
        });
        Ok(())
    }
}

/// List downloads, or stop one
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  neblo transfers\n  neblo transfers --cancel 3")]
pub(super) struct Transfers {
    /// Stop this download and delete what is there of it
    #[arg(long, value_name = "ID")]
    cancel: Option<u64>,
}

impl Transfers {
    pub(super) async fn run(self, env: &Env) -> Result<(), Problem> {
        let client = env.client();
        let transfers = match self.cancel {
            Some(id) => vec![client.cancel(id).await?],
            None => client.get::<Vec<Transfer>>("/v1/transfers").await?,
        };
        if transfers.is_empty() {
            env.out.say("no downloads; next: neblo get LINK");
        }
        for transfer in &transfers {
            env.out.data(transfer, |it| {
                let state = match it.state {
                    TransferState::Searching => "searching",
                    TransferState::Running => "running",
                    TransferState::Waiting => "waiting",
                    TransferState::Done => "done",
                    TransferState::Failed => "failed",
                    TransferState::Cancelled => "cancelled",
                };
                let reason = it.reason.as_deref().map(|reason| format!("\n     {reason}"));
                format!(
                    "{:<4} {state:<10} {} of {}  {}\n     {}{}",
                    it.id,
                    human(it.done),
                    human(it.total),
                    it.name,
                    it.output,
                    reason.unwrap_or_default()
                )
            });
        }
        Ok(())
    }
}
