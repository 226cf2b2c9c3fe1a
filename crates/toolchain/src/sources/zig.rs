//! `zig:`
use super::{Finding, Found};
use crate::ToolchainError;
use std::fmt;
use std::str::FromStr;

/// What follows `zig:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zig(String);

impl FromStr for Zig {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Err(format!("`{text}` cannot be had yet"))
    }
}

impl fmt::Display for Zig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Zig {
    /// What gives the same tree every time; nothing where it is not pinned.
    pub(super) fn pinned(&self) -> Option<String> {
        None
    }

    pub(super) async fn find(&self, finding: &Finding<'_>) -> Result<Found, ToolchainError> {
        Err(ToolchainError::unusable(&finding.wanted.name, "cannot be had yet"))
    }
}
