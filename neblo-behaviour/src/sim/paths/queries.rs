//! What peers ask for: a lookup, a download of the first hit, and the same again some time after a failure.

use super::*;
use crate::protocol::interface::{Answer, Hit};

/// Hits of one lookup that are wanted.
const HITS: u16 = 16;

/// A query, over all its tries.
pub(super) struct Query {
    /// Tells it from those that had its place before.
    generation: u32,
    peer: u32,
    stay: u32,
    content: u32,
    retries: u8,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Over,
    Waiting,
    LookingUp,
    Downloading,
}

impl PathLayer {
    /// The next query of a peer that has come, or whose last one began or ended.
    pub(super) fn ask_later(&mut self, peer: u32) {
        if let Some(after) = self.scenario.world.next_query(&mut self.load) {
            let stay = self.places[peer as usize].stay;
            self.network.after(after, Due::Ask { peer, stay });
        }
    }

    pub(super) fn ask(&mut self, peer: u32) {
        if self.scenario.world.asking == Asking::Always {
            self.ask_later(peer);
        }
        // A content of somebody else; when there is none, as when all owners are away, nothing is asked.
        let wanted = (0..1_000).find_map(|_| {
            let content = (self.load.next_u64() % self.owners.len().max(1) as u64) as u32;
            let owner = *self.owners.get(content as usize)?;
            let there = self.scenario.world.wanted == Wanted::Any || self.places[owner as usize].present;
            (owner != peer && there).then_some(content)
        });
        match wanted {
            Some(content) => self.ask_for(peer, content),
            None if self.scenario.world.asking == Asking::InTurn => self.ask_later(peer),
            None => {}
        }
    }

    pub(super) fn ask_for(&mut self, peer: u32, content: u32) {
        let stay = self.places[peer as usize].stay;
        let query =
            Query { generation: 0, peer, stay, content, retries: self.scenario.world.retries, stage: Stage::Waiting };
        let place = match self.free.pop() {
            Some(place) => {
                let old = &mut self.queries[place as usize];
                *old = Query { generation: old.generation + 1, ..query };
                place
            }
            None => {
                self.queries.push(query);
                (self.queries.len() - 1) as u32
            }
        };
        self.try_again(u64::from(self.queries[place as usize].generation) << 32 | u64::from(place));
    }

    /// The query that a token names, unless it is over; over is what was asked by a peer that has gone since.
    fn query(&mut self, token: u64) -> Option<&mut Query> {
        let place = token as u32;
        let query = self.queries.get_mut(place as usize)?;
        if u64::from(query.generation) != token >> 32 || query.stage == Stage::Over {
            return None;
        }
        let asker = &self.places[query.peer as usize];
        if !asker.present || asker.stay != query.stay {
            query.stage = Stage::Over;
            self.free.push(place);
            return None;
        }
        Some(query)
    }

    pub(super) fn try_again(&mut self, token: u64) {
        let Some(query) = self.query(token) else { return };
        query.stage = Stage::LookingUp;
        let (peer, wanted) = (query.peer, query.content.to_le_bytes().to_vec());
        self.network.hour.requests += 1;
        let what = (wanted, HITS, self.scenario.world.window);
        let begun = self.act(peer, |paper, ctx, keys| paper.look_up(ctx, keys, (token, true), what));
        if !matches!(begun, Some(Ok(()))) {
            self.failed(token);
        }
    }

    pub(super) fn answered(&mut self, token: u64, answer: Answer) {
        let Some(stage) = self.query(token).map(|query| query.stage) else { return };
        match answer {
            Answer::Hits { hits, .. } if stage == Stage::LookingUp => self.found(token, &hits),
            Answer::LookupEnded { .. } if stage == Stage::LookingUp => self.failed(token),
            Answer::Failed(_) if stage == Stage::Downloading => self.failed(token),
            _ => {}
        }
    }

    fn found(&mut self, token: u64, hits: &[Hit]) {
        let Some((query, hit)) = self.query(token).zip(hits.first()) else { return };
        query.stage = Stage::Downloading;
        let peer = query.peer;
        let begun = self.act(peer, |paper, ctx, _| paper.connect(ctx, (token, true), hit));
        if !matches!(begun, Some(Ok(()))) {
            self.failed(token);
        }
    }

    pub(super) fn delivered(&mut self, token: u64) {
        if self.query(token).is_none() {
            return;
        }
        self.network.hour.delivered += 1;
        self.network.hour.hops += self.hops;
        self.over(token);
    }

    fn failed(&mut self, token: u64) {
        let Some((stage, content)) = self.query(token).map(|query| (query.stage, query.content)) else { return };
        let owner_there = self.places[self.owners[content as usize] as usize].present;
        let hour = &mut self.network.hour;
        *match (stage == Stage::Downloading, owner_there) {
            (false, true) => &mut hour.unanswered,
            (false, false) => &mut hour.unanswered_owner_away,
            (true, true) => &mut hour.undelivered,
            (true, false) => &mut hour.undelivered_owner_away,
        } += 1;
        let Some(query) = self.query(token) else { return };
        match query.retries.checked_sub(1) {
            Some(left) => {
                (query.retries, query.stage) = (left, Stage::Waiting);
                self.network.after(self.scenario.world.retry_after, Due::Retry { query: token });
            }
            None => self.over(token),
        }
    }

    fn over(&mut self, token: u64) {
        let Some(query) = self.query(token) else { return };
        query.stage = Stage::Over;
        let peer = query.peer;
        self.free.push(token as u32);
        if self.scenario.world.asking == Asking::InTurn {
            self.ask_later(peer);
        }
    }
}
