//! One pass: what is oldest goes, until what is left fits.
use super::super::Inner;
use super::super::catalogue::{Entry, Key, Kind};
use super::super::usage::Amount;
use super::budget::WORKING_SET_MINUTES;
use super::meter::{Meter, Step};
use super::order::{Picked, Turn, first};
use super::remove::{Removed, remove, would};
use std::collections::BTreeMap;
use std::io;

/// Of those whose turn it is, how many are looked up at once, by one look at every entry: 72 bytes each, 9 MiB.
const AT_ONCE: usize = 128 * 1024;

/// Bytes that are moved in the log in one step.
const COMPACTED_AT_ONCE: u64 = 4 * 1024 * 1024;

/// Steps for a log that is smaller than some of them.
const STEPS_LEAST: u64 = 64;

/// What a collection took away, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Results of actions.
    pub results: Amount,
    /// Names.
    pub names: Amount,
    /// Directories and Trees.
    pub directories: Amount,
    /// All other blobs.
    pub blobs: Amount,
    /// Copies of blobs that went, which input trees linked to.
    pub copies: Amount,
    /// When the oldest of what went was used last, in seconds since 1970.
    pub oldest: Option<u64>,
    /// The same of the youngest.
    pub youngest: Option<u64>,
    /// What the store took before, in bytes.
    pub before_bytes: u64,
    /// What it takes now, or would.
    pub after_bytes: u64,
    /// What it was to take at most.
    pub target_bytes: u64,
    /// Of what was there before, what is held and cannot go.
    pub held_bytes: u64,
    /// Who holds most of it and since when, where one is known and the target was missed.
    pub holder: Option<String>,
    /// It was stopped before it was done.
    pub stopped: bool,
}

impl Collected {
    /// Everything that went.
    #[must_use]
    pub fn total(&self) -> Amount {
        let parts = [self.results, self.names, self.directories, self.blobs, self.copies];
        let copies = self.copies.count;
        let sum = parts.iter().fold(Amount::default(), |sum, part| Amount {
            count: sum.count + part.count,
            bytes: sum.bytes + part.bytes,
        });
        Amount { count: sum.count - copies, ..sum }
    }

    fn add(&mut self, key: &Key, entry: &Entry, bytes: u64, copies_bytes: u64) {
        let part = match key.kind {
            Kind::Result => &mut self.results,
            Kind::Name => &mut self.names,
            Kind::Blob if entry.rank > 0 => &mut self.directories,
            Kind::Blob => &mut self.blobs,
        };
        part.add(bytes);
        if copies_bytes > 0 {
            self.copies.add(copies_bytes);
        }
        let used = u64::from(entry.used) * 60;
        self.oldest = Some(self.oldest.map_or(used, |oldest| oldest.min(used)));
        self.youngest = Some(self.youngest.map_or(used, |youngest| youngest.max(used)));
    }
}

/// What a pass is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    /// What is left is to be at most this.
    pub target_bytes: u64,
    /// Only what was used before this minute may go.
    pub floor: u32,
    /// Bytes of the copies in `inodes/`.
    pub copies_bytes: u64,
    /// Nothing goes.
    pub dry_run: bool,
}

/// Takes away until the target is reached, and says whether all that may go has gone.
///
/// What went from the log is free only when the log has been moved together. So the target is one for what is left when that
/// has been done; and what is dead in the log and not worth to be moved is not paid for by what is alive.
pub(super) fn evict(inner: &Inner, aim: Aim, meter: &Meter<'_>, collected: &mut Collected) -> io::Result<bool> {
    let stats = inner.catalogue.stats();
    let mut left = (stats.live_bytes + stats.file_bytes).saturating_add(aim.copies_bytes);
    meter.step(Step::Evicting);
    meter.goal(left.saturating_sub(aim.target_bytes));
    let mut after: Option<Turn> = None;
    while left > aim.target_bytes {
        let turns = first(&inner.catalogue, AT_ONCE, |key, entry| {
            let turn = (entry.used < aim.floor).then(|| Turn::of(key, entry))?;
            after.is_none_or(|after| turn > after).then_some(turn)
        });
        for picked in &turns {
            if left <= aim.target_bytes || meter.is_stopped() {
                break;
            }
            left = left
                .saturating_sub(one(inner, picked, aim, collected)?.inspect(|bytes| meter.freed(*bytes)).unwrap_or(0));
        }
        after = turns.last().map(|picked| picked.order);
        if meter.is_stopped() || turns.len() < AT_ONCE {
            break;
        }
    }
    collected.after_bytes = left;
    Ok(left > aim.target_bytes && !meter.is_stopped())
}

/// Bytes of an entry that went, or would; `None` where it stays.
fn one(inner: &Inner, picked: &Picked<Turn>, aim: Aim, collected: &mut Collected) -> io::Result<Option<u64>> {
    let (turn, entry) = (&picked.order, &picked.entry);
    // A copy that was made since they were counted is of a blob that was read, and so of none whose turn it is.
    let copied = aim.copies_bytes > 0;
    let removed =
        if aim.dry_run { would(inner, turn, entry, copied) } else { remove(inner, turn, entry, aim.floor, copied)? };
    let Removed::Gone { log_bytes, file_bytes, copies_bytes } = removed else { return Ok(None) };
    collected.add(&turn.key, entry, log_bytes + file_bytes, copies_bytes);
    Ok(Some(log_bytes + file_bytes + copies_bytes))
}

/// Moves the log together, until `counted` is at most `target_bytes` or there is nothing more to gain.
pub(super) fn compact(
    inner: &Inner,
    target_bytes: u64,
    meter: &Meter<'_>,
    counted: impl Fn() -> u64,
) -> io::Result<()> {
    meter.step(Step::Compacting);
    // What is written meanwhile may be dead again: once over all there is, and not for ever.
    let mut steps = 2 * inner.catalogue.stats().log_bytes / COMPACTED_AT_ONCE + STEPS_LEAST;
    while counted() > target_bytes && steps > 0 && !meter.is_stopped() {
        if !inner.catalogue.compact(COMPACTED_AT_ONCE, true)? {
            break;
        }
        steps -= 1;
    }
    Ok(())
}

/// What is of which age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Bytes of what was used at or after the floor.
    pub held_bytes: u64,
    /// The invocation that has marked the most of it; 0 where nobody said who he is.
    pub holder: u16,
    /// Bytes of what was used within a day before `last`.
    pub working_set_bytes: u64,
}

/// Looks at the ages of all entries. `last` is when somebody used something last; by default the latest mark is.
pub(super) fn survey(inner: &Inner, floor: u32, last: Option<u32>) -> Survey {
    let (mut held, mut hours) = (BTreeMap::<u16, u64>::new(), BTreeMap::<u32, u64>::new());
    inner.catalogue.each(|_, entry| {
        let bytes = entry.log_bytes() + entry.file_bytes();
        *hours.entry(entry.used / 60).or_default() += bytes;
        if entry.used >= floor {
            *held.entry(entry.invocation).or_default() += bytes;
        }
    });
    let latest = hours.last_key_value().map_or(0, |(hour, _)| *hour);
    let since = last.map_or(latest, |minute| minute / 60).saturating_sub(WORKING_SET_MINUTES / 60);
    Survey {
        held_bytes: held.values().sum(),
        holder: held.iter().max_by_key(|(_, bytes)| **bytes).map_or(0, |(invocation, _)| *invocation),
        working_set_bytes: hours.range(since..).map(|(_, bytes)| bytes).sum(),
    }
}
