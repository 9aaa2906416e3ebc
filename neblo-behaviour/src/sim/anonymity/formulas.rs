//! Closed forms (research §5), for *n* members besides the leader, of whom *c* collude, walks that go on with probability *p*, and
//! a TTL of *T* or none.
//!
//! The published formulas let a walk go from a member to itself; the code's does not ([`Walk::code`]). At n = 100 the difference
//! is below 0.005.

/// A walk as its formulas see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Walk {
    /// Members that the next relay is drawn from.
    pub drawn_from: f64,
    /// Of them colluding.
    pub colluders: f64,
    /// Honest ones that may be drawn, or may be the owner.
    pub honest: f64,
    /// Probability that the walk goes on.
    pub p: f64,
    /// Most links of a path; `None` is no limit.
    pub ttl: Option<u8>,
    /// Whether a relay may draw itself.
    itself: bool,
}

/// Places that are summed over where there is no TTL: p^400 is nothing for p up to 0.95.
const FAR: i32 = 400;

impl Walk {
    /// As Reiter and Rubin have it: the next one is any of the *n*, oneself included.
    pub fn crowds(n: u32, c: u32, p: f64, ttl: Option<u8>) -> Self {
        let (n, c) = (f64::from(n), f64::from(c));
        Self { drawn_from: n, colluders: c, honest: n - c, p, ttl, itself: true }
    }

    /// As the code has it: the next one is any of the *n* but oneself.
    pub fn code(n: u32, c: u32, p: f64, ttl: Option<u8>) -> Self {
        let (n, c) = (f64::from(n), f64::from(c));
        Self { drawn_from: n - 1.0, colluders: c, honest: n - c, p, ttl, itself: false }
    }

    /// Probability that a drawn relay colludes.
    fn bad(&self) -> f64 {
        self.colluders / self.drawn_from
    }

    /// Probability that an honest relay hands the walk to another honest one: q.
    pub fn on(&self) -> f64 {
        self.p * (1.0 - self.bad())
    }

    fn last_place(&self) -> i32 {
        // The last link goes to the leader, so T links have T - 1 relays.
        self.ttl.map_or(FAR, |ttl| i32::from(ttl) - 1)
    }

    /// Probability that the honest peer in this place is the owner again, who is in place 0.
    pub fn owner_in(&self, place: i32) -> f64 {
        let mut probability = 1.0;
        for _ in 0..place {
            probability = self.owner_after(probability);
        }
        probability
    }

    /// The same of the next place.
    fn owner_after(&self, probability: f64) -> f64 {
        match self.itself {
            true => 1.0 / self.honest,
            false => (1.0 - probability) / (self.honest - 1.0),
        }
    }

    /// Probability that the first colluder is in this place (from 1), given that there is one on the path.
    pub fn first_in(&self, place: i32) -> f64 {
        if place > self.last_place() { 0.0 } else { self.on().powi(place - 1) / self.places() }
    }

    /// S = 1 + q + ... + q^(T-2).
    fn places(&self) -> f64 {
        (1.0 - self.on().powi(self.last_place())) / (1.0 - self.on())
    }

    /// Share of the paths with a colluder in which the first one is the first relay: 1/S, S = (1-q^(T-1))/(1-q). With a TTL on the
    /// wire that starts at its maximum it names the owner with certainty in as many.
    pub fn certain(&self) -> f64 {
        self.first_in(1)
    }

    /// P(I | H1+): the peer before the first colluder is the owner.
    pub fn posterior(&self) -> f64 {
        let (mut owner, mut weight, mut sum) = (1.0, 1.0, 0.0);
        for _ in 0..self.last_place() {
            sum += weight * owner;
            weight *= self.on();
            owner = self.owner_after(owner);
        }
        sum / self.places()
    }

    /// Share of all paths that go through a colluder, where the first relay is mandatory.
    pub fn seen_mandatory(&self) -> f64 {
        self.bad() * self.places()
    }

    /// The same where the coin comes first.
    pub fn seen_coin_first(&self) -> f64 {
        self.p * self.seen_mandatory()
    }

    /// Share of paths with a colluder, of those behind an honest mandatory first relay.
    pub fn seen_behind(&self) -> f64 {
        self.p * self.bad() / (1.0 - self.on())
    }

    /// Degree of anonymity when one peer is suspected with `suspected` and the others alike: d = H / log2(n - c).
    pub fn degree(&self, suspected: f64) -> f64 {
        degree(suspected, self.honest)
    }
}

/// Crowds: P(I | H1+) = 1 - p (n-c-1) / n (Reiter, Rubin), without a TTL.
pub fn crowds(n: u32, c: u32, p: f64) -> f64 {
    1.0 - p * (f64::from(n) - f64::from(c) - 1.0) / f64::from(n)
}

/// Members that probable innocence needs: n >= p / (p - 1/2) (c + 1).
pub fn members_needed(c: u32, p: f64) -> f64 {
    p / (p - 0.5) * (f64::from(c) + 1.0)
}

/// The most colluders among `n` from whom probable innocence holds.
pub fn colluders_borne(n: u32, p: f64) -> u32 {
    (0..n).take_while(|c| members_needed(*c, p) <= f64::from(n)).count().saturating_sub(1) as u32
}

/// H / log2(honest) of: one peer with `suspected`, the other honest ones alike.
pub fn degree(suspected: f64, honest: f64) -> f64 {
    let bits = |probability: f64| if probability > 0.0 { -probability * probability.log2() } else { 0.0 };
    let other = (1.0 - suspected) / (honest - 1.0);
    (bits(suspected) + (honest - 1.0) * bits(other)) / honest.log2()
}

/// Probability that the last relay, or the peer that hands the path to the leader, is the owner: `mandatory` as to the first relay.
/// Relays are drawn from `n - 1`.
pub fn last_is_owner(n: u32, p: f64, ttl: Option<u8>, mandatory: bool) -> f64 {
    let walk = Walk::code(n, 0, p, ttl);
    let most = ttl.map_or(FAR, |ttl| i32::from(ttl) - 1);
    let first = i32::from(mandatory);
    (first..=most)
        .map(|relays| {
            let goes_on = p.powi(relays - first);
            let ends = if relays == most { 1.0 } else { 1.0 - p };
            goes_on * ends * walk.owner_in(relays)
        })
        .sum()
}

/// How often a leader that takes, for a publishing path, one of the searching paths with the same last relay (or any) takes the one
/// of the same owner, when both have the same first relay: two paths of that relay alone, (1-p)^2 of them, end alike.
pub fn linked_by_last_relay(n: u32, p: f64) -> f64 {
    let n = f64::from(n);
    let alone = (1.0 - p) * (1.0 - p);
    let alike = alone + (1.0 - alone) / n;
    // As many others end there as a Poisson number of mean 1.
    let none = (-1.0f64).exp();
    (1.0 - none) * alike + none * (1.0 - alike) / n
}

/// Probability that of `n` draws at a share of `sybils` more than `borne` are Sybils.
pub fn binomial_above(n: u32, sybils: f64, borne: u32) -> f64 {
    if sybils <= 0.0 {
        return 0.0;
    }
    if sybils >= 1.0 {
        return if n > borne { 1.0 } else { 0.0 };
    }
    let mut log = f64::from(n) * (1.0 - sybils).ln();
    let mut at_most = 0.0;
    for k in 0..=borne.min(n) {
        at_most += log.exp();
        log += (f64::from(n - k.min(n)) / f64::from(k + 1)).ln() + (sybils / (1.0 - sybils)).ln();
    }
    (1.0 - at_most).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 0.000_6, "{found}, not {wanted}");
    }

    #[test]
    fn the_figures_of_the_sources_come_out() {
        for (c, wanted) in [(5, 0.342), (10, 0.377), (20, 0.447), (28, 0.503)] {
            near(crowds(100, c, 0.7), wanted);
            near(Walk::crowds(100, c, 0.7, None).posterior(), crowds(100, c, 0.7));
        }
        for (c, wanted) in [(5, 0.351), (10, 0.383), (20, 0.449), (28, 0.504)] {
            near(Walk::crowds(100, c, 0.7, Some(10)).posterior(), wanted);
        }
        near(Walk::crowds(100, 10, 0.7, Some(10)).certain(), 0.376);
        near(degree(crowds(100, 10, 0.7), 90.0), 0.769);
        near(last_is_owner(100, 0.7, Some(10), false), 0.305);
        near(members_needed(20, 0.7), 73.5);
        assert_eq!((colluders_borne(75, 0.7), colluders_borne(100, 0.7), colluders_borne(3, 0.7)), (20, 27, 0));
        near(binomial_above(2, 0.5, 0), 0.75);
        near(binomial_above(75, 0.28, 75), 0.0);
    }
}
