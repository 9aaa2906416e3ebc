//! The registry: who leads a subgroup, kept by the owner of the subgroup's id, and a list of leaders kept in buckets
//! (seed 003 §2, design D13). The first user of the messaging layer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::{LeaderRow, MAX_ROWS, RegistryRequest, Rows};
use crate::address::OverlayAddr;
use crate::protocol::codec::{List, from_bytes, to_bytes};
use crate::protocol::io::{Peer, Time, shuffle};
use crate::protocol::seal::Keys;
use rand::Rng;

/// How long a registration lasts without being renewed: four renewals. choice
pub(super) const LASTS: Duration = Duration::from_secs(60);
/// How often a leader renews it and looks for other leaders. choice
pub(super) const RENEW: Duration = Duration::from_secs(15);
/// Buckets of the list of leaders. choice
const BUCKETS: u8 = 4;
/// Rows kept at one address, and addresses kept. choice
const MAX_AT_ONE: usize = 1_024;
const MAX_KEYS: usize = 4_096;

/// The address of bucket `bucket` of the list of leaders: H(network, 'leaders', bucket) (design D13).
pub(super) fn bucket_address(network: &str, bucket: u8) -> OverlayAddr {
    OverlayAddr::hash(&[network.as_bytes(), b"leaders", &[bucket % BUCKETS]])
}

/// All buckets.
pub(super) fn buckets(network: &str) -> impl Iterator<Item = OverlayAddr> {
    (0..BUCKETS).map(move |bucket| bucket_address(network, bucket))
}

/// The bucket that a subgroup is listed in.
pub(super) fn bucket_of(network: &str, subgroup: OverlayAddr) -> OverlayAddr {
    bucket_address(network, subgroup.0 as u8)
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
        network: &str,
        at: OverlayAddr,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        match from_bytes(payload).ok()? {
            RegistryRequest::Register(row) => {
                let subgroup = row.statement.subgroup;
                if at != subgroup && at != bucket_of(network, subgroup) || !row.statement.holds(keys, unix) {
                    return None;
                }
                self.drop_expired(now);
                if !self.rows.contains_key(&at) && self.rows.len() >= MAX_KEYS {
                    return None;
                }
                let rows = self.rows.entry(at).or_default();
                if rows.get(&subgroup).is_some_and(|(old, _)| old.term > row.term)
                    || !rows.contains_key(&subgroup) && rows.len() >= MAX_AT_ONE
                {
                    return None;
                }
                rows.insert(subgroup, (row, now + LASTS));
                Some(Vec::new())
            }
            RegistryRequest::Find(find) => {
                self.drop_expired(now);
                let mut rows: Vec<_> = self.rows.get(&at)?.values().map(|(row, _)| row.clone()).collect();
                shuffle(rng, &mut rows);
                rows.truncate(usize::from(find.most).min(MAX_ROWS));
                Some(to_bytes(&Rows { rows: List::chop(rows) }))
            }
        }
    }

    fn drop_expired(&mut self, now: Time) {
        self.rows.retain(|_, rows| {
            rows.retain(|_, (_, until)| *until > now);
            !rows.is_empty()
        });
    }
}
