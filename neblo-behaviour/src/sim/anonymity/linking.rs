//! How often a leader finds, for the path over which somebody publishes, the one over which the same peer searches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::nodes::{SETTLE, Watched, leaders};
use crate::protocol::Config;
use crate::protocol::interface::{Command, Purpose};
use crate::protocol::io::Time;

/// How often it is looked whether a newcomer searches. choice: fine enough to tell paths apart
const LOOKED: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Linking {
    /// Owners of such pairs.
    pub pairs: u32,
    /// Names on links that are shared by two paths.
    pub shared_names: u32,
    /// Expected number of right guesses, taking one of those that have the same last relay, or any.
    pub by_last_relay: f64,
    /// Right guesses, taking the one that was opened at the nearest moment.
    pub by_moment: u32,
    /// The same, and on from there: when a path is taken down, the one that was opened last before is taken to have replaced it.
    pub by_chain: u32,
    /// Expected number of right guesses by chance.
    pub chance: f64,
}

/// The last link of a path: last relay, and when it was opened.
type End = (u32, Time);

/// Of every member that has both paths: where they end.
fn ends(watched: &Watched) -> Vec<(u32, End, End)> {
    let opened: BTreeMap<(u32, u64), Time> =
        watched.log.steps.iter().map(|step| ((step.from, step.name), step.at)).collect();
    let end = |owner: u32, purpose: Purpose| {
        let (last, name, _) = *watched.links(owner, purpose).last()?;
        Some((last, *opened.get(&(last, name))?))
    };
    let both = |owner: u32| Some((owner, end(owner, Purpose::Publishing)?, end(owner, Purpose::Searching)?));
    watched.members().into_iter().filter_map(both).collect()
}

fn apart(one: Time, other: Time) -> Duration {
    one.since(other).max(other.since(one))
}

fn link_up(watched: &Watched) -> Linking {
    let ends = ends(watched);
    let all = watched.members().into_iter();
    let mut names: Vec<u64> = all
        .flat_map(|owner| Purpose::ALL.map(|purpose| watched.links(owner, purpose)))
        .flatten()
        .map(|(_, name, _)| name)
        .collect();
    let named = names.len();
    names.sort_unstable();
    names.dedup();
    let chains = Chains::seen_by(watched);
    let chance = 1.0 / ends.len().max(1) as f64;
    let mut found = Linking {
        pairs: ends.len() as u32,
        shared_names: (named - names.len()) as u32,
        chance: chance * ends.len() as f64,
        ..Linking::default()
    };
    for (owner, publishing, searching) in &ends {
        let same = ends.iter().filter(|(_, _, other)| other.0 == publishing.0).count();
        found.by_last_relay += match same {
            0 => chance,
            _ if searching.0 == publishing.0 => 1.0 / same as f64,
            _ => 0.0,
        };
        let nearest = ends.iter().min_by_key(|(_, _, other)| apart(other.1, publishing.1));
        found.by_moment += u32::from(nearest.is_some_and(|(nearest, ..)| nearest == owner));
        found.by_chain += u32::from(chains.follow(*publishing) == Some(*searching));
    }
    found
}

/// What a leader makes of when paths to it begin and end. Each is named by its last relay and when it was opened.
struct Chains {
    /// The paths, in the order in which they were opened, and when they ended.
    paths: Vec<(End, Option<Time>)>,
}

impl Chains {
    fn seen_by(watched: &Watched) -> Self {
        let leaders = leaders(&watched.sim);
        let closed: BTreeMap<(u32, u64), Time> =
            watched.closed.borrow().iter().map(|(at, link)| (*link, *at)).collect();
        let ends = watched.log.steps.iter().filter(|step| leaders.contains(&step.to));
        let mut paths: Vec<_> =
            ends.map(|step| ((step.from, step.at), closed.get(&(step.from, step.name)).copied())).collect();
        paths.sort_by_key(|((_, at), _)| *at);
        Self { paths }
    }

    /// The path that is there now in place of the one that began nearest to this.
    fn follow(&self, publishing: End) -> Option<End> {
        let others = self.paths.iter().filter(|(path, _)| *path != publishing);
        let (mut path, mut ended) = *others.min_by_key(|((_, at), _)| apart(*at, publishing.1))?;
        while let Some(at) = ended {
            let next = self.paths.iter().rev().find(|((_, opened), _)| *opened < at && *opened > path.1);
            (path, ended) = *next?;
        }
        Some(path)
    }
}

fn config(n: u32) -> Config {
    Config::default().with_subgroup_size(n as usize)
}

/// Time in which all paths have begun whose moment is drawn.
fn all_begun(config: &Config) -> Duration {
    config.path_policy.search_anew.unwrap_or_default() * 2 + SETTLE
}

/// `n` nodes join one subgroup, with this time between two of them. What its leader links when they have been there for some hours, and
/// as long after another leader has taken over.
pub fn linking(seed: u64, n: u32, between: Duration, hours: u32) -> [Linking; 2] {
    let mut watched = Watched::grown(seed, n, config(n), between);
    watched.run(all_begun(&config(n)).max(Duration::from_secs(3_600) * hours));
    let later = link_up(&watched);
    watched.change_leader();
    watched.run(all_begun(&config(n)));
    [later, link_up(&watched)]
}

/// The same of nodes each of which looks something up as soon as it has joined: their own doing, which no choice of moments hides.
pub fn linking_of_hasty(seed: u64, n: u32, between: Duration) -> Linking {
    let mut watched = Watched::grown(seed, 4, config(n), between);
    for _ in 4..n {
        let joined = watched.sim.join(config(n), &[0]);
        watched.sim.run_until(SETTLE, |sim| sim.node(joined).is_ready(Purpose::Publishing));
        let query = b"picture".to_vec();
        let window = Duration::from_secs(1);
        watched.sim.command(joined, |token| Command::Lookup { token, query, limit: 10, window, allow_weak: true });
        watched.run(between);
    }
    watched.run(SETTLE);
    link_up(&watched)
}

/// To a subgroup of `n` that has been there for hours `newcomers` come, one after another with this time between. Once a newcomer has
/// a path for searching, the leader guesses which of all such paths it is.
pub fn linking_of_newcomers(seed: u64, n: u32, newcomers: u32, between: Duration) -> Linking {
    let config = config(n + newcomers);
    let mut watched = Watched::grown(seed, n, config.clone(), Duration::from_secs(5));
    watched.run(all_begun(&config) * 2);
    let mut waiting = BTreeSet::new();
    let mut found = Linking::default();
    let mut next = watched.sim.now();
    let last = next + between * newcomers + all_begun(&config);
    while watched.sim.now() < last {
        if watched.sim.now() >= next && watched.sim.living().len() < (n + newcomers) as usize {
            waiting.insert(watched.sim.join(config.clone(), &[0]));
            next = next + between;
        }
        watched.run(LOOKED);
        let begun = |peer: &u32| watched.sim.node(*peer).paths().first_link(Purpose::Searching).is_some();
        let fresh: Vec<u32> = waiting.iter().filter(|peer| begun(peer)).copied().collect();
        if fresh.is_empty() {
            continue;
        }
        let ends = ends(&watched);
        for peer in fresh {
            waiting.remove(&peer);
            let Some((_, publishing, _)) = ends.iter().find(|(owner, ..)| *owner == peer) else { continue };
            // What is searched over begins after what is published over, or with it.
            let since = ends.iter().filter(|(_, _, other)| other.1 >= publishing.1);
            let nearest = since.min_by_key(|(_, _, other)| apart(other.1, publishing.1));
            found.pairs += 1;
            found.chance += 1.0 / ends.len() as f64;
            found.by_moment += u32::from(nearest.is_some_and(|(nearest, ..)| *nearest == peer));
        }
    }
    found
}
