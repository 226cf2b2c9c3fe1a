//! How everything grows: ten thousand, a hundred thousand, a million blobs.
use super::data::{BATCH, Named, Questions, blobs};
use super::database::Redb;
use super::files::Files;
use super::memory::Touched;
use super::{MILLION, Stage, disk, megabytes, ours, start};
use crate::report::{Report, Row};
use crate::stats::{Samples, readable};
use anyhow::Result;
use lre_store::DiskStore;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const COUNTS: [u64; 3] = [10_000, 100_000, MILLION];

/// More files take minutes to make and to delete; of 100,000 the small part tells.
const FILES_MAX: u64 = 10_000;

/// Of looking, reading and opening.
const ROUNDS: usize = 5;

/// What one store was like with so many blobs.
#[derive(Default)]
struct Point {
    writes: Duration,
    looks: Samples,
    reads: Samples,
    opened: Samples,
    disk_bytes: u64,
}

/// A row for each count, held to nothing.
pub async fn curve(stage: &mut Stage, report: &mut Report) -> Result<()> {
    for count in COUNTS {
        let questions = Questions::of(count);
        let (folder, writes) = match count {
            MILLION => stage.million().await?,
            _ => {
                let folder = stage.folder(&format!("curve-{count}"));
                let writes = ours::filled(&folder, count).await?;
                (folder, writes)
            }
        };
        let point = of_ours(&folder, writes, &questions).await?;
        let touched = Touched::of(&folder, count)?;
        let answered = start::clean(&folder, count).await?;
        let checkpoint = fs::metadata(folder.join("log/checkpoint")).map_or(0, |metadata| metadata.len());
        let row = Row::new(&format!("{count} small blobs"), point.says(count)).note(format!(
            "ours: a process that has touched all {}; `lre serve` to its first answer {}; checkpoint {}",
            megabytes(touched.after),
            readable(answered),
            megabytes(checkpoint),
        ));
        let redb = of_redb(&stage.folder(&format!("curve-redb-{count}")), count, &questions)?;
        let row = row.note(format!("redb: {}", redb.says(count)));
        report.row(if count > FILES_MAX {
            row.note("a file for each: not measured here, it takes minutes")
        } else {
            let files = of_files(&stage.folder(&format!("curve-files-{count}")), count, &questions)?;
            row.note(format!("a file for each: {}", files.says(count)))
        });
    }
    Ok(())
}

impl Point {
    fn says(&self, count: u64) -> String {
        #[expect(clippy::cast_precision_loss, reason = "two digits are printed")]
        let each = self.writes.as_secs_f64() * 1e6 / count as f64;
        let [looks, reads] = [&self.looks, &self.reads].map(|samples| readable(samples.p50()));
        let disk = megabytes(self.disk_bytes);
        let opened = self.opened.p50();
        let opened = if opened.is_zero() { String::new() } else { format!(", open {}", readable(opened)) };
        format!("write {each:.2} us each, FindMissing of 10,000 {looks}, read of 10,000 {reads}{opened}, disk {disk}")
    }

    fn looked_and_read(&mut self, looks: impl Fn() -> Result<usize>, reads: impl Fn() -> Result<u64>) -> Result<()> {
        for _ in 0..ROUNDS {
            let start = Instant::now();
            looks()?;
            self.looks.add(start.elapsed());
            let start = Instant::now();
            reads()?;
            self.reads.add(start.elapsed());
        }
        Ok(())
    }
}

/// In batches, as ours is written.
fn written(count: u64, mut write: impl FnMut(&[Named]) -> Result<()>) -> Result<Duration> {
    let mut elapsed = Duration::ZERO;
    for from in (0..count).step_by(BATCH) {
        let batch = blobs(from..count.min(from + BATCH as u64));
        let start = Instant::now();
        write(&batch)?;
        elapsed += start.elapsed();
    }
    Ok(elapsed)
}

async fn of_ours(folder: &Path, writes: Duration, questions: &Questions) -> Result<Point> {
    let mut point = Point { writes, ..Point::default() };
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let store = DiskStore::open(folder)?;
        point.opened.add(start.elapsed());
        let start = Instant::now();
        ours::missing(&store, &questions.half).await?;
        point.looks.add(start.elapsed());
        let start = Instant::now();
        ours::read_many(&store, &questions.present).await?;
        point.reads.add(start.elapsed());
    }
    disk::sync(folder)?;
    point.disk_bytes = disk::usage(folder)?;
    Ok(point)
}

fn of_redb(file: &Path, count: u64, questions: &Questions) -> Result<Point> {
    let redb = Redb::open(file)?;
    let mut point = Point { writes: written(count, |batch| redb.write(batch))?, ..Point::default() };
    redb.sync()?;
    point.looked_and_read(|| redb.missing(&questions.half), || redb.read(&questions.present))?;
    drop(redb);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let redb = Redb::open(file)?;
        point.opened.add(start.elapsed());
        drop(redb);
    }
    point.disk_bytes = disk::usage(file)?;
    Ok(point)
}

fn of_files(folder: &Path, count: u64, questions: &Questions) -> Result<Point> {
    let mut files = Files::new(folder)?;
    let mut point = Point { writes: written(count, |batch| files.write(batch))?, ..Point::default() };
    point.looked_and_read(|| files.missing(&questions.half), || files.read(&questions.present))?;
    disk::sync(folder)?;
    point.disk_bytes = disk::usage(folder)?;
    Ok(point)
}
