//! Repairs that are none: values that were spent, and a relay that repairs a path to itself again and again (design D11).

use super::*;
use neblo_behaviour::protocol::errand::{Envelope, Errand, Resume};
use neblo_behaviour::protocol::path::{Open, PathMessage, Up};
use neblo_behaviour::protocol::seal::Keys;
use neblo_behaviour::protocol::wire::Frame;
use neblo_behaviour::protocol::{Blob, interface::Event};
use neblo_behaviour::sim::StandInKeys;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What `value` hashes to, as the relays do it.
fn hash(label: &str, parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key(label);
    for part in parts {
        hasher.update(part);
    }
    let mut first = [0; 16];
    hasher.finalize_xof().fill(&mut first);
    first
}

fn seal(sim: &mut Simulation, to: &[u8; 32], envelope: &Envelope) -> Blob<16_384> {
    let mut rng = ChaCha8Rng::seed_from_u64(sim.draw(usize::MAX) as u64);
    let bytes = envelope.to_bytes();
    let mut plain = (bytes.len() as u32).to_be_bytes().to_vec();
    plain.extend(bytes);
    let overhead = StandInKeys::new(0).seal(&mut rng, to, &[]).len();
    plain.resize(1_024 - overhead, 0);
    Blob::new(StandInKeys::new(0).seal(&mut rng, to, &plain)).unwrap()
}

/// The values of walks, by sender and name.
type Values = Rc<RefCell<BTreeMap<(u32, u64), [u8; 16]>>>;

struct Stage {
    sim: Simulation,
    owner: u32,
    leader: u32,
    /// The hostile relay, the first one, and the value that it was given.
    relay: u32,
    value: [u8; 16],
}

fn stage(seed: u64) -> Stage {
    let values = Values::default();
    let kept = values.clone();
    let mut sim = Simulation::new(seed, Conditions::default());
    sim.watch_frames(move |sent| {
        if let Frame::Path(PathMessage::Open(open)) = sent.frame {
            kept.borrow_mut().insert((sent.from, open.id), open.resume);
        }
    });
    grow(&mut sim, 20, &Config::default().with_subgroup_size(20));
    sim.run(Duration::from_secs(20));
    let owner = *members(&sim).iter().find(|peer| sim.node(**peer).is_ready(Purpose::Publishing)).unwrap();
    announce(&mut sim, owner, b"picture");
    sim.run(Duration::from_secs(2));
    let hops = hops(&sim, owner, Purpose::Publishing);
    let (relay, leader) = (hops[1], *hops.last().unwrap());
    let link = sim.node(owner).paths().first_link(Purpose::Publishing).unwrap();
    let value = values.borrow()[&(owner, link.1)];
    Stage { sim, owner, leader, relay, value }
}

impl Stage {
    /// The hostile relay makes a path of its own to the leader and says that it is the owner's; whether the leader took it.
    fn resume(&mut self, value: [u8; 16]) -> bool {
        let id = self.sim.draw(usize::MAX) as u64;
        let home = self.sim.node(self.owner).subgroups().home().unwrap();
        let (subgroup, key) = (home.subgroup(), home.leader().unwrap().sealing);
        let open = PathMessage::Open(Open { id, subgroup, resume: [1; 16] });
        self.sim.inject(self.relay, self.leader, Frame::Path(open));
        let envelope = Envelope { reply: [9; 32], errand: Errand::Resume(Resume { value }) };
        let sealed = seal(&mut self.sim, &key, &envelope);
        let broken: Rc<RefCell<bool>> = Rc::default();
        let (seen, leader) = (broken.clone(), self.leader);
        self.sim.watch_frames(move |sent| {
            if let Frame::Path(PathMessage::Broken(broken)) = sent.frame {
                *seen.borrow_mut() |= sent.from == leader && broken.id == id;
            }
        });
        self.sim.inject(self.relay, self.leader, Frame::Path(PathMessage::Up(Up { id, sealed })));
        self.sim.run(Duration::from_millis(200));
        !*broken.borrow()
    }

    fn lost(&self) -> usize {
        let lost =
            |peer: u32, event: &Event<u32>| peer == self.owner && matches!(event, Event::PathLost(Purpose::Publishing));
        self.sim.events().iter().filter(|(_, peer, event)| lost(*peer, event)).count()
    }
}

#[test]
fn a_spent_value_and_one_of_nobody_are_worth_nothing() {
    let mut stage = stage(740);
    let value = hash("neblo 1 resume value", &[&stage.value, &[0]]);
    assert!(stage.resume(value), "the relay may repair the path once with this");
    assert!(!stage.resume(value), "and not again");
    assert!(!stage.resume([7; 16]));
    // A relay cannot make the values of those before it: the owner's publication is where the relay took it, or back.
    stage.sim.run(Duration::from_secs(20));
    let requester = members(&stage.sim).into_iter().rfind(|peer| *peer != stage.owner && *peer != stage.relay).unwrap();
    assert_eq!(look_up(&mut stage.sim, requester, b"picture").0.len(), 1);
}

/// The first relay can make all the values behind it, 24 relays' 4 each. After 16 repairs of one path its owner must build it
/// anew, and hears of it.
#[test]
fn a_relay_that_repairs_a_path_to_itself_again_and_again_loses_it() {
    let mut stage = stage(741);
    let before = stage.lost();
    let mut taken = 0;
    let mut value = stage.value;
    'all: for _ in 0..24 {
        for n in 0..4u8 {
            match stage.resume(hash("neblo 1 resume value", &[&value, &[n]])) {
                true => taken += 1,
                false => break 'all,
            }
        }
        value = hash("neblo 1 resume chain", &[&value]);
    }
    println!("{taken} repairs to itself before the leader refused");
    assert_eq!(taken, 16);
    // The owner announces again before long, because its renewals are not answered any more.
    stage.sim.run(Duration::from_secs(700));
    println!("paths lost to the owner: {}", stage.lost() - before);
    let requester = members(&stage.sim).into_iter().rfind(|peer| *peer != stage.owner && *peer != stage.relay).unwrap();
    assert_eq!(look_up(&mut stage.sim, requester, b"picture").0.len(), 1);
}
