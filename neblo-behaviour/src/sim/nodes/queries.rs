//! What peers ask for, and the answers of their nodes: a lookup, the download of one hit after another, and the same again some
//! time after all have failed.

use super::*;
use crate::address::OverlayAddr;
use crate::protocol::interface::{Failure, Hit};

/// Hits of one leader that are wanted.
const HITS: u16 = 16;

/// An answer that is waited for.
#[derive(Clone, Debug)]
pub(super) struct Waits {
    pub(super) peer: u32,
    pub(super) stay: u32,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Subscribed,
    Announced(u32),
    /// The lookup of a query, of this try.
    Lookup(u64, u8),
    /// A download of a query, of this try.
    Connect(u64, u8),
}

/// A query, over all its tries.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) peer: u32,
    content: u32,
    retries: u8,
    /// When this try began.
    began: Time,
    /// Hits that were not tried yet.
    hits: Vec<Hit>,
    /// Those that were, by what tells them apart.
    tried: Vec<(OverlayAddr, u64)>,
    connecting: bool,
    looking: bool,
    /// Why the last download failed.
    reason: Option<String>,
}

impl Query {
    /// Whether it waits for its node, and not for the time to be tried again.
    pub(super) fn is_open(&self) -> bool {
        self.looking || self.connecting
    }
}

impl Nodes {
    /// The next query of a peer that has come, or whose last one began or ended.
    pub(super) fn ask_later(&mut self, peer: u32) {
        if let Some(after) = self.scenario.world.next_query(&mut self.load) {
            let stay = self.places[peer as usize].stay;
            self.after(after, Due::Ask { peer, stay });
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
            let there = self.scenario.world.wanted == Wanted::Any || self.present(owner);
            (owner != peer && there).then_some(content)
        });
        let Some(content) = wanted else { return };
        self.next += 1;
        let query = Query {
            peer,
            content,
            retries: self.scenario.world.retries,
            began: self.sim.now(),
            hits: Vec::new(),
            tried: Vec::new(),
            connecting: false,
            looking: false,
            reason: None,
        };
        self.queries.insert(self.next, query);
        self.try_again(self.next);
    }

    pub(super) fn try_again(&mut self, name: u64) {
        let (now, window) = (self.sim.now(), self.scenario.world.window);
        let Some(query) = self.queries.get_mut(&name) else { return };
        (query.looking, query.connecting, query.reason) = (true, false, None);
        query.began = now;
        query.hits.clear();
        query.tried.clear();
        let (peer, retries, wanted) = (query.peer, query.retries, query.content.to_le_bytes().to_vec());
        self.hour.requests += 1;
        let limit = HITS;
        let look_up = |token| Command::Lookup { token, query: wanted, limit, window, allow_weak: false };
        let token = self.sim.command(peer, look_up);
        self.wait(token, peer, What::Lookup(name, retries));
    }

    pub(super) fn look_at_answers(&mut self) {
        while let Some(((peer, token), answers)) = self.sim.answers.pop_first() {
            for answer in answers {
                let waits = self.waits.get(&token).filter(|waits| self.is_stay(peer, waits.stay));
                if let Some(what) = waits.map(|waits| waits.what) {
                    self.answered(peer, token, what, answer);
                }
            }
        }
    }

    fn answered(&mut self, peer: u32, token: Token, what: What, answer: Answer) {
        if !matches!(answer, Answer::Hits { .. }) {
            self.waits.remove(&token);
        }
        let (now, stay) = (self.sim.now(), self.places[peer as usize].stay);
        match (what, answer) {
            (What::Subscribed, Answer::Subscribed { .. }) => self.places[peer as usize].subscribed = true,
            (What::Subscribed, _) => self.after(AGAIN, Due::Subscribe { peer, stay }),
            (What::Announced(content), Answer::Announced(_)) => {
                let place = &mut self.places[peer as usize];
                place.unpublished.retain(|other| *other != content);
                self.published[content as usize] = now;
                if place.unpublished.is_empty() {
                    self.hour.published.push(now.since(place.since));
                }
            }
            (What::Announced(content), _) => self.after(AGAIN, Due::Announce { peer, stay, content }),
            (What::Lookup(name, retries), answer) => self.looked_up(name, retries, answer),
            (What::Connect(name, retries), answer) => self.connected(name, retries, token, answer),
        }
    }

    /// The query, if it is still at this try.
    fn query(&mut self, name: u64, retries: u8) -> Option<&mut Query> {
        self.queries.get_mut(&name).filter(|query| query.retries == retries)
    }

    fn looked_up(&mut self, name: u64, retries: u8, answer: Answer) {
        let Some(query) = self.query(name, retries) else { return };
        match answer {
            Answer::Hits { hits, .. } => {
                for hit in hits {
                    // The paper's hits say neither where nor how they are registered, and there is one for each content.
                    let place = (hit.subgroup, hit.registration);
                    if content_of(&hit.payload) == Some(query.content) && !query.tried.contains(&place) {
                        query.tried.push(place);
                        query.hits.push(hit);
                    }
                }
            }
            Answer::LookupEnded { answered, asked } => {
                query.looking = false;
                if query.reason.is_none() {
                    let some = if answered < asked { "of some leaders" } else { "of all leaders" };
                    query.reason = Some(format!("not found; heard {some}"));
                }
            }
            Answer::Failed(failure) => {
                query.looking = false;
                query.reason = Some(format!("lookup: {}", word(&failure)));
            }
            _ => return,
        }
        self.go_on(name, retries);
    }

    /// Tries the next hit; without one, and when no more will come, the query has failed.
    fn go_on(&mut self, name: u64, retries: u8) {
        let Some(query) = self.query(name, retries).filter(|query| !query.connecting) else { return };
        let peer = query.peer;
        if query.hits.is_empty() {
            if !query.looking {
                self.failed(name);
            }
            return;
        }
        let hit = Box::new(query.hits.remove(0));
        query.connecting = true;
        let token = self.sim.command(peer, |token| Command::Connect { token, hit, allow_weak: false });
        self.wait(token, peer, What::Connect(name, retries));
    }

    fn connected(&mut self, name: u64, retries: u8, token: Token, answer: Answer) {
        let Some(query) = self.query(name, retries) else { return };
        let peer = query.peer;
        match answer {
            Answer::Ok => {
                let found = self.sim.streams().iter().rev().find(|(_, stream)| stream.token == token);
                if let Some((stream, hops)) = found.map(|(name, stream)| (*name, stream.hops.len())) {
                    self.hour.hops += hops.saturating_sub(1) as u64;
                    self.after(self.scenario.download, Due::Close(stream));
                }
                self.hour.delivered += 1;
                self.queries.remove(&name);
                if self.scenario.world.asking == Asking::InTurn {
                    self.ask_later(peer);
                }
            }
            Answer::Failed(failure) => {
                (query.connecting, query.reason) = (false, Some(format!("connect: {}", word(&failure))));
                self.go_on(name, retries);
            }
            _ => {}
        }
    }

    fn failed(&mut self, name: u64) {
        let Some(query) = self.queries.get_mut(&name) else { return };
        let (peer, content, reason) = (query.peer, query.content, query.reason.take().unwrap_or_default());
        let began = query.began;
        let left = query.retries.checked_sub(1);
        query.retries = left.unwrap_or(0);
        match left {
            Some(_) => self.after(self.scenario.world.retry_after, Due::Retry(name)),
            None => {
                self.queries.remove(&name);
                if self.scenario.world.asking == Asking::InTurn {
                    self.ask_later(peer);
                }
            }
        }
        let now = self.sim.now();
        let owner = &self.places[self.owners[content as usize] as usize];
        let asker = &self.places[peer as usize];
        let hour = &mut self.hour;
        if !owner.present {
            hour.owner_away += 1;
        } else if owner.unpublished.contains(&content) || self.published[content as usize] >= began {
            // No leader had acknowledged it when this try began.
            hour.not_published += 1;
        } else if now.since(asker.since) < NEW {
            hour.asker_new += 1;
        } else {
            hour.failed += 1;
            let reason = format!("{reason}; {}", self.where_listed(peer, content));
            *self.hour.reasons.entry(reason).or_insert(0) += 1;
        }
    }
}

impl Nodes {
    /// How many leaders list a content, and how many of them the leader of this peer knows.
    fn where_listed(&self, peer: u32, content: u32) -> String {
        let by = self.shared.borrow().listed_by(content);
        let leader =
            self.sim.node(peer).subgroups().home().and_then(|home| home.leader()).map(|leader| leader.contact.peer);
        let known = |other: &u32| {
            let Some(leader) = leader else { return false };
            let mut known = self.sim.node(leader).subgroups().leaders().map(|row| row.statement.contact.peer);
            leader == *other || known.any(|known| known == *other)
        };
        let known = by.iter().filter(|other| known(other)).count();
        format!("listed by {} leaders, {known} of them known to the one that asked", by.len())
    }
}

/// A failure in a word or two: its text without what is in it.
fn word(failure: &Failure) -> String {
    let text = format!("{failure:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_string()
}
