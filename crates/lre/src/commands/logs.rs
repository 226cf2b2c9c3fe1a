//! `lre logs`: what the server in the background has written.
use crate::args::LogsArgs;
use crate::commands::{Context, Done};
use crate::exit::{OrProblem, Problem};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// How much of the end of a log is read for its last lines, in bytes.
const TAIL_BYTES_MAX: u64 = 1024 * 1024;

/// Runs `lre logs`.
///
/// # Errors
/// There is no log.
pub fn run(args: &LogsArgs, context: &Context) -> Done {
    let path = context.paths.log();
    let open = File::open(&path);
    let mut file = match open {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Problem::error("there is no log yet").why(path.display()).hint("lre up"));
        }
        other => other.or_problem(format!("cannot read {}", path.display()))?,
    };
    let problem = format!("cannot read {}", path.display());
    print(&tail(&mut file, args.lines).or_problem(&problem)?);
    if !args.follow {
        return Ok(None);
    }
    loop {
        let mut more = Vec::new();
        file.read_to_end(&mut more).or_problem(&problem)?;
        match more.is_empty() {
            true => std::thread::sleep(FOLLOW_INTERVAL),
            false => print(&more),
        }
    }
}

/// Whoever reads may go away at any time: `lre logs | head`.
fn print(bytes: &[u8]) {
    if io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()).is_err() {
        std::process::exit(0);
    }
}

/// The last `lines` lines; the file stands at its end afterwards.
fn tail(file: &mut File, lines: usize) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let ends: Vec<_> = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i).collect();
    let start = ends.len().checked_sub(lines + 1).map_or(0, |before| ends[before] + 1);
    Ok(bytes.split_off(start))
}

/// The last lines of the log at `path` from byte `start` on, for an error message.
#[must_use]
pub fn last_lines(path: &Path, start: u64, lines: usize) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let mut text = String::new();
        file.seek(SeekFrom::Start(start.max(file.metadata()?.len().saturating_sub(TAIL_BYTES_MAX))))?;
        file.read_to_string(&mut text)?;
        io::Result::Ok(text)
    };
    let text = read().unwrap_or_default();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_shown() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a\nb\nc\n").unwrap();
        for (lines, expected) in [(0, ""), (1, "c\n"), (2, "b\nc\n"), (3, "a\nb\nc\n"), (9, "a\nb\nc\n")] {
            assert_eq!(tail(&mut file, lines).unwrap(), expected.as_bytes(), "{lines}");
        }
    }

    #[test]
    fn only_what_was_written_since_is_told() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"old\na\nb\nc\n").unwrap();
        assert_eq!(last_lines(file.path(), 4, 2), "b\nc");
        assert_eq!(last_lines(file.path(), 4, 9), "a\nb\nc");
        assert_eq!(last_lines(file.path(), 99, 9), "");
    }
}
