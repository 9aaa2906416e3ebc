//! Whole nodes, from joining to paths, each frame written down: what moments tell, where parts alone say nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::first::FirstPredecessor;
use super::log::{Follow, Log, Step, Tag, Truth, next_value};
use crate::PathPolicy;
use crate::address::OverlayAddr;
use crate::protocol::Config;
use crate::protocol::interface::{Announcement, Answer, Command, Purpose};
use crate::protocol::io::Time;
use crate::protocol::path::PathMessage;
use crate::protocol::wire::Frame;
use crate::sim::{Conditions, Sent, Simulation};

/// Walks that a neighbour sends within this belong together, to who watches moments.
const AT_ONCE: Duration = Duration::from_millis(5);
/// How finely time is cut to know who led at a step.
const SLICE: Duration = Duration::from_millis(50);
/// Time to be seated and to have paths, and to have them again behind another leader.
pub(super) const SETTLE: Duration = Duration::from_secs(30);

/// When a link of a path was taken down from its owner's side: by whom, and its name.
pub(super) type Closed = (Time, (u32, u64));

/// A network that writes down every step of a walk, and the subgroup that it is in.
pub(super) struct Watched {
    pub(super) sim: Simulation,
    steps: Rc<RefCell<Vec<(Step, OverlayAddr)>>>,
    pub(super) closed: Rc<RefCell<Vec<Closed>>>,
    pub(super) log: Log,
    truth: Truth,
}

impl Watched {
    pub(super) fn grown(seed: u64, n: u32, config: Config, between: Duration) -> Self {
        let mut sim = Simulation::new(seed, Conditions::default());
        sim.count_bytes(false);
        let steps: Rc<RefCell<Vec<(Step, OverlayAddr)>>> = Rc::default();
        let closed: Rc<RefCell<Vec<_>>> = Rc::default();
        let (into, into_closed) = (steps.clone(), closed.clone());
        sim.watch_frames(move |sent: Sent<'_>| {
            if let Frame::Path(PathMessage::Broken(broken)) = sent.frame
                && broken.up
            {
                into_closed.borrow_mut().push((sent.at, (sent.from, broken.id)));
            }
            if let Frame::Path(message) = sent.frame
                && let PathMessage::Open(open) = message
                && let Some(step) = Step::of_path(sent.at, (sent.from, sent.to), message)
            {
                into.borrow_mut().push((step, open.subgroup));
            }
        });
        let mut watched = Self { sim, steps, closed, log: Log::default(), truth: Truth::default() };
        watched.sim.join(config.clone(), &[]);
        for _ in 1..n {
            watched.run(between);
            watched.sim.join(config.clone(), &[0]);
        }
        watched.run(SETTLE);
        watched
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.sim.now() + time;
        while self.sim.now() < end {
            self.sim.run(SLICE);
            let leaders = leaders(&self.sim);
            for (step, _) in self.steps.borrow_mut().drain(..) {
                self.truth.learn_of(&step, leaders.contains(&step.to));
                self.log.steps.push(step);
            }
        }
    }

    pub(super) fn members(&self) -> Vec<u32> {
        self.sim.living().into_iter().filter(|peer| !self.sim.node(*peer).subgroups().leads()).collect()
    }

    /// The links of a path: from whom, its name, to whom.
    pub(super) fn links(&self, owner: u32, purpose: Purpose) -> Vec<(u32, u64, u32)> {
        let mut links = Vec::new();
        let mut link = self.sim.node(owner).paths().first_link(purpose);
        let mut before = owner;
        while let Some((at, name)) = link {
            links.push((before, name, at));
            let mut relayed = self.sim.node(at).paths().relayed_links();
            link = relayed.find(|(previous, _)| *previous == (before, name)).map(|(_, next)| next);
            before = at;
        }
        links
    }

    /// The leader is gone, and all make their paths anew to the next one.
    pub(super) fn change_leader(&mut self) {
        self.log.steps.clear();
        if let Some(leader) = leaders(&self.sim).first() {
            self.sim.kill(*leader);
        }
        self.run(SETTLE);
    }
}

pub(super) fn leaders(sim: &Simulation) -> Vec<u32> {
    sim.living().into_iter().filter(|peer| sim.node(*peer).subgroups().leads()).collect()
}

/// What single relays make of walks that come from one neighbour at one moment: three at once are its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// Members with paths.
    pub owners: u32,
    /// Of them named rightly by their first relay.
    pub named: u32,
    /// Times that a relay named somebody.
    pub alarms: u32,
    /// Times that it was right.
    pub right: u32,
}

fn alarms(watched: &Watched) -> Moments {
    let mut by_link: BTreeMap<(u32, u32), Vec<&Step>> = BTreeMap::new();
    for step in &watched.log.steps {
        by_link.entry((step.from, step.to)).or_default().push(step);
    }
    let owners = watched.members();
    let mut found = Moments { owners: owners.len() as u32, ..Moments::default() };
    let mut named = BTreeSet::new();
    for ((from, to), steps) in &by_link {
        if !owners.contains(to) {
            continue;
        }
        let mut after = Time(0);
        for window in steps.windows(3) {
            let [first, .., last] = window else { continue };
            if first.at < after || last.at.since(first.at) > AT_ONCE {
                continue;
            }
            after = first.at + AT_ONCE;
            let right = window.iter().all(|step| watched.truth.begins(step));
            found.alarms += 1;
            found.right += u32::from(right);
            if right {
                named.insert(*from);
            }
        }
    }
    found.named = owners.iter().filter(|owner| named.contains(owner)).count() as u32;
    found
}

/// `n` nodes join one subgroup, with this time between two of them; then their leader dies. What relays make of the moments of either
/// time.
pub fn moments(seed: u64, n: u32, between: Duration) -> [Moments; 2] {
    let mut watched = Watched::grown(seed, n, Config::default().with_subgroup_size(n as usize), between);
    let joining = alarms(&watched);
    watched.change_leader();
    [joining, alarms(&watched)]
}

/// The peer before the first colluder, from the frames of whole nodes: `n` join one subgroup, another leader takes over, and `sets`
/// random sets of `c` members look at the walks that follow.
pub fn first_predecessor_of_nodes(seed: u64, n: u32, c: u32, sets: u32) -> FirstPredecessor {
    // All have all their paths from the first, so that there are more of them to be seen.
    let policy = PathPolicy::hardened().with_search_anew(None);
    let config = Config::default().with_subgroup_size(n as usize).with_path_policy(policy);
    let mut watched = Watched::grown(seed, n, config, Duration::from_millis(150));
    watched.change_leader();
    let members = watched.members();
    let follow = Follow::of(&watched.log);
    let mut found = FirstPredecessor { members: members.len() as u32, colluders: c, ..FirstPredecessor::default() };
    let begun = watched.log.steps.iter().filter(|step| watched.truth.begins(step));
    let owners: Vec<u32> = begun.map(|step| step.from).collect();
    for _ in 0..sets {
        let mut colluders: BTreeSet<u32> = BTreeSet::new();
        while colluders.len() < c as usize {
            colluders.extend(members.get(watched.sim.draw(members.len())));
        }
        found.paths += owners.iter().filter(|owner| !colluders.contains(*owner)).count() as u64;
        for observation in watched.log.seen_by(&colluders).first_colluders(&colluders, &follow) {
            found.seen += 1;
            found.right += u64::from(watched.truth.owner(&observation.step) == Some(observation.before));
        }
    }
    found
}

/// What is seen of a leader that publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guest {
    /// Whether a leader had the publication.
    pub published: bool,
    /// Walks that it began in the subgroup that it leads.
    pub begun_at_home: u32,
    /// Walks that it began elsewhere.
    pub begun_elsewhere: u32,
    /// Members of the subgroup where it is a guest, and of the one that it leads, itself left out.
    pub among: (u32, u32),
    /// Leaders that are on the list of a subgroup as its guests: the one that publishes.
    pub listed: u32,
    /// Of them that neither publish nor ask.
    pub listed_idle: u32,
    /// Leaders in all.
    pub leaders: u32,
}

/// A leader of a network of `n` publishes, and after so many hours it is looked who stands on lists as a guest.
pub fn guest(seed: u64, n: u32, subgroup_size: usize, hours: u32) -> Guest {
    let mut watched =
        Watched::grown(seed, n, Config::default().with_subgroup_size(subgroup_size), Duration::from_millis(150));
    let all = leaders(&watched.sim);
    let Some(leader) = all.get(1).copied() else { return Guest::default() };
    let home = watched.sim.node(leader).subgroups().home().map(|home| home.subgroup());
    let mut found = Guest { leaders: all.len() as u32, ..Guest::default() };
    // A leader that has not needed a place elsewhere so far may refuse the first time, and look for one.
    for _ in 0..2 {
        let announcement = Announcement { secret: [9; 32], payload: b"from a leader".to_vec(), expiry_day: u32::MAX };
        let token = watched.sim.command(leader, |token| Command::Announce { token, announcement, allow_weak: false });
        // Steps are left where they are: the subgroup is of interest here.
        watched.sim.run(SETTLE);
        found.published |= matches!(watched.sim.answers(leader, token), [Answer::Announced(_)]);
    }
    let steps = std::mem::take(&mut *watched.steps.borrow_mut());
    let values = |step: &Step| match step.tag {
        Tag::Value(value) => value,
        Tag::Connection(connection, _) => connection,
    };
    let handed: Vec<[u8; 16]> = watched
        .log
        .steps
        .iter()
        .chain(steps.iter().map(|(step, _)| step))
        .filter(|step| step.to == leader)
        .map(|step| next_value(&values(step)))
        .collect();
    for (step, subgroup) in steps.iter().filter(|(step, _)| step.from == leader) {
        let to_end = watched
            .sim
            .node(step.to)
            .subgroups()
            .home()
            .is_some_and(|home| home.subgroup() == *subgroup && watched.sim.node(step.to).subgroups().leads());
        if to_end || handed.contains(&values(step)) {
            continue;
        }
        match Some(*subgroup) == home {
            true => found.begun_at_home += 1,
            false => found.begun_elsewhere += 1,
        }
    }
    let size = |subgroup| {
        let led = all.iter().filter_map(|leader| watched.sim.node(*leader).subgroups().home());
        led.filter(|home| Some(home.subgroup()) == subgroup).map(|home| home.list.members.len() as u32 - 1).next()
    };
    let away = watched.sim.node(leader).subgroups().guest().map(|guest| guest.subgroup());
    found.among = (size(away).unwrap_or(0), size(home).unwrap_or(0));
    watched.steps.borrow_mut().clear();
    watched.sim.run(Duration::from_secs(3_600) * hours);
    let all = leaders(&watched.sim);
    found.leaders = all.len() as u32;
    for other in &all {
        let Some(list) = watched.sim.node(*other).subgroups().home().map(|home| home.list.clone()) else { continue };
        let guests = list.members.iter().filter(|member| member.guest).map(|member| member.contact.peer);
        for guest in guests.filter(|guest| all.contains(guest)) {
            found.listed += 1;
            found.listed_idle += u32::from(guest != leader);
        }
    }
    found
}
