//! From a query to SQL with bound parameters.

use rusqlite::types::Value;

use crate::query::{Comparison, Query};

/// A statement and its parameters, `?` by `?`.
#[derive(Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) parameters: Vec<Value>,
}

/// The statement that selects the rows of `query`.
///
/// Where words are wanted, the full-text index drives the search and everything else filters what it finds, so that
/// `LIMIT` ends it early.
pub(super) fn translate(query: &Query, limit: usize) -> Statement {
    let mut parameters = Vec::new();
    let parts: Vec<&Query> = match query {
        Query::And(parts) => parts.iter().collect(),
        other => vec![other],
    };
    let (words, conditions): (Vec<&Query>, Vec<&Query>) = parts.into_iter().partition(|part| is_words(strip_not(part)));
    let (words, conditions) = match match_all(&words) {
        Some(words) => (Some(words), conditions),
        // Only unwanted words: they filter what the conditions find.
        None => (None, words.into_iter().chain(conditions).collect()),
    };
    let mut sql = match words {
        Some(words) => {
            parameters.push(Value::Text(words));
            "SELECT d.id FROM words JOIN docs d ON d.id = words.rowid WHERE words MATCH ?".to_owned()
        }
        None => "SELECT d.id FROM docs d WHERE 1".to_owned(),
    };
    for part in conditions {
        sql.push_str(" AND ");
        condition(part, &mut sql, &mut parameters);
    }
    sql.push_str(" LIMIT ?");
    parameters.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    Statement { sql, parameters }
}

fn strip_not(query: &Query) -> &Query {
    match query {
        Query::Not(part) => part,
        other => other,
    }
}

/// Whether the full-text engine alone can tell what matches.
fn is_words(query: &Query) -> bool {
    match query {
        Query::Term(_) | Query::Phrase(_) | Query::Prefix(_) => true,
        Query::Or(parts) => parts.iter().all(is_words),
        Query::And(parts) => {
            parts.iter().all(|part| is_words(strip_not(part)))
                && parts.iter().any(|part| !matches!(part, Query::Not(_)))
        }
        _ => false,
    }
}

/// The expression for all of these; nothing where none is wanted.
fn match_all(parts: &[&Query]) -> Option<String> {
    let wanted: Vec<String> =
        parts.iter().filter(|part| !matches!(part, Query::Not(_))).map(|part| match_one(part)).collect();
    if wanted.is_empty() {
        return None;
    }
    let mut expression = wanted.join(" AND ");
    for part in parts {
        if let Query::Not(part) = part {
            expression = format!("({expression}) NOT {}", match_one(part));
        }
    }
    Some(expression)
}

/// The full-text expression of a query that [`is_words`].
fn match_one(query: &Query) -> String {
    match query {
        Query::Term(text) | Query::Phrase(text) => quoted(text),
        Query::Prefix(text) => format!("{} *", quoted(text)),
        Query::And(parts) => {
            let parts: Vec<&Query> = parts.iter().collect();
            format!("({})", match_all(&parts).unwrap_or_else(|| quoted("")))
        }
        Query::Or(parts) => {
            let parts: Vec<String> = parts.iter().map(match_one).collect();
            format!("({})", parts.join(" OR "))
        }
        // Not reached for a query of words; an empty phrase matches nothing.
        _ => quoted(""),
    }
}

/// A string of the full-text language, in which only the quote itself has a meaning.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Appends one condition on `docs d`. The depth is that of a checked tree, at most 16.
fn condition(query: &Query, sql: &mut String, parameters: &mut Vec<Value>) {
    match query {
        query if is_words(query) => {
            sql.push_str("d.id IN (SELECT rowid FROM words WHERE words MATCH ?)");
            parameters.push(Value::Text(match_one(query)));
        }
        Query::And(parts) => joined(parts, " AND ", sql, parameters),
        Query::Or(parts) => joined(parts, " OR ", sql, parameters),
        Query::Not(part) => {
            sql.push_str("NOT ");
            condition(part, sql, parameters);
        }
        Query::Size { op, bytes } => {
            sql.push_str(match op {
                Comparison::Less => "d.size < ?",
                Comparison::LessOrEqual => "d.size <= ?",
                Comparison::Greater => "d.size > ?",
                Comparison::GreaterOrEqual => "d.size >= ?",
                Comparison::Equal => "d.size = ?",
            });
            parameters.push(Value::Integer(i64::try_from(*bytes).unwrap_or(i64::MAX)));
        }
        Query::Type(text) => {
            let text = text.to_lowercase();
            if text.contains('/') {
                sql.push_str("d.media_type = ?");
                parameters.push(Value::Text(text));
            } else {
                sql.push_str("? IN (d.extension, d.class, d.subtype)");
                parameters.push(Value::Text(match text.as_str() {
                    "dir" | "folder" | "collection" => "directory".to_owned(),
                    _ => text,
                }));
            }
        }
        Query::Tag { key, value } => {
            sql.push_str("d.id IN (SELECT doc FROM tags WHERE key = ? AND value = ?)");
            parameters.push(Value::Text(key.to_lowercase()));
            parameters.push(Value::Text(value.to_lowercase()));
        }
        Query::Root(root) => {
            sql.push_str("d.root = ?");
            parameters.push(Value::Blob(root.to_vec()));
        }
        // Words were handled above.
        Query::Term(_) | Query::Phrase(_) | Query::Prefix(_) => sql.push('0'),
    }
}

fn joined(parts: &[Query], with: &str, sql: &mut String, parameters: &mut Vec<Value>) {
    sql.push('(');
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            sql.push_str(with);
        }
        condition(part, sql, parameters);
    }
    sql.push(')');
}
