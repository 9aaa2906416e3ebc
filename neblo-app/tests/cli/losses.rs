//! Several processes lost at once, and one that leaves, while a download runs: it ends well all the same.

use std::fs;
use std::time::{Duration, Instant};

use crate::failures::{CONFIG, MIB, relay, wait_whole};
use crate::harness::{Download, Net, Signal, bytes, is_member, subgroup, wait_until};

/// So many that a subgroup outlives the loss of all relays of a path.
const SUBGROUP: usize = 9;

/// All nodes through which the download runs.
fn relays(net: &Net, except: &[usize]) -> Vec<usize> {
    (0..net.nodes.len())
        .filter(|number| !except.contains(number))
        .filter(|number| net.nodes[*number].status()["relayed_streams"].as_u64() > Some(0))
        .collect()
}

/// A member that is neither an end of the download nor next to lead, and its leader with who leads next, who are no ends either.
fn publisher_and_leaders(net: &Net, ends: &[usize; 2]) -> Option<(usize, [usize; 2])> {
    let statuses: Vec<_> = net.nodes.iter().map(|node| node.status()).collect();
    let place = |number: usize| statuses[number]["subgroup"]["candidate"].as_u64();
    let placed = |home: &str, wanted: Option<u64>| {
        (0..statuses.len()).find(|&number| {
            let status = &statuses[number];
            subgroup(status) == home && place(number) == wanted && is_member(status) == wanted.is_some()
        })
    };
    let with_leaders = |number: usize| {
        let home = subgroup(&statuses[number]);
        let lost = [placed(home, None)?, placed(home, Some(1))?];
        let stays = !lost.contains(&number) && !ends.iter().any(|end| lost.contains(end)) && number != ends[1];
        stays.then_some((number, lost))
    };
    (0..statuses.len()).filter_map(with_leaders).max_by_key(|(number, _)| place(*number))
}

#[test]
fn a_download_outlives_a_relay_that_leaves_all_its_relays_at_once_and_a_leader_with_who_leads_next() {
    let mut net = Net::with_config(18, SUBGROUP, CONFIG);
    let statuses = wait_whole(&net, &[], Duration::from_secs(90));
    // Neither is next to lead: who leads publishes elsewhere.
    let last = |it: &serde_json::Value| it["subgroup"]["candidate"].as_u64() > Some(2);
    let publisher = statuses.iter().position(|it| is_member(it) && last(it)).expect("a member");
    let elsewhere =
        |it: &serde_json::Value| is_member(it) && last(it) && subgroup(it) != subgroup(&statuses[publisher]);
    let requester = statuses.iter().position(elsewhere).expect("a member of another subgroup");
    let ends = [publisher, requester];

    let source = net.path("holiday.bin");
    let content = bytes(40 << 20, 7);
    fs::write(&source, &content).unwrap();
    let publish = ["publish", source.to_str().unwrap(), "--allow-weak", "--json"];
    let link = net.nodes[publisher].run(&publish).expect(0).json().remove(0)["link"].as_str().unwrap().to_owned();
    let target = net.path("fetched");
    let mut download = Download::start(&net.nodes[requester], &link, &target);
    download.reach(MIB, Duration::from_secs(60));

    // One leaves in order.
    let left = relay(&net, &ends);
    let since = Instant::now();
    net.nodes[left].signal(Signal::Terminate);
    let gap = download.goes_on(since, Duration::from_secs(40)).silent.as_secs_f64();
    println!("measured: a relay leaves: no byte for {gap:.1} s, then the download goes on");
    assert_eq!(net.nodes[left].wait(Duration::from_secs(30)), Some(0), "{}", net.nodes[left].said());
    net.restart(left);
    wait_whole(&net, &[], Duration::from_secs(60));

    // All at once: first relays, last relays, and those between.
    let reached = download.done + 2 * MIB;
    download.reach(reached, Duration::from_secs(40));
    let all = relays(&net, &ends);
    assert!(all.len() >= 2, "{all:?}");
    let since = Instant::now();
    for relay in &all {
        net.nodes[*relay].kill();
    }
    let gap = download.goes_on(since, Duration::from_secs(60)).silent.as_secs_f64();
    println!("measured: kill -9 of all {} relays: no byte for {gap:.1} s, then the download goes on", all.len());
    for relay in &all {
        net.restart(*relay);
    }
    wait_whole(&net, &[], Duration::from_secs(90));

    // A leader and who would lead next. Their subgroup is that of a publisher who is neither. Who has just come back may lead
    // nobody yet, or have no place among the candidates: it is asked again until there is such a subgroup.
    let (third, lost) =
        wait_until(Duration::from_secs(60), "a publisher can lose its leader and who leads next", || {
            publisher_and_leaders(&net, &ends)
        });
    let other = net.path("summer.txt");
    fs::write(&other, "summer").unwrap();
    net.nodes[third].run(&["publish", other.to_str().unwrap(), "--allow-weak"]).expect(0);
    let found = |net: &Net| {
        let found = net.nodes[requester].run(&["search", "summer", "--allow-weak", "--json", "--timeout", "3"]);
        (found.code == Some(0)).then_some(())
    };
    wait_until(Duration::from_secs(30), "it is found", || found(&net));
    for number in lost {
        net.nodes[number].kill();
    }
    let since = Instant::now();
    wait_until(Duration::from_secs(60), "the subgroup answers again", || found(&net));
    let took = since.elapsed().as_secs_f64();
    println!("measured: kill -9 of a leader and of who leads next: found again after {took:.1} s");
    assert_eq!(download.end(Duration::from_secs(120)), Some(0), "{:?}", download.error);
    assert!(fs::read(&target).unwrap() == content, "the bytes differ");
}
