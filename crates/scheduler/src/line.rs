//! The line before the slots: what could start now, in order.
use crate::ExecutionId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Executions that may start as soon as there is a slot. Two orders over the same members.
#[derive(Default)]
pub(crate) struct Line {
    by_rank: BTreeSet<(i32, ExecutionId)>,
    by_age: BTreeSet<ExecutionId>,
}

impl Line {
    pub(crate) fn enter(&mut self, priority: i32, execution: ExecutionId) {
        self.by_rank.insert((priority, execution));
        self.by_age.insert(execution);
    }

    pub(crate) fn leave(&mut self, priority: i32, execution: ExecutionId) {
        self.by_rank.remove(&(priority, execution));
        self.by_age.remove(&execution);
    }

    /// Who is next: the oldest, where it has waited for `patience`; else the lowest priority
    /// number, and of these the oldest. Executions are numbered in the order in which they came.
    pub(crate) fn next(
        &self,
        now: Instant,
        patience: Duration,
        since: impl Fn(ExecutionId) -> Option<Instant>,
    ) -> Option<ExecutionId> {
        let oldest = *self.by_age.first()?;
        if since(oldest).is_some_and(|since| now.saturating_duration_since(since) >= patience) {
            return Some(oldest);
        }
        self.by_rank.first().map(|(_, execution)| *execution)
    }
}
