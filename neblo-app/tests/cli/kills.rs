//! How long downloads stand still when a relay of theirs is killed: measurements that take minutes, each a command of its own
//! (`cargo test --release -p neblo-app --test cli kills_over_tcp -- --ignored --nocapture`). `NEBLO_RUNS` says how often (51).

use std::fs;
use std::time::{Duration, Instant};

use crate::failures::{CONFIG, MIB, SUBGROUP, relay, wait_whole};
use crate::harness::{Download, Gap, Net, Transport, bytes, is_member, subgroup};

/// Kills in one network, before there is another.
const IN_ONE: u32 = 3;

/// Prints the median, the 99th percentile and the largest of some times.
fn print(transport: Transport, what: &str, mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (seconds.len() as f64 * share).ceil() as usize;
        seconds.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    };
    let (median, most, largest) = (at(0.5), at(0.99), at(1.0));
    println!("{transport:?}: {what}, {}: p50 {median:.2} s, p99 {most:.2} s, at most {largest:.2} s", seconds.len());
}

fn kills(transport: Transport) {
    let runs = std::env::var("NEBLO_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(51);
    let gaps: Vec<Gap> = (0..runs).step_by(IN_ONE as usize).flat_map(|run| in_one_net(transport, run)).collect();
    let noticed = |gap: &Gap| gap.noticed.map(|noticed| noticed.as_secs_f64());
    let repaired = |gap: &Gap| Some(gap.silent.saturating_sub(gap.noticed?).as_secs_f64());
    print(transport, "from the kill to the next byte", gaps.iter().map(|gap| gap.silent.as_secs_f64()).collect());
    print(transport, "of that until the requester knew", gaps.iter().filter_map(noticed).collect());
    print(transport, "and from then on", gaps.iter().filter_map(repaired).collect());
    let limit = if transport == Transport::Tcp { 6.0 } else { 12.0 };
    assert!(gaps.iter().all(|gap| gap.silent.as_secs_f64() < limit), "{gaps:?}");
}

fn in_one_net(transport: Transport, first: u32) -> Vec<Gap> {
    let mut net = Net::over(transport, 16, SUBGROUP, CONFIG);
    let statuses = wait_whole(&net, &[], Duration::from_secs(60));
    let publisher = statuses.iter().position(is_member).expect("a member");
    let elsewhere = |it: &serde_json::Value| is_member(it) && subgroup(it) != subgroup(&statuses[publisher]);
    let requester = statuses.iter().position(elsewhere).expect("a member of another subgroup");
    let mut gaps = Vec::new();
    for run in first..first + IN_ONE {
        let source = net.path(&format!("source{run}"));
        fs::write(&source, bytes(8 << 20, run)).unwrap();
        let publish = ["publish", source.to_str().unwrap(), "--allow-weak", "--json"];
        let link = net.nodes[publisher].run(&publish).expect(0).json().remove(0)["link"].as_str().unwrap().to_owned();
        let mut download = Download::start(&net.nodes[requester], &link, &net.path(&format!("target{run}")));
        download.reach(MIB, Duration::from_secs(60));
        let killed = relay(&net, &[publisher, requester]);
        let since = Instant::now();
        net.nodes[killed].kill();
        let gap = download.goes_on(since, Duration::from_secs(60));
        println!("{transport:?}: run {run}: {gap:.2?}, from {requester} to {publisher}, {killed} killed");
        net.keep_logs(&format!("{transport:?}-{run}"));
        gaps.push(gap);
        assert_eq!(download.end(Duration::from_secs(60)), Some(0), "{:?}", download.error);
        net.restart(killed);
        wait_whole(&net, &[], Duration::from_secs(60));
    }
    gaps
}

#[test]
#[ignore = "a measurement that takes minutes"]
fn kills_over_tcp() {
    kills(Transport::Tcp);
}

#[test]
#[ignore = "a measurement that takes minutes"]
fn kills_over_quic() {
    kills(Transport::Quic);
}

#[test]
#[ignore = "a measurement that takes minutes"]
fn kills_over_both() {
    kills(Transport::Both);
}
