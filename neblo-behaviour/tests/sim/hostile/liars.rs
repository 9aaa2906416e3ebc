//! Peers that take part in the ring and answer requests that come to them, or go through them, with what they like.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::*;
use neblo_behaviour::protocol::Blob;
use neblo_behaviour::protocol::io::Time;
use neblo_behaviour::protocol::messaging::{MessagingMessage, Request, Response};
use neblo_behaviour::protocol::wire::Frame;

/// What becomes of a request that a liar is sent.
pub(super) enum Lie {
    Silence,
    Say(Vec<u8>),
}

/// Answers on their way: when, by whom, to whom.
type Due = Rc<RefCell<VecDeque<(Time, u32, u32, Frame<u32>)>>>;

/// They see what is sent to them before their nodes do.
pub(super) struct Liars {
    due: Due,
}

impl Liars {
    /// `lie` is shown each request and to whom it is sent; who lies, answers after `takes`, both ways of the last link included.
    pub(super) fn who(
        sim: &mut Simulation,
        takes: Duration,
        lie: impl Fn(u32, &Request) -> Option<Lie> + 'static,
    ) -> Self {
        let due = Due::default();
        let answers = due.clone();
        sim.filter_frames(move |sent| {
            let Frame::Messaging(MessagingMessage::Request(request)) = sent.frame else { return true };
            match lie(sent.to, request) {
                None => true,
                Some(Lie::Silence) => false,
                Some(Lie::Say(payload)) => {
                    let response = Response { track: request.track, payload: Blob::new(payload).unwrap(), onion: None };
                    let frame = Frame::Messaging(MessagingMessage::Response(response));
                    answers.borrow_mut().push_back((sent.at + takes, sent.to, sent.from, frame));
                    false
                }
            }
        });
        Self { due }
    }

    /// Runs the network with what they say until `done`, or for some time; whether it was done.
    pub(super) fn run_until(
        &self,
        sim: &mut Simulation,
        time: Duration,
        mut done: impl FnMut(&Simulation) -> bool,
    ) -> bool {
        let (end, mut look) = (sim.now() + time, sim.now());
        loop {
            if sim.now() >= look {
                if done(sim) {
                    return true;
                }
                look = sim.now() + Duration::from_millis(10);
            }
            let next = self.due.borrow().front().map(|(at, ..)| *at);
            if next.is_some_and(|at| at <= sim.now()) {
                let Some((_, from, to, frame)) = self.due.borrow_mut().pop_front() else { continue };
                sim.inject(from, to, frame);
            } else if !sim.step(next.map_or(end, |at| at.min(end))) && sim.now() >= end {
                return done(sim);
            }
        }
    }

    pub(super) fn run(&self, sim: &mut Simulation, time: Duration) {
        self.run_until(sim, time, |_| false);
    }
}
