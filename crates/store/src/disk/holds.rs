//! What must not be evicted: everything that was used since a moment.
//!
//! Whoever is told that a blob is there (a look, a hit, an upload) has it *used* at that minute. A build may rely on it
//! until it has been silent for three hours, so nothing that was used within three hours ever goes; and while an
//! invocation, or a [`crate::Hold`] of this process, is alive for longer, nothing goes that was used since it began. One moment
//! holds a million blobs, and to hold costs no list. It keeps somewhat more than was promised, and never less.
use super::catalogue::Invocation;
use super::unpoisoned;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long after its last call an invocation may come back and find all it was told of, in minutes.
pub(crate) const IDLE_MINUTES: u32 = 180;

/// How old the mark of the last use may be before a use renews it, in minutes. A mark for each use would write to the disk
/// for each look; so what is held is held that much longer.
pub(crate) const MARK_MINUTES: u32 = 15;

/// Minutes since 1970 that never go back, whatever is done to the clock: a clock that jumps must not end all holds.
#[derive(Debug)]
pub(crate) struct Clock {
    start: u32,
    since: Instant,
    /// For tests.
    skipped: AtomicU32,
}

impl Clock {
    /// Begins at the time of day, but not before `latest`.
    pub(crate) fn starting(latest: u32) -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let start = u32::try_from(seconds / 60).unwrap_or(u32::MAX).max(latest);
        Self { start, since: Instant::now(), skipped: AtomicU32::new(0) }
    }

    pub(crate) fn minute(&self) -> u32 {
        let passed = u32::try_from(self.since.elapsed().as_secs() / 60).unwrap_or(u32::MAX);
        self.start.saturating_add(passed).saturating_add(self.skipped.load(Ordering::Relaxed))
    }

    /// Lets time pass.
    pub(crate) fn skip(&self, time: Duration) {
        let minutes = u32::try_from(time.as_secs() / 60).unwrap_or(u32::MAX);
        self.skipped.fetch_add(minutes, Ordering::Relaxed);
    }
}

/// The holds of this process that are alive, by the minute in which each began.
#[derive(Debug, Default)]
pub(crate) struct Holds(Arc<Mutex<BTreeMap<u32, usize>>>);

/// A hold that is alive.
#[derive(Debug)]
pub(crate) struct Held {
    holds: Arc<Mutex<BTreeMap<u32, usize>>>,
    minute: u32,
}

impl Holds {
    /// Begins a hold. Before its blobs are looked for: what goes must go before, or not at all.
    pub(crate) fn enter(&self, minute: u32) -> Held {
        *unpoisoned(self.0.lock()).entry(minute).or_default() += 1;
        Held { holds: Arc::clone(&self.0), minute }
    }

    /// What was used before this minute is held by nobody.
    pub(crate) fn floor<'a>(&self, now: u32, invocations: impl IntoIterator<Item = &'a Invocation>) -> u32 {
        let idle = now.saturating_sub(IDLE_MINUTES);
        // Their last call is known to MARK_MINUTES only.
        let alive = invocations.into_iter().filter(|i| i.last.saturating_add(MARK_MINUTES) >= idle).map(|i| i.began);
        let here = unpoisoned(self.0.lock()).first_key_value().map(|(minute, _)| *minute);
        alive.chain(here).fold(idle, u32::min).saturating_sub(MARK_MINUTES)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holds = unpoisoned(self.holds.lock());
        if let Some(count) = holds.get_mut(&self.minute) {
            *count -= 1;
            if *count == 0 {
                holds.remove(&self.minute);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_lives_holds_for_all() {
        let holds = Holds::default();
        assert_eq!(holds.floor(10_000, []), 10_000 - IDLE_MINUTES - MARK_MINUTES);
        let (first, second) = (holds.enter(500), holds.enter(500));
        let _young = holds.enter(9_990);
        assert_eq!(holds.floor(10_000, []), 500 - MARK_MINUTES);
        drop(first);
        assert_eq!(holds.floor(10_000, []), 500 - MARK_MINUTES, "two began in that minute");
        drop(second);
        assert_eq!(holds.floor(10_000, []), 10_000 - IDLE_MINUTES - MARK_MINUTES);
    }

    #[test]
    fn an_invocation_holds_until_it_has_been_silent_for_three_hours() {
        let holds = Holds::default();
        let invocation = |began, last| Invocation { began, last, ..Invocation::default() };
        let long = invocation(1_000, 9_900);
        assert_eq!(holds.floor(10_000, [&long]), 1_000 - MARK_MINUTES);
        let silent = invocation(1_000, 10_000 - IDLE_MINUTES - MARK_MINUTES - 1);
        assert_eq!(holds.floor(10_000, [&silent]), 10_000 - IDLE_MINUTES - MARK_MINUTES);
    }
}
