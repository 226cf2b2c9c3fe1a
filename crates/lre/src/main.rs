//! The `lre` command.
#![forbid(unsafe_code)]

use clap::Parser;
use lre::{args, commands};
use std::process::ExitCode;

fn main() -> ExitCode {
    // The launcher of the sandbox is this same program, and must be small and have one thread: nothing
    // may have happened in the process before it takes over.
    if std::env::args_os().nth(1).is_some_and(|first| first == "launcher") {
        lre_sandbox::launcher::main();
    }
    match commands::run(args::Cli::parse()) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(exit)) => exit.into(),
        Err(problem) => {
            problem.print();
            problem.exit().into()
        }
    }
}
