//! What the kernel knows of processes.

use std::fs;

use anyhow::Context;

/// Ticks in which Linux counts CPU time, a second; the same on all its systems.
const TICKS: f64 = 100.0;

/// CPU seconds, of user and system, that processes have used so far.
pub(crate) fn cpu(ids: &[u32]) -> anyhow::Result<f64> {
    ids.iter().map(|id| cpu_of(*id).with_context(|| format!("CPU time of process {id}"))).sum()
}

fn cpu_of(id: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name in brackets may hold anything; times are fields 14 and 15 of the line, 12 and 13 behind it.
    let (_, rest) = stat.rsplit_once(')').context("no name in it")?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    let ticks = |at: usize| -> anyhow::Result<f64> { Ok(fields.get(at).context("too short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

/// The most bytes that a process has had in memory at any time. The kernel keeps count, so that nothing between two
/// samples is missed.
pub(crate) fn peak(id: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak of memory in it")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}
