//! Overlay addresses and ranges of them (seed 000 §2).

use std::fmt;

/// An overlay address: a word of k = 128 bits on a circle modulo 2^128 (seed 000 §2).
///
/// It is drawn at random when a peer subscribes and says nothing about the peer that owns it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OverlayAddr(pub u128);

impl OverlayAddr {
    /// The address made of the first 128 bits of BLAKE3 over the parts, each length-prefixed.
    pub fn hash(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("neblo 1 overlay address");
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut first = [0; 16];
        hasher.finalize_xof().fill(&mut first);
        Self(u128::from_be_bytes(first))
    }

    /// Clockwise distance from `self` to `other`, modulo 2^128.
    pub fn distance_to(self, other: Self) -> u128 {
        other.0.wrapping_sub(self.0)
    }

    /// The address `distance` further clockwise.
    pub fn offset(self, distance: u128) -> Self {
        Self(self.0.wrapping_add(distance))
    }

    /// Big-endian bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From big-endian bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Debug for OverlayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}..", (self.0 >> 96) as u32)
    }
}

impl fmt::Display for OverlayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Whether `x` lies in the range `(a, b]`, going clockwise; `a == b` means the whole circle.
///
/// The paper's `in_range(X, A, B)` (seed 000 §4.4) with the ownership convention of this ring: a peer owns
/// (predecessor, itself].
pub fn in_range(x: OverlayAddr, a: OverlayAddr, b: OverlayAddr) -> bool {
    AddrRange { after: a, to: b }.contains(x)
}

/// A half-open range `(after, to]` of overlay addresses that may wrap around zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddrRange {
    /// The last address before the range.
    pub after: OverlayAddr,
    /// The last address in the range.
    pub to: OverlayAddr,
}

impl AddrRange {
    /// The whole circle, as owned by a peer at `owner` that is alone.
    pub fn full(owner: OverlayAddr) -> Self {
        Self { after: owner, to: owner }
    }

    /// Whether `address` lies in the range.
    pub fn contains(&self, address: OverlayAddr) -> bool {
        if self.after == self.to {
            return true;
        }
        let distance = self.after.distance_to(address);
        distance != 0 && distance <= self.after.distance_to(self.to)
    }

    /// Whether `address` lies strictly between both ends.
    pub fn contains_strictly(&self, address: OverlayAddr) -> bool {
        address != self.to && self.contains(address) && address != self.after
    }
}

impl fmt::Display for AddrRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}]", self.after, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn two_halves_of_a_range_hold_what_the_whole_holds(a: u128, cut: u128, b: u128, x: u128) {
            let (a, cut, b, x) = (OverlayAddr(a), OverlayAddr(cut), OverlayAddr(b), OverlayAddr(x));
            prop_assume!(a != b && in_range(cut, a, b) && cut != b);
            let halves = [in_range(x, a, cut), in_range(x, cut, b)];
            prop_assert_eq!(in_range(x, a, b), halves[0] ^ halves[1]);
        }

        #[test]
        fn the_whole_circle_holds_everything(a: u128, x: u128) {
            prop_assert!(AddrRange::full(OverlayAddr(a)).contains(OverlayAddr(x)));
        }
    }

    #[test]
    fn a_range_wraps_around_zero_and_leaves_out_its_start() {
        let range = AddrRange { after: OverlayAddr(u128::MAX - 1), to: OverlayAddr(2) };
        assert!(range.contains(OverlayAddr(0)) && range.contains(OverlayAddr(2)));
        assert!(!range.contains(OverlayAddr(u128::MAX - 1)) && !range.contains(OverlayAddr(3)));
    }
}
