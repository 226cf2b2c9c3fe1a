//! Small blobs: written, looked for, read, and what they take on the disk.
use super::data::{BATCH, Named, Questions, blobs};
use super::database::Redb;
use super::files::Files;
use super::{Stage, disk, megabytes, ours};
use crate::report::{Report, Row};
use crate::stats::Samples;
use anyhow::{Result, ensure};
use lre_store::DiskStore;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Blobs in each store at the end.
const COUNT: u64 = 100_000;

/// Of writing.
const ROUNDS: u64 = 5;

/// Of looking and reading.
const ASKED_ROUNDS: usize = 9;

/// Blobs that redb is given in transactions of their own, in each round: one of these costs as much as a hundred in a
/// batch.
const SINGLE: usize = 2000;

/// The three, twice each: what is written one at a time and what is written in batches.
struct Stores {
    ours: [DiskStore; 2],
    files: Files,
    redb: [Redb; 2],
    at: Places,
}

struct Places {
    ours: PathBuf,
    files: PathBuf,
    redb: PathBuf,
}

/// What was measured of the writes, one at a time and in batches.
#[derive(Default)]
struct Writes {
    ours: [Samples; 2],
    files: Samples,
    redb: [Samples; 2],
}

/// The rows.
pub async fn small(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let mut stores = Stores::new(stage)?;
    let mut writes = Writes::default();
    let each = COUNT / ROUNDS;
    for round in 0..ROUNDS {
        stores.write(&blobs(round * each..(round + 1) * each), &mut writes).await?;
    }
    writes.rows(each, report);
    stores.asked(&Questions::of(COUNT), report).await?;
    stores.on_disk(report)
}

/// Times `work` and adds it.
macro_rules! timed {
    ($samples:expr, $work:expr) => {{
        let start = Instant::now();
        let done = $work;
        $samples.add(start.elapsed());
        done
    }};
}

impl Stores {
    fn new(stage: &Stage) -> Result<Self> {
        let at = Places {
            ours: stage.folder("small-ours"),
            files: stage.folder("small-files"),
            redb: stage.folder("small-redb"),
        };
        let (single, redb) = (stage.folder("small-ours-single"), stage.folder("small-redb-single"));
        Ok(Self {
            ours: [DiskStore::open(&single)?, DiskStore::open(&at.ours)?],
            files: Files::new(&at.files)?,
            redb: [Redb::open(&redb)?, Redb::open(&at.redb)?],
            at,
        })
    }

    async fn write(&mut self, blobs: &[Named], writes: &mut Writes) -> Result<()> {
        let [single, batches] = &self.ours;
        timed!(writes.ours[0], ours::write(single, blobs).await?);
        let start = Instant::now();
        for batch in blobs.chunks(BATCH) {
            ours::write_many(batches, batch).await?;
        }
        writes.ours[1].add(start.elapsed());
        timed!(writes.files, self.files.write(blobs)?);
        let start = Instant::now();
        blobs[..SINGLE].iter().try_for_each(|blob| self.redb[0].write(std::slice::from_ref(blob)))?;
        let share = u32::try_from(blobs.len() / SINGLE)?;
        writes.redb[0].add(start.elapsed() * share);
        timed!(writes.redb[1], blobs.chunks(BATCH).try_for_each(|batch| self.redb[1].write(batch))?);
        Ok(())
    }

    async fn asked(&self, questions: &Questions, report: &mut Report) -> Result<()> {
        let (ours, files, redb) = (&self.ours[1], &self.files, &self.redb[1]);
        let Questions { present, half } = questions;
        let expected = half.len().div_ceil(2);
        let bytes: u64 = present.iter().map(|digest| digest.size_bytes()).sum();
        let (mut looks, mut reads) = <([Samples; 3], [Samples; 4])>::default();
        for _ in 0..ASKED_ROUNDS {
            let missing = [
                timed!(looks[0], ours::missing(ours, half).await?),
                timed!(looks[1], files.missing(half)?),
                timed!(looks[2], redb.missing(half)?),
            ];
            ensure!(missing == [expected; 3], "{missing:?} are missing, not {expected}");
            let read = [
                timed!(reads[0], ours::read(ours, present).await?),
                timed!(reads[1], ours::read_many(ours, present).await?),
                timed!(reads[2], files.read(present)?),
                timed!(reads[3], redb.read(present)?),
            ];
            ensure!(read == [bytes; 4], "{read:?} bytes were read, not {bytes}");
        }
        let row = |name: &str, ours: &Samples, share: f64, [files, redb]: [&Samples; 2]| {
            let row = Row::of(name, ours).at_most_of(share, "a file for each", files.p50()).also("redb", redb.p50());
            row.note(times(files.p50(), ours.p50()))
        };
        let name = "FindMissing of 10,000 in 100,000, half absent";
        report.row(row(name, &looks[0], 1.0 / 20.0, [&looks[1], &looks[2]]));
        for (i, name) in ["one call for each", "one call"].into_iter().enumerate() {
            let name = format!("read of 10,000 small blobs, {name}");
            let row = row(&name, &reads[i], 1.0 / 4.0, [&reads[2], &reads[3]]);
            report.row(row.note("ours checks each against its checksum and its key, the others check nothing"));
        }
        Ok(())
    }

    /// Last: the databases are closed for it.
    fn on_disk(self, report: &mut Report) -> Result<()> {
        let Self { ours: [_, ours], redb: [_, redb], at, .. } = self;
        // What the others have left for it must not be counted as ours.
        disk::sync(&at.files)?;
        let start = Instant::now();
        ours.sync()?;
        let synced = start.elapsed();
        redb.sync()?;
        drop((ours, redb));
        disk::sync(&at.files)?;
        let [ours, files, redb] = [disk::usage(&at.ours)?, disk::usage(&at.files)?, disk::usage(&at.redb)?];
        let content: u64 = blobs(0..COUNT).iter().map(|(_, content)| content.len() as u64).sum();
        #[expect(clippy::cast_precision_loss, reason = "two digits are printed")]
        let share = |of: u64| ours as f64 / of.max(1) as f64;
        let row = Row::new("disk for 100,000 blobs of 500 bytes", megabytes(ours));
        let row = row.ratio(share(files), 0.2, &format!("a file for each: {}", megabytes(files)));
        report.row(row.note(format!(
            "redb {} ({:.3}x); the content alone {}; ours with its checkpoint, closed; its sync took {synced:.1?}",
            megabytes(redb),
            share(redb),
            megabytes(content),
        )));
        Ok(())
    }
}

impl Writes {
    fn rows(&self, each: u64, report: &mut Report) {
        let files = self.files.p50();
        for (i, name) in ["one at a time", "in batches of 1,000"].into_iter().enumerate() {
            let (ours, redb) = (&self.ours[i], self.redb[i].p50());
            let name = format!("write of 20,000 small blobs, {name}");
            let row = Row::of(&name, ours).at_most_of(1.0 / 20.0, "a file for each", files).also("redb", redb);
            let micros = [ours.p50(), files, redb].map(|all| all.as_secs_f64() * 1e6 / each.max(1) as f64);
            let [one, file, database] = micros;
            let row = row.note(format!("for each: ours {one:.2} us, a file {file:.1} us, redb {database:.1} us"));
            report.row(row.note(times(files, ours.p50())));
        }
    }
}

/// How many times as fast.
fn times(other: Duration, ours: Duration) -> String {
    format!("{:.1} times as fast as a file for each", other.as_secs_f64() / ours.as_secs_f64().max(1e-9))
}
