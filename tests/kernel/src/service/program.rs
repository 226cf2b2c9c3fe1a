//! The server of the tests: `lre` as users have it, built with the tests, so that it is never an older one.
use clap::Parser;
use lre::{args, commands};
use std::process::ExitCode;

fn main() -> ExitCode {
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
