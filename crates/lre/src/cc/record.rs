//! What `lre cc` did: one line for each invocation in a log, which `lre cc --stats` sums up.
use crate::commands::{Context, Done};
use crate::exit::{OrProblem, Problem};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// A log that is longer is put aside, in bytes: some 100,000 invocations.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// `compile`; `local` for whatever is no compile of one source; `refused`.
    pub what: String,
    /// `hit`, `ran`, `failed`.
    pub outcome: String,
    /// Why it was not a compile, or not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `hit` or `ran`: the look for headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<String>,
    /// What was compiled or made.
    pub file: String,
    /// The digest of the action.
    #[serde(default)]
    pub action: String,
    /// How long it took.
    pub milliseconds: u64,
    /// Of the compiler.
    pub exit_code: i32,
}

impl Record {
    /// For people.
    #[must_use]
    pub fn line(&self) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let how = if self.what == "local" { "local run in the toolchain" } else { &self.what };
        let scan = self.scan.as_ref().map(|scan| format!(", scan {scan}")).unwrap_or_default();
        format!("lre cc: {} {} ({how}{reason}{scan}, {} ms)", self.outcome, self.file, self.milliseconds)
    }

    /// Writes it down. A log that cannot be written fails no build.
    pub fn keep(&self, context: &Context, verbose: bool) {
        let said = std::env::var("LRE_CC_LOG").ok();
        if verbose || said.as_deref() == Some("-") {
            eprintln!("{}", self.line());
        }
        let path = path(context);
        let write = || {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            if std::fs::metadata(&path).is_ok_and(|m| m.len() > LOG_BYTES_MAX) {
                std::fs::rename(&path, path.with_extension("jsonl.1"))?;
            }
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
            // One write for one line: many write at once.
            file.write_all(format!("{}\n", serde_json::to_string(self)?).as_bytes())
        };
        if let Err(e) = write() {
            tracing::debug!(path = %path.display(), error = %e, "the log of lre cc");
        }
    }
}

/// `LRE_CC_LOG`, else a file of this user.
fn path(context: &Context) -> PathBuf {
    match std::env::var_os("LRE_CC_LOG").filter(|path| !path.is_empty() && path != "-") {
        Some(path) => path.into(),
        None => context.paths.state.join("cc.jsonl"),
    }
}

/// `lre cc --stats`, and `--zero-stats`.
///
/// # Errors
/// The log cannot be read or removed.
pub fn stats(context: &Context, zero: bool, json: bool) -> Done {
    let path = path(context);
    if zero {
        return match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Problem::error(format!("cannot remove {}", path.display())).why(e))
            }
            _ => Ok(None),
        };
    }
    let (counts, reasons) = summed(&read(&path)?);
    if json {
        say!("{:#}", json!({ "schema_version": 1, "log": path, "invocations": counts, "reasons": reasons }));
        return Ok(None);
    }
    for (name, count) in &counts {
        say!("{count:8}  {name}");
    }
    if !reasons.is_empty() {
        say!("local runs in the toolchain, and refusals, by reason:");
        reasons.iter().for_each(|(name, count)| say!("{count:8}  {name}"));
    }
    eprintln!("from {}", path.display());
    Ok(None)
}

fn read(path: &Path) -> Result<Vec<Record>, Problem> {
    match std::fs::File::open(path) {
        Ok(file) => {
            let lines = BufReader::new(file).lines().map_while(Result::ok);
            // A line that a newer version wrote is not counted.
            Ok(lines.filter_map(|line| serde_json::from_str(&line).ok()).collect())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e).or_problem(format!("cannot read {}", path.display())),
    }
}

type Counts = BTreeMap<String, usize>;

fn summed(records: &[Record]) -> (Counts, Counts) {
    let (mut counts, mut reasons) = (Counts::new(), Counts::new());
    for record in records {
        *counts.entry(format!("{} {}", record.what, record.outcome)).or_default() += 1;
        if let Some(scan) = &record.scan {
            *counts.entry(format!("scan {scan}")).or_default() += 1;
        }
        if let Some(reason) = &record.reason {
            *reasons.entry(reason.clone()).or_default() += 1;
        }
    }
    (counts, reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_summed_up() {
        let compile = |outcome: &str| Record {
            what: "compile".into(),
            outcome: outcome.into(),
            scan: Some("hit".into()),
            ..Record::default()
        };
        let link = Record { what: "local".into(), reason: Some("it links".into()), ..compile("ran") };
        let (counts, reasons) = summed(&[compile("hit"), compile("hit"), link.clone()]);
        assert_eq!(counts["compile hit"], 2);
        assert_eq!((counts["local ran"], counts["scan hit"], reasons["it links"]), (1, 3, 1));
        let record = Record { file: "a.c".into(), milliseconds: 3, scan: None, ..link };
        assert_eq!(record.line(), "lre cc: ran a.c (local run in the toolchain: it links, 3 ms)");
    }
}
