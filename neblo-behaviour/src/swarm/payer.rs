//! Pays what it costs to join, on a thread of its own: the event loop does not wait for it.

use std::sync::{Arc, Mutex, Weak};
use std::thread;

use super::shared::lock;
use crate::protocol::cost::JoinCost;

/// Nonces tried before the thread looks whether anybody still wants the proof: some milliseconds.
const AT_ONCE: u64 = 1 << 14;
/// Proofs kept. The node asks for this week's and next week's.
const KEPT: usize = 4;

/// What, for which week, and the proof once it is there.
type Paid = Vec<(JoinCost, u64, Option<u64>)>;

/// The proofs of one identity. Clones share them; when the last is gone the work ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Payer(Arc<Mutex<Paid>>);

impl Payer {
    /// The proof for a week; the first question begins the work.
    pub(super) fn paid(&self, identity: impl FnOnce() -> Vec<u8>, cost: &JoinCost, week: u64) -> Option<u64> {
        if cost.bits() == 0 {
            return Some(0);
        }
        let mut paid = lock(&self.0);
        if let Some((.., proof)) = paid.iter().find(|(of, in_week, _)| of == cost && *in_week == week) {
            return *proof;
        }
        if paid.len() >= KEPT {
            paid.remove(0);
        }
        let (kept, identity, for_this) = (Arc::downgrade(&self.0), identity(), cost.clone());
        let begun =
            thread::Builder::new().name("neblo join".into()).spawn(move || work(&kept, &identity, &for_this, week));
        match begun {
            Ok(_) => paid.push((cost.clone(), week, None)),
            Err(error) => tracing::warn!(%error, "no thread to pay what it costs to join; tried again"),
        }
        None
    }
}

fn work(kept: &Weak<Mutex<Paid>>, identity: &[u8], cost: &JoinCost, week: u64) {
    for first in (0..u64::MAX).step_by(AT_ONCE as usize) {
        let found = cost.pay(identity, week, first, AT_ONCE);
        let Some(kept) = kept.upgrade() else { return };
        let mut paid = lock(&kept);
        let Some((.., proof)) = paid.iter_mut().find(|(of, in_week, _)| of == cost && *in_week == week) else { return };
        if found.is_some() {
            *proof = found;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            match what() {
                Some(found) => return found,
                None if begun.elapsed() > Duration::from_secs(60) => panic!("nothing for a minute"),
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    #[test]
    fn a_proof_is_found_beside_the_caller_once_for_each_week_and_nothing_works_for_nobody() {
        let (payer, cost) = (Payer::default(), JoinCost::new("test", 15));
        let identity = || vec![7; 36];
        let begun = Instant::now();
        assert_eq!(payer.paid(identity, &cost, 3), None);
        assert!(begun.elapsed() < Duration::from_millis(500), "the caller does not wait");
        let proof = wait_for(|| payer.paid(identity, &cost, 3));
        assert!(cost.is_paid(&identity(), 3, proof));
        assert_eq!(payer.clone().paid(identity, &cost, 3), Some(proof), "kept");
        for week in 4..12 {
            let proof = wait_for(|| payer.paid(identity, &cost, week));
            assert!(cost.is_paid(&identity(), week, proof));
        }
        assert!(lock(&payer.0).len() <= KEPT);
        // A proof that is not found in this life: its thread ends with its payer.
        let dear = JoinCost::new("test", 30);
        assert_eq!(payer.paid(identity, &dear, 3), None);
        let kept = Arc::downgrade(&payer.0);
        drop(payer);
        wait_for(|| (kept.strong_count() == 0).then_some(()));
    }

    #[test]
    fn what_costs_nothing_is_paid_at_once() {
        assert_eq!(Payer::default().paid(Vec::new, &JoinCost::new("test", 0), 3), Some(0));
    }
}
