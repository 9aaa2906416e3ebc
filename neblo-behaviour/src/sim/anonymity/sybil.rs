//! Sybils: what share of those who join breaks a subgroup (research §6: probable innocence needs n >= p/(p-1/2) (c+1)).

use std::time::Duration;

use super::formulas::members_needed;
use crate::protocol::Config;
use crate::sim::{Conditions, Simulation};

/// What became of the subgroups of one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sybils {
    /// For each subgroup: members besides its leader, and Sybils among them.
    pub subgroups: Vec<(u32, u32)>,
    /// Subgroups whose leader is a Sybil.
    pub led: u32,
}

impl Sybils {
    /// Subgroups in which there are too many for probable innocence.
    pub fn broken(&self, p: f64) -> u32 {
        let broken = |(n, c): &&(u32, u32)| f64::from(*n) < members_needed(*c, p);
        self.subgroups.iter().filter(broken).count() as u32
    }
}

/// `honest` nodes join a network one after another, and `sybils` others between them in random order, all as the protocol has it.
/// `None` if not all were seated in time.
pub fn joined(seed: u64, (honest, sybils): (u32, u32), subgroup_size: usize) -> Option<Sybils> {
    let mut sim = Simulation::new(seed, Conditions::default());
    sim.count_bytes(false);
    let config = Config::default().with_subgroup_size(subgroup_size);
    let mut left = (honest, sybils);
    let mut is_sybil = Vec::new();
    while left.0 + left.1 > 0 {
        let sybil = (sim.draw((left.0 + left.1) as usize) as u32) < left.1;
        let known: &[u32] = if is_sybil.is_empty() { &[] } else { &[0] };
        sim.join(config.clone(), known);
        is_sybil.push(sybil);
        if sybil {
            left.1 -= 1
        } else {
            left.0 -= 1
        }
        sim.run(Duration::from_millis(150));
    }
    let seated = |sim: &Simulation| {
        sim.living().iter().all(|peer| {
            sim.node(*peer).subgroups().home().and_then(|home| home.leader()).is_some_and(|leader| {
                let led = sim.node(leader.contact.peer).subgroups();
                led.leads() && led.home().is_some_and(|home| home.list.member(*peer).is_some())
            })
        })
    };
    if !sim.run_until(Duration::from_secs(90), seated) {
        return None;
    }
    let mut found = Sybils::default();
    for leader in sim.living().into_iter().filter(|peer| sim.node(*peer).subgroups().leads()) {
        let home = sim.node(leader).subgroups().home()?;
        let others: Vec<u32> = home.relays(leader).map(|contact| contact.peer).collect();
        let bad = others.iter().filter(|peer| is_sybil[**peer as usize]).count();
        found.subgroups.push((others.len() as u32, bad as u32));
        found.led += u32::from(is_sybil[leader as usize]);
    }
    Some(found)
}
