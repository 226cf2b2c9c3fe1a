//! `lre cache`: what the store takes, and what is done about it.
mod args;
mod du;
mod gc;
mod owner;
mod verify;

pub use args::{By, CacheArgs, CacheCommand, DuArgs, GcArgs};

use crate::commands::{Context, Done, block_on};
use crate::ui;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Runs `lre cache`.
///
/// # Errors
/// What the sub-command says.
pub fn run(args: &CacheArgs, context: &Context) -> Done {
    match &args.what {
        CacheCommand::Du(args) => block_on(du::run(args, context)),
        CacheCommand::Gc(args) => block_on(gc::run(args, context)),
        CacheCommand::Verify(args) => block_on(verify::run(args.json, context)),
    }
}

/// How long ago a time in seconds since 1970 was.
fn ago(seconds: u64, now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap_or_default();
    match since.as_secs() {
        // It is known to the minute.
        0..60 => "just now".to_owned(),
        60..3600 => format!("{}m ago", since.as_secs() / 60),
        _ => format!("{} ago", ui::span(since)),
    }
}

/// Who holds things from being evicted, where one is known.
fn most_by(holder: &str) -> String {
    if holder.is_empty() { String::new() } else { format!(", most of it by {holder}") }
}

/// A count with thousands apart: `812,001`.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One or many.
fn some(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {many}", count(n)) }
}

/// Rows as columns, the first to the left and the others to the right; the first row is a headline.
fn table(rows: &[Vec<String>], paint: ui::Paint) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate().take(columns) {
            let width = width(c);
            let _ = match c {
                0 => write!(line, "{cell:width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        let line = line.trim_end();
        let _ = writeln!(text, "{}", if i == 0 { paint.bold(line) } else { line.to_owned() });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        let counts = [0, 999, 1000, 812_001, 1_000_000].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "812,001", "1,000,000"]);
        assert_eq!((some(1, "blob", "blobs"), some(2000, "blob", "blobs")), ("1 blob".into(), "2,000 blobs".into()));
        let at = |seconds: u64| ago(1_000_000, UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds));
        assert_eq!((at(3), at(600), at(7500)), ("just now".into(), "10m ago".into(), "2h05m ago".into()));
        assert_eq!(ago(5, UNIX_EPOCH), "just now", "a clock that was set back");
    }
}
