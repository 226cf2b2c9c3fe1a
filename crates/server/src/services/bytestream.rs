//! `ByteStream` (PROTOCOL, E): the hot path of every build. Bazel 7.7 moves each blob through it, one
//! call for each, most of them a single small message.
use super::logstream::LogStreams;
use super::upload::{self, Progress};
use super::uploads::{Session, Uploads};
use super::{download, frames, work};
use crate::limits;
use crate::metadata::Caller;
use crate::status::{self, Refusal};
use bytes::Bytes;
use futures::stream::BoxStream;
use lre_model::{Compressor, Digest, Invalid, ReadResource, WriteResource};
use lre_proto::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
    byte_stream_server,
};
use lre_store::{BlobStore, Staging};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// The service.
pub struct ByteStream {
    blobs: Arc<dyn BlobStore>,
    uploads: Arc<Uploads>,
    logs: LogStreams,
}

impl ByteStream {
    /// A service over a store. Uploads wait in `staging` until their digest is proven.
    #[must_use]
    pub fn new(blobs: Arc<dyn BlobStore>, staging: Staging, logs: LogStreams) -> Self {
        Self { blobs, uploads: Uploads::new(staging), logs }
    }

    async fn is_present(&self, digest: Digest) -> Result<bool, Status> {
        let (_hold, missing) = self.blobs.hold(&[digest]).await.map_err(status::of)?;
        Ok(missing.is_empty())
    }

    /// The whole upload in one message: no file, no table.
    async fn write_at_once(&self, resource: &WriteResource, data: Bytes) -> Result<(), Status> {
        let digest = resource.digest;
        if resource.compressor == Compressor::Identity {
            refuse_other_size(digest, data.len() as u64)?;
            return self.blobs.write(digest, data.into()).await.map_err(status::of);
        }
        let mut progress = Progress::new(self.uploads.staging(), digest, Compressor::Zstd).map_err(status::of)?;
        let bytes = usize::try_from(digest.size_bytes()).unwrap_or(usize::MAX);
        let taken = work(bytes, move || progress.take(&data).map(|()| progress)).await.map_err(status::of)?;
        upload::store(&*self.blobs, taken).await
    }

    /// An upload in several messages. Returns how far it came.
    async fn write_in_pieces(
        &self,
        resource: &WriteResource,
        first: WriteRequest,
        messages: &mut Streaming<WriteRequest>,
    ) -> Result<Written, Status> {
        let offset =
            u64::try_from(first.write_offset).map_err(|_| status::of(Invalid::new("write_offset", "is negative")))?;
        // Gigabytes need not come in to be told that there is no room for them.
        self.blobs.room_for(resource.digest.size_bytes()).map_err(status::of)?;
        let session = self.uploads.begin(resource, offset).await?;
        let end = self.receive(&session, resource.digest, first, messages).await;
        match end {
            Ok(Written::Partly { .. }) => {}
            Ok(_) => session.end(),
            // The client went away: it may come back. All other errors are the end of the upload,
            // except that of a stream that another one has replaced.
            Err(Broken::Transport(status)) => return Err(status),
            Err(Broken::Refused(status)) => {
                if session.is_current() {
                    session.end();
                }
                return Err(status);
            }
        }
        end.map_err(Broken::into_status)
    }

    async fn receive(
        &self,
        session: &Session,
        digest: Digest,
        first: WriteRequest,
        messages: &mut Streaming<WriteRequest>,
    ) -> Result<Written, Broken> {
        let name = first.resource_name.clone();
        let mut expected = first.write_offset;
        let mut pieces = Pieces::default();
        let mut unchecked = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            refuse_other_upload(&message, &name, expected)?;
            expected += i64::try_from(message.data.len()).unwrap_or(i64::MAX);
            pieces.push(message.data);
            if message.finish_write {
                session.append(pieces.take()).await?;
                session.finish(&*self.blobs).await?;
                return Ok(Written::Whole { wire_bytes: expected });
            }
            if pieces.bytes >= limits::CHUNK_BYTES {
                unchecked += pieces.bytes;
                session.append(pieces.take()).await?;
            }
            // REAPI: where another client completes the blob meanwhile, this one need not go on.
            if unchecked >= limits::PRESENCE_CHECK_BYTES {
                unchecked = 0;
                if self.is_present(digest).await? {
                    return Ok(Written::Present);
                }
            }
            next = match messages.message().await {
                Ok(next) => next,
                Err(status) => {
                    // What has arrived need not be sent again.
                    session.append(pieces.take()).await?;
                    return Err(Broken::Transport(status));
                }
            };
        }
        // The client closed without `finish_write`. With all bytes here it can only have meant it.
        session.append(pieces.take()).await?;
        if session.is_whole().await? {
            session.finish(&*self.blobs).await?;
            return Ok(Written::Whole { wire_bytes: expected });
        }
        Ok(Written::Partly { committed: session.committed().await })
    }
}

/// What a `Write` came to.
enum Written {
    /// Stored; the client sent bytes up to this position.
    Whole { wire_bytes: i64 },
    /// It was there already.
    Present,
    /// To be continued.
    Partly { committed: u64 },
}

/// Why a `Write` ended early.
enum Broken {
    /// The stream broke; what has arrived is kept.
    Transport(Status),
    /// The bytes cannot become the blob.
    Refused(Status),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

impl Broken {
    fn into_status(self) -> Status {
        match self {
            Self::Transport(status) | Self::Refused(status) => status,
        }
    }
}

/// Pieces that wait until hashing and writing them is worth a change of threads.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push(piece);
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.bytes = 0;
        std::mem::take(&mut self.pieces)
    }
}

/// `WriteResponse.committed_size` (PROTOCOL, 35 to 37).
fn committed_size(resource: &WriteResource, written: &Written, caller: &Caller) -> i64 {
    let size = resource.digest.size_bytes().cast_signed();
    match (written, resource.compressor) {
        (Written::Partly { committed }, _) => committed.cast_signed(),
        (Written::Present, Compressor::Zstd) => -1,
        (Written::Whole { wire_bytes }, Compressor::Zstd) if !caller.counts_uncompressed() => *wire_bytes,
        _ => size,
    }
}

fn refuse_other_size(digest: Digest, arrived: u64) -> Result<(), Status> {
    match digest.size_bytes() {
        announced if announced < arrived => Err(status::of(upload::UploadError::TooMany(announced))),
        announced if announced > arrived => Err(status::of(upload::UploadError::TooFew { arrived, announced })),
        _ => Ok(()),
    }
}

/// REAPI, `WriteRequest`: the name comes once or stays the same, and no byte is left out.
fn refuse_other_upload(message: &WriteRequest, name: &str, expected: i64) -> Result<(), Status> {
    if !message.resource_name.is_empty() && message.resource_name != name {
        return Err(status::of(Invalid::new("resource_name", "changed within one stream")));
    }
    if message.write_offset != expected {
        let problem = format!("{} where {expected} bytes were sent before", message.write_offset);
        return Err(status::of(Invalid::new("write_offset", problem)));
    }
    Ok(())
}

#[tonic::async_trait]
impl byte_stream_server::ByteStream for ByteStream {
    type ReadStream = BoxStream<'static, Result<ReadResponse, Status>>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let resource = match ReadResource::parse(&request.resource_name) {
            Ok(resource) => resource,
            Err(_) if LogStreams::is_name(&request.resource_name) => {
                return self.logs.read(&request).map(Response::new);
            }
            Err(bad) => return Err(status::of(bad)),
        };
        let limit =
            u64::try_from(request.read_limit).map_err(|_| status::of(Invalid::new("read_limit", "is negative")))?;
        if resource.compressor == Compressor::Zstd && limit != 0 {
            return Err(status::of(Invalid::new("read_limit", "must be 0 for a compressed blob")));
        }
        let size_bytes = resource.digest.size_bytes();
        let offset = u64::try_from(request.read_offset)
            .ok()
            .filter(|offset| *offset <= size_bytes)
            .ok_or_else(|| status::of(Refusal::Offset { offset: request.read_offset, size_bytes }))?;
        let blob = self.blobs.read(resource.digest).await.map_err(status::of)?;
        let stream = match resource.compressor {
            Compressor::Identity => download::plain(blob, offset, if limit == 0 { u64::MAX } else { limit }),
            Compressor::Zstd => download::packed(blob, offset).map_err(status::of)?,
        };
        Ok(frames::attach(stream))
    }

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        let caller = Caller::of(request.metadata());
        let mut messages = request.into_inner();
        let first = messages.message().await?;
        let first = first.ok_or_else(|| status::of(Invalid::new("resource_name", "no message was sent")))?;
        let resource = match WriteResource::parse(&first.resource_name) {
            Ok(resource) => resource,
            Err(_) if LogStreams::is_name(&first.resource_name) => {
                return self.logs.write(first, &mut messages).await.map(Response::new);
            }
            Err(bad) => return Err(status::of(bad)),
        };
        let written = if self.is_present(resource.digest).await? {
            Written::Present
        } else if first.finish_write && first.write_offset == 0 {
            let wire_bytes = i64::try_from(first.data.len()).unwrap_or(i64::MAX);
            self.write_at_once(&resource, first.data).await?;
            Written::Whole { wire_bytes }
        } else {
            self.write_in_pieces(&resource, first, &mut messages).await?
        };
        Ok(Response::new(WriteResponse { committed_size: committed_size(&resource, &written, &caller) }))
    }

    async fn query_write_status(
        &self,
        request: Request<QueryWriteStatusRequest>,
    ) -> Result<Response<QueryWriteStatusResponse>, Status> {
        let name = &request.get_ref().resource_name;
        let resource = match WriteResource::parse(name) {
            Ok(resource) => resource,
            Err(_) if LogStreams::is_name(name) => return self.logs.write_status(name).map(Response::new),
            Err(bad) => return Err(status::of(bad)),
        };
        // In this order: an upload that is finished between the two questions is complete.
        let arrived = self.uploads.committed(&resource).await;
        let complete = self.is_present(resource.digest).await?;
        let committed = if complete { resource.digest.size_bytes() } else { arrived };
        Ok(Response::new(QueryWriteStatusResponse { committed_size: committed.cast_signed(), complete }))
    }
}
