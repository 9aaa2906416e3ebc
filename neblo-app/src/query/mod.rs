//! Searches: what a user writes, as a small typed tree that may travel to leaders.
//!
//! A leader never sees text that it hands to its database: it gets this tree, checked against the same bounds as here.

mod parse;
mod wire;

use std::fmt;

use crate::{content::Root, names::is_deceptive};

pub use parse::{ParseError, parse};
pub use wire::{MAX_ENCODED, WireError};

/// Most nodes of a query's tree.
pub const MAX_NODES: usize = 16;
/// Most words, phrases and prefixes together.
pub const MAX_TERMS: usize = 8;
/// Most bytes of text, as typed and in the tree.
pub const MAX_TEXT: usize = 512;
/// Fewest characters before the `*`.
pub const MIN_PREFIX: usize = 3;

/// A condition on what is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// A word in name or tags.
    Term(String),
    /// Words in this order, one after the other.
    Phrase(String),
    /// A word that begins so.
    Prefix(String),
    /// All of these; two or more.
    And(Vec<Query>),
    /// Any of these; two or more.
    Or(Vec<Query>),
    /// None of this.
    Not(Box<Query>),
    /// Size in bytes.
    Size {
        /// Comparison.
        op: Comparison,
        /// With how many bytes.
        bytes: u64,
    },
    /// Extension, media type, or either half of it: `pdf`, `application/pdf`, `video`.
    Type(String),
    /// A tag with exactly this value, but for case.
    Tag {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Content with this root.
    Root(Root),
}

/// How a size is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `=`
    Equal,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
            Comparison::Equal => "=",
        })
    }
}

/// Why a tree is not a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Too many conditions.
    #[error("the query has more than {MAX_NODES} conditions; make it shorter")]
    TooManyNodes,
    /// Too many words.
    #[error("the query has more than {MAX_TERMS} words or phrases; leave some out")]
    TooManyTerms,
    /// Too much text.
    #[error("the query has more than {MAX_TEXT} bytes; make it shorter")]
    TooLong,
    /// No letter or digit to look for.
    #[error("{0:?} holds no letter or digit to look for")]
    NoWord(String),
    /// A prefix that is too short.
    #[error("{0:?} is too short: at least {MIN_PREFIX} letters or digits come before the `*`")]
    ShortPrefix(String),
    /// Nothing says what is looked for.
    #[error("the query only says what is not wanted; add a word or condition that is")]
    OnlyNegations,
    /// `NOT NOT`.
    #[error("NOT of NOT; leave both out")]
    DoubleNegation,
    /// AND or OR with one side.
    #[error("AND and OR need two sides")]
    OneSided,
    /// A control character in the text.
    #[error("the query holds the control character {0:?}")]
    Character(char),
}

impl Query {
    /// Checks every bound; a tree that passes can be encoded and searched.
    pub fn check(&self) -> Result<(), QueryError> {
        let mut tally = Tally::default();
        // A list in place of recursion: a tree can be built deeper than the stack.
        let mut open = vec![self];
        while let Some(query) = open.pop() {
            tally.add(query)?;
            match query {
                Query::And(parts) | Query::Or(parts) => open.extend(parts),
                Query::Not(part) => open.push(part),
                _ => {}
            }
        }
        if !self.is_positive() {
            return Err(QueryError::OnlyNegations);
        }
        Ok(())
    }

    /// Whether it says what is wanted, so that not everything else matches.
    fn is_positive(&self) -> bool {
        match self {
            Query::Not(_) => false,
            Query::And(parts) => parts.iter().any(Query::is_positive),
            Query::Or(parts) => parts.iter().all(Query::is_positive),
            _ => true,
        }
    }

    /// Encodes for a leader.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        wire::encode(self)
    }

    /// Reads what anyone may have sent.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode(bytes)
    }
}

impl std::str::FromStr for Query {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse(text)
    }
}

/// Counts what [`Query::check`] bounds.
#[derive(Default)]
struct Tally {
    nodes: usize,
    terms: usize,
    text: usize,
}

impl Tally {
    fn add(&mut self, query: &Query) -> Result<(), QueryError> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MAX_NODES {
            return Err(QueryError::TooManyNodes);
        }
        match query {
            Query::Term(text) | Query::Phrase(text) => self.term(text)?,
            Query::Prefix(text) => {
                self.term(text)?;
                if prefix_len(text) < MIN_PREFIX {
                    return Err(QueryError::ShortPrefix(text.clone()));
                }
            }
            Query::And(parts) | Query::Or(parts) if parts.len() < 2 => {
                return Err(QueryError::OneSided);
            }
            Query::Not(part) if matches!(**part, Query::Not(_)) => {
                return Err(QueryError::DoubleNegation);
            }
            Query::Type(text) => self.text(text)?,
            Query::Tag { key, value } => {
                self.text(key)?;
                self.text(value)?;
            }
            Query::And(_) | Query::Or(_) | Query::Not(_) | Query::Size { .. } | Query::Root(_) => {}
        }
        Ok(())
    }

    fn term(&mut self, text: &str) -> Result<(), QueryError> {
        self.terms = self.terms.saturating_add(1);
        if self.terms > MAX_TERMS {
            return Err(QueryError::TooManyTerms);
        }
        self.text(text)
    }

    fn text(&mut self, text: &str) -> Result<(), QueryError> {
        self.text = self.text.saturating_add(text.len());
        if self.text > MAX_TEXT {
            return Err(QueryError::TooLong);
        }
        if let Some(c) = text.chars().find(|c| is_deceptive(*c)) {
            return Err(QueryError::Character(c));
        }
        if !text.chars().any(char::is_alphanumeric) {
            return Err(QueryError::NoWord(text.to_owned()));
        }
        Ok(())
    }
}

/// Letters and digits at the end of the text: the word that the `*` belongs to.
fn prefix_len(text: &str) -> usize {
    text.chars().rev().take_while(|c| c.is_alphanumeric()).count()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any tree, within the bounds or not.
    pub(crate) fn any_query() -> impl Strategy<Value = Query> {
        let word = "[a-zé0-9]{1,8}";
        let leaf = prop_oneof![
            word.prop_map(Query::Term),
            "[a-z]{1,5} [a-z]{1,5}".prop_map(Query::Phrase),
            "[a-z]{1,8}".prop_map(Query::Prefix),
            (comparison(), any::<u64>()).prop_map(|(op, bytes)| Query::Size { op, bytes }),
            word.prop_map(Query::Type),
            (word, word).prop_map(|(key, value)| Query::Tag { key, value }),
            any::<[u8; 32]>().prop_map(Query::Root),
        ];
        leaf.prop_recursive(4, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(Query::And),
                prop::collection::vec(inner.clone(), 1..4).prop_map(Query::Or),
                inner.prop_map(|q| Query::Not(Box::new(q))),
            ]
        })
    }

    fn comparison() -> impl Strategy<Value = Comparison> {
        prop::sample::select(vec![
            Comparison::Less,
            Comparison::LessOrEqual,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
            Comparison::Equal,
        ])
    }

    fn term(text: &str) -> Query {
        Query::Term(text.into())
    }

    #[test]
    fn bounds_are_checked() {
        let many = |n| Query::Or((0..n).map(|i| Query::Type(format!("t{i}"))).collect());
        many(MAX_NODES - 1).check().unwrap();
        assert_eq!(many(MAX_NODES).check(), Err(QueryError::TooManyNodes));
        let words = |n| Query::And((0..n).map(|i| term(&format!("w{i}"))).collect());
        words(MAX_TERMS).check().unwrap();
        assert_eq!(words(MAX_TERMS + 1).check(), Err(QueryError::TooManyTerms));
        assert_eq!(term(&"x".repeat(513)).check(), Err(QueryError::TooLong));
        assert!(matches!(term("--").check(), Err(QueryError::NoWord(_))));
        assert!(matches!(Query::Prefix("ab".into()).check(), Err(QueryError::ShortPrefix(_))));
        assert!(matches!(Query::Prefix("long ab".into()).check(), Err(QueryError::ShortPrefix(_))));
        assert_eq!(Query::And(vec![term("a")]).check(), Err(QueryError::OneSided));
        assert_eq!(term("a\0").check(), Err(QueryError::Character('\0')));
    }

    #[test]
    fn a_query_says_what_is_wanted() {
        let not = |q| Query::Not(Box::new(q));
        assert_eq!(not(term("a")).check(), Err(QueryError::OnlyNegations));
        assert_eq!(not(not(term("a"))).check(), Err(QueryError::DoubleNegation));
        assert_eq!(Query::Or(vec![term("a"), not(term("b"))]).check(), Err(QueryError::OnlyNegations));
        Query::And(vec![term("a"), not(term("b"))]).check().unwrap();
    }

    #[test]
    fn a_tree_deeper_than_the_stack_is_refused_without_recursion() {
        let mut query = term("a");
        for _ in 0..100 {
            query = Query::And(vec![query, term("b")]);
        }
        assert!(query.check().is_err());
    }
}
