//! What may stand in a committed file.
use super::Finding;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A file that is longer is two files. One that has to be long says why in its first lines: `// tidy: long: reason`.
const LINES_AT_MOST: usize = 600;

/// What names one machine, and therefore has no place in what everybody gets.
const MACHINES: &[&str] = &["/work/", "/home/", "/root/"];

/// People who do not exist, for documentation and tests.
const NOBODY: &[&str] =
    &["/home/a/", "/home/b/", "/home/lre/", "/home/me/", "/home/other/", "/home/someone/", "/home/user/"];

/// This file, which has to name what it looks for.
const ITSELF: &str = "dev/xtask/src/tidy/sources.rs";

/// Every file that git knows or would add.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in committed(root)? {
        // A name that git lists and that is not a file was deleted or is a submodule.
        let Ok(bytes) = fs::read(root.join(&name)) else { continue };
        // What is not text has no lines to judge.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        findings.extend(check_text(&name, &text));
    }
    Ok(findings)
}

/// What git knows or would add, relative to `root`.
pub fn committed(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git cannot be run")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let names = String::from_utf8(output.stdout)?;
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn check_text(name: &str, text: &str) -> Vec<Finding> {
    if name == ITSELF {
        return Vec::new();
    }
    let mut findings = machines(name, text);
    if let Some(language) = Language::of(name) {
        findings.extend(unexplained_notes(name, text, language));
    }
    if name.ends_with(".rs") {
        findings.extend(long(name, text));
        findings.extend(licence_wall(name, text));
        findings.extend(unsafe_code(name, text));
    }
    findings
}

#[derive(Clone, Copy)]
struct Language {
    comment: &'static str,
}

impl Language {
    fn of(name: &str) -> Option<Self> {
        match Path::new(name).extension()?.to_str()? {
            "rs" | "cpp" | "h" => Some(Self { comment: "//" }),
            "sh" | "toml" | "bzl" => Some(Self { comment: "#" }),
            _ => None,
        }
    }
}

fn at(name: &str, index: usize) -> String {
    format!("{name}:{}", index + 1)
}

fn machines(name: &str, text: &str) -> Vec<Finding> {
    let found = |line: &str, machine: &str| {
        line.match_indices(machine).any(|(start, _)| {
            let inside_a_path = line[..start].ends_with(|c: char| c.is_ascii_alphanumeric() || "/._-}".contains(c));
            !inside_a_path && !NOBODY.iter().any(|nobody| is_home_of(&line[start..], nobody))
        })
    };
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for machine in MACHINES.iter().filter(|machine| found(line, machine)) {
            findings.push(Finding::new(at(name, index), format!("`{machine}` names one machine")));
        }
    }
    findings
}

/// Whether `text` begins with this home or a path in it.
fn is_home_of(text: &str, home: &str) -> bool {
    let bare = home.trim_end_matches('/');
    text.strip_prefix(bare)
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "._-".contains(c)))
}

/// A note for later without what and why is a wish. `TODO: what, because why` says enough: four words or more.
fn unexplained_notes(name: &str, text: &str, language: Language) -> Vec<Finding> {
    const NOTES: [&str; 3] = ["TODO", "FIXME", "XXX"];
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((_, comment)) = line.split_once(language.comment) else { continue };
        let Some(note) = NOTES.iter().find_map(|note| comment.trim_start_matches('/').trim().strip_prefix(note)) else {
            continue;
        };
        if !note.starts_with(':') || note.split_whitespace().count() < 5 {
            findings.push(Finding::new(at(name, index), "a note for later without a reason"));
        }
    }
    findings
}

fn long(name: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let explained = text.lines().take(5).any(|line| line.starts_with("// tidy: long: "));
    (lines > LINES_AT_MOST && !explained)
        .then(|| Finding::new(name, format!("{lines} lines, at most {LINES_AT_MOST}: split it")))
}

/// The licence stands in LICENSE and in every manifest; a wall in front of every file tells nobody anything.
fn licence_wall(name: &str, text: &str) -> Option<Finding> {
    let wall = text.lines().take(3).any(|line| line.contains("Copyright") || line.contains("SPDX-License"));
    wall.then(|| Finding::new(name, "a licence header"))
}

/// `unsafe` lives in crates/sandbox and nowhere else, and each of its blocks has a proof in front.
fn unsafe_code(name: &str, text: &str) -> Vec<Finding> {
    let inside = name.starts_with("crates/sandbox/");
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if !has_unsafe(code) {
            continue;
        }
        if !inside {
            findings.push(Finding::new(at(name, index), "`unsafe` outside crates/sandbox"));
        } else if code.contains("unsafe {") && !proven(&lines, index) {
            findings.push(Finding::new(at(name, index), "an `unsafe` block without a SAFETY: comment"));
        }
    }
    findings
}

fn has_unsafe(code: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait", "unsafe(", "allow(unsafe_code"]
        .iter()
        .any(|form| code.split('"').step_by(2).any(|outside_strings| outside_strings.contains(form)))
}

/// A SAFETY comment ends on this line or stands before the statement: at most a handful of lines up.
fn proven(lines: &[&str], index: usize) -> bool {
    lines[index.saturating_sub(8)..=index].iter().any(|line| line.contains("SAFETY:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problems found in `text`, as `line` numbers and words.
    fn found(name: &str, text: &str) -> Vec<String> {
        check_text(name, text).into_iter().map(|finding| format!("{} {}", finding.place, finding.problem)).collect()
    }

    #[test]
    fn a_path_of_one_machine_is_found_in_any_text() {
        assert_eq!(found("a.md", "see\n/home/anna/x").len(), 1);
        assert!(found("a.md", "/home/anna/x")[0].starts_with("a.md:1 "));
        assert!(found("a.md", "in /home/user/project and \"/home/a\"").is_empty());
        assert_eq!(found("a.md", "/home/anna").len(), 1);
        assert!(found("a.md", "/lre/work/here").is_empty());
    }

    #[test]
    fn a_note_needs_a_reason() {
        assert_eq!(found("a.rs", "// TODO later").len(), 1);
        assert_eq!(found("a.sh", "# FIXME: soon").len(), 1);
        assert!(found("a.rs", "// TODO: read both forms, since old servers send one").is_empty());
        assert!(found("a.rs", "let todo = \"TODO\";").is_empty());
    }

    #[test]
    fn a_long_file_says_why() {
        let long = "x\n".repeat(601);
        assert_eq!(found("a.rs", &long).len(), 1);
        assert!(found("a.rs", &format!("// tidy: long: one table\n{long}")).is_empty());
        assert!(found("a.md", &long).is_empty());
    }

    #[test]
    fn unsafe_has_one_home_and_a_proof() {
        let block = "unsafe { f() }";
        assert_eq!(found("crates/store/src/a.rs", block).len(), 1);
        assert_eq!(found("crates/sandbox/src/a.rs", block).len(), 1);
        assert!(found("crates/sandbox/src/a.rs", &format!("// SAFETY: f has no conditions.\n{block}")).is_empty());
        assert!(found("crates/store/src/a.rs", "// unsafe { in a comment }\nlet s = \"unsafe {\";").is_empty());
        assert_eq!(found("crates/store/src/a.rs", "#[allow(unsafe_code)]").len(), 1);
    }

    #[test]
    fn no_licence_walls() {
        assert_eq!(found("a.rs", "// Copyright somebody").len(), 1);
    }
}
