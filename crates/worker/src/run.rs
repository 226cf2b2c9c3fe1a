//! The furnace, seen from this side: a prepared execution runs once, a run is collected once.
use crate::collect::{self, Gathered};
use crate::launcher::Launcher;
use crate::prepare::Prepared;
use crate::{Failure, Outcome};
use lre_model::{ActionResult, Digest, protobuf, wire};
use lre_sandbox::{Ended, How};
use lre_store::{Blob, BlobStore, StoreError};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// Exit code of a command that was killed because it ran too long: 128 and SIGKILL, as a shell says.
const EXIT_KILLED: i32 = 128 + 9;

/// Over, with no process left.
pub(crate) struct Ran {
    prepared: Prepared,
    ended: Ended,
    started: SystemTime,
    completed: SystemTime,
}

impl Prepared {
    /// Runs it. Takes `self`: an execution cannot run twice.
    pub(crate) async fn run(self, launcher: &Launcher, cancel: &CancellationToken) -> Result<Ran, Failure> {
        if cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let asked = SystemTime::now();
        let ended = launcher
            .run(self.plan.clone(), cancel)
            .await
            .map_err(|e| Failure::Sandbox(format!("the launcher does not answer: {e}")))?;
        let started = asked + ended.setup;
        let completed = started + ended.wall;
        Ok(Ran { prepared: self, ended, started, completed })
    }
}

impl Ran {
    /// Stores what it left and says how it went.
    pub(crate) async fn collect(self, store: &dyn BlobStore) -> Outcome {
        let (exit_code, failure) = match &self.ended.how {
            How::Exited(code) => (*code, None),
            How::Signaled(signal) => (128 + signal, None),
            How::TimedOut => (EXIT_KILLED, Some(Failure::DeadlineExceeded(self.prepared.work.timeout))),
            How::Cancelled => return Outcome { failure: Some(Failure::Cancelled), ..Outcome::default() },
            How::SetupFailed { step, errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                let failure = Failure::Sandbox(format!("{step}: {error}; `lre doctor` looks for the reason"));
                return Outcome { failure: Some(failure), ..Outcome::default() };
            }
            How::Lost => {
                let failure = Failure::Sandbox("it was killed from outside".to_owned());
                return Outcome { failure: Some(failure), ..Outcome::default() };
            }
        };
        let upload_started = SystemTime::now();
        let mut result = wire::ActionResult { exit_code, ..Default::default() };
        let failure = match self.store_all(store, &mut result, failure.is_none()).await {
            Ok(()) => failure,
            Err(e) => Some(e),
        };
        result.execution_metadata = Some(self.metadata(upload_started));
        let function = self.prepared.work.loaded.action.digest.0.function();
        match ActionResult::from_wire(function, result) {
            Ok(result) => Outcome { result: Some(Arc::new(result)), failure, message: self.message() },
            Err(e) => Outcome { failure: Some(e.into()), ..Outcome::default() },
        }
    }

    /// Stores stdout and stderr first, so that they are there whatever happens to the outputs.
    async fn store_all(
        &self,
        store: &dyn BlobStore,
        result: &mut wire::ActionResult,
        outputs: bool,
    ) -> Result<(), Failure> {
        let loaded = Arc::clone(&self.prepared.work.loaded);
        let directory = &self.prepared.directory;
        let (stdout, stderr, upper) = (directory.stdout(), directory.stderr(), directory.upper());
        let reading = |e: std::io::Error| Failure::Store { doing: "reading what the command wrote", source: e.into() };
        let little = collect::is_little([&stdout, &stderr], &upper, &loaded.inputs, &loaded.command);
        let work = move || {
            let function = loaded.action.digest.0.function();
            let streams = (collect::stream(&stdout, function), collect::stream(&stderr, function));
            let gathered = outputs.then(|| collect::gather(&upper, &loaded.inputs, &loaded.command));
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
        match self.ended.left_running {
            0 => String::new(),
            1 => "1 process was still running when the command ended, and was killed".to_owned(),
            n => format!("{n} processes were still running when the command ended, and were killed"),
        }
    }

    fn metadata(&self, upload_started: SystemTime) -> wire::ExecutedActionMetadata {
        let prepared = &self.prepared;
        wire::ExecutedActionMetadata {
            // Not the host's name: results are shared, and nobody's machine belongs into them.
            worker: format!("lre slot {}", prepared.work.slot),
            queued_timestamp: timestamp(prepared.work.queued),
            worker_start_timestamp: timestamp(prepared.fetch_started),
            worker_completed_timestamp: timestamp(SystemTime::now()),
            input_fetch_start_timestamp: timestamp(prepared.fetch_started),
            input_fetch_completed_timestamp: timestamp(prepared.fetch_completed),
            execution_start_timestamp: timestamp(self.started),
            execution_completed_timestamp: timestamp(self.completed),
            virtual_execution_duration: Some(duration(self.ended.wall)),
            output_upload_start_timestamp: timestamp(upload_started),
            output_upload_completed_timestamp: timestamp(SystemTime::now()),
            auxiliary_metadata: Vec::new(),
        }
    }
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

fn timestamp(time: SystemTime) -> Option<protobuf::Timestamp> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(protobuf::Timestamp { seconds: i64::try_from(since.as_secs()).ok()?, nanos: nanos(since) })
}

fn duration(length: Duration) -> protobuf::Duration {
    protobuf::Duration { seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX), nanos: nanos(length) }
}

fn nanos(length: Duration) -> i32 {
    i32::try_from(length.subsec_nanos()).unwrap_or(0)
}
