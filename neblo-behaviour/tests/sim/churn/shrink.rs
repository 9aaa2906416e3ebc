//! The same operations drawn by proptest, so that what goes wrong is shortened to the few of them that it takes.
//!
//! The cases are the same in every run; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` choose others, more of them.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::*;

/// What must be known of the network to draw the next operation: nearly nothing, as operations that cannot be done are left
/// out.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    seed: u64,
    hosts: u8,
    parted: bool,
    weather: Weather,
}

/// The network that the script is for.
pub(crate) struct Churn;

impl ReferenceStateMachine for Churn {
    type State = Script;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Script> {
        let script = |(seed, hosts)| Script { seed, hosts, parted: false, weather: Weather::Fair };
        (0..1_000_u64, 16..24_u8).prop_map(script).boxed()
    }

    fn transitions(script: &Script) -> BoxedStrategy<Op> {
        let pick = any::<u16>;
        let part = if script.parted { Just(Op::Heal).boxed() } else { pick().prop_map(Op::Part).boxed() };
        let weather = match script.weather {
            Weather::Fair => prop_oneof![Just(Weather::Gusty), (1..50_u16).prop_map(Weather::Storm)].boxed(),
            _ => Just(Weather::Fair).boxed(),
        };
        prop_oneof![
            20 => (1..60_000_u32).prop_map(Op::Run),
            8 => (1..500_u32).prop_map(Op::Run),
            10 => pick().prop_map(Op::Join),
            3 => pick().prop_map(Op::Rejoin),
            8 => pick().prop_map(Op::Leave),
            8 => pick().prop_map(Op::Crash),
            3 => pick().prop_map(Op::Vanish),
            2 => (pick(), 2..8_u8).prop_map(|(nth, count)| Op::CrashRow(nth, count)),
            3 => part,
            3 => weather.prop_map(Op::Weather),
            10 => (pick(), pick(), 0..8_u8).prop_map(|(nth, key, copies)| Op::Request(nth, key, copies)),
            4 => (pick(), pick(), 0..8_u8).prop_map(|(nth, key, copies)| Op::Send(nth, key, copies)),
            4 => Just(Op::Settle),
        ]
        .boxed()
    }

    fn apply(mut script: Script, op: &Op) -> Script {
        match op {
            Op::Part(_) => script.parted = true,
            Op::Heal => script.parted = false,
            Op::Weather(weather) => script.weather = *weather,
            _ => {}
        }
        script
    }
}

/// Does an operation and panics at what is wrong, which is what proptest wants.
fn apply(world: &mut World, op: Op) {
    if let Err(wrong) = world.apply(op) {
        panic!("after {:.3} s: {wrong}", world.sim.now().0 as f64 / 1e6);
    }
}

impl StateMachineTest for Churn {
    type SystemUnderTest = World;
    type Reference = Self;

    fn init_test(script: &Script) -> World {
        let mut world = World::new(script.seed);
        for host in 0..u16::from(script.hosts) {
            apply(&mut world, Op::Join(host));
            apply(&mut world, Op::Run(1_000));
        }
        apply(&mut world, Op::Settle);
        world
    }

    fn apply(mut world: World, _: &Script, op: Op) -> World {
        apply(&mut world, op);
        world
    }

    /// In the end, when all is well again, the ring becomes ideal.
    fn teardown(mut world: World, _: Script) {
        for op in [Op::Heal, Op::Weather(Weather::Fair), Op::Settle, Op::Run(10_000)] {
            apply(&mut world, op);
        }
    }
}

fn config() -> Config {
    let mut config = Config { failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 64;
    }
    config
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn no_script_of_churn_breaks_the_ring(sequential 1..60 => Churn);
}
