//! One function composes the server, and is read from top to bottom: [`Server::start`].
use crate::auth::Porch;
use crate::drive::{Driver, FINISH_TIME_MAX};
use crate::fetch::Fetcher;
use crate::http::HttpCache;
use crate::limits::MESSAGE_BYTES_RECEIVED_MAX;
use crate::listen::{ListenError, Listeners};
use crate::operation::Operations;
use crate::services::asset::Assets;
use crate::services::execution::{Execution, Rooms, Timeouts, Tools};
use crate::services::health::Health;
use crate::services::operations::Operations as OperationsService;
use crate::services::store::StoreAdmin;
use crate::services::{Storage, reflection};
use lre_proto::admin::store_server::StoreServer;
use lre_proto::longrunning::operations_server::OperationsServer;
use lre_proto::re::execution_server::ExecutionServer;
use lre_scheduler::Limits;
use lre_store::{ActionCache, BlobStore, Budget, Counters, DiskStore, Inodes, Names, OpenError, Staging};
use lre_toolchain::{Accepted, Cas, Registry};
use lre_worker::{ExecutionLimits, Executor, Finding, LauncherProgram, LocalExecutor, LocalOptions, Reader};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of the store; everything that is kept is below it.
    pub store: PathBuf,
    /// What the store may take of the disk, in bytes; `None`: what the machine has to spare.
    pub store_bytes_max: Option<u64>,
    /// Executions at the same time; at least 1.
    pub slots: usize,
    /// A loopback address; port 0 for a free one.
    pub tcp: Option<SocketAddr>,
    /// A Unix socket.
    pub socket: Option<PathBuf>,
    /// Lets in peers that are not this user.
    pub token: Option<String>,
    /// Name of the toolchain for actions that name none; they are refused where it is `None`.
    pub default_toolchain: Option<String>,
    /// Platform properties that are accepted beside ours; they choose nothing.
    pub accepted_properties: Vec<String>,
    /// Other servers, which are asked for toolchains that actions name and this one has not got.
    pub toolchain_peers: Vec<Cas>,
    /// What these want to be shown.
    pub peer_token: Option<String>,
    /// Our own binary, as the launcher.
    pub launcher: LauncherProgram,
    /// How long a command may run where the action says nothing.
    pub action_timeout_default: Duration,
    /// How long an action may ask for.
    pub action_timeout_max: Duration,
    /// What an execution may take of the machine; actions can lower it.
    pub action_limits: ExecutionLimits,
    /// A cgroup that this server may divide among its slots, so that the kernel itself holds memory and
    /// processes of executions. Without one they are watched.
    pub cgroup: Option<PathBuf>,
}

/// What a server is made of, whoever made it. Tests bring their own.
pub struct Parts {
    /// The blobs.
    pub blobs: Arc<dyn BlobStore>,
    /// The results; complete ones only.
    pub actions: Arc<dyn ActionCache>,
    /// Runs actions.
    pub executor: Arc<dyn Executor>,
    /// The toolchains.
    pub registry: Arc<Registry>,
    /// Where uploads wait.
    pub staging: Staging,
    /// What is known under other names than digests. Without them there is neither HTTP cache nor Remote Asset.
    pub names: Option<Names>,
    /// As in [`Options`].
    pub default_toolchain: Option<String>,
    /// As in [`Options`].
    pub accepted_properties: Accepted,
    /// As in [`Options`].
    pub toolchain_peers: Vec<Cas>,
    /// As in [`Options`].
    pub peer_token: Option<String>,
    /// Of the queue.
    pub limits: Limits,
    /// Of commands.
    pub timeouts: Timeouts,
    /// How long what runs may go on after [`Server::shutdown`].
    pub finish_time: Duration,
}

/// Where a server is found, and by whom.
#[derive(Clone, Debug, Default)]
pub struct Front {
    /// As in [`Options`].
    pub tcp: Option<SocketAddr>,
    /// As in [`Options`].
    pub socket: Option<PathBuf>,
    /// As in [`Options`].
    pub token: Option<String>,
}

/// Why a server does not start. [`StartError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The user's turn.
    #[error("a server needs at least one slot")]
    NoSlots,
    /// The user's turn: the maximum is below the default.
    #[error("actions get {default:?} by default, but at most {max:?} are allowed")]
    Timeouts {
        /// Where the action says nothing.
        default: Duration,
        /// What an action may ask for.
        max: Duration,
    },
    /// The operator's turn: this kernel does not let us make sandboxes, and nothing runs without one.
    #[error("no sandbox can be made on this machine: {}", describe(.0))]
    Sandbox(Vec<Finding>),
    /// The user's turn, as a rule: another server has it.
    #[error("the store cannot be opened")]
    Store(#[from] OpenError),
    /// The user's turn: an address that cannot be had.
    #[error("the server cannot be reached there")]
    Listen(#[from] ListenError),
    /// The user's turn: the default toolchain is not installed.
    #[error("the default toolchain `{name}` is not installed; installed: {}", list(.installed))]
    DefaultToolchain {
        /// As asked for.
        name: String,
        /// What there is.
        installed: Vec<String>,
    },
    /// The operator's turn.
    #[error("{} cannot be used", .directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The operator's turn.
    #[error("the launcher {} cannot be started", .program.display())]
    Launcher {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn describe(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("{}: {}", f.what, f.detail)).collect::<Vec<_>>().join("; ")
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl StartError {
    /// The next command.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoSlots => "leave out `--slots`: one for each core is the default".to_owned(),
            Self::Timeouts { .. } => "`lre config show` shows both and where they come from".to_owned(),
            Self::Sandbox(findings) => {
                let fixes: Vec<_> = findings.iter().map(|f| f.fix.as_str()).filter(|fix| !fix.is_empty()).collect();
                if fixes.is_empty() {
                    "`lre doctor` shows each thing that is needed".to_owned()
                } else {
                    fixes.join("; ")
                }
            }
            Self::Store(OpenError::InUse { pid }) => {
                format!(
                    "`lre status` shows that server, `lre down` ends it (process {pid}); or use another `--store DIR`"
                )
            }
            Self::Store(OpenError::Newer { .. }) => "update lre, or use another `--store DIR`".to_owned(),
            Self::Store(_) | Self::Directory { .. } => "use another `--store DIR`".to_owned(),
            Self::Listen(error) => error.hint(),
            Self::DefaultToolchain { name, installed } if installed.is_empty() => {
                format!("`lre toolchain add {name} --from capture:/usr/bin/cc` freezes this machine's compiler")
            }
            Self::DefaultToolchain { name, .. } => {
                format!(
                    "`lre toolchain list` shows what is installed; `lre toolchain add {name} --from SOURCE` adds it"
                )
            }
            Self::Launcher { .. } => "`lre doctor` tries it out".to_owned(),
        }
    }
}

/// A running server. Dropping it without [`Server::shutdown`] stops it at once, as a crash would.
pub struct Server {
    tcp: Option<SocketAddr>,
    socket: Option<PathBuf>,
    driver: Arc<Driver>,
    finish_time: Duration,
    health: Health,
    stop: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
    /// Of a server with a store of its own.
    kept: Option<Kept>,
}

/// A store of the server's own, and what was asked of it.
type Kept = (Arc<DiskStore>, Arc<Counters>);

impl Server {
    /// Starts a server on this machine's disk and sandboxes. When this returns, it answers.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        check(&options)?;
        let disk = Arc::new(DiskStore::open(&options.store)?);
        let at = |folder: &str| disk.directory().join(folder);
        check_overlay(&at("slots"))?;
        let registry = Arc::new(in_directory(at("toolchains/registry"), |path| Registry::open(path))?);
        check_default(&registry, options.default_toolchain.as_deref(), &at("toolchains/registry"))?;
        let staging = in_directory(at("staging"), |path| Staging::new(path))?;
        let inodes = in_directory(at("inodes"), |path| Inodes::new(path))?;
        set_budget(&disk, &registry, options.store_bytes_max)?;
        // Before the executor: a port that is taken must not cost a launcher.
        let listeners = Listeners::bind(options.tcp, options.socket.as_deref())?;
        let stores = lre_store::compose(Arc::clone(&disk), None);
        let executor = LocalExecutor::start(LocalOptions {
            store: Arc::clone(&stores.blobs),
            inodes: Arc::new(inodes),
            directory: disk.directory().to_owned(),
            slots: options.slots,
            launcher: options.launcher.clone(),
            limits: options.action_limits,
            cgroup: options.cgroup,
        })
        .map_err(|source| StartError::Launcher { program: options.launcher.program, source })?;
        let parts = Parts {
            blobs: stores.blobs,
            actions: stores.results,
            executor: Arc::new(executor),
            registry,
            staging,
            names: Some(disk.names()),
            default_toolchain: options.default_toolchain,
            accepted_properties: options.accepted_properties,
            toolchain_peers: options.toolchain_peers,
            peer_token: options.peer_token,
            limits: Limits::new(options.slots),
            timeouts: Timeouts { default: options.action_timeout_default, max: options.action_timeout_max },
            finish_time: FINISH_TIME_MAX,
        };
        let kept = Some((disk, stores.counters));
        Ok(Self::assemble(parts, listeners, options.token.as_deref(), kept).await)
    }

    /// Starts a server from parts.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub async fn serve(parts: Parts, front: Front) -> Result<Self, StartError> {
        let listeners = Listeners::bind(front.tcp, front.socket.as_deref())?;
        Ok(Self::assemble(parts, listeners, front.token.as_deref(), None).await)
    }

    async fn assemble(parts: Parts, listeners: Listeners, token: Option<&str>, kept: Option<Kept>) -> Self {
        let Parts { blobs, actions, executor, registry, staging, limits, timeouts, finish_time, .. } = parts;
        let operations = Arc::new(Operations::default());
        let driver = Driver::start(limits, Arc::clone(&operations), executor, Arc::clone(&actions));
        let stop = CancellationToken::new();
        let (peers, peer_token) = (parts.toolchain_peers, parts.peer_token);
        let fetcher = Fetcher::new(blobs.clone(), registry.clone(), staging.clone(), peers, peer_token, stop.clone());
        let tools = Tools { registry, fetcher, default: parts.default_toolchain, accepted: parts.accepted_properties };
        let rooms = Arc::new(Rooms {
            blobs: Arc::clone(&blobs),
            reader: Reader::new(Arc::clone(&blobs)),
            actions: Arc::clone(&actions),
            tools,
            timeouts,
            operations,
            driver: Arc::clone(&driver),
        });
        let mut routes = Routes::builder();
        let execution = ExecutionServer::new(Execution::new(Arc::clone(&rooms)));
        routes
            .add_service(execution.max_decoding_message_size(MESSAGE_BYTES_RECEIVED_MAX))
            .add_service(OperationsServer::new(OperationsService::new(Arc::clone(&rooms))));
        let listeners = match parts.names {
            Some(names) => {
                Assets::new(Arc::clone(&blobs), names.clone()).add_to(&mut routes);
                listeners.with_http(HttpCache::new(Arc::clone(&blobs), staging.clone(), names))
            }
            None => listeners,
        };
        let listeners = match &kept {
            Some((disk, _)) => listeners.for_invocations_of(Arc::clone(disk)),
            None => listeners,
        };
        if let Some((disk, _)) = &kept {
            let admin = StoreAdmin::new(Arc::clone(disk), Arc::clone(&rooms.tools.registry)).until(stop.clone());
            routes.add_service(StoreServer::new(admin));
        }
        Storage { blobs, actions, staging }.add_with(&mut routes, Some(&rooms));
        reflection::add_to(&mut routes);
        let health = Health::add_to(&mut routes).await;
        let (tcp, socket) = (listeners.tcp_address(), listeners.socket().map(Path::to_owned));
        let serving = tokio::spawn(listeners.serve(routes.routes(), Porch::new(token), stop.clone()));
        Self { tcp, socket, driver, finish_time, health, stop, serving, kept }
    }

    /// The TCP address, with the real port.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// The path of the Unix socket.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// What runs and waits, and what has been done so far.
    #[must_use]
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// What was asked of the store, where the server has one of its own.
    #[must_use]
    pub fn store_counters(&self) -> Option<&Counters> {
        self.kept.as_ref().map(|(_, counters)| &**counters)
    }

    /// What the store may take at the moment, in bytes, where the server has one of its own.
    #[must_use]
    pub fn store_budget_bytes(&self) -> Option<u64> {
        self.kept.as_ref()?.0.budget_bytes()
    }

    /// Lets time pass for the store. For tests.
    #[doc(hidden)]
    pub fn pass_time(&self, time: Duration) {
        if let Some((disk, _)) = &self.kept {
            disk.pass_time(time);
        }
    }

    /// Ends the server in order: nobody new is let in, who waits is told to try again, what runs may
    /// end within [`FINISH_TIME_MAX`] and is killed then; its clients are answered; the store is
    /// written to the disk and free for the next server when this returns.
    pub async fn shutdown(mut self) {
        self.health.stopping().await;
        self.stop.cancel();
        if !self.driver.close(self.finish_time).await {
            tracing::error!("executions could not be killed in time; their processes go with the launcher");
        }
        match (&mut self.serving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the listeners ended badly"),
            Err(error) => tracing::error!(%error, "the listeners broke"),
        }
        if let Some((disk, _)) = self.kept.take() {
            let synced = tokio::task::spawn_blocking(move || disk.sync()).await;
            if let Err(error) = synced.map_err(io::Error::other).and_then(|synced| synced) {
                tracing::warn!(%error, "the store was not written to the disk; what is missing is noticed at the next start");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is being fetched must not keep the store.
        self.stop.cancel();
        self.serving.abort();
    }
}

/// What can be known before anything is opened.
fn check(options: &Options) -> Result<(), StartError> {
    if options.slots == 0 {
        return Err(StartError::NoSlots);
    }
    let (default, max) = (options.action_timeout_default, options.action_timeout_max);
    if default > max {
        return Err(StartError::Timeouts { default, max });
    }
    // Never weaker in silence: where the kernel does not allow a sandbox, there is no server.
    let missing: Vec<_> = lre_worker::check_sandbox().into_iter().filter(|finding| !finding.ok).collect();
    if missing.is_empty() { Ok(()) } else { Err(StartError::Sandbox(missing)) }
}

/// What the store may take, and what of it stays in any case. Only of servers: who opens a store for a moment, to add a toolchain
/// for example, evicts nothing.
fn set_budget(disk: &DiskStore, registry: &Arc<Registry>, bytes_max: Option<u64>) -> Result<(), StartError> {
    let registry = Arc::clone(registry);
    disk.set_roots(move || Ok(registry.current()?.iter().map(|toolchain| toolchain.digest).collect()));
    let budget = bytes_max.map_or(Budget::Share, Budget::Bytes);
    let directory = || disk.directory().to_owned();
    disk.set_budget(budget).map_err(|source| StartError::Directory { directory: directory(), source })
}

/// Not every file system can be the upper layer of an overlay; the root of a container cannot, as a rule.
fn check_overlay(slots: &Path) -> Result<(), StartError> {
    let finding = lre_worker::check_directory(slots);
    if finding.ok { Ok(()) } else { Err(StartError::Sandbox(vec![finding])) }
}

fn check_default(registry: &Registry, default: Option<&str>, directory: &Path) -> Result<(), StartError> {
    let Some(name) = default else { return Ok(()) };
    let listed = registry.list();
    let listed = listed.map_err(|source| StartError::Directory { directory: directory.to_owned(), source })?;
    let installed: Vec<_> = listed.into_iter().map(|toolchain| toolchain.name).collect();
    if installed.iter().any(|installed| installed == name) {
        return Ok(());
    }
    Err(StartError::DefaultToolchain { name: name.to_owned(), installed })
}

fn in_directory<T>(directory: PathBuf, open: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, StartError> {
    open(&directory).map_err(|source| StartError::Directory { directory, source })
}
