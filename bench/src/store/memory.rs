//! What a million blobs take in memory: of a process that does nothing but open the store and touch all of it, and of
//! `lre serve`.
use super::data::{ASKED, Questions, blobs};
use super::start::Server;
use super::{MILLION, Stage, megabytes, ours};
use crate::process::resident;
use crate::report::{Report, Row};
use anyhow::{Context, Result, ensure};
use lre_model::Digest;
use lre_store::DiskStore;
use std::path::Path;
use std::process::Command;

/// Resident, in bytes.
const AT_MOST: u64 = 120_000_000;

/// The hidden first argument of this program that makes it the process that is looked at.
pub const TOUCH: &str = "--touch";

/// What a process was like that touched a store.
pub struct Touched {
    /// Before it opened the store, in bytes.
    before: u64,
    /// When it had touched all.
    pub after: u64,
    peak: u64,
}

/// The rows.
pub async fn memory(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let (folder, _) = stage.million().await?;
    let touched = Touched::of(&folder, MILLION)?;
    let Touched { before, after, peak } = touched;
    let row = Row::new("memory of a process that has touched 1,000,000 blobs", megabytes(after));
    report.row(row.bar("<= 120 MB resident", after <= AT_MOST).note(format!(
        "before it opened the store {}, the most meanwhile {}; each looked for, 10,000 read",
        megabytes(before),
        megabytes(peak)
    )));
    let server = Server::start(&folder).await?;
    let (fresh, _) = resident(server.pid())?;
    for from in (0..MILLION).step_by(ASKED) {
        server.missing(&digests(from, ASKED as u64), 0).await?;
    }
    let (after, peak) = resident(server.pid())?;
    server.stop()?;
    let row = Row::new("memory of `lre serve` that was asked for all 1,000,000 blobs", megabytes(after));
    report.row(row.bar("<= 120 MB resident", after <= AT_MOST).note(format!(
        "after its start {}, the most meanwhile {}",
        megabytes(fresh),
        megabytes(peak)
    )));
    Ok(())
}

impl Touched {
    /// By a process of its own.
    pub fn of(folder: &Path, count: u64) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let output = command.arg(TOUCH).arg(folder).arg(count.to_string()).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let figures: Vec<u64> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [before, after, peak] = figures[..].try_into().ok().context("three figures")?;
        Ok(Self { before, after, peak })
    }
}

/// What this program does when it is started with [`TOUCH`], a folder and a count: looks for each of the first `count`
/// blobs, reads 10,000, and prints what it had resident.
///
/// # Errors
/// Something is missing.
pub async fn touch(folder: &str, count: &str) -> Result<()> {
    let count: u64 = count.parse()?;
    let (before, _) = resident(std::process::id())?;
    let store = DiskStore::open(Path::new(folder))?;
    for from in (0..count).step_by(ASKED) {
        let missing = ours::missing(&store, &digests(from, count.min(ASKED as u64))).await?;
        ensure!(missing == 0, "{missing} are missing");
    }
    ours::read(&store, &Questions::of(count).present).await?;
    let (after, peak) = resident(std::process::id())?;
    println!("{before} {after} {peak}");
    Ok(())
}

fn digests(from: u64, count: u64) -> Vec<Digest> {
    blobs(from..from + count).into_iter().map(|(digest, _)| digest).collect()
}
