//! One fixed value for everything that travels in no frame of its own: in the leaders' multicast, in the registry's payloads,
//! and sealed between the owner of a path and its leader.

use libp2p::PeerId;
use neblo_behaviour::protocol::directory::LookupCast;
use neblo_behaviour::protocol::errand::{
    Announce, Announced, Declined, Envelope, Errand, Hits, Incoming, Lookup, Notice, Renew, Renewed, Resolve, Resolved,
    Resume, Vouch, Withdraw,
};
use neblo_behaviour::protocol::node::{FingerAsk, Locate, RegenerateAsk, RingRequest};
use neblo_behaviour::protocol::paper::PaperCast;
use neblo_behaviour::protocol::seal::Keys;
use neblo_behaviour::protocol::subgroup::{FindRows, RegistryRequest, Rows, Unregister};

use neblo_behaviour::AddrRange;

use super::samples::{self, NOW, blob, contact, keys, list, place};

/// Names what follows it: `envelope-announce`.
fn named<T>(family: &str, values: Vec<(&str, T)>) -> Vec<(String, T)> {
    values.into_iter().map(|(name, value)| (format!("{family}-{name}"), value)).collect()
}

pub(crate) fn cast() -> LookupCast<PeerId> {
    let keys = keys(1);
    let cast = LookupCast {
        asker: contact(1),
        identity: blob(&Keys::<PeerId>::identity(&keys)),
        subgroup: place(0xaa),
        term: 3,
        nonce: [3; 16],
        sent: NOW,
        query: blob(b"what is looked for"),
        limit: 50,
        signature: blob(b""),
    };
    cast.sign(&keys)
}

/// The same under the paper's policy.
pub(crate) fn paper_cast() -> PaperCast<PeerId> {
    let keys = keys(1);
    let cast = PaperCast {
        asker: contact(1),
        identity: blob(&Keys::<PeerId>::identity(&keys)),
        lookup: samples::paper_lookup(),
        nonce: [3; 16],
        sent: NOW,
        signature: blob(b""),
    };
    cast.sign(&keys)
}

/// What is asked on the ring's own port.
pub(crate) fn ring_requests() -> Vec<(String, RingRequest)> {
    let range = AddrRange { after: place(0x55), to: place(1) };
    let requests = vec![
        ("locate", RingRequest::Locate(Locate { reply: [8; 32] })),
        ("finger", RingRequest::Finger(FingerAsk { reply: [8; 32], slack: [0x10; 16] })),
        ("regenerate", RingRequest::Regenerate(RegenerateAsk { range, shift: 7, epoch: 6 })),
    ];
    named("ring-request", requests)
}

pub(crate) fn registry() -> Vec<(String, RegistryRequest<PeerId>)> {
    let register = RegistryRequest::Register(samples::row());
    let find = RegistryRequest::Find(FindRows { most: 64, known: None });
    let find_news = RegistryRequest::Find(FindRows { most: 64, known: Some(0x0102_0304_0506_0708) });
    let unregister = RegistryRequest::Unregister(Unregister::of::<PeerId>(&keys(1), place(0xaa), 3));
    named(
        "registry",
        vec![("register", register), ("find", find), ("find-news", find_news), ("unregister", unregister)],
    )
}

pub(crate) fn rows() -> Rows<PeerId> {
    Rows { rows: list(vec![samples::row()]), same: true }
}

pub(crate) fn envelopes() -> Vec<(String, Envelope)> {
    let errands = vec![
        Errand::Announce(Announce {
            request: 1,
            registration: [4; 16],
            key: [7; 32],
            expiry_day: 20_900,
            payload: blob(b"what is announced"),
            second: true,
        }),
        Errand::Withdraw(Withdraw { registration: [4; 16] }),
        Errand::Lookup(Lookup { request: 2, query: blob(b"what is looked for"), limit: 50, window: 3_000 }),
        Errand::Resolve(Resolve { request: 3, subgroup: place(0xaa), registration: 5, ticket: [9; 16] }),
        Errand::Vouch(Vouch { checks: list(vec![[12; 8], [13; 8]]) }),
        Errand::Resume(Resume { value: [14; 16] }),
        Errand::Renew(Renew { request: 4, registrations: list(vec![[4; 16], [5; 16]]), second: true }),
    ];
    let name = |errand: &Errand| match errand {
        Errand::Announce(_) => "announce",
        Errand::Withdraw(_) => "withdraw",
        Errand::Lookup(_) => "lookup",
        Errand::Resolve(_) => "resolve",
        Errand::Vouch(_) => "vouch",
        Errand::Resume(_) => "resume",
        Errand::Renew(_) => "renew",
    };
    let envelopes = errands.into_iter().map(|errand| (name(&errand), Envelope { reply: [8; 32], errand }));
    named("envelope", envelopes.collect())
}

pub(crate) fn notices() -> Vec<(String, Notice)> {
    let notices = vec![
        Notice::Announced(Announced { request: 1, registration: 5 }),
        Notice::Hits(Hits { request: 2, hits: list(vec![samples::hit()]), answered: 3, asked: 4, ended: true }),
        Notice::Resolved(Resolved { request: 3, found: true }),
        Notice::Incoming(Incoming { registration: [4; 16], ticket: [10; 16] }),
        Notice::Declined(Declined { request: 1 }),
        Notice::Renewed(Renewed { request: 4, unknown: list(vec![[5; 16]]) }),
    ];
    let name = |notice: &Notice| match notice {
        Notice::Announced(_) => "announced",
        Notice::Hits(_) => "hits",
        Notice::Resolved(_) => "resolved",
        Notice::Incoming(_) => "incoming",
        Notice::Declined(_) => "declined",
        Notice::Renewed(_) => "renewed",
    };
    named("notice", notices.into_iter().map(|notice| (name(&notice), notice)).collect())
}
