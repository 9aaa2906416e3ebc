//! The program as it is run: alone, and in two processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_anonymous-echo"))
}

fn ran(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn in_one_process_a_service_is_found_and_echoes_over_relays() {
    let shown = ran(&program().output().unwrap());
    for part in ["hello -> HELLO", "how far away? -> HOW FAR AWAY?", "hops       unknown to"] {
        assert!(shown.contains(part), "{part:?} is not in: {shown}");
    }
}

/// The process that serves ends with the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn in_two_processes_one_serves_and_the_other_asks() {
    let mut service = Service(program().args(["serve", "--topic", "loud"]).stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(service.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let serving = lines.into_iter().find(|line| line.starts_with("serving")).expect("it serves");
    let peer = serving.rsplit(' ').next().unwrap();
    let output = program().args(["ask", "--peer", peer, "--topic", "loud", "hi", "Is it you"]).output().unwrap();
    let shown = ran(&output);
    assert!(shown.contains("hi -> HI") && shown.contains("Is it you -> IS IT YOU"), "{shown}");

    // What nobody offers is not found, and that is said.
    let other = program().args(["ask", "--peer", peer, "--topic", "quiet"]).output().unwrap();
    let error = String::from_utf8(other.stderr).unwrap();
    assert!(!other.status.success() && error.contains("nobody offers \"echo v1 quiet\""), "{error}");
}
