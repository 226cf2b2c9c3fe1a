//! The tables of docs/reference/protocol.md, made of the citations in the tests: a doc comment of a test that begins with
//! `PROTOCOL 38: what is seen there`. The prose between the tables is written by hand.
mod citations;
mod page;

// The clauses belong to `lre conform`, which needs a gRPC stack that this tool does not.
#[path = "../../../../crates/conform/src/clauses.rs"]
mod clauses;

use crate::cargo;
use crate::tidy::Finding;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/reference/protocol.md";

/// What was made of the tests, and what is wrong with it.
struct Made {
    written: String,
    wanted: String,
    /// Citations of clauses that there are not, and clauses that nothing shows and that are not said to be missing.
    findings: Vec<Finding>,
}

fn make(root: &Path) -> Result<Made> {
    let (citations, mut findings) = citations::collect(root)?;
    let written = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let wanted = page::generate(&written, &citations)?;
    let cited: BTreeSet<u8> = citations.iter().flat_map(|citation| citation.clauses.iter().copied()).collect();
    let answered = page::not_offered(&written);
    for clause in clauses::all() {
        let demanded = matches!(clause.level, clauses::Level::Must | clauses::Level::Should);
        if demanded && !cited.contains(&clause.number) && !answered.contains(&clause.number) {
            let problem =
                format!("clause {} ({}) has no test and is not under \"Not offered\"", clause.number, clause.title);
            findings.push(Finding::new(PAGE, problem));
        }
    }
    Ok(Made { written, wanted, findings })
}

/// Rewrites the page, and says which clauses nothing shows.
pub fn update() -> Result<()> {
    let root = cargo::workspace();
    let made = make(&root)?;
    if made.written != made.wanted {
        fs::write(root.join(PAGE), &made.wanted)?;
        eprintln!("==> protocol: {PAGE} rewritten");
    }
    for finding in &made.findings {
        eprintln!("{}: {}", finding.place, finding.problem);
    }
    ensure!(made.findings.is_empty(), "protocol: {} findings", made.findings.len());
    Ok(())
}

/// What `tidy` has to say about it.
pub fn check() -> Result<Vec<Finding>> {
    let mut made = make(&cargo::workspace())?;
    if made.written != made.wanted {
        made.findings.push(Finding::new(PAGE, "has drifted from the tests: `cargo xtask protocol` rewrites it"));
    }
    Ok(made.findings)
}

#[cfg(test)]
mod tests {
    /// The committed page is what the tests say.
    #[test]
    fn the_tables_of_the_protocol_are_those_of_the_tests() {
        if std::env::var_os("UPDATE").is_some() {
            return super::update().unwrap();
        }
        let findings = super::check().unwrap();
        assert!(findings.is_empty(), "{findings:#?}");
    }
}
