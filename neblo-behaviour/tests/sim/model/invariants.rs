//! What must hold (research §3): Zave's invariants, and that no address has two owners.

use super::world::{R, World};
use neblo_behaviour::OverlayAddr;
use neblo_behaviour::protocol::interface::Ownership;
use neblo_behaviour::protocol::ring::Ring;

/// The first successor that lives and is a member.
fn best(world: &World, ring: &Ring<u32>) -> Option<u32> {
    let lives = |peer: u32| world.members().any(|(member, _)| member == peer);
    ring.successors().iter().map(|successor| successor.contact.peer).find(|peer| lives(*peer))
}

/// Every member knows a living successor.
pub(super) fn live_successor(world: &World) -> bool {
    let several = world.members().count() > 1;
    !several || world.members().all(|(_, ring)| best(world, ring).is_some())
}

/// Successor lists go once round at most, in order.
pub(super) fn ordered_lists(world: &World) -> bool {
    world.members().all(|(_, ring)| {
        let Some(me) = ring.me() else { return false };
        let distances: Vec<_> = ring.successors().iter().map(|next| me.address.distance_to(next.address)).collect();
        distances.first() != Some(&0) && distances.windows(2).all(|pair| pair[0] < pair[1])
    })
}

/// Whether one member leads to another by first living successors.
pub(super) fn leads_to(world: &World, from: u32, to: u32) -> bool {
    let mut at = from;
    for _ in 0..world.hosts.len() {
        if at == to {
            return true;
        }
        let Some(next) = best(world, &world.hosts[at as usize].ring) else { return false };
        at = next;
    }
    at == to
}

/// The members that lie on a cycle of first living successors, from each start.
fn cycles(world: &World) -> Vec<Vec<u32>> {
    let mut cycles = Vec::new();
    for (start, _) in world.members() {
        let mut walk = vec![start];
        while let Some(next) = walk.last().and_then(|last| best(world, &world.hosts[*last as usize].ring)) {
            if let Some(at) = walk.iter().position(|peer| *peer == next) {
                let mut cycle = walk.split_off(at);
                cycle.sort();
                if !cycles.contains(&cycle) {
                    cycles.push(cycle);
                }
                break;
            }
            walk.push(next);
        }
    }
    cycles
}

/// There is one ring, and all others lead to it.
pub(super) fn one_ring(world: &World) -> bool {
    world.members().count() < 2 || cycles(world).len() == 1
}

/// The ring is in the order of its addresses.
pub(super) fn ordered_ring(world: &World) -> bool {
    cycles(world).iter().all(|cycle| {
        cycle.iter().all(|peer| {
            let next = best(world, &world.hosts[*peer as usize].ring);
            let address = |peer: u32| world.address(peer).unwrap_or_default();
            let distance = |to: u32| address(*peer).distance_to(address(to));
            cycle
                .iter()
                .filter(|other| *other != peer)
                .all(|other| next.is_none_or(|next| distance(next) <= distance(*other)))
        })
    })
}

/// Members that no extended successor list skips.
pub(super) fn principals(world: &World) -> usize {
    let skips = |ring: &Ring<u32>, address: OverlayAddr| {
        let Some(me) = ring.me() else { return false };
        let away = me.address.distance_to(address);
        let list = ring.successors().iter().map(|next| me.address.distance_to(next.address));
        away != 0 && list.clone().next_back().is_some_and(|last| away < last) && !list.clone().any(|at| at == away)
    };
    let principal = |(_, member): &(u32, &Ring<u32>)| {
        member.me().is_some_and(|me| !world.members().any(|(_, ring)| skips(ring, me.address)))
    };
    world.members().filter(principal).count()
}

/// At least r + 1 of them, or the ring is small.
pub(super) fn enough_principals(world: &World) -> bool {
    principals(world) > R
}

/// What a death or a leave must leave behind: a living successor for each, and enough principals.
pub(super) fn principled(world: &World) -> bool {
    live_successor(world) && enough_principals(world)
}

/// No address has two owners.
pub(super) fn one_owner(world: &World) -> bool {
    let addresses = (0..world.hosts.len() as u32).filter_map(|peer| world.address(peer));
    addresses
        .into_iter()
        .all(|address| world.members().filter(|(_, ring)| ring.ownership(address) == Ownership::Yes).count() <= 1)
}

/// Whether the ring is ideal: each member knows its neighbours, and each address has one owner.
pub(super) fn ideal(world: &World) -> bool {
    let mut ring: Vec<_> = world.members().filter_map(|(peer, _)| world.address(peer)).collect();
    ring.sort();
    let owned = ring
        .iter()
        .all(|address| world.members().filter(|(_, ring)| ring.ownership(*address) == Ownership::Yes).count() == 1);
    let alive = world.hosts.iter().filter(|host| host.alive && host.ring.me().is_some()).count();
    owned
        && alive == ring.len()
        && world.members().all(|(peer, member)| {
            let Some(at) = ring.iter().position(|address| Some(*address) == world.address(peer)) else { return false };
            let next = |nth: usize| ring[(at + nth) % ring.len()];
            let list = member.successors();
            list.len() == R.min(ring.len() - 1)
                && list.iter().enumerate().all(|(nth, successor)| successor.address == next(nth + 1))
        })
}
