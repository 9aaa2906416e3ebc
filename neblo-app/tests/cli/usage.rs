//! Wrong use: a message with a cause and a next step, the right exit code, and nothing lost.

use std::fs;
use std::time::Duration;

use tempfile::tempdir;

use crate::harness::{Node, Signal, neblo, run};

const ROOT: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

#[test]
fn every_command_has_help_with_an_example() {
    let top = run(&["--help"]).expect(0);
    for command in [
        "demo",
        "up",
        "publish",
        "list",
        "unpublish",
        "search",
        "get",
        "status",
        "peers",
        "paths",
        "transfers",
        "verify",
    ] {
        assert!(top.stdout.contains(command), "{command}");
        let help = run(&[command, "--help"]).expect(0);
        assert!(help.stdout.contains("Example"), "{command}");
        assert!(help.stdout.contains(&format!("neblo {command}")), "{command}");
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let dir = tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let file = dir.path().join("a.txt");
    fs::write(&file, "a").unwrap();
    let file = file.to_str().unwrap();
    let long = "x".repeat(3000);
    for (args, says) in [
        (&[][..], "Usage"),
        (&["fly"], "fly"),
        (&["demo", "--nodes", "3"], "12"),
        (&["up", "--listen", "127.0.0.1:80"], "address"),
        (&["up", "--listen", "/ip4/127.0.0.1/udp/1"], "cannot listen"),
        (&["up", "--bootstrap", "/ip4/127.0.0.1/tcp/4001"], "/p2p/"),
        (&["up", "--subgroup-size", "1"], "2 to 150"),
        (&["up", "--network", "a b"], "network name"),
        (&["get", "neblo:xyz"], "neblo:"),
        (&["get", "holiday.mp4"], "link"),
        (&["get", &long], "link"),
        (&["unpublish", "neblo:"], "neblo:"),
        (&["verify", file, ROOT], "whole link"),
        (&["search", ""], "query"),
        (&["search", "a AND"], "^"),
        (&["search", "(a OR b"], "^"),
        (&["search", "\"open"], "^"),
        (&["search", "size:>lots"], "^"),
        (&["search", "a", "--limit", "0"], "limit"),
        (&["search", "a", "--timeout", "never"], "seconds"),
        (&["publish"], "PATH"),
        (&["publish", file, "--tag", "novalue"], "year=2026"),
        (&["publish", file, file, "--name", "x"], "--name"),
        (&["transfers", "--cancel", "one"], "one"),
        (&["status", "--wait-ready", "soon"], "seconds"),
    ] {
        let args: Vec<&str> = args.iter().copied().chain(["--data-dir", at]).collect();
        let ran = run(&args).expect(2);
        assert!(ran.stderr.contains(says), "{args:?}: {says:?} not in {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{args:?}: {}", ran.stdout);
    }
}

#[test]
fn a_malformed_query_says_where() {
    let ran = run(&["search", "cats AND (dogs"]).expect(2);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let at = lines.iter().position(|line| line.contains("  cats AND (dogs")).expect(&ran.stderr);
    assert!(lines[at + 1].trim() == "^", "{}", ran.stderr);
}

#[test]
fn without_a_node_commands_say_how_to_start_one() {
    let dir = tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let link = format!("neblo:{ROOT}?net=neblo&len=0&name=a");
    let file = dir.path().join("f");
    fs::write(&file, "x").unwrap();
    for args in [
        &["status"][..],
        &["peers"],
        &["paths"],
        &["list"],
        &["transfers"],
        &["transfers", "--cancel", "1"],
        &["search", "cats"],
        &["get", &link],
        &["get", ROOT],
        &["unpublish", &link],
        &["publish", file.to_str().unwrap()],
    ] {
        let args: Vec<&str> = args.iter().copied().chain(["--json", "--data-dir", at]).collect();
        let ran = run(&args).expect(3);
        assert!(ran.stderr.contains("neblo up"), "{args:?}: {}", ran.stderr);
        let error = &ran.json()[0]["error"];
        assert_eq!(error["code"], "not_running", "{args:?}");
        assert!(error["hint"].as_str().unwrap().contains("neblo up"), "{args:?}");
    }
}

#[test]
fn a_missing_file_is_not_found() {
    run(&["publish", "/no/such/file"]).expect(4);
    run(&["demo", "--file", "/no/such/file"]).expect(4);
    let link = format!("neblo:{ROOT}?net=neblo&len=0&name=a");
    run(&["verify", "/no/such/file", &link]).expect(4);
}

#[test]
fn verify_needs_no_node_and_tells_equal_from_different() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("empty");
    fs::write(&file, "").unwrap();
    let link = format!("neblo:{ROOT}?net=neblo&len=0&name=empty");
    let path = file.to_str().unwrap();
    let ran = run(&["verify", path, &link, "--json"]).expect(0);
    assert_eq!(ran.json()[0]["matches"], true);
    fs::write(&file, "not empty").unwrap();
    let ran = run(&["verify", path, &link, "--json"]).expect(6);
    assert_eq!(ran.json()[0]["matches"], false);
}

#[test]
fn a_config_file_with_an_unknown_key_is_refused() {
    let dir = tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    fs::write(dir.path().join("neblo.toml"), "network = \"x\"\nconections = 3\n").unwrap();
    let ran = run(&["up", "--data-dir", at]).expect(2);
    assert!(ran.stderr.contains("conections") && ran.stderr.contains("line 2"), "{}", ran.stderr);
    run(&["up", "--data-dir", at, "--config", "/no/such.toml"]).expect(4);
}

#[test]
fn a_data_dir_has_one_node_at_a_time_and_the_node_its_address_again() {
    let dir = tempdir().unwrap();
    let listen = ["--listen", "/ip4/127.0.0.1/tcp/0"];
    let mut node = Node::start(dir.path(), &listen);
    let first = node.bootstrap.clone();
    assert_eq!(node.status()["listen_addrs"][0], first[0].as_str());
    let second = neblo().args(["up", "--data-dir"]).arg(dir.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"));
    node.signal(Signal::Kill);
    node.wait(Duration::from_secs(5));
    // The socket that it left is no obstacle; identity and port are the same.
    let mut node = Node::start(dir.path(), &listen);
    assert_eq!(node.bootstrap, first);
    let socket = fs::metadata(dir.path().join("neblo.sock")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&socket.permissions());
    assert_eq!(mode & 0o777, 0o600);
    node.signal(Signal::Terminate);
    assert_eq!(node.wait(Duration::from_secs(8)), Some(0));
    node.run(&["status"]).expect(3);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let dir = tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let at = dir.path().to_str().unwrap();
    let ran = run(&["up", "--data-dir", at, "--listen", &address]).expect(1);
    assert!(ran.stderr.contains(&address) && ran.stderr.contains("in use"), "{}", ran.stderr);
}

#[test]
fn a_wrong_bootstrap_address_is_named_and_given_up() {
    let dir = tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let peer = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    let address = format!("/ip4/127.0.0.1/tcp/{}/p2p/{peer}", closed.port());
    let at = dir.path().to_str().unwrap();
    let listen = "/ip4/127.0.0.1/tcp/0";
    let ran = run(&["up", "--data-dir", at, "--listen", listen, "--bootstrap", &address]).expect(5);
    assert!(ran.stderr.contains("refused"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&closed.port().to_string()), "{}", ran.stderr);
}
