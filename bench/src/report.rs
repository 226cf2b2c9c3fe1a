//! The table at the end.
use crate::stats::Samples;
use std::time::Duration;

/// One measured promise.
pub struct Row {
    what: String,
    ours: Samples,
    target: Option<Duration>,
    other: Option<(String, Duration, Samples)>,
}

impl Row {
    /// A row.
    pub fn new(what: &str, ours: Samples) -> Self {
        Self { what: what.to_owned(), ours, target: None, other: None }
    }

    /// The median that SPECIFICATION.md promises for this machine.
    pub fn target(mut self, p50: Duration) -> Self {
        self.target = Some(p50);
        self
    }

    /// What it is compared with in the same run.
    pub fn against(mut self, other: &str, p50: Duration, samples: &Samples) -> Self {
        self.other = Some((other.to_owned(), p50, samples.clone()));
        self
    }
}

/// All rows, printed as they come.
#[derive(Default)]
pub struct Report {
    fell_short: Vec<String>,
}

impl Report {
    /// Prints a row.
    pub fn row(&mut self, row: Row) {
        println!("{:<48} {}", row.what, row.ours);
        if let Some((what, p50, samples)) = &row.other {
            println!("    {what}: {samples}");
            let ratio = row.ours.p50().as_secs_f64() / p50.as_secs_f64().max(1e-9);
            println!("    ratio of medians {ratio:.3} (against {:.3} ms)", p50.as_secs_f64() * 1e3);
        }
        if let Some(target) = row.target {
            let met = row.ours.p50() <= target;
            let word = if met { "pass" } else { "falls short" };
            println!("    target p50 <= {:.3} ms: {word}", target.as_secs_f64() * 1e3);
            if !met {
                self.fell_short.push(row.what);
            }
        }
    }

    /// What did not reach its target.
    pub fn fell_short(&self) -> &[String] {
        &self.fell_short
    }
}
