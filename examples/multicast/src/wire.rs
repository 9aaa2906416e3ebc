//! What travels between the nodes of a tree.

use serde::{Deserialize, Serialize};

use neblo_behaviour::OverlayAddr;

/// Joins travel here, towards the group's address.
pub(crate) const JOINS: u16 = 6000;
/// Messages travel here, down the tree.
pub(crate) const DOWN: u16 = 6001;
/// Who publishes asks the root here.
pub(crate) const ROOT: u16 = 6002;

/// Names a message of a group; drawn at random by who publishes it.
pub(crate) type Id = u64;

/// A message of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) id: Id,
    pub(crate) text: String,
}

/// "Send me what comes for the group": renewed again and again, or else forgotten.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Join {
    pub(crate) child: Bytes,
    /// The last messages that the child has; it wants the others that the parent has.
    pub(crate) has: Vec<Id>,
    /// The child wants no more.
    pub(crate) leaves: bool,
}

/// From parent to child, and the answer to `Want` from child to parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Down {
    Item {
        group: Bytes,
        item: Item,
    },
    /// The child has these messages, and the parent, which is new in its place, does not.
    Want {
        group: Bytes,
        parent: Bytes,
        ids: Vec<Id>,
    },
}

/// An overlay address as it travels.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Bytes([u8; 16]);

impl From<OverlayAddr> for Bytes {
    fn from(address: OverlayAddr) -> Self {
        Self(address.to_bytes())
    }
}

impl From<Bytes> for OverlayAddr {
    fn from(bytes: Bytes) -> Self {
        Self::from_bytes(bytes.0)
    }
}

pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    // These types always can be written.
    serde_json::to_vec(value).unwrap_or_default()
}
