//! What it costs to be a member: a proof of work (hashcash) over who states it, in which network and in which week.
//!
//! A statement is made anew with each renewal and each move, so the proof is bound to none of what changes then: a peer that is
//! sent elsewhere does not pay again. **It is a price for mass, not a defence:** whoever pays it for each identity and week is a
//! member like others, weeks can be paid ahead, and hardware that is made for hashes pays thousands of times less.

/// Seconds for which a proof is good: statements that expire in one week share one. choice
pub const WEEK: u64 = 7 * 24 * 3600;
/// What is asked for unless a network wants otherwise, in bits. choice: 0.3 s of a busy core
pub const USUAL_JOIN_COST: u8 = 20;
/// The most that can be asked for, in bits: some minutes of a processor. choice
pub const MAX_JOIN_COST: u8 = 30;

/// How long a statement holds, in seconds. choice
pub(crate) const STATEMENT_LASTS: u64 = 24 * 3600;

/// The week in which a statement expires, counted from 1970.
pub fn week_of(expires: u64) -> u64 {
    expires / WEEK
}

/// The week for which a statement that is made now must be paid.
pub fn week_at(unix: u64) -> u64 {
    week_of(unix.saturating_add(STATEMENT_LASTS))
}

/// What each identity pays in a network. All members must ask for the same, or they refuse one another's statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinCost {
    network: String,
    bits: u8,
}

impl JoinCost {
    /// `bits` leading zero bits, at most [`MAX_JOIN_COST`]: 2^`bits` hashes on average.
    pub fn new(network: impl Into<String>, bits: u8) -> Self {
        Self { network: network.into(), bits: bits.min(MAX_JOIN_COST) }
    }

    /// The leading zero bits that a proof has.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// One key for each network, identity (an encoded public key) and week, so that a try is a single block to hash.
    fn key(&self, identity: &[u8], week: u64) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("neblo 1 join cost");
        for part in [self.network.as_bytes(), identity] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        *hasher.update(&week.to_le_bytes()).finalize().as_bytes()
    }

    fn is_proof(&self, key: &[u8; 32], nonce: u64) -> bool {
        let hash = blake3::keyed_hash(key, &nonce.to_le_bytes());
        let head = hash.as_bytes().first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
        head.leading_zeros() >= u32::from(self.bits)
    }

    /// Whether `nonce` proves that this identity has paid for the week.
    pub fn is_paid(&self, identity: &[u8], week: u64, nonce: u64) -> bool {
        self.bits == 0 || self.is_proof(&self.key(identity, week), nonce)
    }

    /// Looks for a proof among `tries` nonces from `first` on.
    pub fn pay(&self, identity: &[u8], week: u64, first: u64, tries: u64) -> Option<u64> {
        if self.bits == 0 {
            return Some(0);
        }
        let key = self.key(identity, week);
        (first..first.saturating_add(tries)).find(|nonce| self.is_proof(&key, *nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_proof_is_good_for_its_network_identity_and_week_alone(
            network in "[a-z]{0,12}", identity: [u8; 36], other: [u8; 36], week in 0..10_000u64, bits in 8..11u8
        ) {
            prop_assume!(identity != other);
            let cost = JoinCost::new(network.clone(), bits);
            let nonce = cost.pay(&identity, week, 0, u64::MAX).unwrap();
            prop_assert!(cost.is_paid(&identity, week, nonce));
            // By chance one in 2^bits is good elsewhere: of so many not all are.
            let others = (1..5).any(|further| !cost.is_paid(&identity, week + further, nonce));
            let names = (1..5).any(|nth| !JoinCost::new(format!("{network}{nth}"), bits).is_paid(&identity, week, nonce));
            let shorter = identity.len() - 4..identity.len();
            let parts = shorter.into_iter().any(|len| !cost.is_paid(&identity[..len], week, nonce));
            let who = (0..4).any(|nth| !cost.is_paid(&[&other[..], &[nth]].concat(), week, nonce));
            prop_assert!(others && names && parts && who);
            // The first that is found is good for so many bits, and none before it is.
            prop_assert!((0..nonce).all(|before| !cost.is_paid(&identity, week, before)));
            prop_assert_eq!(cost.pay(&identity, week, 0, nonce), None);
        }
    }

    #[test]
    fn each_bit_doubles_what_is_paid() {
        let tries = |bits: u8| {
            let cost = JoinCost::new("test", bits);
            let found = (0..400u64).map(|peer| cost.pay(&peer.to_le_bytes(), 2_977, 0, u64::MAX).unwrap() + 1);
            found.sum::<u64>() as f64 / 400.0
        };
        for bits in [4, 6, 8] {
            let (found, wanted) = (tries(bits), f64::from(1 << bits));
            assert!((found / wanted - 1.0).abs() < 0.15, "{bits} bits: {found} tries");
        }
        assert_eq!(JoinCost::new("test", 0).pay(b"", 0, 0, 0), Some(0));
        assert_eq!(JoinCost::new("test", 255).bits(), MAX_JOIN_COST);
    }

    /// `cargo test --release -p neblo-behaviour --lib cost -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn seconds_for_an_identity_and_week() {
        for bits in [16, 20, 24] {
            let cost = JoinCost::new("neblo", bits);
            let times = if bits < 24 { 16u64 } else { 3 };
            let (begun, mut tries) = (std::time::Instant::now(), 0);
            for peer in 0..times {
                tries += cost.pay(&peer.to_le_bytes(), 2_977, 0, u64::MAX).unwrap() + 1;
            }
            let each = begun.elapsed().as_secs_f64() / tries as f64;
            println!(
                "{bits} bits: {:.0} ns a try, {:.2} s a proof on average",
                each * 1e9,
                each * f64::from(1 << bits)
            );
        }
    }
}
