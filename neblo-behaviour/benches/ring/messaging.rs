//! NEBLO's side of an exchange: a ring of two, a REQ to the other's address, a RES with what was asked.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use neblo_behaviour::{Handle, OverlayAddr};

use crate::exchange::{Asking, Exchanged};
use crate::neblo::{Node, PORT};
use crate::transport::{Over, Traffic};

const WAIT: Duration = Duration::from_secs(10);

/// Two neighbours.
pub(crate) struct Messaging {
    asker: Node,
    /// It answers.
    _other: Node,
    /// The other's address.
    to: OverlayAddr,
}

impl Messaging {
    pub(crate) async fn start(over: Over, lazy: bool) -> anyhow::Result<Self> {
        let traffic = Traffic::default();
        let asker = Node::start(over, &traffic, lazy).await?;
        let other = Node::start(over, &traffic, lazy).await?;
        asker.join(None).await?;
        other.join([&asker]).await?;
        let to = other.handle.status().await?.address.context("no member")?;
        while asker.handle.status().await?.successors == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { asker, _other: other, to })
    }

    pub(crate) async fn exchange(&self, asking: Asking) -> anyhow::Result<Exchanged> {
        let Asking { size, in_flight, within } = asking;
        let (handle, to) = (&self.asker.handle, self.to);
        let began = Instant::now();
        let mut took = Vec::new();
        let mut open: FuturesUnordered<_> = (0..in_flight).map(|_| one(handle, to, size)).collect();
        while let Some(one_took) = open.next().await {
            took.push(one_took?);
            if began.elapsed() < within {
                open.push(one(handle, to, size));
            }
        }
        Ok(Exchanged::new(began, took))
    }
}

async fn one(handle: &Handle, to: OverlayAddr, size: usize) -> anyhow::Result<Duration> {
    let asked = Instant::now();
    let response = handle.request(1, PORT, to, vec![7; size], WAIT).await?.wait().await?;
    anyhow::ensure!(response.len() == size, "another response");
    Ok(asked.elapsed())
}
