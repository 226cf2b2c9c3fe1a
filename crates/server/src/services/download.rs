//! The bytes of a blob as a stream of messages, in bounded memory.
use crate::limits;
use crate::status;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use lre_proto::bytestream::ReadResponse;
use lre_store::{Blob, StoreError};
use std::io::{self, Write};
use tonic::Status;

/// Pieces that are read ahead of the network.
const READ_AHEAD: usize = 2;

pub(crate) type Messages = BoxStream<'static, Result<ReadResponse, Status>>;

/// At most `limit` bytes from `offset`, as they are.
pub(crate) fn plain(blob: Blob, offset: u64, limit: u64) -> Messages {
    let end = blob.size_bytes().min(offset.saturating_add(limit));
    let starts = (offset..end).step_by(limits::CHUNK_BYTES);
    let pieces = move |start| read(blob.clone(), start, (end - start).min(limits::CHUNK_BYTES as u64) as usize);
    stream::iter(starts).map(pieces).buffered(READ_AHEAD).map(message).boxed()
}

fn message(piece: io::Result<Bytes>) -> Result<ReadResponse, Status> {
    match piece {
        Ok(data) => Ok(ReadResponse { data }),
        Err(e) => Err(status::of(StoreError::from(e))),
    }
}

/// One piece, whole: a file that ends early is an error and not the end of the stream.
async fn read(blob: Blob, offset: u64, length: usize) -> io::Result<Bytes> {
    let read = move || {
        let bytes = blob.read_at(offset, length)?;
        match bytes.len() == length {
            true => Ok(bytes),
            false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file of the blob has become shorter")),
        }
    };
    if length <= limits::INLINE_WORK_BYTES_MAX {
        return read();
    }
    tokio::task::spawn_blocking(read).map(|done| done.map_err(io::Error::other)?).await
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
