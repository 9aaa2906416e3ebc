//! The hash over a run. It is to show that two runs are the same, not to withstand anyone: what matters is that it costs
//! next to nothing for each of millions of events, and is the same on every machine.

use std::hash::Hasher;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) fn add(&mut self, value: u64) {
        // An odd multiplier spreads each bit over those above it, the rotation brings them down again.
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    pub(super) fn value(self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.value()
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, value: u8) {
        self.add(u64::from(value));
    }
    fn write_u32(&mut self, value: u32) {
        self.add(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }
    fn write_u128(&mut self, value: u128) {
        self.add(value as u64);
        self.add((value >> 64) as u64);
    }
    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }
}
