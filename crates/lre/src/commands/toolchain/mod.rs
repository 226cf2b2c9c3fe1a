//! `lre toolchain`: what actions are run with.
mod add;
mod carry;
mod look;
mod verify;

use crate::args::{ToolchainArgs, ToolchainCommand};
use crate::commands::{Context, Done, block_on};

pub use add::{Shown, install};

/// Runs `lre toolchain`.
///
/// # Errors
/// What the sub-command says.
pub fn run(args: &ToolchainArgs, context: &Context) -> Done {
    match &args.what {
        ToolchainCommand::Add(args) => add::run(args, context),
        ToolchainCommand::List(args) => look::list(context, args.json),
        ToolchainCommand::Show { name, json } => look::show(context, name, *json),
        ToolchainCommand::Verify { name, json } => block_on(verify::run(context, name.as_deref(), *json)),
        ToolchainCommand::Fetch(args) => block_on(carry::fetch(args, context)),
        ToolchainCommand::Export(args) => block_on(carry::export(args, context)),
        ToolchainCommand::Import(args) => block_on(carry::import(args, context)),
        ToolchainCommand::Generate(args) => super::init::generate(args, context),
        ToolchainCommand::Remove { name } => look::remove(context, name),
    }
}
