//! Requests and messages that run all the while, and what became of them.

use std::collections::BTreeMap;
use std::time::Duration;

use neblo_behaviour::protocol::interface::{Answer, Failure};
use neblo_behaviour::protocol::io::Time;

/// The port of all traffic.
pub(crate) const PORT: u16 = 2_000;
/// How long every request waits.
pub(crate) const TIME_OUT: Duration = Duration::from_secs(8);

struct Pending {
    deadline: Time,
    payload: Vec<u8>,
    rough: bool,
}

/// How requests ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    pub asked: u64,
    pub answered: u64,
    pub timed_out: u64,
    pub failed: u64,
}

/// All requests of a run.
#[derive(Default)]
pub(crate) struct Traffic {
    pending: BTreeMap<(u32, u64), Pending>,
    /// By deadline, so that the overdue are found at once.
    due: BTreeMap<(Time, u32, u64), ()>,
    /// Asked while all was well, and while frames were lost or the network was parted.
    pub calm: Ends,
    pub rough: Ends,
}

impl Traffic {
    pub(crate) fn asked(&mut self, now: Time, host: u32, token: u64, payload: Vec<u8>, rough: bool) {
        let deadline = now + TIME_OUT;
        self.ends(rough).asked += 1;
        self.pending.insert((host, token), Pending { deadline, payload, rough });
        self.due.insert((deadline, host, token), ());
    }

    fn ends(&mut self, rough: bool) -> &mut Ends {
        if rough { &mut self.rough } else { &mut self.calm }
    }

    /// Whether this is the token of a request.
    pub(crate) fn is_pending(&self, host: u32, token: u64) -> bool {
        self.pending.contains_key(&(host, token))
    }

    /// The asker is gone: nobody waits any more.
    pub(crate) fn forget(&mut self, host: u32) {
        let tokens: Vec<_> = self.pending.range((host, 0)..=(host, u64::MAX)).map(|(key, _)| *key).collect();
        for key in tokens {
            let pending = self.pending.remove(&key).unwrap();
            self.due.remove(&(pending.deadline, key.0, key.1));
            self.ends(pending.rough).asked -= 1;
        }
    }

    pub(crate) fn ended(&mut self, now: Time, host: u32, token: u64, answers: &[Answer]) -> Result<(), String> {
        let Some(pending) = self.pending.remove(&(host, token)) else {
            return Err(format!("a second result for request {token} of {host}: {answers:?}"));
        };
        self.due.remove(&(pending.deadline, host, token));
        let ends = self.ends(pending.rough);
        match answers {
            [Answer::Response(payload)] if *payload == pending.payload => ends.answered += 1,
            [Answer::Failed(Failure::TimedOut)] => ends.timed_out += 1,
            [Answer::Failed(_)] => ends.failed += 1,
            other => return Err(format!("request {token} of {host} ended in {other:?}")),
        }
        match now.since(pending.deadline) {
            Duration::ZERO => Ok(()),
            late => Err(format!("request {token} of {host} ended {late:?} after its time-out")),
        }
    }

    /// Every request ends in a result within its time-out.
    pub(crate) fn overdue(&mut self, now: Time) -> Result<(), String> {
        match self.due.first_key_value() {
            Some((&(deadline, host, token), ())) if deadline < now => {
                self.due.pop_first();
                Err(format!("request {token} of {host} has no result {:?} after its time-out", now.since(deadline)))
            }
            _ => Ok(()),
        }
    }
}
