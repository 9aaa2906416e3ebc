//! What a peer can write down (design D6): it sees the overlay addresses of its neighbourhood on the ring and of nobody else.
//!
//! Every frame to every host is searched, byte by byte, for the address of every member there has been. One that is found
//! must lie in the receiver's neighbourhood: from the two members before it (the predecessor, and where the predecessor's
//! range begins, for that much is inherited when it dies) to the r + 1 after it (its successor list, and the list of the
//! first of them). Left out is one field alone, the address that a message or a request is sent to: it must be in clear to
//! be routed. It is a member's address when someone joins (who asks for the owner of its future address) or looks for
//! another ring of the network (who asks for its own); whoever forwards that learns an address, and not whose.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use neblo_behaviour::OverlayAddr;
use neblo_behaviour::address::AddrRange;
use neblo_behaviour::protocol::interface::Command;
use neblo_behaviour::protocol::io::Time;
use neblo_behaviour::protocol::messaging::MessagingMessage;
use neblo_behaviour::protocol::wire::Frame;

use super::*;

/// Places before and after a peer whose addresses it may see.
const BEFORE: usize = 2;
const AFTER: usize = 9;
/// How long a frame may speak of a neighbourhood that has changed since.
const STALE: Duration = Duration::from_secs(30);
/// Most fingers a level (design D6).
const A_LEVEL: usize = 2;

struct Seen {
    at: Time,
    to: u32,
    bytes: Vec<u8>,
    what: String,
}

/// What all hosts are sent, without the addresses that messages are sent to.
fn record(sim: &mut Simulation, fingers_asked: Rc<RefCell<u64>>) -> Rc<RefCell<Vec<Seen>>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let into = seen.clone();
    sim.watch_frames(move |sent| {
        let mut frame = sent.frame.clone();
        match &mut frame {
            Frame::Messaging(MessagingMessage::Message(message)) => message.to = OverlayAddr(0),
            Frame::Messaging(MessagingMessage::Request(request)) => {
                // The ring's own port; a choice is an array of two, and 1 asks for a finger.
                let asks = request.port == 0 && request.payload.starts_with(&[0x82, 0x01]);
                *fingers_asked.borrow_mut() += u64::from(asks);
                request.to = OverlayAddr(0);
            }
            _ => {}
        }
        let what = format!("{:?}", frame).chars().take(400).collect();
        into.borrow_mut().push(Seen { at: sent.at, to: sent.to, bytes: frame.to_bytes(), what });
    });
    seen
}

/// The neighbourhoods of a host, and since when it has had each.
#[derive(Default)]
struct Arcs(BTreeMap<u32, Vec<(Time, AddrRange)>>);

impl Arcs {
    fn look(&mut self, sim: &Simulation) {
        let mut members: Vec<_> =
            sim.living().into_iter().filter_map(|host| Some((sim.node(host).address()?, host))).collect();
        members.sort();
        let n = members.len();
        for (at, (_, host)) in members.iter().enumerate() {
            let first = members[(at + n - BEFORE) % n].0;
            let arc = AddrRange { after: OverlayAddr(first.0.wrapping_sub(1)), to: members[(at + AFTER) % n].0 };
            let arcs = self.0.entry(*host).or_default();
            if arcs.last().is_none_or(|(_, last)| *last != arc) {
                arcs.push((sim.now(), arc));
            }
        }
    }

    fn holds(&self, host: u32, at: Time, address: OverlayAddr) -> bool {
        let Some(arcs) = self.0.get(&host) else { return true };
        // An arc counts until some time after the next one has taken its place.
        let ends = arcs.iter().skip(1).map(|(since, _)| Some(*since)).chain([None]);
        arcs.iter()
            .zip(ends)
            .any(|((_, arc), end)| end.is_none_or(|end| at.since(end) < STALE) && arc.contains(address))
    }
}

#[test]
fn a_peer_that_writes_everything_down_learns_the_addresses_of_its_neighbourhood_alone() {
    const HOSTS: u32 = 48;
    let config = Config::default().with_subgroups(false);
    let mut sim = Simulation::new(300, Conditions::default());
    sim.join(config.clone(), &[]);
    for _ in 1..HOSTS {
        sim.run(Duration::from_millis(500));
        sim.join(config.clone(), &[0]);
    }
    // In a small ring everyone knows everyone (design D2); what is looked at is a ring that has grown.
    assert!(sim.run_until(Duration::from_secs(60), is_ideal));
    let fingers_asked = Rc::new(RefCell::new(0));
    let seen = record(&mut sim, fingers_asked.clone());
    let mut arcs = Arcs::default();
    let mut addresses: BTreeMap<[u8; 16], u32> = BTreeMap::new();
    let (mut searched, mut found) = (0, 0);
    // The first two bytes of each, because most windows of a frame are none of them.
    let mut starts = vec![false; 1 << 16];
    let began = sim.now();
    let frames_before: u64 = sim.frames.values().sum();
    let bytes_before: u64 = sim.bytes.values().sum();
    for round in 0..600u32 {
        if round % 15 == 7 {
            let living = sim.living();
            let picked = living[1 + sim.draw(living.len() - 1)];
            match sim.draw(4) {
                0 | 1 => drop(sim.join(config.clone(), &[picked])),
                2 => drop(sim.command(picked, |token| Command::Leave { token })),
                _ => sim.kill(picked),
            }
        }
        sim.run(Duration::from_secs(1));
        arcs.look(&sim);
        for host in sim.living() {
            if let Some(me) = sim.node(host).ring().me() {
                addresses.insert(me.address.to_bytes(), host);
                starts[(me.address.0 >> 112) as usize] = true;
            }
            let mut levels = BTreeMap::new();
            for finger in sim.node(host).fingers().iter() {
                *levels.entry(finger.level).or_insert(0) += 1;
            }
            assert!(levels.values().all(|count| *count <= A_LEVEL), "host {host}: {levels:?}");
            // No more levels than there are doublings of the distance from the end of the successor list on.
            assert!(levels.len() <= 8, "host {host}: {levels:?}");
        }
        for frame in seen.borrow_mut().drain(..) {
            searched += 1;
            for window in frame.bytes.windows(16) {
                if !starts[usize::from(window[0]) << 8 | usize::from(window[1])] {
                    continue;
                }
                let window: [u8; 16] = window.try_into().unwrap();
                let Some(owner) = addresses.get(&window).filter(|owner| **owner != frame.to) else { continue };
                found += 1;
                let address = OverlayAddr::from_bytes(window);
                assert!(
                    arcs.holds(frame.to, frame.at, address),
                    "{:.3} s: {} learns the address {address:?} of {owner}: {}",
                    frame.at.0 as f64 / 1e6,
                    frame.to,
                    frame.what
                );
            }
        }
    }
    let minutes = sim.now().since(began).as_secs_f64() / 60.0 * f64::from(HOSTS);
    let frames = sim.frames.values().sum::<u64>() - frames_before;
    let bytes = sim.bytes.values().sum::<u64>() - bytes_before;
    let fingers = *fingers_asked.borrow() as f64 / minutes;
    println!(
        "{searched} frames, {found} addresses in them; a node and minute: {:.1} frames, {:.0} bytes, {fingers:.2} of them \
         requests for fingers",
        frames as f64 / minutes,
        bytes as f64 / minutes,
    );
    assert!(found > 1_000, "nothing was found: is the search broken?");
    // A request on each hop of its way, and as many frames back.
    assert!(fingers < 20.0, "{fingers} requests for fingers a node and minute");
}
