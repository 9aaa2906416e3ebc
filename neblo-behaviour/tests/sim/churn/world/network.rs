//! What the network does to the hosts: weather and partitions.

use super::*;

impl World {
    pub(super) fn conditions(&mut self) {
        let mut conditions = self.sim.conditions().clone();
        (conditions.jitter, conditions.loss) = match self.weather {
            Weather::Fair => (Duration::ZERO, 0.0),
            Weather::Gusty => (Duration::from_millis(80), 0.0),
            Weather::Storm(thousandths) => (Duration::from_millis(80), f64::from(thousandths) / 1_000.0),
        };
        self.sim.set_conditions(conditions);
        if !self.is_calm() {
            self.checks.account(self.sim.now());
            self.checks.rules = Rules::Rough;
        }
    }

    pub(super) fn part(&mut self, number: u16) {
        if self.parted {
            return;
        }
        let hosts = self.hosts.len() as u32;
        // Some split by chance leaves nobody without a successor on its side; a few are tried.
        for salt in 0..16u8 {
            let group = |host: u32| {
                let bytes = [&host.to_le_bytes()[..], &number.to_le_bytes(), &[salt]].concat();
                (OverlayAddr::hash(&[&bytes]).0 & 1) as u8
            };
            if self.keeps_successors(&[], &group) {
                let mut conditions = self.sim.conditions().clone();
                conditions.partition = (0..hosts).map(group).collect();
                self.sim.set_conditions(conditions);
                self.parted = true;
                self.figures.events += 1;
                return self.conditions();
            }
        }
    }

    pub(super) fn heal(&mut self) {
        if self.parted {
            let mut conditions = self.sim.conditions().clone();
            conditions.partition.clear();
            self.sim.set_conditions(conditions);
            self.parted = false;
            self.figures.events += 1;
        }
    }
}
