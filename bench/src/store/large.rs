//! Large blobs against `cp` on the same file system: a file that its owner gives up, one that belongs to somebody else, and
//! how they are read again.
use super::{Stage, disk};
use crate::generated::noise;
use crate::report::{Report, Row};
use crate::stats::{Samples, readable};
use crate::world::F;
use anyhow::{Context, Result, ensure};
use lre_model::{Digest, Hasher};
use lre_store::{Blob, BlobStore, DiskStore, FileBlob, Origin};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const BYTES: usize = 256 << 20;

const ROUNDS: u64 = 5;

/// How much longer than `cp` ours may take.
const SHARE: f64 = 1.1;

/// In one read.
const PIECE_BYTES: usize = 64 << 10;

/// How long what took.
#[derive(Default)]
struct Times {
    copied: Samples,
    copied_and_hashed: Samples,
    hashed: Samples,
    given: Samples,
    foreign: Samples,
    read: Samples,
    read_plain: Samples,
}

/// The rows.
pub async fn large(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let at = stage.folder("large");
    fs::create_dir(&at)?;
    let store = DiskStore::open(&at.join("store"))?;
    let mut times = Times::default();
    for round in 0..ROUNDS {
        times.round(&store, &at, round).await?;
        // What is not written back yet must not slow the next round down.
        disk::sync(&at)?;
    }
    drop(store);
    fs::remove_dir_all(&at)?;
    times.rows(report);
    Ok(())
}

impl Times {
    async fn round(&mut self, store: &DiskStore, at: &Path, round: u64) -> Result<()> {
        let file = |name: &str| at.join(format!("{name}-{round}"));
        let mut content = noise(round << 32, BYTES).to_vec();
        fs::write(file("foreign"), &content)?;
        content[0] ^= 1;
        fs::write(file("given"), &content)?;
        drop(content);

        let start = Instant::now();
        let status = Command::new("cp").arg(file("foreign")).arg(file("copy")).status().context("cp")?;
        self.copied.add(start.elapsed());
        ensure!(status.success(), "cp failed");

        let start = Instant::now();
        let digest = copied_and_hashed(&file("foreign"), &file("hashed"))?;
        self.copied_and_hashed.add(start.elapsed());

        let foreign = Blob::File(FileBlob::open(file("foreign"), Origin::Foreign)?);
        let start = Instant::now();
        store.write(digest, foreign).await?;
        self.foreign.add(start.elapsed());

        let start = Instant::now();
        let (given, blob) = FileBlob::hash(file("given"), Origin::Owned, F)?;
        self.hashed.add(start.elapsed());
        let start = Instant::now();
        store.write(given, Blob::File(blob)).await?;
        self.given.add(start.elapsed());

        let start = Instant::now();
        let read = drained(store.read(digest).await?.reader())?;
        self.read.add(start.elapsed());
        let start = Instant::now();
        let plain = drained(File::open(file("copy"))?)?;
        self.read_plain.add(start.elapsed());
        ensure!(read == BYTES && plain == BYTES, "{read} and {plain} bytes were read");
        Ok(())
    }

    fn rows(&self, report: &mut Report) {
        let copied = self.copied.p50();
        let row = Row::of("256 MiB file that its owner gives up", &self.given).at_most_of(SHARE, "cp", copied);
        report.row(row.note(format!(
            "it is linked, not copied; whoever gives it up has hashed it, here in {}",
            readable(self.hashed.p50())
        )));
        let row = Row::of("256 MiB file of somebody else", &self.foreign).at_most_of(SHARE, "cp", copied);
        let both = self.copied_and_hashed.p50();
        let row = row.at_most_of(SHARE, "read once, hashed (SHA-256) and written", both);
        report.row(row.note("`cp` hashes nothing; every store has to"));
        let row = Row::of("256 MiB blob read", &self.read);
        report.row(row.at_most_of(SHARE, "a plain file", self.read_plain.p50()));
    }
}

/// What no store can do without.
fn copied_and_hashed(from: &Path, to: &Path) -> Result<Digest> {
    let (mut from, mut to) = (File::open(from)?, File::create_new(to)?);
    let (mut hasher, mut piece) = (Hasher::new(F), vec![0; PIECE_BYTES]);
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            n => {
                hasher.update(&piece[..n]);
                to.write_all(&piece[..n])?;
            }
        }
    }
}

fn drained(mut from: impl Read) -> Result<usize> {
    let (mut piece, mut bytes) = (vec![0; PIECE_BYTES], 0);
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(bytes),
            n => bytes += std::hint::black_box(&piece[..n]).len(),
        }
    }
}
