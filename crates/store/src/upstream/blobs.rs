//! Blobs over the wire: batch calls for small ones, streams for large ones.
use super::batch::each;
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
        if digest.size_bytes() > self.batch_bytes_max().await? {
            return self.read_stream(digest).await;
        }
        let unanswered = || StoreError::Upstream("BatchReadBlobs answered without the blob".to_owned());
        self.read_batch(&[digest]).await.pop().ok_or_else(unanswered)?
    }

    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        self.write_one(digest, blob).await
    }

    async fn read_many(&self, digests: &[Digest]) -> Vec<Result<Blob, StoreError>> {
        self.read_parts(digests).await.unwrap_or_else(|error| each(digests.len(), &error))
    }

    async fn write_many(&self, blobs: Vec<(Digest, Blob)>) -> Vec<Result<(), StoreError>> {
        let count = blobs.len();
        self.write_parts(blobs).await.unwrap_or_else(|error| each(count, &error))
    }
}

/// What is wrong with bytes that were refused, or would be.
pub(super) async fn explain(digest: Digest, blob: Blob, refused: Option<Status>) -> Result<(), StoreError> {
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
    /// The bytes are hashed by the service. They are hashed here only where it refuses them, to tell
    /// wrong bytes from another failure.
    pub(super) async fn write_one(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        // What no service needs to be asked: REAPI has the empty blob always present.
        if digest.is_empty_blob() {
            return explain(digest, blob, None).await;
        }
        if blob.size_bytes() <= self.batch_bytes_max().await? {
            let unanswered = || StoreError::Upstream("BatchUpdateBlobs answered without the blob".to_owned());
            return self.write_batch(&[&(digest, blob)]).await.pop().ok_or_else(unanswered)?;
        }
        match self.write_stream(digest, &blob).await? {
            Ok(()) => Ok(()),
            Err(status) if status.code() == Code::InvalidArgument => explain(digest, blob, Some(status)).await,
            Err(status) => Err(failed("writing a blob", &status)),
        }
    }

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
}

/// A file that ends before it should.
pub(super) fn shorter() -> StoreError {
    StoreError::Io(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than when it was opened"))
}

/// The status of one entry; none at all means OK.
pub(super) fn status_of(status: Option<lre_proto::rpc::Status>) -> Status {
    status.map_or_else(|| Status::new(Code::Ok, ""), |s| Status::new(Code::from(s.code), s.message))
}
