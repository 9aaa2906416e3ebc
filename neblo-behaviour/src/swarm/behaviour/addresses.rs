//! The transport addresses at which this node can be reached.

use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_swarm::FromSwarm;

/// Addresses given to the node, and through it to other peers.
const MAX_ADDRESSES: usize = 8;
/// Addresses remembered of each kind.
const MAX_REMEMBERED: usize = 64;

/// What the swarm says of our addresses. Candidates are left out: whoever talks to us could name them.
#[derive(Default)]
pub(super) struct OwnAddresses {
    confirmed: Vec<Multiaddr>,
    listening: Vec<Multiaddr>,
    dirty: bool,
    told: Option<Vec<Vec<u8>>>,
}

fn remember(list: &mut Vec<Multiaddr>, address: &Multiaddr) {
    if !list.contains(address) && list.len() < MAX_REMEMBERED {
        list.push(address.clone());
    }
}

/// Removes the `/p2p` at the end.
fn transport(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

fn is_unspecified(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => ip.is_unspecified(),
        _ => false,
    }
}

impl OwnAddresses {
    pub(super) fn on_swarm_event(&mut self, event: &FromSwarm<'_>) {
        match event {
            FromSwarm::ExternalAddrConfirmed(event) => remember(&mut self.confirmed, event.addr),
            FromSwarm::ExternalAddrExpired(event) => self.confirmed.retain(|address| address != event.addr),
            FromSwarm::NewListenAddr(event) => remember(&mut self.listening, event.addr),
            FromSwarm::ExpiredListenAddr(event) => self.listening.retain(|address| address != event.addr),
            _ => return,
        }
        self.dirty = true;
    }

    /// The addresses for the node, if they have changed: external ones first, loopback only if there is nothing else.
    pub(super) fn changed(&mut self) -> Option<Vec<Vec<u8>>> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let mut all: Vec<Multiaddr> = Vec::new();
        for address in self.confirmed.iter().chain(&self.listening).map(transport) {
            if !is_unspecified(&address) && !all.contains(&address) {
                all.push(address);
            }
        }
        if all.iter().any(|address| !is_loopback(address)) {
            all.retain(|address| !is_loopback(address));
        }
        let bytes: Vec<_> = all.iter().take(MAX_ADDRESSES).map(Multiaddr::to_vec).collect();
        if self.told.as_ref() == Some(&bytes) {
            return None;
        }
        self.told = Some(bytes.clone());
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use libp2p_core::transport::ListenerId;
    use libp2p_swarm::behaviour::{ExpiredListenAddr, ExternalAddrConfirmed, NewListenAddr};

    use super::*;

    #[test]
    fn external_addresses_come_first_and_loopback_only_alone() {
        let mut own = OwnAddresses::default();
        let parse = |text: &str| text.parse::<Multiaddr>().unwrap();
        let listener_id = ListenerId::next();
        let loopback = parse("/ip4/127.0.0.1/tcp/1");
        own.on_swarm_event(&FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr: &loopback }));
        assert_eq!(own.changed(), Some(vec![loopback.to_vec()]));
        assert_eq!(own.changed(), None);
        let local = parse("/ip4/10.0.0.1/tcp/1");
        own.on_swarm_event(&FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr: &local }));
        let peer = libp2p_identity::PeerId::random();
        let external = parse(&format!("/ip4/1.2.3.4/tcp/1/p2p/{peer}"));
        own.on_swarm_event(&FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed { addr: &external }));
        let bare = parse("/ip4/1.2.3.4/tcp/1").to_vec();
        assert_eq!(own.changed(), Some(vec![bare.clone(), local.to_vec()]));
        own.on_swarm_event(&FromSwarm::ExpiredListenAddr(ExpiredListenAddr { listener_id, addr: &local }));
        assert_eq!(own.changed(), Some(vec![bare]));
    }
}
