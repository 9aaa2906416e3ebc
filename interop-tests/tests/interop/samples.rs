//! One fixed value for every kind of frame.

use std::collections::BTreeMap;

use libp2p::{PeerId, identity::Keypair};
use neblo_behaviour::protocol::cost::{JoinCost, week_of};
use neblo_behaviour::protocol::directory::{
    AskTableKey, CopiedPath, CopiedRow, DirectoryMessage, Found, GonePath, ResolveAnswer, ResolveAsk, TableCopied,
    TableCopy, TableKey,
};
use neblo_behaviour::protocol::interface::{Hit, StreamHeader};
use neblo_behaviour::protocol::io::Contact;
use neblo_behaviour::protocol::link::LinkMessage;
use neblo_behaviour::protocol::messaging::{Message, MessagingMessage, NoResponse, Request, Response};
use neblo_behaviour::protocol::paper::{
    self, Content, Download, DownloadRequest, LookupResponse, PaperMessage, PathFailed, Publish, Reference, Replace,
    Table, TableRow, TotalPing,
};
use neblo_behaviour::protocol::path::{Bind, Broken, Down, Expect, Expecting, Mended, Open, Opened, PathMessage, Up};
use neblo_behaviour::protocol::ring::{
    Ask, Give, Handover, Hear, Join, Joined, Neighbours, NotJoined, Notify, Nudge, Principal, RingMessage, Roster,
    Start,
};
use neblo_behaviour::protocol::seal::Keys;
use neblo_behaviour::protocol::subgroup::{
    AskMembers, Elsewhere, InSubgroup, JoinSubgroup, Lead, LeaderHello, LeaderRow, LeaveSubgroup, MemberChange,
    MemberList, MoveTo, Moved, Resources, Statement, SubgroupMessage, Suspect, TwoLists, Which,
};
use neblo_behaviour::protocol::wire::{Frame, Hello};
use neblo_behaviour::protocol::{Blob, List};
use neblo_behaviour::swarm::keys::SwarmKeys;
use neblo_behaviour::{AddrRange, OverlayAddr};

/// Before every statement expires.
pub(crate) const NOW: u64 = 1_800_000_000;

fn keypair(seed: u8) -> Keypair {
    Keypair::ed25519_from_bytes([seed; 32]).unwrap()
}

pub(crate) fn keys(seed: u8) -> SwarmKeys {
    SwarmKeys::new(keypair(seed))
}

fn peer(seed: u8) -> PeerId {
    keypair(seed).public().to_peer_id()
}

pub(crate) fn contact(seed: u8) -> Contact<PeerId> {
    let address: libp2p::Multiaddr = format!("/ip4/192.0.2.{seed}/tcp/4001").parse().unwrap();
    Contact::new(peer(seed), vec![address.to_vec()])
}

pub(crate) fn place(byte: u8) -> OverlayAddr {
    OverlayAddr::from_bytes([byte; 16])
}

pub(crate) fn blob<const MAX: usize>(bytes: &[u8]) -> Blob<MAX> {
    Blob::new(bytes.to_vec()).unwrap()
}

pub(crate) fn list<T, const MAX: usize>(values: Vec<T>) -> List<T, MAX> {
    List::new(values).unwrap()
}

fn principal(seed: u8) -> Principal<PeerId> {
    Principal { address: place(seed), incarnation: u64::from(seed) << 56, contact: contact(seed) }
}

fn roster() -> Roster<PeerId> {
    Roster {
        term: 1,
        version: 2,
        members: list(vec![principal(1), principal(2)]),
        open: false,
        owner: Some(place(0x11)),
        epoch: Some(5),
    }
}

/// What is paid in the network of the samples.
pub(crate) fn cost() -> JoinCost {
    JoinCost::new("neblo", 12)
}

fn stated(seed: u8, guest: bool, resources: Resources) -> Statement<PeerId> {
    let (keys, expires) = (keys(seed), NOW + 3_600);
    let paid = cost().pay(&keys.identity(), week_of(expires), 0, u64::MAX).unwrap();
    Statement::stated(&keys, &contact(seed), [seed; 32], place(0xaa), expires, guest, (resources, paid))
}

pub(crate) fn statement(seed: u8, guest: bool) -> Statement<PeerId> {
    stated(seed, guest, Resources::default())
}

/// A statement that names resources.
pub(crate) fn resourceful(seed: u8) -> Statement<PeerId> {
    stated(seed, true, Resources { cpu: Some(4), bandwidth: Some(12_500) })
}

pub(crate) fn row() -> LeaderRow<PeerId> {
    LeaderRow { statement: statement(1, false), term: 3, size: 40, full: 75, signature: Default::default() }
        .sign(&keys(1))
}

pub(crate) fn members() -> MemberList<PeerId> {
    let members = list(vec![statement(1, false), statement(2, true)]);
    MemberList { subgroup: place(0xaa), term: 3, version: 4, members, signature: blob(&[]) }.sign(&keys(1))
}

pub(crate) fn hit() -> Hit {
    Hit {
        key: [7; 32],
        expiry_day: 20_900,
        payload: blob(b"what was announced"),
        subgroup: place(0xaa),
        registration: 5,
        reference: None,
    }
}

/// What a lookup finds under the paper's policy.
pub(crate) fn paper_hit() -> Hit {
    let reference = Some(blob(&reference().to_bytes()));
    Hit { subgroup: place(0), registration: 0, reference, ..hit() }
}

/// A stream that comes over a path.
pub(crate) fn stream_header() -> StreamHeader {
    StreamHeader { link: Some(77), ticket: [9; 16], version: 1, download: None }
}

/// A stream that crosses from one path's last relay to the other's.
pub(crate) fn crossing_header() -> StreamHeader {
    StreamHeader { link: None, ..stream_header() }
}

/// A stream that carries a download under the paper's policy.
pub(crate) fn download_header() -> StreamHeader {
    StreamHeader { link: None, ticket: [0; 16], version: 1, download: Some(blob(&download().to_bytes())) }
}

fn ring() -> Vec<RingMessage<PeerId>> {
    let range = AddrRange { after: place(0x55), to: place(1) };
    let start = || Start { after: place(0x44), owner: Some(principal(4)) };
    let step = || Handover { incarnation: 1 << 56, epoch: 6 };
    vec![
        RingMessage::Join(Join { request: 1, me: principal(1), proof: Some(blob(b"proof")), epoch: Some(5) }),
        RingMessage::Joined(Joined {
            by: principal(2),
            successors: list(vec![principal(3)]),
            after: place(0x55),
            epoch: 6,
            roster: Some(roster()),
            incarnation: 1 << 56,
            before: Some(start()),
            predecessor: Some(principal(4)),
        }),
        RingMessage::NotJoined(NotJoined { request: 1, ask: Some(contact(3)), not_owner: true }),
        RingMessage::Roster(Roster { open: true, ..roster() }),
        RingMessage::Ask(Ask { request: 2, known: Some(7) }),
        RingMessage::Neighbours(Neighbours {
            request: 2,
            busy: true,
            me: Some(principal(1)),
            predecessor: Some(principal(2)),
            successors: list(vec![principal(3), principal(4)]),
            open: true,
            epoch: Some(5),
            before: Some(place(0x44)),
            founder: Some(place(0x33)),
            same: true,
        }),
        RingMessage::Notify(Notify { me: principal(1), epoch: Some(5), start: Some(start()) }),
        RingMessage::Nudge(Nudge { leaving: true }),
        RingMessage::Give(Give {
            by: principal(2),
            incarnation: 1 << 56,
            range,
            epoch: 6,
            before: Some(start()),
            predecessor: Some(principal(4)),
        }),
        RingMessage::Accepted(step()),
        RingMessage::Refused(step()),
        RingMessage::Migrated(step()),
        RingMessage::Settled(step()),
        RingMessage::Hear(Hear { epoch: 1_031, hops: 8 }),
        RingMessage::Heard(Hear { epoch: 1_031, hops: 8 }),
    ]
}

/// What goes back by an onion in place of a track.
pub(crate) fn onions() -> Vec<(&'static str, Frame<PeerId>)> {
    let payload = || blob(b"payload");
    let onion = || Some(Box::new(std::array::from_fn(|at| (at % 251) as u8)));
    let request = Request {
        track: 0,
        port: 1_000,
        to: place(0x11),
        copy: 7,
        hops: 22,
        wait: 5_000,
        last: false,
        payload: payload(),
        onion: onion(),
    };
    let response = Response { track: 0, payload: payload(), onion: onion() };
    let no_response = NoResponse { track: 0, reason: 6, onion: onion() };
    let frame = Frame::Messaging;
    vec![
        ("messaging-request-onion", frame(MessagingMessage::Request(request))),
        ("messaging-response-onion", frame(MessagingMessage::Response(response))),
        ("messaging-no-response-onion", frame(MessagingMessage::NoResponse(no_response))),
    ]
}

fn messaging() -> Vec<MessagingMessage> {
    let payload = || blob(b"payload");
    vec![
        MessagingMessage::Message(Message { port: 1_000, to: place(0x11), copy: 7, hops: 30, payload: payload() }),
        MessagingMessage::Request(Request {
            track: u64::MAX,
            port: 1_000,
            to: place(0x11),
            copy: 0,
            hops: 30,
            wait: 5_000,
            last: true,
            payload: payload(),
            onion: None,
        }),
        MessagingMessage::Response(Response { track: 8, payload: payload(), onion: None }),
        MessagingMessage::NoResponse(NoResponse { track: 8, reason: 2, onion: None }),
    ]
}

fn subgroup() -> Vec<SubgroupMessage<PeerId>> {
    let subgroup = place(0xaa);
    vec![
        SubgroupMessage::Which(Which { request: 1 }),
        SubgroupMessage::InSubgroup(InSubgroup {
            request: 1,
            subgroup: Some(subgroup),
            leader: Some(contact(1)),
            size: Some(40),
            full: Some(75),
        }),
        SubgroupMessage::Join(JoinSubgroup { statement: resourceful(2) }),
        SubgroupMessage::Elsewhere(Elsewhere { subgroup, join: Some(place(0xbb)), create: Some(place(0xcc)) }),
        SubgroupMessage::Members(members()),
        SubgroupMessage::Change(MemberChange {
            subgroup,
            term: 3,
            version: 4,
            removed: list(vec![blob(&peer(3).to_bytes())]),
            added: list(vec![statement(2, true)]),
            signature: members().signature,
            moved: list(vec![Moved { peer: blob(&peer(2).to_bytes()), place: 1 }]),
        }),
        SubgroupMessage::AskMembers(AskMembers { subgroup }),
        SubgroupMessage::Leave(LeaveSubgroup { subgroup }),
        SubgroupMessage::Suspect(Suspect { subgroup, term: 3 }),
        SubgroupMessage::LeaderHello(LeaderHello { row: row(), answer: true }),
        SubgroupMessage::Compare(members().list_root()),
        SubgroupMessage::TwoLists(TwoLists { first: members().list_root(), second: members().list_root() }),
        SubgroupMessage::Lead(Lead { subgroup, term: 3, leaving: true }),
        SubgroupMessage::MoveTo(MoveTo { subgroup, to: place(0xbb), leader: contact(4) }),
        SubgroupMessage::LeaderNews(row()),
    ]
}

fn path() -> Vec<PathMessage<PeerId>> {
    let sealed = || blob(b"sealed");
    vec![
        PathMessage::Open(Open { id: 77, subgroup: place(0xaa), resume: [6; 16] }),
        PathMessage::Opened(Opened { id: 77 }),
        PathMessage::Up(Up { id: 77, sealed: sealed() }),
        PathMessage::Down(Down { id: 77, sealed: sealed() }),
        PathMessage::Broken(Broken { id: 77, up: true }),
        PathMessage::Expect(Expect { id: 77, ticket: [9; 16] }),
        PathMessage::Expecting(Expecting { ticket: [9; 16] }),
        PathMessage::Bind(Bind { id: 77, ticket: [9; 16], next: contact(4), next_ticket: [10; 16] }),
        PathMessage::Mended(Mended { id: 77 }),
    ]
}

fn directory() -> Vec<DirectoryMessage<PeerId>> {
    let nonce = [3; 16];
    vec![
        DirectoryMessage::Found(Found { nonce, subgroup: place(0xaa), hits: list(vec![hit()]), last: true }),
        DirectoryMessage::ResolveAsk(ResolveAsk { nonce, registration: 5, subgroup: Some(place(0xaa)) }),
        DirectoryMessage::ResolveAnswer(ResolveAnswer {
            nonce,
            next: Some(contact(4)),
            ticket: [10; 16],
            elsewhere: true,
        }),
        DirectoryMessage::TableCopy(TableCopy {
            subgroup: place(0xaa),
            copy: 8,
            sequence: 1,
            rows: list(vec![CopiedRow {
                row: 5,
                last: contact(4),
                id: 77,
                lasts: 1_800,
                sealed: blob(b"what was announced"),
            }]),
            rows_gone: list(vec![5]),
            paths: list(vec![CopiedPath { last: contact(4), id: 77, checks: list(vec![[6; 8]]), resumes: 1 }]),
            paths_gone: list(vec![GonePath { last: contact(5), id: 78 }]),
            whole: true,
        }),
        DirectoryMessage::TableCopied(TableCopied { copy: 8, sequence: 1, missed: true }),
        DirectoryMessage::TableKey(TableKey { subgroup: place(0xaa), key: [11; 32] }),
        DirectoryMessage::AskTableKey(AskTableKey { subgroup: place(0xaa) }),
        DirectoryMessage::Lookup(super::frameless::cast()),
    ]
}

/// Connection identifiers of the paper: a requester's and a content owner's.
const REQUESTER: paper::Connection = [0xc1; 16];
const OWNER: paper::Connection = [0xc2; 16];

pub(crate) fn reference() -> Reference<PeerId> {
    Reference { owner: OWNER, last: contact(4) }
}

pub(crate) fn download() -> Download<PeerId> {
    Download { content: [11; 32], requester: REQUESTER, owner: OWNER, requester_last: contact(5) }
}

pub(crate) fn paper_lookup() -> paper::Lookup {
    paper::Lookup { connection: REQUESTER, ttl: 9, query: blob(b"what is looked for") }
}

fn paper() -> Vec<PaperMessage<PeerId>> {
    let content = || Content { key: [7; 32], expiry_day: 20_900, payload: blob(b"what was published") };
    let request = || DownloadRequest {
        content: [11; 32],
        requester: REQUESTER,
        owner: OWNER,
        owner_last: contact(4),
        requester_last: Some(contact(5)),
    };
    let row = |connection, content| TableRow { connection, last: contact(4), content };
    vec![
        PaperMessage::Publish(Publish { connection: OWNER, ttl: 10, content: content() }),
        PaperMessage::Lookup(paper_lookup()),
        PaperMessage::LookupResponse(LookupResponse {
            requester: REQUESTER,
            content: content(),
            owner: OWNER,
            last: contact(4),
        }),
        PaperMessage::DownloadRequest(DownloadRequest { requester_last: None, ..request() }),
        PaperMessage::RequestCrosses(request()),
        PaperMessage::RequestDown(request()),
        PaperMessage::Ping(paper::Ping { connection: OWNER, answer: true }),
        PaperMessage::Failure(paper::Failure { connection: OWNER, to_leader: true }),
        PaperMessage::TotalPing(TotalPing { connection: OWNER, to_leader: true, answer: true }),
        PaperMessage::PathFailed(PathFailed { connection: OWNER }),
        PaperMessage::Replace(Replace { connection: OWNER, next: true, by: contact(6) }),
        PaperMessage::Table(Table {
            whole: true,
            rows: list(vec![row(OWNER, Some(content())), row(REQUESTER, None)]),
            gone: list(vec![[0xc3; 16]]),
        }),
    ]
}

/// Every kind of frame by name.
pub(crate) fn frames() -> BTreeMap<String, Frame<PeerId>> {
    let hello = Hello { versions: 0b10, features: 0, incarnation: 0x0102_0304_0506_0708, max_frame: 163_840 };
    let mut frames = vec![Frame::Hello(hello)];
    frames.extend([false, true].map(|answer| Frame::Link(LinkMessage { nonce: 42, answer })));
    frames.extend(ring().into_iter().map(Frame::Ring));
    frames.extend(messaging().into_iter().map(Frame::Messaging));
    frames.extend(subgroup().into_iter().map(Frame::Subgroup));
    frames.extend(path().into_iter().map(Frame::Path));
    frames.extend(directory().into_iter().map(Frame::Directory));
    frames.extend(paper().into_iter().map(Frame::Paper));
    frames.into_iter().map(|frame| (name(&frame), frame)).collect()
}

/// The name of a kind of frame. A kind that is added does not compile until it is named here, and fails the test until it
/// has a sample above.
fn name(frame: &Frame<PeerId>) -> String {
    let which = match frame {
        Frame::Hello(_) => return frame.kind().to_owned(),
        Frame::Link(LinkMessage { answer: false, .. }) => "probe",
        Frame::Link(LinkMessage { answer: true, .. }) => "answer",
        Frame::Ring(message) => match message {
            RingMessage::Join(_) => "join",
            RingMessage::Joined(_) => "joined",
            RingMessage::NotJoined(_) => "not-joined",
            RingMessage::Roster(_) => "roster",
            RingMessage::Ask(_) => "ask",
            RingMessage::Neighbours(_) => "neighbours",
            RingMessage::Notify(_) => "notify",
            RingMessage::Nudge(_) => "nudge",
            RingMessage::Give(_) => "give",
            RingMessage::Accepted(_) => "accepted",
            RingMessage::Refused(_) => "refused",
            RingMessage::Migrated(_) => "migrated",
            RingMessage::Settled(_) => "settled",
            RingMessage::Hear(_) => "hear",
            RingMessage::Heard(_) => "heard",
        },
        Frame::Messaging(message) => match message {
            MessagingMessage::Message(_) => "message",
            MessagingMessage::Request(_) => "request",
            MessagingMessage::Response(_) => "response",
            MessagingMessage::NoResponse(_) => "no-response",
        },
        Frame::Subgroup(message) => match message {
            SubgroupMessage::Which(_) => "which",
            SubgroupMessage::InSubgroup(_) => "in-subgroup",
            SubgroupMessage::Join(_) => "join",
            SubgroupMessage::Elsewhere(_) => "elsewhere",
            SubgroupMessage::Members(_) => "members",
            SubgroupMessage::Change(_) => "change",
            SubgroupMessage::AskMembers(_) => "ask-members",
            SubgroupMessage::Leave(_) => "leave",
            SubgroupMessage::Suspect(_) => "suspect",
            SubgroupMessage::LeaderHello(_) => "leader-hello",
            SubgroupMessage::Compare(_) => "compare",
            SubgroupMessage::TwoLists(_) => "two-lists",
            SubgroupMessage::Lead(_) => "lead",
            SubgroupMessage::MoveTo(_) => "move-to",
            SubgroupMessage::LeaderNews(_) => "leader-news",
        },
        Frame::Path(message) => match message {
            PathMessage::Open(_) => "open",
            PathMessage::Opened(_) => "opened",
            PathMessage::Up(_) => "up",
            PathMessage::Down(_) => "down",
            PathMessage::Broken(_) => "broken",
            PathMessage::Expect(_) => "expect",
            PathMessage::Expecting(_) => "expecting",
            PathMessage::Bind(_) => "bind",
            PathMessage::Mended(_) => "mended",
        },
        Frame::Directory(message) => match message {
            DirectoryMessage::Found(_) => "found",
            DirectoryMessage::ResolveAsk(_) => "resolve-ask",
            DirectoryMessage::ResolveAnswer(_) => "resolve-answer",
            DirectoryMessage::TableCopy(_) => "table-copy",
            DirectoryMessage::TableCopied(_) => "table-copied",
            DirectoryMessage::TableKey(_) => "table-key",
            DirectoryMessage::AskTableKey(_) => "ask-table-key",
            DirectoryMessage::Lookup(_) => "lookup",
        },
        Frame::Paper(message) => match message {
            PaperMessage::Publish(_) => "publish",
            PaperMessage::Lookup(_) => "lookup",
            PaperMessage::LookupResponse(_) => "lookup-response",
            PaperMessage::DownloadRequest(_) => "download-request",
            PaperMessage::Ping(_) => "ping",
            PaperMessage::Failure(_) => "failure",
            PaperMessage::TotalPing(_) => "total-ping",
            PaperMessage::PathFailed(_) => "path-failed",
            PaperMessage::Replace(_) => "replace",
            PaperMessage::Table(_) => "table",
            PaperMessage::RequestCrosses(_) => "request-crosses",
            PaperMessage::RequestDown(_) => "request-down",
        },
    };
    format!("{}-{which}", frame.kind())
}
