//! What handlers are about: the kinds of them, what a forwarder decides, who is told of a range (seed 000 §4.2, §4.3).

use crate::address::AddrRange;
use crate::protocol::messaging::MAX_COPIES;

use super::Failure;

/// Ports below this are NEBLO's own: the application neither sends to them nor has handlers there (design: messaging).
pub const FIRST_USER_PORT: u16 = 1_024;

/// Which owners of an address get a message: the first so many, the primary included, or one alone.
///
/// The copies of an address lie evenly around the ring, wherever its members are: in a ring of few members one of them may
/// own several copies, or all (three copies have one owner for about 1 address in 300 with 8 members, practically never
/// with 64).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recipients {
    /// The primary and so many less one secondary owners, 1..=8 in all (the `copies` of seed 000 §4.1).
    First(u8),
    /// The owner of one copy, 0..=7; copy 0 is the primary.
    Only(u8),
}

impl Recipients {
    /// The numbers of the copies.
    ///
    /// # Errors
    ///
    /// [`Failure::Invalid`] when there are no such copies.
    pub fn copies(self) -> Result<std::ops::Range<u8>, Failure> {
        match self {
            Self::First(count @ 1..=MAX_COPIES) => Ok(0..count),
            Self::First(_) => Err(Failure::Invalid("copies must be 1 to 8")),
            Self::Only(copy) if copy < MAX_COPIES => Ok(copy..copy + 1),
            Self::Only(_) => Err(Failure::Invalid("there are copies 0 to 7")),
        }
    }
}

impl From<u8> for Recipients {
    fn from(copies: u8) -> Self {
        Self::First(copies)
    }
}

/// The handlers that a port may have, each independent of the others (seed 000 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandlerKind {
    /// Gets the messages (UD) that arrive.
    MessageReceiver,
    /// Gets the requests (REQ) that arrive, and answers them.
    RequestReceiver,
    /// Sees the messages (UD) that pass through.
    MessageForwarder,
    /// Sees the requests (REQ) that pass through.
    RequestForwarder,
    /// Sees the responses (RES) that pass through on their way back.
    ResponseForwarder,
}

/// What a forwarder decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Passage {
    /// On it goes, with this payload.
    Forward(Vec<u8>),
    /// It ends here: the asker of a request gets [`Failure::Suppressed`].
    Suppress,
    /// It ends here, and this is the response to a request (in place of the one that passes, for a response). A message (UD)
    /// has none: for it this is the same as `Suppress`.
    Answer(Vec<u8>),
}

/// What kind of message passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Passing {
    /// A message (UD).
    Message,
    /// A request (REQ).
    Request,
    /// A response (RES).
    Response,
}

/// Which copy of the addresses of a range a peer owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The addresses themselves.
    Primary,
    /// Copy 1..=7 of them.
    Secondary(u8),
}

impl Role {
    /// The role of copy 0..=7.
    pub fn of_copy(copy: u8) -> Self {
        if copy == 0 { Self::Primary } else { Self::Secondary(copy) }
    }

    /// The number of the copy.
    pub fn copy(self) -> u8 {
        match self {
            Self::Primary => 0,
            Self::Secondary(copy) => copy,
        }
    }
}

/// A range that moved to another owner in order: what is kept for it is to be sent there (seed 000 §4.3).
///
/// One comes for each copy: `range` is in original addresses, so that what a peer holds as copy `role` of address A is
/// concerned exactly if `range.contains(A)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Migration {
    /// The original addresses.
    pub range: AddrRange,
    /// Epoch of the new owner's range.
    pub epoch: u64,
    /// Which copy of them moved.
    pub role: Role,
}

/// A range that was lost with its owner: copy `lost` of `range` is to be made anew (seed 000 §4.3).
///
/// It comes to the new owner with `role` the same copy as `lost`, and to the owners of the other copies with their own role.
/// `range` is in original addresses, as for [`Migration`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Regeneration {
    /// The original addresses.
    pub range: AddrRange,
    /// Epoch of the new owner's range.
    pub epoch: u64,
    /// Which copy of them this peer owns.
    pub role: Role,
    /// Which copy of them was lost.
    pub lost: u8,
}

/// Work on a range for the application's handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeWork {
    /// For the migration handler, on the old owner.
    Migration(Migration),
    /// For the regeneration handler, on the new owner and on every secondary owner.
    Regeneration(Regeneration),
}

/// Whether this peer owns an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ownership {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It is changing: the address is being handed over, what belongs to it is still on its way here, or those who would
    /// inherit it have not heard of its new epoch yet.
    Changing,
}
