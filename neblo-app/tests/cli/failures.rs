//! Sixteen separate processes: how soon they are one network, and how soon it is whole again when parts of it fail.
//!
//! What was measured is printed (`--nocapture`); the limits are wide, for machines that have other work.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Download, Net, Ran, Signal, bytes, is_member, is_one_ring, subgroup, wait_until};

pub(crate) const SUBGROUP: usize = 6;
/// So slow that the download still runs when the last relay fails.
pub(crate) const CONFIG: &str = "[limits]\ndownload_rate = \"2 MiB/s\"\n";
pub(crate) const MIB: u64 = 1 << 20;

/// A node other than `except` through which the download runs.
pub(crate) fn relay(net: &Net, except: &[usize]) -> usize {
    wait_until(Duration::from_secs(10), "a relay carries the download", || {
        (0..net.nodes.len()).find(|number| {
            !except.contains(number) && net.nodes[*number].status()["relayed_streams"].as_u64() > Some(0)
        })
    })
}

/// Waits until the nodes other than `gone` are one ring and ready.
pub(crate) fn wait_whole(net: &Net, gone: &[usize], within: Duration) -> Vec<Value> {
    let deadline = Instant::now() + within;
    loop {
        let alive = (0..net.nodes.len()).filter(|number| !gone.contains(number));
        let statuses: Vec<(usize, Value)> = alive.map(|number| (number, net.nodes[number].status())).collect();
        let unready: Vec<_> = statuses.iter().filter(|(_, status)| status["ready"] != true).collect();
        let one_ring = is_one_ring(&statuses.iter().map(|(_, status)| status).collect::<Vec<_>>());
        if unready.is_empty() && one_ring {
            return statuses.into_iter().map(|(_, status)| status).collect();
        }
        if Instant::now() > deadline {
            let rings: Vec<_> = statuses
                .iter()
                .map(|(number, it)| {
                    (number, it["ring"]["address"].to_string(), it["ring"]["range"]["after"].to_string())
                })
                .collect();
            panic!("not within {within:?}: one ring: {one_ring}: {rings:#?}; not ready: {unready:#?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn sixteen_processes_become_one_network_and_survive_stopped_and_killed_ones() {
    let mut net = Net::with_config(16, SUBGROUP, CONFIG);
    let begun = Instant::now();
    let statuses = wait_whole(&net, &[], Duration::from_secs(60));
    println!("measured: one ring, all ready {:.1} s after the last start", begun.elapsed().as_secs_f64());
    let leaders = statuses.iter().filter(|status| !is_member(status)).count();
    assert!(leaders >= 3, "{leaders} leaders");
    let publisher = statuses.iter().position(is_member).expect("a member");
    let elsewhere = |it: &Value| is_member(it) && subgroup(it) != subgroup(&statuses[publisher]);
    let requester = statuses.iter().position(elsewhere).expect("a member of another subgroup");

    let source = net.path("holiday.bin");
    let content = bytes(24 << 20, 1);
    fs::write(&source, &content).unwrap();
    let publish = ["publish", source.to_str().unwrap(), "--allow-weak", "--json"];
    let link = net.nodes[publisher].run(&publish).expect(0).json().remove(0)["link"].as_str().unwrap().to_owned();

    let search = ["search", "holiday", "--allow-weak", "--json", "--timeout", "3"];
    let all = format!("{leaders} of {leaders} leaders");
    let begun = Instant::now();
    let (took, found) = wait_until(Duration::from_secs(20), "all leaders answer", || {
        let asked = Instant::now();
        let found = net.nodes[requester].run(&search);
        found.stderr.contains(&all).then(|| (asked.elapsed(), found))
    });
    assert_eq!(found.json()[0]["link"], link.as_str());
    let (took, until) = (took.as_secs_f64(), begun.elapsed().as_secs_f64());
    println!(
        "measured: a search answered by all {leaders} leaders in {took:.2} s; first so {until:.1} s after publishing"
    );

    let target = net.path("fetched");
    let mut download = Download::start(&net.nodes[requester], &link, &target);
    download.reach(MIB, Duration::from_secs(30));
    let killed = relay(&net, &[publisher, requester]);
    let since = Instant::now();
    net.nodes[killed].kill();
    let gap = download.goes_on(since, Duration::from_secs(20)).silent.as_secs_f64();
    println!("measured: kill -9 of a relay: no byte for {gap:.1} s, then the download goes on");

    let reached = download.done + 2 * MIB;
    download.reach(reached, Duration::from_secs(30));
    let stopped = relay(&net, &[publisher, requester, killed]);
    let since = Instant::now();
    net.nodes[stopped].signal(Signal::Stop);
    let gap = download.goes_on(since, Duration::from_secs(30)).silent.as_secs_f64();
    println!("measured: SIGSTOP of a relay: no byte for {gap:.1} s, then the download goes on");

    let since = Instant::now();
    net.nodes[stopped].signal(Signal::Continue);
    assert_eq!(download.end(Duration::from_secs(60)), Some(0), "{:?}", download.error);
    assert!(fs::read(&target).unwrap() == content, "the bytes differ");
    let statuses = wait_whole(&net, &[killed], Duration::from_secs(60));
    println!("measured: whole again {:.1} s after SIGCONT, at most", since.elapsed().as_secs_f64());

    // The leader may be another one by now.
    let home = net.nodes[publisher].status();
    let leads = |status: &&Value| status["peer_id"] == home["subgroup"]["leader"];
    let peer = statuses.iter().find(leads).expect("the leader is among them")["peer_id"].clone();
    let leader =
        (0..net.nodes.len()).find(|number| *number != killed && net.nodes[*number].status()["peer_id"] == peer);
    let leader = leader.unwrap();
    assert_ne!(leader, publisher);
    let since = Instant::now();
    net.nodes[leader].kill();
    // The requester may have come to lead it.
    let asks = (0..net.nodes.len()).find(|number| ![killed, leader, publisher].contains(number)).unwrap();
    let asks = if leader == requester { asks } else { requester };
    let mut last = None;
    while last.as_ref().is_none_or(|found: &Ran| found.code != Some(0)) {
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "the subgroup of {publisher} does not answer {asks}: {last:#?}"
        );
        last = Some(net.nodes[asks].run(&search));
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("measured: kill -9 of the leader: found again after {:.1} s", since.elapsed().as_secs_f64());
}
