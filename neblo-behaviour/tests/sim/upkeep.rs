//! What it costs to keep paths, beside the paper's mechanism at the same time to notice.

use super::subgroups::all_seated;
use super::*;
use neblo_behaviour::protocol::PathPolicy;

/// Bytes and frames of these kinds in an hour.
fn hour(sim: &mut Simulation, kinds: &[&str]) -> (u64, u64) {
    let sum = |sim: &Simulation| {
        let bytes = kinds.iter().map(|kind| sim.bytes.get(kind).copied().unwrap_or(0)).sum::<u64>();
        let frames = kinds.iter().map(|kind| sim.frames.get(kind).copied().unwrap_or(0)).sum::<u64>();
        (bytes, frames)
    };
    let before = sum(sim);
    sim.run(Duration::from_secs(3_600));
    let after = sum(sim);
    (after.0 - before.0, after.1 - before.1)
}

/// A hardened node learns of a silent death within 5 s + 3 time-outs of 0.4 s, 3.7 s on average. The paper's timer with pings that
/// wait 2 s does on average when it is twice 1.7 s. All members publish, so that each has one path under either policy;
/// the hardened ones keep two more, for searching and downloading.
#[test]
fn keeping_paths_costs_at_most_half_of_the_papers_mechanism_at_equal_time_to_notice() {
    let n = 24;
    let config = Config::default().with_subgroup_size(8);
    let mut bare = network_of(600, n, config.clone().with_subgroups(false));
    bare.run(Duration::from_secs(60));
    let (bare, _) = hour(&mut bare, &["link"]);

    let mut hardened = super::lookup::ready_by(600, n, config.clone());
    for peer in hardened.living() {
        super::lookup::announce(&mut hardened, peer, format!("content of {peer}").as_bytes());
    }
    // Until all have all three paths.
    hardened.run(Duration::from_secs(2 * 3_600 + 60));
    let (links, _) = hour(&mut hardened, &["link"]);
    let (paths, path_frames) = hour(&mut hardened, &["path"]);

    let policy = PathPolicy::paper().with_timer(Duration::from_millis(3_400));
    let mut paper = network_of(600, n, config.with_path_policy(policy));
    assert!(paper.run_until(Duration::from_secs(60), all_seated));
    for peer in paper.living() {
        super::lookup::announce(&mut paper, peer, format!("content of {peer}").as_bytes());
    }
    paper.run(Duration::from_secs(60));
    let (theirs, frames) = hour(&mut paper, &["paper"]);

    let each = |bytes: u64| bytes / n as u64;
    println!(
        "bytes a node an hour: hardened {} (link probes {} more than a ring alone has, {} renewals on paths), paper {} in {} \
         messages, {} on paths; ratio {:.2}",
        each(links.saturating_sub(bare) + paths),
        each(links.saturating_sub(bare)),
        each(paths),
        each(theirs),
        frames / n as u64,
        path_frames / n as u64,
        (links.saturating_sub(bare) + paths) as f64 / theirs as f64,
    );
    assert!(2 * (links.saturating_sub(bare) + paths) <= theirs);
}
