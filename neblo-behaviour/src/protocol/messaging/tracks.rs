//! Tracks: what a request leaves behind at each hop, so that its response finds the way back (seed 000 §6.1, design D7).

use std::collections::BTreeMap;
use std::time::Duration;

use super::calendar::Calendar;
use super::{Back, By, MessagingCtx, MessagingTimer, Subject};
use crate::protocol::io::{Peer, Time};
use crate::protocol::shares::Shares;

/// Tracks kept in all: further requests are refused as overloaded. choice
const MAX_TRACKS: usize = 65_536;
/// Tracks kept for one neighbour, so that a flood from one starves no other: its further requests are refused. choice
const MAX_A_NEIGHBOUR: usize = 4_096;
/// Tracks expire together, one timer a bucket (design: timers).
const BUCKET: Duration = Duration::from_millis(250);

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
    /// What the forwarder of the response is shown.
    pub(super) subject: Subject,
}

impl<P: Copy> Track<P> {
    /// Where the answer goes.
    pub(super) fn back(&self) -> Back<P> {
        match self.from {
            Some(peer) => Back::Neighbour { peer, by: By::Track(self.theirs) },
            None => Back::Own(self.theirs),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Tracks<P> {
    /// By the name under which the request was passed on.
    tracks: BTreeMap<u64, Track<P>>,
    calendar: Calendar,
    shares: Shares<P>,
}

impl<P: Peer> Default for Tracks<P> {
    fn default() -> Self {
        Self { tracks: BTreeMap::new(), calendar: Calendar::new(BUCKET), shares: Shares::default() }
    }
}

impl<P: Peer> Tracks<P> {
    pub(super) fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Leaves a track and names it; `None` when there are too many. Those of our own requests count with those.
    pub(super) fn leave(&mut self, ctx: &mut MessagingCtx<'_, P>, track: Track<P>) -> Option<u64> {
        if let Some(from) = track.from {
            if self.shares.of(from) >= MAX_A_NEIGHBOUR || self.tracks.len() >= MAX_TRACKS {
                return None;
            }
            self.shares.add(from);
        }
        let name = ctx.rng.next_u64();
        self.remove(name);
        if let Some((after, bucket)) = self.calendar.add(ctx.now, track.until, name) {
            ctx.out.arm(after, MessagingTimer::Tracks(bucket));
        }
        self.tracks.insert(name, track);
        Some(name)
    }

    /// Takes the track that `to` answers.
    pub(super) fn take(&mut self, to: P, name: u64) -> Option<Track<P>> {
        if self.tracks.get(&name)?.to != to {
            return None;
        }
        self.remove(name)
    }

    /// Takes all tracks that `to` was to answer.
    pub(super) fn take_all(&mut self, to: P) -> Vec<Track<P>> {
        let names: Vec<u64> = self.tracks.iter().filter(|(_, track)| track.to == to).map(|(name, _)| *name).collect();
        names.into_iter().filter_map(|name| self.remove(name)).collect()
    }

    /// Drops what expired; the asker has its own deadline.
    pub(super) fn expire(&mut self, bucket: u64) {
        for name in self.calendar.expire(bucket) {
            self.remove(name);
        }
    }

    /// Removes a track.
    pub(super) fn remove(&mut self, name: u64) -> Option<Track<P>> {
        let track = self.tracks.remove(&name)?;
        self.calendar.remove(track.until, name);
        if let Some(from) = track.from {
            self.shares.remove(from);
        }
        Some(track)
    }
}
