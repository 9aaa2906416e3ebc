//! Peers that do what they should not (research §6): each test prints the figure of its row.

mod breaks;
mod capture;
mod drops;
mod exposures;
mod floods;
mod leaving;
mod liars;
mod lies;
mod owners;
mod resumes;
mod routing;
mod second;
mod walks;

use neblo_behaviour::protocol::interface::Purpose;

use super::lookup::{announce, connect, look_up, ready, strangers};
use super::subgroups::{all_seated, leaders_know_each_other};
use super::*;

/// The peers of a path, its owner first, its leader last.
fn hops(sim: &Simulation, owner: u32, purpose: Purpose) -> Vec<u32> {
    let mut hops = vec![owner];
    let mut link = sim.node(owner).paths().first_link(purpose);
    while let Some((at, id)) = link {
        let before = *hops.last().unwrap();
        hops.push(at);
        link =
            sim.node(at).paths().relayed_links().find(|(previous, _)| *previous == (before, id)).map(|(_, next)| next);
    }
    hops
}

fn members(sim: &Simulation) -> Vec<u32> {
    sim.living().into_iter().filter(|peer| !sim.node(*peer).subgroups().leads()).collect()
}
