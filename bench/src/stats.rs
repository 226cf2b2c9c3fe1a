//! Samples and what is said of them.
use std::fmt;
use std::time::Duration;

/// Durations of one kind of event.
#[derive(Default, Clone)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one.
    pub fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The sample below which `share` of all lie; zero where there is none.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let at = (last as f64 * share).round() as usize;
        sorted.get(at).copied().unwrap_or_default()
    }

    /// The median.
    pub fn p50(&self) -> Duration {
        self.quantile(0.5)
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (p95 {}, n {})", readable(self.p50()), readable(self.quantile(0.95)), self.0.len())
    }
}

/// As all rows say it.
pub fn readable(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds => format!("{:.2} ms", seconds * 1e3),
    }
}

/// Medians of the stages of many executions, on one line.
pub fn stages(all: &[Vec<(&'static str, Duration)>]) -> String {
    let names = all.first().map(|first| first.iter().map(|(name, _)| *name).collect::<Vec<_>>()).unwrap_or_default();
    let median = |i: usize| {
        let mut samples = Samples::default();
        all.iter().filter_map(|stages| stages.get(i)).for_each(|(_, duration)| samples.add(*duration));
        samples.p50().as_secs_f64() * 1e3
    };
    names.iter().enumerate().map(|(i, name)| format!("{name} {:.2}", median(i))).collect::<Vec<_>>().join(", ")
}
