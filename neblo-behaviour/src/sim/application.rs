//! What runs on the simulated hosts.

use super::*;

/// What runs on the simulated hosts.
pub trait Application {
    /// An event of one host; what the application wants of its node in answer, each after some time. `None` leaves the event
    /// to the simulator's own application.
    fn event(&mut self, peer: u32, event: &Event<u32>) -> Option<Vec<(Duration, Command<u32>)>>;
}

impl<F: FnMut(u32, &Event<u32>) -> Option<Vec<(Duration, Command<u32>)>>> Application for F {
    fn event(&mut self, peer: u32, event: &Event<u32>) -> Option<Vec<(Duration, Command<u32>)>> {
        self(peer, event)
    }
}

impl Simulation {
    /// The simulator's own application: it searches its rows for the query as a substring, answers requests with their own
    /// payload, and lets pass what passes.
    pub(super) fn happened(&mut self, peer: u32, event: Event<u32>) {
        let mut own = self.application.take();
        let done = own.as_mut().and_then(|application| application.event(peer, &event));
        self.application = own;
        match &event {
            _ if done.is_some() => {
                for (after, command) in done.into_iter().flatten() {
                    self.queue.push(self.now + after, Due::Input(peer, Box::new(Input::Command(command))));
                }
            }
            Event::Passing { pass, payload, .. } => {
                let command = Command::Pass { pass: *pass, passage: Ok(Passage::Forward(payload.clone())) };
                self.queue.push(self.now, Due::Input(peer, Box::new(Input::Command(command))));
            }
            Event::DirectoryAsked { ask, query, .. } => {
                let rows = self.rows_of(peer).iter();
                let matching =
                    rows.filter(|(_, payload)| payload.windows(query.len().max(1)).any(|part| part == query));
                let answer = Command::DirectoryAnswer { ask: *ask, rows: matching.map(|(row, _)| *row).collect() };
                self.queue.push(self.now, Due::Input(peer, Box::new(Input::Command(answer))));
            }
            Event::Asked { ask, payload, .. } => {
                let respond = Command::Respond { ask: *ask, payload: Ok(payload.clone()) };
                self.queue.push(self.now, Due::Input(peer, Box::new(Input::Command(respond))));
            }
            Event::RowAdded { row, payload } => {
                self.hosts[peer as usize].rows.insert(*row, payload.clone());
            }
            Event::RowRemoved { row } => {
                self.hosts[peer as usize].rows.remove(row);
            }
            Event::RowsCleared => self.hosts[peer as usize].rows.clear(),
            _ => {}
        }
        if self.keeping {
            self.events.push((self.now, peer, event));
        }
    }

    /// The rows that the application of a leader has been told of.
    pub fn rows_of(&self, peer: u32) -> &BTreeMap<u64, Vec<u8>> {
        &self.hosts[peer as usize].rows
    }
}
