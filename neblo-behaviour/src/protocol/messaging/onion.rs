//! Return onions: the way back inside the request itself, so that who carries it on keeps nothing (seed 000 §3.2, §6.1;
//! design D7).
//!
//! A request that goes back by an onion carries 3,072 bytes: a stack of 24 layers of 128 bytes. The asker fills it with random
//! bytes and seals a layer on top that only it can open; each peer that carries the request on seals another, in which
//! stand the neighbour that brought it, what the request is about (for the forwarder of its response) and when it expires.
//! Sealing shifts the others down and hides them under a stream cipher; what falls out at the bottom is random filler. The
//! response carries the stack back, and each peer opens its own layer, learns the neighbour before it, and fills up at the
//! bottom. So the length is always the same and tells nobody its place; the hops that are left tell it within eight, since
//! they begin at 15 to 22 (a track's: within 64). More than 22 hops find no way back, and the asker tries again.
//!
//! The key is drawn by the peer that seals, held by it alone, and replaced every 120 s, when all that it sealed two keys ago has
//! expired. **Replay:** the neighbour that got an onion can send it back any number of times until it expires, 120 s later at
//! most. Each costs it one message of its own share ([`Rates`](crate::protocol::rate::Rates)), and each peer on the way back as much; a
//! forwarder of responses is shown each; the asker takes the first and drops the others, for the request is not open any
//! more. A filter at each peer would be state that such a flood fills, which is what onions are there to avoid, so there
//! is none.
//!
//! Nobody can be told of all that was lost with a dead neighbour when nobody keeps what it was given. Of the last 128 requests
//! that were carried on, for 3 s each, the way back is kept all the same, to say so: a flood overwrites that, and then the asker
//! hears nothing until its time is up. Nothing else depends on it.

use std::collections::VecDeque;
use std::time::Duration;

use super::{LONGEST_WAIT, MessagingCtx, Subject};
use crate::address::OverlayAddr;
use crate::protocol::io::{Peer, Time, below, draw};
use crate::protocol::seal::{Keys, LAYER, LAYER_PLAIN};

/// Layers that fit: 22 hops, the one to which an owner hands a request on, and the asker's own. choice: a ring of a million
/// peers takes 12 hops on average (research §4)
const LAYERS: usize = 24;
/// Bytes of an onion on the wire.
pub const ONION: usize = LAYERS * LAYER;
/// Bytes of a peer in a layer: the longest that libp2p keeps in full.
const PEER: usize = 44;
/// The requests carried on whose way back is kept, and for how long. choice
const MAX_RECENT: usize = 128;
const RECENT: Duration = Duration::from_secs(3);

/// A stack of layers, the outermost first.
pub type Onion = Box<[u8; ONION]>;

/// What a layer says to who sealed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer<P> {
    /// Who brought the request; `None` for the asker.
    pub(super) from: Option<P>,
    pub(super) until: Time,
    /// The asker's request and attempt.
    pub(super) id: u64,
    pub(super) attempt: u64,
    pub(super) subject: Subject,
}

impl<P: Peer> Layer<P> {
    /// The bytes of a layer; `None` for a peer that is too long.
    fn to_bytes(&self) -> Option<[u8; LAYER_PLAIN]> {
        let peer = self.from.map(|peer| peer.to_bytes()).unwrap_or_default();
        let mut bytes = vec![u8::try_from(peer.len()).ok()?];
        bytes.extend(&peer);
        bytes.resize(1 + PEER, 0);
        for number in [self.until.0, self.id, self.attempt] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.subject.port.to_le_bytes());
        bytes.push(self.subject.copy);
        bytes.extend(self.subject.to.to_bytes());
        // A peer that was cut short does not read back.
        (peer.len() <= PEER).then(|| bytes.try_into().ok()).flatten()
    }

    fn from_bytes(bytes: &[u8; LAYER_PLAIN]) -> Option<Self> {
        let (len, rest) = bytes.split_first()?;
        let (peer, mut rest) = rest.split_at_checked(PEER)?;
        let peer = peer.get(..usize::from(*len))?;
        let mut number = || -> Option<u64> {
            let (number, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u64::from_le_bytes(*number))
        };
        let (until, id, attempt) = (Time(number()?), number()?, number()?);
        let (port, rest) = rest.split_first_chunk()?;
        let (copy, rest) = rest.split_first()?;
        let to = OverlayAddr::from_bytes(*rest.first_chunk()?);
        let from = if peer.is_empty() { None } else { Some(P::from_bytes(peer)?) };
        Some(Self { from, until, id, attempt, subject: Subject { port: u16::from_le_bytes(*port), to, copy: *copy } })
    }
}

/// The keys under which this peer seals its layers, and the ways back it keeps for a moment.
#[derive(Clone)]
pub(super) struct Onions<P> {
    key: Option<([u8; 32], Time)>,
    previous: Option<[u8; 32]>,
    recent: VecDeque<Recent<P>>,
}

/// A request that was just carried on.
#[derive(Clone)]
struct Recent<P> {
    to: P,
    from: P,
    onion: Onion,
    since: Time,
}

impl<P> Default for Onions<P> {
    fn default() -> Self {
        Self { key: None, previous: None, recent: VecDeque::new() }
    }
}

impl<P> std::fmt::Debug for Onions<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Onions").field("recent", &self.recent.len()).finish_non_exhaustive()
    }
}

impl<P: Peer> Onions<P> {
    /// A stack without layers.
    pub(super) fn empty(ctx: &mut MessagingCtx<'_, P>) -> Onion {
        Box::new(draw(ctx.rng))
    }

    /// Hops that a request may take: random, so that it does not tell how far away its asker is.
    pub(super) fn first_hops(ctx: &mut MessagingCtx<'_, P>) -> u8 {
        15 + below(ctx.rng, 8) as u8
    }

    fn rotate(&mut self, ctx: &mut MessagingCtx<'_, P>) -> [u8; 32] {
        match self.key {
            Some((key, since)) if ctx.now.since(since) < LONGEST_WAIT => key,
            old => {
                let key = draw(ctx.rng);
                self.previous = old.map(|(key, _)| key);
                self.key = Some((key, ctx.now));
                key
            }
        }
    }

    /// Seals a layer on top; `None` if the peer in it is too long.
    pub(super) fn seal(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        keys: &dyn Keys<P>,
        layer: &Layer<P>,
        onion: &Onion,
    ) -> Option<Onion> {
        let key = self.rotate(ctx);
        let mut rest = onion.get(..ONION - LAYER)?.to_vec();
        let head = keys.seal_layer(ctx.rng, &key, &layer.to_bytes()?, &mut rest);
        let mut sealed = head.to_vec();
        sealed.append(&mut rest);
        sealed.into_boxed_slice().try_into().ok()
    }

    /// Opens the layer on top, if this peer sealed it and it has not expired; and what is under it.
    pub(super) fn open(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        keys: &dyn Keys<P>,
        onion: &Onion,
    ) -> Option<(Layer<P>, Onion)> {
        self.rotate(ctx);
        let (head, sealed) = onion.split_first_chunk::<LAYER>()?;
        let candidates = self.key.map(|(key, _)| key).into_iter().chain(self.previous);
        for key in candidates {
            let mut rest = sealed.to_vec();
            let Some(plain) = keys.open_layer(&key, head, &mut rest) else { continue };
            let layer = Layer::from_bytes(&plain)?;
            rest.extend(draw::<LAYER>(ctx.rng));
            return (layer.until >= ctx.now).then_some((layer, rest.into_boxed_slice().try_into().ok()?));
        }
        None
    }

    /// Keeps the way back of a request that is carried on, for a moment.
    pub(super) fn remember(&mut self, now: Time, to: P, from: P, onion: Onion) {
        let old = |recent: &Recent<P>| now.since(recent.since) > RECENT;
        while self.recent.len() >= MAX_RECENT || self.recent.front().is_some_and(old) {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { to, from, onion, since: now });
    }

    /// The ways back of what was just given to a peer that is gone.
    pub(super) fn lost(&mut self, now: Time, peer: P) -> Vec<(P, Onion)> {
        let recent = std::mem::take(&mut self.recent);
        let (gone, kept): (VecDeque<_>, _) = recent.into_iter().partition(|recent| recent.to == peer);
        self.recent = kept;
        let fresh = gone.into_iter().filter(|recent| now.since(recent.since) <= RECENT);
        fresh.map(|recent| (recent.from, recent.onion)).collect()
    }
}
