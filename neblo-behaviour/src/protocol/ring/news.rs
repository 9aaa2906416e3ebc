//! In a settled ring a member asks its first successor for news alone, and says nothing that it has said before.
//!
//! An answer is long: eight successors with their addresses. Mostly it is the one that was given before, and then a word says so. What the
//! asker would do with the whole answer changes nothing then, or it would not be settled.

use super::*;
use crate::protocol::codec::to_bytes;

/// What passed between a member and its first successor last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LastWords<P> {
    /// Who said what.
    said: Option<(P, u64)>,
    /// Who was told of this epoch, and where our range begins.
    told: Option<(P, u64, Start<P>)>,
    /// The question that said what is known.
    question: Option<u64>,
}

impl<P> Default for LastWords<P> {
    fn default() -> Self {
        Self { said: None, told: None, question: None }
    }
}

impl<P: Peer> Neighbours<P> {
    pub(super) fn nothing_new(request: u64) -> Self {
        Self {
            request,
            busy: false,
            me: None,
            predecessor: None,
            successors: List::default(),
            open: false,
            epoch: None,
            before: None,
            founder: None,
            same: true,
        }
    }
}

/// The last whole answer that was compared with what an asker knew, and its digest: most answers are the same, and to know that need not
/// cost more than a look. It says nothing about the ring, so it counts for nothing where two states are compared.
#[derive(Clone, Debug)]
pub(super) struct LastAnswer<P>(Option<Box<(Neighbours<P>, u64)>>);

impl<P> Default for LastAnswer<P> {
    fn default() -> Self {
        Self(None)
    }
}

impl<P> PartialEq for LastAnswer<P> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl<P> Eq for LastAnswer<P> {}

impl<P> std::hash::Hash for LastAnswer<P> {
    fn hash<H: std::hash::Hasher>(&self, _state: &mut H) {}
}

/// What tells answers apart: BLAKE3 of all of it but the number of the question.
fn digest<P: Peer>(answer: &Neighbours<P>) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("neblo 1 neighbours");
    hasher.update(&to_bytes(answer));
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_be_bytes(first)
}

impl<P: Peer> Ring<P> {
    /// What the first successor need not say again.
    pub(super) fn knows(&self) -> Option<u64> {
        let head = self.successors.first()?;
        let (by, said) = self.last_words.said?;
        Some(said).filter(|_| by == head.contact.peer && self.is_settled())
    }

    /// A question says what is known, or does not.
    pub(super) fn asks_for_news(&mut self, request: u64, known: Option<u64>) {
        self.last_words.question = known.map(|_| request);
    }

    /// The answer to a question, of which the asker may have all.
    pub(super) fn in_short(&mut self, ask: &Ask, busy: bool) -> Neighbours<P> {
        let request = ask.request;
        if let Some(known) = ask.known.filter(|_| !busy) {
            if !self.answers_as_before() {
                let whole = self.whole_answer(false);
                let digest = digest(&whole);
                self.last_answer.0 = Some(Box::new((whole, digest)));
            }
            if self.last_answer.0.as_ref().is_some_and(|last| last.1 == known) {
                return Neighbours::nothing_new(request);
            }
        }
        Neighbours { request, ..self.whole_answer(busy) }
    }

    /// Whether the whole answer is the last one that was compared.
    fn answers_as_before(&self) -> bool {
        let Some((last, _)) = self.last_answer.0.as_deref() else { return false };
        let same = |one: &Principal<P>, other: &Principal<P>| one.is(other) && one.contact.is_same(&other.contact);
        let same_or_none = |one: &Option<Principal<P>>, other: &Option<Principal<P>>| match (one, other) {
            (Some(one), Some(other)) => same(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.is_member()
            && self.roster.is_none()
            && last.open
            && last.founder.is_none()
            && last.epoch == Some(self.seen)
            && last.before == self.told_start()
            && same_or_none(&last.me, &self.me)
            && same_or_none(&last.predecessor, &self.predecessor)
            && last.successors.len() == self.successors.len()
            && last.successors.iter().zip(&self.successors).all(|(one, other)| same(one, other))
    }

    /// What the first successor said, if it need not say it again. It is remembered once the neighbours follow from it.
    pub(super) fn said(&self, from: P, answer: &mut Neighbours<P>) -> Option<(P, u64)> {
        answer.request = 0;
        self.brief.then(|| (from, digest(answer)))
    }

    pub(super) fn remember(&mut self, said: Option<(P, u64)>) {
        self.last_words.said = said;
    }

    /// The neighbours are others, or are called something else.
    pub(super) fn forget_words(&mut self) {
        self.last_words = LastWords { question: self.last_words.question, ..LastWords::default() };
    }

    /// The first successor says that nothing is new. Only the answer to a question that said what is known may say so.
    pub(super) fn nothing_new(&mut self, ctx: &mut RingCtx<'_, P>, request: u64) {
        if self.last_words.question.take() != Some(request) {
            return;
        }
        if !self.is_settled() {
            // Something happened meanwhile: the whole answer is needed after all.
            self.last_words.said = None;
            return self.stabilise(ctx);
        }
        let head = self.successors.first().map(|head| head.contact.peer);
        let told = self.last_words.told.as_ref();
        if told.is_none_or(|(to, seen, start)| Some(*to) != head || *seen != self.seen || *start != self.start()) {
            self.notify_head(ctx);
        }
    }

    /// The first successor is told where our range begins.
    pub(super) fn remember_told(&mut self, to: P) {
        self.last_words.told = self.brief.then(|| (to, self.seen, self.start()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{act, member, principal};
    use super::*;

    /// The question that a round puts to the first successor.
    fn question(ring: &mut Ring<u32>) -> Ask {
        match act(ring, RingInput::Expired(RingTimer::Stabilise)).sent.as_slice() {
            [(2, RingMessage::Ask(ask))] => ask.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn in_a_settled_ring_the_first_successor_is_asked_for_news_alone_and_told_nothing_twice() {
        let mut ring = member();
        ring.predecessor = Some(principal(3, 300));
        let whole = |request| Neighbours {
            request,
            busy: false,
            me: Some(principal(2, 200)),
            predecessor: Some(principal(1, 100)),
            successors: List::chop(vec![principal(3, 300), principal(1, 100)]),
            open: true,
            epoch: Some(5),
            before: Some(OverlayAddr(300)),
            founder: None,
            same: false,
        };
        let same = Neighbours::nothing_new;
        let says =
            |ring: &mut Ring<u32>, answer| act(ring, RingInput::Received(2, RingMessage::Neighbours(answer))).sent;
        let notified = |sent: &[(u32, RingMessage<u32>)]| matches!(sent, [(2, RingMessage::Notify(_))]);
        let ask = question(&mut ring);
        assert_eq!(ask.known, None);
        assert!(notified(&says(&mut ring, whole(ask.request))));
        assert!(ring.is_settled());
        let ask = question(&mut ring);
        assert!(ask.known.is_some());
        assert_eq!(says(&mut ring, same(ask.request)), []);
        // It is called otherwise now, and has to say so: everything is asked for, and "nothing new" is no answer to that.
        act(&mut ring, RingInput::Contact(Contact::new(1, vec![vec![4]])));
        let ask = question(&mut ring);
        assert_eq!(ask.known, None);
        assert_eq!(says(&mut ring, same(ask.request)), []);
        let ask = question(&mut ring);
        assert_eq!(ask.known, None);
        assert!(notified(&says(&mut ring, whole(ask.request))));
        // A neighbour is lost between question and answer.
        let ask = question(&mut ring);
        assert!(ask.known.is_some());
        act(&mut ring, RingInput::Dead(3));
        let again = says(&mut ring, same(ask.request));
        assert!(matches!(again.as_slice(), [(2, RingMessage::Ask(Ask { known: None, .. }))]), "{again:?}");
        // What the first successor makes of such a question.
        let mut ring = member();
        let answer =
            |ring: &mut Ring<u32>, ask| match act(ring, RingInput::Received(4, RingMessage::Ask(ask))).sent.pop() {
                Some((4, RingMessage::Neighbours(answer))) => answer,
                other => panic!("{other:?}"),
            };
        let told = answer(&mut ring, Ask { request: 6, known: Some(1) });
        assert!(!told.same && told.me.is_some() && told.request == 6);
        let known = Ring::default().said(1, &mut told.clone()).map(|(_, said)| said);
        assert_eq!(answer(&mut ring, Ask { request: 9, known }), same(9));
        ring.predecessor = Some(principal(3, 300));
        assert!(!answer(&mut ring, Ask { request: 10, known }).same);
    }
}
