//! A query as bytes: its nodes in prefix order, each with the number of its children, so that nothing nests.

use serde::{Deserialize, Serialize};

use super::{Comparison, MAX_NODES, Query, QueryError};
use crate::cbor::{self, CborError};

/// Longest encoding of a query that passes its checks.
pub const MAX_ENCODED: usize = 1536;

/// Why bytes are not a query.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not the encoding of a list of nodes.
    #[error("bad query: {0}")]
    Cbor(#[from] CborError),
    /// The nodes do not make one tree.
    #[error("bad query: its nodes do not make one tree")]
    Shape,
    /// The tree is outside the bounds.
    #[error("bad query: {0}")]
    Bounds(#[from] QueryError),
}

#[derive(Serialize, Deserialize)]
enum Node {
    #[serde(rename = "w")]
    Term(String),
    #[serde(rename = "p")]
    Phrase(String),
    #[serde(rename = "x")]
    Prefix(String),
    #[serde(rename = "a")]
    And(u8),
    #[serde(rename = "o")]
    Or(u8),
    #[serde(rename = "n")]
    Not,
    #[serde(rename = "s")]
    Size(Op, u64),
    #[serde(rename = "t")]
    Type(String),
    #[serde(rename = "g")]
    Tag(String, String),
    #[serde(rename = "r")]
    Root(#[serde(with = "crate::cbor::bytes32")] [u8; 32]),
}

#[derive(Serialize, Deserialize)]
enum Op {
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    LessOrEqual,
    #[serde(rename = ">")]
    Greater,
    #[serde(rename = ">=")]
    GreaterOrEqual,
    #[serde(rename = "=")]
    Equal,
}

impl From<Comparison> for Op {
    fn from(op: Comparison) -> Self {
        match op {
            Comparison::Less => Op::Less,
            Comparison::LessOrEqual => Op::LessOrEqual,
            Comparison::Greater => Op::Greater,
            Comparison::GreaterOrEqual => Op::GreaterOrEqual,
            Comparison::Equal => Op::Equal,
        }
    }
}

impl From<Op> for Comparison {
    fn from(op: Op) -> Self {
        match op {
            Op::Less => Comparison::Less,
            Op::LessOrEqual => Comparison::LessOrEqual,
            Op::Greater => Comparison::Greater,
            Op::GreaterOrEqual => Comparison::GreaterOrEqual,
            Op::Equal => Comparison::Equal,
        }
    }
}

pub(super) fn encode(query: &Query) -> Result<Vec<u8>, WireError> {
    query.check()?;
    let mut nodes = Vec::with_capacity(MAX_NODES);
    let mut open = vec![query];
    while let Some(query) = open.pop() {
        nodes.push(match query {
            Query::Term(text) => Node::Term(text.clone()),
            Query::Phrase(text) => Node::Phrase(text.clone()),
            Query::Prefix(text) => Node::Prefix(text.clone()),
            Query::And(parts) => Node::And(count(parts, &mut open)?),
            Query::Or(parts) => Node::Or(count(parts, &mut open)?),
            Query::Not(part) => {
                open.push(part);
                Node::Not
            }
            Query::Size { op, bytes } => Node::Size((*op).into(), *bytes),
            Query::Type(text) => Node::Type(text.clone()),
            Query::Tag { key, value } => Node::Tag(key.clone(), value.clone()),
            Query::Root(root) => Node::Root(*root),
        });
    }
    Ok(cbor::encode(&nodes, MAX_ENCODED)?)
}

/// Puts the parts on the list so that the first is taken next.
fn count<'a>(parts: &'a [Query], open: &mut Vec<&'a Query>) -> Result<u8, WireError> {
    open.extend(parts.iter().rev());
    u8::try_from(parts.len()).map_err(|_| WireError::Shape)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Query, WireError> {
    let nodes: Vec<Node> = cbor::decode(bytes, MAX_ENCODED)?;
    if nodes.len() > MAX_NODES {
        return Err(QueryError::TooManyNodes.into());
    }
    // From the last node to the first, children are complete before their parent.
    let mut done: Vec<Query> = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        let query = match node {
            Node::Term(text) => Query::Term(text),
            Node::Phrase(text) => Query::Phrase(text),
            Node::Prefix(text) => Query::Prefix(text),
            Node::And(n) => Query::And(take(&mut done, n)?),
            Node::Or(n) => Query::Or(take(&mut done, n)?),
            Node::Not => Query::Not(Box::new(done.pop().ok_or(WireError::Shape)?)),
            Node::Size(op, bytes) => Query::Size { op: op.into(), bytes },
            Node::Type(text) => Query::Type(text),
            Node::Tag(key, value) => Query::Tag { key, value },
            Node::Root(root) => Query::Root(root),
        };
        done.push(query);
    }
    let query = done.pop().ok_or(WireError::Shape)?;
    if !done.is_empty() {
        return Err(WireError::Shape);
    }
    query.check()?;
    Ok(query)
}

/// The last `n` complete trees, the first of them being the last that was completed.
fn take(done: &mut Vec<Query>, n: u8) -> Result<Vec<Query>, WireError> {
    let from = done.len().checked_sub(usize::from(n)).ok_or(WireError::Shape)?;
    Ok(done.drain(from..).rev().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::tests::any_query;
    use proptest::prelude::*;

    #[test]
    fn nodes_that_are_no_tree_are_refused() {
        let bytes = |nodes: &[Node]| cbor::encode(&nodes, MAX_ENCODED).unwrap();
        let term = || Node::Term("a".into());
        assert!(matches!(decode(&bytes(&[])), Err(WireError::Shape)));
        assert!(matches!(decode(&bytes(&[term(), term()])), Err(WireError::Shape)));
        assert!(matches!(decode(&bytes(&[Node::And(3), term(), term()])), Err(WireError::Shape)));
        assert!(matches!(decode(&bytes(&[Node::Not])), Err(WireError::Shape)));
        assert!(matches!(decode(&bytes(&[Node::And(0)])), Err(WireError::Bounds(QueryError::OneSided))));
    }

    #[test]
    fn the_longest_query_fits() {
        let root = || Query::Root([0xff; 32]);
        let mut parts: Vec<Query> = (0..14).map(|_| root()).collect();
        parts.push(Query::Term("x".repeat(512)));
        encode(&Query::Or(parts)).unwrap();
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(query in any_query()) {
            match query.check() {
                Ok(()) => {
                    let bytes = encode(&query).unwrap();
                    prop_assert_eq!(decode(&bytes).unwrap(), query);
                }
                Err(_) => prop_assert!(encode(&query).is_err()),
            }
        }

        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn decoding_damaged_bytes_never_panics(
            query in any_query(), at: prop::sample::Index, byte: u8,
        ) {
            if let Ok(mut bytes) = encode(&query) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if let Ok(query) = decode(&bytes) {
                    query.check().unwrap();
                }
            }
        }
    }
}
