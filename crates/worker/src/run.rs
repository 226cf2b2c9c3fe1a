//! The furnace, seen from this side: a prepared execution runs once, a run is collected once.
use crate::collect::{self, Gathered};
use crate::limits::{self, Breach, ExecutionLimits, Limited, Subject, Watcher};
use crate::prepare::Prepared;
use crate::root::{Over, Root};
use crate::run_directory::RunDirectory;
use crate::{Failure, Live, Outcome, Work, usage};
use lre_model::{ActionResult, Digest, Network, duration, timestamp, wire};
use lre_sandbox::{Ended, How, SandboxPlan};
use lre_store::{Blob, BlobStore, StoreError};
use std::sync::Arc;
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;

/// Exit code of a command that was killed because it ran too long: 128 and SIGKILL, as a shell says.
const EXIT_KILLED: i32 = 128 + 9;

/// Over, with no process left.
pub(crate) struct Ran {
    pub work: Work,
    limits: ExecutionLimits,
    pub directory: RunDirectory,
    fetch: (SystemTime, SystemTime),
    pub over: Over<Stop>,
    started: SystemTime,
    completed: SystemTime,
    /// Whether the root had served others before.
    reused: bool,
}

/// Why an execution was stopped from outside.
#[derive(Debug)]
pub(crate) enum Stop {
    Cancelled,
    Limited(Breach),
}

impl Prepared<'_> {
    /// Runs it. Takes `self`: an execution cannot run twice.
    pub(crate) async fn run(self, watcher: &Watcher, cancel: &CancellationToken) -> Result<Ran, Failure> {
        if cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let Self { work, limits, root, plan, fetch_started, fetch_completed } = self;
        let reused = root.folders().given() > 0;
        let asked = SystemTime::now();
        let (over, directory) = perform(root, plan, limits, watcher, Some(&work.live), cancel).await?;
        let (started, completed) = match &over {
            Over::Ended(ended) => (asked + ended.setup, asked + ended.setup + ended.wall),
            Over::Stopped(_) => (asked, SystemTime::now()),
        };
        Ok(Ran { work, limits, directory, fetch: (fetch_started, fetch_completed), over, started, completed, reused })
    }
}

/// Has a plan performed, within its limits and until somebody cancels it; and where it has written, which can be read
/// along through `live`.
pub(crate) async fn perform(
    root: &mut Root,
    plan: SandboxPlan,
    limits: ExecutionLimits,
    watcher: &Watcher,
    live: Option<&Arc<Live>>,
    cancel: &CancellationToken,
) -> Result<(Over<Stop>, RunDirectory), Failure> {
    let mut directory = root.folders().give();
    if let Some(live) = live {
        directory.show(live);
    }
    let mut watch = watcher.watch(Subject {
        limits,
        stdout: directory.stdout(),
        stderr: directory.stderr(),
        upper: directory.upper(),
        members: root.members(),
    });
    let stop = async {
        tokio::select! {
            () = cancel.cancelled() => Stop::Cancelled,
            breach = watch.breach() => Stop::Limited(breach),
        }
    };
    match root.run(plan, stop).await {
        Ok(over) => Ok((over, directory)),
        Err(e) => Err(Failure::Sandbox(format!("the root of the sandbox cannot be understood: {e}"))),
    }
}

impl Ran {
    /// Why a root that was in order before could not be entered any more; the command did not run.
    pub(crate) fn never_started(&self) -> Option<String> {
        match &self.over {
            Over::Ended(Ended { how: How::SetupFailed { step, errno }, .. }) if self.reused => {
                Some(format!("{step}: {}", std::io::Error::from_raw_os_error(*errno)))
            }
            _ => None,
        }
    }

    /// Its root was killed from outside before the command had ended, and the command may be run again: what one with
    /// the host's network did to the world outside is not done twice.
    pub(crate) fn was_lost(&self) -> bool {
        matches!(&self.over, Over::Ended(Ended { how: How::Lost, .. })) && self.work.terms.network != Network::Host
    }

    /// The kernel ended it, at the limit of its memory.
    pub(crate) fn was_out_of_memory(&mut self) {
        let limit = self.limits.memory_bytes_max;
        self.over = Over::Stopped(Stop::Limited(Breach { what: Limited::Memory, limit, seen: limit }));
    }

    /// Stores what it left and says how it went.
    pub(crate) async fn collect(self, store: &dyn BlobStore) -> Outcome {
        let (exit_code, failure) = match self.ending() {
            Ok(ending) => ending,
            Err(failure) => return Outcome { failure: Some(failure), ..Outcome::default() },
        };
        let upload_started = SystemTime::now();
        let mut result = wire::ActionResult { exit_code, ..Default::default() };
        let failure = match self.store_all(store, &mut result, failure.is_none()).await {
            Ok(()) => failure,
            Err(e) => Some(e),
        };
        result.execution_metadata = Some(self.metadata(upload_started));
        let function = self.work.loaded.action.digest.0.function();
        match ActionResult::from_wire(function, result) {
            Ok(result) => Outcome { result: Some(Arc::new(result)), failure, message: self.message() },
            Err(e) => Outcome { failure: Some(e.into()), ..Outcome::default() },
        }
    }

    /// The exit code and what else there is to say, where there is output to be kept; else why there is none.
    fn ending(&self) -> Result<(i32, Option<Failure>), Failure> {
        let ended = match &self.over {
            Over::Ended(ended) => ended,
            Over::Stopped(Stop::Cancelled) => return Err(Failure::Cancelled),
            Over::Stopped(Stop::Limited(breach)) => return Ok((EXIT_KILLED, Some(Failure::Limit(*breach)))),
        };
        let (stdout, stderr) = (self.directory.stdout(), self.directory.stderr());
        if let Some(breach) = limits::too_much(&ended.how, &self.limits, &stdout, &stderr) {
            return Ok((EXIT_KILLED, Some(Failure::Limit(breach))));
        }
        match &ended.how {
            How::Exited(code) => Ok((*code, None)),
            How::Signaled(signal) => Ok((128 + signal, None)),
            How::TimedOut => Ok((EXIT_KILLED, Some(Failure::DeadlineExceeded(self.work.timeout)))),
            How::SetupFailed { step, errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                Err(Failure::Sandbox(format!("{step}: {error}; `lre doctor` looks for the reason")))
            }
            How::Lost => Err(Failure::Sandbox("it was killed from outside".to_owned())),
        }
    }

    /// Stores stdout and stderr first, so that they are there whatever happens to the outputs.
    async fn store_all(
        &self,
        store: &dyn BlobStore,
        result: &mut wire::ActionResult,
        outputs: bool,
    ) -> Result<(), Failure> {
        let loaded = Arc::clone(&self.work.loaded);
        let directory = &self.directory;
        let (stdout, stderr, upper) = (directory.stdout(), directory.stderr(), directory.upper());
        let reading = |e: std::io::Error| Failure::Store { doing: "reading what the command wrote", source: e.into() };
        let little = collect::is_little([&stdout, &stderr], &upper, &loaded.inputs, &loaded.command);
        let (output_bytes_max, outputs_bytes_max) = (self.limits.output_bytes_max, self.limits.disk_bytes_max);
        let work = move || {
            let cut = limits::cut(&stdout, output_bytes_max).and(limits::cut(&stderr, output_bytes_max));
            if let Err(error) = cut {
                tracing::warn!(%error, "an output that is too long could not be cut");
            }
            let function = loaded.action.digest.0.function();
            let streams = (collect::stream(&stdout, function), collect::stream(&stderr, function));
            let gathered = outputs.then(|| collect::gather(&upper, &loaded.inputs, &loaded.command, outputs_bytes_max));
            (streams, gathered)
        };
        let ((stdout, stderr), gathered) = collect::work(little, work).await.map_err(reading)?;
        if let Some((digest, blob)) = stdout.map_err(reading)? {
            write(store, digest, blob).await?;
            result.stdout_digest = Some(digest.to_wire());
        }
        if let Some((digest, blob)) = stderr.map_err(reading)? {
            write(store, digest, blob).await?;
            result.stderr_digest = Some(digest.to_wire());
        }
        let Gathered { result: gathered, blobs } = gathered.transpose()?.unwrap_or_default();
        for (digest, blob) in blobs {
            write(store, digest, blob).await?;
        }
        merge(result, gathered);
        Ok(())
    }

    fn message(&self) -> String {
        let Over::Ended(ended) = &self.over else { return String::new() };
        let left = match ended.left_running {
            0 => None,
            1 => Some("1 process was still running when the command ended, and was killed".to_owned()),
            n => Some(format!("{n} processes were still running when the command ended, and were killed")),
        };
        let limit = limits::explain(&ended.how, &self.limits, &self.directory.stderr());
        left.into_iter().chain(limit).collect::<Vec<_>>().join("\n")
    }

    /// PROTOCOL, 82: each moment is no earlier than the one before, also where somebody sets the clock meanwhile.
    fn metadata(&self, upload_started: SystemTime) -> wire::ExecutedActionMetadata {
        let (fetch_started, fetch_completed) = self.fetch;
        let mut last = self.work.queued;
        let mut next = |time: SystemTime| {
            last = last.max(time);
            timestamp(last)
        };
        let queued_timestamp = next(self.work.queued);
        let worker_start_timestamp = next(fetch_started);
        wire::ExecutedActionMetadata {
            worker: worker_name(self.work.slot),
            queued_timestamp,
            worker_start_timestamp,
            input_fetch_start_timestamp: worker_start_timestamp,
            input_fetch_completed_timestamp: next(fetch_completed),
            execution_start_timestamp: next(self.started),
            execution_completed_timestamp: next(self.completed),
            output_upload_start_timestamp: next(upload_started),
            output_upload_completed_timestamp: next(SystemTime::now()),
            worker_completed_timestamp: next(SystemTime::now()),
            virtual_execution_duration: Some(duration(match &self.over {
                // By the clock that the timeout goes by.
                Over::Ended(ended) => ended.wall,
                Over::Stopped(_) => self.completed.duration_since(self.started).unwrap_or_default(),
            })),
            auxiliary_metadata: match &self.over {
                Over::Ended(ended) => vec![usage::any(ended)],
                // Killed from outside: nobody was left to count.
                Over::Stopped(_) => Vec::new(),
            },
        }
    }
}

/// What a slot is called in results. Without the host's name: results are shared, and nobody's machine belongs into
/// them.
#[must_use]
pub fn worker_name(slot: usize) -> String {
    format!("lre slot {slot}")
}

#[expect(deprecated, reason = "clients of REAPI 2.0 look for symlinks in the two older fields")]
fn merge(result: &mut wire::ActionResult, outputs: wire::ActionResult) {
    result.output_files = outputs.output_files;
    result.output_directories = outputs.output_directories;
    result.output_symlinks = outputs.output_symlinks;
    result.output_file_symlinks = outputs.output_file_symlinks;
    result.output_directory_symlinks = outputs.output_directory_symlinks;
}

async fn write(store: &dyn BlobStore, digest: Digest, blob: Blob) -> Result<(), Failure> {
    let storing = |source: StoreError| Failure::Store { doing: "storing the outputs", source };
    store.write(digest, blob).await.map_err(storing)
}
