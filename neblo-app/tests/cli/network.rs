//! Sixteen separate processes on loopback do the main job.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Net, Signal, neblo, wait_until};

/// Members at which a subgroup is full: three subgroups of sixteen nodes.
const SUBGROUP: usize = 6;

fn is_member(status: &Value) -> bool {
    status["subgroup"]["role"] == "member"
}

/// A publisher and, in another subgroup, a requester; neither leads.
fn cast(statuses: &[Value]) -> (usize, usize) {
    let publisher = statuses.iter().position(is_member).expect("a member");
    let home = &statuses[publisher]["subgroup"]["id"];
    let elsewhere = |status: &Value| is_member(status) && status["subgroup"]["id"] != *home;
    (publisher, statuses.iter().position(elsewhere).expect("a member of another subgroup"))
}

#[test]
fn processes_publish_find_and_fetch_while_a_relay_is_killed() {
    let mut net = Net::start(16, SUBGROUP);
    let statuses = net.wait_ready(Duration::from_secs(60));
    let leaders = statuses.iter().filter(|status| !is_member(status)).count();
    assert!(leaders >= 3, "{leaders} leaders");
    let (publisher, requester) = cast(&statuses);

    let source = net.dir.path().join("canary holiday.bin");
    let bytes: Vec<u8> = (0..24u32 << 18).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(&source, &bytes).unwrap();
    let publish = ["publish", source.to_str().unwrap(), "--tag", "year=2026", "--allow-weak", "--json"];
    let published = net.nodes[publisher].run(&publish).expect(0).json().remove(0);
    let link = published["link"].as_str().unwrap();

    // Leaders that have just met may not hear one another yet.
    let all = format!("{leaders} of {leaders} leaders");
    wait_until(Duration::from_secs(20), "all leaders answer", || {
        let found = net.nodes[requester].run(&["search", "holiday tag:year=2026", "--allow-weak", "--json"]);
        found.stderr.contains(&all).then_some(())
    });
    let asked = Instant::now();
    let found = net.nodes[requester].run(&["search", "holiday tag:year=2026", "--allow-weak", "--json"]).expect(0);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(found.json()[0]["link"], link);
    assert!(found.stderr.contains(&all), "{}", found.stderr);
    net.nodes[requester].run(&["search", "nosuchword", "--allow-weak"]).expect(4);
    net.nodes[requester].run(&["get", &"ab".repeat(32), "--allow-weak"]).expect(4);

    let target = net.dir.path().join("fetched");
    let mut get = neblo()
        .args(["get", link, "--allow-weak", "--json", "-o"])
        .arg(&target)
        .arg("--data-dir")
        .arg(&net.nodes[requester].data_dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut killed = None;
    let mut done = None;
    for line in BufReader::new(get.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event"] == "progress" && killed.is_none() && event["done"].as_u64() > Some(0) {
            let relay = (0..net.nodes.len()).find(|number| {
                ![publisher, requester].contains(number)
                    && net.nodes[*number].status()["relayed_streams"].as_u64() > Some(0)
            });
            if let Some(relay) = relay {
                net.nodes[relay].signal(Signal::Kill);
                net.nodes[relay].wait(Duration::from_secs(5));
                killed = Some(relay);
            }
        }
        if event["event"] == "done" {
            done = Some(event);
        }
    }
    assert_eq!(get.wait().unwrap().code(), Some(0));
    assert!(done.is_some());
    assert!(killed.is_some(), "the download was over before a relay was found");
    assert_eq!(fs::read(&target).unwrap(), bytes);
    net.nodes[requester].run(&["verify", target.to_str().unwrap(), link]).expect(0);
    // Again: what is there is not replaced.
    let again = ["get", link, "--allow-weak", "-o", target.to_str().unwrap()];
    let again = net.nodes[requester].run(&again).expect(2);
    assert!(again.stderr.contains("--overwrite"), "{}", again.stderr);

    // A source that changes is noticed and never served.
    fs::write(&source, b"something else").unwrap();
    let other = net.dir.path().join("other");
    let refused = net.nodes[requester].run(&["get", link, "--allow-weak", "-o", other.to_str().unwrap()]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(!other.exists());
    let listed = net.nodes[publisher].run(&["list", "--json"]).expect(0).json().remove(0);
    assert_eq!(listed["state"], "changed");
}
