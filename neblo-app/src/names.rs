//! Names that came from elsewhere and become file names here.

/// Longest name of a file, in bytes; the limit of the usual file systems.
pub const MAX_NAME: usize = 255;
/// Longest relative path inside a collection, in bytes.
pub const MAX_PATH: usize = 1024;

/// Why a name or path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("the name is empty")]
    Empty,
    /// Longer than file systems take.
    #[error("the name has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A character that could leave the folder, or deceive who reads it.
    #[error("the name holds the character {0:?}, which is not allowed in a file name")]
    Character(char),
    /// `.` or `..`.
    #[error("the name {0:?} is a reference to a folder, not a file name")]
    Dots(String),
    /// The path starts at the root of the file system.
    #[error("the path {0:?} is not relative")]
    NotRelative(String),
}

/// Checks one file name: it must be safe to join to a folder's path and to print on a terminal.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong { len: name.len(), max: MAX_NAME });
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots(name.to_owned()));
    }
    match name.chars().find(|c| is_forbidden(*c)) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

/// Checks a relative path with `/` between its parts, each of which must be a safe file name.
pub fn check_relative_path(path: &str) -> Result<(), NameError> {
    if path.is_empty() {
        return Err(NameError::Empty);
    }
    if path.len() > MAX_PATH {
        return Err(NameError::TooLong { len: path.len(), max: MAX_PATH });
    }
    if path.starts_with('/') {
        return Err(NameError::NotRelative(path.to_owned()));
    }
    path.split('/').try_for_each(check_name)
}

/// Separators, control characters, and the marks that reverse the direction of text (`cod.exe` shown as `exe.doc`).
pub(crate) fn is_forbidden(c: char) -> bool {
    c == '/' || c == '\\' || is_deceptive(c)
}

/// Characters that may not appear in text shown to a user.
pub(crate) fn is_deceptive(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass() {
        for name in ["a", "holiday photo.jpg", "naïve.txt", ".hidden", "a..b", "日本"] {
            check_name(name).unwrap();
        }
    }

    #[test]
    fn names_that_leave_their_folder_or_deceive_are_refused() {
        for name in ["", ".", "..", "a/b", "a\\b", "a\0", "a\n", "\u{1b}[2J", "a\u{202e}b"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name(&"x".repeat(256)).is_err());
    }

    #[test]
    fn paths_stay_below_their_folder() {
        check_relative_path("a/b/c.txt").unwrap();
        for path in ["", "/a", "a//b", "a/../b", "../a", "a/.", "a/", "a\\b"] {
            assert!(check_relative_path(path).is_err(), "{path:?}");
        }
    }
}
