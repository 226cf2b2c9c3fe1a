//! One file for each command.
pub mod config;

use crate::args::{Cli, Command};
use crate::config::Written;
use crate::exit::{Exit, Problem};

/// What a command gives back: how the process ends, where nothing failed.
pub type Done = Result<Option<Exit>, Problem>;

/// Runs what was asked for.
///
/// # Errors
/// What the command says.
pub fn run(cli: Cli) -> Done {
    let flags = Written { server: cli.server, ..Written::default() };
    match cli.command {
        None => Ok(None),
        Some(Command::Config(args)) => config::run(&args, &flags),
    }
}
