//! The store against what it replaces: a file for each blob, and against redb, a database that needs no server. All on one
//! file system, with the same blobs, in turns in one run. Everything was written a moment ago, so it is in the page cache,
//! except where a row says otherwise.
//!
//! Ours is measured through the calls that its callers make ([`ours`]), the others through the least that they can be. What
//! is written goes away at the end: a file system that has just deleted many files makes new ones slowly.
mod curve;
mod data;
mod database;
mod disk;
mod files;
mod large;
mod memory;
mod ours;
mod small;
mod start;
mod upkeep;

use crate::report::Report;
use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::time::Duration;

pub use memory::{TOUCH, touch};

/// Blobs of the largest store.
const MILLION: u64 = 1_000_000;

/// What the parts share.
struct Stage {
    directory: tempfile::TempDir,
    /// A store of a million blobs and how long its writes took. Made by the first who needs it.
    million: Option<(PathBuf, Duration)>,
}

#[derive(Clone, Copy)]
enum Part {
    Small,
    Large,
    Curve,
    Memory,
    Start,
    Upkeep,
}

/// In the order in which they are measured: large files first, before there are many small ones; last what takes the million
/// apart.
const PARTS: [(Part, &str); 6] = [
    (Part::Large, "large"),
    (Part::Small, "small"),
    (Part::Curve, "curve"),
    (Part::Memory, "memory"),
    (Part::Start, "start"),
    (Part::Upkeep, "upkeep"),
];

/// The parts, or the one that is named.
///
/// # Errors
/// There is no such part, or there is no folder to work in.
pub async fn store(part: Option<&str>, report: &mut Report) -> Result<()> {
    let chosen: Vec<_> = PARTS.into_iter().filter(|(_, name)| part.is_none_or(|part| part == *name)).collect();
    let names = PARTS.map(|(_, name)| name).join(", ");
    ensure!(!chosen.is_empty(), "there is no part `{}`, only {names}", part.unwrap_or_default());
    let directory = tempfile::Builder::new().prefix("lre-bench-store-").tempdir()?;
    println!("{}", disk::machine(directory.path()));
    let mut stage = Stage { directory, million: None };
    for (part, name) in chosen {
        if let Err(error) = part.run(&mut stage, report).await {
            report.broken(&format!("store {name}"), &error);
        }
    }
    Ok(())
}

impl Part {
    async fn run(self, stage: &mut Stage, report: &mut Report) -> Result<()> {
        match self {
            Self::Small => small::small(stage, report).await,
            Self::Large => large::large(stage, report).await,
            Self::Curve => curve::curve(stage, report).await,
            Self::Memory => memory::memory(stage, report).await,
            Self::Start => start::start(stage, report).await,
            Self::Upkeep => upkeep::upkeep(stage, report).await,
        }
    }
}

impl Stage {
    /// A folder that is not there yet.
    fn folder(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A store that has the first million blobs and that nobody has open, and how long it took to write them.
    async fn million(&mut self) -> Result<(PathBuf, Duration)> {
        if let Some(made) = &self.million {
            return Ok(made.clone());
        }
        let folder = self.folder("million");
        let elapsed = ours::filled(&folder, MILLION).await?;
        Ok(self.million.insert((folder, elapsed)).clone())
    }
}

/// In MB of a million bytes, as the promises count them.
fn megabytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one digit is printed")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.1} MB")
}
