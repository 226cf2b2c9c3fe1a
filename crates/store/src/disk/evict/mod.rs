//! The byte budget: what the oldest is, that it goes, and that nobody misses it.
//!
//! Counted is what the log takes, what the files of blobs take, and what their copies in `inodes/` take. Above nine tenths of
//! the budget a thread of its own takes away down to eight tenths, in steps of one entry each. First everything that is named
//! becomes as young as what names it ([`lift`]); then what was used the longest ago goes first, and of one minute what names
//! before what is named ([`order`]). What was used at or after the floor of all holds ([`super::holds`]) stays, and whether that is so
//! is decided under the lock of the catalogue, where every promise passes. Where all that is left is held and a write does
//! not fit, the write is refused with figures ([`admission`]); reads and hits go on.
//!
//! A thread of its own and not the keeper: a pass over a million entries takes longer than the minute between two
//! syncs, and the first look through a store after a power cut takes longer than it takes a build to fill the disk. Its importance
//! is not lowered: in its short moments under a lock it would then be the last to run, and a write would wait for it.
mod admission;
mod budget;
mod copies;
mod lift;
mod meter;
mod order;
mod pass;
mod remove;
mod tender;
#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use meter::{Progress, Step};
pub use pass::Collected;
pub(super) use tender::Tender;

use super::catalogue::Key;
use super::holds::MARK_MINUTES;
use super::{DiskStore, Inner, unpoisoned};
use crate::StoreError;
use admission::{Admission, Stuck};
use budget::{free_bytes, high, low, share, share_with_floor};
use lift::lift;
use lre_model::Digest;
use meter::{Meter, Step as Doing};
use pass::{Aim, Survey, evict, survey};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tender::Bell;

/// The copies are counted again when this much time has passed, at least.
const COPIES_AGAIN: Duration = Duration::from_secs(60);

/// And a hundred times what counting took: a look at each costs some microseconds, and is to cost a hundredth of a core at most.
const COPIES_AGAIN_TIMES: u32 = 100;

/// Root directories that stay with all that is below them.
type Roots = Arc<dyn Fn() -> io::Result<Vec<Digest>> + Send + Sync>;

/// What eviction knows between two passes.
#[derive(Default)]
pub(super) struct Evict {
    admission: Admission,
    bell: Arc<Bell>,
    budget: Mutex<Option<Budget>>,
    roots: Mutex<Option<Roots>>,
    /// One pass at a time.
    memory: Mutex<Memory>,
}

/// What one pass leaves to the next.
#[derive(Debug, Default)]
struct Memory {
    /// Everything used before this minute has been lifted in this life.
    lifted: u32,
    copies_bytes: u64,
    /// When the copies were counted last, and how long that took.
    copies_counted: Option<(Instant, Duration)>,
    /// All that was used before this minute and may go has gone.
    nothing_before: Option<u32>,
}

impl DiskStore {
    /// How many bytes it may take. From now on a thread sees to that, as long as this value lives. Without a budget nothing is
    /// ever evicted but by [`DiskStore::gc`].
    ///
    /// # Errors
    /// The disk cannot say how much is free, or there can be no thread.
    pub fn set_budget(&self, budget: Budget) -> io::Result<()> {
        let inner = &self.inner;
        *unpoisoned(inner.evict.budget.lock()) = Some(budget);
        let admitted = inner.evict.admission.admitted();
        let counted = inner.counted(0);
        let limit = inner.limit(budget, counted)?;
        inner.evict.admission.settle(limit, counted, admitted, None);
        inner.evict.bell.ring();
        let mut tender = unpoisoned(self.tender.lock());
        if tender.is_none() {
            *tender = Some(Tender::start(Arc::clone(inner), Arc::clone(&inner.evict.bell))?);
        }
        Ok(())
    }

    /// Asked at each pass for root directories that stay with all that is below them: those of registered
    /// toolchains. While they cannot be told nothing goes.
    pub fn set_roots(&self, roots: impl Fn() -> io::Result<Vec<Digest>> + Send + Sync + 'static) {
        *unpoisoned(self.inner.evict.roots.lock()) = Some(Arc::new(roots));
    }

    /// How many bytes a budget would be, and down to how many it would be evicted: for a store that is not given one. Blocks.
    ///
    /// # Errors
    /// The disk cannot say how much is free.
    pub fn bytes_of(&self, budget: Budget) -> io::Result<(u64, u64)> {
        let limit = self.inner.limit_with_floor(budget, self.inner.counted(0))?;
        Ok((limit, low(limit)))
    }

    /// The budget in bytes, as it is at the moment.
    #[must_use]
    pub fn budget_bytes(&self) -> Option<u64> {
        self.inner.evict.admission.limit()
    }

    /// Takes away what was used the longest ago, until the store takes `to_bytes`, by default eight tenths of the budget; never
    /// what is held. With `dry_run` it says what would go. `progress` is told of every small step, and may end it: what has gone
    /// by then has gone. Blocks.
    ///
    /// # Errors
    /// The disk failed, or the roots cannot be told.
    pub fn gc(
        &self,
        to_bytes: Option<u64>,
        dry_run: bool,
        mut progress: impl FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Collected, StoreError> {
        let inner = &self.inner;
        let meter = Meter::new(&mut progress);
        let mut memory = unpoisoned(inner.evict.memory.lock());
        let target_bytes = match to_bytes {
            Some(bytes) => bytes,
            None => {
                let budget = unpoisoned(inner.evict.budget.lock()).unwrap_or(Budget::Share);
                inner.count_copies(&mut memory, dry_run, &meter)?;
                low(inner.limit_with_floor(budget, inner.counted(memory.copies_bytes))?)
            }
        };
        let collected = inner.collect(&mut memory, target_bytes, dry_run, &meter)?;
        drop(memory);
        // There may be room for what has been refused.
        inner.evict.bell.ring();
        Ok(collected)
    }

    /// When a blob was used last in minutes since 1970, and its rank, without using it. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn peek(&self, digest: Digest) -> Option<(u32, u8)> {
        self.inner.catalogue.get(&Key::blob(digest)).map(|entry| (entry.used, entry.rank))
    }

    /// The same of the result of an action. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn peek_result(&self, action: lre_model::ActionDigest) -> Option<u32> {
        self.inner.catalogue.get(&Key::result(action)).map(|entry| entry.used)
    }
}

impl Inner {
    /// Whether `bytes` could be written now.
    pub(super) fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        self.evict.admission.room_for(bytes, || self.evict.bell.ring())
    }

    /// Asked before `bytes` are written.
    pub(super) fn admit(&self, bytes: u64) -> Result<(), StoreError> {
        self.evict.admission.admit(bytes, || self.evict.bell.ring())
    }

    /// What the store takes, of what eviction could free.
    fn counted(&self, copies_bytes: u64) -> u64 {
        let stats = self.catalogue.stats();
        (stats.log_bytes + stats.file_bytes).saturating_add(copies_bytes)
    }

    fn limit(&self, budget: Budget, counted: u64) -> io::Result<u64> {
        Ok(match budget {
            Budget::Bytes(bytes) => bytes,
            Budget::Share => share(free_bytes(self.layout.root())?, counted),
        })
    }

    /// The same with the floor of a share, which costs a look at every entry.
    fn limit_with_floor(&self, budget: Budget, counted: u64) -> io::Result<u64> {
        if let Budget::Bytes(bytes) = budget {
            return Ok(bytes);
        }
        // The marks of toolchains are made anew with each pass: what clients did is what counts.
        let last = self.catalogue.invocations().iter().map(|(_, invocation)| invocation.last).max();
        let Survey { working_set_bytes, .. } = survey(self, u32::MAX, last);
        Ok(share_with_floor(free_bytes(self.layout.root())?, counted, working_set_bytes))
    }

    fn count_copies(&self, memory: &mut Memory, dry_run: bool, meter: &Meter<'_>) -> io::Result<()> {
        meter.step(Doing::Counting);
        let began = Instant::now();
        memory.copies_bytes =
            copies::count(&self.layout, &|| meter.is_stopped(), &|digest, path| self.keeps(digest, path, dry_run))?;
        memory.copies_counted = Some((Instant::now(), began.elapsed()));
        Ok(())
    }

    /// Whether there is the blob of a copy. Where there is none any more the copy goes too.
    fn keeps(&self, digest: Digest, copy: &Path, dry_run: bool) -> io::Result<bool> {
        let key = Key::blob(digest);
        if self.catalogue.get(&key).is_some() {
            return Ok(true);
        }
        let _one = self.placing(&key);
        if dry_run || self.catalogue.get(&key).is_some() {
            return Ok(!dry_run);
        }
        match std::fs::remove_file(copy) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(false),
        }
    }

    /// One pass.
    fn collect(
        &self,
        memory: &mut Memory,
        target_bytes: u64,
        dry_run: bool,
        meter: &Meter<'_>,
    ) -> io::Result<Collected> {
        self.count_copies(memory, dry_run, meter)?;
        let roots = unpoisoned(self.evict.roots.lock()).clone();
        let roots = roots.map_or_else(|| Ok(Vec::new()), |roots| roots())?;
        let now = self.clock.minute();
        let floor = self.floor(now);
        meter.step(Doing::Lifting);
        let lifted = lift(self, &roots, now, memory.lifted, &|| meter.is_stopped());
        if lifted.whole {
            memory.lifted = now;
        }
        let held = survey(self, floor, None);
        let mut collected = Collected {
            before_bytes: self.counted(memory.copies_bytes),
            target_bytes,
            held_bytes: held.held_bytes,
            ..Collected::default()
        };
        let aim = Aim { target_bytes, floor, copies_bytes: memory.copies_bytes, dry_run };
        let all_gone = !meter.is_stopped() && evict(self, aim, meter, &mut collected)?;
        if all_gone {
            collected.holder = self.holder(floor, now, held.holder);
        }
        memory.nothing_before = all_gone.then_some(floor).filter(|_| !dry_run);
        if !dry_run {
            memory.copies_bytes = memory.copies_bytes.saturating_sub(collected.copies.bytes);
            self.dirty();
            let counted = || self.counted(memory.copies_bytes);
            if let Err(error) = pass::compact(self, target_bytes, meter, counted) {
                // On a full disk there may be no room to move things to; what went as files is free all the same.
                tracing::warn!(%error, "the log of the store could not be moved together");
            }
            collected.after_bytes = counted();
        }
        collected.stopped = meter.is_stopped();
        tracing::debug!(?lifted, ?collected, dry_run, "a pass of eviction");
        Ok(collected)
    }

    /// Nothing used from this minute on may go. A hold that begins later finds its blobs younger than that, or makes them.
    fn floor(&self, now: u32) -> u32 {
        let invocations = self.catalogue.invocations();
        self.holds.floor(now, invocations.iter().map(|(_, invocation)| invocation))
    }

    /// Who keeps most of it from going, for a report; empty where nobody is known.
    pub(super) fn held_by(&self, floor: u32, now: u32) -> String {
        self.holder(floor, now, survey(self, floor, None).holder).unwrap_or_default()
    }

    /// Who keeps things from going: a build that has been running for so long, or the one that was told of most of it.
    fn holder(&self, floor: u32, now: u32, most: u16) -> Option<String> {
        let invocations = self.catalogue.invocations();
        let longest = invocations.iter().find(|(_, i)| i.began.saturating_sub(MARK_MINUTES) == floor);
        let (_, found) = longest.or_else(|| invocations.iter().find(|(number, _)| *number == most))?;
        let since = span(now.saturating_sub(found.began));
        let tool = if found.tool.is_empty() { String::new() } else { format!(" of {}", found.tool) };
        Some(format!("the build {}{tool}, which began {since} ago", found.name))
    }

    /// Sees to it that the store takes no more than its budget; called by the thread of its own each minute and when it gets narrow.
    pub(super) fn tend(&self, rung: bool, stop: &AtomicBool) {
        let Some(budget) = *unpoisoned(self.evict.budget.lock()) else { return };
        let mut tell = |_: &Progress| {
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let meter = Meter::new(&mut tell);
        if let Err(error) = self.keep_within(budget, rung, &meter) {
            tracing::warn!(directory = %self.layout.root().display(), %error, "nothing could be evicted");
            // What is there stays, and so there must not come more than fits.
            let admission = &self.evict.admission;
            let (admitted, counted) =
                (admission.admitted(), self.counted(unpoisoned(self.evict.memory.lock()).copies_bytes));
            let stuck = Stuck { held_bytes: counted, holder: Some(format!("an eviction that failed ({error})")) };
            admission.settle(admission.limit().unwrap_or(budget::UNLIMITED), counted, admitted, Some(stuck));
        }
    }

    fn keep_within(&self, budget: Budget, rung: bool, meter: &Meter<'_>) -> io::Result<()> {
        let admission = &self.evict.admission;
        let mut memory = unpoisoned(self.evict.memory.lock());
        let due = |(at, took): (Instant, Duration)| at.elapsed() >= COPIES_AGAIN.max(took * COPIES_AGAIN_TIMES);
        if memory.copies_counted.is_none_or(due) {
            self.count_copies(&mut memory, false, meter)?;
        }
        let admitted = admission.admitted();
        let counted = self.counted(memory.copies_bytes);
        let mut limit = self.limit(budget, counted)?;
        if counted > high(limit) {
            limit = self.limit_with_floor(budget, counted)?;
        }
        if counted <= high(limit) {
            admission.settle(limit, counted, admitted, None);
            return Ok(());
        }
        // Each refused write rings. Nothing has been found before this floor, and nothing old comes anew.
        if rung && admission.is_stuck() && memory.nothing_before == Some(self.floor(self.clock.minute())) {
            admission.settle(limit, counted, admitted, Some(admission.stuck()));
            return Ok(());
        }
        let collected = self.collect(&mut memory, low(limit), false, meter)?;
        let admitted = admission.admitted();
        let counted = self.counted(memory.copies_bytes);
        let total = collected.total();
        // Where more came than went while it worked, another pass finds more; where nothing could go, it does not.
        let stuck = (counted > high(limit) && (memory.nothing_before.is_some() || total.count == 0))
            .then(|| Stuck { held_bytes: collected.held_bytes, holder: collected.holder.clone() });
        admission.settle(limit, counted, admitted, stuck);
        if total.count > 0 {
            let (entries, bytes) = (total.count, total.bytes);
            tracing::info!(entries, bytes, counted, limit, "evicted what was used the longest ago");
        }
        Ok(())
    }
}

/// A length of time for people.
fn span(minutes: u32) -> String {
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
