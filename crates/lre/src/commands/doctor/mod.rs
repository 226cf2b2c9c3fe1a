//! `lre doctor`: what works on this machine, what does not, and the fix.
mod bazel;
mod host;
mod store;

use crate::args::JsonArgs;
use crate::commands::{Context, Done};
use crate::exit::Exit;
use crate::instance::Instance;
use crate::ui;
use serde_json::{Value, json};
use std::fmt::Write;

/// The user's Bazel, where there is one.
#[must_use]
pub fn bazel_program() -> Option<std::path::PathBuf> {
    bazel::program(std::env::var_os("PATH").as_deref())
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but not as well as it could.
    Warn,
    /// Something will not work.
    Fail,
    /// Nothing will work: no sandbox.
    Fatal,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at, in one or two words.
    pub what: String,
    /// What was seen.
    pub detail: String,
    /// What to do.
    pub fix: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { level: Level::Ok, what: what.into(), detail: detail.into(), fix: None }
    }

    /// Worth a look.
    pub fn warn(what: impl Into<String>, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warn, fix: Some(fix.into()), ..Self::ok(what, detail) }
    }

    /// Will not work.
    pub fn fail(what: impl Into<String>, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Fail, ..Self::warn(what, detail, fix) }
    }
}

/// Runs `lre doctor`.
///
/// # Errors
/// None of its own: what is wrong is a finding.
pub fn run(args: &JsonArgs, context: &Context) -> Done {
    let mut findings = host::sandbox(&context.config.store);
    findings.extend(host::machine());
    findings.extend(host::limits(&context.config, Instance::running(&context.config.store).as_ref()));
    findings.extend(store::look(context));
    findings.extend(bazel::look(context));
    match args.json {
        true => say!("{:#}", as_json(&findings)),
        false => ui::out(format_args!("{}", as_text(&findings))),
    }
    Ok(exit(&findings))
}

fn exit(findings: &[Finding]) -> Option<Exit> {
    match findings.iter().map(|f| f.level).max() {
        Some(Level::Fatal) => Some(Exit::Sandbox),
        Some(Level::Fail) => Some(Exit::Finding),
        _ => None,
    }
}

fn as_json(findings: &[Finding]) -> Value {
    let one = |f: &Finding| {
        let level = match f.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail | Level::Fatal => "fail",
        };
        json!({ "level": level, "what": f.what, "detail": f.detail, "fix": f.fix })
    };
    json!({
        "schema_version": 1,
        "sandbox_possible": !findings.iter().any(|f| f.level == Level::Fatal),
        "findings": findings.iter().map(one).collect::<Vec<_>>(),
    })
}

fn as_text(findings: &[Finding]) -> String {
    let paint = ui::stdout_paint();
    let mut text = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => paint.good("ok   "),
            Level::Warn => paint.odd("warn "),
            Level::Fail | Level::Fatal => paint.bad("FAIL "),
        };
        let _ = writeln!(text, "{level} {}: {}", finding.what, finding.detail);
        for (i, line) in finding.fix.iter().flat_map(|fix| fix.lines()).enumerate() {
            let head = if i == 0 { "fix" } else { "" };
            let _ = writeln!(text, "      {head:5} {line}");
        }
    }
    let count = |wanted: fn(Level) -> bool| findings.iter().filter(|f| wanted(f.level)).count();
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let problems = plural(count(|l| l >= Level::Fail), "problem");
    let warnings = plural(count(|l| l == Level::Warn), "warning");
    let code = exit(findings).map(|exit| format!("   exit {}", exit.code())).unwrap_or_default();
    let _ = writeln!(text, "{problems}, {warnings}{code}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let ok = Finding::ok("kernel", "6.18");
        let warn = Finding::warn("bazel", "no socket", "use TCP");
        let fail = Finding::fail("port", "taken", "--listen 127.0.0.1:0");
        let fatal = Finding { level: Level::Fatal, ..Finding::fail("user namespaces", "blocked", "sysctl") };
        assert_eq!(exit(&[ok.clone(), warn.clone()]), None);
        assert_eq!(exit(&[ok.clone(), fail.clone()]), Some(Exit::Finding));
        assert_eq!(exit(&[fatal.clone(), fail.clone()]), Some(Exit::Sandbox));
        let text = as_text(&[ok, fatal, warn]);
        assert!(text.ends_with("1 problem, 1 warning   exit 30\n"), "{text}");
        assert!(text.contains("      fix   sysctl\n"), "{text}");
    }
}
