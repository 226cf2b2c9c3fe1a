//! `cas:`
use super::{Finding, Found};
use crate::ToolchainError;
use std::fmt;
use std::str::FromStr;

/// What follows `cas:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cas(String);

impl FromStr for Cas {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Err(format!("`{text}` cannot be had yet"))
    }
}

impl fmt::Display for Cas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Cas {
    pub(super) async fn find(&self, finding: &Finding<'_>) -> Result<Found, ToolchainError> {
        Err(ToolchainError::unusable(&finding.wanted.name, "cannot be had yet"))
    }
}
