//! A peer's own paths: one each for publishing, searching and downloading (design D10).

use std::time::Duration;

use super::breaks::DOUBTED_AFTER;
use super::*;
use crate::protocol::io::draw;

/// A path that is not built within this is given up; half as long again after each failure, up to the longest. choice:
/// several dials one after another fit, and walks into a peer that has silently died cost little
const BUILD_WITHIN: (Duration, Duration) = (Duration::from_millis(1_500), Duration::from_secs(8));
/// First and longest wait before a failed build is tried again; doubled each time. choice
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What an answer, or the lack of one, weighs in the average success of a path, and the average below which it is built anew
/// (research §6, black hole). choice: two in a row without an answer
const WEIGHT: f32 = 0.3;
const LEAST_SUCCESS: f32 = 0.5;

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Waits to be tried again.
    Waiting,
    /// The walk is under way.
    Building,
    Ready,
}

/// One path of our own.
#[derive(Clone)]
pub(super) struct OwnPath<P> {
    state: State,
    subgroup: OverlayAddr,
    leader: P,
    leader_key: [u8; 32],
    /// Relays that the subgroup had when the path was built. When there are twice as many another one is built.
    among: usize,
    first: Option<Contact<P>>,
    id: u64,
    /// The value of the first relay (design D11).
    resume: [u8; 16],
    secret: [u8; 32],
    public: [u8; 32],
    generation: u64,
    failures: u32,
    /// Average of what was answered: 1 when all was.
    success: f32,
    /// Paths for this purpose in a row that were given up because nothing was answered over them.
    doubted: u8,
    /// Whether it is replaced soon because it was built among few.
    hastened: bool,
}

impl<P: Peer> OwnPath<P> {
    pub(super) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }
    pub(super) fn first(&self) -> Option<&Contact<P>> {
        self.first.as_ref().filter(|_| self.state != State::Waiting)
    }
    pub(super) fn is_at(&self, first: P, id: u64) -> bool {
        self.id == id && self.goes_through(first)
    }
    pub(super) fn goes_through(&self, first: P) -> bool {
        self.state != State::Waiting && self.first.as_ref().is_some_and(|contact| contact.peer == first)
    }
    /// The leader said something over it.
    pub(super) fn answered(&mut self) {
        self.success += WEIGHT * (1.0 - self.success);
        self.doubted = 0;
    }
    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
    /// Takes down whatever there is of it.
    pub(super) fn break_up(&self, ctx: &mut PathCtx<'_, P>) {
        if let Some(first) = self.first() {
            ctx.out.send(first, PathMessage::Broken(Broken { id: self.id, up: true }));
        }
    }
    /// Whether so many may relay now that the path was built among too few: in a young subgroup a path goes to and fro between
    /// them.
    fn is_outgrown(&self, relays: usize) -> bool {
        relays >= 2 * self.among && self.among > 0
    }
    /// It is replaced sooner than others: its generation, when it was not known before.
    pub(super) fn hasten(&mut self) -> Option<u64> {
        (!std::mem::replace(&mut self.hastened, true)).then_some(self.generation)
    }
    pub(super) fn link(&self) -> Option<(Contact<P>, u64)> {
        self.first.clone().filter(|_| self.is_ready()).map(|first| (first, self.id))
    }
}

impl<P: Peer> Paths<P> {
    /// Needs a path for a purpose now; it is built, and rebuilt whenever it breaks.
    pub fn want(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, purpose: Purpose) {
        self.later.remove(&purpose);
        if self.wanted.insert(purpose) {
            self.build(ctx, keys, purpose, 0);
        }
    }

    /// Gives up all own paths. Their relays are told later, when nothing shows that it was we who left, or see us gone.
    pub fn leave(&mut self, ctx: &mut PathCtx<'_, P>) {
        self.wanted.clear();
        self.later.clear();
        self.forget_renewal(ctx, None);
        for (_, path) in std::mem::take(&mut self.own) {
            if let Some((first, id)) = path.link() {
                self.tell_later(ctx, &first, id);
            }
        }
    }

    pub(super) fn own_at(&self, first: P, id: u64) -> Option<Purpose> {
        self.own.iter().find(|(_, path)| path.is_at(first, id)).map(|(purpose, _)| *purpose)
    }

    fn build(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, purpose: Purpose, failures: u32) {
        match self.walk(ctx, keys, purpose, failures) {
            Some(path) => {
                let (first_wait, longest_wait) = BUILD_WITHIN;
                let wait = (0..failures.min(8)).fold(first_wait, |wait, _| wait + wait / 2).min(longest_wait);
                ctx.out.arm(wait, PathTimer::Build(purpose, path.generation));
                self.own.insert(purpose, path);
            }
            None => _ = self.own.remove(&purpose),
        }
    }

    /// Begins a walk; `None` without a subgroup to walk in.
    pub(super) fn walk(
        &mut self,
        ctx: &mut PathCtx<'_, P>,
        keys: &dyn Keys<P>,
        purpose: Purpose,
        failures: u32,
    ) -> Option<OwnPath<P>> {
        let view = self.own_view.clone()?;
        let (first, changed) = self.pinned.choose(ctx.rng, ctx.now, &view, purpose == Purpose::PublishingAgain);
        if changed {
            ctx.out.emit(PathEvent::FirstRelays);
        }
        let generation = self.next_number();
        let (secret, public) = keys.generate(ctx.rng);
        let id = ctx.rng.next_u64();
        let resume = draw(ctx.rng);
        let state = if first.is_some() { State::Building } else { State::Waiting };
        if let Some(first) = &first {
            ctx.out.send(first, PathMessage::Open(Open { id, subgroup: view.subgroup, resume }));
            ctx.out.emit(PathEvent::Awaits(first.peer));
        }
        Some(OwnPath {
            state,
            subgroup: view.subgroup,
            leader: view.leader.peer,
            leader_key: view.leader_key,
            among: view.relays.len(),
            first,
            id,
            resume,
            secret,
            public,
            generation,
            failures,
            success: 1.0,
            doubted: self.own.get(&purpose).map_or(0, |path| path.doubted),
            hastened: false,
        })
    }

    pub(super) fn own_opened(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, purpose: Purpose) {
        let Some(path) = self.own.get_mut(&purpose).filter(|path| path.state == State::Building) else { return };
        path.state = State::Ready;
        path.failures = 0;
        let (resume, generation) = (path.resume, path.generation);
        if let Some(first) = &path.first {
            self.pinned.worked(first.peer);
        }
        self.vouch(ctx, keys, purpose, resume);
        self.anew_later(ctx, purpose, generation);
        ctx.out.emit(PathEvent::Ready { purpose, beside: self.renewal.has_old(purpose) });
        self.others_now(ctx);
    }

    /// Walks succeed again: other paths of ours whose walks were refused do not wait any longer.
    fn others_now(&mut self, ctx: &mut PathCtx<'_, P>) {
        let waits = |path: &OwnPath<P>| path.state == State::Waiting && path.failures > 0;
        let waiting: Vec<_> = self.own.iter().filter(|(_, path)| waits(path)).map(|(purpose, _)| *purpose).collect();
        for purpose in waiting {
            self.wait(ctx, purpose, Duration::ZERO);
        }
    }

    /// A path broke: it is built anew behind the same first relay, unless that is what died. `within`: somebody on the path
    /// broke it, or may have; that is answered more slowly the more often it happens.
    pub(super) fn lost(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, purpose: Purpose, within: bool) {
        let Some(path) = self.own.get_mut(&purpose) else { return };
        let (was_ready, first) = (path.is_ready(), path.first().map(|first| first.peer));
        if !was_ready {
            let (shortest, longest) = BACK_OFF;
            let wait = shortest.saturating_mul(1 << path.failures.min(10)).min(longest);
            path.failures += 1;
            let doubt = path.failures.is_multiple_of(DOUBTED_AFTER);
            if let Some(first) = first {
                self.pinned.refused(first);
            }
            if let Some(first) = first.filter(|_| doubt) {
                self.pinned.put_last(first);
                ctx.out.emit(PathEvent::FirstRelays);
            }
            return self.wait(ctx, purpose, wait);
        }
        ctx.out.emit(PathEvent::Lost(purpose));
        if !within && self.begins_alone(purpose) {
            // What all goes through a first relay that is dead would begin at once behind another.
            return self.put_off(ctx, keys, purpose);
        }
        let wait = if within {
            let answer = self.breaks.entry(purpose).or_default().broke(ctx.now);
            if let Some(first) = first.filter(|_| answer.doubt) {
                self.pinned.put_last(first);
                ctx.out.emit(PathEvent::FirstRelays);
            }
            answer.wait
        } else {
            Duration::ZERO
        };
        match wait.is_zero() {
            true => self.build(ctx, keys, purpose, 0),
            false => self.wait(ctx, purpose, wait),
        }
    }

    fn wait(&mut self, ctx: &mut PathCtx<'_, P>, purpose: Purpose, wait: Duration) {
        let generation = self.next_number();
        if let Some(path) = self.own.get_mut(&purpose) {
            path.state = State::Waiting;
            path.generation = generation;
            ctx.out.arm(wait, PathTimer::Build(purpose, generation));
        }
    }

    /// What was sent up a path and should have been answered by now was not.
    pub fn unanswered(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, purpose: Purpose) {
        let Some(path) = self.own.get_mut(&purpose).filter(|path| path.is_ready()) else { return };
        path.success -= WEIGHT * path.success;
        if path.success >= LEAST_SUCCESS {
            return;
        }
        path.doubted = path.doubted.saturating_add(1);
        let (link, doubted) = (path.link(), path.doubted);
        if let Some((first, id)) = link {
            ctx.out.send(&first, PathMessage::Broken(Broken { id, up: true }));
            if doubted > 1 {
                // Behind the same first relay nothing was answered twice: it may be the one that drops everything.
                self.pinned.failed(first.peer);
            }
        }
        self.lost(ctx, keys, purpose, true);
    }

    pub(super) fn build_expired(
        &mut self,
        ctx: &mut PathCtx<'_, P>,
        keys: &dyn Keys<P>,
        purpose: Purpose,
        generation: u64,
    ) {
        let Some(path) = self.own.get(&purpose).filter(|path| path.generation == generation) else { return };
        let failures = path.failures;
        match path.state {
            State::Ready => {}
            State::Waiting => self.build(ctx, keys, purpose, failures),
            State::Building => {
                let link = path.first.clone().map(|first| (first, path.id));
                if let Some((first, id)) = link {
                    // Whatever was built of it is taken down. A first relay that never answers is no good one.
                    ctx.out.send(&first, PathMessage::Broken(Broken { id, up: true }));
                    if failures > 0 {
                        self.pinned.failed(first.peer);
                    }
                }
                self.build(ctx, keys, purpose, failures + 1);
            }
        }
    }

    /// The subgroup or its leader changed: own paths elsewhere are rebuilt, now or at a moment of their own, and those built among few
    /// are replaced.
    pub(super) fn check_own(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>) {
        for purpose in self.wanted.clone() {
            let fits = match (self.own.get(&purpose), &self.own_view) {
                (Some(path), Some(view)) => {
                    path.subgroup == view.subgroup
                        && path.leader == view.leader.peer
                        && path.leader_key == view.leader_key
                        && (path.first.is_some() || view.relays.is_empty())
                }
                (None, None) => true,
                _ => false,
            };
            if fits {
                let relays = self.own_view.as_ref().map_or(0, |view| view.relays.len());
                if self.own.get(&purpose).is_some_and(|path| path.is_ready() && path.is_outgrown(relays)) {
                    self.outgrown(ctx, keys, purpose);
                }
                continue;
            }
            self.forget_renewal(ctx, Some(purpose));
            let had = self.own.contains_key(&purpose);
            if let Some((first, id)) = self.own.remove(&purpose).and_then(|path| path.link()) {
                ctx.out.send(&first, PathMessage::Broken(Broken { id, up: true }));
                ctx.out.emit(PathEvent::Lost(purpose));
            }
            match had && self.begins_alone(purpose) {
                true => self.put_off(ctx, keys, purpose),
                false => self.build(ctx, keys, purpose, 0),
            }
        }
    }

    /// Sends an errand up a path; false if it is not ready or the errand is too long.
    pub fn send_up(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, purpose: Purpose, errand: Errand) -> bool {
        let Some(path) = self.own.get(&purpose) else { return false };
        let Some((first, id)) = path.link() else { return false };
        let envelope = Envelope { reply: path.public, errand };
        let Some(sealed) = sealed::seal(keys, ctx.rng, &path.leader_key, &envelope) else { return false };
        ctx.out.send(&first, PathMessage::Up(Up { id, sealed }));
        ctx.out.emit(PathEvent::Used(first.peer));
        true
    }

    /// As a leader: sends a notice down a path that ends here.
    pub fn send_down(
        &mut self,
        ctx: &mut PathCtx<'_, P>,
        keys: &dyn Keys<P>,
        end: End<P>,
        reply: &[u8; 32],
        notice: &Notice,
    ) {
        if !self.ends.contains(&end) {
            return;
        }
        if let Some(sealed) = sealed::seal(keys, ctx.rng, reply, notice) {
            ctx.out.send(&Contact::bare(end.0), PathMessage::Down(Down { id: end.1, sealed }));
        }
    }

    /// As a leader: whether a path still ends here.
    pub fn is_end(&self, end: End<P>) -> bool {
        self.ends.contains(&end)
    }

    /// As a leader: tells a last relay to expect a stream for the path.
    pub fn expect(&mut self, ctx: &mut PathCtx<'_, P>, end: End<P>, ticket: [u8; 16]) {
        ctx.out.send(&Contact::bare(end.0), PathMessage::Expect(Expect { id: end.1, ticket }));
        ctx.out.emit(PathEvent::Awaits(end.0));
    }

    /// As a leader: tells a last relay where a stream with this ticket goes on.
    pub fn bind(
        &mut self,
        ctx: &mut PathCtx<'_, P>,
        end: End<P>,
        ticket: [u8; 16],
        next: Contact<P>,
        next_ticket: [u8; 16],
    ) {
        ctx.out.send(&Contact::bare(end.0), PathMessage::Bind(Bind { id: end.1, ticket, next, next_ticket }));
    }
}
