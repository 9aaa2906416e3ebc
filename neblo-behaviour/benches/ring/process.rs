//! What the kernel knows of this process.

use std::fs;

use anyhow::Context;

/// Ticks in which Linux counts CPU time, a second; the same on all its systems.
const TICKS: f64 = 100.0;

/// CPU seconds, of user and system, that this process has used so far.
pub(crate) fn cpu() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name in brackets may hold anything; times are fields 14 and 15 of the line, 12 and 13 behind it.
    let (_, rest) = stat.rsplit_once(')').context("no name in it")?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    let ticks = |at: usize| -> anyhow::Result<f64> { Ok(fields.get(at).context("too short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

/// MiB of this process that are in memory now.
pub(crate) fn resident() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no memory in it")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
