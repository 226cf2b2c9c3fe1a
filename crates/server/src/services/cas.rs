//! `ContentAddressableStorage` (PROTOCOL, C and D).
use super::{tree, work};
use crate::limits;
use crate::status::{self, Refusal, ToStatus};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use lre_model::{Compressor, Digest, DigestFunction, Invalid};
use lre_proto::re;
use lre_proto::re::{batch_read_blobs_response, batch_update_blobs_request, batch_update_blobs_response};
use lre_store::{BlobStore, StoreError};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// The service.
pub struct Cas {
    blobs: Arc<dyn BlobStore>,
}

impl Cas {
    /// A service over a store.
    #[must_use]
    pub fn new(blobs: Arc<dyn BlobStore>) -> Self {
        Self { blobs }
    }

    async fn update_one(
        &self,
        function: DigestFunction,
        one: batch_update_blobs_request::Request,
    ) -> Result<(), Status> {
        let digest = Digest::from_wire(function, one.digest.as_ref()).map_err(status::of)?;
        let data = unpacked(digest, compressor(one.compressor)?, one.data.into()).await?;
        self.blobs.write(digest, data.into()).await.map_err(status::of)
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
        let responses = stream::iter(request.requests)
            .map(|one| async move {
                let digest = one.digest.clone();
                let status =
                    self.update_one(function, one).await.map_or_else(|s| status::to_rpc(&s), |()| status::ok());
                batch_update_blobs_response::Response { digest, status: Some(status) }
            })
            .buffered(limits::BATCH_CONCURRENCY)
            .collect()
            .await;
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

    async fn split_blob(&self, _: Request<re::SplitBlobRequest>) -> Result<Response<re::SplitBlobResponse>, Status> {
        Err(status::of(Refusal::NotSupported("SplitBlob")))
    }

    type GetChunkMappingStream = BoxStream<'static, Result<re::GetChunkMappingResponse, Status>>;

    async fn get_chunk_mapping(
        &self,
        _: Request<re::GetChunkMappingRequest>,
    ) -> Result<Response<Self::GetChunkMappingStream>, Status> {
        Err(status::of(Refusal::NotSupported("GetChunkMapping")))
    }

    async fn splice_blob(&self, _: Request<re::SpliceBlobRequest>) -> Result<Response<re::SpliceBlobResponse>, Status> {
        Err(status::of(Refusal::NotSupported("SpliceBlob")))
    }

    async fn register_chunk_mapping(
        &self,
        _: Request<Streaming<re::RegisterChunkMappingRequest>>,
    ) -> Result<Response<re::RegisterChunkMappingResponse>, Status> {
        Err(status::of(Refusal::NotSupported("RegisterChunkMapping")))
    }
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
