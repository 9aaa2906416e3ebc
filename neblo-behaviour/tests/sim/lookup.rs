use super::subgroups::{all_seated, leaders, leaders_know_each_other};
use super::*;
use neblo_behaviour::protocol::interface::{Announcement, Answer, Command, Hit, Purpose};

pub(crate) fn ready(seed: u64, n: usize, size: usize) -> Simulation {
    ready_of(seed, n, Config::default().with_subgroup_size(size))
}

/// As a network is after some hours: all have all paths.
pub(crate) fn ready_of(seed: u64, n: usize, config: Config) -> Simulation {
    let policy = config.path_policy.with_search_anew(None);
    ready_by(seed, n, config.with_path_policy(policy))
}

/// As a network is when all have just joined: each has the paths that are there from the first.
pub(crate) fn ready_by(seed: u64, n: usize, config: Config) -> Simulation {
    let mut sim = network_of(seed, n, config);
    let done = sim.run_until(Duration::from_secs(60), |sim| {
        all_seated(sim) && leaders_know_each_other(sim) && members_have_paths(sim)
    });
    let building = sim.living().into_iter().map(|peer| (peer, sim.node(peer).status().paths_building));
    let building: Vec<_> = building.filter(|(_, building)| !building.is_empty()).collect();
    assert!(
        done,
        "seed {seed}: not ready: seated {}, leaders {}, paths {building:?}",
        all_seated(&sim),
        leaders_know_each_other(&sim),
    );
    sim
}

fn members_have_paths(sim: &Simulation) -> bool {
    sim.living().into_iter().all(|peer| {
        let node = sim.node(peer);
        let later = node.paths().later();
        // Two are no subgroup to walk in: such a one waits for others, or goes to another that has room.
        let alone = node.subgroups().home().is_some_and(|home| home.list.members.len() < 3);
        alone
            || node.subgroups().leads()
            || Purpose::ALL.iter().all(|purpose| later.contains(purpose) || node.is_ready(*purpose))
    })
}

pub(crate) fn announce(sim: &mut Simulation, peer: u32, payload: &[u8]) -> u64 {
    let expiry_day = (1_800_000_000 / 86_400) as u32 + 30;
    let announcement = Announcement { secret: [peer as u8; 32], payload: payload.to_vec(), expiry_day };
    sim.command(peer, |token| Command::Announce { token, announcement, allow_weak: false })
}

pub(crate) fn look_up(sim: &mut Simulation, peer: u32, query: &[u8]) -> (Vec<Hit>, u32, u32) {
    look_up_for(sim, peer, query, Duration::from_secs(3))
}

pub(crate) fn look_up_for(sim: &mut Simulation, peer: u32, query: &[u8], window: Duration) -> (Vec<Hit>, u32, u32) {
    let query = query.to_vec();
    let token = sim.command(peer, |token| Command::Lookup { token, query, limit: 50, window, allow_weak: false });
    let ended = |sim: &Simulation| {
        matches!(sim.answers(peer, token).last(), Some(Answer::LookupEnded { .. } | Answer::Failed(_)))
    };
    assert!(sim.run_until(Duration::from_secs(20), ended));
    let mut hits = Vec::new();
    for answer in sim.answers(peer, token) {
        match answer {
            Answer::Hits { hits: some, .. } => hits.extend(some.clone()),
            Answer::LookupEnded { answered, asked } => return (hits, *answered, *asked),
            other => panic!("{other:?}"),
        }
    }
    unreachable!()
}

/// A member and one of another subgroup.
pub(crate) fn strangers(sim: &Simulation) -> (u32, u32) {
    let members: Vec<_> = sim.living().into_iter().filter(|peer| !sim.node(*peer).subgroups().leads()).collect();
    let home = |peer: u32| sim.node(peer).subgroups().home().unwrap().subgroup();
    let other = members.iter().find(|peer| home(**peer) != home(members[0])).unwrap();
    (members[0], *other)
}

pub(crate) fn connect(sim: &mut Simulation, peer: u32, hit: &Hit) -> Result<(), Answer> {
    let hit = Box::new(hit.clone());
    let token = sim.command(peer, |token| Command::Connect { token, hit, allow_weak: false });
    assert!(sim.run_until(Duration::from_secs(20), |sim| !sim.answers(peer, token).is_empty()));
    match &sim.answers(peer, token)[0] {
        Answer::Ok => Ok(()),
        other => Err(other.clone()),
    }
}

#[test]
fn a_lookup_asked_while_a_leader_is_dead_is_answered_by_whoever_leads_next() {
    for seed in seeds(220..232) {
        let mut sim = ready(seed, 24, 8);
        let (publisher, requester) = strangers(&sim);
        announce(&mut sim, publisher, b"a picture");
        sim.run(Duration::from_secs(4));
        let leader = sim.node(publisher).subgroups().home().and_then(|home| home.leader()).unwrap().contact.peer;
        sim.vanish(leader);
        // Nobody has noticed yet, and the multicast reaches nobody in its place.
        sim.run(Duration::from_millis(500));
        assert!(sim.living().into_iter().all(|peer| peer == leader || !is_next(&sim, peer, publisher)), "seed {seed}");
        let (hits, answered, asked) = look_up_for(&mut sim, requester, b"picture", Duration::from_secs(10));
        assert!(hits.iter().any(|hit| *hit.payload == *b"a picture"), "seed {seed}: {answered} of {asked}");
        assert_eq!(answered, asked, "seed {seed}");
    }
}

/// Whether a peer leads the subgroup of another.
fn is_next(sim: &Simulation, peer: u32, member: u32) -> bool {
    let home = |peer: u32| sim.node(peer).subgroups().home().map(|home| home.subgroup());
    sim.node(peer).subgroups().leads() && home(peer) == home(member)
}

#[test]
fn what_is_announced_is_found_from_another_subgroup_and_streamed() {
    for seed in 200..206 {
        let mut sim = ready(seed, 18, 6);
        let (publisher, requester) = strangers(&sim);
        let token = announce(&mut sim, publisher, b"a holiday picture");
        assert!(sim.run_until(Duration::from_secs(5), |sim| !sim.answers(publisher, token).is_empty()));
        let Answer::Announced(id) = sim.answers(publisher, token)[0] else { panic!() };
        let (hits, answered, asked) = look_up(&mut sim, requester, b"holiday");
        let all = leaders(&sim).len() as u32;
        assert_eq!((hits.len(), answered, asked), (1, all, all), "seed {seed}");
        assert_eq!(hits[0].id(), id);
        connect(&mut sim, requester, &hits[0]).unwrap();
        let stream = sim.streams().values().find(|stream| stream.accepted == Some(id)).unwrap();
        assert_eq!((stream.hops[0], *stream.hops.last().unwrap()), (requester, publisher));
        // A first relay is mandatory on both sides, and no leader carries the stream.
        let between = &stream.hops[1..stream.hops.len() - 1];
        assert!(between.len() >= 2, "seed {seed}: {:?}", stream.hops);
        assert!(!between.iter().any(|hop| leaders(&sim).contains(hop)), "seed {seed}: {:?}", stream.hops);
    }
}

#[test]
fn a_leader_publishes_and_asks_as_a_guest_of_another_subgroup() {
    let mut sim = ready(210, 18, 6);
    let leader = leaders(&sim)[1];
    let home = sim.node(leader).subgroups().home().unwrap().subgroup();
    let token = announce(&mut sim, leader, b"from a leader");
    assert!(sim.run_until(Duration::from_secs(15), |sim| !sim.answers(leader, token).is_empty()));
    assert!(matches!(sim.answers(leader, token)[0], Answer::Announced(_)), "{:?}", sim.answers(leader, token));
    let (hits, ..) = look_up(&mut sim, leader, b"from a");
    assert_eq!(hits.len(), 1);
    assert_ne!(hits[0].subgroup, home);
    let (one, other) = strangers(&sim);
    for requester in [one, other] {
        connect(&mut sim, requester, &hits[0]).unwrap();
    }
}

#[test]
fn after_a_relay_dies_the_path_is_built_anew_behind_the_same_first_relay() {
    for seed in 220..226 {
        let mut sim = ready(seed, 18, 6);
        let (publisher, requester) = strangers(&sim);
        announce(&mut sim, publisher, b"picture");
        sim.run(Duration::from_secs(2));
        let (hits, ..) = look_up(&mut sim, requester, b"picture");
        connect(&mut sim, requester, &hits[0]).unwrap();
        let hops = sim.streams().values().last().unwrap().hops.clone();
        // A walk may come through its own owner.
        let relays: Vec<_> = hops.iter().filter(|hop| ![requester, publisher].contains(hop)).copied().collect();
        let victim = relays[sim.draw(relays.len())];
        sim.kill(victim);
        assert!(sim.streams().values().last().unwrap().ended);
        let mut tries = 0;
        let began = sim.now();
        while connect(&mut sim, requester, &hits[0]).is_err() {
            tries += 1;
            assert!(tries < 20, "seed {seed}");
            sim.run(Duration::from_millis(200));
        }
        let took = sim.now().since(began);
        assert!(took < Duration::from_secs(5), "seed {seed}: {took:?}");
        let again = sim.streams().values().last().unwrap().hops.clone();
        assert!(!again.contains(&victim));
        if hops[1] != victim {
            assert_eq!(hops[1], again[1], "seed {seed}: the first relay is pinned");
        }
    }
}

/// A relay that stops closes nothing. Whichever it is, its neighbours on the stream notice, also where the stream is all that
/// makes them neighbours (from one path's last relay to the other's), or where the path that it was opened over is gone.
#[test]
fn a_stream_over_a_relay_that_stops_ends_soon_whichever_relay_it_is() {
    for seed in 250..262 {
        let mut sim = ready(seed, 18, 6);
        let (publisher, requester) = strangers(&sim);
        announce(&mut sim, publisher, b"picture");
        sim.run(Duration::from_secs(2));
        let (hits, ..) = look_up(&mut sim, requester, b"picture");
        connect(&mut sim, requester, &hits[0]).unwrap();
        // What made the links busy is long past.
        sim.run(Duration::from_secs(20));
        let hops = sim.streams().values().last().unwrap().hops.clone();
        // One side's notice is not enough: the other side of a stopped relay hears nothing of it. (The simulator names a
        // stream alike wherever it comes: of a host that it passes twice, the last visit alone is known.)
        let once = |peer: u32| hops.iter().filter(|hop| **hop == peer).count() == 1;
        for link in hops.windows(2) {
            for (one, other) in [(link[0], link[1]), (link[1], link[0])] {
                let mut watched = sim.node(one).paths().neighbours();
                let busy = watched.any(|(peer, _, busy)| peer == other && busy);
                assert!(busy || !once(one), "seed {seed}: {one} does not watch {other} of {hops:?}");
            }
        }
        let relays: Vec<_> = hops.iter().filter(|hop| ![requester, publisher].contains(hop)).copied().collect();
        let victim = relays[seed as usize % relays.len()];
        sim.freeze(victim, true);
        let ended = |sim: &Simulation| sim.streams().values().last().unwrap().ended;
        let began = sim.now();
        assert!(sim.run_until(Duration::from_secs(10), ended), "seed {seed}: {victim} of {hops:?}");
        let noticed = sim.now().since(began);
        assert!(noticed < Duration::from_millis(2_800), "seed {seed}: {noticed:?} for {victim} of {hops:?}");
        while connect(&mut sim, requester, &hits[0]).is_err() {
            let took = sim.now().since(began);
            assert!(took < Duration::from_secs(8), "seed {seed}: {took:?} for {victim} of {hops:?}");
            sim.run(Duration::from_millis(200));
        }
        assert!(!sim.streams().values().last().unwrap().hops.contains(&victim));
    }
}

#[test]
fn after_the_leader_dies_publications_are_announced_to_the_next_one() {
    for seed in 230..234 {
        let mut sim = ready(seed, 18, 6);
        let (publisher, requester) = strangers(&sim);
        announce(&mut sim, publisher, b"picture");
        sim.run(Duration::from_secs(2));
        let leader = sim.node(publisher).subgroups().home().unwrap().leader().unwrap().contact.peer;
        sim.kill(leader);
        let began = sim.now();
        while look_up(&mut sim, requester, b"picture").0.is_empty() {
            let took = sim.now().since(began);
            assert!(took < Duration::from_secs(15), "seed {seed}: {took:?}");
            sim.run(Duration::from_millis(500));
        }
    }
}

#[test]
fn with_three_peers_publishing_is_refused_unless_weakness_is_allowed() {
    let mut sim = network(240, 3, 6);
    assert!(sim.run_until(Duration::from_secs(30), all_seated));
    sim.run(Duration::from_secs(5));
    let member = (0..3).find(|peer| !sim.node(*peer).subgroups().leads()).unwrap();
    let token = announce(&mut sim, member, b"x");
    sim.run(Duration::from_secs(1));
    assert!(matches!(sim.answers(member, token), [Answer::Failed(_)]), "{:?}", sim.answers(member, token));
}
