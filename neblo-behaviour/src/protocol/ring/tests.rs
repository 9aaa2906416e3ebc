//! What the model does not see: frames that no honest member sends, doubled and forged ones, numbers at their limits.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::protocol::io::{Sink, Time};

#[derive(Default)]
pub(super) struct Out {
    pub(super) sent: Vec<(u32, RingMessage<u32>)>,
    events: Vec<RingEvent<u32>>,
}

impl Sink<u32, Ring<u32>> for Out {
    fn send(&mut self, to: &Contact<u32>, message: RingMessage<u32>) {
        self.sent.push((to.peer, message));
    }
    fn arm(&mut self, _: Duration, _: RingTimer) {}
    fn emit(&mut self, event: RingEvent<u32>) {
        self.events.push(event);
    }
}

pub(super) fn act(ring: &mut Ring<u32>, input: RingInput<u32>) -> Out {
    let (mut rng, mut out) = (ChaCha8Rng::seed_from_u64(0), Out::default());
    ring.handle(&mut Ctx { now: Time(0), unix: 0, rng: &mut rng, out: &mut out }, input);
    out
}

pub(super) fn principal(peer: u32, address: u128) -> Principal<u32> {
    Principal { address: OverlayAddr(address), incarnation: u64::from(peer) + 7, contact: Contact::bare(peer) }
}

/// Peer 1 at 100 in a large ring: after 3 at 300, before 2 at 200.
pub(super) fn member() -> Ring<u32> {
    let mut ring = Ring::default();
    act(&mut ring, RingInput::Join { me: principal(1, 100) });
    let joined = Joined {
        by: principal(2, 200),
        successors: List::chop(vec![principal(3, 300)]),
        after: OverlayAddr(300),
        epoch: 5,
        roster: None,
        incarnation: 8,
        before: None,
        predecessor: None,
    };
    act(&mut ring, RingInput::Received(2, RingMessage::Joined(joined)));
    act(&mut ring, RingInput::Received(2, RingMessage::Migrated(Handover { incarnation: 8, epoch: 5 })));
    assert_eq!(ring.ownership(OverlayAddr(50)), Ownership::Yes);
    ring.question = None;
    ring
}

#[test]
fn a_joiner_is_let_in_only_by_who_knows_its_incarnation_and_can_own_its_address() {
    let by = principal(2, 200);
    let good = Joined {
        by,
        successors: List::default(),
        after: OverlayAddr(300),
        epoch: 5,
        roster: None,
        incarnation: 8,
        before: None,
        predecessor: None,
    };
    let forged = [
        (2, Joined { incarnation: 9, ..good.clone() }),
        (4, good.clone()),
        (2, Joined { after: OverlayAddr(150), ..good.clone() }),
        (2, Joined { by: principal(2, 100), ..good.clone() }),
    ];
    for (from, joined) in forged {
        let mut ring = Ring::default();
        act(&mut ring, RingInput::Join { me: principal(1, 100) });
        act(&mut ring, RingInput::Received(from, RingMessage::Joined(joined)));
        assert!(!ring.is_member());
    }
}

#[test]
fn a_range_is_not_taken_from_a_stranger() {
    let give = |by: Principal<u32>, after, to, incarnation| {
        let range = AddrRange { after: OverlayAddr(after), to: OverlayAddr(to) };
        (by.contact.peer, Give { by, incarnation, range, epoch: 9, before: None, predecessor: None })
    };
    let strangers = [
        // Not the successor that found us closer, not the predecessor that leaves, another incarnation, another sender.
        give(principal(9, 900), 150, 100, 8),
        give(principal(9, 900), 150, 900, 8),
        give(principal(2, 200), 250, 100, 1),
        (4, give(principal(2, 200), 250, 100, 8).1),
    ];
    for (from, give) in strangers {
        let mut ring = member();
        let range = ring.range();
        let out = act(&mut ring, RingInput::Received(from, RingMessage::Give(give)));
        assert_eq!(ring.range(), range);
        assert!(matches!(out.sent.as_slice(), [(to, RingMessage::Refused(_))] if *to == from));
    }
}

#[test]
fn who_leaves_cannot_take_from_us_what_is_ours() {
    for (after, taken) in [(250, true), (100, true), (50, false)] {
        let mut ring = member();
        ring.predecessor = Some(principal(3, 300));
        let range = AddrRange { after: OverlayAddr(after), to: OverlayAddr(300) };
        let give = Give { by: principal(3, 300), incarnation: 8, range, epoch: 9, before: None, predecessor: None };
        let out = act(&mut ring, RingInput::Received(3, RingMessage::Give(give)));
        assert_eq!(out.sent.iter().any(|(_, message)| matches!(message, RingMessage::Accepted(_))), taken);
        assert_eq!(ring.range().unwrap().0.after, OverlayAddr(if taken { after } else { 300 }));
    }
}

#[test]
fn the_epoch_of_a_refused_range_is_heard() {
    let mut ring = member();
    let range = AddrRange { after: OverlayAddr(250), to: OverlayAddr(300) };
    let give = Give { by: principal(3, 300), incarnation: 8, range, epoch: 90, before: None, predecessor: None };
    let out = act(&mut ring, RingInput::Received(3, RingMessage::Give(give)));
    assert!(matches!(out.sent.as_slice(), [(3, RingMessage::Refused(_))]));
    act(&mut ring, RingInput::Received(4, RingMessage::Join(join(4, 50, 1))));
    assert_eq!(ring.range().unwrap().1, 91);
}

#[test]
fn a_notifier_that_speaks_for_another_or_claims_our_address_is_ignored() {
    for (from, claimed) in [(4, principal(5, 50)), (4, principal(4, 100)), (1, principal(1, 50))] {
        let mut ring = member();
        let before = ring.clone();
        let notify = Notify { me: claimed, epoch: None, start: None };
        act(&mut ring, RingInput::Received(from, RingMessage::Notify(notify)));
        assert_eq!(ring, before);
    }
}

#[test]
fn a_forged_epoch_does_not_exhaust_the_numbers() {
    let mut ring = member();
    for _ in 0..100 {
        let notify = Notify { me: principal(3, 300), epoch: Some(u64::MAX), start: None };
        act(&mut ring, RingInput::Received(3, RingMessage::Notify(notify)));
    }
    let (_, epoch) = ring.range().unwrap();
    act(&mut ring, RingInput::Received(4, RingMessage::Join(join(4, 50, 1))));
    assert!(ring.range().unwrap().1 > epoch);
}

fn join(peer: u32, address: u128, request: u64) -> Join<u32> {
    Join { request, me: principal(peer, address), proof: None, epoch: Some(0) }
}

#[test]
fn joiners_that_never_accept_are_told_busy_beyond_a_bound_and_give_the_range_back() {
    let mut ring = member();
    for peer in 10..30 {
        act(&mut ring, RingInput::Received(peer, RingMessage::Join(join(peer, u128::from(peer) + 20, 1))));
        ring.question = None;
    }
    assert_eq!(ring.open_handovers(), 4);
    for _ in 0..40 {
        act(&mut ring, RingInput::Expired(RingTimer::Repeat));
    }
    assert_eq!(ring.open_handovers(), 0);
    assert!(ring.handed.len() <= 12 && ring.received.len() <= 16);
}

#[test]
fn what_was_handed_over_long_ago_is_not_sent_to_who_got_it_then() {
    let mut ring = member();
    act(&mut ring, RingInput::Received(4, RingMessage::Join(join(4, 50, 1))));
    let (_, epoch) = ring.range().unwrap();
    let step = Handover { incarnation: 11, epoch };
    let route = |ring: &Ring<u32>| ring.route(OverlayAddr(30), &Fingers::new(0.5));
    act(&mut ring, RingInput::Received(4, RingMessage::Accepted(step.clone())));
    ring.confirmed = Some(ring.after);
    act(&mut ring, RingInput::Migrated { epoch });
    act(&mut ring, RingInput::Received(4, RingMessage::Settled(step)));
    assert_eq!((ring.open_handovers(), route(&ring)), (0, Hop::Next(Contact::bare(4))));
    // From now on nobody here would notice its death.
    act(&mut ring, RingInput::Received(5, RingMessage::Join(join(5, 60, 1))));
    assert_eq!(ring.predecessor, Some(principal(5, 60)));
    assert_eq!(route(&ring), Hop::Next(Contact::bare(5)));
}

#[test]
fn what_comes_here_for_those_before_us_goes_back_to_them_and_not_round_the_ring() {
    let mut ring = member();
    ring.predecessor = Some(principal(4, 50));
    ring.after = OverlayAddr(50);
    ring.before = Some(Start { after: OverlayAddr(20), owner: Some(principal(5, 20)) });
    let route = |ring: &Ring<u32>, to| ring.route(OverlayAddr(to), &Fingers::new(0.5));
    let back = Hop::Next(Contact::bare(4));
    assert_eq!([20, 50, 51, 100].map(|to| route(&ring, to)), [back.clone(), back, Hop::Here, Hop::Here]);
    // Who lives there is not known.
    assert_eq!([19, 300, 200].map(|to| route(&ring, to)), [3, 3, 2].map(|peer| Hop::Next(Contact::bare(peer))));
    let mut fingers = Fingers::new(0.5);
    fingers.shun(4, Time(0));
    assert_eq!(ring.route(OverlayAddr(30), &fingers), Hop::Next(Contact::bare(3)));
}

/// Peer 1 at 100 owned from 50 on; 4 at 50, whose range began at 20, and 5 at 20 are dead, and 3 at 300 shows itself.
fn after_two_deaths() -> (Ring<u32>, Out) {
    let mut ring = member();
    ring.predecessor = Some(principal(4, 50));
    ring.after = OverlayAddr(50);
    ring.before = Some(Start { after: OverlayAddr(20), owner: Some(principal(5, 20)) });
    let notify = Notify { me: principal(3, 300), epoch: None, start: None };
    act(&mut ring, RingInput::Dead(4));
    act(&mut ring, RingInput::Received(3, RingMessage::Notify(notify)));
    let out = act(&mut ring, RingInput::Dead(5));
    (ring, out)
}

#[test]
fn what_a_joiner_refuses_is_owned_as_before() {
    let mut ring = member();
    let notify =
        Notify { me: principal(3, 300), epoch: None, start: Some(Start { after: OverlayAddr(250), owner: None }) };
    act(&mut ring, RingInput::Received(3, RingMessage::Notify(notify)));
    let (before, range) = (ring.before.clone(), ring.range().unwrap().0);
    act(&mut ring, RingInput::Received(4, RingMessage::Join(join(4, 50, 1))));
    let (_, epoch) = ring.range().unwrap();
    act(&mut ring, RingInput::Received(4, RingMessage::Refused(Handover { incarnation: 11, epoch })));
    assert!(before.is_some());
    assert_eq!((ring.before.clone(), ring.range().unwrap().0), (before, range));
}

fn inherits(out: &Out) -> Vec<AddrRange> {
    let ranges = out.events.iter().filter_map(|event| match event {
        RingEvent::Inherited { range, .. } => Some(*range),
        _ => None,
    });
    ranges.collect()
}

/// The successors hear of the epoch.
fn all_hear(ring: &mut Ring<u32>) {
    let (head, hops) = (ring.successors[0].contact.peer, ring.successors.len() as u8);
    let epoch = ring.range().unwrap().1;
    act(ring, RingInput::Received(head, RingMessage::Heard(Hear { epoch, hops })));
}

#[test]
fn what_lies_behind_two_dead_is_inherited_when_nobody_shows_up_in_it() {
    let (mut ring, out) = after_two_deaths();
    all_hear(&mut ring);
    let claimed = AddrRange { after: OverlayAddr(300), to: OverlayAddr(20) };
    assert_eq!(inherits(&out), []);
    assert_eq!(ring.range().unwrap().0, AddrRange { after: OverlayAddr(20), to: OverlayAddr(100) });
    assert_eq!(
        (ring.ownership(OverlayAddr(30)), ring.ownership(OverlayAddr(10))),
        (Ownership::Yes, Ownership::Changing)
    );
    assert_eq!(ring.route(OverlayAddr(10), &Fingers::new(0.5)), Hop::Here);
    let (range, timer) = ring.claimed().unwrap();
    assert_eq!(range, claimed);
    let out = act(&mut ring, RingInput::Expired(timer));
    all_hear(&mut ring);
    assert_eq!((inherits(&out), ring.ownership(OverlayAddr(10))), (vec![claimed], Ownership::Yes));
}

#[test]
fn who_shows_up_behind_two_dead_keeps_what_it_owns() {
    let (mut ring, _) = after_two_deaths();
    let (_, timer) = ring.claimed().unwrap();
    let start = Some(Start { after: OverlayAddr(300), owner: Some(principal(3, 300)) });
    let notify = Notify { me: principal(6, 5), epoch: None, start };
    let out = act(&mut ring, RingInput::Received(6, RingMessage::Notify(notify)));
    assert!(!out.sent.iter().any(|(_, message)| matches!(message, RingMessage::Give(_))));
    assert_eq!(ring.ownership(OverlayAddr(4)), Ownership::No);
    let out = act(&mut ring, RingInput::Expired(timer));
    assert_eq!(inherits(&out), [AddrRange { after: OverlayAddr(5), to: OverlayAddr(20) }]);
    assert_eq!(ring.ownership(OverlayAddr(4)), Ownership::No);
}

#[test]
fn who_leaves_from_behind_a_claimed_range_is_heard() {
    let (mut ring, _) = after_two_deaths();
    let range = AddrRange { after: OverlayAddr(200), to: OverlayAddr(300) };
    let give = Give { by: principal(3, 300), incarnation: 8, range, epoch: 9, before: None, predecessor: None };
    let out = act(&mut ring, RingInput::Received(3, RingMessage::Give(give)));
    assert!(out.sent.iter().any(|(_, message)| matches!(message, RingMessage::Accepted(_))));
    assert_eq!(ring.ownership(OverlayAddr(250)), Ownership::Changing);
    let (range, _) = ring.claimed().unwrap();
    assert_eq!(range, AddrRange { after: OverlayAddr(200), to: OverlayAddr(20) });
}

#[test]
fn an_offer_that_is_doubled_is_accepted_once_and_answered_twice() {
    let mut ring = member();
    let notify = Notify { me: principal(3, 300), epoch: None, start: None };
    act(&mut ring, RingInput::Received(3, RingMessage::Notify(notify)));
    let range = AddrRange { after: OverlayAddr(250), to: OverlayAddr(300) };
    let give = Give { by: principal(3, 300), incarnation: 8, range, epoch: 9, before: None, predecessor: None };
    let first = act(&mut ring, RingInput::Received(3, RingMessage::Give(give.clone())));
    let owned = ring.range();
    let second = act(&mut ring, RingInput::Received(3, RingMessage::Give(give)));
    for out in [&first, &second] {
        assert!(matches!(out.sent.as_slice(), [(3, RingMessage::Accepted(_))]));
    }
    assert_eq!(ring.range(), owned);
    assert_eq!(ring.ownership(OverlayAddr(280)), Ownership::Changing);
    let step = Handover { incarnation: 8, epoch: 9 };
    for _ in 0..2 {
        let out = act(&mut ring, RingInput::Received(3, RingMessage::Migrated(step.clone())));
        assert!(matches!(out.sent.as_slice(), [(3, RingMessage::Settled(_))]));
    }
    assert_eq!(ring.ownership(OverlayAddr(280)), Ownership::Yes);
}

#[test]
fn a_roster_is_taken_from_its_founder_alone() {
    let mut ring = Ring::default();
    act(&mut ring, RingInput::Found { me: principal(1, 100) });
    let before = ring.clone();
    for members in [vec![principal(2, 200)], vec![principal(2, 200), principal(1, 100)], vec![principal(1, 100)]] {
        let members = List::chop(members);
        let roster = Roster { term: 9, version: 9, members, open: true, owner: None, epoch: Some(u64::MAX) };
        act(&mut ring, RingInput::Received(2, RingMessage::Roster(roster)));
        assert_eq!(ring, before);
    }
}

proptest::proptest! {
    /// Whatever arrives, in whatever order: nothing panics and every list stays within its cap.
    #[test]
    fn arbitrary_frames_leave_the_lists_bounded(frames: Vec<(u8, u8, u8, u8, u8)>) {
        let mut ring = member();
        for (from, kind, at, other, number) in frames {
            let (from, epoch) = (u32::from(from % 6), u64::from(number));
            let known = |peer: u8| principal(u32::from(peer % 6), u128::from(peer % 6) * 100);
            let range = AddrRange { after: OverlayAddr(u128::from(other) * 10), to: known(at).address };
            let step = Handover { incarnation: 8, epoch };
            let start = Some(Start { after: range.after, owner: Some(known(other)) });
            let message = match kind % 11 {
                0 => RingMessage::Join(join(from, u128::from(at), epoch)),
                1 => RingMessage::Give(Give { by: known(at), incarnation: 8, range, epoch, before: start, predecessor: Some(known(other)) }),
                2 => RingMessage::Accepted(step),
                3 => RingMessage::Refused(step),
                4 => RingMessage::Migrated(step),
                5 => RingMessage::Settled(step),
                6 => RingMessage::Notify(Notify { me: known(at), epoch: Some(epoch), start }),
                7 => RingMessage::Nudge(Nudge { leaving: number > 200 }),
                8 => RingMessage::Ask(Ask { request: epoch, known: Some(epoch) }),
                9 => RingMessage::Neighbours(Neighbours {
                    request: ring.next_request,
                    busy: number > 200,
                    me: Some(known(at)),
                    predecessor: Some(known(other)),
                    successors: List::chop(vec![known(number); 8]),
                    open: true,
                    epoch: Some(epoch),
                    before: Some(range.after),
                    founder: None,
                    same: other > 200,
                }),
                _ => RingMessage::Joined(Joined {
                    by: known(at),
                    successors: List::default(),
                    after: range.after,
                    epoch,
                    roster: None,
                    incarnation: 8,
                    before: start,
                    predecessor: None,
                }),
            };
            act(&mut ring, RingInput::Received(from, message));
            proptest::prop_assert!(ring.successors.len() <= MAX_SUCCESSORS);
            proptest::prop_assert!(ring.handed.len() <= 12 && ring.received.len() <= 16 && ring.gone.len() <= 8);
        }
    }
}

/// [`member`], whose predecessor died and showed another one further back, in an epoch far ahead.
fn heir() -> (Ring<u32>, Hear) {
    let mut ring = member();
    ring.predecessor = Some(principal(3, 300));
    ring.before = Some(Start { after: OverlayAddr(250), owner: None });
    act(&mut ring, RingInput::Dead(3));
    ring.successors.push(principal(4, 250));
    let notify = Notify { me: principal(4, 250), epoch: None, start: None };
    let out = act(&mut ring, RingInput::Received(4, RingMessage::Notify(notify)));
    let says = out.sent.iter().find_map(|(to, message)| match message {
        RingMessage::Hear(hear) => Some((*to, *hear)),
        _ => None,
    });
    let (to, hear) = says.unwrap();
    assert_eq!((to, hear), (2, Hear { epoch: ring.range().unwrap().1, hops: 2 }));
    (ring, hear)
}

#[test]
fn an_heir_is_sure_of_its_range_when_its_successors_have_heard_of_its_epoch() {
    let (mut ring, hear) = heir();
    let received = |from, hear| RingInput::Received(from, RingMessage::Heard(hear));
    let forged = [(3, hear), (2, Hear { hops: 1, ..hear }), (2, Hear { epoch: hear.epoch + 1, ..hear })];
    for (from, hear) in forged {
        act(&mut ring, received(from, hear));
        assert_eq!(ring.ownership(OverlayAddr(50)), Ownership::Changing);
    }
    act(&mut ring, received(2, hear));
    assert_eq!([50, 280].map(|at| ring.ownership(OverlayAddr(at))), [Ownership::Yes; 2]);
}

#[test]
fn a_successor_that_passes_no_epoch_on_does_not_keep_a_range_from_its_heir() {
    let (mut ring, hear) = heir();
    let mut said = 0;
    while ring.ownership(OverlayAddr(50)) == Ownership::Changing {
        let out = act(&mut ring, RingInput::Expired(RingTimer::Hear(hear.epoch)));
        said += out.sent.iter().filter(|(_, message)| matches!(message, RingMessage::Hear(_))).count();
        assert!(said <= 30);
    }
    assert_eq!(said, 30);
}

#[test]
fn epochs_are_passed_on_for_the_predecessor_alone_and_a_few_at_once() {
    let mut ring = member();
    ring.predecessor = Some(principal(3, 300));
    let mut hear = |from, epoch, hops| {
        let out = act(&mut ring, RingInput::Received(from, RingMessage::Hear(Hear { epoch, hops })));
        out.sent.into_iter().next()
    };
    assert_eq!(hear(9, 1_000, 8), None);
    // The last one answers.
    assert_eq!(hear(3, 1_000, 1), Some((3, RingMessage::Heard(Hear { epoch: 1_000, hops: 1 }))));
    assert_eq!(hear(3, 2_000, 255), Some((2, RingMessage::Hear(Hear { epoch: 2_000, hops: 7 }))));
    let passed = (2_000..2_100).filter(|epoch| hear(3, *epoch, 8).is_some()).count();
    assert_eq!(passed, 3);
    // Its answer goes back, and makes room.
    let heard = RingInput::Received(2, RingMessage::Heard(Hear { epoch: 2_000, hops: 7 }));
    assert_eq!(act(&mut ring, heard).sent, [(3, RingMessage::Heard(Hear { epoch: 2_000, hops: 255 }))]);
    act(&mut ring, RingInput::Expired(RingTimer::Passing(2_001)));
    let hear = Hear { epoch: 3_000, hops: 3 };
    let out = act(&mut ring, RingInput::Received(3, RingMessage::Hear(hear)));
    assert_eq!(out.sent, [(2, RingMessage::Hear(Hear { epoch: 3_000, hops: 2 }))]);
}
