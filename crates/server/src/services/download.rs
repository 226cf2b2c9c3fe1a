//! The bytes of a blob as a stream of messages, in bounded memory.
use crate::limits;
use crate::status;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lre_proto::bytestream::ReadResponse;
use lre_store::{Blob, StoreError};
use std::io::{self, Write};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tonic::Status;

pub(crate) type Messages = BoxStream<'static, Result<ReadResponse, Status>>;

/// Room for pieces that are read ahead of the network, for all downloads of the process together. One that finds none reads a
/// piece when the one before is gone: hundreds of clients that do not read what they asked for must not fill the memory.
static AHEAD: Semaphore = Semaphore::const_new(limits::READ_AHEAD_PIECES_MAX);

/// At most `limit` bytes from `offset`, as they are.
pub(crate) fn plain(blob: Blob, offset: u64, limit: u64) -> Messages {
    let end = blob.size_bytes().min(offset.saturating_add(limit));
    let download = Download { blob, offset: offset.min(end), end, next: None };
    stream::unfold(download, |mut download| async move {
        let piece = download.step().await?;
        Some((message(piece), download))
    })
    .boxed()
}

/// Bytes on their way from the disk to the network.
struct Download {
    blob: Blob,
    /// Of what is not being read yet.
    offset: u64,
    end: u64,
    /// Being read already.
    next: Option<(JoinHandle<io::Result<Bytes>>, SemaphorePermit<'static>)>,
}

impl Download {
    /// The next piece; while it is read and sent, the one after it is read too, where there is room.
    async fn step(&mut self) -> Option<io::Result<Bytes>> {
        let piece = match self.next.take() {
            Some((piece, _room)) => piece,
            None => match self.take_length()? {
                (offset, length) if length <= limits::INLINE_WORK_BYTES_MAX => {
                    return Some(read(&self.blob, offset, length));
                }
                (offset, length) => self.spawn(offset, length),
            },
        };
        if let Ok(room) = AHEAD.try_acquire()
            && let Some((offset, length)) = self.take_length()
        {
            self.next = Some((self.spawn(offset, length), room));
        }
        Some(piece.await.map_err(io::Error::other).and_then(|piece| piece))
    }

    /// What is to be read next.
    fn take_length(&mut self) -> Option<(u64, usize)> {
        let (offset, length) = (self.offset, (self.end - self.offset).min(limits::CHUNK_BYTES as u64));
        self.offset += length;
        (length > 0).then_some((offset, length as usize))
    }

    fn spawn(&self, offset: u64, length: usize) -> JoinHandle<io::Result<Bytes>> {
        let blob = self.blob.clone();
        tokio::task::spawn_blocking(move || read(&blob, offset, length))
    }
}

fn message(piece: io::Result<Bytes>) -> Result<ReadResponse, Status> {
    match piece {
        Ok(data) => Ok(ReadResponse { data }),
        Err(e) => Err(status::of(StoreError::from(e))),
    }
}

/// One piece, whole: a file that ends early is an error and not the end of the stream.
fn read(blob: &Blob, offset: u64, length: usize) -> io::Result<Bytes> {
    let bytes = blob.read_at(offset, length)?;
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file of the blob has become shorter")),
    }
}

/// From `offset` of the uncompressed bytes, as one zstd frame (PROTOCOL, 41).
pub(super) fn packed(blob: Blob, offset: u64) -> Result<Messages, StoreError> {
    let encoder = zstd::stream::write::Encoder::new(Vec::new(), limits::ZSTD_LEVEL)?;
    let packer = Packer { blob, offset, encoder };
    let next = |packer: Option<Packer>| async move {
        let Some(packer) = packer else { return Ok(None) };
        let (piece, rest) = packer.step().await.map_err(|e| status::of(StoreError::from(e)))?;
        Ok(Some((ReadResponse { data: piece }, rest)))
    };
    Ok(stream::try_unfold(Some(packer), next).boxed())
}

struct Packer {
    blob: Blob,
    offset: u64,
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
}

impl Packer {
    /// The next piece, and the packer unless that was the last one.
    async fn step(self) -> io::Result<(Bytes, Option<Self>)> {
        if self.blob.size_bytes() - self.offset <= limits::INLINE_WORK_BYTES_MAX as u64 {
            return self.pack();
        }
        tokio::task::spawn_blocking(move || self.pack()).await.map_err(io::Error::other)?
    }

    fn pack(mut self) -> io::Result<(Bytes, Option<Self>)> {
        loop {
            let left = self.blob.size_bytes() - self.offset;
            if left == 0 {
                return Ok((self.encoder.finish()?.into(), None));
            }
            let length = left.min(limits::CHUNK_BYTES as u64) as usize;
            let plain = self.blob.read_at(self.offset, length)?;
            if plain.len() < length {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file of the blob has become shorter"));
            }
            self.offset += length as u64;
            self.encoder.write_all(&plain)?;
            if self.encoder.get_ref().len() >= limits::CHUNK_BYTES / 2 {
                let piece = std::mem::take(self.encoder.get_mut());
                return Ok((piece.into(), Some(self)));
            }
        }
    }
}
