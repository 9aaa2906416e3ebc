//! Symmetric replication (research §3: DKS; design D5).

use crate::address::{AddrRange, OverlayAddr};

/// The replication degree R: the most owners that a message can be copied to, the primary included. choice (research §3)
pub const MAX_COPIES: u8 = 8;

/// Where copy `copy` of `address` lives: `address` + bitrev(copy) 2^k / R. Copy 0 is the address itself; the first
/// copies are the farthest apart.
pub fn placement(address: OverlayAddr, copy: u8) -> OverlayAddr {
    let reversed = (copy % MAX_COPIES).reverse_bits() >> 5;
    address.offset(u128::from(reversed) << 125)
}

/// The original addresses whose copy `copy` lies in `range`.
pub fn originals(range: AddrRange, copy: u8) -> AddrRange {
    let offset = placement(OverlayAddr(0), copy).0;
    let back = |address: OverlayAddr| OverlayAddr(address.0.wrapping_sub(offset));
    AddrRange { after: back(range.after), to: back(range.to) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_is_among_the_originals_exactly_if_its_copy_lies_in_the_range(a: u128, b: u128, x: u128, copy in 0u8..8) {
            let range = AddrRange { after: OverlayAddr(a), to: OverlayAddr(b) };
            let x = OverlayAddr(x);
            prop_assert_eq!(originals(range, copy).contains(x), range.contains(placement(x, copy)));
        }
    }

    #[test]
    fn copies_are_spread_evenly_and_the_second_lies_opposite() {
        let at = OverlayAddr(5);
        let mut places: Vec<_> = (0..MAX_COPIES).map(|copy| placement(at, copy)).collect();
        assert_eq!(places.first(), Some(&at));
        assert_eq!(places.get(1), Some(&OverlayAddr(5 + (1 << 127))));
        places.sort();
        assert!(places.windows(2).all(|pair| pair[0].distance_to(pair[1]) == 1 << 125));
    }
}
