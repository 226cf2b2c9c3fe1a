//! `lre serve`: the server in the foreground.
use crate::commands::{Context, Done};
use crate::exit::{OrProblem, Problem};
use crate::instance::Instance;
use crate::{holdings, machine, paths, token};
use lre_server::compose::{Options, Server};
use lre_toolchain::Cas;
use lre_worker::LauncherProgram;
use std::io::{IsTerminal, Write};
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs `lre serve`.
///
/// # Errors
/// Sandboxes cannot be made here, a port or socket or store is in use, and the like.
pub fn run(context: &Context) -> Done {
    // Before anything else: a server that could only run weaker sandboxes does not start at all.
    let sandbox = machine::sandbox_level()?;
    start_log(&context.config.log)?;
    machine::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.or_problem("the event loop cannot be started")?.block_on(serve(context, sandbox))
}

fn start_log(filter: &str) -> Result<(), Problem> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).or_problem("the log filter cannot be used")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(std::io::stderr().is_terminal()).init();
    Ok(())
}

async fn serve(context: &Context, sandbox: String) -> Done {
    // Listening for signals first: a signal that comes during the start must not leave a socket behind.
    let mut signals = Signals::new().or_problem("signals cannot be handled")?;
    let config = &context.config;
    if let Some(directory) = config.socket.as_deref().and_then(Path::parent).filter(|d| !d.exists()) {
        paths::private_directory(directory)?;
    }
    let cgroup = machine::cgroup();
    let options = Options { cgroup: cgroup.clone(), ..options(context)? };
    let server = Server::start(options).await.map_err(refused)?;
    let instance = Instance {
        tcp: server.tcp_address(),
        socket: server.socket().map(Path::to_owned),
        store_bytes_max: server.store_budget_bytes(),
        slots: config.slots,
        sandbox,
        cgroup,
        default_toolchain: config.default_toolchain.clone(),
        ..Instance::of_this_process()
    };
    // On a full disk it serves all the same; commands look for it where the configuration says.
    if let Err(problem) = instance.write(&config.store) {
        tracing::warn!(%problem, "commands cannot be told where this server listens");
    }
    announce(&instance, &config.store);
    signals.first().await;
    tracing::info!("stopping; a second signal ends at once");
    tokio::select! {
        () = server.shutdown() => {}
        () = signals.second() => tracing::warn!("ended by a second signal"),
    }
    Instance::remove(&config.store);
    Ok(None)
}

/// The options of a server with this configuration.
///
/// # Errors
/// The token cannot be had.
pub fn options(context: &Context) -> Result<Options, Problem> {
    let config = &context.config;
    Ok(Options {
        store: config.store.clone(),
        store_bytes_max: config.store_bytes_max,
        slots: config.slots,
        tcp: config.listen,
        socket: config.socket.clone(),
        token: Some(token::own(&config.token_file)?),
        default_toolchain: config.default_toolchain.clone(),
        accepted_properties: config.accepted_properties.clone(),
        toolchain_peers: peers(&config.toolchain_peers)?,
        peer_token: holdings::peer_token(context)?,
        launcher: LauncherProgram { program: machine::this_program()?, arguments: vec!["launcher".to_owned()] },
        action_timeout_default: config.action_timeout_default,
        action_timeout_max: config.action_timeout_max,
        action_limits: config.action_limits,
        cgroup: None,
    })
}

fn peers(written: &[String]) -> Result<Vec<Cas>, Problem> {
    let one = |peer: &String| peer.parse().map_err(|problem: String| Problem::error(problem));
    written.iter().map(one).collect()
}

/// Why a server does not start.
pub fn refused(error: lre_server::compose::StartError) -> Problem {
    let hint = error.hint();
    Problem::error("the server cannot start").because(Box::new(error) as Box<dyn std::error::Error>).hint(hint)
}

/// One line for each listener; scripts wait for `ready`. Whoever started us may have gone away, which is
/// no reason to end.
fn announce(instance: &Instance, store: &Path) {
    let mut text = format!("lre {}\nstore {}\nsandbox {}\n", instance.version, store.display(), instance.sandbox);
    text += &format!("slots {}\n", instance.slots);
    if let Some(address) = instance.tcp {
        text += &format!("listening tcp {address}\n");
    }
    if let Some(socket) = &instance.socket {
        text += &format!("listening unix {}\n", socket.display());
    }
    text += "ready\n";
    let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
}

/// What asks the server to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    // A terminal that is closed is no reason to end; without a handler it would be one.
    _hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn second(&mut self) {
        self.first().await;
    }
}
