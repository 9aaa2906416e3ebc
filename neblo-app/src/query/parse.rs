//! From what a user types to a query.
//!
//! ```text
//! query  = and { "OR" and }
//! and    = not { [ "AND" ] not }
//! not    = [ "NOT" | "-" ] atom
//! atom   = "(" query ")" | "phrase" | word | prefix* | size:>1MB | type:pdf | tag:k=v | root:<64 hex>
//! ```

use std::iter::Peekable;

use super::{Comparison, MAX_TEXT, Query, QueryError};
use crate::link::parse_root;

/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 16;

/// Why text is not a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nothing was typed.
    #[error("the query is empty; give at least one word, such as `neblo search holiday`")]
    Empty,
    /// Something unexpected at a place.
    #[error("at character {at} of the query: {what}")]
    At {
        /// Character, counted from 1.
        at: usize,
        /// What is there and what was expected.
        what: String,
    },
    /// The query as a whole is outside the bounds.
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// Reads the user's syntax.
pub fn parse(text: &str) -> Result<Query, ParseError> {
    if text.trim().is_empty() {
        return Err(ParseError::Empty);
    }
    if text.len() > MAX_TEXT {
        return Err(QueryError::TooLong.into());
    }
    let tokens = tokens(text)?;
    let end = text.chars().count().saturating_add(1);
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), end };
    let query = parser.or(0)?;
    if let Some(token) = parser.tokens.next() {
        return Err(at(token.at, "`)` without its `(`"));
    }
    query.check()?;
    Ok(query)
}

fn at(at: usize, what: impl Into<String>) -> ParseError {
    ParseError::At { at, what: what.into() }
}

struct Token {
    /// Character where it starts, from 1.
    at: usize,
    kind: TokenKind,
}

enum TokenKind {
    Open,
    Close,
    And,
    Or,
    Not,
    Leaf(Query),
}

struct Parser {
    tokens: Peekable<std::vec::IntoIter<Token>>,
    end: usize,
}

impl Parser {
    fn or(&mut self, depth: usize) -> Result<Query, ParseError> {
        let mut parts = vec![self.and(depth)?];
        while self.tokens.next_if(|t| matches!(t.kind, TokenKind::Or)).is_some() {
            parts.push(self.and(depth)?);
        }
        Ok(one_or(parts, Query::Or))
    }

    fn and(&mut self, depth: usize) -> Result<Query, ParseError> {
        let mut parts = vec![self.not(depth)?];
        while let Some(token) = self.tokens.peek() {
            match token.kind {
                TokenKind::Or | TokenKind::Close => break,
                TokenKind::And => {
                    self.tokens.next();
                }
                _ => {}
            }
            parts.push(self.not(depth)?);
        }
        Ok(one_or(parts, Query::And))
    }

    fn not(&mut self, depth: usize) -> Result<Query, ParseError> {
        let Some(token) = self.tokens.next() else {
            return Err(at(self.end, "the query ends here, but a word or condition was expected"));
        };
        match token.kind {
            TokenKind::Leaf(query) => Ok(query),
            TokenKind::Not => {
                let part = self.not(depth)?;
                if matches!(part, Query::Not(_)) {
                    return Err(at(token.at, "NOT of NOT; leave both out"));
                }
                Ok(Query::Not(Box::new(part)))
            }
            TokenKind::Open => self.group(token.at, depth),
            TokenKind::Close => Err(at(token.at, "`)`, but a word or condition was expected before it")),
            TokenKind::And | TokenKind::Or => Err(at(
                token.at,
                "AND and OR stand between two conditions; to search for the word itself write \"and\" or \"or\" in quotes",
            )),
        }
    }

    fn group(&mut self, start: usize, depth: usize) -> Result<Query, ParseError> {
        let depth = depth.saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(at(start, format!("more than {MAX_DEPTH} parentheses inside one another")));
        }
        let query = self.or(depth)?;
        match self.tokens.next() {
            Some(Token { kind: TokenKind::Close, .. }) => Ok(query),
            _ => Err(at(start, "this `(` has no `)`")),
        }
    }
}

/// One part is itself; parts of the same kind are merged, so that equal queries are equal trees.
fn one_or(mut parts: Vec<Query>, many: fn(Vec<Query>) -> Query) -> Query {
    match parts.len() {
        1 => parts.remove(0),
        _ => many(parts),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().zip(1usize..).peekable();
    while let Some(&(c, start)) = chars.peek() {
        let kind = match c {
            c if c.is_whitespace() => {
                chars.next();
                continue;
            }
            '(' => {
                chars.next();
                TokenKind::Open
            }
            ')' => {
                chars.next();
                TokenKind::Close
            }
            '"' => {
                chars.next();
                let phrase = quoted(&mut chars, start)?;
                TokenKind::Leaf(phrase_or_term(phrase, start)?)
            }
            '-' => {
                chars.next();
                match chars.peek() {
                    Some((c, _)) if !c.is_whitespace() && *c != ')' => TokenKind::Not,
                    // A dash between spaces, as file names have, means nothing.
                    _ => continue,
                }
            }
            _ => word(&mut chars, start)?,
        };
        tokens.push(Token { at: start, kind });
    }
    Ok(tokens)
}

type Chars<'a> = Peekable<std::iter::Zip<std::str::Chars<'a>, std::ops::RangeFrom<usize>>>;

/// The text up to the closing quote.
fn quoted(chars: &mut Chars<'_>, start: usize) -> Result<String, ParseError> {
    let mut text = String::new();
    for (c, _) in chars.by_ref() {
        if c == '"' {
            return Ok(text);
        }
        text.push(c);
    }
    Err(at(start, "this `\"` has no closing `\"`"))
}

/// A word, keyword or condition; a condition's value may be quoted.
fn word(chars: &mut Chars<'_>, start: usize) -> Result<TokenKind, ParseError> {
    let mut text = String::new();
    while let Some(&(c, here)) = chars.peek() {
        if c.is_whitespace() || c == '(' || c == ')' {
            break;
        }
        chars.next();
        if c == '"' {
            if !text.ends_with([':', '=']) {
                return Err(at(here, "a `\"` inside a word; put a space before it"));
            }
            text.push_str(&quoted(chars, here)?);
            break;
        }
        text.push(c);
    }
    Ok(match text.as_str() {
        "AND" => TokenKind::And,
        "OR" => TokenKind::Or,
        "NOT" => TokenKind::Not,
        _ => TokenKind::Leaf(leaf(&text, start)?),
    })
}

fn leaf(text: &str, start: usize) -> Result<Query, ParseError> {
    if let Some((field, value)) = text.split_once(':')
        && !field.is_empty()
        && field.chars().all(char::is_alphabetic)
    {
        let value_at = start.saturating_add(field.chars().count()).saturating_add(1);
        return condition(field, value, start, value_at);
    }
    if let Some(stem) = text.strip_suffix('*') {
        let query = Query::Prefix(stem.to_owned());
        return checked(query, start);
    }
    if let Some(position) = text.chars().position(|c| c == '*') {
        return Err(at(start.saturating_add(position), "`*` may only end a word"));
    }
    phrase_or_term(text.to_owned(), start)
}

fn phrase_or_term(text: String, start: usize) -> Result<Query, ParseError> {
    let query = match text.split_whitespace().nth(1) {
        Some(_) => Query::Phrase(text.split_whitespace().collect::<Vec<_>>().join(" ")),
        None => Query::Term(text.trim().to_owned()),
    };
    checked(query, start)
}

fn checked(query: Query, start: usize) -> Result<Query, ParseError> {
    query.check().map_err(|e| at(start, e.to_string()))?;
    Ok(query)
}

fn condition(field: &str, value: &str, start: usize, value_at: usize) -> Result<Query, ParseError> {
    let query = match field.to_ascii_lowercase().as_str() {
        "size" => size(value, value_at)?,
        "type" => Query::Type(value.trim_start_matches('.').to_lowercase()),
        "tag" => match value.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                Query::Tag { key: key.to_lowercase(), value: value.to_lowercase() }
            }
            _ => return Err(at(value_at, "expected key=value, such as tag:author=Chaum")),
        },
        "root" => Query::Root(parse_root(value).map_err(|_| at(value_at, "expected the 64 hex digits of a root"))?),
        _ => {
            return Err(at(
                start,
                format!(
                    "unknown condition `{field}:`; known are size:, type:, tag: and root:, and to search for the text itself put it in quotes"
                ),
            ));
        }
    };
    checked(query, value_at)
}

fn size(text: &str, start: usize) -> Result<Query, ParseError> {
    let expected = || at(start, "expected a comparison and a size, such as size:>1MB");
    let operators = [
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
        ("=", Comparison::Equal),
    ];
    let (op, rest) =
        operators.iter().find_map(|(sign, op)| text.strip_prefix(sign).map(|rest| (*op, rest))).ok_or_else(expected)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, unit) = rest.split_at_checked(digits).ok_or_else(expected)?;
    let unit_bytes = unit_bytes(unit).ok_or_else(|| {
        at(start, format!("unknown unit {unit:?}; known are B, KB, MB, GB, TB, KiB, MiB, GiB and TiB"))
    })?;
    let bytes = scaled(number, unit_bytes).ok_or_else(expected)?;
    Ok(Query::Size { op, bytes })
}

fn unit_bytes(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    })
}

/// `number`, which may have a decimal point, times `unit`; whole bytes.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.is_empty() || number == "." || fraction.len() > 9 {
        return None;
    }
    let parse = |digits: &str| match digits {
        "" => Some(0),
        _ if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<u64>().ok(),
        _ => None,
    };
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = u128::from(parse(fraction)?).checked_mul(u128::from(unit))?.checked_div(scale)?;
    let bytes = u128::from(parse(whole)?).checked_mul(u128::from(unit))?.checked_add(part)?;
    u64::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn term(text: &str) -> Query {
        Query::Term(text.into())
    }

    fn not(query: Query) -> Query {
        Query::Not(Box::new(query))
    }

    #[test]
    fn words_phrases_prefixes_and_their_combination() {
        let is = |text: &str, query: Query| assert_eq!(parse(text).unwrap(), query, "{text}");
        is("holiday", term("holiday"));
        is("a b", Query::And(vec![term("a"), term("b")]));
        is("a AND b", Query::And(vec![term("a"), term("b")]));
        is("\"a  b\"", Query::Phrase("a b".into()));
        is("\"OR\"", term("OR"));
        is("hol*", Query::Prefix("hol".into()));
        is("a b OR c", Query::Or(vec![Query::And(vec![term("a"), term("b")]), term("c")]));
        is("a (b OR c) NOT d", Query::And(vec![term("a"), Query::Or(vec![term("b"), term("c")]), not(term("d"))]));
        is("a -b", Query::And(vec![term("a"), not(term("b"))]));
        is("a - b", Query::And(vec![term("a"), term("b")]));
        is("a-b.jpg", term("a-b.jpg"));
        is("12:30", term("12:30"));
    }

    #[test]
    fn conditions() {
        let is = |text: &str, query: Query| assert_eq!(parse(text).unwrap(), query, "{text}");
        let size = |op, bytes| Query::Size { op, bytes };
        is("size:>1MB", size(Comparison::Greater, 1_000_000));
        is("size:<=1.5GiB", size(Comparison::LessOrEqual, 3 << 29));
        is("size:=7", size(Comparison::Equal, 7));
        is("size:>=2kb", size(Comparison::GreaterOrEqual, 2000));
        is("type:.PDF", Query::Type("pdf".into()));
        is("tag:Author=\"David Chaum\"", Query::Tag { key: "author".into(), value: "david chaum".into() });
        is(&format!("root:{}", "0f".repeat(32)), Query::Root([0x0f; 32]));
    }

    #[test]
    fn errors_say_where_and_what_was_expected() {
        let says = |text: &str, part: &str| {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        };
        says("  ", "empty");
        says("a OR", "character 5");
        says("OR a", "character 1");
        says("(a b", "character 1 of the query: this `(` has no `)`");
        says("a ) b", "character 3");
        says("é (", "ends here");
        says("\"abc", "no closing");
        says("a size:1MB", "character 8 of the query: expected a comparison");
        says("size:>1XB", "unknown unit \"XB\"");
        says("size:>1.2.3MB", "expected a comparison");
        says("size:>99999999999GB", "expected a comparison");
        says("tag:author", "key=value");
        says("root:12", "64 hex digits");
        says("tpye:pdf", "unknown condition `tpye:`");
        says("ab*", "at least 3");
        says("a*c", "`*` may only end");
        says("x !!", "character 3");
        says("NOT a", "only says what is not wanted");
        says("NOT NOT a", "NOT of NOT");
        says("a b c d e f g h i", "more than 8 words");
        says(&"(".repeat(500), "parentheses");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_passes_can_be_sent(text in "[\\PC]{0,80}") {
            if let Ok(query) = parse(&text) {
                query.encode().unwrap();
            }
        }

        #[test]
        fn pieces_of_syntax_never_panic(parts in prop::collection::vec(
            prop::sample::select(vec!["a", "OR", "AND", "NOT", "(", ")", "\"", "-", "*", "size:", ">1", "MB", ":", "=", "tag:k=", "é*"]), 0..20,
        )) {
            if let Ok(query) = parse(&parts.join(" ")) {
                query.encode().unwrap();
            }
            let _ = parse(&parts.concat());
        }
    }
}
