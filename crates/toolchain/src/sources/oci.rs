//! `oci:`
use super::{Finding, Found};
use crate::ToolchainError;
use std::fmt;
use std::str::FromStr;

/// What follows `oci:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oci(String);

impl FromStr for Oci {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Err(format!("`{text}` cannot be had yet"))
    }
}

impl fmt::Display for Oci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Oci {
    /// What gives the same tree every time; nothing where it is not pinned.
    pub(super) fn pinned(&self) -> Option<String> {
        None
    }

    pub(super) async fn find(&self, finding: &Finding<'_>) -> Result<Found, ToolchainError> {
        Err(ToolchainError::unusable(&finding.wanted.name, "cannot be had yet"))
    }
}
