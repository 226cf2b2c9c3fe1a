//! What is printed: each row as it comes, and all of them as a table at the end.
use crate::stats::{Samples, readable};
use std::time::Duration;

/// One measured promise.
pub struct Row {
    name: String,
    ours: String,
    p50: Duration,
    other: String,
    ratio: Option<f64>,
    bars: Vec<Bar>,
    notes: Vec<String>,
}

/// What the row is held to.
struct Bar {
    says: String,
    met: bool,
}

impl Row {
    /// A row of which `ours` was measured.
    pub fn new(name: &str, ours: impl Into<String>) -> Self {
        let (name, ours) = (name.to_owned(), ours.into());
        let (p50, other) = (Duration::ZERO, String::new());
        Self { name, ours, p50, other, ratio: None, bars: Vec::new(), notes: Vec::new() }
    }

    /// A row about how long something takes: the median counts.
    pub fn of(name: &str, ours: &Samples) -> Self {
        Self { p50: ours.p50(), ..Self::new(name, ours.to_string()) }
    }

    /// Holds the median to an absolute figure, which is for a quiet machine of the kind that SPECIFICATION.md names.
    pub fn at_most(self, limit: Duration) -> Self {
        let met = self.p50 <= limit;
        self.bar(format!("<= {}", readable(limit)), met)
    }

    /// Compares the median with that of something else, taken in the same run, and holds it to a share of it.
    pub fn at_most_of(self, share: f64, other: &str, p50: Duration) -> Self {
        let ratio = self.p50.as_secs_f64() / p50.as_secs_f64().max(1e-9);
        self.ratio(ratio, share, &format!("{other}: {}", readable(p50)))
    }

    /// Compares without holding it to anything.
    pub fn beside(self, other: &str, p50: Duration) -> Self {
        let ratio = self.p50.as_secs_f64() / p50.as_secs_f64().max(1e-9);
        self.other(ratio, &format!("{other}: {}", readable(p50)))
    }

    /// The same, for what is no duration.
    pub fn other(mut self, ratio: f64, other: &str) -> Self {
        (self.ratio, self.other) = (Some(ratio), other.to_owned());
        self
    }

    /// A ratio to something else, and the most that it may be. Of several, the table has the first.
    pub fn ratio(mut self, ratio: f64, at_most: f64, other: &str) -> Self {
        if self.ratio.is_none() {
            self.ratio = Some(ratio);
        }
        if !self.other.is_empty() {
            self.other.push_str("; ");
        }
        self.other.push_str(other);
        self.bar(format!("<= {at_most:.2}x of {} (is {ratio:.3}x)", title(other)), ratio <= at_most)
    }

    /// Compares with one more, without holding it to that.
    pub fn also(mut self, other: &str, p50: Duration) -> Self {
        let ratio = self.p50.as_secs_f64() / p50.as_secs_f64().max(1e-9);
        self.other.push_str(&format!("; {other}: {} ({ratio:.3}x)", readable(p50)));
        self
    }

    /// Any other bar.
    pub fn bar(mut self, says: impl Into<String>, met: bool) -> Self {
        self.bars.push(Bar { says: says.into(), met });
        self
    }

    /// Something beside, that is held to nothing.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    fn verdict(&self) -> &'static str {
        match &self.bars[..] {
            [] => "-",
            bars if bars.iter().all(|bar| bar.met) => "pass",
            _ => "falls short",
        }
    }

    fn bars(&self) -> String {
        self.bars.iter().map(|bar| bar.says.clone()).collect::<Vec<_>>().join("; ")
    }

    fn print(&self) {
        println!("{:<12} {}", self.verdict(), self.name);
        println!("    ours   {}", self.ours);
        if !self.other.is_empty() {
            println!("    other  {}", self.other);
        }
        for bar in &self.bars {
            println!("    bar    {}: {}", bar.says, if bar.met { "pass" } else { "falls short" });
        }
        for note in &self.notes {
            println!("    {note}");
        }
    }
}

/// The part before the figure: `bubblewrap alone: 5.000 ms`.
fn title(other: &str) -> &str {
    other.rsplit_once(": ").map_or(other, |(title, _)| title)
}

/// All rows.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    broken: Vec<String>,
}

impl Report {
    /// Prints a row.
    pub fn row(&mut self, row: Row) {
        row.print();
        self.rows.push(row);
    }

    /// A scenario could not run, which is no figure and an error at the end; the others still run.
    pub fn broken(&mut self, scenario: &str, error: &anyhow::Error) {
        println!("cannot run   {scenario}: {error:#}");
        self.broken.push(scenario.to_owned());
    }

    /// Prints the table, ready for a page.
    ///
    /// # Errors
    /// Some scenario could not run. To fall short is none: absolute figures are for a quiet machine.
    pub fn end(self) -> anyhow::Result<()> {
        println!("\n| scenario | bar | ours | other, same run | ratio | verdict |\n|---|---|---|---|---|---|");
        for row in &self.rows {
            let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let (bars, verdict) = (row.bars(), row.verdict());
            println!("| {} | {bars} | {} | {} | {ratio} | {verdict} |", row.name, row.ours, row.other);
        }
        let short: Vec<&str> =
            self.rows.iter().filter(|row| row.verdict() == "falls short").map(|row| row.name.as_str()).collect();
        match &short[..] {
            [] => println!("\nnothing falls short"),
            rows => println!("\nfalls short: {}", rows.join("; ")),
        }
        anyhow::ensure!(self.broken.is_empty(), "could not run: {}", self.broken.join("; "));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(milliseconds: u64) -> Row {
        let mut samples = Samples::default();
        samples.add(Duration::from_millis(milliseconds));
        Row::of("row", &samples)
    }

    #[test]
    fn every_bar_counts() {
        let tens = Duration::from_millis(10);
        assert_eq!(row(2).verdict(), "-");
        assert_eq!(row(2).at_most(Duration::from_millis(2)).at_most_of(0.2, "other", tens).verdict(), "pass");
        assert_eq!(row(2).at_most(Duration::from_millis(1)).at_most_of(0.2, "other", tens).verdict(), "falls short");
        assert_eq!(row(3).at_most(Duration::from_millis(3)).at_most_of(0.2, "other", tens).verdict(), "falls short");
    }

    #[test]
    fn the_table_has_the_first_of_two_ratios() {
        let twice = row(8).at_most_of(1.0, "this", Duration::from_millis(4));
        let row = twice.at_most_of(1.05, "that", Duration::from_millis(16));
        assert_eq!(row.ratio, Some(2.0));
        assert_eq!(row.other, "this: 4.00 ms; that: 16.00 ms");
        assert_eq!(row.bars(), "<= 1.00x of this (is 2.000x); <= 1.05x of that (is 0.500x)");
    }
}
