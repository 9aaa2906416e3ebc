//! What must hold after every event, and what is measured on the way (research §3).

use std::collections::{BTreeMap, BTreeSet};

use neblo_behaviour::address::{AddrRange, OverlayAddr};
use neblo_behaviour::protocol::interface::{Event, Ownership, RangeWork};
use neblo_behaviour::protocol::io::Time;
use neblo_behaviour::sim::Simulation;

use super::ring_check::{Place, Places, overlap, owns};

/// Addresses whose owner's epoch is followed.
const SAMPLES: u128 = 16;

/// How strict the checks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Time-outs fire for the dead alone (Zave's assumption): all invariants hold at every event.
    Strict,
    /// Frames are lost or the network is parted, or has been until just now: living peers are taken for dead, ranges may
    /// have two owners. What each peer decides for itself holds all the same.
    Rough,
}

/// Sums over a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measures {
    /// Part of the circle times seconds for which nobody owned it.
    pub unowned: f64,
    /// The same for a second owner.
    pub double: f64,
    /// Parts of the circle that deaths left without an owner, each counted at its death: with a word, and without one.
    pub orphaned: [f64; 2],
    /// Seconds.
    pub time: f64,
    pub ring_changes: u64,
}

/// All checks of a run.
pub(crate) struct Checks {
    pub places: Places,
    pub rules: Rules,
    /// Whether the ring has outgrown its roster: Zave's rules hold from r + 1 members on (design D2).
    pub grown: bool,
    /// While the rules are strict, and while they are not.
    pub strict: Measures,
    pub rough: Measures,
    coverage: (f64, f64),
    since: Time,
    /// Something changed since this was last cleared.
    pub changed: bool,
    /// For each sample the highest epoch under which its owner was sure, and who that was.
    samples: Vec<(OverlayAddr, u64, u32)>,
    /// Epochs of all subscriptions (host, number) as they last were, members or not.
    epochs: BTreeMap<(u32, u64), u64>,
    work: BTreeSet<(u32, bool, AddrRange, u64, u8, u8)>,
    pub migrations: u64,
    pub regenerations: u64,
    pub isolated: u64,
    /// Kinds that are counted and not held against the run (`NEBLO_TOLERATE=double,epoch`): to see what else is wrong.
    tolerated: Vec<String>,
    pub found: BTreeMap<&'static str, u64>,
}

impl Checks {
    /// Something is wrong.
    pub(crate) fn wrong(&mut self, kind: &'static str, text: String) -> Result<(), String> {
        *self.found.entry(kind).or_insert(0) += 1;
        if self.tolerated.iter().any(|tolerated| tolerated == kind) { Ok(()) } else { Err(format!("{kind}: {text}")) }
    }

    pub(crate) fn new() -> Self {
        let samples = (0..SAMPLES).map(|nth| (OverlayAddr((nth << 124) + 1), 0, u32::MAX)).collect();
        Self {
            places: Places::default(),
            rules: Rules::Strict,
            grown: false,
            strict: Measures::default(),
            rough: Measures::default(),
            coverage: (0.0, 0.0),
            since: Time(0),
            changed: false,
            samples,
            epochs: BTreeMap::new(),
            work: BTreeSet::new(),
            migrations: 0,
            regenerations: 0,
            isolated: 0,
            tolerated: std::env::var("NEBLO_TOLERATE").unwrap_or_default().split(',').map(str::to_owned).collect(),
            found: BTreeMap::new(),
        }
    }

    /// Adds up what was unowned until now.
    pub(crate) fn account(&mut self, now: Time) {
        let dt = now.since(self.since).as_secs_f64();
        self.since = now;
        let measures = match self.rules {
            Rules::Strict => &mut self.strict,
            Rules::Rough => &mut self.rough,
        };
        measures.time += dt;
        measures.unowned += self.coverage.0 * dt;
        measures.double += self.coverage.1 * dt;
    }

    fn measures(&mut self) -> &mut Measures {
        match self.rules {
            Rules::Strict => &mut self.strict,
            Rules::Rough => &mut self.rough,
        }
    }

    /// A host died, perhaps without a word.
    pub(crate) fn gone(&mut self, sim: &Simulation, host: u32, silent: bool) -> Result<(), String> {
        self.account(sim.now());
        if self.places.set(host, None).is_some() {
            self.changed = true;
            let before = std::mem::replace(&mut self.coverage, self.places.coverage(sim));
            let orphaned = (self.coverage.0 - before.0).max(0.0);
            self.measures().orphaned[usize::from(silent)] += orphaned;
        }
        self.one_ring()
    }

    /// A host's node handled something; whether its place in the ring changed. Cheap unless it did.
    pub(crate) fn look(&mut self, sim: &Simulation, host: u32) -> Result<bool, String> {
        let ring = sim.node(host).ring();
        match self.places.get(host) {
            Some(place) if place.is_still(ring) => return Ok(false),
            None if !ring.is_member() => return Ok(false),
            _ => {}
        }
        self.account(sim.now());
        self.changed = true;
        self.measures().ring_changes += 1;
        let new = Place::of(ring);
        let best = |places: &Places, place: Option<&Place>| place.map(|place| places.best(place));
        let old = self.places.set(host, new.clone());
        let ranges = |place: &Place| (place.range, place.claimed);
        let range_changed = old.as_ref().map(ranges) != new.as_ref().map(ranges);
        if let Some(new) = &new {
            if !new.successors_are_ordered() {
                self.wrong("order", format!("the successors of {host} are not in order: {new:?}"))?;
            }
            let owned = |place: &Place| (place.me, place.range, place.epoch, place.changing);
            if old.as_ref().map(owned) != Some(owned(new)) {
                self.epoch(sim, host, old.as_ref(), new)?;
            }
        }
        let changing = |place: &Place| place.changing;
        if range_changed || old.as_ref().map(changing) != new.as_ref().map(changing) {
            self.coverage = self.places.coverage(sim);
            if let (Some(new), Rules::Strict) = (&new, self.rules) {
                self.no_double_owner(sim, host, new)?;
            }
        }
        let membership_changed = old.as_ref().map(|place| place.me) != new.as_ref().map(|place| place.me);
        if membership_changed || best(&self.places, old.as_ref()) != best(&self.places, new.as_ref()) {
            self.one_ring()?;
        }
        Ok(true)
    }

    /// Epochs only grow: each peer's own, whatever happens; and for each address from owner to owner, as soon as an owner is
    /// sure of them, while the rules are strict.
    fn epoch(&mut self, sim: &Simulation, host: u32, old: Option<&Place>, new: &Place) -> Result<(), String> {
        let before = self.epochs.insert((host, new.me.1), new.epoch).unwrap_or(0);
        let moved = old.is_some_and(|old| old.me == new.me && old.range != new.range);
        if new.epoch < before || moved && new.epoch == before {
            let text = format!("the epoch of {host} does not grow: {before}, then {} for {}", new.epoch, new.range);
            self.wrong("own epoch", text)?;
        }
        for sample in 0..self.samples.len() {
            let (address, highest, owner) = self.samples[sample];
            if !new.range.contains(address) || owns(sim, new, address) != Ownership::Yes {
                continue;
            }
            let falls = new.epoch < highest || owner != host && new.epoch == highest;
            if falls && self.rules == Rules::Strict {
                let text =
                    format!("{address:?} was {owner}'s under epoch {highest} and is {host}'s under {}", new.epoch);
                self.wrong("epoch", text)?;
            }
            if new.epoch > highest || owner != host {
                self.samples[sample] = (address, new.epoch, host);
            }
        }
        Ok(())
    }

    fn no_double_owner(&mut self, sim: &Simulation, host: u32, new: &Place) -> Result<(), String> {
        let sure = |place: &Place, address| owns(sim, place, address) == Ownership::Yes;
        let both = |other: &&Place| {
            [new.range.to, other.range.to].into_iter().any(|address| sure(new, address) && sure(other, address))
        };
        let overlapping = |place: &&Place| place.me.2 != host && overlap(place.range, new.range);
        let found = self.places.iter().filter(overlapping).find(both).map(|other| {
            format!(
                "{host} owns {} (epoch {}) and {} owns {} (epoch {})",
                new.range, new.epoch, other.me.2, other.range, other.epoch
            )
        });
        found.map_or(Ok(()), |text| self.wrong("double", text))
    }

    fn one_ring(&mut self) -> Result<(), String> {
        match self.places.one_ring() {
            Err(text) if self.rules == Rules::Strict && self.grown => self.wrong("ring", text),
            _ => Ok(()),
        }
    }

    /// From here on all must hold again, for what is now as well.
    pub(crate) fn strict_again(&mut self, sim: &Simulation) -> Result<(), String> {
        self.account(sim.now());
        self.rules = Rules::Strict;
        self.one_ring()?;
        let places: Vec<_> = self.places.iter().cloned().collect();
        for place in places {
            self.no_double_owner(sim, place.me.2, &place)?;
            for (address, highest, owner) in &mut self.samples {
                // The higher epoch wins after healing (design D3); a lone owner who lost its neighbours may have counted
                // higher than all others do.
                if place.range.contains(*address) {
                    let sure = owns(sim, &place, *address) == Ownership::Yes;
                    (*highest, *owner) = if sure { (place.epoch, place.me.2) } else { (0, u32::MAX) };
                }
            }
        }
        Ok(())
    }

    /// Looks at an event of a node; work on ranges is to be done, so its name is handed back.
    pub(crate) fn event(&mut self, host: u32, event: &Event<u32>) -> Result<Option<u64>, String> {
        match event {
            Event::RangeWork { work, what } => {
                let key = match what {
                    RangeWork::Migration(it) => {
                        self.migrations += 1;
                        (host, false, it.range, it.epoch, it.role.copy(), 0)
                    }
                    RangeWork::Regeneration(it) => {
                        self.regenerations += 1;
                        (host, true, it.range, it.epoch, it.role.copy(), it.lost)
                    }
                };
                if !self.work.insert(key) {
                    self.wrong("twice", format!("{host} is told twice of {what:?}"))?;
                }
                Ok(Some(*work))
            }
            Event::Isolated => {
                self.isolated += 1;
                if self.rules == Rules::Strict {
                    self.wrong("isolated", format!("{host} lost all its neighbours"))?;
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}
