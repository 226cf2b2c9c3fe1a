//! `ContentAddressableStorage` (PROTOCOL, C and D).
use super::chunks::{Chunks, Mapping};
use super::{tree, work};
use crate::limits;
use crate::status::{self, Refusal, ToStatus};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use lre_model::{Compressor, Digest, DigestFunction, Invalid};
use lre_proto::re;
use lre_proto::re::{batch_read_blobs_response, batch_update_blobs_request, batch_update_blobs_response};
use lre_store::{BlobStore, Staging, StoreError};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// The service.
pub struct Cas {
    blobs: Arc<dyn BlobStore>,
    chunks: Chunks,
}

impl Cas {
    /// A service over a store. What is spliced waits in `staging` until its digest is proven.
    #[must_use]
    pub fn new(blobs: Arc<dyn BlobStore>, staging: Staging) -> Self {
        Self { chunks: Chunks::new(Arc::clone(&blobs), staging), blobs }
    }

    /// Writes entries of a batch with one call of the store, and says of each what came of it.
    async fn write(&self, unpacked: Vec<(Option<re::Digest>, Unpacked)>) -> Vec<batch_update_blobs_response::Response> {
        let (mut blobs, mut refused) = (Vec::new(), Vec::new());
        for (digest, entry) in unpacked {
            refused.push((digest, entry.map(|(digest, bytes)| blobs.push((digest, bytes.into()))).err()));
        }
        let mut written = self.blobs.write_many(blobs).await.into_iter();
        let response = |(digest, refused): (Option<re::Digest>, Option<Status>)| {
            let answer = refused.map_or_else(|| written.next().unwrap_or_else(no_answer).map_err(status::of), Err);
            let status = answer.map_or_else(|s| status::to_rpc(&s), |()| status::ok());
            batch_update_blobs_response::Response { digest, status: Some(status) }
        };
        refused.into_iter().map(response).collect()
    }

    async fn read_one(
        &self,
        function: DigestFunction,
        wire: &re::Digest,
        zstd: bool,
    ) -> Result<(Compressor, Vec<u8>), Status> {
        let digest = Digest::from_wire(function, Some(wire)).map_err(status::of)?;
        let blob = self.blobs.read(digest).await.map_err(status::of)?;
        let bytes = blob.into_bytes(limits::BATCH_BYTES_MAX).await.map_err(status::of)?;
        if zstd && digest.size_bytes() >= limits::COMPRESS_BYTES_MIN {
            let packed = packed(bytes.clone()).await.map_err(|e| status::of(StoreError::from(e)))?;
            // What compression makes longer travels as it is: identity is always acceptable.
            if packed.len() < bytes.len() {
                return Ok((Compressor::Zstd, packed));
            }
        }
        Ok((Compressor::Identity, bytes.to_vec()))
    }
}

/// The blob of an entry of a batch, not yet verified; or why it is refused.
type Unpacked = Result<(Digest, Bytes), Status>;

async fn entry_of(function: DigestFunction, one: batch_update_blobs_request::Request) -> Unpacked {
    let digest = Digest::from_wire(function, one.digest.as_ref()).map_err(status::of)?;
    let bytes = unpacked(digest, compressor(one.compressor)?, one.data.into()).await?;
    Ok((digest, bytes))
}

fn no_answer() -> Result<(), StoreError> {
    Err(StoreError::Io(std::io::Error::other("the store did not say what became of a blob")))
}

async fn packed(bytes: Bytes) -> std::io::Result<Vec<u8>> {
    work(bytes.len(), move || zstd::bulk::compress(&bytes, limits::ZSTD_LEVEL)).await
}

/// The blob of one entry, not yet verified.
async fn unpacked(digest: Digest, compressor: Compressor, data: Bytes) -> Result<Bytes, Status> {
    if compressor == Compressor::Identity {
        return Ok(data);
    }
    let size_bytes = digest.size_bytes();
    if size_bytes > limits::BATCH_BLOB_BYTES_MAX {
        return Err(StoreError::TooLarge { size_bytes, at_most: limits::BATCH_BLOB_BYTES_MAX }.to_status());
    }
    let invalid = |e: std::io::Error| status::of(Invalid::new("requests.data", format!("not zstd of this blob: {e}")));
    // One byte more than announced is enough to know that it is not the announced blob.
    let room = usize::try_from(size_bytes).unwrap_or(usize::MAX) + 1;
    let bytes = work(room, move || unpack(&data, room)).await.map_err(invalid)?;
    Ok(bytes.into())
}

/// At most `room` bytes out of any number of zstd frames.
fn unpack(data: &[u8], room: usize) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut decoder = zstd::stream::read::Decoder::new(data)?;
    decoder.window_log_max(limits::ZSTD_WINDOW_LOG_MAX)?;
    let mut bytes = Vec::new();
    decoder.take(room as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A compressor that is advertised for batches (PROTOCOL, 31).
fn compressor(value: i32) -> Result<Compressor, Status> {
    match re::compressor::Value::try_from(value) {
        Ok(re::compressor::Value::Identity) => Ok(Compressor::Identity),
        Ok(re::compressor::Value::Zstd) => Ok(Compressor::Zstd),
        _ => Err(status::of(Invalid::new("requests.compressor", format!("{value} is not advertised: zstd is")))),
    }
}

/// REAPI, batches: what is above the advertised size is refused as a whole (PROTOCOL, 29).
fn refuse_large(field: &str, bytes: u64) -> Result<(), Status> {
    if bytes <= limits::BATCH_BYTES_MAX {
        return Ok(());
    }
    let most = limits::BATCH_BYTES_MAX;
    Err(status::of(Invalid::new(
        field,
        format!("{bytes} bytes in one batch, at most {most} are taken: use ByteStream"),
    )))
}

/// All digests of a list, or the first that is none.
fn digests(field: &str, function: DigestFunction, wire: &[re::Digest]) -> Result<Vec<Digest>, Status> {
    let one = |(i, wire)| {
        Digest::from_wire(function, Some(wire)).map_err(|e| status::of(Invalid::new(format!("{field}[{i}]"), e)))
    };
    wire.iter().enumerate().map(one).collect()
}

#[tonic::async_trait]
impl re::content_addressable_storage_server::ContentAddressableStorage for Cas {
    async fn find_missing_blobs(
        &self,
        request: Request<re::FindMissingBlobsRequest>,
    ) -> Result<Response<re::FindMissingBlobsResponse>, Status> {
        let request = request.into_inner();
        let function = DigestFunction::from_wire(request.digest_function).map_err(status::of)?;
        let digests = digests("blob_digests", function, &request.blob_digests)?;
        // The hold ends with this answer; that a blob was asked for is the store's to remember
        // (PROTOCOL, 27 and 33).
        let (_hold, missing) = self.blobs.hold(&digests).await.map_err(status::of)?;
        let missing_blob_digests = missing.into_iter().map(Digest::to_wire).collect();
        Ok(Response::new(re::FindMissingBlobsResponse { missing_blob_digests }))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<re::BatchUpdateBlobsRequest>,
    ) -> Result<Response<re::BatchUpdateBlobsResponse>, Status> {
        let request = request.into_inner();
        let function = DigestFunction::from_wire(request.digest_function).map_err(status::of)?;
        refuse_large("requests", request.requests.iter().map(|r| r.data.len() as u64).sum())?;
        let entries = stream::iter(request.requests).map(|one| async move {
            let digest = one.digest.clone();
            (digest, entry_of(function, one).await)
        });
        let mut entries = std::pin::pin!(entries.buffered(limits::BATCH_CONCURRENCY));
        let (mut responses, mut unpacked, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(entry) = entries.next().await {
            bytes += entry.1.as_ref().map_or(0, |(_, data)| data.len() as u64);
            unpacked.push(entry);
            // What was compressed may be a thousand times as long, and is not in memory all at once.
            if bytes >= limits::BATCH_BYTES_MAX {
                responses.extend(self.write(std::mem::take(&mut unpacked)).await);
                bytes = 0;
            }
        }
        responses.extend(self.write(unpacked).await);
        Ok(Response::new(re::BatchUpdateBlobsResponse { responses }))
    }

    async fn batch_read_blobs(
        &self,
        request: Request<re::BatchReadBlobsRequest>,
    ) -> Result<Response<re::BatchReadBlobsResponse>, Status> {
        let request = request.into_inner();
        let function = DigestFunction::from_wire(request.digest_function).map_err(status::of)?;
        let size = |d: &re::Digest| u64::try_from(d.size_bytes).unwrap_or(0);
        refuse_large("digests", request.digests.iter().map(size).fold(0, u64::saturating_add))?;
        let zstd = request.acceptable_compressors.contains(&(re::compressor::Value::Zstd as i32));
        let read = stream::iter(request.digests).map(|digest| async move {
            let read = self.read_one(function, &digest, zstd).await;
            (digest, read)
        });
        let mut room = limits::MESSAGE_BYTES_SENT_MAX;
        let responses = read.buffered(limits::BATCH_CONCURRENCY).map(|(digest, read)| entry(&mut room, digest, read));
        Ok(Response::new(re::BatchReadBlobsResponse { responses: responses.collect().await }))
    }

    type GetTreeStream = BoxStream<'static, Result<re::GetTreeResponse, Status>>;

    async fn get_tree(&self, request: Request<re::GetTreeRequest>) -> Result<Response<Self::GetTreeStream>, Status> {
        let request = request.into_inner();
        let function = DigestFunction::from_wire(request.digest_function).map_err(status::of)?;
        let root = Digest::from_wire(function, request.root_digest.as_ref())
            .map_err(|e| status::of(Invalid::new("root_digest", e)))?;
        let pages = tree::pages(Arc::clone(&self.blobs), root, request.page_size, &request.page_token).await?;
        Ok(Response::new(pages.boxed()))
    }

    async fn split_blob(
        &self,
        request: Request<re::SplitBlobRequest>,
    ) -> Result<Response<re::SplitBlobResponse>, Status> {
        let request = request.into_inner();
        let function = DigestFunction::from_wire(request.digest_function).map_err(status::of)?;
        let mapping = self.chunks.of(blob_digest(function, request.blob_digest.as_ref())?).await?;
        if mapping.chunks.len() > limits::CHUNKS_IN_MESSAGE_MAX {
            let (what, at_most) = ("chunks in one answer (GetChunkMapping gives more)", limits::CHUNKS_IN_MESSAGE_MAX);
            return Err(status::of(Refusal::TooMany { what, at_most }));
        }
        let chunk_digests = mapping.chunks.iter().map(|chunk| chunk.to_wire()).collect();
        Ok(Response::new(re::SplitBlobResponse { chunk_digests, chunking_function: mapping.function as i32 }))
    }

    type GetChunkMappingStream = BoxStream<'static, Result<re::GetChunkMappingResponse, Status>>;

    async fn get_chunk_mapping(
        &self,
        request: Request<re::GetChunkMappingRequest>,
    ) -> Result<Response<Self::GetChunkMappingStream>, Status> {
        let request = request.into_inner();
        let function = named(request.digest_function)?;
        let mapping = self.chunks.of(blob_digest(function, request.blob_digest.as_ref())?).await?;
        let parts = (0..mapping.chunks.len()).step_by(limits::CHUNKS_IN_MESSAGE_MAX);
        let part = move |begin: usize| {
            let end = mapping.chunks.len().min(begin + limits::CHUNKS_IN_MESSAGE_MAX);
            let chunk_digests = mapping.chunks[begin..end].iter().map(|chunk| chunk.to_wire()).collect();
            // REAPI: in the first message only.
            let chunking_function = if begin == 0 { mapping.function as i32 } else { 0 };
            Ok(re::GetChunkMappingResponse { chunk_digests, chunking_function })
        };
        Ok(Response::new(stream::iter(parts.map(part)).boxed()))
    }

    async fn splice_blob(
        &self,
        request: Request<re::SpliceBlobRequest>,
    ) -> Result<Response<re::SpliceBlobResponse>, Status> {
        let request = request.into_inner();
        let function = DigestFunction::from_wire(request.digest_function).map_err(status::of)?;
        let blob = blob_digest(function, request.blob_digest.as_ref())?;
        let mut chunks = Vec::new();
        add_chunks(&mut chunks, function, &request.chunk_digests)?;
        self.chunks.splice(blob, mapping(chunks, request.chunking_function)).await?;
        Ok(Response::new(re::SpliceBlobResponse { blob_digest: Some(blob.to_wire()) }))
    }

    async fn register_chunk_mapping(
        &self,
        request: Request<Streaming<re::RegisterChunkMappingRequest>>,
    ) -> Result<Response<re::RegisterChunkMappingResponse>, Status> {
        let mut messages = request.into_inner();
        let first = messages.message().await?;
        let first = first.ok_or_else(|| status::of(Invalid::new("blob_digest", "no message was sent")))?;
        let function = named(first.digest_function)?;
        let blob = blob_digest(function, first.blob_digest.as_ref())?;
        let mut chunks = Vec::new();
        add_chunks(&mut chunks, function, &first.chunk_digests)?;
        while let Some(next) = messages.message().await? {
            add_chunks(&mut chunks, function, &next.chunk_digests)?;
        }
        self.chunks.splice(blob, mapping(chunks, first.chunking_function)).await?;
        Ok(Response::new(re::RegisterChunkMappingResponse { blob_digest: Some(blob.to_wire()) }))
    }
}

fn blob_digest(function: DigestFunction, wire: Option<&re::Digest>) -> Result<Digest, Status> {
    Digest::from_wire(function, wire).map_err(|e| status::of(Invalid::new("blob_digest", e)))
}

/// A digest function that must be said (REAPI, `GetChunkMapping` and `RegisterChunkMapping`).
fn named(value: i32) -> Result<DigestFunction, Status> {
    if value == re::digest_function::Value::Unknown as i32 {
        return Err(status::of(Invalid::new("digest_function", "must be named here: SHA256 or BLAKE3")));
    }
    DigestFunction::from_wire(value).map_err(status::of)
}

fn add_chunks(chunks: &mut Vec<Digest>, function: DigestFunction, wire: &[re::Digest]) -> Result<(), Status> {
    chunks.extend(digests("chunk_digests", function, wire)?);
    if chunks.len() > limits::CHUNKS_OF_A_BLOB_MAX {
        let (what, at_most) = ("chunks of one blob", limits::CHUNKS_OF_A_BLOB_MAX);
        return Err(status::of(Refusal::TooMany { what, at_most }));
    }
    Ok(())
}

/// By whichever function it was cut: REAPI has us look at nothing but what the chunks are together.
fn mapping(chunks: Vec<Digest>, function: i32) -> Mapping {
    let function = re::chunking_function::Value::try_from(function).unwrap_or(re::chunking_function::Value::Unknown);
    Mapping { chunks: chunks.into(), function }
}

/// One entry of a batch that is read. A blob that would make the message longer than clients take
/// is refused alone: the others arrive.
fn entry(
    room: &mut usize,
    digest: re::Digest,
    read: Result<(Compressor, Vec<u8>), Status>,
) -> batch_read_blobs_response::Response {
    let read = read.and_then(|(compressor, data)| {
        *room = room.saturating_sub(limits::BATCH_ENTRY_BYTES);
        match room.checked_sub(data.len()) {
            Some(rest) => *room = rest,
            None => {
                return Err(status::of(Refusal::TooMany {
                    what: "bytes in one answer",
                    at_most: limits::MESSAGE_BYTES_SENT_MAX,
                }));
            }
        }
        Ok((compressor, data))
    });
    let (compressor, data, status) = match read {
        Ok((Compressor::Identity, data)) => (re::compressor::Value::Identity, data, status::ok()),
        Ok((Compressor::Zstd, data)) => (re::compressor::Value::Zstd, data, status::ok()),
        Err(status) => (re::compressor::Value::Identity, Vec::new(), status::to_rpc(&status)),
    };
    batch_read_blobs_response::Response {
        digest: Some(digest),
        data,
        compressor: compressor as i32,
        status: Some(status),
    }
}
