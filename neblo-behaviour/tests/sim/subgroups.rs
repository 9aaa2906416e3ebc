use super::*;

/// Whether every living host is in a subgroup whose leader lives, leads it, and knows it.
pub(crate) fn all_seated(sim: &Simulation) -> bool {
    sim.living().into_iter().all(|peer| {
        let Some(home) = sim.node(peer).subgroups().home() else { return false };
        let Some(leader) = home.leader().map(|leader| leader.contact.peer) else { return false };
        let led = sim.node(leader).subgroups();
        sim.living().contains(&leader)
            && led.leads()
            && led
                .home()
                .is_some_and(|theirs| theirs.subgroup() == home.subgroup() && theirs.list.member(peer).is_some())
    })
}

pub(crate) fn leaders(sim: &Simulation) -> Vec<u32> {
    sim.living().into_iter().filter(|peer| sim.node(*peer).subgroups().leads()).collect()
}

/// Whether every leader knows all others.
pub(crate) fn leaders_know_each_other(sim: &Simulation) -> bool {
    let leaders = leaders(sim);
    leaders.iter().all(|leader| sim.node(*leader).subgroups().leaders().count() == leaders.len() - 1)
}

#[test]
fn subgroups_fill_up_and_others_are_created() {
    for seed in 100..104 {
        let mut sim = network(seed, 16, 6);
        assert!(sim.run_until(Duration::from_secs(30), all_seated), "seed {seed}");
        assert!(sim.run_until(Duration::from_secs(40), leaders_know_each_other), "seed {seed}");
        let leaders = leaders(&sim);
        assert!((3..=4).contains(&leaders.len()), "seed {seed}: {} subgroups", leaders.len());
        for leader in leaders {
            assert!(sim.node(leader).subgroups().home().unwrap().list.members.len() <= 6);
        }
    }
}

#[test]
fn another_leader_takes_over_when_it_dies() {
    for seed in 110..114 {
        let mut sim = network(seed, 18, 6);
        assert!(sim.run_until(Duration::from_secs(60), |sim| all_seated(sim) && leaders_know_each_other(sim)));
        let victim = *leaders(&sim).last().unwrap();
        let subgroup = sim.node(victim).subgroups().home().unwrap().subgroup();
        sim.kill(victim);
        let again = |sim: &Simulation| {
            all_seated(sim)
                && leaders(sim)
                    .iter()
                    .any(|leader| sim.node(*leader).subgroups().home().is_some_and(|home| home.subgroup() == subgroup))
        };
        assert!(sim.run_until(Duration::from_secs(15), again), "seed {seed}");
    }
}

#[test]
fn a_leader_that_stops_without_closing_anything_is_replaced() {
    let mut sim = network(120, 12, 6);
    assert!(sim.run_until(Duration::from_secs(60), all_seated));
    let victim = *leaders(&sim).last().unwrap();
    let subgroup = sim.node(victim).subgroups().home().unwrap().subgroup();
    sim.freeze(victim, true);
    let replaced = sim.run_until(Duration::from_secs(20), |sim| {
        leaders(sim).iter().any(|leader| {
            *leader != victim && sim.node(*leader).subgroups().home().is_some_and(|home| home.subgroup() == subgroup)
        })
    });
    assert!(replaced);
}
