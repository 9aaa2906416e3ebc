//! Lookups one at a time, and what they cost.

use std::time::{Duration, Instant};

use crate::figures::{Figures, median, percentile};

/// Batches of lookups; a rate is the median over them.
const BATCHES: usize = 5;

/// What a network has sent so far, or what it sends in a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) messages: f64,
    pub(crate) bytes: f64,
}

/// What can be looked up.
pub(crate) trait Lookup: Send {
    /// Looks one thing up.
    fn look_up(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// What the network has sent so far.
    fn sent(&mut self) -> impl Future<Output = anyhow::Result<Sent>> + Send;
}

/// Looks things up in batches of `count`. Of what is sent meanwhile, what the network sends when `idle` does not count.
pub(crate) async fn run<L: Lookup>(lookup: &mut L, count: usize, idle: Sent) -> anyhow::Result<Figures> {
    let mut took = Vec::with_capacity(BATCHES * count);
    let mut rates = Vec::new();
    let before = lookup.sent().await?;
    let mut busy = Duration::ZERO;
    for _ in 0..BATCHES {
        let began = Instant::now();
        for _ in 0..count {
            let asked = Instant::now();
            lookup.look_up().await?;
            took.push(asked.elapsed());
        }
        let batch = began.elapsed();
        rates.push(count as f64 / batch.as_secs_f64());
        busy += batch;
    }
    let after = lookup.sent().await?;
    let lookups = (BATCHES * count) as f64;
    let each = |after: f64, before: f64, idle: f64| (after - before - idle * busy.as_secs_f64()) / lookups;
    let mut figures = Figures::default();
    figures.set("lookups", lookups);
    figures.set("messages", each(after.messages, before.messages, idle.messages));
    figures.set("bytes", each(after.bytes, before.bytes, idle.bytes));
    figures.set("rate", median(rates));
    figures.set("p50_ms", percentile(&mut took, 0.5));
    figures.set("p99_ms", percentile(&mut took, 0.99));
    Ok(figures)
}
