//! Development tasks, as `cargo xtask TASK`. Each says what it runs, so that it can be run by hand.
mod cargo;
mod protocol;
mod tests;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lre_e2e::packages::Packages;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of lre")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// All tests, with the real kernel and the real Bazel
    Test,
    /// Format, clippy, tidy, then all tests
    Ci,
    /// Only the end-to-end tests (real clients against the real binary)
    E2e {
        /// Only tests whose name contains this
        filter: Option<String>,
    },
    /// The tests that compare with committed files
    Golden {
        /// Rewrite the files; `git diff` then shows what has changed
        #[arg(long)]
        update: bool,
    },
    /// Makes the tables of docs/reference/protocol.md from the tests that cite its clauses
    Protocol,
    /// The rules of the house that neither the compiler nor clippy knows
    Tidy,
    /// The benchmarks, all or one of them
    Bench {
        #[arg(value_parser = ["cc", "exec", "protocol", "store", "toolchain"])]
        scenario: Option<String>,
        /// Of `exec` and `protocol`: only the rows whose name has this part; of `store`: only this part
        row: Option<String>,
    },
    /// Throws what nobody should send at what reads it, for longer than the tests do; finds go to tests/corpus
    Fuzz {
        /// One target; all by default
        #[arg(default_value = "all")]
        target: String,
        /// How long for each target
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// The Debian packages that the end-to-end tests need: fetch them, or with --update pin newer ones
    Packages {
        /// Resolve the closures anew and rewrite tests/e2e/packages/*.lock
        #[arg(long)]
        update: bool,
        /// Only this set
        set: Option<String>,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn packages(update: bool, only: Option<&str>) -> Result<()> {
    let all = Packages::all_of_this_checkout();
    anyhow::ensure!(
        only.is_none_or(|only| all.iter().any(|set| set.name() == only)),
        "the sets are {}",
        all.iter().map(Packages::name).collect::<Vec<_>>().join(", ")
    );
    let chosen = all.iter().filter(|set| only.is_none_or(|only| set.name() == only));
    chosen.into_iter().try_for_each(|set| if update { set.update_lock() } else { set.ready().map(drop) })
}

fn run() -> Result<()> {
    match Arguments::parse().task {
        Task::Test => tests::all(),
        Task::Ci => {
            cargo::run("format", &["fmt", "--all", "--check"], &[])?;
            cargo::run("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])?;
            tidy::run()?;
            tests::all()
        }
        Task::E2e { filter } => tests::e2e(filter.as_deref()),
        Task::Golden { update } => tests::golden(update),
        Task::Protocol => protocol::update(),
        Task::Tidy => tidy::run(),
        Task::Bench { scenario, row } => tests::bench(scenario.as_deref(), row.as_deref()),
        Task::Fuzz { target, seconds } => {
            cargo::run("fuzz", &["run", "--package", "lre-fuzz", "--", &target, &seconds.to_string()], &[])
        }
        Task::Packages { update, set } => packages(update, set.as_deref()),
    }
}
