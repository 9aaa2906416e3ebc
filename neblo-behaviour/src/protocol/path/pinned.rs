//! First relays, pinned: one active and two spare for each subgroup, kept over restarts (design D10).
//!
//! Who always enters through the same relay is exposed to another one only when that one dies. One that was pinned before and is
//! back takes its place again, from one that was drawn later, since it knows already whose paths begin at it: so a leader that
//! leaves honest members out of its list for a while gains no place by it. And whoever kills one after the other comes to few others
//! an hour.

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
/// How long one that the list leaves out is still used, as long as it opens paths: the list is the leader's word. choice: longer
/// than members take to find out that they were shown different ones, which is seconds
const MISSING: Duration = Duration::from_secs(600);
/// How long one that does not answer and is on no list keeps its place, while another one is left: a restart shows the owner to nobody
/// else. choice
const BACK_WITHIN: Duration = Duration::from_secs(120);
/// Earlier first relays remembered. choice
const MAX_FORMER: usize = 16;
/// Subgroups remembered. choice
const MAX_SUBGROUPS: usize = 16;

/// A first relay.
#[derive(Clone, Debug)]
struct Pin<P> {
    peer: P,
    /// As the member list said it last; none before it was on one.
    contact: Option<Contact<P>>,
    /// Since when it is not on the list.
    missing: Option<Time>,
    /// Which draw it was: earlier ones keep their place.
    drawn: u64,
}

impl<P: Peer> Pin<P> {
    fn new(peer: P, drawn: u64) -> Self {
        Self { peer, contact: None, missing: None, drawn }
    }

    /// Looks for it on the list. Whether it can be a first relay still.
    fn look(&mut self, view: &View<P>, now: Time) -> bool {
        match view.relays.iter().find(|relay| relay.peer == self.peer) {
            Some(member) => (self.contact, self.missing) = (Some(member.clone()), None),
            None => _ = self.missing.get_or_insert(now),
        }
        // Whoever leads relays nothing.
        let leads = view.leader.peer == self.peer;
        self.contact.is_some() && !leads && self.missing.is_none_or(|since| now.since(since) < MISSING)
    }
}

/// The first relays of a peer.
#[derive(Clone, Debug)]
pub struct Pinned<P> {
    by_subgroup: BTreeMap<OverlayAddr, Vec<Pin<P>>>,
    /// Draws so far.
    draws: u64,
    /// When one was drawn last to take the place of another.
    drawn: Option<Time>,
    /// Draws for which there was no time to wait.
    forced: Fading,
    /// Earlier ones that were no members any more, or gave their place back, the last one at the end.
    former: Vec<Pin<P>>,
    /// Those that failed last, to be tried again only when no other is left.
    failed: Vec<P>,
}

impl<P> Default for Pinned<P> {
    fn default() -> Self {
        Self {
            by_subgroup: BTreeMap::new(),
            draws: 0,
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
        self.by_subgroup.iter().flat_map(|(subgroup, peers)| peers.iter().map(|pin| (*subgroup, pin.peer))).collect()
    }

    pub(super) fn prefer(&mut self, subgroup: OverlayAddr, peer: P) {
        if self.by_subgroup.len() >= MAX_SUBGROUPS && !self.by_subgroup.contains_key(&subgroup) {
            return;
        }
        let peers = self.by_subgroup.entry(subgroup).or_default();
        if peers.len() < KEPT && !peers.iter().any(|pin| pin.peer == peer) {
            self.draws += 1;
            peers.push(Pin::new(peer, self.draws));
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

    /// It did not open a path. If the list leaves it out, it is none of ours any more.
    pub(super) fn refused(&mut self, peer: P) {
        let missing = |pin: &Pin<P>| pin.peer == peer && pin.missing.is_some();
        if self.by_subgroup.values().flatten().any(missing) {
            self.failed(peer);
        }
    }

    /// It opens paths and keeps none: the others go before it from now on. No other is drawn for that, or whoever breaks paths
    /// behind it could choose when one is.
    pub(super) fn put_last(&mut self, peer: P) {
        for peers in self.by_subgroup.values_mut() {
            if let Some(at) = peers.iter().position(|pin| pin.peer == peer) {
                let pin = peers.remove(at);
                peers.push(pin);
            }
        }
    }

    /// The first relay to use in a subgroup, none if it has none or others were drawn too often, and whether the set changed.
    /// Those that are gone make room for others, and later ones for those who were pinned before and are back. A `second` path
    /// begins at the last spare: as long as there are others, it fails with none of them.
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
        let before: Vec<P> = peers.iter().map(|pin| pin.peer).collect();
        let failed = |pin: &Pin<P>| self.failed.contains(&pin.peer);
        // Who is on no list and does not answer is gone, soon; a member that does not answer is passed by.
        let usable = peers.iter().any(|pin| !failed(pin) && pin.peer != view.leader.peer);
        let is_gone = |pin: &mut Pin<P>| {
            let long = |since: Time| !usable || now.since(since) >= BACK_WITHIN;
            !pin.look(view, now) || failed(pin) && pin.missing.is_some_and(long)
        };
        let gone: Vec<_> = peers.extract_if(.., is_gone).collect();
        let is_back = |pin: &mut Pin<P>| pin.look(view, now) && pin.missing.is_none() && !failed(pin);
        let mut back: Vec<_> = self.former.extract_if(.., is_back).collect();
        back.retain(|pin| !peers.iter().any(|known| known.peer == pin.peer));
        back.sort_by_key(|pin| pin.drawn);
        for pin in back {
            if peers.len() < KEPT {
                peers.push(pin);
                continue;
            }
            let latest = peers.iter_mut().max_by_key(|known| known.drawn).filter(|latest| latest.drawn > pin.drawn);
            let displaced = match latest {
                Some(latest) => std::mem::replace(latest, pin),
                None => pin,
            };
            self.former.push(displaced);
        }
        self.former.extend(gone);
        self.former.drain(..self.former.len().saturating_sub(MAX_FORMER));
        while peers.len() < KEPT {
            let usable = peers.iter().any(|pin| !self.failed.contains(&pin.peer));
            let too_soon = self.drawn.is_some_and(|drawn| now.since(drawn) < REDRAW);
            if !fresh && if usable { too_soon } else { self.forced.count(now) >= FORCED } {
                break;
            }
            let others: Vec<_> =
                view.relays.iter().filter(|relay| !peers.iter().any(|pin| pin.peer == relay.peer)).collect();
            // One that just failed is no good first relay, as long as there is any other.
            let sound: Vec<_> = others.iter().filter(|relay| !self.failed.contains(&relay.peer)).collect();
            let chosen = match sound.get(below(rng, sound.len())) {
                Some(chosen) => **chosen,
                None => match others.get(below(rng, others.len())) {
                    Some(chosen) => *chosen,
                    None => break,
                },
            };
            self.draws += 1;
            peers.push(Pin { contact: Some(chosen.clone()), ..Pin::new(chosen.peer, self.draws) });
            self.former.retain(|pin| pin.peer != chosen.peer);
            if !fresh {
                self.drawn = Some(now);
                if !usable {
                    self.forced.add(now);
                }
            }
        }
        // The active one stays the first of the list until it fails; a spare takes its turn.
        let mut sound = peers.iter().filter(|pin| !self.failed.contains(&pin.peer));
        let chosen = if second { sound.next_back() } else { sound.next() };
        let chosen = chosen.or(peers.first()).map(|pin| pin.peer);
        if chosen.is_none_or(|chosen| self.failed.contains(&chosen)) {
            self.failed.clear();
        }
        let changed = !peers.iter().map(|pin| pin.peer).eq(before);
        let first = peers.iter().find(|pin| Some(pin.peer) == chosen).and_then(|pin| pin.contact.clone());
        (first, changed)
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
                    pinned.failed(first.peer);
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
        let back = pinned.former.last().unwrap().peer;
        members.push(back);
        let (first, changed) = pinned.choose(&mut rng, Time(180 * 60_000_000), &view(&members), false);
        assert_eq!((first.map(|it| it.peer), changed), (Some(back), true));
    }

    #[test]
    fn those_left_out_of_a_list_for_a_while_come_before_those_drawn_meanwhile() {
        let mut rng = StdRng::seed_from_u64(5);
        let mut pinned = Pinned::default();
        let all: Vec<u32> = (1..=30).collect();
        pinned.choose(&mut rng, Time(0), &view(&all), false);
        let before = pinned.all();
        let kept = |peer: &u32| before.iter().any(|(_, pinned)| pinned == peer);
        // The leader shows nobody of them: they are used all the same, until they do not open paths any more.
        let forged: Vec<u32> = all.iter().copied().filter(|peer| !kept(peer)).collect();
        let at = |minutes: u64| Time(minutes * 60_000_000);
        for _ in &before {
            let (first, _) = pinned.choose(&mut rng, at(1), &view(&forged), false);
            let first = first.unwrap().peer;
            assert!(kept(&first), "{first} of {before:?}");
            pinned.refused(first);
        }
        let (other, _) = pinned.choose(&mut rng, at(2), &view(&forged), false);
        assert!(other.is_some_and(|other| !kept(&other.peer)));
        // The true list is back, and they open paths again.
        before.iter().for_each(|(_, peer)| pinned.worked(*peer));
        let (first, changed) = pinned.choose(&mut rng, at(3), &view(&all), false);
        assert!(changed && first.is_some_and(|first| kept(&first.peer)));
        assert!(pinned.all().iter().all(|(_, peer)| kept(peer)), "{:?} {before:?}", pinned.all());
    }

    #[test]
    fn while_one_is_left_another_is_drawn_each_ten_minutes_at_most() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut quiet, members) = (Pinned::default(), (1..=30).collect::<Vec<u32>>());
        quiet.choose(&mut rng, Time(0), &view(&members), false);
        let before = quiet.all();
        let at = |seconds: u64| Time(seconds * 1_000_000);
        let gone = before[1].1;
        quiet.failed(gone);
        let rest: Vec<_> = members.iter().copied().filter(|member| *member != gone).collect();
        quiet.choose(&mut rng, at(1), &view(&rest), false);
        assert_eq!(quiet.all(), before, "it may be back soon");
        quiet.choose(&mut rng, at(130), &view(&rest), false);
        assert_eq!(quiet.all().len(), 3);
        assert_ne!(quiet.all(), before, "the first one is drawn then");
        let gone = quiet.all()[2].1;
        quiet.failed(gone);
        let rest: Vec<_> = rest.iter().copied().filter(|member| *member != gone).collect();
        quiet.choose(&mut rng, at(140), &view(&rest), false);
        quiet.choose(&mut rng, at(280), &view(&rest), false);
        assert_eq!(quiet.all().len(), 2, "the next one is not");
        quiet.choose(&mut rng, at(800), &view(&rest), false);
        assert_eq!(quiet.all().len(), 3);
        assert_eq!(quiet.all()[0], before[0]);
    }
}
