//! Lines of text, one message (UD) each. A message has no answer, so the other side says by a message of its own that it has
//! got a line, and what was not got is sent again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::StreamExt;
use neblo_behaviour::{Failure, Handle, OverlayAddr};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::directory;

/// The port of lines on the overlay.
const PORT: u16 = 7001;
/// The longest line.
pub(crate) const LONGEST: usize = 4_096;
/// How long a line is tried, how long if nobody of that name is registered, and how long each try waits.
const TRY_FOR: Duration = Duration::from_secs(10);
const TRY_TO_FIND_FOR: Duration = Duration::from_secs(4);
const WAIT: Duration = Duration::from_secs(1);
/// Lines that wait to be printed.
const WAITING: usize = 256;
/// Lines remembered, so that one that is sent again is not printed again.
const REMEMBERED: usize = 1_024;

#[derive(Serialize, Deserialize)]
enum Note {
    Line { from: String, back: [u8; 16], id: u64, text: String },
    Got { id: u64 },
}

/// A line that somebody wrote to us.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) from: String,
    pub(crate) text: String,
    /// Whether it came from where the person of that name is registered.
    pub(crate) genuine: bool,
}

/// Lines that wait for the other side to say that it got them.
type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<()>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends lines as one person.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    handle: Handle,
    name: String,
    me: OverlayAddr,
    waiting: Waiting,
}

impl Lines {
    /// Begins to take lines; they come out of what is returned.
    pub(crate) async fn start(handle: &Handle, name: &str, me: OverlayAddr) -> Result<(Self, mpsc::Receiver<Line>)> {
        let lines = Self { handle: handle.clone(), name: name.into(), me, waiting: Waiting::default() };
        let (printed, received) = mpsc::channel(WAITING);
        // A stream does here as well as a handler: what is done for a line waits for answers.
        let mut messages = handle.message_receiver(PORT).await?;
        let this = lines.clone();
        tokio::spawn(async move {
            let mut seen = VecDeque::new();
            while let Some(message) = messages.next().await {
                // What is for an address that is ours by inheritance is for somebody who is gone.
                if message.to == this.me
                    && let Ok(note) = serde_json::from_slice(&message.payload)
                {
                    this.take(note, &mut seen, &printed).await;
                }
            }
        });
        Ok((lines, received))
    }

    async fn take(&self, note: Note, seen: &mut VecDeque<(String, u64)>, printed: &mpsc::Sender<Line>) {
        match note {
            Note::Got { id } => {
                if let Some(waiting) = lock(&self.waiting).remove(&id) {
                    let _gave_up = waiting.send(());
                }
            }
            Note::Line { from, back, id, text } => {
                let back = OverlayAddr::from_bytes(back);
                let mark = (from.clone(), id);
                if !seen.contains(&mark) {
                    let genuine = matches!(directory::find(&self.handle, &from).await, Ok(Some(at)) if at == back);
                    if printed.send(Line { from, text, genuine }).await.is_err() {
                        return;
                    }
                    if seen.len() >= REMEMBERED {
                        seen.pop_front();
                    }
                    seen.push_back(mark);
                }
                let _sent_again_if_lost = self.tell(back, &Note::Got { id }).await;
            }
        }
    }

    async fn tell(&self, to: OverlayAddr, note: &Note) -> Result<()> {
        Ok(self.handle.send(1, PORT, to, serde_json::to_vec(note)?).await?)
    }

    /// Sends a line; done when the other side has it.
    pub(crate) async fn send(&self, to: &str, text: &str) -> Result<()> {
        if text.len() > LONGEST {
            bail!("the line has {} bytes: send at most {LONGEST} at once", text.len());
        }
        let id = rand::random();
        let note = Note::Line { from: self.name.clone(), back: self.me.to_bytes(), id, text: text.into() };
        let start = Instant::now();
        let mut registered = false;
        while start.elapsed() < if registered { TRY_FOR } else { TRY_TO_FIND_FOR } {
            match directory::find(&self.handle, to).await {
                Ok(Some(at)) => {
                    registered = true;
                    let (got, answer) = oneshot::channel();
                    lock(&self.waiting).insert(id, got);
                    let sent = self.tell(at, &note).await;
                    let answered = sent.is_ok() && matches!(tokio::time::timeout(WAIT, answer).await, Ok(Ok(())));
                    lock(&self.waiting).remove(&id);
                    if answered {
                        return Ok(());
                    }
                }
                // Gone meanwhile: a withdrawal may be lost, a registration ends by itself.
                Ok(None) => registered = false,
                Err(error) if error.downcast_ref() == Some(&Failure::Closed) => return Err(error),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if registered {
            bail!("{to} did not get {text:?}: the connection seems to be gone; write it again later");
        }
        bail!(
            "{to} did not get {text:?}: nobody is called so here; is `chat --name {to}` running, with a --peer of this network?"
        );
    }
}
