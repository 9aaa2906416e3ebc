//! Two people in two processes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

struct Person {
    process: Child,
    input: Option<ChildStdin>,
    output: mpsc::Receiver<String>,
    errors: mpsc::Receiver<String>,
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

fn lines(from: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::sync_channel(100);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Person {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_chat"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let output = lines(process.stdout.take().unwrap());
        let errors = lines(process.stderr.take().unwrap());
        Self { process, input, output, errors }
    }

    /// Where the others reach this person.
    fn address(&self) -> String {
        self.hears("is here").rsplit(' ').next().unwrap().to_owned()
    }

    /// The next line that this person's terminal shows.
    fn hears(&self, part: &str) -> String {
        let line = self.output.recv_timeout(DEADLINE).unwrap_or_else(|_| {
            panic!("{part:?} was not shown; errors: {:?}", self.errors.try_iter().collect::<Vec<_>>())
        });
        assert!(line.contains(part), "{line:?} in place of {part:?}");
        line
    }

    fn says(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Ctrl-D.
    fn ends(&mut self) -> ExitStatus {
        self.input = None;
        self.exit()
    }

    fn exit(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "the process did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn two_people_talk_and_leave() {
    let mut ann = Person::start(&["--name", "ann"]);
    let address = ann.address();
    let mut bob = Person::start(&["--name", "bob", "--to", "ann", "--peer", &address]);
    bob.address();
    bob.says("hello");
    bob.says("are you there?");
    ann.hears("bob: hello");
    ann.hears("bob: are you there?");
    // To whoever wrote last.
    ann.says("I am");
    bob.hears("ann: I am");

    // A name is taken while it is renewed.
    let mut other = Person::start(&["--name", "ann", "--peer", &address]);
    assert!(!other.exit().success());
    let error = other.errors.recv_timeout(DEADLINE).unwrap();
    assert!(error.contains("choose another --name"), "{error}");

    assert!(bob.ends().success());
    bob.hears("bob has left");
    ann.says("still there?");
    assert!(!ann.ends().success(), "a line was not delivered");
    let error = ann.errors.recv_timeout(DEADLINE).unwrap();
    assert!(error.contains("bob did not get \"still there?\"") && error.contains("--name bob"), "{error}");
    ann.hears("ann has left");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_in_order_and_errors_say_what_to_do() {
    let mut ann = Person::start(&["--name", "ann"]);
    ann.address();
    ann.says("hello?");
    let error = ann.errors.recv_timeout(DEADLINE).unwrap();
    assert!(error.contains("start with --to NAME"), "{error}");
    let interrupted = Command::new("kill").args(["-INT", &ann.process.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    ann.exit();
    ann.hears("ann has left");

    let nobody = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWSahP5pFRCEfaziPEba7urXGeif6T1y8jmodzdFUvzBHj";
    let mut bob = Person::start(&["--name", "bob", "--peer", nobody]);
    assert!(!bob.exit().success());
    let error = bob.errors.recv_timeout(DEADLINE).unwrap();
    assert!(error.contains("cannot join through") && error.contains("are they running"), "{error}");

    let help = Command::new(env!("CARGO_BIN_EXE_chat")).arg("--help").output().unwrap();
    assert!(String::from_utf8(help.stdout).unwrap().contains("Example, in two terminals"));
}
