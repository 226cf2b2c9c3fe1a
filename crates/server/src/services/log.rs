//! Logs that clients make and write (build.bazel.remote.logstream.v1), each in a file without a name: nothing of it is
//! left when the server goes, whatever way it goes.
use super::work;
use crate::limits;
use crate::status;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use lre_proto::bytestream::ReadResponse;
use lre_store::Staging;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

/// Why nothing more is taken.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The client's author's turn: what was said before stays.
    #[error("write_offset: {asked} where {expected} bytes were written before; a log only grows")]
    Offset {
        /// As requested.
        asked: u64,
        /// The only one that is right.
        expected: u64,
    },
    /// The client's turn: it has said itself that nothing would follow.
    #[error("this log was finished; hint: CreateLogStream makes another one")]
    Finished,
    /// The client's turn.
    #[error("a log has at most {} bytes", limits::LOG_BYTES_MAX)]
    TooLong,
    /// The user's turn: too much at once.
    #[error("{} logs are being written already", limits::LOGS_MAX)]
    TooMany,
    /// The operator's turn.
    #[error("the log cannot be kept: {0}")]
    Io(#[from] io::Error),
}

/// One log.
#[derive(Debug)]
pub(super) struct Log {
    /// Lets its bearer write.
    pub token: String,
    file: File,
    end: watch::Sender<End>,
    /// One writer at a time; when something was written last.
    writing: Mutex<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct End {
    bytes: u64,
    finished: bool,
}

impl Log {
    /// Bytes so far, and whether these are all.
    pub(super) fn end(&self) -> (u64, bool) {
        let end = *self.end.borrow();
        (end.bytes, end.finished)
    }

    fn writing(&self) -> MutexGuard<'_, Instant> {
        // A panic in the middle has written bytes that nobody counts.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next bytes; who follows has them at once.
    pub(super) async fn append(self: &Arc<Self>, offset: u64, bytes: Bytes, last: bool) -> Result<(), LogError> {
        let log = Arc::clone(self);
        work(bytes.len(), move || log.write(offset, &bytes, last)).await
    }

    fn write(&self, offset: u64, bytes: &[u8], last: bool) -> Result<(), LogError> {
        let mut at = self.writing();
        let end = *self.end.borrow();
        // A client that has not heard the answer says the end once more.
        if end.finished && !(bytes.is_empty() && offset == end.bytes) {
            return Err(LogError::Finished);
        }
        if offset != end.bytes {
            return Err(LogError::Offset { asked: offset, expected: end.bytes });
        }
        let total = end.bytes + bytes.len() as u64;
        if total > limits::LOG_BYTES_MAX {
            return Err(LogError::TooLong);
        }
        self.file.write_all_at(bytes, offset)?;
        *at = Instant::now();
        let _before = self.end.send_replace(End { bytes: total, finished: end.finished || last });
        Ok(())
    }

    /// Nothing follows any more.
    fn finish(&self) {
        self.end.send_modify(|end| end.finished = true);
    }

    fn is_forgotten(&self) -> bool {
        self.writing().elapsed() >= limits::LOG_KEPT
    }

    /// All from `offset` on, and what is still written, until somebody says that it is the end.
    pub(super) fn follow(self: Arc<Self>, offset: u64) -> BoxStream<'static, Result<ReadResponse, Status>> {
        let end = self.end.subscribe();
        stream::try_unfold((self, end, offset), |(log, mut end, offset)| async move {
            loop {
                let now = *end.borrow_and_update();
                if offset < now.bytes {
                    let bytes = log.read(offset, now.bytes - offset).await.map_err(|e| status::of(LogError::Io(e)))?;
                    let next = offset + bytes.len() as u64;
                    return Ok(Some((ReadResponse { data: bytes }, (log, end, next))));
                }
                if now.finished {
                    return Ok(None);
                }
                // Fails never: the log, which is here, has the other end.
                if tokio::time::timeout(limits::LOG_KEPT, end.changed()).await.is_err() {
                    log.finish();
                }
            }
        })
        .boxed()
    }

    async fn read(self: &Arc<Self>, offset: u64, bytes: u64) -> io::Result<Bytes> {
        let length = bytes.min(limits::INLINE_WORK_BYTES_MAX as u64) as usize;
        let log = Arc::clone(self);
        work(length, move || {
            let mut piece = vec![0; length];
            log.file.read_exact_at(&mut piece, offset)?;
            Ok(piece.into())
        })
        .await
    }
}

/// All logs, by their identifiers.
pub(super) struct Logs {
    staging: Staging,
    table: Mutex<HashMap<String, Arc<Log>>>,
}

impl Logs {
    pub(super) fn new(staging: Staging) -> Self {
        Self { staging, table: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Log>>> {
        // Each change is one call.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, log| {
            let forgotten = log.is_forgotten();
            if forgotten {
                log.finish();
            }
            !forgotten
        });
        table
    }

    /// A new one, and what it is called: nobody can guess either word.
    pub(super) fn create(&self) -> Result<(String, Arc<Log>), LogError> {
        let mut table = self.table();
        if table.len() >= limits::LOGS_MAX {
            // One that was finished can be read again for a while, as a courtesy.
            let oldest = table.iter().filter(|(_, log)| log.end().1).min_by_key(|(_, log)| *log.writing());
            let oldest = oldest.map(|(id, _)| id.clone()).ok_or(LogError::TooMany)?;
            table.remove(&oldest);
        }
        let random = || uuid::Uuid::new_v4().to_string();
        let log = Arc::new(Log {
            token: random(),
            file: self.staging.unnamed()?,
            end: watch::Sender::default(),
            writing: Mutex::new(Instant::now()),
        });
        let id = random();
        table.insert(id.clone(), Arc::clone(&log));
        Ok((id, log))
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Log>> {
        self.table().get(id).cloned()
    }
}
