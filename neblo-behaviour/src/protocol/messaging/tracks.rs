//! Tracks: what a request leaves behind at each hop, so that its response finds the way back (seed 000 §6.1, design D7).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{MessagingCtx, MessagingTimer};
use crate::protocol::io::{Peer, Time};

/// Tracks kept in all. choice
const MAX_TRACKS: usize = 65_536;
/// Tracks kept for one neighbour, so that a flood from one starves no other. choice
const MAX_A_NEIGHBOUR: usize = 4_096;
/// Tracks expire together, one timer a bucket.
const BUCKET: u64 = 250_000;

/// One track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Track<P> {
    /// Who brought the request; `None` for one of our own.
    pub(super) from: Option<P>,
    /// Its name there (for one of our own: its number).
    pub(super) theirs: u64,
    /// Who it was passed to.
    pub(super) to: P,
    /// When it expires.
    pub(super) until: Time,
}

#[derive(Clone, Debug)]
pub(super) struct Tracks<P> {
    /// By the name under which the request was passed on.
    tracks: BTreeMap<u64, Track<P>>,
    buckets: BTreeMap<u64, Vec<u64>>,
    a_neighbour: BTreeMap<P, usize>,
}

impl<P> Default for Tracks<P> {
    fn default() -> Self {
        Self { tracks: BTreeMap::new(), buckets: BTreeMap::new(), a_neighbour: BTreeMap::new() }
    }
}

impl<P: Peer> Tracks<P> {
    pub(super) fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Leaves a track and names it; `None` when there are too many.
    pub(super) fn leave(&mut self, ctx: &mut MessagingCtx<'_, P>, track: Track<P>) -> Option<u64> {
        if let Some(from) = track.from {
            let count = self.a_neighbour.entry(from).or_insert(0);
            if *count >= MAX_A_NEIGHBOUR || self.tracks.len() >= MAX_TRACKS {
                return None;
            }
            *count += 1;
        }
        let name = ctx.rng.next_u64();
        let bucket = track.until.0 / BUCKET + 1;
        let names = self.buckets.entry(bucket).or_default();
        if names.is_empty() {
            let after = Time(bucket * BUCKET).since(ctx.now) + Duration::from_millis(1);
            ctx.out.arm(after, MessagingTimer::Tracks(bucket));
        }
        names.push(name);
        if let Some(old) = self.tracks.insert(name, track) {
            self.uncount(&old);
        }
        Some(name)
    }

    /// Takes the track that `to` answers.
    pub(super) fn take(&mut self, to: P, name: u64) -> Option<Track<P>> {
        if self.tracks.get(&name)?.to != to {
            return None;
        }
        let track = self.tracks.remove(&name)?;
        self.uncount(&track);
        Some(track)
    }

    /// Takes all tracks that `to` was to answer.
    pub(super) fn take_all(&mut self, to: P) -> Vec<Track<P>> {
        let names: Vec<u64> = self.tracks.iter().filter(|(_, track)| track.to == to).map(|(name, _)| *name).collect();
        names.into_iter().filter_map(|name| self.take(to, name)).collect()
    }

    /// Drops what expired; the asker has its own deadline.
    pub(super) fn expire(&mut self, bucket: u64) {
        for name in self.buckets.remove(&bucket).unwrap_or_default() {
            if let Some(track) = self.tracks.remove(&name) {
                self.uncount(&track);
            }
        }
    }

    fn uncount(&mut self, track: &Track<P>) {
        if let Some(from) = track.from
            && let Some(count) = self.a_neighbour.get_mut(&from)
        {
            *count -= 1;
            if *count == 0 {
                self.a_neighbour.remove(&from);
            }
        }
    }
}
