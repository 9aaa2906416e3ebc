//! What nodes go on with when they start again, folders, several publishers, and disks that take no more.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Download, Net, Signal, SmallDisk, bytes, is_member, wait_until};

const CONFIG: &str = "[limits]\ndownload_rate = \"2 MiB/s\"\n";
const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(60);

fn publish(net: &Net, node: usize, path: &Path) -> String {
    let published = net.nodes[node].run(&["publish", path.to_str().unwrap(), "--allow-weak", "--json"]).expect(0);
    published.json().remove(0)["link"].as_str().unwrap().to_owned()
}

/// Asks until the link is found.
fn find(net: &Net, node: usize, query: &str, link: &str) {
    wait_until(SOON, "it is found", || {
        let found = net.nodes[node].run(&["search", query, "--allow-weak", "--json", "--timeout", "3"]);
        (found.code == Some(0) && found.json().iter().any(|hit| hit["link"] == link)).then_some(())
    });
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                    all.push((name, fs::read(path).unwrap()));
                }
            }
        }
    }
    all.sort();
    all
}

#[test]
fn what_is_begun_is_finished_whoever_restarts_dies_or_runs_out_of_space() {
    let mut net = Net::with_config(9, 5, CONFIG);
    let statuses = net.wait_ready(SOON);
    let mut members = (1..net.nodes.len()).filter(|number| is_member(&statuses[*number]));
    let mut member = || members.next().expect("three members");
    let (publisher, second, requester) = (member(), member(), member());

    let source = net.path("holiday.bin");
    let content = bytes(12 << 20, 7);
    fs::write(&source, &content).unwrap();
    let link = publish(&net, publisher, &source);

    a_killed_requester_goes_on(&mut net, requester, &link, &content);
    a_folder_comes_whole_and_its_publisher_offers_it_after_a_restart(&mut net, publisher, requester);
    a_full_disk_keeps_what_is_there(&net, requester, &link, &content);
    another_publisher_takes_over(&mut net, publisher, second, requester, &link, &content);
}

fn a_killed_requester_goes_on(net: &mut Net, requester: usize, link: &str, content: &[u8]) {
    let target = net.path("fetched");
    let mut download = Download::start(&net.nodes[requester], link, &target);
    download.reach(2 * MIB, SOON);
    // Once it is written what is there, a crash does not lose all of it.
    let ranges = net.path("fetched.neblo-ranges");
    let written = fs::metadata(&ranges).unwrap().modified().unwrap();
    wait_until(SOON, "the progress is written", || {
        (fs::metadata(&ranges).ok()?.modified().ok()? > written).then_some(())
    });
    net.nodes[requester].kill();
    assert_eq!(download.end(SOON), Some(3));
    assert!(!target.exists());

    let since = Instant::now();
    net.restart(requester);
    // It runs by itself; this only watches.
    let transfer = loop {
        let transfers = net.nodes[requester].run(&["transfers", "--json"]).expect(0).json();
        if let Some(runs) = transfers.iter().find(|it| it["state"] == "running" || it["state"] == "done") {
            break runs.clone();
        }
        let late = since.elapsed() > SOON;
        assert!(!late, "it does not go on by itself: {transfers:#?} {:#}", net.nodes[requester].status());
        std::thread::sleep(Duration::from_millis(50));
    };
    let took = since.elapsed().as_secs_f64();
    println!("measured: {took:.1} s after its node's start a download goes on from {} bytes", transfer["done"]);
    let resumed = match Download::start(&net.nodes[requester], link, &target) {
        mut watched if transfer["state"] == "running" => {
            assert_eq!(watched.end(SOON), Some(0), "{:?}", watched.error);
            watched.resumed
        }
        _ => None,
    };
    assert!(resumed > Some(0), "it began anew: {transfer}");
    assert!(fs::read(&target).unwrap() == content, "the bytes differ");
    assert!(!ranges.exists());
}

fn a_folder_comes_whole_and_its_publisher_offers_it_after_a_restart(net: &mut Net, publisher: usize, requester: usize) {
    let folder = net.path("trip pictures");
    fs::create_dir_all(folder.join("coast/empty name")).unwrap();
    fs::write(folder.join("one.jpg"), bytes(300_000, 2)).unwrap();
    fs::write(folder.join("coast/two.jpg"), bytes(70_000, 3)).unwrap();
    fs::write(folder.join("coast/empty name/three.txt"), "").unwrap();
    let link = publish(net, publisher, &folder);
    find(net, requester, "pictures", &link);
    let fetch = |net: &Net, name: &str| {
        let target = net.path(name);
        net.nodes[requester].run(&["get", &link, "--allow-weak", "-o", target.to_str().unwrap()]).expect(0);
        assert_eq!(files(&target), files(&folder));
        net.nodes[requester].run(&["verify", target.to_str().unwrap(), &link]).expect(0);
    };
    fetch(net, "pictures");

    net.nodes[publisher].signal(Signal::Terminate);
    assert_eq!(net.nodes[publisher].wait(Duration::from_secs(10)), Some(0));
    let since = Instant::now();
    net.restart(publisher);
    wait_until(SOON, "all is offered again", || {
        let listed = net.nodes[publisher].run(&["list", "--json"]).expect(0).json();
        (listed.len() == 2 && listed.iter().all(|it| it["state"] == "offered")).then_some(())
    });
    println!("measured: {:.1} s after its node's start all is offered again", since.elapsed().as_secs_f64());
    find(net, requester, "pictures", &link);
    fetch(net, "pictures again");
}

fn another_publisher_takes_over(
    net: &mut Net,
    publisher: usize,
    second: usize,
    requester: usize,
    link: &str,
    content: &[u8],
) {
    let copy = net.path("holiday.bin copy");
    fs::write(&copy, content).unwrap();
    publish(net, second, &copy);
    let target = net.path("from both");
    let mut download = Download::start(&net.nodes[requester], link, &target);
    download.reach(2 * MIB, SOON);
    // Whoever reads its file is the one that serves. Where the system does not tell, any of them.
    let read = |number: usize| -> u64 {
        let told = fs::read_to_string(format!("/proc/{}/io", net.nodes[number].process_id())).unwrap_or_default();
        told.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).unwrap_or(0)
    };
    let before = [read(publisher), read(second)];
    let reached = download.done + 2 * MIB;
    download.reach(reached, SOON);
    let serving = match read(second) - before[1] > read(publisher) - before[0] {
        true => second,
        false => publisher,
    };
    let since = Instant::now();
    net.nodes[serving].kill();
    let gap = download.goes_on(since, SOON).silent.as_secs_f64();
    println!("measured: kill -9 of the publisher: no byte for {gap:.1} s, then another one goes on");
    assert_eq!(download.end(SOON), Some(0), "{:?}", download.error);
    assert!(fs::read(&target).unwrap() == content, "the bytes differ");
}

fn a_full_disk_keeps_what_is_there(net: &Net, requester: usize, link: &str, content: &[u8]) {
    let node = &net.nodes[requester];
    let failed = |mut download: Download, code: i32| -> Value {
        assert_eq!(download.end(SOON), Some(code), "{:?}", download.error);
        download.error.take().expect("an error as the last line")
    };
    let below_a_file = net.path("holiday.bin").join("target");
    let error = failed(Download::start(node, link, &below_a_file), 2);
    assert!(error["message"].as_str().unwrap().contains("holiday.bin does not exist"), "{error}");

    let Some(disk) = SmallDisk::mount(net.path("disk"), "size=24m") else {
        println!("skipped: full and read-only disks, because nothing can be mounted here");
        return;
    };
    // It fits when it begins, and then another program takes the space.
    let target = disk.path.join("fetched");
    let mut download = Download::start(node, link, &target);
    download.reach(2 * MIB, SOON);
    let filler = disk.path.join("filler");
    fs::write(&filler, vec![1; 64 << 20]).unwrap_err();
    let error = failed(download, 7);
    let part = disk.path.join("fetched.neblo-part");
    let said = error.to_string();
    assert_eq!(error["code"], "partial");
    assert!(said.contains("disk is full") && said.contains(part.to_str().unwrap()), "{said}");
    assert!(part.exists() && !target.exists());
    // What cannot fit is refused before anything is written.
    let other = disk.path.join("other");
    let error = failed(Download::start(node, link, &other), 1);
    assert!(error["message"].as_str().unwrap().contains("more bytes are needed"), "{error}");
    assert!(!disk.path.join("other.neblo-part").exists());

    fs::remove_file(filler).unwrap();
    let mut again = Download::start(node, link, &target);
    assert_eq!(again.end(SOON), Some(0), "{:?}", again.error);
    assert!(again.resumed > Some(0), "it began anew");
    assert!(fs::read(&target).unwrap() == content, "the bytes differ");

    let locked = SmallDisk::mount(net.path("locked"), "size=64m,ro").expect("another disk");
    let error = failed(Download::start(node, link, &locked.path.join("fetched")), 1);
    assert!(error["message"].as_str().unwrap().contains("read-only"), "{error}");
}
