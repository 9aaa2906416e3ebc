//! Where the program writes: data to stdout (as JSON, one object a line, or for people), all talk to stderr.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::problem::{ErrorObject, Problem};

/// Writes what a command has to say.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// An output that writes JSON or text for people.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether data goes out as JSON.
    pub fn json(self) -> bool {
        self.json
    }

    /// Whether progress bars make sense.
    pub fn interactive(self) -> bool {
        std::io::stderr().is_terminal()
    }

    /// Writes one piece of data: a JSON line, or what `text` makes of it.
    pub fn data<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) {
        if self.json {
            match serde_json::to_string(value) {
                Ok(line) => write_line(&line),
                Err(error) => self.say(format_args!("cannot write JSON: {error}")),
            }
        } else {
            let text = text(value);
            if !text.is_empty() {
                write_line(&text);
            }
        }
    }

    /// Talks to the user, on stderr.
    pub fn say(self, text: impl std::fmt::Display) {
        let _closed = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Reports a problem: on stderr for people, and with `--json` also as an object on stdout.
    pub fn problem(self, problem: &Problem) {
        self.say(format_args!("error: {problem}"));
        if self.json {
            let object = ErrorObject { error: problem.clone() };
            self.data(&object, |_| String::new());
        }
    }
}

/// Writes a line to stdout. When the reader is gone (`neblo list | head -1`), the rest has no purpose: the write fails
/// silently and the command ends as it would have.
fn write_line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _closed = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
