//! Migration and regeneration: a store of blocks with copies keeps them through joins, leaves and deaths.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::*;
use neblo_behaviour::OverlayAddr;
use neblo_behaviour::protocol::interface::{Command, Event, HandlerKind, RangeWork, Recipients};
use neblo_behaviour::protocol::messaging::placement;
use neblo_behaviour::sim::Application;

const PORT: u16 = 4_000;
const COPIES: u8 = 3;

/// Blocks by host: (original address, copy).
type Held = BTreeMap<u32, BTreeSet<(OverlayAddr, u8)>>;

/// A store of blocks: what arrives is kept, what moves is sent on, what was lost is sent anew by those who hold a copy.
#[derive(Clone, Default)]
struct Store {
    held: Rc<RefCell<Held>>,
    token: u64,
}

impl Store {
    fn send(&mut self, to: OverlayAddr, copy: u8) -> Command<u32> {
        self.token += 1;
        let token = (1 << 32) + self.token;
        let (recipients, timeout) = (Recipients::Only(copy), Duration::from_secs(20));
        // A request rather than a message: it looks for another way when the next hop has just died.
        Command::Request { token, recipients, port: PORT, to, payload: to.to_bytes().to_vec(), timeout }
    }
}

impl Application for Store {
    fn event(&mut self, peer: u32, event: &Event<u32>) -> Option<Vec<(Duration, Command<u32>)>> {
        let commands = match event {
            Event::Asked { ask, to, copy, .. } => {
                self.held.borrow_mut().entry(peer).or_default().insert((*to, *copy));
                vec![Command::Respond { ask: *ask, payload: Ok(Vec::new()) }]
            }
            Event::RangeWork { work, what } => {
                let (range, role, lost) = match what {
                    RangeWork::Migration(what) => (what.range, what.role, what.role.copy()),
                    RangeWork::Regeneration(what) => (what.range, what.role, what.lost),
                };
                let held = self.held.borrow().get(&peer).cloned().unwrap_or_default();
                let concerned = held.into_iter().filter(|(at, copy)| range.contains(*at) && *copy == role.copy());
                let concerned: Vec<_> = concerned.filter(|_| lost < COPIES).map(|(at, _)| at).collect();
                let mut commands: Vec<_> = concerned.iter().map(|at| self.send(*at, lost)).collect();
                if matches!(what, RangeWork::Migration(_)) {
                    let mut held = self.held.borrow_mut();
                    let mine = held.entry(peer).or_default();
                    mine.retain(|(at, copy)| *copy != role.copy() || !concerned.contains(at));
                }
                commands.push(Command::RangeWorkDone { work: *work });
                commands
            }
            _ => return None,
        };
        Some(commands.into_iter().map(|command| (Duration::ZERO, command)).collect())
    }
}

fn set_up(sim: &mut Simulation, peer: u32) {
    sim.command(peer, |_| Command::SetHandler { port: PORT, kind: HandlerKind::RequestReceiver, on: true });
    sim.command(peer, |_| Command::SetRangeHandlers { migration: Some(true), regeneration: Some(true) });
}

/// How many copies of blocks are not where they belong.
fn missing(sim: &Simulation, store: &Store, blocks: &[OverlayAddr]) -> usize {
    let held = store.held.borrow();
    let owner_holds = |at: OverlayAddr, copy: u8| {
        let place = placement(at, copy);
        let mut owners = sim
            .living()
            .into_iter()
            .filter(|peer| sim.node(*peer).ring().range().is_some_and(|(range, _)| range.contains(place)));
        owners.any(|owner| held.get(&owner).is_some_and(|held| held.contains(&(at, copy))))
    };
    let copies = blocks.iter().flat_map(|at| (0..COPIES).map(move |copy| (*at, copy)));
    copies.filter(|(at, copy)| !owner_holds(*at, *copy)).count()
}

fn stored(seed: u64, n: usize, blocks: usize) -> (Simulation, Store, Vec<OverlayAddr>) {
    let mut sim = Simulation::new(seed, Conditions::default());
    let store = Store::default();
    sim.set_application(Box::new(store.clone()));
    let config = Config::default().with_subgroups(false);
    for peer in 0..n {
        let peer = sim.join(config.clone(), if peer == 0 { &[] } else { &[0] });
        set_up(&mut sim, peer);
        sim.run(Duration::from_millis(150));
    }
    assert!(sim.run_until(Duration::from_secs(120), is_ideal), "seed {seed}");
    let blocks: Vec<_> = (0..blocks).map(|block| OverlayAddr::hash(&[&block.to_le_bytes()])).collect();
    for to in &blocks {
        let sender = sim.draw(n) as u32;
        for copy in 0..COPIES {
            let (recipients, timeout) = (Recipients::Only(copy), Duration::from_secs(20));
            let payload = vec![1];
            sim.command(sender, |token| Command::Request { token, recipients, port: PORT, to: *to, payload, timeout });
        }
    }
    sim.run(Duration::from_secs(5));
    assert_eq!(missing(&sim, &store, &blocks), 0, "seed {seed}: not stored");
    (sim, store, blocks)
}

#[test]
fn after_each_death_every_block_has_all_its_copies_again() {
    for (seed, n) in [(200, 6), (201, 12), (202, 24), (203, 40)] {
        let (mut sim, store, blocks) = stored(seed, n, 200);
        for death in 0..n / 3 {
            let living = sim.living();
            let victim = living[sim.draw(living.len())];
            sim.kill(victim);
            let whole = sim.run_until(Duration::from_secs(60), |sim| missing(sim, &store, &blocks) == 0);
            assert!(whole, "seed {seed}, death {death}: {} copies are missing", missing(&sim, &store, &blocks));
        }
    }
}

#[test]
fn after_each_join_and_each_leave_every_block_has_all_its_copies_again() {
    for (seed, n) in [(210, 2), (211, 7), (212, 12), (213, 24)] {
        let (mut sim, store, blocks) = stored(seed, n, 200);
        for change in 0..12 {
            let living = sim.living();
            if change % 3 == 2 && living.len() > 2 {
                let leaver = living[sim.draw(living.len())];
                sim.command(leaver, |token| Command::Leave { token });
                let left = |sim: &Simulation| !sim.node(leaver).ring().is_member();
                assert!(sim.run_until(Duration::from_secs(60), left), "seed {seed}, change {change}: not let go");
                sim.kill(leaver);
            } else {
                let known = living[sim.draw(living.len())];
                let peer = sim.join(Config::default().with_subgroups(false), &[known]);
                set_up(&mut sim, peer);
                let joined = |sim: &Simulation| sim.node(peer).ring().is_member();
                let done = sim.run_until(Duration::from_secs(60), joined);
                if !done {
                    for peer in sim.living() {
                        eprintln!("{peer}: {:#?}", sim.node(peer).ring());
                    }
                }
                assert!(done, "seed {seed}, change {change}: not joined");
            }
            let whole = sim.run_until(Duration::from_secs(60), |sim| missing(sim, &store, &blocks) == 0);
            assert!(whole, "seed {seed}, change {change}: {} copies are missing", missing(&sim, &store, &blocks));
        }
    }
}
