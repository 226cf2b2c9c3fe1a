//! The command line, as data.
use crate::config::Written;
use clap::{Args, Parser, Subcommand};

/// Hermetic, content-addressed builds on your own machine.
#[derive(Parser, Debug)]
#[command(name = "lre", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_long_help = "Without a command: the state of the server, and the one next step.

Examples:
  lre demo                               the whole of it, with nothing installed
  lre up                                 a server in the background
  lre toolchain add cc --from capture:/usr/bin/cc
  lre run --out hello -- cc hello.c -o hello
  lre init --client bazel                then: bazel build --config=lre //...")]
pub struct Cli {
    /// Where the server is: unix:/path or grpc://host:port.
    #[arg(long, global = true, value_name = "WHERE")]
    pub server: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// All commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show the configuration and where it comes from.
    Config(ConfigArgs),
}

/// `lre config`.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// What to show.
    #[command(subcommand)]
    pub what: ConfigCommand,
}

/// What of the configuration.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Each value and where it came from.
    #[command(after_long_help = "Examples:\n  lre config show\n  LRE_SLOTS=2 lre config show --json")]
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// The JSON schema of lre.json5, for editors.
    #[command(after_long_help = "Example:\n  lre config schema > lre.schema.json")]
    Schema,
}

/// Flags of the server, the same for `serve` and `up`.
#[derive(Args, Debug, Default, Clone)]
pub struct ServerFlags {
    /// Loopback address and port for TCP; port 0 takes a free one; none for no TCP.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Path of the Unix socket; none for no Unix socket.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<String>,
    /// Directory of blobs, action results and toolchains.
    #[arg(long, value_name = "DIR")]
    pub store: Option<String>,
    /// Actions at the same time [default: the number of cores].
    #[arg(long, value_name = "N")]
    pub slots: Option<u64>,
    /// Installed toolchain for actions that name none.
    #[arg(long, value_name = "NAME")]
    pub default_toolchain: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or filters.
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

impl ServerFlags {
    /// The layer of the configuration that these flags are.
    #[must_use]
    pub fn written(&self) -> Written {
        let Self { listen, socket, store, slots, default_toolchain, log } = self.clone();
        Written { listen, socket, store, slots, default_toolchain, log, ..Written::default() }
    }
}
