//! ByteStream, asked the way clients do, and the ways they should not.
use crate::probe::Probe;
use crate::verdict::{Verdict, works};
use bytes::Bytes;
use lre_model::Digest;
use lre_proto::bytestream::{QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, WriteRequest};
use tonic::Status;

/// What one message of an upload carries, in bytes.
pub const CHUNK: usize = 64 * 1024;
/// What a server may answer before it is stopped, in bytes: all contents here are smaller.
const ANSWER_MAX: usize = 64 << 20;

/// The forms of a blob in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// zstd.
    Zstd,
}

impl Form {
    fn prefix(self) -> &'static str {
        match self {
            Self::Plain => "blobs",
            Self::Zstd => "compressed-blobs/zstd",
        }
    }
}

pub fn zstd(content: &[u8]) -> Vec<u8> {
    // In memory, and at a level that exists: nothing that could fail.
    zstd::bulk::compress(content, 3).unwrap_or_default()
}

pub fn unzstd(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::stream::decode_all(packed)
}

impl Probe {
    /// `instance/` or nothing: an empty instance has no slash.
    fn prefix(&self) -> String {
        if self.instance().is_empty() { String::new() } else { format!("{}/", self.instance()) }
    }

    /// The name to read a blob under. BLAKE3 is named, SHA-256 is not.
    pub fn read_name(&self, form: Form, digest: Digest) -> String {
        format!("{}{}/{digest}", self.prefix(), form.prefix())
    }

    /// The name to write a blob under.
    pub fn write_name(&self, upload: &str, form: Form, digest: Digest) -> String {
        format!("{}uploads/{upload}/{}/{digest}", self.prefix(), form.prefix())
    }

    /// Reads a part of what has this name.
    pub async fn read_part(&self, name: &str, offset: i64, limit: i64) -> Result<Vec<u8>, Status> {
        let request = ReadRequest { resource_name: name.to_owned(), read_offset: offset, read_limit: limit };
        let mut stream = self.bytes().read(request).await?.into_inner();
        let mut all = Vec::new();
        while let Some(message) = stream.message().await? {
            all.extend_from_slice(&message.data);
            if all.len() > ANSWER_MAX {
                return Err(Status::internal("the answer does not end"));
            }
        }
        Ok(all)
    }

    /// Reads a blob, in one form.
    pub async fn read(&self, form: Form, digest: Digest) -> Result<Vec<u8>, Status> {
        let bytes = self.read_part(&self.read_name(form, digest), 0, 0).await?;
        match form {
            Form::Plain => Ok(bytes),
            Form::Zstd => {
                unzstd(&bytes).map_err(|error| Status::internal(format!("what was sent is no zstd: {error}")))
            }
        }
    }

    /// Sends these messages. Gives `committed_size`.
    pub async fn send(&self, messages: Vec<WriteRequest>) -> Result<i64, Status> {
        Ok(self.bytes().write(tokio_stream::iter(messages)).await?.into_inner().committed_size)
    }

    /// Sends `data` under a name, as it stands there, and finishes.
    pub async fn send_all(&self, name: &str, data: &[u8]) -> Result<i64, Status> {
        self.send(messages(name, data, 0)).await
    }

    /// Uploads a blob as a stream.
    pub async fn stream_in(&self, form: Form, content: &[u8]) -> Verdict<Digest> {
        let digest = self.digest(content);
        let name = self.write_name(&self.upload(), form, digest);
        let data = if form == Form::Zstd { zstd(content) } else { content.to_vec() };
        works("ByteStream.Write of a new blob", self.send_all(&name, &data).await)?;
        Ok(digest)
    }

    /// How far an upload is.
    pub async fn status(&self, name: &str) -> Result<QueryWriteStatusResponse, Status> {
        let request = QueryWriteStatusRequest { resource_name: name.to_owned() };
        Ok(self.bytes().query_write_status(request).await?.into_inner())
    }
}

/// `data` from `offset` on in messages; the name stands in the first, and the last finishes.
pub fn messages(name: &str, data: &[u8], offset: usize) -> Vec<WriteRequest> {
    let mut all = unfinished(name, data, offset);
    if all.is_empty() {
        all.push(WriteRequest { resource_name: name.to_owned(), write_offset: offset as i64, ..Default::default() });
    }
    if let Some(last) = all.last_mut() {
        last.finish_write = true;
    }
    all
}

/// The same without an end.
pub fn unfinished(name: &str, data: &[u8], offset: usize) -> Vec<WriteRequest> {
    let message = |(i, data): (usize, &[u8])| WriteRequest {
        resource_name: if i == 0 { name.to_owned() } else { String::new() },
        write_offset: (offset + i * CHUNK) as i64,
        finish_write: false,
        data: Bytes::copy_from_slice(data),
    };
    data.chunks(CHUNK).enumerate().map(message).collect()
}
