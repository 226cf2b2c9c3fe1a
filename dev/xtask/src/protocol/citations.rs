//! Finding the citations.
use super::clauses;
use crate::tidy::Finding;
use crate::tidy::sources;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// One test that shows something of the contract.
#[derive(Debug, PartialEq, Eq)]
pub struct Citation {
    pub clauses: Vec<u8>,
    /// A sentence.
    pub behaviour: String,
    /// Relative to the workspace.
    pub file: String,
    pub test: String,
}

/// All of them, by file and line, and those that cite what there is not.
pub fn collect(root: &Path) -> Result<(Vec<Citation>, Vec<Finding>)> {
    let mut all = Vec::new();
    let mut findings = Vec::new();
    for file in sources::committed(root)? {
        let looked_at = ["crates/", "tests/"].iter().any(|folder| file.starts_with(folder));
        // A name that git lists and that is gone was deleted.
        if !looked_at || !file.ends_with(".rs") || !root.join(&file).exists() {
            continue;
        }
        let text = fs::read_to_string(root.join(&file)).with_context(|| file.clone())?;
        for citation in of_file(&file, &text) {
            if let Some(unknown) = citation.clauses.iter().find(|n| !clauses::all().iter().any(|c| c.number == **n)) {
                findings.push(Finding::new(
                    &file,
                    format!("`{}` cites clause {unknown}, which there is not", citation.test),
                ));
                continue;
            }
            all.push(citation);
        }
    }
    Ok((all, findings))
}

/// Doc comments followed by attributes, one of them `test`, and a function.
fn of_file(file: &str, text: &str) -> Vec<Citation> {
    let mut all = Vec::new();
    let mut doc: Vec<&str> = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            doc.push(comment.trim());
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            let name = is_test.then(|| function_name(line)).flatten();
            if let (Some(test), Some((clauses, behaviour))) = (name, citation(&doc)) {
                all.push(Citation { clauses, behaviour, file: file.to_owned(), test: test.to_owned() });
            }
            doc.clear();
            is_test = false;
        }
    }
    all
}

fn function_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ").unwrap_or(line);
    let rest = rest.strip_prefix("async ").unwrap_or(rest).strip_prefix("fn ")?;
    rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()
}

/// `PROTOCOL 38, 40 to 42, bad input: one sentence. More.` -> the numbers and the sentence.
fn citation(doc: &[&str]) -> Option<(Vec<u8>, String)> {
    let paragraph: Vec<&str> = doc.iter().take_while(|line| !line.is_empty()).copied().collect();
    let text = paragraph.join(" ");
    let (cited, text) = text.strip_prefix("PROTOCOL")?.split_once(':')?;
    let numbers = numbers(cited);
    let sentence = match text.split_once(". ") {
        Some((first, _)) => first,
        None => text.trim_end_matches('.'),
    };
    let bad = if cited.contains("bad input") { "bad input: " } else { "" };
    (!numbers.is_empty()).then(|| (numbers, format!("{bad}{}", sentence.trim())))
}

/// Words that are no numbers are passed over, but for `to`.
fn numbers(cited: &str) -> Vec<u8> {
    let mut all: Vec<u8> = Vec::new();
    let mut range = false;
    for word in cited.split([' ', ',']).filter(|word| !word.is_empty()) {
        match word.parse::<u8>() {
            Ok(number) => {
                let first = if range { all.last().map_or(number, |last| last + 1) } else { number };
                all.extend(first..=number);
                range = false;
            }
            Err(_) => range = word == "to",
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_cite_are_found() {
        let text = "/// PROTOCOL 38: an unknown upload has 0 bytes. More words,\n/// on two lines.\n#[tokio::test(start_paused = true)]\nasync fn one() {}\n\
                    /// PROTOCOL, 20 to 22 and 46, bad input: malformed\n/// ones.\n///\n/// Why.\n#[test]\nfn two() {}\n\
                    /// PROTOCOL 5: no test.\nfn three() {}\n/// Says nothing.\n#[test]\nfn four() {}\n/// PROTOCOL, E: a section.\n#[test]\nfn five() {}\n";
        let found = of_file("a.rs", text);
        let citation = |clauses: &[u8], behaviour: &str, test: &str| Citation {
            clauses: clauses.to_vec(),
            behaviour: behaviour.to_owned(),
            file: "a.rs".to_owned(),
            test: test.to_owned(),
        };
        let two = citation(&[20, 21, 22, 46], "bad input: malformed ones", "two");
        assert_eq!(found, [citation(&[38], "an unknown upload has 0 bytes", "one"), two]);
    }
}
