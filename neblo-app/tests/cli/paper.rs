//! The paper's policy in separate processes.

use std::fs;
use std::time::Duration;

use crate::harness::{Net, bytes, is_member, neblo, subgroup, wait_until};

/// The timer of the paper is 300 s; nobody wants to wait for it here.
const CONFIG: &str = "[paths]\npolicy = \"paper\"\ntimer = 3\n";

#[test]
fn under_the_papers_policy_processes_publish_find_and_fetch_and_paths_are_restored() {
    let mut net = Net::with_config(12, 6, CONFIG);
    let statuses = net.wait_ready(Duration::from_secs(60));
    let publisher = statuses.iter().position(is_member).expect("a member");
    let elsewhere =
        statuses.iter().position(|other| is_member(other) && subgroup(other) != subgroup(&statuses[publisher]));
    let requester = elsewhere.expect("a member of another subgroup");
    let (source, content) = (net.path("a paper.bin"), bytes(3 << 20, 7));
    fs::write(&source, &content).unwrap();
    let publish = ["publish", source.to_str().unwrap(), "--allow-weak", "--json"];
    let published = net.nodes[publisher].run(&publish).expect(0).json().remove(0);
    let link = published["link"].as_str().unwrap().to_owned();

    let found = |net: &Net| {
        let found = net.nodes[requester].run(&["search", "paper", "--allow-weak", "--json", "--timeout", "3"]);
        found.json().iter().any(|hit| hit["link"] == link.as_str()).then_some(())
    };
    wait_until(Duration::from_secs(30), "it is found", || found(&net));
    let fetch = |net: &Net, name: &str| {
        let target = net.path(name);
        let path = target.to_str().unwrap().to_owned();
        net.nodes[requester].run(&["get", &link, "--allow-weak", "-o", &path]).expect(0);
        assert_eq!(fs::read(&target).unwrap(), content);
    };
    fetch(&net, "first");

    // Any relay may have been one of theirs: paths are found broken by the timer, and made anew.
    let mut gone = 0;
    for (number, status) in statuses.iter().enumerate().skip(1) {
        if gone < 3 && is_member(status) && ![publisher, requester].contains(&number) {
            net.nodes[number].kill();
            gone += 1;
        }
    }
    wait_until(Duration::from_secs(60), "it is found again", || found(&net));
    fetch(&net, "second");
}

#[test]
fn a_policy_that_is_none_is_refused() {
    let ran = neblo().args(["up", "--path-policy", "tor"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("hardened"));
}
