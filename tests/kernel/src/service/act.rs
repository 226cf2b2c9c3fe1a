//! An action as a test writes it, and what came of it.
use crate::PATIENCE;
use bytes::Bytes;
use lre::client::{ActionSpec, Client, ClientError, Entry, Executed, Options};
use lre::config::Endpoint;
use lre_model::{ActionResult, Platform};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tonic::Code;

/// An action. It is never answered from the cache, and nobody shares its run.
#[derive(Clone, Debug, Default)]
pub struct Act {
    spec: ActionSpec,
    properties: Vec<(String, String)>,
}

impl Act {
    /// Runs these arguments with the test's toolchain.
    #[must_use]
    pub fn new(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { spec: ActionSpec { arguments, do_not_cache: true, ..ActionSpec::default() }, properties: Vec::new() }
    }

    /// Runs the attack with these arguments.
    #[must_use]
    pub fn attack(arguments: &[&str]) -> Self {
        let all: Vec<_> = std::iter::once("attack").chain(arguments.iter().copied()).collect();
        Self::new(&all)
    }

    /// With this file among its inputs.
    #[must_use]
    pub fn input(self, path: &str, content: impl Into<Bytes>) -> Self {
        self.entry(path, Entry::Bytes { content: content.into(), executable: false })
    }

    /// With this among its inputs.
    #[must_use]
    pub fn entry(mut self, path: &str, entry: Entry) -> Self {
        self.spec.inputs.add(path, entry).expect("a path of the test");
        self
    }

    /// It leaves this.
    #[must_use]
    pub fn output(mut self, path: &str) -> Self {
        self.spec.outputs.push(path.to_owned());
        self
    }

    /// With this variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.spec.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With this platform property beside the toolchain.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// At most so long.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.spec.timeout = Some(timeout);
        self
    }

    /// A result of it may be remembered.
    #[must_use]
    pub fn cacheable(mut self) -> Self {
        self.spec.do_not_cache = false;
        self
    }

    pub(super) fn spec(&self, toolchain: Vec<(String, String)>) -> ActionSpec {
        let platform = Platform::new(toolchain.into_iter().chain(self.properties.iter().cloned()));
        ActionSpec { platform, ..self.spec.clone() }
    }
}

/// A connection to a server, and the runtime that it needs.
pub(super) struct Caller {
    runtime: Arc<Runtime>,
    client: Arc<Client>,
}

impl Caller {
    pub(super) fn connect(socket: &Path, token: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("an event loop");
        let endpoint = Endpoint::Unix(socket.to_owned());
        let client = runtime.block_on(Client::connect(&endpoint, Some(token))).expect("the server answers");
        Self { runtime: Arc::new(runtime), client: Arc::new(client) }
    }

    pub(super) fn start(&self, spec: ActionSpec) -> Running {
        let client = Arc::clone(&self.client);
        let task = self.runtime.spawn(async move {
            let run = async {
                let prepared = client.prepare(spec).await?;
                let executed = client.run(&prepared, &Options::default()).await?;
                let streams = client.streams(&executed.result).await?;
                Ok((executed, streams))
            };
            // A service that never answers is a failure of its own kind.
            tokio::time::timeout(PATIENCE * 2, run).await.expect("an answer, whatever it says")
        });
        Running { runtime: Arc::clone(&self.runtime), task }
    }

    pub(super) fn download(&self, ran: &Ran, directory: &Path) {
        self.runtime.block_on(self.client.download(&ran.result, directory)).expect("the outputs are in the store");
    }
}

type Streams = (Vec<u8>, Vec<u8>);

/// An execution under way.
pub struct Running {
    runtime: Arc<Runtime>,
    task: JoinHandle<Result<(Executed, Streams), ClientError>>,
}

impl Running {
    /// Waits for its end.
    #[must_use]
    pub fn wait(self) -> Answer {
        let ended = self.runtime.block_on(self.task).expect("an answer");
        let (executed, (stdout, stderr)) = match ended {
            Ok(ended) => ended,
            Err(ClientError::Status(status)) => {
                return Answer { failure: Some((status.code(), status.message().to_owned())), ran: None };
            }
            Err(error) => {
                let mut text = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(error) = source {
                    text = format!("{text}: {error}");
                    source = error.source();
                }
                return Answer { failure: Some((Code::Unknown, text)), ran: None };
            }
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let failure = executed.failure.map(|status| (status.code(), status.message().to_owned()));
        let result = executed.result;
        let exit = result.wire().exit_code;
        let ran = Ran { exit, stdout: text(stdout), stderr: text(stderr), message: executed.message, result };
        Answer { failure, ran: Some(ran) }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Nobody waits for it any more.
    pub fn hang_up(self) {
        self.task.abort();
        let _aborted = self.runtime.block_on(self.task);
    }
}

/// What the service said.
#[derive(Debug)]
pub struct Answer {
    /// Why it did not run to its end.
    pub failure: Option<(Code, String)>,
    /// How it ran, also when not to its end.
    pub ran: Option<Ran>,
}

/// How an action ran.
pub struct Ran {
    /// Exit code.
    pub exit: i32,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
    /// What the service says about it to people.
    pub message: String,
    /// All of the result.
    pub result: Arc<ActionResult>,
}

/// Without the forty lines of timestamps.
impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exit, stdout, stderr, message, result } = self;
        let outputs = (&result.wire().output_files, &result.wire().output_symlinks);
        write!(f, "exit {exit} {message}\n--- stdout\n{stdout}--- stderr\n{stderr}--- outputs {outputs:?}")
    }
}

impl Answer {
    /// What ran to its end.
    ///
    /// # Errors
    /// It did not; the answer.
    pub fn ran(self) -> Result<Ran, Self> {
        match self {
            Self { failure: None, ran: Some(ran) } => Ok(ran),
            other => Err(other),
        }
    }

    /// The code of the failure; OK where there is none.
    #[must_use]
    pub fn code(&self) -> Code {
        self.failure.as_ref().map_or(Code::Ok, |(code, _)| *code)
    }
}
