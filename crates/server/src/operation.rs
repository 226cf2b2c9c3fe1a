//! Operations: who asked, how far it is, and, at the exit, what came of it (HOUSE 5, room 11).
use crate::services::action_cache::{Inline, inlined};
use crate::status::{self, Refusal, ToStatus};
use lre_model::{ActionDigest, ActionResult, timestamp};
use lre_proto::longrunning::{self, operation};
use lre_proto::{protobuf, re, rpc};
use lre_scheduler::OperationId;
use lre_store::BlobStore;
use lre_worker::{Failure, Limited, Live, Outcome, Stream, worker_name};
use prost::Message;
use re::execution_stage::Value as Stage;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long the answer of a finished operation can be read again (PROTOCOL, 54).
pub const FINISHED_KEPT: Duration = Duration::from_secs(600);

/// Finished operations that are kept. An answer is some kilobytes (outputs are named, not held), so
/// this is tens of megabytes at worst; a client that lost its connection asks within seconds.
pub const FINISHED_MAX: usize = 4_096;

/// Operations that are not finished. Each is an open `Execute` stream, or one that broke a moment ago.
pub const UNFINISHED_MAX: usize = 100_000;

/// What clients are told an operation is called.
const NAME_PREFIX: &str = "operations/";

/// The word before the identifier in the names of log streams (build.bazel.remote.logstream.v1).
pub const LOG_STREAMS: &str = "logstreams";

/// The identifiers of the streams of an operation.
pub const STDOUT_ID: &str = "stdout";
/// The other one.
pub const STDERR_ID: &str = "stderr";

/// One `Execute` call.
pub struct Operation {
    /// For the scheduler.
    pub id: OperationId,
    /// For the client: stable, not empty, not to be guessed (PROTOCOL, 52).
    pub name: String,
    /// What it asked for, as the client knows it.
    pub action: ActionDigest,
    /// What it would like to have inside the result.
    pub inline: Inline,
    /// When the client asked.
    pub queued: SystemTime,
    /// What the command says while it runs: that of its execution, once it has one.
    live: OnceLock<Arc<Live>>,
    state: watch::Sender<State>,
}

/// How far an operation is.
#[derive(Clone, Debug)]
pub enum State {
    /// It is looked for in the action cache, or its inputs and toolchains are.
    CacheCheck,
    /// It waits for a slot.
    Queued,
    /// It runs.
    Executing(Running),
    /// It is over.
    Completed(Arc<Answer>),
}

/// Where and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// The slot.
    pub slot: usize,
    /// Since it has it.
    pub since: SystemTime,
}

/// What came of an action.
#[derive(Clone, Debug)]
pub struct Answer {
    result: Option<Arc<ActionResult>>,
    cached: bool,
    status: rpc::Status,
    message: String,
}

impl Answer {
    /// The action cache had it.
    #[must_use]
    pub fn cached(result: Arc<ActionResult>) -> Self {
        Self { result: Some(result), cached: true, status: status::ok(), message: String::new() }
    }

    /// It could not be run, or not to the end.
    #[must_use]
    pub fn refused(status: &tonic::Status) -> Self {
        Self { result: None, cached: false, status: status::to_rpc(status), message: status.message().to_owned() }
    }

    /// It ran. What there is of a result goes with a failure too: the output of a command that was
    /// too slow is what its user wants to see (PROTOCOL, 58). `reproduce`, where it is the command that failed, says how
    /// to have the same again (PROTOCOL, 65).
    #[must_use]
    pub fn ran(outcome: &Outcome, reproduce: impl FnOnce() -> String) -> Self {
        let (status, reason) = match &outcome.failure {
            None => (status::ok(), String::new()),
            Some(failure) => (status::to_rpc(&failure.to_status()), with_hint(failure)),
        };
        let reproduce = if is_the_commands(outcome) { reproduce() } else { String::new() };
        let parts = [reason.as_str(), outcome.message.as_str(), reproduce.as_str()];
        let message = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("\n");
        Self { result: outcome.result.clone(), cached: false, status, message }
    }

    /// What there is of a result.
    #[must_use]
    pub fn result(&self) -> Option<&Arc<ActionResult>> {
        self.result.as_ref()
    }

    /// The wire form, with what `inline` asks for. A hint that cannot be followed is no failure: the
    /// client has the digests.
    async fn to_wire(&self, blobs: &dyn BlobStore, inline: &Inline) -> re::ExecuteResponse {
        let result = match &self.result {
            Some(result) if *inline == Inline::default() => Some(result.wire().clone()),
            Some(result) => match inlined(blobs, result, inline).await {
                Ok(wire) => Some(wire),
                Err(error) => {
                    tracing::warn!(%error, "nothing was inlined into a result");
                    Some(result.wire().clone())
                }
            },
            None => None,
        };
        re::ExecuteResponse {
            result,
            cached_result: self.cached,
            status: Some(self.status.clone()),
            message: self.message.clone(),
            ..Default::default()
        }
    }
}

/// Whether it is the command that failed, so that whoever runs it again will see the same.
fn is_the_commands(outcome: &Outcome) -> bool {
    match &outcome.failure {
        None => outcome.result.as_ref().is_some_and(|result| result.exit_code() != 0),
        Some(Failure::DeadlineExceeded(_) | Failure::Limit(_) | Failure::Output { .. }) => true,
        Some(_) => false,
    }
}

/// The reason and the next command: all that most clients show of a failure (USING, 2).
fn with_hint(failure: &Failure) -> String {
    let hint = match failure {
        Failure::DeadlineExceeded(_) => {
            "hint: give the action more time (Bazel: --test_timeout, or the timeout of the rule); \
             the server's own limits are shown by `lre config show`"
        }
        Failure::Limit(breach) => match breach.what {
            Limited::MachineDisk => "hint: free some room where the store is; `lre doctor` says where that is",
            Limited::MachineMemory => {
                "hint: run less at the same time (`slots` in lre.json5), or lower the memory of actions"
            }
            _ => {
                "hint: the limit is the platform property that is named, or the server's own: `lre config show` shows \
                 those as action_…_max"
            }
        },
        Failure::Sandbox(_) => "hint: `lre doctor` says what is missing on this machine",
        Failure::Store { .. } => "hint: `lre doctor` looks at the disk of the store",
        Failure::Missing(_) => "hint: the inputs are gone from the cache; build again, the client uploads them",
        Failure::Output { .. } => {
            "hint: what the rule declares and what the command leaves must agree; outputs are files, directories and \
             symlinks"
        }
        Failure::Invalid(_) => "hint: this is for whoever wrote the rule or the client: no server can run it as it is",
        Failure::Platform { .. } | Failure::Cancelled => return failure.to_string(),
    };
    format!("{failure}\n{hint}")
}

impl Operation {
    /// How far it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// To be told when it goes on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Goes on. Never back: what is completed stays so.
    pub(crate) fn set(&self, state: State) {
        self.state.send_if_modified(|now| {
            let goes_on = !matches!(now, State::Completed(_));
            if goes_on {
                *now = state;
            }
            goes_on
        });
    }

    /// What the command says while it runs; nothing before it has an execution.
    #[must_use]
    pub fn live(&self) -> Option<&Arc<Live>> {
        self.live.get()
    }

    /// It belongs to the execution that says this. The first one stays.
    pub(crate) fn listen(&self, live: &Arc<Live>) {
        let _first = self.live.set(Arc::clone(live));
    }

    /// Under which name a stream of the command is read (PROTOCOL, 66): a `LogStream` whose parent is the operation, so
    /// it can be guessed as little as the operation's own name.
    #[must_use]
    pub fn stream_name(&self, stream: Stream) -> String {
        let id = match stream {
            Stream::Stdout => STDOUT_ID,
            Stream::Stderr => STDERR_ID,
        };
        format!("{}/{LOG_STREAMS}/{id}", self.name)
    }

    /// The wire form of this moment.
    pub async fn to_wire(&self, state: &State, blobs: &dyn BlobStore) -> longrunning::Operation {
        let (stage, partial) = match state {
            State::CacheCheck => (Stage::CacheCheck, None),
            State::Queued => (Stage::Queued, Some(self.partial(None))),
            State::Executing(running) => (Stage::Executing, Some(self.partial(Some(*running)))),
            State::Completed(answer) => (Stage::Completed, answer.result.as_ref().and_then(|r| metadata_of(r))),
        };
        let mut metadata = metadata(self.action, stage);
        metadata.partial_execution_metadata = partial;
        if self.live().is_some() {
            metadata.stdout_stream_name = self.stream_name(Stream::Stdout);
            metadata.stderr_stream_name = self.stream_name(Stream::Stderr);
        }
        let response = match state {
            State::Completed(answer) => Some(answer.to_wire(blobs, &self.inline).await),
            _ => None,
        };
        to_wire(&self.name, &metadata, response.as_ref())
    }

    /// What is known of an execution before its end.
    fn partial(&self, running: Option<Running>) -> re::ExecutedActionMetadata {
        re::ExecutedActionMetadata {
            worker: running.map(|running| worker_name(running.slot)).unwrap_or_default(),
            queued_timestamp: timestamp(self.queued),
            worker_start_timestamp: running.and_then(|running| timestamp(running.since.max(self.queued))),
            ..Default::default()
        }
    }
}

fn metadata_of(result: &ActionResult) -> Option<re::ExecutedActionMetadata> {
    result.wire().execution_metadata.clone()
}

fn any(name: &str, message: &impl Message) -> protobuf::Any {
    let type_url = format!("type.googleapis.com/build.bazel.remote.execution.v2.{name}");
    protobuf::Any { type_url, value: message.encode_to_vec() }
}

/// PROTOCOL, 53: stage and action digest in every message.
fn metadata(action: ActionDigest, stage: Stage) -> re::ExecuteOperationMetadata {
    re::ExecuteOperationMetadata {
        stage: stage as i32,
        action_digest: Some(action.0.to_wire()),
        digest_function: action.0.function().to_wire(),
        ..Default::default()
    }
}

/// Done where there is a response. `Operation.error` is never set (PROTOCOL, 52).
fn to_wire(
    name: &str,
    metadata: &re::ExecuteOperationMetadata,
    response: Option<&re::ExecuteResponse>,
) -> longrunning::Operation {
    longrunning::Operation {
        name: name.to_owned(),
        metadata: Some(any("ExecuteOperationMetadata", metadata)),
        done: response.is_some(),
        result: response.map(|response| operation::Result::Response(any("ExecuteResponse", response))),
    }
}

/// What was over before there was an operation to wait for.
pub async fn finished(
    action: ActionDigest,
    answer: &Answer,
    inline: &Inline,
    blobs: &dyn BlobStore,
) -> longrunning::Operation {
    let response = answer.to_wire(blobs, inline).await;
    to_wire(&fresh_name(), &metadata(action, Stage::Completed), Some(&response))
}

/// A name that nobody can guess: who knows it may wait for the operation and cancel it.
fn fresh_name() -> String {
    format!("{NAME_PREFIX}{}", uuid::Uuid::new_v4())
}

/// All operations: those that go on, and those that ended a short while ago.
#[derive(Default)]
pub struct Operations {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    all: BTreeMap<OperationId, Arc<Operation>>,
    /// Without those that were deleted.
    by_name: HashMap<String, OperationId>,
    /// In the order in which they ended.
    finished: VecDeque<(Instant, OperationId)>,
}

impl Operations {
    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic elsewhere does not make the table wrong: each change is one call on one map.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.prune();
        table
    }

    /// A new operation, this far.
    ///
    /// # Errors
    /// There are [`UNFINISHED_MAX`] already.
    pub fn create(&self, action: ActionDigest, inline: Inline, state: State) -> Result<Arc<Operation>, Refusal> {
        let mut table = self.table();
        if table.all.len() - table.finished.len() >= UNFINISHED_MAX {
            return Err(Refusal::Busy { what: "operations are waiting already", at_most: UNFINISHED_MAX });
        }
        let id = OperationId(table.next);
        table.next += 1;
        let state = watch::Sender::new(state);
        let (queued, live) = (SystemTime::now(), OnceLock::new());
        let operation = Arc::new(Operation { id, name: fresh_name(), action, inline, queued, live, state });
        table.by_name.insert(operation.name.clone(), id);
        table.all.insert(id, Arc::clone(&operation));
        Ok(operation)
    }

    /// The operation of this name. Clients may prefix it by the instance name.
    ///
    /// # Errors
    /// Unknown, forgotten or deleted.
    pub fn named(&self, name: &str) -> Result<Arc<Operation>, Refusal> {
        let start = name.rfind(NAME_PREFIX).unwrap_or(0);
        let table = self.table();
        let found = table.by_name.get(&name[start..]).and_then(|id| table.all.get(id));
        found.cloned().ok_or_else(|| Refusal::NoOperation(name.to_owned()))
    }

    /// The operation of this number.
    #[must_use]
    pub fn get(&self, id: OperationId) -> Option<Arc<Operation>> {
        self.table().all.get(&id).cloned()
    }

    /// Up to `count` of the wanted operations after `after`, in the order in which they came.
    #[must_use]
    pub fn list(
        &self,
        after: Option<OperationId>,
        count: usize,
        wanted: impl Fn(&Operation) -> bool,
    ) -> Vec<Arc<Operation>> {
        let table = self.table();
        let from = after.map_or(0, |id| id.0.saturating_add(1));
        let known = |o: &&Arc<Operation>| table.by_name.contains_key(&o.name) && wanted(o);
        table.all.range(OperationId(from)..).map(|(_, o)| o).filter(known).take(count).cloned().collect()
    }

    /// Ends an operation. The first answer stays.
    pub(crate) fn finish(&self, operation: &Operation, answer: Arc<Answer>) {
        let mut table = self.table();
        if matches!(operation.state(), State::Completed(_)) {
            return;
        }
        if table.all.contains_key(&operation.id) {
            table.finished.push_back((Instant::now(), operation.id));
        }
        operation.set(State::Completed(answer));
    }

    /// Forgets an operation that was never taken in.
    pub(crate) fn remove(&self, operation: &Operation) {
        let mut table = self.table();
        table.by_name.remove(&operation.name);
        table.all.remove(&operation.id);
    }

    /// Forgets the name (google.longrunning: "the client is no longer interested in the operation
    /// result. It does not cancel the operation"). Who still streams it sees its end.
    pub(crate) fn delete(&self, operation: &Operation) {
        self.table().by_name.remove(&operation.name);
    }
}

impl Table {
    fn prune(&mut self) {
        while let Some((ended, id)) = self.finished.front()
            && (self.finished.len() > FINISHED_MAX || ended.elapsed() >= FINISHED_KEPT)
        {
            if let Some(operation) = self.all.remove(id) {
                self.by_name.remove(&operation.name);
            }
            self.finished.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::{Digest, DigestFunction};

    fn action() -> ActionDigest {
        ActionDigest(Digest::of(DigestFunction::Sha256, b"action"))
    }

    fn over() -> Arc<Answer> {
        Arc::new(Answer::refused(&tonic::Status::cancelled("over")))
    }

    /// PROTOCOL 54: kept for a while, then NOT_FOUND; never without bound.
    #[tokio::test(start_paused = true)]
    async fn finished_operations_are_kept_for_ten_minutes() {
        let operations = Operations::default();
        let done = operations.create(action(), Inline::default(), State::Queued).unwrap();
        let open = operations.create(action(), Inline::default(), State::Queued).unwrap();
        operations.finish(&done, over());
        tokio::time::advance(FINISHED_KEPT - Duration::from_secs(1)).await;
        assert!(operations.named(&done.name).is_ok());
        assert!(operations.named(&format!("main/{}", done.name)).is_ok(), "with an instance name");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(operations.named(&done.name).is_err());
        assert!(operations.named(&open.name).is_ok(), "what goes on is never forgotten");
    }

    #[tokio::test]
    async fn finished_operations_are_bounded_in_number() {
        let operations = Operations::default();
        let first = operations.create(action(), Inline::default(), State::Queued).unwrap();
        operations.finish(&first, over());
        for _ in 0..FINISHED_MAX {
            let next = operations.create(action(), Inline::default(), State::Queued).unwrap();
            operations.finish(&next, over());
        }
        assert!(operations.named(&first.name).is_err());
        assert_eq!(operations.list(None, usize::MAX, |_| true).len(), FINISHED_MAX);
    }

    #[tokio::test]
    async fn the_first_answer_stays_and_a_deleted_name_is_unknown() {
        let operations = Operations::default();
        let operation = operations.create(action(), Inline::default(), State::Queued).unwrap();
        operations.finish(&operation, over());
        operation.set(State::Executing(Running { slot: 0, since: SystemTime::now() }));
        assert!(matches!(operation.state(), State::Completed(_)));
        operations.delete(&operation);
        assert!(operations.named(&operation.name).is_err());
        assert!(operations.list(None, 9, |_| true).is_empty());
    }
}
