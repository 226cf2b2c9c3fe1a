//! Operations: who asked, how far it is, and, at the exit, what came of it (HOUSE 5, room 11).
use crate::services::action_cache::{Inline, inlined};
use crate::status::{self, Refusal, ToStatus};
use lre_model::{ActionDigest, ActionResult};
use lre_proto::longrunning::{self, operation};
use lre_proto::{protobuf, re, rpc};
use lre_scheduler::OperationId;
use lre_store::BlobStore;
use lre_worker::{Failure, Limited, Outcome};
use prost::Message;
use re::execution_stage::Value as Stage;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
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
    state: watch::Sender<State>,
}

/// How far an operation is.
#[derive(Clone, Debug)]
pub enum State {
    /// It waits for a slot.
    Queued,
    /// It runs.
    Executing,
    /// It is over.
    Completed(Arc<Answer>),
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
    /// too slow is what its user wants to see (PROTOCOL, 58).
    #[must_use]
    pub fn ran(outcome: &Outcome) -> Self {
        let (status, reason) = match &outcome.failure {
            None => (status::ok(), String::new()),
            Some(failure) => (status::to_rpc(&failure.to_status()), with_hint(failure)),
        };
        let parts = [reason.as_str(), outcome.message.as_str()];
        let message = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("\n");
        Self { result: outcome.result.clone(), cached: false, status, message }
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
        Failure::Invalid(_) | Failure::Platform { .. } | Failure::Output { .. } | Failure::Cancelled => {
            return failure.to_string();
        }
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

    /// The wire form of this moment.
    pub async fn to_wire(&self, state: &State, blobs: &dyn BlobStore) -> longrunning::Operation {
        match state {
            State::Queued => unfinished(&self.name, self.action, Stage::Queued),
            State::Executing => unfinished(&self.name, self.action, Stage::Executing),
            State::Completed(answer) => finished(&self.name, self.action, answer, &self.inline, blobs).await,
        }
    }
}

fn any(name: &str, message: &impl Message) -> protobuf::Any {
    let type_url = format!("type.googleapis.com/build.bazel.remote.execution.v2.{name}");
    protobuf::Any { type_url, value: message.encode_to_vec() }
}

/// PROTOCOL, 53: stage and action digest in every message.
fn unfinished(name: &str, action: ActionDigest, stage: Stage) -> longrunning::Operation {
    let metadata = re::ExecuteOperationMetadata {
        stage: stage as i32,
        action_digest: Some(action.0.to_wire()),
        digest_function: action.0.function().to_wire(),
        ..Default::default()
    };
    longrunning::Operation {
        name: name.to_owned(),
        metadata: Some(any("ExecuteOperationMetadata", &metadata)),
        done: false,
        result: None,
    }
}

/// A finished operation. `Operation.error` is never set (PROTOCOL, 52).
pub async fn finished(
    name: &str,
    action: ActionDigest,
    answer: &Answer,
    inline: &Inline,
    blobs: &dyn BlobStore,
) -> longrunning::Operation {
    let response = answer.to_wire(blobs, inline).await;
    longrunning::Operation {
        done: true,
        result: Some(operation::Result::Response(any("ExecuteResponse", &response))),
        ..unfinished(name, action, Stage::Completed)
    }
}

/// A name that nobody can guess: who knows it may wait for the operation and cancel it.
#[must_use]
pub fn fresh_name() -> String {
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

    /// A new operation, queued.
    ///
    /// # Errors
    /// There are [`UNFINISHED_MAX`] already.
    pub fn create(&self, action: ActionDigest, inline: Inline) -> Result<Arc<Operation>, Refusal> {
        let mut table = self.table();
        if table.all.len() - table.finished.len() >= UNFINISHED_MAX {
            return Err(Refusal::Busy { what: "operations are waiting already", at_most: UNFINISHED_MAX });
        }
        let id = OperationId(table.next);
        table.next += 1;
        let (state, _) = watch::channel(State::Queued);
        let operation = Arc::new(Operation { id, name: fresh_name(), action, inline, state });
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

    /// Up to `count` operations after `after`, in the order in which they came.
    #[must_use]
    pub fn list(&self, after: Option<OperationId>, count: usize) -> Vec<Arc<Operation>> {
        let table = self.table();
        let from = after.map_or(0, |id| id.0.saturating_add(1));
        let known = |operation: &&Arc<Operation>| table.by_name.contains_key(&operation.name);
        table.all.range(OperationId(from)..).map(|(_, o)| o).filter(known).take(count).cloned().collect()
    }

    /// Ends an operation. The first answer stays.
    pub(crate) fn finish(&self, id: OperationId, answer: Arc<Answer>) {
        let mut table = self.table();
        let Some(operation) = table.all.get(&id).cloned() else { return };
        if matches!(operation.state(), State::Completed(_)) {
            return;
        }
        table.finished.push_back((Instant::now(), id));
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

    /// PROTOCOL, 54: kept for a while, then NOT_FOUND; never without bound.
    #[tokio::test(start_paused = true)]
    async fn finished_operations_are_kept_for_ten_minutes() {
        let operations = Operations::default();
        let done = operations.create(action(), Inline::default()).unwrap();
        let open = operations.create(action(), Inline::default()).unwrap();
        operations.finish(done.id, over());
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
        let first = operations.create(action(), Inline::default()).unwrap();
        operations.finish(first.id, over());
        for _ in 0..FINISHED_MAX {
            let next = operations.create(action(), Inline::default()).unwrap();
            operations.finish(next.id, over());
        }
        assert!(operations.named(&first.name).is_err());
        assert_eq!(operations.list(None, usize::MAX).len(), FINISHED_MAX);
    }

    #[tokio::test]
    async fn the_first_answer_stays_and_a_deleted_name_is_unknown() {
        let operations = Operations::default();
        let operation = operations.create(action(), Inline::default()).unwrap();
        operations.finish(operation.id, over());
        operation.set(State::Executing);
        assert!(matches!(operation.state(), State::Completed(_)));
        operations.delete(&operation);
        assert!(operations.named(&operation.name).is_err());
        assert!(operations.list(None, 9).is_empty());
    }
}
