//! Who runs next, who shares a run, and what is cancelled when nobody waits any more.
use crate::line::Line;
use crate::slots::{Affinity, Slot, Slots};
use lre_model::ActionDigest;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// One `Execute` call. Given by the caller, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// One run of an action in one slot; numbered in the order in which they were first asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId(pub u64);

/// The limits of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Executions at the same time.
    pub slots: usize,
    /// Executions that wait at the same time; one more is refused.
    pub waiting_max: usize,
    /// How long a client that hung up may take to come back before what only it wanted is cancelled.
    pub grace: Duration,
    /// Who has waited this long goes before everybody who came later, whatever the priorities.
    pub patience: Duration,
}

impl Limits {
    /// A build with some thousand actions in flight is normal (`--jobs` of a large build); ten
    /// times that is a mistake of a client, and each waiting execution holds its inputs.
    pub const WAITING_MAX: usize = 20_000;
    /// Clients reconnect with WaitExecution after 100 ms and more (PROTOCOL, 54); a user who
    /// interrupts a build wants the machine back before the next thought.
    pub const GRACE: Duration = Duration::from_secs(5);
    /// Longer than nearly all single actions, shorter than the patience of people.
    pub const PATIENCE: Duration = Duration::from_secs(5 * 60);

    /// The limits of a machine with this many slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { slots, waiting_max: Self::WAITING_MAX, grace: Self::GRACE, patience: Self::PATIENCE }
    }
}

/// With whom a request may share a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// With everybody who asks for the same action (PROTOCOL, 56).
    Any,
    /// `skip_cache_lookup`: only a run that starts after the request (PROTOCOL, 49).
    Later,
    /// `do_not_cache`: with nobody (PROTOCOL, 50).
    Nobody,
}

/// A request to run an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Who asks.
    pub operation: OperationId,
    /// What its result is remembered under. Requests that are equal here have one result.
    pub action: ActionDigest,
    /// Lower numbers first (REAPI, `ExecutionPolicy.priority`); 0 is the default.
    pub priority: i32,
    /// With whom it may share.
    pub sharing: Sharing,
    /// What it would like to find in its slot.
    pub affinity: Affinity,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client asks.
    Submit(Box<Submission>),
    /// No process of the execution is left, and its outcome is known.
    Ended {
        /// Which.
        execution: ExecutionId,
    },
    /// The client of this operation hung up. It may come back.
    Abandoned {
        /// Which.
        operation: OperationId,
    },
    /// It came back.
    Returned {
        /// Which.
        operation: OperationId,
    },
    /// The client said that it does not want the operation any more. No grace.
    Withdrawn {
        /// Which.
        operation: OperationId,
    },
    /// Nothing but time passed.
    Tick,
    /// The server is going: whoever waits is dropped, whoever comes is refused; what runs may end.
    Close,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The operation belongs to this execution from now on.
    Place {
        /// Who asked.
        operation: OperationId,
        /// What it waits for.
        execution: ExecutionId,
        /// The execution runs already.
        running: bool,
    },
    /// The operation cannot be taken.
    Refuse {
        /// Who asked.
        operation: OperationId,
        /// Why not.
        why: Refusal,
    },
    /// Run it, in this slot, which is nobody else's until [`Event::Ended`].
    Start {
        /// Which.
        execution: ExecutionId,
        /// The action.
        action: ActionDigest,
        /// Where.
        slot: Slot,
        /// All who wait for it so far.
        operations: Vec<OperationId>,
    },
    /// Kill it. It still ends with [`Event::Ended`], and then answers nobody.
    Cancel {
        /// Which.
        execution: ExecutionId,
    },
    /// Tell these what came of it.
    Answer {
        /// Which.
        execution: ExecutionId,
        /// All who waited.
        operations: Vec<OperationId>,
    },
    /// It never started and nobody wants it any more: let go of what was kept for it.
    Forget {
        /// Which.
        execution: ExecutionId,
    },
    /// The operation is over without an answer: its client went and did not come back, withdrew it,
    /// or the server is going.
    Drop {
        /// Which.
        operation: OperationId,
        /// What it waited for.
        execution: ExecutionId,
    },
}

/// Why an operation cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The user's turn: too much is waiting.
    #[error("{waiting} executions are waiting already")]
    Full {
        /// How many.
        waiting: usize,
    },
    /// The operator's turn: the server is going.
    #[error("the server is shutting down")]
    Closed,
}

/// Decides who runs next.
///
/// Promises, each an assertion of `tests/simulation.rs`:
/// - never more executions than slots; a slot is granted to one execution until it has ended;
/// - never two executions of one action at once, except those that share with nobody;
/// - a request that shares only later runs is never answered by one that started before it;
/// - every operation gets exactly one last word: an answer, a refusal, or a drop; a drop only after
///   it was withdrawn, or its client was gone for the whole grace, or the queue was closed;
/// - a cancelled execution answers nobody, and only one that nobody wants is cancelled or forgotten;
/// - every execution that was placed starts and ends, or is forgotten;
/// - of those that could start, the lowest priority number starts first, and of these the oldest;
///   but whoever has waited for `patience` starts before everybody who came later. So nobody
///   starves: after `patience`, only those that came before are still before it.
pub struct Queue {
    limits: Limits,
    slots: Slots,
    line: Line,
    executions: HashMap<ExecutionId, Execution>,
    operations: HashMap<OperationId, ExecutionId>,
    /// Executions that may be shared, by action.
    shared: HashMap<ActionDigest, Shared>,
    /// When the grace of a gone client ends.
    leaving: BTreeSet<(Instant, OperationId)>,
    waiting: usize,
    next: u64,
    closed: bool,
}

/// The at most two executions of one action that may be shared.
#[derive(Default)]
struct Shared {
    waiting: Option<ExecutionId>,
    running: Option<ExecutionId>,
}

struct Execution {
    action: ActionDigest,
    shareable: bool,
    affinity: Affinity,
    since: Instant,
    stage: Stage,
    operations: BTreeMap<OperationId, Waiter>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// In the line under this priority, or, with `None`, not ready: nobody is there who wants it,
    /// or the same action still runs.
    Waiting { rank: Option<i32> },
    /// In this slot. `dying`: told to die, so whoever asks for the action meanwhile gets a new run.
    Running { slot: Slot, dying: bool },
}

struct Waiter {
    priority: i32,
    /// Set while the client is gone: when its grace ends.
    until: Option<Instant>,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            slots: Slots::new(limits.slots),
            line: Line::default(),
            executions: HashMap::new(),
            operations: HashMap::new(),
            shared: HashMap::new(),
            leaving: BTreeSet::new(),
            waiting: 0,
            next: 0,
            closed: false,
        }
    }

    /// Takes what happened at `now`, which never goes back, and says what is to be done, in order.
    ///
    /// An event about somebody who is not known (any more) does nothing: a client may hang up in
    /// the moment in which it is answered.
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Submit(submission) => self.submit(now, *submission, &mut effects),
            Event::Ended { execution } => self.ended(execution, &mut effects),
            Event::Abandoned { operation } => self.abandoned(now, operation),
            Event::Returned { operation } => self.returned(operation),
            Event::Withdrawn { operation } => self.drop_operation(operation, &mut effects),
            Event::Tick => {}
            Event::Close => self.close(&mut effects),
        }
        self.end_grace(now, &mut effects);
        self.start(now, &mut effects);
        effects
    }

    /// When time alone changes something: send [`Event::Tick`] then.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.leaving.first().map(|(until, _)| *until)
    }

    /// Executions in slots, the dying ones included.
    #[must_use]
    pub fn running(&self) -> usize {
        self.limits.slots - self.slots.free()
    }

    /// Executions that wait for a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    fn submit(&mut self, now: Instant, submission: Submission, effects: &mut Vec<Effect>) {
        let operation = submission.operation;
        if self.closed {
            return effects.push(Effect::Refuse { operation, why: Refusal::Closed });
        }
        let execution = match self.joinable(&submission) {
            Some(execution) => execution,
            None if self.waiting >= self.limits.waiting_max => {
                let why = Refusal::Full { waiting: self.waiting };
                return effects.push(Effect::Refuse { operation, why });
            }
            None => self.enqueue(now, &submission),
        };
        let Some(joined) = self.executions.get_mut(&execution) else { return };
        joined.operations.insert(operation, Waiter { priority: submission.priority, until: None });
        let running = matches!(joined.stage, Stage::Running { .. });
        self.operations.insert(operation, execution);
        effects.push(Effect::Place { operation, execution, running });
        self.reseat(execution);
    }

    /// The execution that the submission may share. A dying one answers nobody; a running one is
    /// preferred, because it ends sooner.
    fn joinable(&self, submission: &Submission) -> Option<ExecutionId> {
        let shared = self.shared.get(&submission.action)?;
        match submission.sharing {
            Sharing::Nobody => None,
            Sharing::Later => shared.waiting,
            Sharing::Any => {
                let dying = |e: &ExecutionId| {
                    matches!(self.executions.get(e).map(|e| e.stage), Some(Stage::Running { dying: true, .. }))
                };
                shared.running.filter(|e| !dying(e)).or(shared.waiting)
            }
        }
    }

    fn enqueue(&mut self, now: Instant, submission: &Submission) -> ExecutionId {
        let execution = ExecutionId(self.next);
        self.next += 1;
        self.waiting += 1;
        let shareable = submission.sharing != Sharing::Nobody;
        if shareable {
            self.shared.entry(submission.action).or_default().waiting = Some(execution);
        }
        let entry = Execution {
            action: submission.action,
            shareable,
            affinity: submission.affinity.clone(),
            since: now,
            stage: Stage::Waiting { rank: None },
            operations: BTreeMap::new(),
        };
        self.executions.insert(execution, entry);
        execution
    }

    fn ended(&mut self, execution: ExecutionId, effects: &mut Vec<Effect>) {
        let Some(Execution { stage: Stage::Running { slot, .. }, .. }) = self.executions.get(&execution) else {
            return;
        };
        self.slots.give_back(*slot);
        let Some(gone) = self.executions.remove(&execution) else { return };
        if gone.shareable {
            self.unshare(gone.action, |shared| shared.running = None);
            // The next run of this action was kept out of the line by this one.
            if let Some(next) = self.shared.get(&gone.action).and_then(|s| s.waiting) {
                self.reseat(next);
            }
        }
        for (operation, waiter) in &gone.operations {
            self.forget(*operation, waiter);
        }
        // A dying execution has lost all its operations before it was told to die.
        if !gone.operations.is_empty() {
            let operations = gone.operations.into_keys().collect();
            effects.push(Effect::Answer { execution, operations });
        }
    }

    fn abandoned(&mut self, now: Instant, operation: OperationId) {
        let until = now + self.limits.grace;
        if let Some((execution, waiter)) = self.waiter(operation)
            && waiter.until.is_none()
        {
            waiter.until = Some(until);
            self.leaving.insert((until, operation));
            self.reseat(execution);
        }
    }

    fn returned(&mut self, operation: OperationId) {
        if let Some((execution, waiter)) = self.waiter(operation)
            && let Some(until) = waiter.until.take()
        {
            self.leaving.remove(&(until, operation));
            self.reseat(execution);
        }
    }

    fn close(&mut self, effects: &mut Vec<Effect>) {
        self.closed = true;
        let waits = |e: &Execution| matches!(e.stage, Stage::Waiting { .. });
        let mut waiting: Vec<_> =
            self.executions.values().filter(|e| waits(e)).flat_map(|e| e.operations.keys().copied()).collect();
        waiting.sort_unstable();
        for operation in waiting {
            self.drop_operation(operation, effects);
        }
    }

    fn end_grace(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        while let Some((until, operation)) = self.leaving.first().copied()
            && until <= now
        {
            self.drop_operation(operation, effects);
        }
    }

    /// Ends an operation without an answer, and the execution with it where nobody else wants it.
    fn drop_operation(&mut self, operation: OperationId, effects: &mut Vec<Effect>) {
        let Some(execution) = self.operations.get(&operation).copied() else { return };
        let Some(entry) = self.executions.get_mut(&execution) else { return };
        let Some(waiter) = entry.operations.remove(&operation) else { return };
        let unwanted = entry.operations.is_empty();
        self.forget(operation, &waiter);
        effects.push(Effect::Drop { operation, execution });
        if unwanted {
            self.cancel(execution, effects);
        } else {
            self.reseat(execution);
        }
    }

    fn cancel(&mut self, execution: ExecutionId, effects: &mut Vec<Effect>) {
        let Some(entry) = self.executions.get_mut(&execution) else { return };
        match &mut entry.stage {
            Stage::Running { dying, .. } => {
                *dying = true;
                effects.push(Effect::Cancel { execution });
            }
            Stage::Waiting { rank } => {
                if let Some(rank) = *rank {
                    self.line.leave(rank, execution);
                }
                let (action, shareable) = (entry.action, entry.shareable);
                self.executions.remove(&execution);
                self.waiting -= 1;
                if shareable {
                    self.unshare(action, |shared| shared.waiting = None);
                }
                effects.push(Effect::Forget { execution });
            }
        }
    }

    /// Fills the free slots.
    fn start(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        while self.slots.free() > 0 {
            let since = |execution| self.executions.get(&execution).map(|e| e.since);
            let Some(execution) = self.line.next(now, self.limits.patience, since) else { return };
            let Some(entry) = self.executions.get_mut(&execution) else { return };
            let Some(slot) = self.slots.take(&entry.affinity) else { return };
            if let Stage::Waiting { rank: Some(rank) } = entry.stage {
                self.line.leave(rank, execution);
            }
            entry.stage = Stage::Running { slot, dying: false };
            self.waiting -= 1;
            if entry.shareable {
                let shared = self.shared.entry(entry.action).or_default();
                *shared = Shared { waiting: None, running: Some(execution) };
            }
            let operations = entry.operations.keys().copied().collect();
            effects.push(Effect::Start { execution, action: entry.action, slot, operations });
        }
    }

    /// Puts a waiting execution where it belongs in the line: under the best priority of those who
    /// are there; out of the line while all are gone (a build that was interrupted must not take
    /// slots from others during its grace), or while the same action runs.
    fn reseat(&mut self, execution: ExecutionId) {
        let Some(entry) = self.executions.get_mut(&execution) else { return };
        let Stage::Waiting { rank } = &mut entry.stage else { return };
        let blocked = entry.shareable && self.shared.get(&entry.action).is_some_and(|s| s.running.is_some());
        let best = entry.operations.values().filter(|w| w.until.is_none()).map(|w| w.priority).min();
        let wanted = best.filter(|_| !blocked);
        if *rank == wanted {
            return;
        }
        if let Some(rank) = *rank {
            self.line.leave(rank, execution);
        }
        if let Some(wanted) = wanted {
            self.line.enter(wanted, execution);
        }
        *rank = wanted;
    }

    fn waiter(&mut self, operation: OperationId) -> Option<(ExecutionId, &mut Waiter)> {
        let execution = *self.operations.get(&operation)?;
        Some((execution, self.executions.get_mut(&execution)?.operations.get_mut(&operation)?))
    }

    fn forget(&mut self, operation: OperationId, waiter: &Waiter) {
        self.operations.remove(&operation);
        if let Some(until) = waiter.until {
            self.leaving.remove(&(until, operation));
        }
    }

    fn unshare(&mut self, action: ActionDigest, change: impl FnOnce(&mut Shared)) {
        if let Some(shared) = self.shared.get_mut(&action) {
            change(shared);
            if shared.waiting.is_none() && shared.running.is_none() {
                self.shared.remove(&action);
            }
        }
    }
}
