//! Checks, and what came out of them.
use crate::clauses::{self, Clause, Level};
use crate::probe::Probe;
use crate::verdict::{Stop, Verdict};
use futures::future::BoxFuture;
use std::time::Duration;

/// One question to a server.
#[derive(Clone, Copy)]
pub struct Check {
    /// The clause that it is about.
    pub clause: u8,
    /// How much the API asks for it. A clause that must be kept can have parts that only should.
    pub level: Level,
    /// What is expected, in one sentence; unique.
    pub name: &'static str,
    pub(crate) ask: for<'a> fn(&'a Probe) -> BoxFuture<'a, Verdict>,
}

impl Check {
    /// The clause that it is about.
    ///
    /// # Panics
    /// A check of a clause that there is not; a test sees to that.
    #[must_use]
    pub fn clause(&self) -> Clause {
        clauses::all().into_iter().find(|clause| clause.number == self.clause).expect("a clause of the list")
    }
}

/// Checks as a table: level, clause, what is expected, and the function that asks.
macro_rules! checks {
    ($($level:ident $clause:literal $name:literal $ask:path;)*) => {
        /// The checks of this file.
        pub(crate) const CHECKS: &[$crate::check::Check] = &[$($crate::check::Check {
            clause: $clause,
            level: $crate::clauses::Level::$level,
            name: $name,
            ask: |probe| Box::pin($ask(probe)),
        }),*];
    };
}
pub(crate) use checks;

/// What came out of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As expected.
    Pass,
    /// Something else: what was expected, what was seen.
    Fail(String),
    /// Something else, where the API allows it.
    Note(String),
    /// It could not be asked: what is missing.
    Skipped(String),
}

impl Outcome {
    pub(crate) fn of(level: Level, verdict: Verdict) -> Self {
        match verdict {
            Ok(()) => Self::Pass,
            Err(Stop::Skip(why)) => Self::Skipped(why),
            Err(Stop::Fail(difference)) if level <= Level::Should => Self::Fail(difference),
            Err(Stop::Fail(difference)) => Self::Note(difference),
        }
    }

    /// One word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "fail",
            Self::Note(_) => "note",
            Self::Skipped(_) => "skipped",
        }
    }

    /// What there is to say about it.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Pass => None,
            Self::Fail(why) | Self::Note(why) | Self::Skipped(why) => Some(why),
        }
    }
}

/// A check and its outcome.
#[derive(Clone)]
pub struct Report {
    /// What was asked.
    pub check: Check,
    /// What came out.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// How many there are of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// As expected.
    pub passed: usize,
    /// What the API demands, and is not so.
    pub failed_must: usize,
    /// What the API asks for, and is not so.
    pub failed_should: usize,
    /// Differences that the API allows.
    pub noted: usize,
    /// Could not be asked.
    pub skipped: usize,
}

impl Summary {
    /// Of these.
    #[must_use]
    pub fn of(reports: &[Report]) -> Self {
        let mut summary = Self::default();
        for report in reports {
            match (&report.outcome, report.check.level) {
                (Outcome::Pass, _) => summary.passed += 1,
                (Outcome::Fail(_), Level::Must) => summary.failed_must += 1,
                (Outcome::Fail(_), _) => summary.failed_should += 1,
                (Outcome::Note(_), _) => summary.noted += 1,
                (Outcome::Skipped(_), _) => summary.skipped += 1,
            }
        }
        summary
    }
}
