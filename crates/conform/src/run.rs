//! Running the checks.
use crate::check::{Check, Outcome, Report};
use crate::checks;
use crate::probe::Probe;
use crate::target::{Target, Unreachable};
use crate::verdict;
use futures::StreamExt;
use std::time::Instant;

/// Checks that ask at the same time. Most of them wait for the server.
const AT_ONCE: usize = 4;

/// Which checks.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Letters of sections and numbers of clauses; none means all.
    pub only: Vec<String>,
}

impl Choice {
    /// Whether this one is chosen.
    #[must_use]
    pub fn takes(&self, check: &Check) -> bool {
        let clause = check.clause();
        let meant = |word: &String| {
            word.eq_ignore_ascii_case(&clause.section.to_string()) || *word == clause.number.to_string()
        };
        self.only.is_empty() || self.only.iter().any(meant)
    }
}

/// All checks, by clause.
#[must_use]
pub fn all() -> Vec<Check> {
    let mut all: Vec<Check> = checks::ALL.iter().flat_map(|checks| checks.iter().copied()).collect();
    all.sort_by_key(|check| check.clause);
    all
}

/// Asks. `told` hears of each check in the order of the clauses, as soon as it and all before it have ended.
///
/// # Errors
/// Nobody answers, or somebody who does not speak this API at all.
pub async fn run(target: &Target, choice: &Choice, mut told: impl FnMut(&Report)) -> Result<Vec<Report>, Unreachable> {
    let probe = Probe::start(target).await?;
    let chosen = all().into_iter().filter(|check| choice.takes(check));
    let mut asked = futures::stream::iter(chosen.map(|check| ask(&probe, check))).buffered(AT_ONCE);
    let mut reports = Vec::new();
    while let Some(report) = asked.next().await {
        told(&report);
        reports.push(report);
    }
    Ok(reports)
}

async fn ask(probe: &Probe, check: Check) -> Report {
    let start = Instant::now();
    let patience = probe.target().patience;
    let verdict = match tokio::time::timeout(patience, (check.ask)(probe)).await {
        Ok(verdict) => verdict,
        Err(_) => verdict::fail(format!("no end within {} s", patience.as_secs())),
    };
    Report { check, outcome: Outcome::of(check.level, verdict), took: start.elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_check_has_a_clause_and_a_name_of_its_own() {
        let all = all();
        let names: BTreeSet<&str> = all.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), all.len());
        assert!(all.len() >= 100, "{} checks", all.len());
        for check in &all {
            // A part of a clause can be less than the clause, never more: that is what "must" means.
            assert!(
                check.level >= check.clause().level || check.clause().level > crate::Level::Should,
                "{}",
                check.name
            );
        }
    }

    #[test]
    fn sections_and_numbers_choose() {
        let chosen = |only: &[&str]| {
            let choice = Choice { only: only.iter().map(|word| (*word).to_owned()).collect() };
            all().into_iter().filter(|check| choice.takes(check)).map(|check| check.clause).collect::<BTreeSet<_>>()
        };
        assert_eq!(chosen(&["40"]), [40].into());
        assert!(chosen(&["b"]).iter().all(|clause| (9..=19).contains(clause)));
        assert!(chosen(&["b", "40"]).contains(&40));
    }
}
