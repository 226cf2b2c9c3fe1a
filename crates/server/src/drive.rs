//! The loop that feeds the scheduler: what happens goes in, what is to be done is done.
//!
//! The queue is pure and a step takes microseconds, so whoever has news takes the lock and feeds it
//! himself; a task of its own would cost two changes of threads for each execution. Nothing here
//! waits while it holds the lock.
use crate::metadata::Caller;
use crate::operation::{Answer, Operation, Operations, Running, State};
use crate::status::{Refusal, ToStatus};
use futures::FutureExt;
use lre_model::{ActionDigest, Terms};
use lre_scheduler::{
    Affinity, Effect, Event, ExecutionId, Limits, OperationId, Queue, Refusal as QueueRefusal, Sharing, Slot,
    Submission,
};
use lre_store::{ActionCache, Hold, Invoker};
use lre_toolchain::Closure;
use lre_worker::{Executor, Failure, Live, Loaded, Outcome, Work};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long what runs may go on when the server stops. Most compiles end within it; whoever said
/// SIGTERM waits for it, and the open streams must outlive it to bring the answers.
pub const FINISH_TIME_MAX: Duration = Duration::from_secs(3);
const _: () = assert!(FINISH_TIME_MAX.as_millis() < crate::limits::SHUTDOWN_GRACE.as_millis());

/// How long a cancelled execution may take to be gone when the server stops. The launcher kills at
/// once; what takes time is a disk that is slow to give its files back.
pub const KILL_TIME_MAX: Duration = Duration::from_secs(10);

/// An action on its way to a slot: read, held, with its tools, refused by nobody.
pub struct Order {
    /// The action and all that it names.
    pub loaded: Arc<Loaded>,
    /// Its toolchains.
    pub closure: Closure,
    /// What it asks of its sandbox beside them.
    pub terms: Terms,
    /// Keeps its inputs.
    pub hold: Arc<Hold>,
    /// For whom it is run: what it leaves is theirs.
    pub invoker: Invoker,
    /// How long the command may run.
    pub timeout: Duration,
    /// What its result is remembered under. Equal keys have equal results.
    pub key: ActionDigest,
    /// With whom it may share a run.
    pub sharing: Sharing,
    /// Whether to tell what the command wanted and did not get, however it ends.
    pub explain: bool,
    /// Lower numbers first.
    pub priority: i32,
    /// When the client asked.
    pub queued: SystemTime,
    /// Who asked first, for the log.
    pub caller: Caller,
}

/// What has been done since the start, for `lre stats` and `doctor`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Executions started.
    pub started: AtomicU64,
    /// Requests that shared the run of another.
    pub shared: AtomicU64,
    /// Executions cancelled because nobody wanted them any more.
    pub cancelled: AtomicU64,
    /// Results remembered.
    pub remembered: AtomicU64,
    /// Results that could not be remembered; each costs one execution later, and nothing else.
    pub not_remembered: AtomicU64,
}

/// Runs what is asked for: the queue, the executions that it started, the clients that watch.
pub struct Driver {
    room: Mutex<Room>,
    operations: Arc<Operations>,
    executor: Arc<dyn Executor>,
    actions: Arc<dyn ActionCache>,
    /// Executions in slots.
    running: watch::Sender<usize>,
    /// The deadline of the queue may have changed.
    changed: Arc<Notify>,
    counters: Counters,
    closing: AtomicBool,
    runtime: Handle,
    me: Weak<Self>,
}

struct Room {
    queue: Queue,
    runs: HashMap<ExecutionId, Run>,
    /// Open streams of each unfinished operation.
    watchers: HashMap<OperationId, usize>,
}

struct Run {
    /// Until it starts.
    order: Option<Order>,
    /// Since it started.
    running: Option<Running>,
    live: Arc<Live>,
    cancel: CancellationToken,
}

/// A client that watches an operation. When the last one goes before the end, the grace begins.
pub struct Presence {
    driver: Arc<Driver>,
    /// What is watched.
    pub operation: Arc<Operation>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.driver.leave(&self.operation);
    }
}

impl Driver {
    /// Starts with nothing to do. Call it inside a runtime.
    #[must_use]
    pub fn start(
        limits: Limits,
        operations: Arc<Operations>,
        executor: Arc<dyn Executor>,
        actions: Arc<dyn ActionCache>,
    ) -> Arc<Self> {
        let room = Room { queue: Queue::new(limits), runs: HashMap::new(), watchers: HashMap::new() };
        let changed = Arc::new(Notify::new());
        let driver = Arc::new_cyclic(|me: &Weak<Self>| Self {
            room: Mutex::new(room),
            operations,
            executor,
            actions,
            running: watch::Sender::new(0),
            changed: Arc::clone(&changed),
            counters: Counters::default(),
            closing: AtomicBool::new(false),
            runtime: Handle::current(),
            me: me.clone(),
        });
        tokio::spawn(tick(Arc::downgrade(&driver), changed));
        driver
    }

    /// What has been done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Executions in slots, and executions that wait for one.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        let room = self.room();
        (room.queue.running(), room.queue.waiting())
    }

    /// Puts an operation into the queue.
    ///
    /// # Errors
    /// Too much waits already, the server is going, or somebody has cancelled it meanwhile.
    pub fn submit(self: &Arc<Self>, operation: Arc<Operation>, order: Order) -> Result<Presence, Refusal> {
        let submission = Submission {
            operation: operation.id,
            action: order.key,
            priority: order.priority,
            sharing: order.sharing,
            affinity: Affinity {
                toolchains: order.closure.toolchains.iter().map(|t| t.digest).collect(),
                terms: order.terms.clone(),
                inputs: order.loaded.inputs.root(),
                sketch: *order.loaded.inputs.sketch(),
            },
        };
        let mut room = self.room();
        if matches!(operation.state(), State::Completed(_)) {
            return Err(Refusal::Cancelled("a client asked for it"));
        }
        operation.set(State::Queued);
        *room.watchers.entry(operation.id).or_default() += 1;
        match self.feed(&mut room, Event::Submit(Box::new(submission)), News { order: Some(order), answer: None }) {
            None => Ok(Presence { driver: Arc::clone(self), operation }),
            Some(why) => {
                room.watchers.remove(&operation.id);
                drop(room);
                self.operations.remove(&operation);
                Err(refusal(why))
            }
        }
    }

    /// Watches an operation that is there.
    #[must_use]
    pub fn watch(self: &Arc<Self>, operation: Arc<Operation>) -> Presence {
        let mut room = self.room();
        if !matches!(operation.state(), State::Completed(_)) {
            *room.watchers.entry(operation.id).or_default() += 1;
            self.feed(&mut room, Event::Returned { operation: operation.id }, News::default());
        }
        Presence { driver: Arc::clone(self), operation }
    }

    /// Ends an operation at the word of a client, and the execution with it where nobody else wants it.
    pub fn withdraw(&self, operation: &Operation) {
        let mut room = self.room();
        if matches!(operation.state(), State::CacheCheck) {
            // The queue has never heard of it, and will not.
            let answer = Answer::refused(&Refusal::Cancelled("a client asked for it").to_status());
            self.finish(&mut room, operation.id, Arc::new(answer));
        } else {
            self.feed(&mut room, Event::Withdrawn { operation: operation.id }, News::default());
        }
    }

    fn leave(&self, operation: &Operation) {
        let mut room = self.room();
        let Some(watchers) = room.watchers.get_mut(&operation.id) else { return };
        *watchers -= 1;
        if *watchers == 0 {
            room.watchers.remove(&operation.id);
            self.feed(&mut room, Event::Abandoned { operation: operation.id }, News::default());
        }
    }

    /// Takes no more; drops who waits; lets what runs end for `grace`, then kills it. Says whether
    /// every execution is gone.
    pub async fn close(&self, grace: Duration) -> bool {
        self.closing.store(true, Ordering::Relaxed);
        self.feed(&mut self.room(), Event::Close, News::default());
        let mut running = self.running.subscribe();
        if tokio::time::timeout(grace, running.wait_for(|n| *n == 0)).await.is_ok() {
            return true;
        }
        for run in self.room().runs.values() {
            run.cancel.cancel();
        }
        tokio::time::timeout(KILL_TIME_MAX, running.wait_for(|n| *n == 0)).await.is_ok()
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        // A panic while the lock was held has been told already; to stop all builds for it would
        // only add to the damage.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step of the queue, and what follows from it.
    fn feed(&self, room: &mut Room, event: Event, mut news: News) -> Option<QueueRefusal> {
        let why = match event {
            Event::Close => Refusal::Stopping,
            Event::Withdrawn { .. } => Refusal::Cancelled("a client asked for it"),
            _ => Refusal::Cancelled("nobody waits for it any more"),
        };
        let before = room.queue.deadline();
        let effects = room.queue.step(Instant::now().into_std(), event);
        let mut refused = None;
        for effect in effects {
            match effect {
                Effect::Refuse { why, .. } => refused = Some(why),
                Effect::Place { operation, execution, running } => {
                    self.place(room, operation, execution, running, &mut news);
                }
                Effect::Start { execution, slot, operations, .. } => self.run(room, execution, slot, &operations),
                Effect::Cancel { execution } => {
                    self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
                    if let Some(run) = room.runs.get(&execution) {
                        run.cancel.cancel();
                    }
                }
                Effect::Forget { execution } => drop(room.runs.remove(&execution)),
                Effect::Answer { operations, .. } => {
                    let answer = news.answer.take().unwrap_or_else(|| Arc::new(lost()));
                    for operation in operations {
                        self.finish(room, operation, Arc::clone(&answer));
                    }
                }
                Effect::Drop { operation, .. } => {
                    self.finish(room, operation, Arc::new(Answer::refused(&why.to_status())));
                }
            }
        }
        self.running.send_if_modified(|n| std::mem::replace(n, room.queue.running()) != room.queue.running());
        if room.queue.deadline() != before {
            self.changed.notify_one();
        }
        refused
    }

    fn place(&self, room: &mut Room, operation: OperationId, execution: ExecutionId, running: bool, news: &mut News) {
        let run = match room.runs.entry(execution) {
            Entry::Occupied(there) => {
                self.counters.shared.fetch_add(1, Ordering::Relaxed);
                there.into_mut()
            }
            Entry::Vacant(free) => free.insert(Run {
                order: news.order.take(),
                running: None,
                live: Arc::default(),
                cancel: CancellationToken::new(),
            }),
        };
        let Some(operation) = self.operations.get(operation) else { return };
        operation.listen(&run.live);
        if running && let Some(running) = run.running {
            operation.set(State::Executing(running));
        }
    }

    fn finish(&self, room: &mut Room, operation: OperationId, answer: Arc<Answer>) {
        room.watchers.remove(&operation);
        if let Some(operation) = self.operations.get(operation) {
            self.operations.finish(&operation, answer);
        }
    }

    fn run(&self, room: &mut Room, execution: ExecutionId, slot: Slot, operations: &[OperationId]) {
        let Some(run) = room.runs.get_mut(&execution) else { return };
        let (Some(order), Some(me)) = (run.order.take(), self.me.upgrade()) else { return };
        self.counters.started.fetch_add(1, Ordering::Relaxed);
        let running = *run.running.insert(Running { slot, since: SystemTime::now() });
        for operation in operations.iter().filter_map(|id| self.operations.get(*id)) {
            operation.set(State::Executing(running));
        }
        let (live, cancel) = (Arc::clone(&run.live), run.cancel.clone());
        let invoker = order.invoker;
        self.runtime.spawn(invoker.scope(async move { me.execute(execution, order, slot, live, cancel).await }));
    }

    async fn execute(
        self: Arc<Self>,
        execution: ExecutionId,
        order: Order,
        slot: Slot,
        live: Arc<Live>,
        cancel: CancellationToken,
    ) {
        let Order { loaded, closure, terms, hold, timeout, key, queued, caller, explain, .. } = order;
        let (action, cacheable) = (loaded.action.digest, !loaded.action.do_not_cache);
        let begin = Instant::now();
        let work = Work { loaded, closure, terms, hold: Arc::clone(&hold), slot, timeout, queued, explain, live };
        // The slot must come back whatever happens, or the machine shrinks with every bug.
        let outcome = AssertUnwindSafe(self.executor.execute(work, cancel)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| {
            let failure = Failure::Sandbox("the executor panicked; the server's log says where".to_owned());
            Outcome { failure: Some(failure), ..Outcome::default() }
        });
        log(action, &caller, begin.elapsed(), &outcome);
        if cacheable {
            self.remember(key, &outcome).await;
        }
        drop(hold);
        // Whoever cancels an operation has had its last word. So if somebody is still there for a
        // cancelled run, the server cancelled it: `UNAVAILABLE`, on which clients try again.
        let answer = match &outcome.failure {
            Some(Failure::Cancelled) if self.closing.load(Ordering::Relaxed) => {
                Answer::refused(&Refusal::Stopping.to_status())
            }
            // Who has called `lre run` knows how.
            _ if caller.is_lre() => Answer::ran(&outcome, String::new),
            _ => Answer::ran(&outcome, || format!("reproduce: lre run --action {action}")),
        };
        let answer = Some(Arc::new(answer));
        let mut room = self.room();
        room.runs.remove(&execution);
        self.feed(&mut room, Event::Ended { execution }, News { order: None, answer });
    }

    /// The ledger again (HOUSE 5, room 3'): only what succeeded (PROTOCOL, 60). Before the end is
    /// told, so that whoever asks after it finds it.
    async fn remember(&self, key: ActionDigest, outcome: &Outcome) {
        let Outcome { result: Some(result), failure: None, .. } = outcome else { return };
        if result.exit_code() != 0 {
            return;
        }
        let counter = match self.actions.put(key, Arc::clone(result)).await {
            Ok(()) => &self.counters.remembered,
            Err(error) => {
                tracing::warn!(action = %key, %error, "a result could not be remembered");
                &self.counters.not_remembered
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Wakes the ticking task, which finds nobody and ends.
        self.changed.notify_one();
    }
}

/// What comes with an event and is no business of the queue.
#[derive(Default)]
struct News {
    /// With a submission.
    order: Option<Order>,
    /// With an end.
    answer: Option<Arc<Answer>>,
}

/// One line for each execution, and the only one: what is ours to mend is an error, what the user
/// or the client has to mend is not.
fn log(action: ActionDigest, caller: &Caller, elapsed: Duration, outcome: &Outcome) {
    let Caller { tool, mnemonic, target, .. } = caller;
    let (milliseconds, exit_code) = (elapsed.as_millis(), outcome.result.as_ref().map(|r| r.exit_code()));
    match &outcome.failure {
        None => tracing::info!(%action, tool, mnemonic, target, milliseconds, exit_code, "executed"),
        Some(failure @ (Failure::Sandbox(_) | Failure::Store { .. })) => {
            tracing::error!(%action, tool, mnemonic, target, milliseconds, reason = failure.to_status().message(), "could not be executed");
        }
        Some(failure) => {
            tracing::info!(%action, tool, mnemonic, target, milliseconds, exit_code, reason = %failure, "executed to no end");
        }
    }
}

fn refusal(why: QueueRefusal) -> Refusal {
    match why {
        QueueRefusal::Full { waiting } => Refusal::Busy { what: "executions are waiting already", at_most: waiting },
        QueueRefusal::Closed => Refusal::Stopping,
    }
}

/// The queue answers only after an end, and each end brings its answer; this is for the case that
/// the sentence before is wrong, because a client that waits for ever is worse than a strange one.
fn lost() -> Answer {
    let problem = "the answer of an execution was lost".to_owned();
    Answer::refused(&Refusal::Broken { reason: "ANSWER_LOST", problem }.to_status())
}

/// Tells the queue when time alone changes something.
async fn tick(driver: Weak<Driver>, changed: Arc<Notify>) {
    loop {
        let Some(deadline) = driver.upgrade().map(|d| d.room().queue.deadline()) else { return };
        match deadline {
            None => changed.notified().await,
            Some(deadline) => tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep_until(deadline.into()) => {
                    let Some(driver) = driver.upgrade() else { return };
                    driver.feed(&mut driver.room(), Event::Tick, News::default());
                }
            },
        }
    }
}
