//! Requests and responses between two nodes, both sides by turns.

use std::time::{Duration, Instant};

use crate::figures::{Figures, median, percentile};
use crate::messaging::Messaging;
use crate::process;
use crate::request_response::RequestResponse;
use crate::transport::Over;

/// Bytes of a request, and of its response.
pub(crate) const SIZES: [usize; 2] = [64, 64 * 1024];
pub(crate) const IN_FLIGHT: [usize; 2] = [1, 32];
/// Turns of each side; a figure is the median over them.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_millis(1_500);
/// Before the first turn.
const WARM: Duration = Duration::from_millis(500);

/// Some exchanges.
#[derive(Debug, Default)]
pub(crate) struct Exchanged {
    pub(crate) took: Vec<Duration>,
    pub(crate) within: Duration,
    /// CPU seconds of both ends.
    cpu: f64,
}

impl Exchanged {
    pub(crate) fn new(began: Instant, took: Vec<Duration>) -> Self {
        Self { took, within: began.elapsed(), cpu: 0.0 }
    }

    fn rate(&self) -> f64 {
        self.took.len() as f64 / self.within.as_secs_f64()
    }

    fn cpu_us(&self) -> f64 {
        self.cpu * 1e6 / self.took.len() as f64
    }
}

/// Counts the CPU seconds of an exchange.
async fn counted(exchange: impl Future<Output = anyhow::Result<Exchanged>>) -> anyhow::Result<Exchanged> {
    let before = process::cpu()?;
    let exchanged = exchange.await?;
    Ok(Exchanged { cpu: process::cpu()? - before, ..exchanged })
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    pub(crate) size: usize,
    pub(crate) in_flight: usize,
    pub(crate) within: Duration,
}

/// What a set of measurements is called.
pub(crate) fn name(over: Over, size: usize, in_flight: usize) -> String {
    format!("{}.{size}.{in_flight}", over.name())
}

/// Measures everything whose name begins with `only`.
pub(crate) async fn measure(lazy: bool, only: &str) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    for over in [Over::Memory, Over::Tcp] {
        let neblo = Messaging::start(over, lazy).await?;
        let libp2p = RequestResponse::start(over, lazy).await?;
        for size in SIZES {
            for in_flight in IN_FLIGHT {
                let name = name(over, size, in_flight);
                if !name.starts_with(only) {
                    continue;
                }
                let warm = Asking { size, in_flight, within: WARM };
                neblo.exchange(warm).await?;
                libp2p.exchange(warm).await?;
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                for _ in 0..TURNS {
                    let asking = Asking { within: TURN, ..warm };
                    ours.push(counted(neblo.exchange(asking)).await?);
                    theirs.push(counted(libp2p.exchange(asking)).await?);
                }
                figures.extend(&name, summary("neblo", ours));
                figures.extend(&name, summary("libp2p", theirs));
            }
        }
    }
    Ok(figures)
}

fn summary(side: &str, turns: Vec<Exchanged>) -> Figures {
    let mut figures = Figures::default();
    figures.set(format!("{side}.rate"), median(turns.iter().map(Exchanged::rate).collect()));
    figures.set(format!("{side}.cpu_us"), median(turns.iter().map(Exchanged::cpu_us).collect()));
    let mut took: Vec<_> = turns.into_iter().flat_map(|turn| turn.took).collect();
    figures.set(format!("{side}.p50_ms"), percentile(&mut took, 0.5));
    figures.set(format!("{side}.p99_ms"), percentile(&mut took, 0.99));
    figures
}
