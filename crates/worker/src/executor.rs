//! Who runs actions.
use crate::{Breach, Live, Loaded};
use async_trait::async_trait;
use lre_model::{ActionResult, Digest, Invalid, Terms};
use lre_store::{Hold, StoreError};
use lre_toolchain::Closure;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// One execution to be made.
pub struct Work {
    /// The action and all that it names, validated.
    pub loaded: Arc<Loaded>,
    /// The toolchains, verified.
    pub closure: Closure,
    /// What the action asks of its sandbox beside them.
    pub terms: Terms,
    /// Keeps the inputs while the execution lives.
    pub hold: Arc<Hold>,
    /// Which slot the scheduler granted: below the number of slots, and nobody else's until the end.
    pub slot: usize,
    /// How long the command may run: what the action asks for, or the server's default.
    pub timeout: Duration,
    /// When the client asked.
    pub queued: SystemTime,
    /// Somebody asks what the command wants and does not get, however it ends. No part of the action: it
    /// changes what is told and not what is made.
    pub explain: bool,
    /// Where stdout and stderr can be read while it runs.
    pub live: Arc<Live>,
}

/// What an execution leaves: a result, a failure, or both. Not a `Result`, because an action that
/// timed out or was killed half way still has output that the user must see.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What there is of a result; complete where `failure` is `None`. Its metadata is filled, its
    /// stdout and stderr are in the store, all of its blobs are in the store.
    pub result: Option<Arc<ActionResult>>,
    /// Why it is not complete.
    pub failure: Option<Failure>,
    /// For people: shown by clients beside a failure.
    pub message: String,
}

impl Outcome {
    /// Adds lines to the message.
    pub(crate) fn add(&mut self, lines: &str) {
        if !self.message.is_empty() && !lines.is_empty() {
            self.message.push('\n');
        }
        self.message.push_str(lines);
    }
}

/// Why an execution did not end in an exit code. Each variant names whose turn it is.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The client's turn: upload these and ask again.
    #[error("{} blobs that the action needs are missing", .0.len())]
    Missing(Vec<Digest>),
    /// The client's author's turn: the action can never work as written.
    #[error("the action is not valid: {0}")]
    Invalid(#[from] Invalid),
    /// The user's turn: toolchains that the platform names cannot be mounted together.
    #[error("{problem}")]
    Platform {
        /// The property that names them.
        property: &'static str,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The user's turn: an output is not what the command promised (REAPI: FAILED_PRECONDITION).
    #[error("the output `{path}` {problem}")]
    Output {
        /// As requested.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The user's turn: the command was too slow. Its output so far is in the outcome.
    #[error("the command ran longer than {} s and was killed", .0.as_secs_f64())]
    DeadlineExceeded(Duration),
    /// The user's turn: the command took more of the machine than it may. Its output so far is in the
    /// outcome.
    #[error("{0}")]
    Limit(Breach),
    /// Nobody's turn: nobody waits for it any more, or somebody cancelled it.
    #[error("the execution was cancelled")]
    Cancelled,
    /// The operator's turn: this machine cannot do it.
    #[error("the sandbox could not be set up: {0}")]
    Sandbox(String),
    /// The operator's turn: the store failed.
    #[error("the store failed while {doing}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: StoreError,
    },
}

/// Runs actions.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Runs one. When `cancel` fires, the whole process tree is killed and the outcome says
    /// [`Failure::Cancelled`]; the future always ends, and no process of the action lives after it.
    async fn execute(&self, work: Work, cancel: CancellationToken) -> Outcome;
}
