//! Large blobs: ByteStream, from and to files, a few chunks in memory at a time.
use super::blobs::shorter;
use super::{CHUNK_BYTES, PATIENCE, Upstream, failed};
use crate::{Blob, StagedBlob, StoreError};
use bytes::Bytes;
use lre_model::{Digest, DigestFunction};
use lre_proto::bytestream::{ReadRequest, WriteRequest};
use std::io;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

/// Chunks that are read before they can be sent.
const CHUNKS_AHEAD: usize = 4;

/// Bytes that are hashed and written in place; see the disk store.
const IN_PLACE_BYTES: usize = 64 * 1024;

impl Upstream {
    /// `[{instance}/]{prefix}blobs/[{function}/]{hash}/{size}`; SHA-256 is not named, because services
    /// older than API 2.2 do not expect a name.
    fn resource(&self, prefix: &str, digest: Digest) -> String {
        let instance = if self.instance.is_empty() { String::new() } else { format!("{}/", self.instance) };
        let function = match digest.function() {
            DigestFunction::Sha256 => "",
            DigestFunction::Blake3 => "blake3/",
        };
        format!("{instance}{prefix}blobs/{function}{}/{}", digest.hash_text(), digest.size_bytes())
    }

    pub(super) async fn read_stream(&self, digest: Digest) -> Result<Blob, StoreError> {
        let message = ReadRequest { resource_name: self.resource("", digest), ..Default::default() };
        let fail = |status: Status| match status.code() {
            Code::NotFound => StoreError::Missing(digest),
            _ => failed("ByteStream.Read", &status),
        };
        let answer = patient(self.bytestream().read(self.request(message)?)).await?;
        let mut chunks = answer.map_err(fail)?.into_inner();
        let mut staged = self.staging()?.create(digest.function())?;
        while let Some(chunk) = patient(chunks.message()).await?.map_err(fail)? {
            staged = take(staged, chunk.data).await?;
            if staged.size_bytes() > digest.size_bytes() {
                return Err(StoreError::Upstream(format!("ByteStream.Read sent more than the {digest} asked for")));
            }
        }
        let (actual, blob) = staged.finish()?;
        if actual == digest { Ok(blob) } else { Err(StoreError::Corrupt { expected: digest, actual }) }
    }

    /// The inner result is what the service said of the blob.
    pub(super) async fn write_stream(&self, digest: Digest, blob: &Blob) -> Result<Result<(), Status>, StoreError> {
        let upload = uuid::Uuid::new_v4();
        let resource = self.resource(&format!("uploads/{upload}/"), digest);
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let request = self.request(ReceiverStream::new(receiver))?;
        let mut client = self.bytestream();
        let mut call = std::pin::pin!(client.write(request));
        let (answer, read) = tokio::select! {
            // Before the end of the stream: the blob is there already, or will not be taken.
            answer = &mut call => (answer, Ok(())),
            read = send(blob, resource, sender) => (patient(call).await?, read),
        };
        let answer = match answer {
            Ok(answer) => answer.into_inner(),
            // A file that could not be read to its end is the reason, and not what the service made of it.
            Err(status) => return read.map(|()| Err(status)),
        };
        // A service that has the blob answers before the end of the stream, with its full size.
        if u64::try_from(answer.committed_size) == Ok(digest.size_bytes()) {
            return Ok(Ok(()));
        }
        read?;
        let text = format!("ByteStream.Write committed {} bytes of {digest}", answer.committed_size);
        Err(StoreError::Upstream(text))
    }
}

/// Waits as long as one may wait for a service.
async fn patient<T>(work: impl Future<Output = T>) -> Result<T, StoreError> {
    let late = |_| StoreError::Upstream(format!("no answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, work).await.map_err(late)
}

async fn take(mut staged: StagedBlob, bytes: Bytes) -> io::Result<StagedBlob> {
    if bytes.len() <= IN_PLACE_BYTES {
        staged.write(&bytes)?;
        return Ok(staged);
    }
    let work = move || staged.write(&bytes).map(|()| staged);
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Reads the blob into messages; the channel holds it back where the service is slower than the disk.
async fn send(blob: &Blob, resource: String, sender: mpsc::Sender<WriteRequest>) -> Result<(), StoreError> {
    let size = blob.size_bytes();
    let mut resource_name = resource;
    let mut offset = 0;
    while offset < size {
        let data = read_chunk(blob, offset).await?;
        if data.is_empty() {
            return Err(shorter());
        }
        let end = offset + data.len() as u64;
        let message = WriteRequest {
            // In the first message only (PROTOCOL, 34).
            resource_name: std::mem::take(&mut resource_name),
            write_offset: i64::try_from(offset).unwrap_or(i64::MAX),
            finish_write: end == size,
            data,
        };
        if patient(sender.send(message)).await?.is_err() {
            // Nobody listens any more: the service has answered.
            return Ok(());
        }
        offset = end;
    }
    Ok(())
}

async fn read_chunk(blob: &Blob, offset: u64) -> io::Result<Bytes> {
    match blob {
        Blob::Bytes(_) => blob.read_at(offset, CHUNK_BYTES),
        Blob::File(_) => {
            let blob = blob.clone();
            let read = tokio::task::spawn_blocking(move || blob.read_at(offset, CHUNK_BYTES));
            read.await.map_err(io::Error::other)?
        }
    }
}
