//! What peers hold at a moment.

use super::*;

impl PathLayer {
    /// Peers that are there now.
    pub fn present(&self) -> u64 {
        self.places.iter().filter(|place| place.present).count() as u64
    }

    /// Peers that a peer has links of paths with, on average over those who are there.
    pub fn mean_path_links(&self) -> f64 {
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for (at, place) in self.places.iter().enumerate().filter(|(_, place)| place.present) {
            let links = place.paper.iter().flat_map(|paper| paper.path_links()).filter(|other| *other != at as u32);
            pairs.extend(links.map(|other| (other.min(at as u32), other.max(at as u32))));
        }
        pairs.sort_unstable();
        pairs.dedup();
        2.0 * pairs.len() as f64 / self.present().max(1) as f64
    }
}
