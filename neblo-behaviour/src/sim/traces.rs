//! Measured latencies and lifetimes, as texts that the caller has read from files.

use std::collections::BTreeMap;
use std::time::Duration;

/// The most places, and peers, of one file. choice
const MOST: usize = 10_000;
/// The longest latency in milliseconds: a minute; and the longest time in seconds: a year.
const LONGEST_LATENCY: f64 = 60_000.0;
const LONGEST_TIME: f64 = 31_536_000.0;

/// One-way latencies between places. Peers live at the places in turn: peer i at place i modulo their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies {
    places: usize,
    micros: Vec<u32>,
}

fn number(cell: &str, most: f64) -> Result<f64, String> {
    let found: f64 = cell.trim().parse().map_err(|_| format!("'{}' is no number", cell.trim()))?;
    if (0.0..=most).contains(&found) { Ok(found) } else { Err(format!("{found} does not lie between 0 and {most}")) }
}

/// The lines of a text that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(nth, line)| (nth + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

impl Latencies {
    /// A square matrix of milliseconds, a line for each place from which, commas between. The diagonal is within a place.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut micros, mut places) = (Vec::new(), 0);
        let mut rows = 0;
        for (nth, line) in lines(text) {
            let before = micros.len();
            for cell in line.split(',') {
                let millis = number(cell, LONGEST_LATENCY).map_err(|wrong| format!("line {nth}: {wrong}"))?;
                micros.push((millis * 1_000.0) as u32);
            }
            rows += 1;
            let found = micros.len() - before;
            places = if rows == 1 { found } else { places };
            if found != places || rows > places || places > MOST {
                return Err(format!("line {nth}: the matrix is not square, or larger than {MOST}"));
            }
        }
        if rows == 0 || rows != places {
            return Err(format!("the matrix has {rows} lines of {places}"));
        }
        Ok(Self { places, micros })
    }

    /// From one peer to another.
    pub fn between(&self, from: u32, to: u32) -> Duration {
        let place = |peer: u32| peer as usize % self.places;
        let micros = self.micros.get(place(from) * self.places + place(to)).copied().unwrap_or(0);
        Duration::from_micros(u64::from(micros))
    }
}

/// When peers are there. Simulated peers take the recorded ones in turn: peer i the one at i modulo their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of each recorded peer the moments in microseconds at which it comes and goes in turn.
    turns: Vec<Vec<u64>>,
}

impl Lifetimes {
    /// Lines of `peer,comes,goes`: a number that names the recorded peer, and seconds from the beginning. Times of one peer do not
    /// overlap; a peer that comes at 0 is there from the beginning. Lines may be in any order.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut stays: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
        for (nth, line) in lines(text) {
            let at = |wrong: String| format!("line {nth}: {wrong}");
            let cells: Vec<&str> = line.split(',').collect();
            let [peer, comes, goes] = cells.as_slice() else { return Err(at("not peer,comes,goes".into())) };
            let peer: u64 = peer.trim().parse().map_err(|_| at(format!("'{peer}' names no peer")))?;
            let micros = |cell: &str| number(cell, LONGEST_TIME).map(|seconds| (seconds * 1e6) as u64).map_err(at);
            let stay = (micros(comes)?, micros(goes)?);
            if stay.0 >= stay.1 {
                return Err(at("it goes before it comes".into()));
            }
            stays.entry(peer).or_default().push(stay);
        }
        if stays.is_empty() || stays.len() > MOST {
            return Err(format!("there are {} peers, not 1 to {MOST}", stays.len()));
        }
        let mut turns = Vec::new();
        for (peer, mut stays) in stays {
            stays.sort_unstable();
            if stays.windows(2).any(|two| matches!(two, [first, second] if first.1 >= second.0)) {
                return Err(format!("stays of peer {peer} overlap"));
            }
            turns.push(stays.into_iter().flat_map(|(comes, goes)| [comes, goes]).collect());
        }
        Ok(Self { turns })
    }

    /// Whether a peer is there at the beginning, and when it comes and goes after it, in microseconds.
    pub(super) fn of(&self, peer: u32) -> (bool, &[u64]) {
        let turns = self.turns.get(peer as usize % self.turns.len()).map(Vec::as_slice).unwrap_or_default();
        match turns.split_first() {
            Some((0, rest)) => (true, rest),
            _ => (false, turns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_those_of_the_matrix() {
        let found = Latencies::parse("# ms\n0.5, 20\n30,0.25\n").unwrap();
        let micros = |from, to| found.between(from, to).as_micros();
        assert_eq!([micros(0, 2), micros(0, 1), micros(1, 0), micros(3, 1)], [500, 20_000, 30_000, 250]);
        for wrong in ["", "1,2\n3", "1,2", "1,x\n1,1", "-1", "1\n1", "90000"] {
            assert!(Latencies::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lifetimes_are_those_of_the_lines() {
        let found = Lifetimes::parse("7,0,10\n9,5,6.5\n7,20,30\n").unwrap();
        assert_eq!(found.of(0), (true, [10_000_000, 20_000_000, 30_000_000].as_slice()));
        assert_eq!(found.of(3), (false, [5_000_000, 6_500_000].as_slice()));
        for wrong in ["", "1,2", "1,3,2", "x,1,2", "1,0,5\n1,4,6", "1,-1,2"] {
            assert!(Lifetimes::parse(wrong).is_err(), "{wrong}");
        }
    }
}
