//! How a command ends: the exit code, and what a person is told when it is not zero.
use crate::ui;
use std::fmt;
use std::process::ExitCode;

/// The exit codes, one place. Scripts depend on them; `docs/reference/cli.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Something failed.
    Error,
    /// The command line, or a configuration file, says something that cannot be meant.
    Usage,
    /// All worked, and what was looked for was found: drift, a difference, a problem.
    Finding,
    /// No server answers.
    Unreachable,
    /// The server is of another version.
    Version,
    /// This machine cannot make the sandbox.
    Sandbox,
    /// A toolchain is missing, or is not what the lock says.
    Toolchain,
    /// Somebody else's service does not answer.
    Upstream,
    /// `lre run`: ours, not the command's.
    Run,
    /// The code of a command that was run.
    Command(u8),
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Error => 1,
            Self::Usage => 2,
            Self::Finding => 10,
            Self::Unreachable => 20,
            Self::Version => 21,
            Self::Sandbox => 30,
            Self::Toolchain => 31,
            Self::Upstream => 40,
            Self::Run => 125,
            Self::Command(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what was asked: what happened, why, and the next command.
#[derive(Debug)]
pub struct Problem {
    exit: Exit,
    what: String,
    why: Vec<String>,
    hint: Option<String>,
}

impl Problem {
    /// A new one. `what` is a sentence without its full stop.
    pub fn new(exit: Exit, what: impl fmt::Display) -> Self {
        Self { exit, what: what.to_string(), why: Vec::new(), hint: None }
    }

    /// An error of no special kind.
    pub fn error(what: impl fmt::Display) -> Self {
        Self::new(Exit::Error, what)
    }

    /// An error of the person who wrote the command line.
    pub fn usage(what: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Adds the reason: all levels of an error, one line each.
    #[must_use]
    pub fn because(mut self, error: impl AsRef<dyn std::error::Error>) -> Self {
        let mut next = Some(error.as_ref());
        while let Some(error) = next {
            let text = error.to_string();
            // Some errors repeat their source in their own text; once is enough.
            if !self.why.last().is_some_and(|last| last.contains(&text)) {
                self.why.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds a reason in words.
    #[must_use]
    pub fn why(mut self, why: impl fmt::Display) -> Self {
        self.why.push(why.to_string());
        self
    }

    /// Adds the next command. The first hint given stays: it was nearer to the cause.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint.get_or_insert(hint.to_string());
        self
    }

    /// The same with another exit code.
    #[must_use]
    pub fn exiting(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Tells the person, on stderr.
    pub fn print(&self) {
        let paint = ui::stderr_paint();
        eprintln!("{} {}", paint.bad("error:"), self.what);
        for why in self.why.iter().flat_map(|why| why.lines()) {
            eprintln!("  {why}");
        }
        if let Some(hint) = &self.hint {
            for (i, line) in hint.lines().enumerate() {
                let head = if i == 0 { "hint:" } else { "     " };
                eprintln!(" {} {line}", paint.good(head));
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for why in &self.why {
            write!(f, ": {why}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Adds a sentence to an error on its way to a person.
pub trait OrProblem<T> {
    /// Turns an error into an [`Exit::Error`] that says what was being done.
    fn or_problem(self, what: impl fmt::Display) -> Result<T, Problem>;
}

impl<T, E: std::error::Error + 'static> OrProblem<T> for Result<T, E> {
    fn or_problem(self, what: impl fmt::Display) -> Result<T, Problem> {
        self.map_err(|e| Problem::error(what).because(Box::new(e) as Box<dyn std::error::Error>))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_levels_of_an_error_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("the upper level")]
        struct Upper(#[source] std::io::Error);
        let low = std::io::Error::other("the lower level");
        let problem = Problem::error("it failed").because(Box::new(Upper(low)) as Box<dyn std::error::Error>);
        let problem = problem.hint("first").hint("second");
        assert_eq!(problem.to_string(), "it failed: the upper level: the lower level (hint: first)");
    }
}
