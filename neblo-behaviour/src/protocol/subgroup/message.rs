//! What members and leaders of subgroups say to one another.

use crate::address::OverlayAddr;
use crate::protocol::codec::{Blob, List, choice, record, signed, standalone, to_bytes};
use crate::protocol::cost::{JoinCost, STATEMENT_LASTS, week_of};
use crate::protocol::io::{Contact, Peer};
use crate::protocol::seal::Keys;

/// Most members a list can hold: the largest full mark (150) and the most guests (64).
pub const MAX_MEMBERS: usize = 214;
/// Most rows in an answer of the registry. choice
pub const MAX_ROWS: usize = 64;
/// Most transport addresses in a statement, and the longest of them in bytes, so that a full list fits a frame. choice
const STATED_ADDRESSES: (usize, usize) = (4, 64);
/// How much later than that a statement may expire, by a clock that is ahead of ours by so many seconds. choice: a wrong time
/// zone. What lasted for years would make one proof of payment last for years
const AHEAD: u64 = 14 * 3600;

record! {
    /// What a member says of itself, signed by it (design D9).
    pub struct Statement<P> {
        1 => contact: Contact<P>,
        /// Its encoded public key.
        2 => identity: Blob<64>,
        /// The X25519 key to which what only it may read is sealed.
        3 => sealing: [u8; 32],
        4 => subgroup: OverlayAddr,
        /// Seconds since 1970.
        5 => expires: u64,
        /// A leader or member of another subgroup that publishes and asks here (design D12).
        6 => guest: bool,
        7 => signature: Blob<96>,
        /// Processors that it says it has (seed 003 §2: "notifies its resources of bandwidth and CPU").
        8 => cpu: Option<u32>,
        /// Bandwidth that it says it has, in KiB a second.
        9 => bandwidth: Option<u32>,
        /// Proof that its identity has paid for the week in which this expires ([`JoinCost`]).
        10 => paid: u64,
    }
}

/// What a member says of its resources (seed 003 §2). They count for the order of candidates under
/// [`LeaderPolicy::Claimed`](super::LeaderPolicy::Claimed) alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Processors.
    pub cpu: Option<u32>,
    /// KiB a second.
    pub bandwidth: Option<u32>,
}

impl<P: Peer> Statement<P> {
    /// Makes and signs a statement, without a proof of payment.
    pub fn of(
        keys: &dyn Keys<P>,
        me: &Contact<P>,
        sealing: [u8; 32],
        subgroup: OverlayAddr,
        expires: u64,
        guest: bool,
    ) -> Self {
        Self::stated(keys, me, sealing, subgroup, expires, guest, (Resources::default(), 0))
    }

    /// Makes and signs a statement that names resources, and has the proof of what was paid.
    pub fn stated(
        keys: &dyn Keys<P>,
        me: &Contact<P>,
        sealing: [u8; 32],
        subgroup: OverlayAddr,
        expires: u64,
        guest: bool,
        (resources, paid): (Resources, u64),
    ) -> Self {
        let (count, longest) = STATED_ADDRESSES;
        let addresses = me.addresses().filter(|address| address.len() <= longest).take(count);
        let statement = Self {
            contact: Contact::new(me.peer, addresses.map(<[u8]>::to_vec).collect()),
            identity: Blob::new(keys.identity()).unwrap_or_default(),
            sealing,
            subgroup,
            expires,
            guest,
            signature: Blob::default(),
            cpu: resources.cpu,
            bandwidth: resources.bandwidth,
            paid,
        };
        statement.sign(keys)
    }

    /// Whether the member said so itself, paid what the network asks for, and it neither has expired nor lasts longer than a
    /// statement does. The signature comes last: it is what is expensive to check.
    pub fn holds(&self, keys: &dyn Keys<P>, cost: &JoinCost, unix: u64) -> bool {
        let (count, longest) = STATED_ADDRESSES;
        let modest = self.contact.addresses().count() <= count
            && self.contact.addresses().all(|address| address.len() <= longest);
        let lasts = unix < self.expires && self.expires <= unix.saturating_add(STATEMENT_LASTS + AHEAD);
        modest
            && lasts
            && cost.is_paid(&self.identity, week_of(self.expires), self.paid)
            && self.is_signed_by(keys, &self.contact.peer, &self.identity)
    }
}

record! {
    /// "Which subgroup are you in?", to a known peer (seed 003 §2).
    pub struct Which {
        1 => request: u64,
    }
}

record! {
    /// The subgroup of the peer that was asked, if it has one yet.
    pub struct InSubgroup<P> {
        1 => request: u64,
        2 => subgroup: Option<OverlayAddr>,
        3 => leader: Option<Contact<P>>,
        /// Members without guests, and those at which it is full.
        4 => size: Option<u16>,
        5 => full: Option<u16>,
    }
}

record! {
    /// "Let me in", to a leader; also renews a statement.
    pub struct JoinSubgroup<P> {
        1 => statement: Statement<P>,
    }
}

record! {
    /// "Full": join the one that was urged to be created before, or create one (seed 003 §2).
    pub struct Elsewhere {
        1 => subgroup: OverlayAddr,
        2 => join: Option<OverlayAddr>,
        3 => create: Option<OverlayAddr>,
    }
}

record! {
    /// The ordered list of members: the leader first, then the candidates (seed 003 §2).
    pub struct MemberList<P> {
        1 => subgroup: OverlayAddr,
        /// Grows with each change of leader.
        2 => term: u64,
        /// Grows with each change of the list.
        3 => version: u64,
        4 => members: List<Statement<P>, MAX_MEMBERS>,
        /// By the leader, over subgroup, term, version and the members.
        5 => signature: Blob<96>,
    }
}

impl<P: Peer> MemberList<P> {
    /// Signs this version, as its leader.
    pub fn sign(mut self, keys: &dyn Keys<P>) -> Self {
        self.signature = self.list_root().sign(keys).signature;
        self
    }

    /// The root of this version, with the leader's signature.
    pub fn list_root(&self) -> ListRoot {
        let mut hasher = blake3::Hasher::new_derive_key("neblo 1 member list");
        hasher.update(&to_bytes(&self.members));
        ListRoot {
            subgroup: self.subgroup,
            term: self.term,
            version: self.version,
            members: *hasher.finalize().as_bytes(),
            signature: self.signature.clone(),
        }
    }

    /// The leader's statement.
    pub fn leader(&self) -> Option<&Statement<P>> {
        self.members.first()
    }

    /// The statement of a peer.
    pub fn member(&self, peer: P) -> Option<&Statement<P>> {
        self.members.iter().find(|member| member.contact.peer == peer)
    }
}

record! {
    /// One version of a list in short: what its leader signs, and the signature (design D9). Members show it to one another.
    pub struct ListRoot {
        1 => subgroup: OverlayAddr,
        2 => term: u64,
        3 => version: u64,
        /// BLAKE3 over the members.
        4 => members: [u8; 32],
        5 => signature: Blob<96>,
    }
}

impl ListRoot {
    /// Whether this leader signed it.
    pub fn holds<P: Peer>(&self, keys: &dyn Keys<P>, leader: &Statement<P>) -> bool {
        self.is_signed_by(keys, &leader.contact.peer, &leader.identity)
    }

    /// Whether both are of one version and tell of different members.
    pub fn contradicts(&self, other: &Self) -> bool {
        let version = |root: &Self| (root.subgroup, root.term, root.version);
        version(self) == version(other) && self.members != other.members
    }
}

record! {
    /// A leader has signed two lists for one version: who checks both signatures follows it no more (design D9).
    pub struct TwoLists {
        1 => first: ListRoot,
        2 => second: ListRoot,
    }
}

record! {
    /// A member and its new place in the list.
    pub struct Moved {
        1 => peer: Blob<64>,
        2 => place: u16,
    }
}

record! {
    /// The difference from one version of the list to the next.
    pub struct MemberChange<P> {
        1 => subgroup: OverlayAddr,
        2 => term: u64,
        /// The version that it makes of the one before.
        3 => version: u64,
        4 => removed: List<Blob<64>, MAX_MEMBERS>,
        /// Put in place of the same peer's older statement, or at the end.
        5 => added: List<Statement<P>, MAX_MEMBERS>,
        /// By the leader, over the whole new list.
        6 => signature: Blob<96>,
        /// One after another, once the others are gone and in.
        7 => moved: List<Moved, MAX_MEMBERS>,
    }
}

record! {
    /// "Send me the list": a version was missed.
    pub struct AskMembers {
        1 => subgroup: OverlayAddr,
    }
}

record! {
    /// The sender leaves the subgroup.
    pub struct LeaveSubgroup {
        1 => subgroup: OverlayAddr,
    }
}

record! {
    /// "The leader of this term is dead; you are next."
    pub struct Suspect {
        1 => subgroup: OverlayAddr,
        2 => term: u64,
    }
}

record! {
    /// Leader to candidate: "lead from now on"; its table has gone before (seed 003 §4).
    pub struct Lead {
        1 => subgroup: OverlayAddr,
        2 => term: u64,
        /// The old leader does not stay as a member.
        3 => leaving: bool,
    }
}

record! {
    /// Leader to member: join that subgroup, led by this peer; ours is too small (seed 003 §2), or, when it is the same one,
    /// somebody else leads it.
    pub struct MoveTo<P> {
        1 => subgroup: OverlayAddr,
        2 => to: OverlayAddr,
        3 => leader: Contact<P>,
    }
}

record! {
    /// A leader as the registry and other leaders know it.
    pub struct LeaderRow<P> {
        1 => statement: Statement<P>,
        2 => term: u64,
        3 => size: u16,
        /// Members at which it is full.
        4 => full: u16,
        /// By the leader.
        5 => signature: Blob<96>,
    }
}

impl<P: Peer> LeaderRow<P> {
    /// Whether the leader said all of this itself, and the statement in it has not expired.
    pub fn holds(&self, keys: &dyn Keys<P>, cost: &JoinCost, unix: u64) -> bool {
        let leader = &self.statement;
        leader.holds(keys, cost, unix) && self.is_signed_by(keys, &leader.contact.peer, &leader.identity)
    }
}

record! {
    /// One leader to another: "let us be neighbours in the multicast" (design D13).
    pub struct LeaderHello<P> {
        1 => row: LeaderRow<P>,
        2 => answer: bool,
    }
}

choice! {
    /// The messages of subgroups.
    pub enum SubgroupMessage<P> {
        0 => Which(Which),
        1 => InSubgroup(InSubgroup<P>),
        2 => Join(JoinSubgroup<P>),
        3 => Elsewhere(Elsewhere),
        4 => Members(MemberList<P>),
        5 => Change(MemberChange<P>),
        6 => AskMembers(AskMembers),
        7 => Leave(LeaveSubgroup),
        8 => Suspect(Suspect),
        9 => LeaderHello(LeaderHello<P>),
        10 => Compare(ListRoot),
        11 => TwoLists(TwoLists),
        12 => Lead(Lead),
        13 => MoveTo(MoveTo<P>),
        /// One leader to its neighbours in the multicast: this one leads that subgroup now.
        14 => LeaderNews(LeaderRow<P>),
    }
}

choice! {
    /// What is asked of the registry, as payload of a request to an overlay address.
    pub enum RegistryRequest<P> {
        0 => Register(LeaderRow<P>),
        1 => Find(FindRows),
        2 => Unregister(Unregister),
    }
}

record! {
    /// The leader that is registered gives its subgroup up.
    pub struct Unregister {
        1 => subgroup: OverlayAddr,
        2 => term: u64,
        /// By the leader.
        3 => signature: Blob<96>,
    }
}

impl Unregister {
    /// Makes and signs one.
    pub fn of<P: Peer>(keys: &dyn Keys<P>, subgroup: OverlayAddr, term: u64) -> Self {
        Self { subgroup, term, signature: Blob::default() }.sign(keys)
    }

    /// Whether the leader of this row signed it.
    pub fn holds<P: Peer>(&self, keys: &dyn Keys<P>, row: &LeaderRow<P>) -> bool {
        let leader = &row.statement;
        row.term <= self.term && self.is_signed_by(keys, &leader.contact.peer, &leader.identity)
    }
}

record! {
    /// "Who is registered at this address?"
    pub struct FindRows {
        1 => most: u16,
        /// What the asker has: a digest of its rows. It is not told the same again.
        2 => known: Option<u64>,
    }
}

record! {
    /// What is registered at an address.
    pub struct Rows<P> {
        1 => rows: List<LeaderRow<P>, MAX_ROWS>,
        /// There is what the asker knows, and nothing else.
        2 => same: bool,
    }
}

standalone!(RegistryRequest<P>, Rows<P>);

signed!(
    Statement<P>: b"neblo 1 member statement",
    ListRoot: b"neblo 1 member list",
    LeaderRow<P>: b"neblo 1 leader",
    Unregister: b"neblo 1 unregister",
);
