//! The page: tables between markers, and what it says is not offered.
use super::citations::Citation;
use super::clauses::{self, Clause};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Stands after every generated table.
const END: &str = "<!-- end of what `cargo xtask protocol` writes -->";

/// Where the table of a section begins.
fn marker(section: char) -> String {
    format!("<!-- clauses of {section} -->\n")
}

/// `page` with every table made anew.
pub fn generate(page: &str, citations: &[Citation]) -> Result<String> {
    let clauses = clauses::all();
    let mut page = page.to_owned();
    for (section, _) in clauses::SECTIONS {
        let marker = marker(section);
        let start = page.find(&marker).with_context(|| format!("no line {}", marker.trim()))? + marker.len();
        let length = page[start..].find(END).with_context(|| format!("{} has no end", marker.trim()))?;
        let of_section = clauses.iter().filter(|clause| clause.section == section);
        page.replace_range(start..start + length, &table(of_section, citations));
    }
    ensure!(page.matches(END).count() == clauses::SECTIONS.len(), "one table for each section, and no other");
    Ok(page)
}

/// One row for each test; the clause stands in its first.
fn table<'a>(of_section: impl Iterator<Item = &'a Clause>, citations: &[Citation]) -> String {
    let mut text = String::from("\n| n | | clause | what is seen | test |\n|--:|---|---|---|---|\n");
    for clause in of_section {
        let mut first = format!("| {} | {} | {}", clause.number, clause.level.letter(), clause.title);
        let shown = citations.iter().filter(|citation| citation.clauses.contains(&clause.number));
        for citation in shown {
            let Citation { behaviour, file, test, .. } = citation;
            let behaviour = behaviour.replace('|', "\\|");
            let _ = writeln!(text, "{first} | {behaviour} | [`{test}`](../../{file}) |");
            first = String::from("| | |");
        }
        if first.len() > 5 {
            let _ = writeln!(text, "{first} | | |");
        }
    }
    text.push('\n');
    text
}

/// The numbers in the first column of the table under "Not offered".
pub fn not_offered(page: &str) -> BTreeSet<u8> {
    let section = page.split_once("\n## Not offered\n").map_or("", |(_, after)| after);
    let section = section.split("\n## ").next().unwrap_or_default();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    cells.flat_map(|cell| cell.split([',', ' ']).flat_map(range).collect::<Vec<u8>>()).collect()
}

/// `22` or `86-88`.
fn range(word: &str) -> Vec<u8> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    match (first.parse::<u8>(), last.parse::<u8>()) {
        (Ok(first), Ok(last)) => (first..=last).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_is_read_from_its_table() {
        let page = "x\n## Not offered\n\n| n | what |\n|--:|---|\n| 2 | RetryInfo |\n| 66, 86-88 | more |\n\n## Next\n\n| 90 | x |\n";
        assert_eq!(not_offered(page), BTreeSet::from([2, 66, 86, 87, 88]));
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let mut page = String::from("prose\n");
        for (section, _) in clauses::SECTIONS {
            let _ = write!(page, "{}stale{END}\nprose of {section}\n", marker(section));
        }
        let shown = Citation {
            clauses: vec![43],
            behaviour: "a | b".to_owned(),
            file: "crates/x/tests/y.rs".to_owned(),
            test: "z".to_owned(),
        };
        let made = generate(&page, &[shown]).unwrap();
        assert!(
            made.contains("| 43 | M | An unknown action is NOT_FOUND | a \\| b | [`z`](../../crates/x/tests/y.rs) |")
        );
        assert!(!made.contains("stale") && made.contains("prose of D\n"));
        assert_eq!(generate(&made, &[]).unwrap().lines().count(), made.lines().count());
        assert!(generate("nothing", &[]).is_err());
    }
}
