//! Own paths that are replaced while they are whole: because the subgroup has grown, or so that no moment tells which paths are of one
//! owner ([`PathPolicy::search_anew`](crate::PathPolicy::search_anew)). The new one is built before the old one is given up, so that
//! nobody asks in vain meanwhile.

use super::own::OwnPath;
use super::*;
use crate::protocol::io::{Time, below};

/// How long a new path has to be built; after as long again it is tried once more. choice: the longest that a build may take
const RENEW_WITHIN: Duration = Duration::from_secs(8);
/// How long the old path is kept beside the new one: what is under way on it arrives, and all is announced over the new one
/// before. choice
const KEPT_FOR: Duration = Duration::from_secs(10);
/// An old path for searching or downloading is kept for as much longer as is drawn from this part of the time between two, so that its end
/// does not tell which path took its place. choice: where 75 do so once an hour, six begin before one ends, in the mean
const LONGER: u32 = 6;
/// Old paths kept. choice: one for each purpose
const MAX_OLD: usize = 4;

/// Paths beside those in use.
#[derive(Clone)]
pub(super) struct Renewal<P> {
    /// Being built.
    next: BTreeMap<Purpose, OwnPath<P>>,
    /// Those of them that nothing but time asks for.
    anew: BTreeSet<Purpose>,
    /// Replaced, and until when they are kept.
    old: Vec<(Purpose, OwnPath<P>, Time)>,
}

impl<P> Default for Renewal<P> {
    fn default() -> Self {
        Self { next: BTreeMap::new(), anew: BTreeSet::new(), old: Vec::new() }
    }
}

impl<P: Peer> Renewal<P> {
    fn all(&self) -> impl Iterator<Item = &OwnPath<P>> {
        self.next.values().chain(self.old.iter().map(|(_, path, _)| path))
    }

    /// First relays, and whether a walk waits for them.
    pub(super) fn firsts(&self) -> impl Iterator<Item = (&Contact<P>, bool)> {
        self.all().filter_map(|path| Some((path.first()?, !path.is_ready())))
    }

    /// The purpose for which an old path was used.
    pub(super) fn old_at(&self, first: P, id: u64) -> Option<(Purpose, &OwnPath<P>)> {
        self.old.iter().find(|(_, path, _)| path.is_at(first, id)).map(|(purpose, path, _)| (*purpose, path))
    }

    /// Whether a replaced path for this purpose is still there.
    pub(super) fn has_old(&self, purpose: Purpose) -> bool {
        self.old.iter().any(|(of, ..)| *of == purpose)
    }

    fn next_at(&self, first: P, id: u64) -> Option<Purpose> {
        self.next.iter().find(|(_, path)| path.is_at(first, id)).map(|(purpose, _)| *purpose)
    }

    /// A path is broken; whether it was one of these.
    pub(super) fn broken(&mut self, first: P, id: u64) -> bool {
        let before = self.next.len() + self.old.len();
        self.next.retain(|_, path| !path.is_at(first, id));
        self.old.retain(|(_, path, _)| !path.is_at(first, id));
        self.next.len() + self.old.len() < before
    }

    pub(super) fn dead(&mut self, peer: P) {
        self.next.retain(|_, path| !path.goes_through(peer));
        self.old.retain(|(_, path, _)| !path.goes_through(peer));
    }
}

impl<P: Peer> Paths<P> {
    /// Gives up what is not in use; for one purpose or for all.
    pub(super) fn forget_renewal(&mut self, ctx: &mut PathCtx<'_, P>, only: Option<Purpose>) {
        let meant = |purpose: Purpose| only.is_none_or(|only| only == purpose);
        let mut gone = Vec::new();
        for purpose in Purpose::ALL.into_iter().chain([Purpose::PublishingAgain]).filter(|purpose| meant(*purpose)) {
            self.renewal.anew.remove(&purpose);
            gone.extend(self.renewal.next.remove(&purpose));
        }
        gone.extend(self.renewal.old.extract_if(.., |(purpose, ..)| meant(*purpose)).map(|(_, it, _)| it));
        for path in gone {
            path.break_up(ctx);
        }
    }

    /// The subgroup has grown: a path in use is to be replaced.
    pub(super) fn renew(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, purpose: Purpose) {
        if self.renewal.next.contains_key(&purpose) {
            return;
        }
        if let Some(path) = self.walk(ctx, keys, purpose, 0) {
            ctx.out.arm(RENEW_WITHIN, PathTimer::Renew(purpose, path.generation()));
            self.renewal.next.insert(purpose, path);
        }
    }

    /// A new path is whole; whether this was one.
    pub(super) fn renewed(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, from: P, id: u64) -> bool {
        let Some(purpose) = self.renewal.next_at(from, id) else { return false };
        let Some(new) = self.renewal.next.remove(&purpose) else { return false };
        let anew = self.renewal.anew.remove(&purpose);
        match self.own.insert(purpose, new) {
            Some(old) if old.is_ready() => {
                if self.renewal.old.len() >= MAX_OLD {
                    self.renewal.old.remove(0).1.break_up(ctx);
                }
                let after = self.anew_after(purpose).filter(|_| anew);
                let longer = after.map(|after| drawn(ctx, after / LONGER)).unwrap_or_default();
                self.renewal.old.push((purpose, old, ctx.now + KEPT_FOR + longer));
                ctx.out.arm(KEPT_FOR + longer, PathTimer::Old);
            }
            // It broke meanwhile, and was being built anew.
            Some(old) => old.break_up(ctx),
            None => {}
        }
        self.own_opened(ctx, keys, purpose);
        if purpose == Purpose::Downloading {
            // What is being prepared is bound to the old path; it is asked for once more.
            ctx.out.emit(PathEvent::Mended(purpose));
        }
        true
    }

    /// Has a path for a purpose from some time on: at once, or at a moment of its own unless it is needed before. All that begin together
    /// are of one owner, to whoever sees two of them begin.
    pub fn keep(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, purpose: Purpose) {
        if self.wanted.contains(&purpose) || self.later.contains_key(&purpose) {
            return;
        }
        match self.anew_after(purpose) {
            None => self.want(ctx, keys, purpose),
            Some(after) => {
                let number = self.next_number();
                self.later.insert(purpose, number);
                let wait = drawn(ctx, after);
                ctx.out.arm(wait, PathTimer::Begin(purpose, number));
            }
        }
    }

    pub(super) fn begin_expired(
        &mut self,
        ctx: &mut PathCtx<'_, P>,
        keys: &dyn Keys<P>,
        purpose: Purpose,
        number: u64,
    ) {
        if self.later.get(&purpose) != Some(&number) {
            return;
        }
        self.later.remove(&purpose);
        match self.has_view() {
            true => self.want(ctx, keys, purpose),
            false => self.keep(ctx, keys, purpose),
        }
    }

    /// All paths of ours are to begin anew: this one at a moment of its own, unless it is needed.
    pub(super) fn put_off(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, purpose: Purpose) {
        self.forget_renewal(ctx, Some(purpose));
        self.own.remove(&purpose);
        self.wanted.remove(&purpose);
        self.keep(ctx, keys, purpose);
        ctx.out.emit(PathEvent::PutOff(purpose));
    }

    /// Whether paths for this purpose begin at moments of their own.
    pub(super) fn begins_alone(&self, purpose: Purpose) -> bool {
        self.anew_after(purpose).is_some()
    }

    /// A path was built among few of those that could relay it now.
    pub(super) fn outgrown(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, purpose: Purpose) {
        match self.anew_after(purpose) {
            None => self.renew(ctx, keys, purpose),
            Some(after) => {
                let hastened = self.own.get_mut(&purpose).and_then(OwnPath::hasten);
                if let Some(generation) = hastened {
                    let wait = drawn(ctx, after / LONGER);
                    ctx.out.arm(wait, PathTimer::Anew(purpose, generation));
                }
            }
        }
    }

    fn anew_after(&self, purpose: Purpose) -> Option<Duration> {
        self.config.search_anew.filter(|_| matches!(purpose, Purpose::Searching | Purpose::Downloading))
    }

    /// A path is ready: it will be replaced some time.
    pub(super) fn anew_later(&self, ctx: &mut PathCtx<'_, P>, purpose: Purpose, generation: u64) {
        if let Some(after) = self.anew_after(purpose) {
            let wait = drawn(ctx, after);
            ctx.out.arm(wait, PathTimer::Anew(purpose, generation));
        }
    }

    pub(super) fn anew_expired(
        &mut self,
        ctx: &mut PathCtx<'_, P>,
        keys: &dyn Keys<P>,
        purpose: Purpose,
        generation: u64,
    ) {
        if self.own.get(&purpose).is_some_and(|path| path.is_ready() && path.generation() == generation) {
            self.renewal.anew.insert(purpose);
            self.renew(ctx, keys, purpose);
            // If nothing comes of it.
            self.anew_later(ctx, purpose, generation);
        }
    }

    pub(super) fn renewal_expired(
        &mut self,
        ctx: &mut PathCtx<'_, P>,
        keys: &dyn Keys<P>,
        purpose: Purpose,
        generation: u64,
    ) {
        if let Some(path) = self.renewal.next.remove(&purpose) {
            if path.generation() != generation {
                self.renewal.next.insert(purpose, path);
                return;
            }
            path.break_up(ctx);
            return ctx.out.arm(RENEW_WITHIN, PathTimer::Renew(purpose, generation));
        }
        // It came to nothing, or it is the path in use by now.
        self.check_own(ctx, keys);
    }

    pub(super) fn old_expired(&mut self, ctx: &mut PathCtx<'_, P>) {
        let over: Vec<_> = self.renewal.old.extract_if(.., |(.., until)| *until <= ctx.now).collect();
        for (_, path, _) in over {
            path.break_up(ctx);
        }
    }
}

/// A time of which nothing is known but its mean: uniform up to twice that.
fn drawn<P: Peer>(ctx: &mut PathCtx<'_, P>, mean: Duration) -> Duration {
    let most = usize::try_from(mean.as_millis()).unwrap_or(usize::MAX).saturating_mul(2);
    Duration::from_millis(below(ctx.rng, most) as u64)
}
