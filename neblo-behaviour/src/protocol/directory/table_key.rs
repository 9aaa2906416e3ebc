//! The key under which the leader's table lies with its candidates.
//!
//! Candidates relay like all members, and a relay is to read nothing of what is announced. So the copies are sealed, and the
//! key is with two other members, who have no copy: neither can read alone. Who leads next asks them for it; who is handed the
//! lead gets it from the leader itself. Is no such member left, the publishers announce again, as they do anyhow.

use super::*;
use crate::protocol::io::draw;

/// Members that keep the key. choice: one may be dead
const KEEPERS: usize = 2;
/// Members from the top of the order among whom they are: those further down have been there for less long. choice
const AMONG: usize = 8;
/// Keys that a keeper has: of a leader's last copy, and of the one before. choice
const MOST_HELD: usize = 2;
/// Who has had a copy, before another key is taken. choice
const MOST_COPIED: usize = 64;
/// A new leader asks again after this, and so often: then it lets the copy go. choice
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASKS: u64 = 5;

/// The leader's own.
#[derive(Debug)]
pub(super) struct OwnTableKey<P> {
    pub(super) key: [u8; 32],
    /// Who has had a copy under this key, and must not get it.
    copied: BTreeSet<P>,
    keepers: BTreeSet<P>,
    /// As a new leader: keys that a member has sent for the copy of the one before.
    answers: BTreeMap<P, usize>,
}

impl<P> Default for OwnTableKey<P> {
    fn default() -> Self {
        Self { key: [0; 32], copied: BTreeSet::new(), keepers: BTreeSet::new(), answers: BTreeMap::new() }
    }
}

impl<P: Peer> OwnTableKey<P> {
    pub(super) fn draw(rng: &mut dyn rand::Rng) -> Self {
        Self { key: draw(rng), ..Self::default() }
    }
}

impl<P: Peer> Directory<P> {
    /// Gives the key to whom it may be given, and takes another when a keeper is to get a copy.
    pub(super) fn keep_key(&mut self, ctx: &mut DirectoryCtx<'_, P>, followers: &[Contact<P>]) {
        let Some((subgroup, _)) = self.leads else { return };
        let kept = followers.iter().any(|follower| self.table_key.keepers.contains(&follower.peer));
        if kept || self.table_key.copied.len() > MOST_COPIED {
            self.table_key = OwnTableKey::draw(ctx.rng);
            self.copy_anew(ctx);
        }
        self.table_key.copied.extend(followers.iter().map(|follower| follower.peer));
        let (me, own) = (self.me.peer, &self.table_key);
        let may = |member: &&Contact<P>| member.peer != me && !own.copied.contains(&member.peer);
        let there: Vec<_> = self.members.iter().take(AMONG + 1).filter(may).cloned().collect();
        self.table_key.keepers.retain(|keeper| there.iter().any(|member| member.peer == *keeper));
        // The lower in the order, the later it comes to be a candidate.
        for member in there.iter().rev() {
            if self.table_key.keepers.len() >= KEEPERS || followers.is_empty() {
                break;
            }
            if self.table_key.keepers.insert(member.peer) {
                let key = TableKey { subgroup, key: self.table_key.key };
                ctx.out.send(member, DirectoryMessage::TableKey(key));
            }
        }
    }

    /// A new leader asks all who may have it.
    pub(super) fn ask_for_key(&mut self, ctx: &mut DirectoryCtx<'_, P>) {
        self.ask_again(ctx, 0);
    }

    pub(super) fn ask_again(&mut self, ctx: &mut DirectoryCtx<'_, P>, tried: u64) {
        if tried >= ASKS {
            self.sealed.clear();
        }
        self.search_unread(ctx);
        let Some((subgroup, _)) = self.leads.filter(|_| !self.sealed.is_empty()) else { return };
        for member in self.members.iter().take(AMONG + 2).filter(|member| member.peer != self.me.peer) {
            ctx.out.send(member, DirectoryMessage::AskTableKey(AskTableKey { subgroup }));
        }
        ctx.out.arm(ASK_AGAIN, DirectoryTimer::TableKey(tried + 1));
    }

    /// Only the leader that we follow is told, which it is to us when the one before is gone or has handed over.
    pub(super) fn asked_for_key(&mut self, ctx: &mut DirectoryCtx<'_, P>, from: P, ask: &AskTableKey) {
        if self.follows != Some((ask.subgroup, from)) {
            return;
        }
        for (subgroup, key) in self.held_keys.iter().filter(|(subgroup, _)| *subgroup == ask.subgroup) {
            let key = TableKey { subgroup: *subgroup, key: *key };
            ctx.out.send(&Contact::bare(from), DirectoryMessage::TableKey(key));
        }
    }

    /// From the leader, to be kept; or, to a new leader, from a member that has kept it.
    pub(super) fn key_came(&mut self, ctx: &mut DirectoryCtx<'_, P>, keys: &dyn Keys<P>, from: P, came: &TableKey) {
        if self.follows == Some((came.subgroup, from)) && self.leads.is_none() {
            self.hold_key(came);
        } else if self.leads.is_some_and(|(subgroup, _)| subgroup == came.subgroup) && !self.sealed.is_empty() {
            let answers = self.table_key.answers.entry(from).or_insert(0);
            *answers += 1;
            if *answers > MOST_HELD || !self.members.iter().any(|member| member.peer == from) {
                return;
            }
            // A key that opens nothing takes no other's place.
            let held = std::mem::replace(&mut self.held_keys, [(came.subgroup, came.key)].into());
            self.unseal(ctx, keys);
            self.held_keys = held;
            self.search_unread(ctx);
        }
    }

    fn hold_key(&mut self, came: &TableKey) {
        if self.held_keys.contains(&(came.subgroup, came.key)) {
            return;
        }
        if self.held_keys.len() >= MOST_HELD {
            self.held_keys.pop_front();
        }
        self.held_keys.push_back((came.subgroup, came.key));
    }
}
