//! Who leads a subgroup, by the owners of the copies of its registration.
//!
//! Each owner can say what it likes: nobody but the members knows who leads them. So all copies are asked, each by itself, and
//! whoever most of them name is tried first. Two that agree are enough, so that nobody waits for the third; when they do not
//! agree, the others have [`WINDOW`] to answer after the first.

use std::cmp::Reverse;

use super::*;

/// How long further answers are waited for after the first that names a leader. choice: a round trip over some hops
const WINDOW: Duration = Duration::from_millis(750);
/// Copies that agree, after which no other is waited for: more than half of three.
const ENOUGH: usize = 2;
/// Questions kept, and for how long: those that nobody answers are forgotten. choice
const MAX_INQUIRIES: usize = 1_024;
const LASTS: Duration = Duration::from_secs(10);

/// One question, put to each copy.
#[derive(Clone, Debug)]
pub(super) struct Inquiry<P> {
    subgroup: OverlayAddr,
    since: Time,
    /// Names of what was asked and has not been answered.
    open: Vec<u64>,
    /// What the copies have said, one row each.
    rows: Vec<LeaderRow<P>>,
    concluded: bool,
}

/// The rows in the order in which their leaders are tried: who is named by more copies, then by rank.
fn in_order<P: Peer>(rows: &[LeaderRow<P>]) -> Vec<(usize, LeaderRow<P>)> {
    let peer = |row: &LeaderRow<P>| row.statement.contact.peer;
    let rank = |row: &LeaderRow<P>| (row.term, Reverse(peer(row)));
    let mut named: Vec<(usize, LeaderRow<P>)> = Vec::new();
    for row in rows {
        match named.iter_mut().find(|(_, other)| peer(other) == peer(row)) {
            Some((copies, other)) => {
                *copies += 1;
                if rank(row) > rank(other) {
                    *other = row.clone();
                }
            }
            None => named.push((1, row.clone())),
        }
    }
    named.sort_by_key(|(copies, row)| Reverse((*copies, rank(row))));
    named
}

impl<P: Peer> Subgroups<P> {
    /// Asks each copy who leads a subgroup; the name of the question.
    pub(super) fn inquire(&mut self, ctx: &mut SubgroupCtx<'_, P>, subgroup: OverlayAddr) -> u64 {
        let (now, inquiry) = (ctx.now, self.next_number());
        self.inquiries.retain(|_, inquiry| now.since(inquiry.since) < LASTS);
        if self.inquiries.len() >= MAX_INQUIRIES {
            return inquiry;
        }
        let payload = to_bytes(&RegistryRequest::<P>::Find(FindRows { most: 1, known: None }));
        let mut open = Vec::new();
        for copy in 0..COPIES {
            let token = self.next_number();
            let (recipients, payload) = (Recipients::Only(copy), payload.clone());
            ctx.out.emit(SubgroupEvent::Ask { token, recipients, to: subgroup, payload });
            open.push(token);
        }
        self.inquiries.insert(inquiry, Inquiry { subgroup, since: now, open, rows: Vec::new(), concluded: false });
        inquiry
    }

    /// A copy has answered, if this is the name of a question to one: whether it is.
    pub(super) fn copy_answered(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        token: u64,
        rows: &[LeaderRow<P>],
    ) -> bool {
        let found = self.inquiries.iter_mut().find(|(_, inquiry)| inquiry.open.contains(&token));
        let Some((name, inquiry)) = found.map(|(name, inquiry)| (*name, inquiry)) else { return false };
        inquiry.open.retain(|open| *open != token);
        let all = inquiry.open.is_empty();
        let row = rows.iter().find(|row| row.statement.subgroup == inquiry.subgroup);
        if let Some(row) = row.filter(|_| !inquiry.concluded) {
            if inquiry.rows.is_empty() && !all {
                ctx.out.arm(WINDOW, SubgroupTimer::Window(name));
            }
            inquiry.rows.push(row.clone());
        }
        let agree = in_order(&inquiry.rows).first().is_some_and(|(copies, _)| *copies >= ENOUGH);
        if agree || all {
            self.conclude(ctx, keys, name);
        }
        if all {
            // Until then a late answer must be known as one.
            self.inquiries.remove(&name);
        }
        true
    }

    /// Enough copies have answered, or they had their time.
    pub(super) fn conclude(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, name: u64) {
        let Some(inquiry) = self.inquiries.get_mut(&name).filter(|inquiry| !inquiry.concluded) else { return };
        inquiry.concluded = true;
        let subgroup = inquiry.subgroup;
        let named = in_order(&inquiry.rows);
        if let Some((_, row)) = named.first() {
            self.heard_of(ctx.now, row.clone());
        }
        for (_, row) in &named {
            self.rival(ctx, keys, subgroup, row.statement.contact.clone(), row.term);
        }
        self.found_sought(ctx);
        for guest in [false, true] {
            let asked = matches!(self.seat(guest).stage, Stage::Finding { token, .. } if token == name);
            if asked {
                let me = self.me.peer;
                let leaders = named.iter().map(|(_, row)| (subgroup, row.statement.contact.clone()));
                self.seat(guest).named = leaders.filter(|(_, leader)| leader.peer != me).collect();
                if !self.ask_next_named(ctx, keys, guest, subgroup) {
                    self.soon(ctx, guest);
                }
            }
        }
        self.greet_leaders(ctx, keys);
    }

    /// Asks the next of those whom the copies have named to let us in, if there is one.
    pub(super) fn ask_next_named(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        guest: bool,
        subgroup: OverlayAddr,
    ) -> bool {
        let next = self.seat(guest).named.pop_front().filter(|(of, _)| *of == subgroup);
        let found = next.is_some();
        if let Some((_, leader)) = next {
            self.ask_leader(ctx, keys, guest, subgroup, leader);
        }
        found
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::sim::StandInKeys;

    fn row(peer: u32, term: u64) -> LeaderRow<u32> {
        let keys = StandInKeys::new(peer);
        let statement = Statement::of(&keys, &Contact::bare(peer), [0; 32], OverlayAddr(5), 3_600, false);
        LeaderRow { statement, term, size: 3, full: 75, signature: Default::default() }.sign(&keys)
    }

    #[test]
    fn whom_more_copies_name_comes_first_and_else_the_higher_term() {
        for (rows, wanted) in [
            (vec![(4, 2), (9, 40), (4, 2)], vec![(2, 4), (1, 9)]),
            (vec![(9, 40), (4, 2)], vec![(1, 9), (1, 4)]),
            (vec![(4, 2), (3, 2)], vec![(1, 3), (1, 4)]),
            (vec![(4, 2), (4, 3), (3, 9)], vec![(2, 4), (1, 3)]),
            (vec![], vec![]),
        ] {
            let rows: Vec<_> = rows.into_iter().map(|(peer, term)| row(peer, term)).collect();
            let order: Vec<_> =
                in_order(&rows).into_iter().map(|(copies, row)| (copies, row.statement.contact.peer)).collect();
            assert_eq!(order, wanted);
        }
    }
}
