//! How a node gets onto the ring, and back onto it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libp2p::{Multiaddr, multiaddr::Protocol};
use neblo_behaviour::{protocol::interface::Failure, swarm::Handle};
use tokio::time::{Instant, sleep};

use super::{datadir::DataDir, net::Net};
use crate::{
    config::{Config, bootstrap_peer},
    output::Output,
    problem::{Code, Problem},
};

/// How often the user hears what goes wrong.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A node that has never been a member gives up after this long. choice
const GIVE_UP: Duration = Duration::from_secs(30);
/// A node that needs no bootstrap founds a ring anew when nobody it knew was heard for this long. choice
const FOUND_AGAIN: Duration = Duration::from_secs(15);
/// Pause between attempts.
const PAUSE: Duration = Duration::from_secs(2);
/// Most peers tried at once.
const TRIED: usize = 16;

/// Gets a node onto the ring.
#[derive(Debug)]
pub(super) struct Joiner {
    pub(super) config: Config,
    pub(super) net: Arc<Net>,
    pub(super) data: Arc<DataDir>,
    pub(super) handle: Handle,
    pub(super) out: Output,
}

impl Joiner {
    /// Joins; the protocol itself comes back when all neighbours are lost. Returns only with a problem.
    pub(super) async fn keep_joined(self) -> Problem {
        match self.join().await {
            Ok(()) => std::future::pending().await,
            Err(problem) => problem,
        }
    }

    async fn join(&self) -> Result<(), Problem> {
        let began = Instant::now();
        let founder = self.config.bootstrap.is_empty();
        let mut told = BTreeSet::new();
        loop {
            let targets = self.targets();
            let founding = targets.is_empty();
            let subscribed = self.handle.subscribe(targets);
            tokio::pin!(subscribed);
            // The protocol tries each several times; meanwhile the user hears what goes wrong.
            let result = loop {
                tokio::select! {
                    result = &mut subscribed => break result.map(drop),
                    () = sleep(LOOK_EVERY) => {}
                }
                self.tell_trouble(&mut told);
                if founder && !founding && began.elapsed() > FOUND_AGAIN {
                    return self.found_again().await;
                }
                if !founder && !self.was_member() && began.elapsed() > GIVE_UP {
                    return Err(self.given_up());
                }
            };
            match result {
                Ok(()) => return Ok(()),
                Err(failure @ (Failure::Closed | Failure::AlreadySubscribed)) => return Err(no_ring(failure)),
                Err(failure) if founding => return Err(no_ring(failure)),
                Err(failure) => tracing::debug!(target: "neblo", %failure, "cannot join yet"),
            }
            self.tell_trouble(&mut told);
            if founder && began.elapsed() > FOUND_AGAIN {
                return self.found_again().await;
            }
            if !founder && !self.was_member() && began.elapsed() > GIVE_UP {
                return Err(self.given_up());
            }
            sleep(PAUSE).await;
        }
    }

    /// Founds the ring anew: all that were on it may have been away at once.
    async fn found_again(&self) -> Result<(), Problem> {
        self.out.say("none of the known peers answers: founding the ring anew");
        // Ends the attempt to join that may be under way.
        self.handle.leave().await.map_err(no_ring)?;
        self.handle.subscribe(Vec::new()).await.map(drop).map_err(no_ring)
    }

    fn tell_trouble(&self, told: &mut BTreeSet<String>) {
        for trouble in self.trouble() {
            if told.insert(trouble.clone()) {
                self.out.say(format_args!("cannot join through {trouble}; trying on"));
            }
        }
    }

    /// Whom to ask: bootstrap peers first, then those known from before, the latest first.
    fn targets(&self) -> Vec<Multiaddr> {
        let remembered = self.data.remembered();
        let known = remembered.known.get(&self.config.network);
        let known = known.into_iter().flatten().rev().take(TRIED);
        let own = Protocol::P2p(self.net.peer_id());
        let all = self.config.bootstrap.iter().chain(known);
        all.filter(|address| address.iter().last() != Some(own.clone())).cloned().collect()
    }

    fn was_member(&self) -> bool {
        let remembered = self.data.remembered();
        remembered.known.get(&self.config.network).is_some_and(|known| !known.is_empty())
    }

    /// Which bootstrap addresses did not work, and why.
    fn trouble(&self) -> Vec<String> {
        let failed = self.config.bootstrap.iter().filter_map(|address| {
            let peer = bootstrap_peer(address).ok()?;
            let why = self.net.dial_error(&peer)?;
            let plain = address.to_string();
            let at = plain.split("/p2p/").next().unwrap_or(&plain);
            let why = why.replace(&plain, at);
            Some(match why.strip_prefix(&format!("{at}: ")) {
                Some(cause) => format!("{at}: {cause}"),
                None => format!("{at}: {why}"),
            })
        });
        failed.collect()
    }

    fn given_up(&self) -> Problem {
        let trouble = self.trouble();
        let message = match trouble.as_slice() {
            [] => "no bootstrap peer lets this node in: they answer, but are not on this network, or not on the ring"
                .to_owned(),
            each => format!("no bootstrap peer can be reached: {}", each.join("; ")),
        };
        Problem::new(Code::Unreachable, message).hint(format!(
            "check address and peer id, that the other node runs `neblo up --network {}`, and that no firewall is between; \
             leave out --bootstrap to found a network",
            self.config.network
        ))
    }
}

/// Why a bootstrap address does not work, for `neblo status`.
pub(super) fn trouble(config: &Config, net: &Net) -> Option<String> {
    config.bootstrap.iter().find_map(|address| {
        let why = net.dial_error(&bootstrap_peer(address).ok()?)?;
        Some(format!("cannot reach bootstrap peer: {why}"))
    })
}

fn no_ring(failure: Failure) -> Problem {
    Problem::failed(format!("cannot found a ring: {failure}"))
}
