//! First relays, pinned: one active and two spare for each subgroup, kept over restarts (design D10).
//!
//! Who always enters through the same relay is exposed to another one only when that one dies. One that was pinned before and is
//! back takes a free place first, since it knows already whose paths begin at it; and whoever kills one after the other comes to
//! few others an hour.

use std::collections::BTreeMap;
use std::time::Duration;

use super::View;
use super::breaks::Fading;
use crate::address::OverlayAddr;
use crate::protocol::io::{Contact, Peer, Time, below};
use rand::Rng;

/// One active and two spare.
const KEPT: usize = 3;
/// Time between two draws of a new first relay while another one is left, so that nobody who makes relays fail is soon drawn
/// (research §6: "at most one forced rebuild each 10 min").
const REDRAW: Duration = Duration::from_secs(600);
/// Draws of a new first relay when none is left, until one of them is forgotten, one each ten minutes; until then there is no
/// path. choice: an hour's worth of them at once, since a whole network may be restarted
const FORCED: u32 = 6;
/// Earlier first relays remembered. choice
const MAX_FORMER: usize = 16;
/// Subgroups remembered. choice
const MAX_SUBGROUPS: usize = 16;

/// The first relays of a peer.
#[derive(Clone, Debug)]
pub struct Pinned<P> {
    by_subgroup: BTreeMap<OverlayAddr, Vec<P>>,
    /// When one was drawn last to take the place of another.
    drawn: Option<Time>,
    /// Draws for which there was no time to wait.
    forced: Fading,
    /// Earlier ones that are no members any more, the last one at the end.
    former: Vec<P>,
    /// Those that failed last, to be tried again only when no other is left.
    failed: Vec<P>,
}

impl<P> Default for Pinned<P> {
    fn default() -> Self {
        Self {
            by_subgroup: BTreeMap::new(),
            drawn: None,
            forced: Fading::default(),
            former: Vec::new(),
            failed: Vec::new(),
        }
    }
}

impl<P: Peer> Pinned<P> {
    /// All of them, the active one of a subgroup first.
    pub fn all(&self) -> Vec<(OverlayAddr, P)> {
        self.by_subgroup.iter().flat_map(|(subgroup, peers)| peers.iter().map(|peer| (*subgroup, *peer))).collect()
    }

    pub(super) fn prefer(&mut self, subgroup: OverlayAddr, peer: P) {
        if self.by_subgroup.len() >= MAX_SUBGROUPS && !self.by_subgroup.contains_key(&subgroup) {
            return;
        }
        let peers = self.by_subgroup.entry(subgroup).or_default();
        if peers.len() < KEPT && !peers.contains(&peer) {
            peers.push(peer);
        }
    }

    pub(super) fn failed(&mut self, peer: P) {
        if !self.failed.contains(&peer) {
            self.failed.push(peer);
            if self.failed.len() > 64 {
                self.failed.remove(0);
            }
        }
    }

    pub(super) fn worked(&mut self, peer: P) {
        self.failed.retain(|failed| *failed != peer);
    }

    /// It opens paths and keeps none: the others go before it from now on. No other is drawn for that, or whoever breaks paths
    /// behind it could choose when one is.
    pub(super) fn put_last(&mut self, peer: P) {
        for peers in self.by_subgroup.values_mut() {
            if let Some(at) = peers.iter().position(|pinned| *pinned == peer) {
                let peer = peers.remove(at);
                peers.push(peer);
            }
        }
    }

    /// The first relay to use in a subgroup, none if it has none or others were drawn too often, and whether the set changed.
    /// Those no longer members make room for others. A `second` path begins at the last spare: as long as there are others, it fails with none of them.
    pub(super) fn choose(
        &mut self,
        rng: &mut dyn Rng,
        now: Time,
        view: &View<P>,
        second: bool,
    ) -> (Option<Contact<P>>, bool) {
        if self.by_subgroup.len() >= MAX_SUBGROUPS && !self.by_subgroup.contains_key(&view.subgroup) {
            self.by_subgroup.pop_first();
        }
        let fresh = !self.by_subgroup.contains_key(&view.subgroup);
        let peers = self.by_subgroup.entry(view.subgroup).or_default();
        let before = peers.clone();
        let member = |peer: P| view.relays.iter().find(|relay| relay.peer == peer);
        let gone = peers.extract_if(.., |peer| member(*peer).is_none());
        self.former.extend(gone);
        self.former.drain(..self.former.len().saturating_sub(MAX_FORMER));
        while peers.len() < KEPT {
            let is_back = |peer: &P| member(*peer).is_some() && !self.failed.contains(peer);
            if let Some(at) = self.former.iter().rposition(is_back) {
                peers.push(self.former.remove(at));
                continue;
            }
            let usable = peers.iter().any(|peer| !self.failed.contains(peer));
            let too_soon = self.drawn.is_some_and(|drawn| now.since(drawn) < REDRAW);
            if !fresh && if usable { too_soon } else { self.forced.count(now) >= FORCED } {
                break;
            }
            let others: Vec<_> = view.relays.iter().filter(|relay| !peers.contains(&relay.peer)).collect();
            // One that just failed is no good first relay, as long as there is any other.
            let sound: Vec<_> = others.iter().filter(|relay| !self.failed.contains(&relay.peer)).collect();
            let chosen = match sound.get(below(rng, sound.len())) {
                Some(chosen) => chosen.peer,
                None => match others.get(below(rng, others.len())) {
                    Some(chosen) => chosen.peer,
                    None => break,
                },
            };
            peers.push(chosen);
            self.former.retain(|peer| *peer != chosen);
            if !fresh {
                self.drawn = Some(now);
                if !usable {
                    self.forced.add(now);
                }
            }
        }
        // The active one stays the first of the list until it fails; a spare takes its turn.
        let mut sound = peers.iter().filter(|peer| !self.failed.contains(peer));
        let chosen = if second { sound.next_back() } else { sound.next() };
        let chosen = chosen.or(peers.first()).copied();
        if chosen.is_none_or(|chosen| self.failed.contains(&chosen)) {
            self.failed.clear();
        }
        let changed = *peers != before;
        (chosen.and_then(|chosen| member(chosen).cloned()), changed)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn view(relays: &[u32]) -> View<u32> {
        let relays = relays.iter().map(|peer| Contact::bare(*peer)).collect();
        View { subgroup: OverlayAddr(1), leader: Contact::bare(0), leader_key: [0; 32], relays }
    }

    #[test]
    fn one_that_keeps_no_path_stays_pinned_behind_the_others() {
        let mut rng = StdRng::seed_from_u64(2);
        let (mut pinned, members) = (Pinned::default(), (1..=30).collect::<Vec<u32>>());
        let (first, _) = pinned.choose(&mut rng, Time(0), &view(&members), false);
        let before: Vec<_> = pinned.all().iter().map(|(_, peer)| *peer).collect();
        pinned.put_last(before[0]);
        let (second, changed) = pinned.choose(&mut rng, Time(0), &view(&members), false);
        assert_eq!((first.map(|it| it.peer), second.map(|it| it.peer)), (Some(before[0]), Some(before[1])));
        let after: Vec<_> = pinned.all().iter().map(|(_, peer)| *peer).collect();
        assert_eq!((after, changed), (vec![before[1], before[2], before[0]], false));
    }

    #[test]
    fn a_second_path_begins_at_another_one_as_long_as_there_are_two() {
        let mut rng = StdRng::seed_from_u64(3);
        let (mut pinned, members) = (Pinned::default(), (1..=30).collect::<Vec<u32>>());
        let mut both = |pinned: &mut Pinned<u32>| {
            [false, true].map(|second| pinned.choose(&mut rng, Time(0), &view(&members), second).0.unwrap().peer)
        };
        let [first, second] = both(&mut pinned);
        let kept: Vec<_> = pinned.all().iter().map(|(_, peer)| *peer).collect();
        assert_eq!((kept[0], kept[2]), (first, second));
        pinned.failed(first);
        assert_eq!(both(&mut pinned), [kept[1], kept[2]]);
        pinned.failed(second);
        assert_eq!(both(&mut pinned), [kept[1], kept[1]]);
    }

    #[test]
    fn of_first_relays_that_are_killed_few_are_replaced_an_hour_and_those_that_come_back_are_taken_first() {
        let mut rng = StdRng::seed_from_u64(4);
        let (mut pinned, mut members) = (Pinned::default(), (1..=200).collect::<Vec<u32>>());
        let mut seen = std::collections::BTreeSet::new();
        // Each minute the active one is killed, for three hours.
        let mut none = 0;
        let mut after = Vec::new();
        for minute in 0..180u64 {
            let (first, _) = pinned.choose(&mut rng, Time(minute * 60_000_000), &view(&members), false);
            match first {
                Some(first) => {
                    seen.insert(first.peer);
                    members.retain(|member| *member != first.peer);
                }
                None => none += 1,
            }
            if minute % 60 == 59 {
                after.push(seen.len());
            }
        }
        assert!(after[0] <= 3 + 1 + 2 * 6 && after[2] - after[1] <= 7 && none > 100, "{after:?}, {none}");
        // The last one is back.
        let back = *pinned.former.last().unwrap();
        members.push(back);
        let (first, changed) = pinned.choose(&mut rng, Time(180 * 60_000_000), &view(&members), false);
        assert_eq!((first.map(|it| it.peer), changed), (Some(back), true));
    }

    #[test]
    fn while_one_is_left_another_is_drawn_each_ten_minutes_at_most() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut quiet, members) = (Pinned::default(), (1..=30).collect::<Vec<u32>>());
        quiet.choose(&mut rng, Time(0), &view(&members), false);
        let before = quiet.all();
        let gone = before[1].1;
        let rest: Vec<_> = members.iter().copied().filter(|member| *member != gone).collect();
        quiet.choose(&mut rng, Time(1), &view(&rest), false);
        assert_eq!(quiet.all().len(), 3, "the first one is drawn at once");
        let gone = quiet.all()[2].1;
        let rest: Vec<_> = rest.iter().copied().filter(|member| *member != gone).collect();
        quiet.choose(&mut rng, Time(60_000_000), &view(&rest), false);
        assert_eq!(quiet.all().len(), 2, "the next one is not");
        quiet.choose(&mut rng, Time(700_000_000), &view(&rest), false);
        assert_eq!(quiet.all().len(), 3);
        assert_eq!(quiet.all()[0], before[0]);
    }
}
