//! The registry: who leads a subgroup, kept by the owner of the subgroup's id, and a list of leaders kept in buckets
//! (seed 003 §2, design D13). The first user of the messaging layer.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::message::{LeaderRow, MAX_ROWS, RegistryRequest, Rows};
use crate::address::OverlayAddr;
use crate::protocol::codec::{List, from_bytes, to_bytes};
use crate::protocol::cost::JoinCost;
use crate::protocol::io::{Peer, Time, shuffle};
use crate::protocol::seal::Keys;
use rand::Rng;

/// How long a registration lasts without being renewed: two renewals. choice
pub(crate) const LASTS: Duration = Duration::from_secs(150);
/// How often a leader that has settled renews its row, and asks each bucket for others. choice: whoever comes to lead says so to the
/// others by itself
pub(crate) const RENEW: Duration = Duration::from_secs(60);
/// Buckets of the list of leaders. choice
pub(crate) const BUCKETS: u8 = 4;
/// Rows kept at one address, and addresses kept. choice
pub(crate) const MAX_AT_ONE: usize = 1_024;
const MAX_KEYS: usize = 4_096;

/// The address of bucket `bucket` of the list of leaders: H(network, 'leaders', bucket) (design D13).
pub(super) fn bucket_address(network: &str, bucket: u8) -> OverlayAddr {
    OverlayAddr::hash(&[network.as_bytes(), b"leaders", &[bucket % BUCKETS]])
}

/// The bucket that a subgroup is listed in.
pub(super) fn bucket_number(subgroup: OverlayAddr) -> u8 {
    subgroup.0 as u8 % BUCKETS
}

/// Its address.
pub(super) fn bucket_of(network: &str, subgroup: OverlayAddr) -> OverlayAddr {
    bucket_address(network, bucket_number(subgroup))
}

/// A term above that of the leader that is known by more than this is not believed: nobody could go beyond it. choice
pub(super) const TERM_STEP: u64 = 1 << 20;

/// Which of two leaders of one subgroup leads it: the one of the higher term, or else the smaller peer. All say the same.
pub(super) fn outranks<P: Peer>(one: &LeaderRow<P>, other: &LeaderRow<P>) -> bool {
    let rank = |row: &LeaderRow<P>| (row.term, Reverse(row.statement.contact.peer));
    rank(one) > rank(other)
}

/// What tells sets of rows apart: who leads which subgroup in which term, by which statement; not how many members it has. The rows
/// come in the order of their subgroups.
pub(super) fn digest<'a, P: Peer>(rows: impl Iterator<Item = &'a LeaderRow<P>>) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("neblo 1 registry rows");
    for row in rows {
        hasher.update(&row.statement.subgroup.0.to_be_bytes());
        hasher.update(&row.term.to_be_bytes());
        hasher.update(&row.statement.signature);
    }
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_be_bytes(first)
}

/// Whether the term of `new` is too far above the one that is known.
pub(super) fn is_too_far<P>(known: &LeaderRow<P>, new: &LeaderRow<P>) -> bool {
    new.term > known.term.saturating_add(TERM_STEP)
}

/// What the owner of an address keeps of the registry.
#[derive(Clone, Debug)]
pub(super) struct Registry<P> {
    rows: BTreeMap<OverlayAddr, BTreeMap<OverlayAddr, (LeaderRow<P>, Time)>>,
}

impl<P> Default for Registry<P> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<P: Peer> Registry<P> {
    /// Handles a request to `at`; `None` refuses it.
    pub(super) fn handle(
        &mut self,
        (now, unix): (Time, u64),
        rng: &mut dyn Rng,
        keys: &dyn Keys<P>,
        (network, cost): (&str, &JoinCost),
        at: OverlayAddr,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        match from_bytes(payload).ok()? {
            RegistryRequest::Register(row) => {
                let subgroup = row.statement.subgroup;
                if at != subgroup && at != bucket_of(network, subgroup) || !row.holds(keys, cost, unix) {
                    return None;
                }
                self.drop_expired(now);
                if !self.rows.contains_key(&at) && self.rows.len() >= MAX_KEYS {
                    return None;
                }
                let rows = self.rows.entry(at).or_default();
                if rows.get(&subgroup).is_some_and(|(old, _)| outranks(old, &row) || is_too_far(old, &row))
                    || !rows.contains_key(&subgroup) && rows.len() >= MAX_AT_ONE
                {
                    return None;
                }
                rows.insert(subgroup, (row, now + LASTS));
                Some(Vec::new())
            }
            RegistryRequest::Unregister(unregister) => {
                let rows = self.rows.get_mut(&at)?;
                let (row, _) = rows.get(&unregister.subgroup)?;
                if !unregister.holds(keys, row) {
                    return None;
                }
                rows.remove(&unregister.subgroup);
                Some(Vec::new())
            }
            RegistryRequest::Find(find) => {
                self.drop_expired(now);
                let rows = || self.rows.get(&at).into_iter().flat_map(BTreeMap::values).map(|(row, _)| row);
                rows().next()?;
                if find.known.is_some_and(|known| known == digest(rows())) {
                    return Some(to_bytes(&Rows::<P> { rows: List::default(), same: true }));
                }
                let mut rows: Vec<_> = rows().cloned().collect();
                shuffle(rng, &mut rows);
                rows.truncate(usize::from(find.most).min(MAX_ROWS));
                Some(to_bytes(&Rows { rows: List::chop(rows), same: false }))
            }
        }
    }

    /// All rows that last, and the addresses that they are registered at.
    pub(super) fn rows(&self, now: Time) -> impl Iterator<Item = (OverlayAddr, &LeaderRow<P>)> {
        let all = self.rows.iter().flat_map(|(at, rows)| rows.values().map(|row| (*at, row)));
        all.filter(move |(_, (_, until))| *until > now).map(|(at, (row, _))| (at, row))
    }

    fn drop_expired(&mut self, now: Time) {
        self.rows.retain(|_, rows| {
            rows.retain(|_, (_, until)| *until > now);
            !rows.is_empty()
        });
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::protocol::codec::{Blob, Wire};
    use crate::protocol::io::Contact;
    use crate::protocol::subgroup::{FindRows, Statement, Unregister};
    use crate::sim::StandInKeys;
    use rand::SeedableRng;

    const SUBGROUP: OverlayAddr = OverlayAddr(5);

    fn row(peer: u32, term: u64) -> LeaderRow<u32> {
        let keys = StandInKeys::new(peer);
        let statement = Statement::of(&keys, &Contact::bare(peer), [0; 32], SUBGROUP, 3_600, false);
        LeaderRow { statement, term, size: 3, full: 75, signature: Blob::default() }.sign(&keys)
    }

    fn ask<T: Wire>(registry: &mut Registry<u32>, request: &T) -> Option<Vec<u8>> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let keys = StandInKeys::new(9);
        let cost = JoinCost::new("test", 0);
        registry.handle((Time(0), 0), &mut rng, &keys, ("test", &cost), SUBGROUP, &to_bytes(request))
    }

    fn registered(registry: &mut Registry<u32>) -> Vec<u32> {
        let found = ask(registry, &RegistryRequest::<u32>::Find(FindRows { most: 9, known: None }));
        let rows = found.map(|bytes| from_bytes::<Rows<u32>>(&bytes).unwrap().rows.into_inner());
        rows.unwrap_or_default().iter().map(|row| row.statement.contact.peer).collect()
    }

    #[test]
    fn the_higher_term_stays_registered_and_of_two_alike_the_smaller_peer() {
        let mut registry = Registry::default();
        for (peer, term, then) in [(4, 2, 4), (3, 1, 4), (7, 2, 4), (3, 2, 3), (4, 2, 3), (8, 3, 8)] {
            ask(&mut registry, &RegistryRequest::Register(row(peer, term)));
            assert_eq!(registered(&mut registry), [then], "{peer} of term {term}");
        }
    }

    #[test]
    fn who_knows_all_rows_is_told_so_and_who_knows_others_is_told_all() {
        let mut registry = Registry::default();
        let find = |known| RegistryRequest::<u32>::Find(FindRows { most: 9, known });
        assert_eq!(ask(&mut registry, &find(Some(0))), None);
        let (one, grown, next) = (row(4, 2), LeaderRow { size: 9, ..row(4, 2) }, row(4, 3));
        ask(&mut registry, &RegistryRequest::Register(one.clone()));
        for (known, same) in [(&one, true), (&grown, true), (&next, false)] {
            let answer = ask(&mut registry, &find(Some(digest(std::iter::once(known)))));
            let rows: Rows<u32> = from_bytes(&answer.unwrap()).unwrap();
            assert_eq!((rows.same, rows.rows.len()), (same, usize::from(!same)));
        }
    }

    #[test]
    fn what_has_expired_goes_to_no_new_owner() {
        let mut registry = Registry::default();
        ask(&mut registry, &RegistryRequest::Register(row(4, 2)));
        for (now, rows) in [(LASTS - Duration::from_secs(1), 1), (LASTS, 0)] {
            assert_eq!(registry.rows(Time(0) + now).count(), rows, "{now:?}");
        }
    }

    #[test]
    fn nobody_registers_another_raises_its_term_or_jumps_out_of_reach() {
        let mut registry = Registry::default();
        ask(&mut registry, &RegistryRequest::Register(row(4, 2)));
        // A member's statement, with a row around it that somebody else has made, or changed.
        let forged = LeaderRow { term: 3, ..row(3, 2) };
        let by_another = LeaderRow { term: 3, ..row(3, 2) }.sign(&StandInKeys::new(9));
        let larger = LeaderRow { size: 75, ..row(4, 2) };
        for forged in [forged, by_another, larger] {
            assert_eq!(ask(&mut registry, &RegistryRequest::Register(forged)), None);
        }
        for term in [u64::MAX, 3 + TERM_STEP] {
            assert_eq!(ask(&mut registry, &RegistryRequest::Register(row(3, term))), None);
        }
        assert_eq!(registered(&mut registry), [4]);
    }

    #[test]
    fn only_the_leader_itself_takes_its_registration_back() {
        let mut registry = Registry::default();
        ask(&mut registry, &RegistryRequest::Register(row(4, 2)));
        for (peer, term, there) in [(3, 2, true), (4, 1, true), (4, 2, false)] {
            let unregister = Unregister::of::<u32>(&StandInKeys::new(peer), SUBGROUP, term);
            ask(&mut registry, &RegistryRequest::<u32>::Unregister(unregister));
            assert_eq!(registered(&mut registry) == [4], there, "{peer} of term {term}");
        }
    }
}
