//! One short story for each promise of the queue: what happens, what is done.
use lre_model::{ActionDigest, Digest, DigestFunction, InputRoot, Sketch, Terms};
use lre_scheduler::{Affinity, Effect, Event, ExecutionId, Limits, OperationId, Queue, Refusal, Sharing, Submission};
use std::time::{Duration, Instant};

/// A queue and a clock in seconds; effects are written as short words, so that a story reads.
struct Story {
    queue: Queue,
    start: Instant,
}

fn digest(name: &str) -> Digest {
    Digest::of(DigestFunction::Sha256, name.as_bytes())
}

fn story(slots: usize) -> Story {
    let limits = Limits { waiting_max: 3, ..Limits::new(slots) };
    Story { queue: Queue::new(limits), start: Instant::now() }
}

impl Story {
    fn at(&mut self, second: u64, event: Event) -> Vec<String> {
        let word = |effect: Effect| match effect {
            Effect::Place { operation, execution, running } => {
                format!("place {} {}{}", operation.0, execution.0, if running { " running" } else { "" })
            }
            Effect::Refuse { operation, why: Refusal::Full { waiting } } => format!("full {} {waiting}", operation.0),
            Effect::Refuse { operation, why: Refusal::Closed } => format!("closed {}", operation.0),
            Effect::Start { execution, slot, .. } => format!("start {} in {slot}", execution.0),
            Effect::Cancel { execution } => format!("cancel {}", execution.0),
            Effect::Forget { execution } => format!("forget {}", execution.0),
            Effect::Answer { operations, .. } => {
                let who: Vec<_> = operations.iter().map(|o| o.0.to_string()).collect();
                format!("answer {}", who.join(" "))
            }
            Effect::Drop { operation, .. } => format!("drop {}", operation.0),
        };
        self.queue.step(self.start + Duration::from_secs(second), event).into_iter().map(word).collect()
    }

    fn ask(&mut self, second: u64, operation: u64, action: &str, sharing: Sharing, priority: i32) -> Vec<String> {
        let affinity = Affinity {
            toolchains: vec![],
            terms: Terms::default(),
            inputs: InputRoot(digest("")),
            sketch: Sketch::default(),
        };
        let action = ActionDigest(digest(action));
        let operation = OperationId(operation);
        self.at(second, Event::Submit(Box::new(Submission { operation, action, priority, sharing, affinity })))
    }

    fn any(&mut self, operation: u64, action: &str) -> Vec<String> {
        self.ask(0, operation, action, Sharing::Any, 0)
    }

    fn end(&mut self, second: u64, execution: u64) -> Vec<String> {
        self.at(second, Event::Ended { execution: ExecutionId(execution) })
    }
}

fn gone(operation: u64) -> Event {
    Event::Abandoned { operation: OperationId(operation) }
}

fn back(operation: u64) -> Event {
    Event::Returned { operation: OperationId(operation) }
}

const NOTHING: [&str; 0] = [];

/// PROTOCOL 56: four requests, one run.
#[test]
fn equal_actions_share_a_run() {
    let mut s = story(2);
    assert_eq!(s.any(1, "a"), ["place 1 0", "start 0 in 0"]);
    assert_eq!(s.any(2, "a"), ["place 2 0 running"]);
    assert_eq!(s.any(3, "a"), ["place 3 0 running"]);
    assert_eq!(s.end(1, 0), ["answer 1 2 3"]);
    assert_eq!(s.any(4, "a"), ["place 4 1", "start 1 in 0"], "after the end there is nothing to share");
}

/// PROTOCOL 50: do_not_cache shares with nobody, neither as the first nor as the second.
#[test]
fn do_not_cache_runs_alone() {
    let mut s = story(3);
    assert_eq!(s.any(1, "a"), ["place 1 0", "start 0 in 0"]);
    assert_eq!(s.ask(0, 2, "a", Sharing::Nobody, 0), ["place 2 1", "start 1 in 1"]);
    assert_eq!(s.ask(0, 3, "a", Sharing::Nobody, 0), ["place 3 2", "start 2 in 2"]);
    assert_eq!(s.any(4, "a"), ["place 4 0 running"]);
}

/// PROTOCOL 49: skip_cache_lookup may join a run that was started after the request.
#[test]
fn skip_cache_lookup_joins_only_what_has_not_started() {
    let mut s = story(2);
    s.any(1, "a");
    assert_eq!(s.ask(0, 2, "a", Sharing::Later, 0), ["place 2 1"], "not the running one, and not beside it");
    assert_eq!(s.ask(0, 3, "a", Sharing::Later, 0), ["place 3 1"]);
    assert_eq!(s.any(4, "a"), ["place 4 0 running"]);
    assert_eq!(s.end(1, 0), ["answer 1 4", "start 1 in 0"]);
    assert_eq!(s.any(5, "a"), ["place 5 1 running"]);
    assert_eq!(s.end(2, 1), ["answer 2 3 5"]);
}

/// PROTOCOL 62: lower numbers first, and of equal ones the first.
#[test]
fn priorities_then_order_of_arrival() {
    let mut s = story(1);
    s.any(1, "a");
    s.ask(0, 2, "b", Sharing::Any, 0);
    s.ask(0, 3, "c", Sharing::Any, -3);
    s.ask(0, 4, "d", Sharing::Any, 0);
    assert_eq!(s.end(1, 0), ["answer 1", "start 2 in 0"]);
    assert_eq!(s.ask(1, 5, "d", Sharing::Any, -1), ["place 5 3"], "the more urgent request lifts what it joins");
    assert_eq!(s.end(2, 2), ["answer 3", "start 3 in 0"]);
    assert_eq!(s.end(3, 3), ["answer 4 5", "start 1 in 0"]);
}

#[test]
fn patience_ends_before_priorities_do() {
    let mut s = story(1);
    s.any(1, "a");
    s.ask(0, 2, "b", Sharing::Any, 9);
    s.ask(299, 3, "c", Sharing::Any, 0);
    assert_eq!(s.end(300, 0), ["answer 1", "start 1 in 0"], "has waited five minutes");
}

#[test]
fn too_much_is_refused_at_once() {
    let mut s = story(1);
    for operation in 1..=4 {
        s.any(operation, &operation.to_string());
    }
    assert_eq!(s.any(5, "5"), ["full 5 3"]);
    assert_eq!(s.any(6, "3"), ["place 6 2"], "who joins adds nothing");
    assert_eq!(s.end(1, 0), ["answer 1", "start 1 in 0"]);
    assert_eq!(s.any(7, "5"), ["place 7 4"]);
}

/// The grace: a connection that breaks is not the end, a client that stays away is.
#[test]
fn who_hangs_up_and_stays_away_cancels_what_only_it_wanted() {
    let mut s = story(1);
    s.any(1, "a");
    s.any(2, "b");
    assert_eq!(s.at(10, gone(1)), NOTHING);
    assert_eq!(s.at(14, back(1)), NOTHING);
    assert_eq!(s.at(20, Event::Tick), NOTHING, "it came back in time");
    assert_eq!(s.at(30, gone(1)), NOTHING);
    assert_eq!(s.at(34, Event::Tick), NOTHING);
    assert_eq!(s.at(35, Event::Tick), ["drop 1", "cancel 0"]);
    assert_eq!(s.any(3, "a"), ["place 3 2"], "a dying run is not joined");
    assert_eq!(s.end(36, 0), ["start 1 in 0"], "and answers nobody");
    assert_eq!(s.end(37, 1), ["answer 2", "start 2 in 0"]);
}

#[test]
fn a_run_that_somebody_else_wants_goes_on() {
    let mut s = story(1);
    s.any(1, "a");
    s.any(2, "a");
    s.at(0, gone(1));
    assert_eq!(s.at(5, Event::Tick), ["drop 1"]);
    assert_eq!(s.end(6, 0), ["answer 2"]);
}

#[test]
fn what_ends_during_the_grace_is_kept_for_the_client_that_comes_back() {
    let mut s = story(1);
    s.any(1, "a");
    s.at(0, gone(1));
    assert_eq!(s.end(1, 0), ["answer 1"]);
    assert_eq!(s.at(9, Event::Tick), NOTHING);
}

/// A build that was interrupted must not take slots from others while its grace lasts.
#[test]
fn nothing_starts_for_clients_that_are_gone() {
    let mut s = story(1);
    s.any(1, "a");
    s.any(2, "b");
    s.any(3, "c");
    s.at(1, gone(2));
    assert_eq!(s.end(2, 0), ["answer 1", "start 2 in 0"], "c goes first: nobody is there for b");
    assert_eq!(s.end(3, 2), ["answer 3"]);
    assert_eq!(s.at(4, back(2)), ["start 1 in 0"]);
}

#[test]
fn a_cancelled_operation_gets_no_grace() {
    let mut s = story(1);
    s.any(1, "a");
    s.any(2, "b");
    let withdrawn = |operation| Event::Withdrawn { operation: OperationId(operation) };
    assert_eq!(s.at(0, withdrawn(2)), ["drop 2", "forget 1"], "it never ran, so nothing is to be killed");
    assert_eq!(s.at(0, withdrawn(1)), ["drop 1", "cancel 0"]);
    assert_eq!(s.at(0, withdrawn(1)), NOTHING);
    assert_eq!(s.end(1, 0), NOTHING);
}

#[test]
fn closing_drops_who_waits_and_lets_end_what_runs() {
    let mut s = story(1);
    s.any(1, "a");
    s.any(2, "b");
    assert_eq!(s.at(0, Event::Close), ["drop 2", "forget 1"]);
    assert_eq!(s.any(3, "c"), ["closed 3"]);
    assert_eq!(s.end(1, 0), ["answer 1"]);
}
