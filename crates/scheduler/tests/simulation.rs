//! Random lives of a queue. Every promise that `Queue` makes is an assertion here; a life that
//! breaks one is named by its seed.
use lre_model::{ActionDigest, Digest, DigestFunction, InputRoot, Policy, Sketch, Terms};
use lre_scheduler::{
    Affinity, Effect, Event, ExecutionId, Limits, OperationId, Queue, Refusal, Sharing, Slot, Submission,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const SEEDS: u64 = 250;
const STEPS: u64 = 1_200;
/// After this step nobody comes any more; what runs ends, so that everybody must get a last word.
const DRAIN: u64 = 700;

/// A tiny generator (xorshift), so that a failing life is named by one number.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

fn digest(n: u64) -> Digest {
    Digest::of(DigestFunction::Sha256, &n.to_le_bytes())
}

/// What the world outside the queue knows, kept apart from the queue's own books.
struct World {
    limits: Limits,
    now: Instant,
    closed: bool,
    operations: BTreeMap<OperationId, Operation>,
    executions: BTreeMap<ExecutionId, Execution>,
    words: BTreeSet<OperationId>,
    asked: u64,
}

struct Operation {
    submission: Submission,
    asked: Instant,
    gone: Option<Instant>,
    withdrawn: bool,
    execution: Option<ExecutionId>,
}

struct Execution {
    action: ActionDigest,
    shareable: bool,
    since: Instant,
    running: Option<(Slot, Instant)>,
    cancelled: bool,
}

impl World {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            now: Instant::now(),
            closed: false,
            operations: BTreeMap::new(),
            executions: BTreeMap::new(),
            words: BTreeSet::new(),
            asked: 0,
        }
    }

    fn waiters(&self, execution: ExecutionId) -> impl Iterator<Item = (&OperationId, &Operation)> {
        self.operations.iter().filter(move |(_, o)| o.execution == Some(execution))
    }

    fn running(&self) -> impl Iterator<Item = (&ExecutionId, &Execution)> {
        self.executions.iter().filter(|(_, e)| e.running.is_some())
    }

    /// Executions that could start now, with the priority they have by the API.
    fn ready(&self) -> BTreeSet<(i32, ExecutionId)> {
        let running: BTreeSet<_> = self.running().filter(|(_, r)| r.shareable).map(|(_, r)| r.action).collect();
        let mut best = BTreeMap::new();
        for operation in self.operations.values().filter(|o| o.gone.is_none()) {
            let Some(execution) = operation.execution else { continue };
            let priority = operation.submission.priority;
            best.entry(execution).and_modify(|best: &mut i32| *best = priority.min(*best)).or_insert(priority);
        }
        best.into_iter()
            .filter(|(id, _)| {
                let execution = &self.executions[id];
                execution.running.is_none() && !(execution.shareable && running.contains(&execution.action))
            })
            .map(|(id, priority)| (priority, id))
            .collect()
    }

    fn choose(&mut self, chance: &mut Chance, draining: bool) -> Event {
        let known: Vec<_> = self.operations.keys().copied().collect();
        let running: Vec<_> = self.running().map(|(id, _)| *id).collect();
        match chance.below(10) {
            0..=3 if !draining => Event::Submit(Box::new(self.submission(chance))),
            4..=6 if !running.is_empty() => Event::Ended { execution: chance.of(&running) },
            7 if !known.is_empty() && !draining => Event::Abandoned { operation: chance.of(&known) },
            8 if !known.is_empty() && !draining => match chance.below(3) {
                0 => Event::Withdrawn { operation: chance.of(&known) },
                _ => Event::Returned { operation: chance.of(&known) },
            },
            9 if chance.below(1_000) == 0 => Event::Close,
            _ => Event::Tick,
        }
    }

    fn submission(&mut self, chance: &mut Chance) -> Submission {
        self.asked += 1;
        Submission {
            operation: OperationId(self.asked),
            action: ActionDigest(digest(chance.below(15))),
            priority: chance.of(&[0, 0, 0, -1, 5]),
            sharing: chance.of(&[Sharing::Any, Sharing::Any, Sharing::Any, Sharing::Later, Sharing::Nobody]),
            affinity: Affinity {
                toolchains: vec![digest(chance.below(3))],
                terms: Terms { policy: chance.of(&Policy::ALL), ..Terms::default() },
                inputs: InputRoot(digest(chance.below(4))),
                sketch: Sketch::default(),
            },
        }
    }

    /// What the event means outside, before the queue is asked.
    fn happens(&mut self, event: &Event) -> Option<Execution> {
        match event {
            Event::Submit(submission) => {
                let operation = Operation {
                    submission: (**submission).clone(),
                    asked: self.now,
                    gone: None,
                    withdrawn: false,
                    execution: None,
                };
                self.operations.insert(submission.operation, operation);
            }
            Event::Abandoned { operation } => {
                let now = self.now;
                self.operations.get_mut(operation).unwrap().gone.get_or_insert(now);
            }
            Event::Returned { operation } => self.operations.get_mut(operation).unwrap().gone = None,
            Event::Withdrawn { operation } => self.operations.get_mut(operation).unwrap().withdrawn = true,
            Event::Ended { execution } => return self.executions.remove(execution),
            Event::Close => self.closed = true,
            Event::Tick => {}
        }
        None
    }

    fn last_word(&mut self, operation: OperationId) -> Operation {
        assert!(self.words.insert(operation), "{operation:?} got two last words");
        self.operations.remove(&operation).expect("a word to somebody unknown")
    }

    fn effect(&mut self, effect: Effect, ended: Option<&Execution>, event: &Event) {
        match effect {
            Effect::Place { operation, execution, running } => self.placed(operation, execution, running),
            Effect::Refuse { operation, why } => {
                assert!(self.last_word(operation).execution.is_none());
                let waiting = self.executions.values().filter(|e| e.running.is_none()).count();
                match why {
                    Refusal::Full { .. } => assert!(waiting >= self.limits.waiting_max),
                    Refusal::Closed => assert!(self.closed),
                }
            }
            Effect::Start { execution, action, slot, operations } => self.started(execution, action, slot, &operations),
            Effect::Cancel { execution } => {
                assert_eq!(self.waiters(execution).count(), 0, "somebody wants it");
                let run = self.executions.get_mut(&execution).expect("cancelled what is unknown");
                assert!(run.running.is_some() && !std::mem::replace(&mut run.cancelled, true));
            }
            Effect::Answer { execution, operations } => {
                let ended = ended.expect("an answer without an end");
                assert!(!ended.cancelled, "an answer from a cancelled run");
                let all: Vec<_> = self.waiters(execution).map(|(id, _)| *id).collect();
                assert_eq!(operations, all, "not everybody who waits is answered");
                for operation in operations {
                    let answered = self.last_word(operation);
                    assert_eq!(answered.submission.action, ended.action);
                    let (_, began) = ended.running.expect("it ended without a start");
                    assert!(answered.submission.sharing != Sharing::Later || began >= answered.asked);
                }
            }
            Effect::Drop { operation, execution } => {
                let dropped = self.last_word(operation);
                let waited = self.executions[&execution].running.is_none();
                let grace_over = dropped.gone.is_some_and(|gone| self.now >= gone + self.limits.grace);
                let closing = matches!(event, Event::Close) && waited;
                assert!(dropped.withdrawn || grace_over || closing, "{operation:?} was dropped too early");
            }
            Effect::Forget { execution } => {
                assert_eq!(self.waiters(execution).count(), 0, "somebody wants it");
                let forgotten = self.executions.remove(&execution).expect("forgot what is unknown");
                assert!(forgotten.running.is_none(), "forgot a running execution");
            }
        }
    }

    fn placed(&mut self, operation: OperationId, execution: ExecutionId, running: bool) {
        let now = self.now;
        let asked = self.operations.get_mut(&operation).expect("placed a stranger");
        asked.execution = Some(execution);
        let (action, sharing) = (asked.submission.action, asked.submission.sharing);
        let shareable = sharing != Sharing::Nobody;
        let new = || Execution { action, shareable, since: now, running: None, cancelled: false };
        let others = self.waiters(execution).count() - 1;
        let joined = self.executions.entry(execution).or_insert_with(new);
        assert_eq!(joined.running.is_some(), running);
        assert_eq!(joined.action, action, "joined another action");
        assert!(!joined.cancelled, "joined a run that was told to die");
        assert!(others == 0 || (joined.shareable && shareable), "shared what must not be shared");
        assert!(sharing != Sharing::Later || !running, "joined a run that started before the request");
    }

    fn started(&mut self, execution: ExecutionId, action: ActionDigest, slot: Slot, operations: &[OperationId]) {
        assert!(slot < self.limits.slots && self.running().count() < self.limits.slots, "more than slots");
        assert!(self.running().all(|(_, r)| r.running.unwrap().0 != slot), "slot {slot} was granted twice");
        let ready = self.ready();
        let oldest = *ready.iter().map(|(_, id)| id).min().expect("nothing was ready");
        let patient = self.now - self.executions[&oldest].since < self.limits.patience;
        let next = if patient { ready.first().unwrap().1 } else { oldest };
        assert_eq!(execution, next, "out of turn");
        let all: Vec<_> = self.waiters(execution).map(|(id, _)| *id).collect();
        assert_eq!(operations, all);
        let now = self.now;
        let run = self.executions.get_mut(&execution).unwrap();
        assert!(run.action == action && run.running.replace((slot, now)).is_none());
    }

    /// What must be true between any two steps.
    fn holds(&self, queue: &Queue) {
        let running = self.running().count();
        assert_eq!(running, queue.running());
        assert_eq!(self.executions.len() - running, queue.waiting());
        assert!(queue.waiting() <= self.limits.waiting_max);
        assert!(running == self.limits.slots || self.ready().is_empty(), "a slot is idle while somebody waits");
        let shared: Vec<_> = self.running().filter(|(_, r)| r.shareable).map(|(_, r)| r.action).collect();
        assert_eq!(shared.len(), shared.iter().collect::<BTreeSet<_>>().len(), "two runs of one action");
        let overdue = |o: &Operation| o.withdrawn || o.gone.is_some_and(|g| self.now >= g + self.limits.grace);
        assert!(!self.operations.values().any(overdue), "a gone client is waited for after its grace");
        let next = self.operations.values().filter_map(|o| o.gone).min().map(|gone| gone + self.limits.grace);
        assert_eq!(queue.deadline(), next);
        if self.closed {
            assert_eq!(queue.waiting(), 0);
        }
    }
}

fn live(seed: u64) {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let limits = Limits {
        slots: 1 + chance.below(4) as usize,
        waiting_max: chance.of(&[2, 10, 1_000]),
        grace: Duration::from_secs(chance.below(20)),
        patience: Duration::from_secs(chance.of(&[30, 300, 100_000])),
    };
    let (mut queue, mut world) = (Queue::new(limits), World::new(limits));
    for step in 0..STEPS {
        let event = world.choose(&mut chance, step >= DRAIN);
        world.now += Duration::from_millis(chance.below(2_000));
        let ended = world.happens(&event);
        for effect in queue.step(world.now, event.clone()) {
            world.effect(effect, ended.as_ref(), &event);
        }
        world.holds(&queue);
    }
    assert!(world.operations.is_empty(), "{} operations never got a last word", world.operations.len());
    assert_eq!(world.words.len() as u64, world.asked);
    assert!(world.executions.is_empty());
}

#[test]
fn random_lives_keep_the_promises() {
    for seed in 0..SEEDS {
        if std::panic::catch_unwind(|| live(seed)).is_err() {
            panic!("seed {seed} broke a promise; the assertion above says which");
        }
    }
}
