//! One upload: bytes that arrive in pieces, perhaps over several streams, until they are a blob.
use super::work;
use crate::limits;
use crate::status::{self, Refusal, ToStatus};
use bytes::Bytes;
use lre_model::{Compressor, Digest, Invalid};
use lre_store::{Blob, BlobStore, StagedBlob, Staging, StoreError};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tonic::Status;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// Why bytes cannot belong to the blob, or could not be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("more than the {0} announced bytes have arrived")]
    TooMany(u64),
    #[error("{arrived} of {announced} announced bytes have arrived")]
    TooFew { arrived: u64, announced: u64 },
    #[error("not a stream of zstd frames: {0}")]
    Packed(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<io::Error> for UploadError {
    fn from(e: io::Error) -> Self {
        Self::Store(e.into())
    }
}

impl ToStatus for UploadError {
    fn to_status(&self) -> Status {
        match self {
            Self::Store(e) => e.to_status(),
            bad => Invalid::new("data", bad).to_status(),
        }
    }
}

/// What has arrived of a blob. Only uncompressed bytes are kept: they are what the digest is of,
/// and REAPI counts the offset at which a stream begins in them, in both forms.
pub(super) struct Progress {
    digest: Digest,
    staged: StagedBlob,
    /// Bytes that the current stream repeats and that are here already.
    repeated: u64,
    unpacker: Option<Unpacker>,
}

impl Progress {
    pub(super) fn new(staging: &Staging, digest: Digest, compressor: Compressor) -> Result<Self, UploadError> {
        let staged = staging.create_for(digest)?;
        let mut progress = Self { digest, staged, repeated: 0, unpacker: None };
        progress.begin(0, compressor)?;
        Ok(progress)
    }

    /// A stream begins whose first byte is that at `offset`, which is not after what has arrived. A
    /// compressed one begins with a new frame.
    fn begin(&mut self, offset: u64, compressor: Compressor) -> Result<(), UploadError> {
        self.repeated = self.arrived() - offset;
        self.unpacker = match compressor {
            Compressor::Identity => None,
            Compressor::Zstd => Some(Unpacker::new()?),
        };
        Ok(())
    }

    /// Uncompressed bytes that have arrived.
    fn arrived(&self) -> u64 {
        self.staged.size_bytes()
    }

    /// Takes the next bytes of the current stream.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        match self.unpacker.take() {
            None => self.keep(bytes),
            Some(mut unpacker) => {
                unpacker.unpack(bytes, |plain| self.keep(plain))?;
                self.unpacker = Some(unpacker);
                Ok(())
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        let repeated = usize::try_from(self.repeated).unwrap_or(usize::MAX).min(bytes.len());
        self.repeated -= repeated as u64;
        let fresh = &bytes[repeated..];
        // Said at once and not at the end: the rest of a bomb need not be unpacked.
        if self.arrived() + fresh.len() as u64 > self.digest.size_bytes() {
            return Err(UploadError::TooMany(self.digest.size_bytes()));
        }
        Ok(self.staged.write(fresh)?)
    }

    /// Whether every byte is here.
    fn is_whole(&self) -> bool {
        self.arrived() == self.digest.size_bytes()
    }

    /// The blob, verified.
    pub(super) fn finish(self) -> Result<Blob, UploadError> {
        if !self.is_whole() {
            return Err(UploadError::TooFew { arrived: self.arrived(), announced: self.digest.size_bytes() });
        }
        if self.unpacker.is_some_and(|unpacker| unpacker.inside_frame) {
            return Err(UploadError::Packed("the last frame is cut off".to_owned()));
        }
        let expected = self.digest;
        let (actual, blob) = self.staged.finish()?;
        match actual == expected {
            true => Ok(blob),
            false => Err(StoreError::Corrupt { expected, actual }.into()),
        }
    }
}

/// Unpacks zstd frames piece by piece, in bounded memory whatever they promise.
struct Unpacker {
    decoder: Decoder<'static>,
    buffer: Vec<u8>,
    inside_frame: bool,
}

impl Unpacker {
    fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(limits::ZSTD_WINDOW_LOG_MAX))?;
        Ok(Self { decoder, buffer: vec![0; limits::CHUNK_BYTES], inside_frame: false })
    }

    fn unpack(
        &mut self,
        bytes: &[u8],
        mut keep: impl FnMut(&[u8]) -> Result<(), UploadError>,
    ) -> Result<(), UploadError> {
        let packed = |e: io::Error| UploadError::Packed(e.to_string());
        let mut input = InBuffer::around(bytes);
        while !bytes.is_empty() {
            let mut output = OutBuffer::around(&mut self.buffer[..]);
            let wanted = self.decoder.run(&mut input, &mut output).map_err(packed)?;
            let unpacked = output.pos();
            keep(&self.buffer[..unpacked])?;
            self.inside_frame = wanted != 0;
            match (self.inside_frame, input.pos() == bytes.len()) {
                (false, true) => break,
                (false, false) => self.decoder.reinit().map_err(packed)?,
                // A full buffer may mean that more is to come out of what has gone in.
                (true, true) if unpacked < self.buffer.len() => break,
                (true, _) => {}
            }
        }
        Ok(())
    }
}

/// An upload that several streams may work on, one after the other.
pub(super) struct Upload {
    compressor: Compressor,
    /// The stream that may append; an earlier one that still lives has been given up by its client.
    /// Changes only under the lock of `state`.
    ticket: AtomicU64,
    state: Mutex<State>,
}

enum State {
    Idle(Box<Progress>),
    /// The last bytes are being hashed and written while the next are on their way.
    Busy(JoinHandle<Result<Box<Progress>, UploadError>>),
    /// Became a blob, or failed.
    Spent,
}

impl State {
    /// Waits for the bytes on their way to the disk. May be dropped half way without loss.
    async fn settle(&mut self) -> Result<&mut Box<Progress>, Status> {
        if let Self::Busy(job) = self {
            let done = job.await.map_err(|e| status::of(StoreError::Io(io::Error::other(e))));
            *self = match done.and_then(|done| done.map_err(status::of)) {
                Ok(progress) => Self::Idle(progress),
                Err(status) => {
                    *self = Self::Spent;
                    return Err(status);
                }
            };
        }
        match self {
            Self::Idle(progress) => Ok(progress),
            _ => Err(status::of(Refusal::TakenOver)),
        }
    }

    /// Settles, and leaves nothing.
    async fn take(&mut self) -> Result<Box<Progress>, Status> {
        self.settle().await?;
        match std::mem::replace(self, Self::Spent) {
            Self::Idle(progress) => Ok(progress),
            _ => Err(status::of(Refusal::TakenOver)),
        }
    }
}

impl Upload {
    pub(super) fn new(staging: &Staging, digest: Digest, compressor: Compressor) -> Result<Self, UploadError> {
        let progress = Progress::new(staging, digest, compressor)?;
        Ok(Self { compressor, ticket: AtomicU64::new(0), state: Mutex::new(State::Idle(Box::new(progress))) })
    }

    /// Uncompressed bytes that need not be sent again.
    pub(super) async fn committed(&self) -> u64 {
        self.state.lock().await.settle().await.map_or(0, |progress| progress.arrived())
    }

    /// A stream begins at `offset`; earlier ones can no longer append. The offset may lie before
    /// what has arrived: the client asked before the last bytes of its old stream came in, and
    /// what it repeats is passed over.
    pub(super) async fn begin(&self, offset: u64) -> Result<u64, Status> {
        let mut state = self.state.lock().await;
        let progress = state.settle().await?;
        let arrived = progress.arrived();
        if offset > arrived {
            let problem = format!("{offset} is beyond the {arrived} bytes that have arrived: ask QueryWriteStatus");
            return Err(status::of(Invalid::new("write_offset", problem)));
        }
        progress.begin(offset, self.compressor).map_err(status::of)?;
        Ok(self.ticket.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether this is the latest stream.
    pub(super) fn is_current(&self, ticket: u64) -> bool {
        self.ticket.load(Ordering::Relaxed) == ticket
    }

    async fn lock(&self, ticket: u64) -> Result<MutexGuard<'_, State>, Status> {
        let state = self.state.lock().await;
        if self.is_current(ticket) { Ok(state) } else { Err(status::of(Refusal::TakenOver)) }
    }

    /// Takes the next bytes of a stream; returns when the ones before them are kept.
    pub(super) async fn append(&self, ticket: u64, pieces: Vec<Bytes>) -> Result<(), Status> {
        let mut state = self.lock(ticket).await?;
        let mut progress = state.take().await?;
        *state = State::Busy(tokio::task::spawn_blocking(move || {
            for piece in &pieces {
                progress.take(piece)?;
            }
            Ok(progress)
        }));
        Ok(())
    }

    /// Whether every byte is here.
    pub(super) async fn is_whole(&self, ticket: u64) -> Result<bool, Status> {
        Ok(self.lock(ticket).await?.settle().await?.is_whole())
    }

    /// Verifies the bytes and stores the blob. Whatever the end, the upload is spent.
    pub(super) async fn finish(&self, ticket: u64, blobs: &dyn BlobStore) -> Result<(), Status> {
        let progress = self.lock(ticket).await?.take().await?;
        store(blobs, *progress).await
    }
}

/// Verifies and stores what has arrived.
pub(super) async fn store(blobs: &dyn BlobStore, progress: Progress) -> Result<(), Status> {
    let digest = progress.digest;
    let bytes = usize::try_from(digest.size_bytes()).unwrap_or(usize::MAX);
    let blob = work(bytes, move || progress.finish()).await.map_err(status::of)?;
    blobs.write(digest, blob).await.map_err(status::of)
}
