//! The rules of the house that neither the compiler nor clippy knows. All findings are printed, then it fails.
//!
//! Functions over 70 lines are clippy's (`too_many_lines`, see clippy.toml); everything here is about files and
//! about what depends on what.
mod floors;
pub mod sources;

use crate::cargo;
use crate::protocol;
use anyhow::{Result, bail};

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub place: String,
    pub problem: String,
}

impl Finding {
    pub fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

/// Checks everything that is committed or about to be.
pub fn run() -> Result<()> {
    let mut findings = floors::check(&cargo::metadata()?);
    findings.extend(sources::check(&cargo::workspace())?);
    findings.extend(protocol::check()?);
    for finding in &findings {
        eprintln!("{}: {}", finding.place, finding.problem);
    }
    if findings.is_empty() {
        eprintln!("==> tidy: nothing found");
        return Ok(());
    }
    bail!("tidy: {} findings", findings.len())
}
