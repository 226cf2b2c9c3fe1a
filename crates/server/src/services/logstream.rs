//! `LogStreamService` (PROTOCOL, 87) and the reading and writing of log streams through `ByteStream`.
//!
//! Two kinds have names of one form. Those whose parent is an operation are the stdout and the stderr of its command
//! (PROTOCOL, 66): read while it runs from the files that it writes to, afterwards from the result. All others were made
//! by a client, which writes them.
use super::download;
use super::log::{Log, Logs};
use crate::limits::LOG_PARENT_BYTES_MAX;
use crate::operation::{Answer, LOG_STREAMS, Operation, Operations, STDERR_ID, STDOUT_ID, State};
use crate::status::{self, Refusal};
use futures::stream::{self, BoxStream, StreamExt};
use lre_model::{Digest, Invalid};
use lre_proto::bytestream::{QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse};
use lre_proto::logstream::log_stream_service_server::LogStreamService;
use lre_proto::logstream::{CreateLogStreamRequest, LogStream};
use lre_store::{Blob, BlobStore, Staging};
use lre_worker::{Follow, Stream};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

type Messages = BoxStream<'static, Result<ReadResponse, Status>>;

/// The service, and what `ByteStream` needs of it.
#[derive(Clone)]
pub struct LogStreams {
    shared: Arc<Shared>,
}

struct Shared {
    blobs: Arc<dyn BlobStore>,
    operations: Arc<Operations>,
    logs: Logs,
}

/// A resource name of this kind, taken apart.
#[derive(Debug, PartialEq, Eq)]
enum Name<'a> {
    /// `{parent}/logstreams/{id}`.
    Read { parent: &'a str, id: &'a str },
    /// `{parent}/logstreams/{id}/{token}`.
    Write { id: &'a str, token: &'a str },
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let (head, last) = name.rsplit_once('/')?;
        let ends_in = |head: &'a str| {
            let parent = head.strip_suffix(LOG_STREAMS)?;
            if parent.is_empty() { Some(parent) } else { parent.strip_suffix('/') }
        };
        if let Some(parent) = ends_in(head) {
            return Some(Self::Read { parent, id: last });
        }
        let (head, id) = head.rsplit_once('/')?;
        ends_in(head).map(|_| Self::Write { id, token: last })
    }
}

impl LogStreams {
    /// The streams of these operations, and none else yet.
    #[must_use]
    pub fn new(blobs: Arc<dyn BlobStore>, operations: Arc<Operations>, staging: Staging) -> Self {
        Self { shared: Arc::new(Shared { blobs, operations, logs: Logs::new(staging) }) }
    }

    /// Whether a name that is no blob's has the form of one of ours.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        Name::parse(name).is_some()
    }

    /// `ByteStream.Read`: what is there from an offset on, and what follows, until the end.
    ///
    /// # Errors
    /// A name for writing, an unknown one, numbers that make no sense.
    pub fn read(&self, request: &ReadRequest) -> Result<Messages, Status> {
        let name = &request.resource_name;
        let unknown = || status::of(Refusal::NoLog(name.clone()));
        let Name::Read { parent, id } = Name::parse(name).ok_or_else(unknown)? else {
            let problem = "this is the name for writing: read `LogStream.name`";
            return Err(status::of(Invalid::new("resource_name", problem)));
        };
        let number =
            |field: &str, value: i64| u64::try_from(value).map_err(|_| status::of(Invalid::new(field, "is negative")));
        let offset = number("read_offset", request.read_offset)?;
        let limit = number("read_limit", request.read_limit)?;
        let stream = match id {
            STDOUT_ID => Some(Stream::Stdout),
            STDERR_ID => Some(Stream::Stderr),
            _ => None,
        };
        let messages = match stream {
            Some(stream) => {
                let operation = self.shared.operations.named(parent).map_err(|_| unknown())?;
                follow(operation, stream, offset, Arc::clone(&self.shared.blobs))
            }
            None => {
                let log = self.shared.logs.get(id).ok_or_else(unknown)?;
                let (bytes, finished) = log.end();
                if finished && offset > bytes {
                    return Err(status::of(Refusal::Offset { offset: request.read_offset, size_bytes: bytes }));
                }
                log.follow(offset)
            }
        };
        Ok(if limit == 0 { messages } else { at_most(messages, limit) })
    }

    /// The log that may be written under this name.
    fn writable(&self, name: &str) -> Result<Arc<Log>, Status> {
        let (id, token) = match Name::parse(name) {
            Some(Name::Write { id, token }) => (id, token),
            _ => {
                let problem = "this is a name for reading: write to `LogStream.write_resource_name`";
                return Err(status::of(Invalid::new("resource_name", problem)));
            }
        };
        let log = self.shared.logs.get(id).filter(|log| log.token == token);
        log.ok_or_else(|| status::of(Refusal::NoLog(name.to_owned())))
    }

    /// `ByteStream.Write`.
    ///
    /// # Errors
    /// A name for reading, an unknown one, bytes that are not the next ones, too many of them.
    pub async fn write(
        &self,
        first: WriteRequest,
        messages: &mut Streaming<WriteRequest>,
    ) -> Result<WriteResponse, Status> {
        let name = first.resource_name.clone();
        let log = self.writable(&name)?;
        let mut next = Some(first);
        while let Some(message) = next {
            if !message.resource_name.is_empty() && message.resource_name != name {
                return Err(status::of(Invalid::new("resource_name", "changed within one stream")));
            }
            let offset = u64::try_from(message.write_offset)
                .map_err(|_| status::of(Invalid::new("write_offset", "is negative")))?;
            log.append(offset, message.data, message.finish_write).await.map_err(status::of)?;
            if message.finish_write {
                break;
            }
            next = messages.message().await?;
        }
        Ok(WriteResponse { committed_size: log.end().0.cast_signed() })
    }

    /// `ByteStream.QueryWriteStatus`.
    ///
    /// # Errors
    /// A name for reading, or an unknown one.
    pub fn write_status(&self, name: &str) -> Result<QueryWriteStatusResponse, Status> {
        let (bytes, complete) = self.writable(name)?.end();
        Ok(QueryWriteStatusResponse { committed_size: bytes.cast_signed(), complete })
    }
}

/// The first bytes of a stream, and then its end.
fn at_most(messages: Messages, limit: u64) -> Messages {
    stream::unfold((messages, limit), |(mut messages, left)| async move {
        if left == 0 {
            return None;
        }
        let mut message = messages.next().await?;
        let mut left = left;
        if let Ok(ReadResponse { data }) = &mut message {
            data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= data.len() as u64;
        }
        Some((message, (messages, left)))
    })
    .boxed()
}

/// Where a reader of an operation is.
enum At {
    /// It waits or runs.
    Live(Option<Follow>),
    /// The rest is read from the result.
    Ended(Messages),
}

/// What the command of an operation says. Nobody waits for the operation by reading: who vanishes, or comes late, is
/// of no consequence to it.
fn follow(operation: Arc<Operation>, which: Stream, start: u64, blobs: Arc<dyn BlobStore>) -> Messages {
    let states = operation.subscribe();
    let reader = Reader { operation, which, start, blobs };
    stream::unfold((At::Live(None), states, start), move |(mut at, mut states, offset)| {
        let reader = reader.clone();
        async move {
            loop {
                let follow = match &mut at {
                    At::Ended(rest) => return Some((rest.next().await?, (at, states, offset))),
                    At::Live(follow) => follow,
                };
                // One that was cancelled is over while its execution goes on for others.
                if let State::Completed(answer) = &*states.borrow_and_update() {
                    at = At::Ended(reader.clone().rest(Arc::clone(answer), offset));
                    continue;
                }
                if follow.is_none() {
                    *follow = reader.operation.live().map(|live| live.follow(which, offset));
                }
                let said = async { follow.as_mut()?.next().await };
                tokio::select! {
                    biased;
                    // Fails never: the operation, which is here, has the other end.
                    _ = states.changed() => {}
                    Some(data) = said => {
                        let next = offset + data.len() as u64;
                        return Some((Ok(ReadResponse { data }), (at, states, next)));
                    }
                }
            }
        }
    })
    .boxed()
}

/// Who reads a stream of an operation, and from where.
#[derive(Clone)]
struct Reader {
    operation: Arc<Operation>,
    which: Stream,
    start: u64,
    blobs: Arc<dyn BlobStore>,
}

impl Reader {
    /// What an operation that is over has of the stream from `offset` on.
    fn rest(self, answer: Arc<Answer>, offset: u64) -> Messages {
        stream::once(async move { self.rest_now(&answer, offset).await }).flatten().boxed()
    }

    async fn rest_now(self, answer: &Answer, offset: u64) -> Messages {
        let Some(result) = answer.result() else { return stream::empty().boxed() };
        let wire = result.wire();
        let (raw, digest) = match self.which {
            Stream::Stdout => (&wire.stdout_raw, &wire.stdout_digest),
            Stream::Stderr => (&wire.stderr_raw, &wire.stderr_digest),
        };
        let blob = match Digest::from_wire(result.function(), digest.as_ref()) {
            Ok(digest) => self.blobs.read(digest).await,
            Err(_) => Ok(Blob::from(bytes::Bytes::from(raw.clone()))),
        };
        let refused = |status| stream::iter([Err(status)]).boxed();
        match blob {
            // Who has read along may have had more than was kept of a command that said too much.
            Ok(blob) if offset > blob.size_bytes() && offset == self.start => {
                let offset = i64::try_from(offset).unwrap_or(i64::MAX);
                refused(status::of(Refusal::Offset { offset, size_bytes: blob.size_bytes() }))
            }
            Ok(blob) => download::plain(blob, offset, u64::MAX),
            Err(error) => refused(status::of(error)),
        }
    }
}

#[tonic::async_trait]
impl LogStreamService for LogStreams {
    async fn create_log_stream(&self, request: Request<CreateLogStreamRequest>) -> Result<Response<LogStream>, Status> {
        let parent = request.into_inner().parent;
        let refuse = |problem: String| Err(status::of(Invalid::new("parent", problem)));
        if parent.len() > LOG_PARENT_BYTES_MAX {
            return refuse(format!("has {} bytes; at most {LOG_PARENT_BYTES_MAX} are taken", parent.len()));
        }
        if parent.contains(char::is_control) || parent.starts_with('/') || parent.ends_with('/') {
            return refuse(format!("`{}` is not the name of a resource", parent.escape_debug()));
        }
        let (id, log) = self.shared.logs.create().map_err(status::of)?;
        let name =
            if parent.is_empty() { format!("{LOG_STREAMS}/{id}") } else { format!("{parent}/{LOG_STREAMS}/{id}") };
        Ok(Response::new(LogStream { write_resource_name: format!("{name}/{}", log.token), name }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_from_the_end() {
        for (name, expected) in [
            ("logstreams/a", Some(Name::Read { parent: "", id: "a" })),
            ("p/q/logstreams/a", Some(Name::Read { parent: "p/q", id: "a" })),
            ("logstreams/logstreams/a", Some(Name::Read { parent: "logstreams", id: "a" })),
            ("logstreams/a/b", Some(Name::Write { id: "a", token: "b" })),
            ("p/logstreams/a/b", Some(Name::Write { id: "a", token: "b" })),
            ("logstreams", None),
            ("xlogstreams/a", None),
            ("p/logstreams/a/b/c", None),
            ("blobs/a/0", None),
            ("", None),
        ] {
            assert_eq!(Name::parse(name), expected, "{name}");
        }
    }
}
