//! The network that a transport address lies in, as far as one party is likely to hold all of it: /24 of IPv4, /48 of IPv6.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A public network: the first 3 bytes of an IPv4 address or the first 6 of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// Of IPv4.
    V4([u8; 3]),
    /// Of IPv6.
    V6([u8; 6]),
}

/// Codes of multiaddr components.
const IP4: u64 = 4;
const IP6: u64 = 41;
const CIRCUIT: u64 = 290;
/// Components between an address and what comes over it, and their lengths: two bytes, none, or said in front.
const PORTS: [u64; 2] = [6, 273];
const EMPTY: [u64; 9] = [448, 454, 460, 461, 465, 477, 478, 480, 280];
const SAID: [u64; 3] = [421, 449, 466];

impl Prefix {
    /// The public network of a multiaddr in its binary form. `None` if there is none (loopback, private, link-local, shared by a
    /// carrier, memory, a name) or if a relay is in between, whose address says nothing of the peer.
    pub fn of(address: &[u8]) -> Option<Self> {
        let (code, rest) = varint(address)?;
        let (prefix, rest) = match code {
            IP4 => {
                let (ip, rest) = rest.split_first_chunk::<4>()?;
                (of_v4(Ipv4Addr::from(*ip))?, rest)
            }
            IP6 => {
                let (ip, rest) = rest.split_first_chunk::<16>()?;
                (of_v6(Ipv6Addr::from(*ip))?, rest)
            }
            _ => return None,
        };
        (!is_relayed(rest)).then_some(prefix)
    }
}

fn of_v4(ip: Ipv4Addr) -> Option<Prefix> {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let none = a == 0 || a >= 224 || shared || ip.is_loopback() || ip.is_private() || ip.is_link_local();
    (!none).then_some(Prefix::V4([a, b, c]))
}

fn of_v6(ip: Ipv6Addr) -> Option<Prefix> {
    if let Some(ip) = ip.to_ipv4_mapped() {
        return of_v4(ip);
    }
    let none = ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_unique_local()
        || ip.is_unicast_link_local();
    let first = ip.octets().first_chunk().copied()?;
    (!none).then_some(Prefix::V6(first))
}

/// Whether a circuit follows. What is not known ends the search: nothing that a peer writes behind it hides its address.
fn is_relayed(mut rest: &[u8]) -> bool {
    while let Some((code, after)) = varint(rest) {
        let next = match code {
            CIRCUIT => return true,
            code if PORTS.contains(&code) => after.get(2..),
            code if EMPTY.contains(&code) => Some(after),
            code if SAID.contains(&code) => {
                varint(after).and_then(|(len, after)| after.get(usize::try_from(len).ok()?..))
            }
            _ => None,
        };
        match next {
            Some(next) => rest = next,
            None => return false,
        }
    }
    false
}

/// An unsigned varint of at most five bytes, and what follows.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (nth, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(nth + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(ip: [u8; 4], more: &[u8]) -> Vec<u8> {
        [&[4], &ip[..], more].concat()
    }

    fn v6(ip: &str, more: &[u8]) -> Vec<u8> {
        let ip: Ipv6Addr = ip.parse().unwrap();
        [&[41], &ip.octets()[..], more].concat()
    }

    #[test]
    fn public_addresses_have_a_prefix_and_others_none() {
        let tcp = [6, 0x10, 0x01];
        let quic = [0x91, 0x02, 0x10, 0x01, 0xcd, 0x03];
        for more in [&[][..], &tcp, &quic] {
            assert_eq!(Prefix::of(&v4([203, 0, 113, 7], more)), Some(Prefix::V4([203, 0, 113])));
            let six = Some(Prefix::V6([0x20, 0x01, 0x0d, 0xb8, 0x00, 0x07]));
            assert_eq!(Prefix::of(&v6("2001:db8:7:8::9", more)), six);
            assert_eq!(Prefix::of(&v6("::ffff:203.0.113.7", more)), Some(Prefix::V4([203, 0, 113])));
        }
        for ip in [
            [127, 0, 0, 1],
            [10, 1, 2, 3],
            [172, 31, 0, 1],
            [192, 168, 1, 1],
            [169, 254, 1, 1],
            [100, 64, 0, 1],
            [100, 127, 255, 1],
            [0, 0, 0, 0],
            [224, 0, 0, 1],
        ] {
            assert_eq!(Prefix::of(&v4(ip, &tcp)), None, "{ip:?}");
        }
        assert!(Prefix::of(&v4([100, 128, 0, 1], &tcp)).is_some() && Prefix::of(&v4([172, 32, 0, 1], &tcp)).is_some());
        for ip in ["::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:10.0.0.1"] {
            assert_eq!(Prefix::of(&v6(ip, &tcp)), None, "{ip}");
        }
        // A name, memory, and what is cut off.
        for other in
            [&[54, 2, b'a', b'b'][..], &[0x89, 0x06, 0, 0, 0, 0, 0, 0, 0, 1], &[4, 1, 2, 3], &[41, 1], &[], &[0x84]]
        {
            assert_eq!(Prefix::of(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_relayed_address_has_none_and_no_port_looks_like_a_relay() {
        let peer = [&[0xa5, 0x03, 3][..], &[1, 2, 3]].concat();
        let relayed = [&[6, 0x10, 0x01][..], &peer, &[0xa2, 0x02]].concat();
        assert_eq!(Prefix::of(&v4([203, 0, 113, 7], &relayed)), None);
        for more in
            [&[6, 0xa2, 0x02][..], &[0xa5, 0x03, 2, 0xa2, 0x02], &[0xff, 0x07, 0xa2, 0x02], &[0xa5, 0x03, 200, 1]]
        {
            assert!(Prefix::of(&v4([203, 0, 113, 7], more)).is_some(), "{more:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Prefix::of(&bytes);
            let _ = Prefix::of(&v4([203, 0, 113, 7], &bytes));
        }
    }
}
