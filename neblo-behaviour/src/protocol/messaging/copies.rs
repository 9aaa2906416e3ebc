//! Symmetric replication (research §3: DKS; design D5).

use crate::address::OverlayAddr;

/// The replication degree R: the most owners that a message can be copied to, the primary included. choice (research §3)
pub const MAX_COPIES: u8 = 8;

/// Where copy `copy` of `address` lives: `address` + bitrev(copy) 2^k / R. Copy 0 is the address itself; the first
/// copies are the farthest apart.
pub fn placement(address: OverlayAddr, copy: u8) -> OverlayAddr {
    let reversed = (copy % MAX_COPIES).reverse_bits() >> 5;
    address.offset(u128::from(reversed) << 125)
}

#[cfg(test)]
mod tests {
    use super::*;

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
