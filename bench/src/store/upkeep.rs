//! What keeping a store of a million blobs in order costs, and how long others wait for an answer meanwhile.
use super::data::Questions;
use super::{MILLION, Stage, megabytes, ours};
use crate::report::{Report, Row};
use crate::stats::{Samples, readable};
use anyhow::{Context, Result, ensure};
use lre_store::{Collected, DiskStore, Step};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Questions asked before, for what it takes when nothing else is done.
const QUIET: usize = 50;

/// So long after it was written nobody holds any of it.
const LATER: Duration = Duration::from_secs(4 * 60 * 60);

/// What others have met while something was done.
pub struct Meanwhile {
    quiet: Samples,
    answers: Samples,
}

impl Meanwhile {
    /// Does `work` on another thread, and asks for 10,000 blobs all the time, half of them absent.
    pub async fn of<T: Send + 'static>(
        store: &Arc<DiskStore>,
        questions: &Questions,
        work: impl FnOnce(&DiskStore) -> Result<T> + Send + 'static,
    ) -> Result<(T, Duration, Self)> {
        let (mut quiet, mut answers) = <(Samples, Samples)>::default();
        for _ in 0..QUIET {
            quiet.add(asked(store, questions).await?);
        }
        let theirs = Arc::clone(store);
        let worker = std::thread::spawn(move || {
            let start = Instant::now();
            let done = work(&theirs);
            done.map(|done| (done, start.elapsed()))
        });
        while !worker.is_finished() {
            answers.add(asked(store, questions).await?);
        }
        let (done, elapsed) = worker.join().ok().context("the work panicked")??;
        Ok((done, elapsed, Self { quiet, answers }))
    }

    /// For a note.
    pub fn says(&self) -> String {
        let [p50, most] = [0.5, 1.0].map(|share| readable(self.answers.quantile(share)));
        let [quiet, quiet_most] = [0.5, 1.0].map(|share| readable(self.quiet.quantile(share)));
        format!("FindMissing of 10,000 meanwhile: {p50}, the longest {most}; before: {quiet}, the longest {quiet_most}")
    }
}

async fn asked(store: &DiskStore, questions: &Questions) -> Result<Duration> {
    let start = Instant::now();
    let missing = ours::missing(store, &questions.half).await?;
    let elapsed = start.elapsed();
    ensure!(missing == questions.half.len().div_ceil(2), "{missing} are missing");
    Ok(elapsed)
}

/// The rows, held to nothing.
pub async fn upkeep(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let (folder, _) = stage.million().await?;
    let store = Arc::new(DiskStore::open(&folder)?);
    let questions = Questions::of(MILLION);
    let (usage, elapsed, meanwhile) = Meanwhile::of(&store, &questions, |store| Ok(store.usage(&[])?)).await?;
    let row = Row::new("what 1,000,000 blobs take, by kind and age (`lre cache du`)", readable(elapsed));
    report.row(row.note(meanwhile.says()));
    drop(usage);
    let verify = |store: &DiskStore| Ok(store.verify(&|_| {}, &AtomicBool::new(false))?);
    let (scrubbed, elapsed, meanwhile) = Meanwhile::of(&store, &questions, verify).await?;
    ensure!(scrubbed.problems == 0, "{} problems were found", scrubbed.problems);
    let bytes: u64 = scrubbed.checked.iter().map(|(_, amount)| amount.bytes).sum();
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
    let rate = (bytes as f64 / elapsed.as_secs_f64()) as u64;
    let ours = format!("{}, {} a second", readable(elapsed), megabytes(rate));
    let row = Row::new("all of 1,000,000 blobs read and hashed (`lre cache verify`)", ours);
    report.row(row.note(meanwhile.says()));
    store.pass_time(LATER);
    let all = store.gc(Some(0), true, |_| ControlFlow::Continue(()))?.before_bytes;
    let half = move |store: &DiskStore| evicted(store, all / 2);
    let (evicted, elapsed, meanwhile) = Meanwhile::of(&store, &questions, half).await?;
    report.row(evicted.row(elapsed).note(meanwhile.says()));
    Ok(())
}

/// A pass of eviction, and how long each of its steps took.
struct Evicted {
    collected: Collected,
    steps: Vec<(Step, Duration)>,
}

fn evicted(store: &DiskStore, to_bytes: u64) -> Result<Evicted> {
    let mut begun: Vec<(Step, Instant)> = Vec::new();
    let collected = store.gc(Some(to_bytes), false, |progress| {
        if begun.last().is_none_or(|(step, _)| *step != progress.step) {
            begun.push((progress.step, Instant::now()));
        }
        ControlFlow::Continue(())
    })?;
    let ends = begun.iter().skip(1).map(|(_, at)| *at).chain([Instant::now()]);
    let steps = begun.iter().zip(ends).map(|((step, at), end)| (*step, end - *at)).collect();
    Ok(Evicted { collected, steps })
}

impl Evicted {
    fn row(&self, elapsed: Duration) -> Row {
        let Collected { before_bytes, after_bytes, .. } = self.collected;
        let (count, bytes) = (self.collected.total().count, before_bytes.saturating_sub(after_bytes));
        let steps = self.steps.iter().map(|(step, took)| format!("{step:?} {}", readable(*took).trim()));
        let steps = steps.collect::<Vec<_>>().join(", ").to_lowercase();
        let ours = format!("{}, {count} of them", readable(elapsed));
        Row::new("half of 1,000,000 blobs evicted and the log moved together (`lre cache gc`)", ours).note(format!(
            "{} of {} freed; {steps}",
            megabytes(bytes),
            megabytes(before_bytes)
        ))
    }
}
