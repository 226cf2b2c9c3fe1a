//! What a person sees: colours where there is a terminal, progress on stderr.
//!
//! stdout carries data and nothing else, so that every command can stand in a pipe.
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Colours, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// Decides by the rules of no-color.org and of CLICOLOR: NO_COLOR wins, then CLICOLOR_FORCE, then
    /// whether somebody looks.
    #[must_use]
    pub fn decide(no_color: Option<&str>, force: Option<&str>, terminal: bool) -> Self {
        let set = |value: Option<&str>| value.is_some_and(|v| !v.is_empty());
        Self(match () {
            () if set(no_color) => false,
            () if set(force) && force != Some("0") => true,
            () => terminal,
        })
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What works.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// What does not.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// What wants a look.
    #[must_use]
    pub fn odd(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// A headline.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What is there for completeness.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }
}

fn paint(terminal: bool) -> Paint {
    let variable = |name| std::env::var(name).ok();
    Paint::decide(variable("NO_COLOR").as_deref(), variable("CLICOLOR_FORCE").as_deref(), terminal)
}

/// The colours of stdout.
#[must_use]
pub fn stdout_paint() -> Paint {
    paint(std::io::stdout().is_terminal())
}

/// The colours of stderr.
#[must_use]
pub fn stderr_paint() -> Paint {
    paint(std::io::stderr().is_terminal())
}

/// One line on stderr that tells how far a long piece of work has come.
///
/// On a terminal it is rewritten in place; elsewhere nothing is written until the end, because a log
/// full of progress hides what matters.
pub struct Progress {
    terminal: bool,
    state: Mutex<State>,
}

struct State {
    last: Option<Instant>,
    shown: bool,
}

/// Redrawn at most this often; a terminal over ssh is slow.
const REDRAW_INTERVAL: Duration = Duration::from_millis(80);

impl Default for Progress {
    fn default() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), state: Mutex::new(State { last: None, shown: false }) }
    }
}

impl Progress {
    /// Shows `line` in place of the last one.
    pub fn show(&self, line: &str) {
        if !self.terminal {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < REDRAW_INTERVAL) {
            return;
        }
        state.last = Some(Instant::now());
        state.shown = true;
        let cut: String = line.chars().take(columns().saturating_sub(1)).collect();
        eprint!("\r\x1b[K{cut}");
        let _ = std::io::stderr().flush();
    }

    /// Removes the line.
    pub fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if std::mem::take(&mut state.shown) {
            eprint!("\r\x1b[K");
            let _ = std::io::stderr().flush();
        }
    }

    /// Removes the line and says something that stays.
    pub fn done(&self, line: &str) {
        self.clear();
        eprintln!("{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.map_or(80, |size| usize::from(size.ws_col)).max(20)
}

/// Data for stdout, as `println!`. Whoever reads may go away when they have seen enough (`| head`): that ends
/// the command, and is no error and no panic.
macro_rules! say {
    ($($words:tt)*) => { $crate::ui::out(format_args!("{}\n", format_args!($($words)*))) };
}

/// The same without a new line.
pub fn out(words: std::fmt::Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_fmt(words).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => {
            eprintln!("error: cannot write to stdout\n  {e}");
            std::process::exit(1);
        }
    }
}

/// Bytes for people: `4.2 MB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let (mut value, mut unit) = (count as f64 / 1000.0, 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A time span for people: `4ms`, `0.31s`, `2m14s`, `2h14m`.
#[must_use]
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration < Duration::from_millis(1) => format!("{}us", duration.as_micros()),
        0 if duration < Duration::from_millis(100) => format!("{}ms", duration.as_millis()),
        0..60 => format!("{:.2}s", duration.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

/// The first digits of a hash, as in `5be1.../139`.
#[must_use]
pub fn short(digest: lre_model::Digest) -> String {
    format!("{}.../{}", &digest.hash_text()[..8], digest.size_bytes())
}

/// The answer to a yes-or-no question, asked on stderr. Without a terminal nobody can answer: `None`.
#[must_use]
pub fn ask(question: &str) -> Option<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Which of `lines` somebody chooses, asked on stderr; the first where only Enter is pressed. Without a terminal
/// nobody can answer: `None`.
#[must_use]
pub fn choose(question: &str, lines: &[&str]) -> Option<usize> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    eprintln!("{question}");
    lines.iter().enumerate().for_each(|(i, line)| eprintln!("  {}  {line}", i + 1));
    loop {
        eprint!("1-{} [1] ", lines.len());
        let _ = std::io::stderr().flush();
        let mut answer = String::new();
        if std::io::stdin().read_line(&mut answer).ok()? == 0 {
            return None;
        }
        match answer.trim() {
            "" => return Some(0),
            number => match number.parse::<usize>() {
                Ok(n) if (1..=lines.len()).contains(&n) => return Some(n - 1),
                _ => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_conventions() {
        for (no_color, force, terminal, colours) in [
            (None, None, true, true),
            (None, None, false, false),
            (Some("1"), None, true, false),
            (Some(""), None, true, true),
            (Some("1"), Some("1"), true, false),
            (None, Some("1"), false, true),
            (None, Some("0"), false, false),
        ] {
            assert_eq!(Paint::decide(no_color, force, terminal), Paint(colours), "{no_color:?} {force:?} {terminal}");
        }
    }

    #[test]
    fn figures_are_for_people() {
        let sizes = [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (18_200_000_000, "18.2 GB")];
        for (count, text) in sizes {
            assert_eq!(bytes(count), text);
        }
        for (millis, text) in [(0, "0us"), (4, "4ms"), (310, "0.31s"), (134_000, "2m14s"), (8_040_000, "2h14m")] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        assert_eq!(span(Duration::from_secs(90_000)), "1d01h");
    }
}
