//! The speed of the kernel alone.

use std::time::{Duration, Instant};

use neblo_behaviour::protocol::io::Time;
use neblo_behaviour::sim::Wheel;

/// Takes entries out of the wheel and puts each back some time later: half of them milliseconds later, as messages, half minutes
/// later, as timers.
pub(crate) fn time(events: u64) {
    println!("{:>10} {:>12} {:>14} {:>12}", "entries", "events", "events/s", "ns/event");
    for entries in [6_400u32, 1_000_000] {
        let mut wheel = Wheel::default();
        let mut state = 1u64;
        let mut later = || {
            // A linear congruential generator: the draw must not be what is timed.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let draw = state >> 33;
            if draw & 1 == 0 { 5_000 + draw % 55_000 } else { 250_000_000 + draw % 100_000_000 }
        };
        for entry in 0..entries {
            wheel.push(Time(later()), entry);
        }
        let begun = Instant::now();
        let mut taken = 0;
        while taken < events {
            let Some((at, entry)) = wheel.pop(Time(u64::MAX)) else { break };
            wheel.push(at + Duration::from_micros(later()), entry);
            taken += 1;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let rate = taken as f64 / seconds;
        println!("{entries:>10} {taken:>12} {rate:>14.0} {:>12.0}", 1e9 / rate);
    }
}
