//! The command line of `lre cache`, as data.
use crate::args::JsonArgs;
use crate::size;
use clap::{Args, Subcommand, ValueEnum};

/// `lre cache`.
#[derive(Args, Debug)]
pub struct CacheArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: CacheCommand,
}

/// What to do with the store.
#[derive(Subcommand, Debug)]
pub enum CacheCommand {
    /// Show what the store takes, and for what.
    #[command(
        after_long_help = "The total is what `du` says of the directory: hard links are counted once. Works beside a server that runs,
and holds nobody up. Ages and invocations are by last use; each blob is counted once, for who used it last.

Examples:
  lre cache du
  lre cache du --by invocation
  lre cache du --json"
    )]
    Du(DuArgs),
    /// Evict what was used the longest ago.
    #[command(
        after_long_help = "Nobody has to: a server keeps its store within store_bytes_max by itself. What a build may still rely on
stays: all that was used within three hours, or since a build began that still goes on. So does every
registered toolchain. SIZE is 20GB, 500MB, 1.5TB (powers of 1000, as they are printed), 20G or 20GiB (of 1024), or bytes.
Exits 10 where less could be freed than was asked for; it says what holds the rest.

Examples:
  lre cache gc --dry-run
  lre cache gc --to 20GB
  lre cache gc --to 0                    everything that nobody holds"
    )]
    Gc(GcArgs),
    /// Read everything in the store, and repair what is damaged.
    #[command(
        after_long_help = "Blobs are hashed, results and names are read and what they need is looked for. What is wrong is moved to
quarantine/ in the store and forgotten, so that clients upload or build it again. Works beside a server that
runs, and holds nobody up; can be ended at any time. Exits 10 where something was wrong.

Examples:
  lre cache verify
  lre cache verify --json"
    )]
    Verify(JsonArgs),
}

/// `lre cache du`.
#[derive(Args, Debug)]
pub struct DuArgs {
    /// Show this alone, and all of it [default: a short version of all].
    #[arg(long, value_name = "WHAT")]
    pub by: Option<By>,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// How to divide what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// What it is.
    Kind,
    /// When it was used last.
    Age,
    /// The toolchain it belongs to.
    Toolchain,
    /// Who used it last.
    Invocation,
}

/// `lre cache gc`.
#[derive(Args, Debug)]
pub struct GcArgs {
    /// Down to this size [default: eight tenths of the budget].
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub to: Option<u64>,
    /// Evict nothing, and say what would go.
    #[arg(long)]
    pub dry_run: bool,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
}
