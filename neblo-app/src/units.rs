//! Amounts of bytes and rates as people write them: `10 MiB`, `2 GB`, `10 MiB/s`, `unlimited`.

use std::{fmt, str::FromStr};

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A cap: a number of bytes (or of bytes a second), or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// No more than this many bytes (a second).
    Bytes(u64),
    /// As many as there are.
    Unlimited,
}

impl Cap {
    /// The cap in MiB.
    pub const fn mib(mib: u64) -> Self {
        Self::Bytes(mib.saturating_mul(1 << 20))
    }

    /// The number of bytes, if there is one.
    pub fn bytes(self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Unlimited => None,
        }
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{}", ByteSize::b(*bytes)),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

impl FromStr for Cap {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let amount = text.trim();
        if amount.eq_ignore_ascii_case("unlimited") {
            return Ok(Self::Unlimited);
        }
        let amount = amount.strip_suffix("/s").unwrap_or(amount).trim_end();
        match amount.parse::<ByteSize>() {
            Ok(ByteSize(0)) | Err(_) => {
                Err(format!("{text:?} is no amount: write for example \"10 MiB\", \"10 MiB/s\" or \"unlimited\""))
            }
            Ok(size) => Ok(Self::Bytes(size.as_u64())),
        }
    }
}

impl<'de> Deserialize<'de> for Cap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number of bytes or a text such as \"10 MiB/s\"")]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(0) => {
                Err(serde::de::Error::custom("0 would let nothing through: write \"unlimited\" for no cap"))
            }
            Written::Number(bytes) => Ok(Self::Bytes(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl Serialize for Cap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(bytes) => serializer.serialize_u64(*bytes),
            Self::Unlimited => serializer.serialize_str("unlimited"),
        }
    }
}

/// Bytes for people: `1.5 MiB`.
pub fn human(bytes: u64) -> String {
    ByteSize::b(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        for (text, bytes) in
            [("10 MiB", 10 << 20), ("10MiB/s", 10 << 20), ("2 kB", 2000), ("512", 512), ("1.5 KiB /s", 1536)]
        {
            assert_eq!(text.parse(), Ok(Cap::Bytes(bytes)), "{text}");
        }
        assert_eq!("Unlimited".parse(), Ok(Cap::Unlimited));
    }

    #[test]
    fn what_is_no_amount_is_refused_with_an_example() {
        for text in ["", "ten", "0", "-1", "5 parsecs", "0 MiB/s"] {
            assert!(Cap::from_str(text).unwrap_err().contains("10 MiB/s"), "{text}");
        }
    }
}
