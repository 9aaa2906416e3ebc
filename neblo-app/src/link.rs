//! `neblo:` links: they name content, and no peer, so they outlive every republishing.
//!
//! ```text
//! neblo:<64 hex digits>?net=<network>&len=<bytes>&name=<percent-encoded>[&dir=1]
//! ```

use std::{fmt, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{
    content::{MAX_CONTENT_LEN, Root},
    names::{NameError, check_name},
};

/// Longest text that is looked at as a link.
pub const MAX_LINK: usize = 2048;
/// Longest network name in a link.
pub const MAX_NETWORK: usize = 64;

const SCHEME: &str = "neblo:";
/// Everything but what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One file.
    File,
    /// A folder: the content is a manifest of files.
    Collection,
}

/// A `neblo:` link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Short name of the network that the content was published in.
    pub network: String,
    /// Root of the content's BLAKE3 tree.
    pub root: Root,
    /// Length of the content in bytes; of the manifest for a collection.
    pub len: u64,
    /// Suggested file or folder name.
    pub name: String,
    /// File or collection.
    pub kind: Kind,
}

/// Why a link cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It does not start with `neblo:`.
    #[error("a link starts with `neblo:`, this starts with {0:?}; copy the whole link")]
    Scheme(String),
    /// It is longer than any real link.
    #[error("the link has {0} characters, a real one has at most {MAX_LINK}")]
    TooLong(usize),
    /// The root is not 64 hex digits.
    #[error("after `neblo:` come 64 hex digits, here are {found:?}; {why}")]
    Root {
        /// What stands there.
        found: String,
        /// What is wrong with it.
        why: String,
    },
    /// A needed parameter is absent.
    #[error("the link lacks `{0}=`; copy the whole link, in quotes if you are in a shell")]
    Missing(&'static str),
    /// A parameter is there twice.
    #[error("the link has `{0}=` twice; copy the link again")]
    Twice(&'static str),
    /// A parameter's value makes no sense.
    #[error("`{key}={value}` in the link is malformed: {why}; copy the link again")]
    Value {
        /// Parameter.
        key: &'static str,
        /// Its text in the link.
        value: String,
        /// What was expected.
        why: String,
    },
    /// The link belongs to another network.
    #[error(
        "the link belongs to network {link:?}, this node is in {here:?}; use a node started with `--network {link}`"
    )]
    ForeignNetwork {
        /// Network of the link.
        link: String,
        /// Network of this node.
        here: String,
    },
    /// A command-line argument that is neither a link nor a root.
    #[error("{0:?} is neither a `neblo:` link nor a root of 64 hex digits; find one with `neblo search`")]
    NotATarget(String),
}

impl Link {
    /// Checks that every part can be written as a link that reads back the same.
    pub fn check(&self) -> Result<(), LinkError> {
        check_network_name(&self.network).map_err(|why| value("net", &self.network, why))?;
        check_name(&self.name).map_err(|e| name_value(&self.name, &e))?;
        if self.len > MAX_CONTENT_LEN {
            return Err(too_large(&self.len.to_string()));
        }
        Ok(())
    }

    /// Refuses a link of another network than `here`.
    pub fn check_network(&self, here: &str) -> Result<(), LinkError> {
        if self.network == here {
            return Ok(());
        }
        Err(LinkError::ForeignNetwork { link: self.network.clone(), here: here.to_owned() })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{SCHEME}{}?net={}&len={}&name={}",
            hex::encode(self.root),
            utf8_percent_encode(&self.network, ENCODED),
            self.len,
            utf8_percent_encode(&self.name, ENCODED)
        )?;
        if self.kind == Kind::Collection {
            f.write_str("&dir=1")?;
        }
        Ok(())
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        if text.len() > MAX_LINK {
            return Err(LinkError::TooLong(text.len()));
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| LinkError::Scheme(text.chars().take(12).collect()))?;
        let (root, query) = rest.split_once('?').unwrap_or((rest, ""));
        let root = parse_root(root)?;
        let (mut network, mut len, mut name, mut dir) = (None, None, None, None);
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, text) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "net" => set(&mut network, "net", parse_network(text)?)?,
                "len" => set(&mut len, "len", parse_len(text)?)?,
                "name" => set(&mut name, "name", parse_name(text)?)?,
                "dir" => set(&mut dir, "dir", parse_dir(text)?)?,
                // A later version may add parameters.
                _ => {}
            }
        }
        Ok(Link {
            network: network.ok_or(LinkError::Missing("net"))?,
            root,
            len: len.ok_or(LinkError::Missing("len"))?,
            name: name.ok_or(LinkError::Missing("name"))?,
            kind: dir.unwrap_or(Kind::File),
        })
    }
}

/// What a user asks to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A whole link.
    Link(Link),
    /// The root alone; name and length are asked from the leaders.
    Root(Root),
}

impl Target {
    /// Root of the wanted content.
    pub fn root(&self) -> &Root {
        match self {
            Target::Link(link) => &link.root,
            Target::Root(root) => root,
        }
    }
}

impl FromStr for Target {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        if text.starts_with(SCHEME) {
            return text.parse().map(Target::Link);
        }
        parse_root(text).map(Target::Root).map_err(|e| match e {
            LinkError::Root { ref found, .. } if found.len() >= 32 && found.bytes().all(|b| b.is_ascii_hexdigit()) => e,
            _ => LinkError::NotATarget(text.chars().take(80).collect()),
        })
    }
}

/// Reads a root of 64 hex digits.
pub fn parse_root(text: &str) -> Result<Root, LinkError> {
    let mut root = [0; 32];
    hex::decode_to_slice(text, &mut root).map_err(|_| {
        let why = match text.char_indices().find(|(_, c)| !c.is_ascii_hexdigit()) {
            Some((at, c)) => format!("{c:?} at position {} is no hex digit", at.saturating_add(1)),
            None => format!("{} digits", text.len()),
        };
        LinkError::Root { found: text.chars().take(80).collect(), why }
    })?;
    Ok(root)
}

fn parse_network(text: &str) -> Result<String, LinkError> {
    let network = decode("net", text)?;
    check_network_name(&network).map_err(|why| value("net", text, why))?;
    Ok(network)
}

fn parse_len(text: &str) -> Result<u64, LinkError> {
    // `u64::from_str` takes a plus sign, which no link has.
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(value("len", text, "expected a number of bytes"));
    }
    match text.parse() {
        Ok(len) if len <= MAX_CONTENT_LEN => Ok(len),
        _ => Err(too_large(text)),
    }
}

fn parse_name(text: &str) -> Result<String, LinkError> {
    let name = decode("name", text)?;
    check_name(&name).map_err(|e| name_value(text, &e))?;
    Ok(name)
}

fn parse_dir(text: &str) -> Result<Kind, LinkError> {
    match text {
        "1" => Ok(Kind::Collection),
        "0" => Ok(Kind::File),
        _ => Err(value("dir", text, "expected 0 or 1")),
    }
}

fn decode(key: &'static str, text: &str) -> Result<String, LinkError> {
    percent_decode_str(text).decode_utf8().map(|s| s.into_owned()).map_err(|_| value(key, text, "not UTF-8"))
}

fn check_network_name(network: &str) -> Result<(), &'static str> {
    if network.is_empty() || network.len() > MAX_NETWORK {
        return Err("a network name has 1 to 64 bytes");
    }
    if network.chars().any(crate::names::is_deceptive) {
        return Err("a network name has no control characters");
    }
    Ok(())
}

fn set<T>(slot: &mut Option<T>, key: &'static str, value: T) -> Result<(), LinkError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(LinkError::Twice(key)),
    }
}

fn value(key: &'static str, text: &str, why: impl Into<String>) -> LinkError {
    LinkError::Value { key, value: text.chars().take(80).collect(), why: why.into() }
}

fn name_value(text: &str, error: &NameError) -> LinkError {
    value("name", text, error.to_string())
}

fn too_large(text: &str) -> LinkError {
    value("len", text, format!("at most {MAX_CONTENT_LEN} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link() -> Link {
        Link {
            network: "main".into(),
            root: [0xab; 32],
            len: 12,
            name: "a b&c=d?#é.txt".into(),
            kind: Kind::Collection,
        }
    }

    #[test]
    fn text_form_is_stable() {
        let root = "ab".repeat(32);
        assert_eq!(
            link().to_string(),
            format!("neblo:{root}?net=main&len=12&name=a%20b%26c%3Dd%3F%23%C3%A9.txt&dir=1")
        );
    }

    #[test]
    fn each_defect_is_named() {
        let good = link().to_string();
        let root = "ab".repeat(32);
        let says = |text: &str, part: &str| {
            let error = text.parse::<Link>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        };
        says("http://x", "starts with `neblo:`");
        says("neblo:abcd?net=a", "4 digits");
        says(&good.replacen("ab", "xb", 1), "'x' at position 1");
        says(&format!("neblo:{root}"), "lacks `net=`");
        says(&good.replace("len=12", "len=1e3"), "number of bytes");
        says(&good.replace("len=12", "len=99999999999999999999"), "at most");
        says(&good.replace("len=12", "len=12&len=13"), "twice");
        says(&good.replace("name=a", "name=a%2F"), "'/'");
        says(&good.replace("name=a", "name=%ff"), "UTF-8");
        says(&good.replace("dir=1", "dir=yes"), "0 or 1");
    }

    #[test]
    fn unknown_parameters_are_left_for_later_versions() {
        let text = format!("{}&via=x", link());
        assert_eq!(text.parse::<Link>().unwrap(), link());
    }

    #[test]
    fn foreign_network_is_refused_by_name() {
        link().check_network("main").unwrap();
        let error = link().check_network("test").unwrap_err().to_string();
        assert!(error.contains("--network main"), "{error}");
    }

    #[test]
    fn target_is_a_link_or_a_root() {
        let root = "AB".repeat(32);
        assert_eq!(root.parse::<Target>().unwrap(), Target::Root([0xab; 32]));
        assert_eq!(link().to_string().parse::<Target>().unwrap(), Target::Link(link()));
        assert!(matches!("film.mkv".parse::<Target>(), Err(LinkError::NotATarget(_))));
        let short = "ab".repeat(31).parse::<Target>().unwrap_err().to_string();
        assert!(short.contains("62 digits"), "{short}");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(
            root: [u8; 32],
            len in 0..=MAX_CONTENT_LEN,
            name in "[^/\\\\\\p{C}\u{2028}\u{2029}]{1,60}",
            network in "[a-z0-9 &=é-]{1,20}",
            dir: bool,
        ) {
            let link = Link { network, root, len, name, kind: if dir { Kind::Collection } else { Kind::File } };
            prop_assume!(link.check().is_ok());
            prop_assert_eq!(link.to_string().parse::<Link>().unwrap(), link);
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = text.parse::<Target>();
            let _ = format!("neblo:{text}").parse::<Target>();
            let _ = format!("neblo:{}?{text}", "00".repeat(32)).parse::<Target>();
        }
    }
}
