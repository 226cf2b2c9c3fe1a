//! One file for each command.
pub mod cache;
pub mod cc;
pub mod config;
pub mod conform;
pub mod doctor;
pub mod down;
pub mod init;
pub mod logs;
pub mod run;
pub mod serve;
pub mod status;
pub mod toolchain;
pub mod up;

use crate::args::{Cli, Command};
use crate::client::{Client, ClientError};
use crate::config::{Config, Endpoint, Written};
use crate::demo;
use crate::exit::{Exit, OrProblem, Problem};
use crate::instance::Instance;
use crate::paths::Paths;
use crate::token;

/// What a command gives back: how the process ends, where nothing failed.
pub type Done = Result<Option<Exit>, Problem>;

/// Runs what was asked for.
///
/// # Errors
/// What the command says.
pub fn run(cli: Cli) -> Done {
    let flags = Written { server: cli.server, store: cli.store, ..Written::default() };
    match cli.command {
        None => status::run(&Context::load(&flags)?, false),
        Some(Command::Cache(args)) => cache::run(&args, &Context::load(&flags)?),
        Some(Command::Config(args)) => config::run(&args, &flags),
        Some(Command::Serve(args)) => serve::run(&Context::load(&args.server.over(flags))?),
        Some(Command::Up(args)) => up::run(&args, &Context::load(&args.server.clone().over(flags))?),
        Some(Command::Down(args)) => down::run(&args, &Context::load(&flags)?),
        Some(Command::Status(args)) => status::run(&Context::load(&flags)?, args.json),
        Some(Command::Logs(args)) => logs::run(&args, &Context::load(&flags)?),
        Some(Command::Doctor(args)) => doctor::run(&args, &Context::load(&flags)?),
        Some(Command::Run(args)) => run::run(&args, &flags),
        Some(Command::Cc(args)) => cc::run(args, &flags),
        Some(Command::Conform(args)) => conform::run(&args, &Context::load(&flags)?),
        Some(Command::Demo(args)) => demo::run(&args),
        Some(Command::Toolchain(args)) => toolchain::run(&args, &Context::load(&flags)?),
        Some(Command::Init(args)) => init::run(&args, &Context::load(&flags)?),
        // main() has seen to it before anything else.
        Some(Command::Launcher) => Err(Problem::usage("`launcher` is started by the server")),
    }
}

/// What every command needs.
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// The folders of this user.
    pub paths: Paths,
}

impl Context {
    /// From files, environment and flags.
    ///
    /// # Errors
    /// A configuration that cannot be meant.
    pub fn load(flags: &Written) -> Result<Self, Problem> {
        let (config, paths) = crate::config::load(flags)?;
        Ok(Self { config, paths })
    }

    /// Where the server is: where the user said, else where the server of this store says, else where
    /// one would be.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        let running = || Instance::running(&self.config.store).and_then(|instance| instance.endpoint());
        self.config.server.clone().or_else(running).unwrap_or_else(|| self.config.endpoint())
    }

    /// Connects to the server.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn connect(&self) -> Result<Client, Problem> {
        let endpoint = self.endpoint();
        // Our own server knows this user without a token, and whoever listens at that port instead must
        // not learn it. So it is sent only where the user named the file.
        let token = match (&endpoint, self.config.is_default("token_file")) {
            (Endpoint::Tcp(_), false) => Some(token::read(&self.config.token_file)?),
            _ => None,
        };
        Client::connect(&endpoint, token.as_deref()).await.map_err(|e: ClientError| e.into())
    }
}

/// Runs `future` on this thread. Commands that talk to a server need no more.
///
/// # Errors
/// What the future says.
pub fn block_on<T>(future: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.or_problem("the event loop cannot be started")?.block_on(future)
}
