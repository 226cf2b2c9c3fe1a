//! The `lre` command.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod config;
mod exit;
mod paths;
#[cfg(test)]
mod reference;
mod ui;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::run(args::Cli::parse()) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(exit)) => exit.into(),
        Err(problem) => {
            problem.print();
            problem.exit().into()
        }
    }
}
