//! Log streams: what a command says while it runs, and logs that clients write.
use crate::world::*;
use lre_proto::bytestream::{QueryWriteStatusRequest, ReadRequest, ReadResponse, WriteRequest};
use lre_proto::logstream::{CreateLogStreamRequest, LogStream};
use lre_proto::re::execution_stage::Value as Stage;
use std::time::Duration;
use tonic::{Code, Status, Streaming};

fn read(name: &str, offset: i64, limit: i64) -> ReadRequest {
    ReadRequest { resource_name: name.to_owned(), read_offset: offset, read_limit: limit }
}

impl World {
    async fn open(&self, request: ReadRequest) -> Result<Streaming<ReadResponse>, Status> {
        Ok(self.bytes.clone().read(request).await?.into_inner())
    }

    /// To the end.
    async fn whole(&self, request: ReadRequest) -> Result<String, Status> {
        let mut stream = self.open(request).await?;
        let mut whole = Vec::new();
        while let Some(message) = stream.message().await? {
            whole.extend_from_slice(&message.data);
        }
        Ok(String::from_utf8(whole).unwrap())
    }

    async fn write(&self, messages: Vec<WriteRequest>) -> Result<i64, Status> {
        let written = self.bytes.clone().write(tokio_stream::iter(messages)).await?;
        Ok(written.into_inner().committed_size)
    }

    async fn log(&self, parent: &str) -> LogStream {
        let request = CreateLogStreamRequest { parent: parent.to_owned() };
        self.logs.clone().create_log_stream(request).await.unwrap().into_inner()
    }
}

/// So many bytes, and whatever came with them.
async fn text(stream: &mut Streaming<ReadResponse>, bytes: usize) -> String {
    let mut text = String::new();
    while text.len() < bytes {
        let message = tokio::time::timeout(crate::scripted::DEADLINE, stream.message()).await.expect("nothing is said");
        text.push_str(std::str::from_utf8(&message.unwrap().expect("the stream has ended").data).unwrap());
    }
    text
}

fn piece(name: &str, offset: i64, data: &'static str, last: bool) -> WriteRequest {
    WriteRequest { resource_name: name.to_owned(), write_offset: offset, finish_write: last, data: data.into() }
}

/// PROTOCOL 66: what a command says is read by name while it runs; when it ends, the stream has all of it, and ends.
#[tokio::test]
async fn output_is_read_while_the_command_runs() {
    let world = World::new().await;
    let mut stream = world.ask(request(world.script("tell gate").await)).await.unwrap();
    let running = until(&mut stream, Stage::Executing).await.metadata;
    let mut stdout = world.open(read(&running.stdout_stream_name, 0, 0)).await.unwrap();
    let mut stderr = world.open(read(&running.stderr_stream_name, 0, 0)).await.unwrap();
    assert_eq!((text(&mut stdout, 4).await, text(&mut stderr, 4).await), ("one\n".into(), "err\n".into()));
    world.executor.open("gate");
    let completed = all(stream).await;
    assert_eq!(text(&mut stdout, 4).await, "two\n");
    assert!(stdout.message().await.unwrap().is_none() && stderr.message().await.unwrap().is_none());
    // Who comes late, for as long as the operation is kept.
    let names = &completed.last().unwrap().metadata;
    assert_eq!(names.stdout_stream_name, running.stdout_stream_name);
    assert_eq!(world.whole(read(&names.stdout_stream_name, 0, 0)).await.unwrap(), "one\ntwo\n");
    assert_eq!(world.whole(read(&names.stdout_stream_name, 2, 4)).await.unwrap(), "e\ntw");
    assert_eq!(world.whole(read(&names.stdout_stream_name, 8, 0)).await.unwrap(), "");
    assert_eq!(world.whole(read(&names.stderr_stream_name, 0, 0)).await.unwrap(), "err\n");
}

/// PROTOCOL 66: whoever waits for a slot has names already, which bring the output once there is some.
#[tokio::test]
async fn a_queued_operation_can_be_read_already() {
    let world = World::with(Setting { slots: 1, ..Setting::default() }).await;
    let mut busy = world.ask(request(world.script("wait gate").await)).await.unwrap();
    until(&mut busy, Stage::Executing).await;
    let mut stream = world.ask(request(world.script("tell other").await)).await.unwrap();
    let queued = until(&mut stream, Stage::Queued).await.metadata;
    let name = queued.stdout_stream_name;
    let (said, ()) = tokio::join!(world.whole(read(&name, 0, 0)), async {
        world.executor.open("gate");
        world.executor.open("other");
    });
    assert_eq!(said.unwrap(), "one\ntwo\n");
}

/// PROTOCOL 56, 66: operations that share an execution have each a name of their own, for the same output; one that is
/// cancelled hears its end while the other goes on.
#[tokio::test]
async fn operations_that_share_a_run_share_its_output() {
    let world = World::new().await;
    let action = world.script("tell gate").await;
    let mut first = world.ask(request(action)).await.unwrap();
    let first_name = until(&mut first, Stage::Executing).await;
    let mut second = world.ask(request(action)).await.unwrap();
    let second_name = until(&mut second, Stage::Executing).await;
    assert_ne!(first_name.metadata.stdout_stream_name, second_name.metadata.stdout_stream_name);
    let mut cancelled = world.open(read(&first_name.metadata.stdout_stream_name, 0, 0)).await.unwrap();
    let mut goes_on = world.open(read(&second_name.metadata.stdout_stream_name, 0, 0)).await.unwrap();
    assert_eq!((text(&mut cancelled, 4).await, text(&mut goes_on, 4).await), ("one\n".into(), "one\n".into()));
    let cancel = lre_proto::longrunning::CancelOperationRequest { name: first_name.name };
    world.operations.clone().cancel_operation(cancel).await.unwrap();
    assert!(cancelled.message().await.unwrap().is_none());
    world.executor.open("gate");
    assert_eq!(text(&mut goes_on, 4).await, "two\n");
}

/// PROTOCOL 66: a reader is nobody who waits: its going changes nothing, and its staying keeps nothing alive.
#[tokio::test]
async fn readers_do_not_count() {
    let world = World::new().await;
    let mut stream = world.ask(request(world.script("tell gate").await)).await.unwrap();
    let name = until(&mut stream, Stage::Executing).await.metadata.stdout_stream_name;
    let mut gone = world.open(read(&name, 0, 0)).await.unwrap();
    text(&mut gone, 4).await;
    drop(gone);
    let mut stays = world.open(read(&name, 0, 0)).await.unwrap();
    text(&mut stays, 4).await;
    drop(stream);
    // Cancelled, because nobody waits; the reader is told by the end of the stream.
    let rest =
        tokio::time::timeout(crate::scripted::DEADLINE, async { while stays.message().await.unwrap().is_some() {} });
    rest.await.expect("the stream goes on for ever");
    world.until_idle().await;
}

/// PROTOCOL 66, bad input: names that nobody was told, numbers that make no sense, writing to a command's output.
#[tokio::test]
async fn streams_that_are_none_are_refused() {
    let world = World::new().await;
    let mut stream = world.ask(request(world.script("say hello").await)).await.unwrap();
    let done = until(&mut stream, Stage::Completed).await;
    let name = done.metadata.stdout_stream_name;
    for (request, code) in [
        (read("operations/x/logstreams/stdout", 0, 0), Code::NotFound),
        (read(&name.replace("stdout", "stdin"), 0, 0), Code::NotFound),
        (read("logstreams/x", 0, 0), Code::NotFound),
        (read("logstreams/x/y", 0, 0), Code::InvalidArgument),
        (read(&name, -1, 0), Code::InvalidArgument),
        (read(&name, 0, -1), Code::InvalidArgument),
        (read(&name, 6, 0), Code::OutOfRange),
    ] {
        assert_eq!(world.whole(request.clone()).await.unwrap_err().code(), code, "{request:?}");
    }
    assert_eq!(world.write(vec![piece(&name, 0, "x", true)]).await.unwrap_err().code(), Code::InvalidArgument);
    // A hit has run nothing here, so there is nothing to read along.
    let hit = all(world.ask(request(world.script("say hello").await)).await.unwrap()).await;
    assert_eq!(hit[0].metadata.stdout_stream_name, "");
}

/// PROTOCOL 87: a client makes a log, writes it piece by piece, and readers have each piece when it is written.
#[tokio::test]
async fn logs_of_clients_are_followed() {
    let world = World::new().await;
    let log = world.log("projects/1").await;
    assert!(log.name.starts_with("projects/1/logstreams/") && log.write_resource_name.starts_with(&log.name));
    let (name, write) = (&log.name, &log.write_resource_name);
    let mut reader = world.open(read(name, 0, 0)).await.unwrap();
    assert_eq!(world.write(vec![piece(write, 0, "one ", false), piece("", 4, "two ", false)]).await.unwrap(), 8);
    assert_eq!(text(&mut reader, 8).await, "one two ");
    let asked = QueryWriteStatusRequest { resource_name: write.clone() };
    let status = world.bytes.clone().query_write_status(asked.clone()).await.unwrap().into_inner();
    assert_eq!((status.committed_size, status.complete), (8, false));
    assert_eq!(world.write(vec![piece(write, 8, "three", true)]).await.unwrap(), 13);
    assert_eq!(text(&mut reader, 5).await, "three");
    assert!(reader.message().await.unwrap().is_none(), "finished");
    assert_eq!(world.whole(read(name, 4, 5)).await.unwrap(), "two t");
    let status = world.bytes.clone().query_write_status(asked).await.unwrap().into_inner();
    assert_eq!((status.committed_size, status.complete), (13, true));
    // The end may be said twice: its first answer may have been lost.
    assert_eq!(world.write(vec![piece(write, 13, "", true)]).await.unwrap(), 13);
}

/// PROTOCOL 87, bad input: the name for reading cannot be written and the other way round; what is there is never
/// overwritten; nothing follows the end; parents that are no names.
#[tokio::test]
async fn logs_only_grow() {
    let world = World::new().await;
    let log = world.log("").await;
    assert!(log.name.starts_with("logstreams/"));
    let (name, write) = (&log.name, &log.write_resource_name);
    assert_eq!(world.write(vec![piece(write, 0, "one", false)]).await.unwrap(), 3);
    for (messages, code) in [
        (vec![piece(name, 3, "x", false)], Code::InvalidArgument),
        (vec![piece(&format!("{name}/guessed"), 3, "x", false)], Code::NotFound),
        (vec![piece(write, 1, "x", false)], Code::InvalidArgument),
        (vec![piece(write, 4, "x", false)], Code::InvalidArgument),
        (vec![piece(write, -1, "x", false)], Code::InvalidArgument),
        (vec![piece(write, 3, "", false), piece(name, 3, "x", false)], Code::InvalidArgument),
        (vec![piece(write, 3, "!", true), piece(write, 4, "x", false)], Code::Ok),
        (vec![piece(write, 4, "x", false)], Code::FailedPrecondition),
    ] {
        let answer = world.write(messages.clone()).await;
        assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), code, "{messages:?}");
    }
    assert_eq!(world.whole(read(name, 0, 0)).await.unwrap(), "one!");
    assert_eq!(world.whole(read(write, 0, 0)).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(world.whole(read(name, 5, 0)).await.unwrap_err().code(), Code::OutOfRange);
    let asked = QueryWriteStatusRequest { resource_name: name.clone() };
    assert_eq!(world.bytes.clone().query_write_status(asked).await.unwrap_err().code(), Code::InvalidArgument);
    for parent in ["/a", "a/", "a\nb", &"x".repeat(2_000)] {
        let request = CreateLogStreamRequest { parent: parent.to_owned() };
        let refused = world.logs.clone().create_log_stream(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{parent:?}");
    }
}

/// PROTOCOL 87, bad input: logs have a number and a size; a finished one makes place for a new one.
#[tokio::test]
async fn logs_are_bounded() {
    use lre_server::limits::{LOG_BYTES_MAX, LOGS_MAX};
    let world = World::new().await;
    let first = world.log("").await;
    for _ in 1..LOGS_MAX {
        world.log("").await;
    }
    let refused = world.logs.clone().create_log_stream(CreateLogStreamRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let chunk = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    let chunks = LOG_BYTES_MAX / chunk.len() as u64;
    let name = first.write_resource_name.clone();
    let messages = (0..=chunks).map(|n| WriteRequest {
        resource_name: name.clone(),
        write_offset: (n * chunk.len() as u64).cast_signed(),
        finish_write: false,
        data: chunk.clone(),
    });
    assert_eq!(world.write(messages.collect()).await.unwrap_err().code(), Code::ResourceExhausted);
    let end = WriteRequest {
        resource_name: name,
        write_offset: LOG_BYTES_MAX.cast_signed(),
        finish_write: true,
        ..Default::default()
    };
    assert_eq!(world.write(vec![end]).await.unwrap(), LOG_BYTES_MAX.cast_signed());
    world.log("").await;
    assert_eq!(world.whole(read(&first.name, 0, 1)).await.unwrap_err().code(), Code::NotFound);
}

/// PROTOCOL 66: a small action pays nothing for what nobody reads: its output is answered as ever, and an operation
/// whose output is read late costs no more than a blob.
#[tokio::test]
async fn an_operation_without_output_has_an_empty_stream() {
    let world = World::with(Setting { grace: Duration::from_secs(3600), ..Setting::default() }).await;
    let mut stream = world.ask(request(world.script("slow").await)).await.unwrap();
    let done = until(&mut stream, Stage::Completed).await.metadata;
    assert_eq!(
        world.whole(read(&done.stdout_stream_name, 0, 0)).await.unwrap(),
        "so far\n",
        "too slow, and still told"
    );
    assert_eq!(world.whole(read(&done.stderr_stream_name, 0, 0)).await.unwrap(), "");
}
