//! Imprecise fingers (seed 000 §6.1, design D6): of a finger it is known only that it lies in [2^i, 2^i (1 + delta)) from
//! here. No frame carries its address.

use super::*;
use crate::protocol::io::Time;
use rand::Rng;

/// Fingers kept a level (design D6).
const A_LEVEL: usize = 2;
/// Turns that all levels get one after another when a peer is new to the ring, and when its ring has grown. choice: two a level; what
/// found nobody is asked for again by what follows
const TURNS: u8 = 2;
/// Rounds between two requests when none are due: at first, so many times, and then. choice: minutes after many have joined at once
/// routes are as long as over an ideal ring; then some hours replace all, and a dead one is replaced at once
const YOUNG: (u32, u32) = (15, 24);
const SELDOM: u32 = 600;
/// Lost fingers of which each is made up for by itself; of more a turn of all levels takes care. choice
const MAX_LOST: usize = 16;
/// Requests a round when some are due. choice
const AT_ONCE: usize = 4;
/// What is added to the slack, as a factor. choice
const SLACK_MARGIN: f64 = 1.0625;
/// How long routes pass a peer by that could not be reached. choice: a few rounds of stabilising, which mend the lists
const SHUNNED_FOR: Duration = Duration::from_secs(10);
/// Peers passed by at once. choice
const MAX_SHUNNED: usize = 64;

/// One long link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finger<P> {
    /// Its level i.
    pub level: u8,
    /// The peer.
    pub contact: Contact<P>,
    /// Messages it has carried on.
    pub delivered: u64,
}

/// The long links of a peer, at most two a level.
#[derive(Clone, Debug)]
pub struct Fingers<P> {
    fingers: Vec<Finger<P>>,
    delta: f64,
    next_level: u8,
    /// Turns of all levels that are due now rather than from time to time.
    due: u8,
    /// Levels that have lost a finger: another one is due now.
    lost: Vec<u8>,
    /// Requests since then, made from time to time, and rounds since the last one.
    asked: (u32, u32),
    /// Most levels in one turn.
    levels: u8,
    /// Peers that could not be reached, and since when: routes pass them by for a while.
    shunned: Vec<(P, Time)>,
}

impl<P: Peer> Fingers<P> {
    /// No fingers yet; `delta` is the relative width.
    pub fn new(delta: f64) -> Self {
        Self {
            fingers: Vec::new(),
            delta,
            next_level: 127,
            due: TURNS,
            lost: Vec::new(),
            asked: (0, 0),
            levels: 0,
            shunned: Vec::new(),
        }
    }

    /// All fingers.
    pub fn iter(&self) -> impl Iterator<Item = &Finger<P>> {
        self.fingers.iter()
    }

    /// A peer could not be reached: routes pass it by for some time.
    pub fn shun(&mut self, peer: P, now: Time) {
        self.shunned.retain(|(other, since)| *other != peer && now.since(*since) < SHUNNED_FOR);
        if self.shunned.len() >= MAX_SHUNNED {
            self.shunned.remove(0);
        }
        self.shunned.push((peer, now));
    }

    /// Forgets who could not be reached long ago, or has been reached since.
    pub fn forgive(&mut self, now: Time, reached: Option<P>) {
        self.shunned.retain(|(peer, since)| Some(*peer) != reached && now.since(*since) < SHUNNED_FOR);
    }

    /// Whether routes pass a peer by.
    pub fn is_shunned(&self, peer: P) -> bool {
        self.shunned.iter().any(|(shunned, _)| *shunned == peer)
    }

    /// Forgets a peer; another one in its place is due.
    pub fn remove(&mut self, peer: P) {
        let lost = &mut self.lost;
        self.fingers.retain(|finger| {
            let stays = finger.contact.peer != peer;
            if !stays {
                lost.push(finger.level);
            }
            stays
        });
        if lost.len() > MAX_LOST {
            lost.clear();
            self.due = self.due.max(1);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.fingers.clear();
        self.lost.clear();
        (self.next_level, self.due, self.asked, self.levels) = (127, TURNS, (0, 0), 0);
    }

    /// Whether fingers are to be asked for now; else from time to time is enough.
    pub fn are_due(&self) -> bool {
        self.due > 0 || !self.lost.is_empty()
    }

    /// So many rounds have passed; how many fingers are to be asked for now.
    pub fn wanted_after(&mut self, rounds: u32) -> usize {
        if self.due > 0 {
            self.asked = (0, 0);
            return AT_ONCE;
        }
        if !self.lost.is_empty() {
            return self.lost.len().min(AT_ONCE);
        }
        let (times, waited) = self.asked;
        let waited = waited.saturating_add(rounds);
        let every = if times < YOUNG.1 { YOUNG.0 } else { SELDOM };
        // Rounds may be further apart than requests.
        let now = (waited / every).min(AT_ONCE as u32);
        self.asked = (times.saturating_add(now), if now > 0 { 0 } else { waited });
        now as usize
    }

    /// The part of a width, of 2^i, that the answerer has to choose from: as much of half of it as some level fills to the
    /// end, and a little more for what lies between a target and its owner. Of a rounder half the rest would stay empty,
    /// fingers would be shorter than their width says, and routes longer (14 % with delta 1 among 6,400 peers).
    fn slack_part(&self) -> f64 {
        // The levels below i end at (1 + delta)/2, (1 + delta)/4, ... of 2^i.
        let whole = (1.0 + self.delta) * SLACK_MARGIN;
        let steps = (2.0 * whole / self.delta.max(f64::MIN_POSITIVE)).log2().ceil();
        whole * (-steps).exp2()
    }

    /// How far past a target of level i the answerer may lie.
    pub fn slack(&self, level: u8) -> u128 {
        (2f64.powi(i32::from(level)) * self.slack_part()) as u128
    }

    /// The upper bound of level i: 2^i (1 + delta).
    fn upper(&self, level: u8) -> u128 {
        (2f64.powi(i32::from(level)) * (1.0 + self.delta)) as u128
    }

    /// The level to ask for next; none when all levels have had their turn, and the next one begins again. Levels that the
    /// successor list covers are left out.
    pub fn next_level(&mut self, ring: &Ring<P>) -> Option<u8> {
        let me = ring.me()?;
        let last = ring.successors().last()?;
        if ring.successors().len() < MAX_SUCCESSORS {
            return None;
        }
        let covered = 127u32.saturating_sub(me.address.distance_to(last.address).leading_zeros());
        if self.due == 0
            && let Some(level) = self.lost.pop()
        {
            return Some(level).filter(|level| u32::from(*level) > covered);
        }
        self.lost.clear();
        let level = self.next_level;
        if u32::from(level) <= covered {
            self.next_level = 127;
            let levels = 127 - level;
            // In a ring that has grown there are levels that never had a turn.
            self.due = if levels > self.levels { self.due.max(TURNS) } else { self.due }.saturating_sub(1);
            self.levels = self.levels.max(levels);
            return None;
        }
        self.next_level = level.saturating_sub(1);
        Some(level)
    }

    /// A target for level i: uniform in what the slack leaves of [2^i, 2^i (1 + delta)) from `me`.
    pub fn target(&self, me: OverlayAddr, level: u8, rng: &mut dyn Rng) -> OverlayAddr {
        let width = (2f64.powi(i32::from(level)) * (self.delta - self.slack_part())) as u128;
        me.offset((1u128 << level.min(127)).wrapping_add(draw_u128(rng) % width.max(1)))
    }

    /// Learns a finger; of more than two a level the one that carried least goes. Whether it was not known.
    pub fn learn(&mut self, level: u8, contact: Contact<P>) -> bool {
        if self.fingers.iter().any(|finger| finger.contact == contact && finger.level >= level) {
            return false;
        }
        self.fingers.retain(|finger| finger.contact != contact);
        self.fingers.push(Finger { level, contact, delivered: 0 });
        let newest = self.fingers.len() - 1;
        let same: Vec<usize> =
            (0..newest).filter(|at| self.fingers.get(*at).is_some_and(|finger| finger.level == level)).collect();
        if same.len() >= A_LEVEL
            && let Some(worst) =
                same.into_iter().min_by_key(|at| self.fingers.get(*at).map_or(0, |finger| finger.delivered))
        {
            self.fingers.remove(worst);
        }
        true
    }

    /// Counts a message that a finger carried on.
    pub fn carried(&mut self, peer: P) {
        if let Some(finger) = self.fingers.iter_mut().find(|finger| finger.contact.peer == peer) {
            finger.delivered += 1;
        }
    }

    /// The farthest finger whose upper bound does not pass `distance`, with its lower bound.
    pub fn farthest_within(&self, distance: u128) -> Option<(u128, &Contact<P>)> {
        // Upper bounds grow with the level: one is worked out for all fingers, not one for each.
        let mut highest = 127u32.checked_sub(distance.leading_zeros())? as u8;
        while self.upper(highest) > distance {
            highest = highest.checked_sub(1)?;
        }
        let within = self.fingers.iter().filter(|finger| finger.level <= highest);
        within
            .max_by_key(|finger| (finger.level, finger.delivered))
            .map(|finger| (1u128 << finger.level.min(127), &finger.contact))
    }
}

impl<P: Peer> Ring<P> {
    /// Who answers a finger request for `target` with this slack: ourselves, or a peer of our own at most that much past it.
    ///
    /// Each part of the slack has its chance by its size, so that a finger lies anywhere in its width: the successors alone
    /// would always answer from next to the target, which would make fingers shorter (12 % more hops among 6,400 peers) and
    /// tell the asker their addresses all but exactly.
    pub fn finger_answerer(
        &self,
        target: OverlayAddr,
        slack: u128,
        fingers: &Fingers<P>,
        rng: &mut dyn Rng,
    ) -> Option<Contact<P>> {
        let me = self.me()?;
        let near = |principal: &&Principal<P>| target.distance_to(principal.address) <= slack;
        let list: Vec<_> = std::iter::once(me).chain(&self.successors).take_while(near).collect();
        let covered = target.distance_to(list.last()?.address);
        let here = target.distance_to(me.address);
        // A level stands for the part of the slack from its lower bound on, which is as wide as that bound.
        let mut candidates: Vec<(u128, &Contact<P>)> = Vec::new();
        let share = (covered / list.len() as u128).max(1);
        candidates.extend(list.iter().map(|principal| (share, &principal.contact)));
        for finger in &fingers.fingers {
            let lower = 1u128 << finger.level.min(127);
            let upper = here.saturating_add(fingers.upper(finger.level));
            if upper <= slack && here.saturating_add(lower) > covered {
                let twins = fingers.fingers.iter().filter(|other| other.level == finger.level).count();
                candidates.push((lower / twins.max(1) as u128, &finger.contact));
            }
        }
        let all: u128 = candidates.iter().map(|(share, _)| share).sum();
        let mut draw = draw_u128(rng) % all.max(1);
        for (share, contact) in candidates {
            match draw.checked_sub(share) {
                Some(left) => draw = left,
                None => return Some(contact.clone()),
            }
        }
        None
    }
}

fn draw_u128(rng: &mut dyn Rng) -> u128 {
    (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{member, principal};
    use super::*;

    #[test]
    fn a_lost_finger_is_made_up_for_by_itself_and_many_by_a_turn_of_all_levels() {
        let mut ring = member();
        ring.successors = (2..10).map(|peer| principal(peer, u128::from(peer) * 100)).collect();
        let mut fingers = Fingers::new(0.5);
        while fingers.are_due() {
            fingers.next_level(&ring);
        }
        for (level, peer) in [(40, 20), (60, 21), (60, 22)] {
            assert!(fingers.learn(level, Contact::bare(peer)));
        }
        fingers.remove(21);
        assert!(fingers.are_due());
        assert_eq!(fingers.wanted_after(1), 1);
        assert_eq!(fingers.next_level(&ring), Some(60));
        assert!(!fingers.are_due());
        // Who is no finger is no loss, and a level that the list covers by now needs none.
        fingers.remove(99);
        assert!(fingers.learn(5, Contact::bare(23)));
        assert!(!fingers.are_due());
        fingers.remove(23);
        assert_eq!((fingers.next_level(&ring), fingers.are_due()), (None, false));
        for peer in 30..60 {
            fingers.learn(40 + peer as u8, Contact::bare(peer));
        }
        (30..60).for_each(|peer| fingers.remove(peer));
        assert_eq!((fingers.are_due(), fingers.next_level(&ring)), (true, Some(127)));
    }
}
