//! Anonymity as numbers: the thresholds of research §5 and §6, by colluders that write down what the code that runs in production
//! sends them. `simulation -- anonymity` makes the same with more samples; docs/evaluation.md has its figures.
//!
//! Where the code does not reach a threshold the test holds it to what it does reach, and says so.

use neblo_behaviour::sim::anonymity::formulas::{self, Walk};
use neblo_behaviour::sim::anonymity::*;

use super::*;

const N: u32 = 100;
const P: f64 = 0.7;
const COLLUDERS: [u32; 4] = [5, 10, 20, 28];

fn near(what: &str, found: f64, wanted: f64, within: f64) {
    println!("{what}: {found:.4} ({wanted:.4})");
    assert!((found - wanted).abs() <= within, "{what}: {found:.4}, not {wanted:.4} within {within}");
}

// ---- the peer before the first colluder ------------------------------------------------------------------------------

#[test]
fn the_peer_before_the_first_colluder_is_the_owner_as_often_as_crowds_says_on_the_papers_walk() {
    for found in first_predecessor(1, Setting::paper(N, Ttl::Fixed(255)), &COLLUDERS, (500, 12), false) {
        let c = found.colluders;
        near(&format!("c = {c}"), found.posterior(), formulas::crowds(N, c, P), 0.01);
        let walk = Walk::code(N, c, P, None);
        near(&format!("c = {c}, paths seen"), found.seen_share(), walk.seen_coin_first(), 0.01);
    }
}

/// The mandatory first relay leaves the posterior what it is, and more paths are seen: 1/p times as many.
#[test]
fn and_as_often_on_the_hardened_walk_of_which_more_are_seen() {
    for found in first_predecessor(2, Setting::hardened(N), &COLLUDERS, (120, 40), true) {
        let c = found.colluders;
        near(&format!("c = {c}"), found.posterior(), formulas::crowds(N, c, P), 0.01);
        let walk = Walk::code(N, c, P, None);
        near(&format!("c = {c}, paths seen"), found.seen_share(), walk.seen_coin_first() / P, 0.01);
        // Nothing on the wire makes any owner certain, and nobody is suspected more than that.
        assert_eq!(found.certain, 0);
        assert!(found.worst <= formulas::crowds(N, c, P), "c = {c}: {}", found.worst);
        near(&format!("c = {c}, degree"), found.degree(), formulas::degree(walk.posterior(), walk.honest), 0.001);
    }
}

/// The same from whole nodes, from joining to another leader: frames of ring, subgroup and paths, and of walks that fail.
#[test]
fn whole_nodes_show_what_their_paths_alone_do() {
    let (mut seen, mut right, mut members) = (0, 0, 0);
    for seed in 30..54 {
        let found = first_predecessor_of_nodes(seed, 37, 6, 60);
        (seen, right, members) = (seen + found.seen, right + found.right, found.members);
    }
    let wanted = Walk::code(members, 6, P, None).posterior();
    near(&format!("{members} members, 6 collude"), right as f64 / seen as f64, wanted, 0.03);
}

#[test]
fn a_ttl_on_the_wire_makes_more_than_a_third_of_the_owners_certain_and_a_random_one_fewer() {
    let fixed = first_predecessor(3, Setting::paper(N, Ttl::Fixed(10)), &[10], (300, 12), true)[0];
    near("certain", fixed.certain_share(), Walk::crowds(N, 10, P, Some(10)).certain(), 0.01);
    near("degree", fixed.degree(), 0.624, 0.01);
    let random = first_predecessor(4, Setting::paper(N, Ttl::Between(7, 13)), &[10], (300, 12), true)[0];
    near("degree, 7 to 13", random.degree(), 0.726, 0.015);
    assert!(random.certain_share() < 0.2 * fixed.certain_share());
    for found in [fixed, random] {
        assert_eq!((found.worst, found.certain_right), (1.0, found.certain), "who is certain is right");
    }
}

/// A TTL that stays whole at a peer three times in four (research §5): nobody is certain, and the worst suspicion is a half.
#[test]
fn a_ttl_that_mostly_stays_whole_makes_nobody_certain() {
    let found = first_predecessor(10, Setting::paper(N, Ttl::Sticky(10, 75)), &[10], (300, 12), true)[0];
    assert_eq!(found.certain, 0);
    near("worst", found.worst, 0.533, 0.01);
    near("degree", found.degree(), 0.731, 0.015);
    near("the owner", found.posterior(), formulas::crowds(N, 10, P), 0.015);
}

// ---- again and again -------------------------------------------------------------------------------------------------

#[test]
fn rounds_until_the_owner_is_sure_under_the_papers_policy_are_those_of_the_sources() {
    for (attack, wanted) in
        [(Attack::PaperSeesTtl(10), [20.0, 11.0, 5.0]), (Attack::PaperHidden(10), [72.0, 33.0, 13.0])]
    {
        for (c, wanted) in [5, 10, 20].into_iter().zip(wanted) {
            let found = predecessor_attack(5, N, c, attack, (150, 6));
            let median = found.median().map_or(f64::INFINITY, f64::from);
            near(&format!("{attack:?}, c = {c}: rounds"), median, wanted, 1.5 + 0.15 * wanted);
        }
    }
}

/// Who has a colluder as first relay is found at once, c / (n - 1) of all; nobody else ever is.
#[test]
fn behind_a_pinned_first_relay_no_more_owners_are_found_however_often_paths_are_made_anew() {
    for c in [10, 20] {
        let unpinned = predecessor_attack(6, N, c, Attack::Unpinned, (60, 4));
        assert!(unpinned.found_within(60) > 0.9, "c = {c}: without a pin {:.3} are found", unpinned.found_within(60));
        for attack in [Attack::Rebuilt, Attack::Repaired] {
            let found = predecessor_attack(6, N, c, attack, (60, 4));
            near(&format!("{attack:?}, c = {c}"), found.found_within(60), f64::from(c) / 99.0, 0.04);
            assert_eq!(found.found_within(10), found.found_within(60), "{attack:?}, c = {c}");
            assert!(found.wrong as usize * 50 <= found.until.len(), "{} of {} wrong", found.wrong, found.until.len());
        }
    }
}

/// Research §5 asks for 2,880 h of guards that last: here relays live an hour and never come back, and a pin is worth as much as the
/// relay lives. A colluder stays, so that the pin that does not die is the wrong one.
#[test]
fn under_churn_a_colluder_is_first_relay_after_about_as_many_lives_of_a_relay_as_one_in_so_many_colludes() {
    let found = hours_until_exposed(7, (N, 10, 40), Keeping::Hardened, Duration::from_secs(3_600), 30.0);
    println!(
        "hardened: mean {:.1} h, median {:?} h, {:.2} exposed in 30 h",
        found.mean(),
        found.median(),
        found.share()
    );
    assert!((7.0..16.0).contains(&found.mean()), "{:.1} h", found.mean());
    assert_eq!(found.bare, 0);
    // The paper's paths end without any relay sooner or later, and then nothing breaks them.
    let paper = hours_until_exposed(7, (N, 10, 40), Keeping::Paper, Duration::from_secs(3_600), 30.0);
    println!("paper: {:.2} exposed, {} of 40 linked with the leader itself", paper.share(), paper.bare);
    assert!(paper.bare >= 20 && paper.share() < 0.4);
}

// ---- what the leader sees --------------------------------------------------------------------------------------------

#[test]
fn no_hardened_path_is_bare_and_its_last_relay_is_the_owner_no_more_often_than_anyone() {
    let paper = ends(8, Setting::paper(N, Ttl::Fixed(10)), 100);
    near("paper: no relay", paper.bare_share(), 0.3, 0.02);
    near("paper: the last is the owner", paper.last_is_owner_share(), 0.307, 0.02);
    let hardened = ends(9, Setting::hardened(N), 60);
    assert_eq!(hardened.bare, 0);
    // A walk may come back to its owner.
    near(
        "hardened: the last is the owner",
        hardened.last_is_owner_share(),
        formulas::last_is_owner(N, P, None, true),
        0.004,
    );
    assert!(hardened.last_is_owner_share() < 1.0 / f64::from(N));
}

#[test]
fn values_spent_tell_the_leader_nothing_of_the_place_of_a_relay_and_colluders_what_is_between_them() {
    let found = resumes(10, 40, 12);
    println!(
        "{} repairs, correlation {:.3}, guessed {:.3}",
        found.places.len(),
        found.correlation(),
        found.leader_guesses()
    );
    assert!(found.places.len() > 250);
    assert_eq!(found.unknown, 0, "each value is one of those that the owner vouched for");
    assert!(found.correlation().abs() < 0.12, "{:.3}", found.correlation());
    near("the leader guesses the place", found.leader_guesses(), 1.0 / 24.0, 0.03);
    assert_eq!(found.twice, 0, "no value is spent twice");
    // Not hidden: colluding relays of one path know that it is one, and how many are between them. It says nothing of who is before.
    assert_eq!((found.counted, found.mixed_up), (found.pairs, 0));
}

/// Aim: chance, 1 in n. It is not reached: both paths go through one pinned first relay, and (1-p)^2 of such pairs end there.
#[test]
fn a_leader_links_publishing_and_searching_by_last_relays_as_seldom_as_the_formula_says() {
    let found = linked_by_last(11, N, 25);
    assert_eq!(found.shared, 0, "no name is on two paths");
    near("linked by the last relay", found.share(), formulas::linked_by_last_relay(N, P), 0.02);
}

/// Research §6: publish-search linking is chance, by moments: those who have joined hours ago, also behind a new leader, and those who come
/// one by one. Who searches in the moment in which it joins shows it itself.
#[test]
fn moments_link_publishing_and_searching_no_better_than_chance_but_of_who_searches_as_it_joins() {
    for linked in linking(12, 30, Duration::from_secs(5), 4) {
        println!("{linked:?}");
        assert!(linked.pairs >= 25 && linked.shared_names == 0, "{linked:?}");
        assert!(linked.by_moment * 6 <= linked.pairs && linked.by_chain * 6 <= linked.pairs, "{linked:?}");
    }
    let newcomers = linking_of_newcomers(12, 20, 20, Duration::from_secs(600));
    println!("newcomers {newcomers:?}");
    assert!(newcomers.pairs >= 18 && newcomers.by_moment <= 4, "{newcomers:?}");
    // The estimators find what is there to be found.
    let hasty = linking_of_hasty(12, 30, Duration::from_secs(5));
    println!("hasty {hasty:?}");
    assert!(hasty.by_moment * 2 >= hasty.pairs, "{hasty:?}");
}

/// A first relay sees no three walks at once that would name their owner, unless the owner has asked for all.
#[test]
fn a_first_relay_sees_no_three_walks_begin_at_once() {
    for found in moments(13, 30, Duration::from_secs(5)) {
        println!("{found:?}");
        assert!(found.owners > 20 && found.named * 10 <= found.owners, "{found:?}");
    }
}

#[test]
fn a_leader_that_publishes_begins_no_walk_among_those_that_it_leads() {
    for seed in 14..17 {
        let found = guest(seed, 18, 6, 0);
        println!("{found:?}");
        assert!(found.published && found.begun_elsewhere > 0, "{found:?}");
        assert_eq!(found.begun_at_home, 0);
    }
}

/// That a leader is a guest elsewhere says nothing of what it does: all are, sooner or later.
#[test]
fn hours_later_leaders_are_guests_elsewhere_whatever_they_do() {
    let found = guest(17, 18, 6, 5);
    println!("{found:?}");
    assert!(found.listed_idle + 1 >= found.leaders && found.leaders > 2, "{found:?}");
}

/// A forged list moves no path, and gains the forger no first relay either when it breaks the path: those that it leaves out open paths
/// all the same.
#[test]
fn a_forged_list_owns_no_path_though_the_path_is_broken() {
    let found = forged_list(18, N, 10);
    println!("{found:?}");
    assert!(found.before * 4 < found.members, "{found:?}");
    assert_eq!([found.left_alone, found.during, found.after], [found.before; 3]);
}

// ---- the ring --------------------------------------------------------------------------------------------------------

#[test]
fn a_forwarder_suspects_the_peer_before_it_as_rarely_as_a_way_has_hops() {
    for delta in [0.25, 0.5, 1.0] {
        let found = senders(19, (256, 3), delta, 1_500);
        let hops = found.mean_hops();
        near(&format!("delta {delta}: {hops:.2} hops"), found.posterior(), 1.0 / hops, 0.05);
        println!("mean set {:.1}, {:.2} bits, alone {:.3}", found.mean_set(), found.mean_bits(), found.share_to(1));
        assert!(found.mean_bits() > 3.0 && found.share_to(1) < 0.2, "delta {delta}");
    }
}

#[test]
fn mappers_learn_the_addresses_of_their_neighbours_alone() {
    let n = 512;
    for c in [1, 10, 50] {
        let found = mapped(20, (n, c), 0.5, 4);
        println!("{c} of {n}: {found:?}");
        // A predecessor and eight successors each, fewer where they overlap.
        let most = 9.0 * f64::from(c) / f64::from(n - c);
        assert!(found.known <= most && found.known > 0.6 * most.min(0.6), "{c}: {}", found.known);
    }
}

// ---- Sybils ----------------------------------------------------------------------------------------------------------

#[test]
fn sybils_that_join_like_others_are_spread_as_by_chance() {
    assert_eq!(formulas::colluders_borne(75, P), 20);
    let (mut members, mut sybils, mut broken, mut subgroups) = (0, 0, 0, 0);
    for seed in 21..25 {
        let found = joined(seed, (40, 8), 12).expect("all seated");
        members += found.subgroups.iter().map(|(n, _)| n).sum::<u32>();
        sybils += found.subgroups.iter().map(|(_, c)| c).sum::<u32>();
        broken += found.broken(P);
        subgroups += found.subgroups.len();
    }
    let borne = formulas::colluders_borne(11, P);
    let wanted = formulas::binomial_above(11, 8.0 / 48.0, borne);
    println!("{broken} of {subgroups} subgroups broken ({wanted:.2} by chance)");
    near("Sybils among members", f64::from(sybils) / f64::from(members), 8.0 / 48.0, 0.04);
    near("broken", f64::from(broken) / subgroups as f64, wanted, 0.25);
}
