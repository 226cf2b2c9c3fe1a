//! Paths below the input root.
use std::fmt;

/// A path below the input root: no `..` that leaves it, no leading slash, no empty segment.
///
/// The empty path is the root itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(Vec<String>);

/// A path that is absolute, leaves the input root, or has a NUL in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum BadPath {
    /// Starts with a slash.
    #[error("`{0}` is absolute; REAPI paths are relative")]
    Absolute(String),
    /// More `..` than directories.
    #[error("`{0}` leaves the input root")]
    Escapes(String),
    /// A NUL byte, which no file name has.
    #[error("`{0:?}` has a NUL in it")]
    Nul(String),
}

impl RelPath {
    /// The input root.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses a path of the API; `.` and doubled slashes are forgotten, `..` is resolved.
    ///
    /// # Errors
    /// Absolute paths, paths that leave the root, and NUL.
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        Self::root().join(text)
    }

    /// `text` as seen from this directory.
    ///
    /// # Errors
    /// As [`RelPath::parse`].
    pub fn join(&self, text: &str) -> Result<Self, BadPath> {
        if text.starts_with('/') {
            return Err(BadPath::Absolute(text.to_owned()));
        }
        if text.contains('\0') {
            return Err(BadPath::Nul(text.to_owned()));
        }
        let mut segments = self.0.clone();
        for segment in text.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    segments.pop().ok_or_else(|| BadPath::Escapes(text.to_owned()))?;
                }
                name => segments.push(name.to_owned()),
            }
        }
        Ok(Self(segments))
    }

    /// The names from the root down.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// Whether this is the root itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory that holds it; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, parent) = self.0.split_last()?;
        Some(Self(parent.to_vec()))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        assert_eq!(RelPath::parse("a//b/./c").unwrap().to_string(), "a/b/c");
        assert_eq!(RelPath::parse("a/../b").unwrap().to_string(), "b");
        assert!(RelPath::parse("").unwrap().is_root());
        assert_eq!(RelPath::parse("work").unwrap().join("../out").unwrap().to_string(), "out");
        for bad in ["/etc/passwd", "..", "a/../../b", "a\0b"] {
            assert!(RelPath::parse(bad).is_err(), "{bad}");
        }
    }
}
