//! Whether a write fits: asked before every write, so it is a few loads and adds.
use super::super::unpoisoned;
use super::budget::{UNLIMITED, high};
use crate::StoreError;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Why nothing more can go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stuck {
    pub held_bytes: u64,
    pub holder: Option<String>,
}

/// What is known of the room there is.
#[derive(Debug)]
pub(super) struct Admission {
    limit: AtomicU64,
    /// Bytes that were let in in this life.
    admitted: AtomicU64,
    /// What the store took when it was counted last, less what had been let in by then: what it takes now is that and what
    /// has been let in.
    offset: AtomicI64,
    /// The last pass found nothing more to take away.
    is_stuck: AtomicBool,
    stuck: Mutex<Stuck>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            limit: AtomicU64::new(UNLIMITED),
            admitted: AtomicU64::new(0),
            offset: AtomicI64::new(0),
            is_stuck: AtomicBool::new(false),
            stuck: Mutex::default(),
        }
    }
}

impl Admission {
    /// The budget in bytes.
    pub(super) fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit != UNLIMITED)
    }

    /// To be read before counting: what comes in meanwhile is counted twice rather than never.
    pub(super) fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Takes in what was found out.
    pub(super) fn settle(&self, limit: u64, counted: u64, admitted_before: u64, stuck: Option<Stuck>) {
        self.limit.store(limit, Ordering::Relaxed);
        self.offset.store(counted.wrapping_sub(admitted_before).cast_signed(), Ordering::Relaxed);
        let is_stuck = stuck.is_some();
        *unpoisoned(self.stuck.lock()) = stuck.unwrap_or_default();
        self.is_stuck.store(is_stuck, Ordering::Release);
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Acquire)
    }

    /// What is said of it.
    pub(super) fn stuck(&self) -> Stuck {
        unpoisoned(self.stuck.lock()).clone()
    }

    fn used(&self, admitted: u64) -> u64 {
        u64::try_from(self.offset.load(Ordering::Relaxed).wrapping_add_unsigned(admitted)).unwrap_or(0)
    }

    /// Whether `bytes` would be let in now. Nothing is counted.
    pub(super) fn room_for(&self, bytes: u64, ring: impl FnOnce()) -> Result<(), StoreError> {
        let limit = self.limit.load(Ordering::Relaxed);
        let used = self.used(self.admitted().wrapping_add(bytes));
        if limit != UNLIMITED && used > high(limit) {
            ring();
        }
        if limit == UNLIMITED || (bytes <= limit && (used <= limit || !self.is_stuck())) {
            return Ok(());
        }
        Err(self.refusal(bytes, limit, used))
    }

    /// Lets `bytes` in, or says why not. `ring` is called when it gets narrow.
    pub(super) fn admit(&self, bytes: u64, ring: impl FnOnce()) -> Result<(), StoreError> {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == UNLIMITED {
            return Ok(());
        }
        let used = self.used(self.admitted.fetch_add(bytes, Ordering::Relaxed).wrapping_add(bytes));
        if used > high(limit) {
            ring();
        }
        if bytes <= limit && (used <= limit || !self.is_stuck()) {
            return Ok(());
        }
        self.admitted.fetch_sub(bytes, Ordering::Relaxed);
        Err(self.refusal(bytes, limit, used))
    }

    /// `used`: with them.
    fn refusal(&self, bytes: u64, limit: u64, used: u64) -> StoreError {
        let Stuck { held_bytes, holder } = self.stuck();
        let used_bytes = used.saturating_sub(bytes);
        StoreError::OverBudget { needed_bytes: bytes, budget_bytes: limit, used_bytes, held_bytes, holder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn refused_is_only_what_does_not_fit_when_nothing_more_can_go() {
        let (admission, rung) = (Admission::default(), Cell::new(0));
        let admit = |bytes| admission.admit(bytes, || rung.set(rung.get() + 1));
        admit(u64::MAX / 2).unwrap();
        assert_eq!((rung.get(), admission.limit()), (0, None), "no budget");
        admission.settle(1000, 500, admission.admitted(), None);
        admit(400).unwrap();
        assert_eq!(rung.get(), 0);
        admit(1).unwrap();
        assert_eq!(rung.get(), 1, "above nine tenths");
        admit(500).unwrap();
        assert!(matches!(admit(1001), Err(StoreError::OverBudget { needed_bytes: 1001, budget_bytes: 1000, .. })));
        // It was counted while something came in.
        let before = admission.admitted();
        admit(10).unwrap();
        let stuck = Stuck { held_bytes: 700, holder: Some("b".into()) };
        admission.settle(1000, 960, before, Some(stuck));
        admit(30).unwrap();
        let Err(StoreError::OverBudget { used_bytes: 1000, held_bytes: 700, holder: Some(_), .. }) = admit(1) else {
            panic!("a byte too much");
        };
        assert!(admit(1).is_err(), "what was refused does not count");
        assert!(admission.room_for(1, || ()).is_err() && admission.room_for(0, || ()).is_ok());
        admission.settle(1000, 100, admission.admitted(), None);
        admit(30).unwrap();
    }
}
