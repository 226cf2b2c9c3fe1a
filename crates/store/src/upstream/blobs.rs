//! Blobs over the wire: batch calls for small ones, streams for large ones.
use super::{FIND_DIGESTS_MAX, Upstream, failed};
use crate::{Blob, BlobStore, Hold, StoreError, hash_reader};
use async_trait::async_trait;
use bytes::Bytes;
use lre_model::{Digest, DigestFunction};
use lre_proto::re;
use std::collections::HashSet;
use std::io;
use tonic::{Code, Status};

#[async_trait]
impl BlobStore for Upstream {
    /// The service extends the life of what it is asked for (REAPI, `FindMissingBlobs`); more of a hold
    /// it does not offer.
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        let mut absent = HashSet::new();
        for function in DigestFunction::ALL {
            // The empty blob is everywhere; a service that forgets this rule is spared the question.
            let asked: HashSet<_> =
                digests.iter().filter(|d| d.function() == function && !d.is_empty_blob()).copied().collect();
            let asked: Vec<_> = asked.into_iter().collect();
            for part in asked.chunks(FIND_DIGESTS_MAX) {
                absent.extend(self.find_missing(function, part).await?);
            }
        }
        let present = digests.iter().filter(|d| !absent.contains(d)).copied().collect();
        // Each once: the first time it is met it is taken out.
        let missing = digests.iter().filter(|d| absent.remove(d)).copied().collect();
        Ok((Hold::new(present, ()), missing))
    }

    async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
        if digest.is_empty_blob() {
            return Ok(Bytes::new().into());
        }
        if digest.size_bytes() <= self.batch_bytes_max().await? {
            self.read_small(digest).await
        } else {
            self.read_stream(digest).await
        }
    }

    /// The bytes are hashed by the service. They are hashed here only where it refuses them, to tell
    /// wrong bytes from another failure.
    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        // What no service needs to be asked: REAPI has the empty blob always present.
        if digest.is_empty_blob() {
            return explain(digest, blob, None).await;
        }
        let sent = if blob.size_bytes() <= self.batch_bytes_max().await? {
            self.write_small(digest, &blob).await?
        } else {
            self.write_stream(digest, &blob).await?
        };
        match sent {
            Ok(()) => Ok(()),
            Err(status) if status.code() == Code::InvalidArgument => explain(digest, blob, Some(status)).await,
            Err(status) => Err(failed("writing a blob", &status)),
        }
    }
}

/// What is wrong with bytes that were refused, or would be.
async fn explain(digest: Digest, blob: Blob, refused: Option<Status>) -> Result<(), StoreError> {
    let hash = move || match &blob {
        Blob::Bytes(bytes) => Ok(Digest::of(digest.function(), bytes)),
        Blob::File(file) => hash_reader(digest.function(), file.reader()),
    };
    let actual = tokio::task::spawn_blocking(hash).await.map_err(io::Error::other)??;
    match refused {
        _ if actual != digest => Err(StoreError::Corrupt { expected: digest, actual }),
        Some(status) => Err(failed("writing a blob", &status)),
        None => Ok(()),
    }
}

impl Upstream {
    async fn find_missing(&self, function: DigestFunction, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let message = re::FindMissingBlobsRequest {
            instance_name: self.instance.clone(),
            blob_digests: digests.iter().map(|d| d.to_wire()).collect(),
            digest_function: function.to_wire(),
        };
        let answer = self.cas().find_missing_blobs(self.unary(message)?).await;
        let answer = answer.map_err(|status| failed("FindMissingBlobs", &status))?.into_inner();
        let parse = |wire| {
            Digest::from_wire(function, Some(wire))
                .map_err(|e| StoreError::Upstream(format!("FindMissingBlobs answered with a bad digest: {e}")))
        };
        answer.missing_blob_digests.iter().map(parse).collect()
    }

    async fn read_small(&self, digest: Digest) -> Result<Blob, StoreError> {
        let message = re::BatchReadBlobsRequest {
            instance_name: self.instance.clone(),
            digests: vec![digest.to_wire()],
            digest_function: digest.function().to_wire(),
            ..Default::default()
        };
        let answer = self.cas().batch_read_blobs(self.unary(message)?).await;
        let answer = answer.map_err(|status| failed("BatchReadBlobs", &status))?.into_inner();
        let Some(one) = answer.responses.into_iter().next() else {
            return Err(StoreError::Upstream("BatchReadBlobs answered without the blob".to_owned()));
        };
        match status_of(one.status) {
            status if status.code() == Code::Ok => {}
            status if status.code() == Code::NotFound => return Err(StoreError::Missing(digest)),
            status => return Err(failed("BatchReadBlobs", &status)),
        }
        let bytes = Bytes::from(one.data);
        let actual = Digest::of(digest.function(), &bytes);
        if actual == digest { Ok(bytes.into()) } else { Err(StoreError::Corrupt { expected: digest, actual }) }
    }

    /// The inner result is what the service said of the blob.
    async fn write_small(&self, digest: Digest, blob: &Blob) -> Result<Result<(), Status>, StoreError> {
        let bytes = blob.clone().into_bytes(u64::MAX).await?;
        if bytes.len() as u64 != blob.size_bytes() {
            return Err(shorter());
        }
        let one = re::batch_update_blobs_request::Request {
            digest: Some(digest.to_wire()),
            data: bytes.into(),
            ..Default::default()
        };
        let message = re::BatchUpdateBlobsRequest {
            instance_name: self.instance.clone(),
            requests: vec![one],
            digest_function: digest.function().to_wire(),
        };
        let answer = match self.cas().batch_update_blobs(self.unary(message)?).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        let Some(one) = answer.responses.into_iter().next() else {
            return Err(StoreError::Upstream("BatchUpdateBlobs answered without the blob".to_owned()));
        };
        let status = status_of(one.status);
        Ok(if status.code() == Code::Ok { Ok(()) } else { Err(status) })
    }
}

/// A file that ends before it should.
pub(super) fn shorter() -> StoreError {
    StoreError::Io(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than when it was opened"))
}

/// The status of one entry; none at all means OK.
fn status_of(status: Option<lre_proto::rpc::Status>) -> Status {
    status.map_or_else(|| Status::new(Code::Ok, ""), |s| Status::new(Code::from(s.code), s.message))
}
