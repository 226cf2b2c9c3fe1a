//! An executor that does what the arguments of the command say, and nothing on the machine.
//!
//! | arguments | what happens |
//! |---|---|
//! | `say TEXT` | stdout |
//! | `exit CODE` | the exit code, with "failed" on stderr |
//! | `wait GATE` | runs until the test opens the gate, or somebody cancels |
//! | `tell GATE` | says "one" on stdout, "err" on stderr, waits for the gate, says "two" on stdout |
//! | `linger TURNS` | lets others go first as many times; hears of a cancellation |
//! | `terms` | what is asked of the sandbox, on stdout |
//! | `explained` | whether an explanation is asked for, as the message |
//! | `slow` | is too slow, with "so far" on stdout |
//! | `bad-output` | leaves a file where a directory was promised |
//! | `panic` | the executor itself is broken |
use async_trait::async_trait;
use lre_model::{ActionResult, Digest, DigestFunction, wire};
use lre_store::BlobStore;
use lre_worker::{Breach, Executor, Failure, Limited, Outcome, Work};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, shorter than the patience of whoever runs the tests.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Scripted {
    blobs: Arc<dyn BlobStore>,
    open: watch::Sender<HashSet<String>>,
    log: watch::Sender<Log>,
    slots: Mutex<HashSet<usize>>,
}

/// What has happened, as the last argument of each command.
#[derive(Clone, Default)]
pub struct Log {
    pub started: Vec<String>,
    pub cancelled: Vec<String>,
    pub ended: usize,
}

impl Scripted {
    pub fn new(blobs: Arc<dyn BlobStore>) -> Self {
        let (open, log) = (watch::Sender::default(), watch::Sender::default());
        Self { blobs, open, log, slots: Mutex::default() }
    }

    /// Lets all commands go that wait for this gate, now and later.
    pub fn open(&self, gate: &str) {
        self.open.send_if_modified(|open| open.insert(gate.to_owned()));
    }

    pub fn log(&self) -> Log {
        self.log.borrow().clone()
    }

    /// Waits until the log is so.
    pub async fn until(&self, what: &str, condition: impl Fn(&Log) -> bool) {
        let mut log = self.log.subscribe();
        let seen = tokio::time::timeout(DEADLINE, log.wait_for(|log| condition(log))).await;
        assert!(seen.is_ok(), "waited in vain: {what}");
    }

    pub async fn until_started(&self, count: usize) {
        self.until("commands to start", |log| log.started.len() >= count).await;
    }

    async fn perform(&self, words: &[&str], work: &Work, cancel: &CancellationToken) -> Outcome {
        match words {
            ["say", text] => self.exited(work, 0, text, "").await,
            ["exit", code] => self.exited(work, code.parse().unwrap(), "", "failed\n").await,
            ["wait", gate] => {
                let mut open = self.open.subscribe();
                let opened = async { open.wait_for(|open| open.contains(*gate)).await.is_ok() };
                tokio::select! {
                    _ = opened => self.exited(work, 0, gate, "").await,
                    () = cancel.cancelled() => {
                        self.log.send_modify(|log| log.cancelled.push((*gate).to_owned()));
                        Outcome { failure: Some(Failure::Cancelled), ..Outcome::default() }
                    }
                }
            }
            ["tell", gate] => self.tell(gate, work, cancel).await,
            ["linger", turns] => {
                for _ in 0..turns.parse::<u32>().unwrap() {
                    tokio::task::yield_now().await;
                    if cancel.is_cancelled() {
                        self.log.send_modify(|log| log.cancelled.push((*turns).to_owned()));
                        return Outcome { failure: Some(Failure::Cancelled), ..Outcome::default() };
                    }
                }
                self.exited(work, 0, "", "").await
            }
            ["terms"] => self.exited(work, 0, &format!("{:?}", work.terms), "").await,
            ["explained"] => {
                let message = format!("explained: {}", work.explain);
                Outcome { message, ..self.exited(work, 0, "", "").await }
            }
            ["slow"] => {
                let failure = Some(Failure::DeadlineExceeded(work.timeout));
                Outcome { failure, ..self.exited(work, 137, "so far\n", "").await }
            }
            ["greedy"] => {
                let breach = Breach { what: Limited::Memory, limit: 512 << 20, seen: 600 << 20 };
                Outcome { failure: Some(Failure::Limit(breach)), ..self.exited(work, 137, "so far\n", "").await }
            }
            ["bad-output"] => {
                let problem = "is a file, and a directory was promised".to_owned();
                let failure = Some(Failure::Output { path: "out".to_owned(), problem });
                Outcome { failure, ..self.exited(work, 0, "", "").await }
            }
            ["panic"] => panic!("as the test asked"),
            other => panic!("no such script: {other:?}"),
        }
    }

    /// As a worker does it: in files that can be read along, and then belong to somebody else.
    async fn tell(&self, gate: &str, work: &Work, cancel: &CancellationToken) -> Outcome {
        let directory = tempfile::tempdir().unwrap();
        let (stdout, stderr) = (directory.path().join("stdout"), directory.path().join("stderr"));
        std::fs::write(&stdout, "one\n").unwrap();
        std::fs::write(&stderr, "err\n").unwrap();
        work.live.begin(stdout.clone(), stderr);
        let mut open = self.open.subscribe();
        let opened = async { open.wait_for(|open| open.contains(gate)).await.is_ok() };
        let cancelled = tokio::select! {
            _ = opened => false,
            () = cancel.cancelled() => true,
        };
        std::fs::write(&stdout, "one\ntwo\n").unwrap();
        work.live.end(&stdout);
        std::fs::write(&stdout, "one\ntwo\na secret of the next one").unwrap();
        match cancelled {
            true => Outcome { failure: Some(Failure::Cancelled), ..Outcome::default() },
            false => self.exited(work, 0, "one\ntwo\n", "err\n").await,
        }
    }

    async fn exited(&self, work: &Work, exit_code: i32, stdout: &str, stderr: &str) -> Outcome {
        let function = work.loaded.action.digest.0.function();
        let metadata = wire::ExecutedActionMetadata { worker: "scripted".to_owned(), ..Default::default() };
        let result = wire::ActionResult {
            exit_code,
            stdout_digest: Some(self.keep(function, stdout).await.to_wire()),
            stderr_digest: Some(self.keep(function, stderr).await.to_wire()),
            execution_metadata: Some(metadata),
            ..Default::default()
        };
        let result = ActionResult::from_wire(function, result).unwrap();
        Outcome { result: Some(Arc::new(result)), ..Outcome::default() }
    }

    async fn keep(&self, function: DigestFunction, text: &str) -> Digest {
        let digest = Digest::of(function, text.as_bytes());
        self.blobs.write(digest, bytes::Bytes::from(text.to_owned()).into()).await.unwrap();
        digest
    }
}

#[async_trait]
impl Executor for Scripted {
    async fn execute(&self, work: Work, cancel: CancellationToken) -> Outcome {
        let words: Vec<_> = work.loaded.command.arguments.iter().map(String::as_str).collect();
        assert!(self.slots.lock().unwrap().insert(work.slot), "slot {} is taken", work.slot);
        let last = (*words.last().unwrap()).to_owned();
        self.log.send_modify(|log| log.started.push(last));
        let _free = Free { slots: &self.slots, slot: work.slot };
        let outcome = self.perform(&words, &work, &cancel).await;
        self.log.send_modify(|log| log.ended += 1);
        outcome
    }
}

/// Gives the slot back, also when the script panics.
struct Free<'a> {
    slots: &'a Mutex<HashSet<usize>>,
    slot: usize,
}

impl Drop for Free<'_> {
    fn drop(&mut self) {
        self.slots.lock().unwrap().remove(&self.slot);
    }
}
