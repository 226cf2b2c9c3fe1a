//! PROTOCOL, E: uploads that lie, break, race and are taken up again.
mod common;

use bytes::Bytes;
use common::{TestServer, connect_tcp, messages, noise, refused, sha, until, upload_name, zstd};
use lre_model::Compressor::{Identity, Zstd};
use lre_model::{Compressor, Digest};
use lre_proto::bytestream::byte_stream_client::ByteStreamClient;
use lre_proto::bytestream::{QueryWriteStatusRequest, WriteRequest};
use lre_server::limits;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

/// A `Write` that is under way.
struct Stream {
    send: mpsc::Sender<WriteRequest>,
    call: JoinHandle<Result<Response<lre_proto::bytestream::WriteResponse>, Status>>,
}

impl Stream {
    fn open(channel: &Channel) -> Self {
        let (send, receive) = mpsc::channel(1);
        let mut client = ByteStreamClient::new(channel.clone());
        let call = tokio::spawn(async move { client.write(ReceiverStream::new(receive)).await });
        Self { send, call }
    }

    async fn send(&self, name: &str, offset: usize, data: &[u8], finish_write: bool) {
        let message = WriteRequest {
            resource_name: name.to_owned(),
            write_offset: offset as i64,
            finish_write,
            data: Bytes::copy_from_slice(data),
        };
        // The server may have answered already.
        let _ = self.send.send(message).await;
    }

    async fn end(self) -> Result<i64, Status> {
        drop(self.send);
        Ok(tokio::time::timeout(common::PATIENCE, self.call)
            .await
            .expect("no answer")
            .unwrap()?
            .into_inner()
            .committed_size)
    }

    /// As when the network goes.
    fn cut(self) {
        self.call.abort();
    }
}

async fn committed(server: &TestServer, name: &str) -> (usize, bool) {
    let request = QueryWriteStatusRequest { resource_name: name.to_owned() };
    let answer = server.bytes().query_write_status(request).await.unwrap().into_inner();
    (answer.committed_size as usize, answer.complete)
}

/// Sends the first `bytes` of an upload and cuts it off when they have arrived.
async fn broken_upload(server: &TestServer, name: &str, data: &[u8]) {
    let stream = Stream::open(&server.channel);
    stream.send(name, 0, data, false).await;
    until("the bytes have arrived", async || committed(server, name).await.0 > 0).await;
    stream.cut();
}

/// PROTOCOL 35, bad input: other bytes than announced are refused, in one message and
/// in many, in both forms, and nothing of them is kept.
#[tokio::test]
async fn other_bytes_than_announced_are_refused() {
    let server = TestServer::start().await;
    let content = noise(1, 300_000);
    let longer = [&content[..], b"x"].concat();
    let shorter = &content[..content.len() - 1];
    let other = noise(2, content.len());
    let digest = sha(&content);
    for bytes in [&longer[..], shorter, &other[..], b""] {
        for (compressor, sent) in [(Identity, Bytes::copy_from_slice(bytes)), (Zstd, zstd(bytes))] {
            for chunk in [1 << 20, 50_000] {
                let name = upload_name("u", compressor, digest);
                let answer = server.write(messages(&name, &sent, chunk, 0)).await;
                refused(answer, Code::InvalidArgument);
                assert!(!server.has(digest).await);
                assert_eq!(committed(&server, &name).await, (0, false), "the upload is over");
                assert_eq!(server.staged_files(), 0);
            }
        }
    }
    assert!(!server.has(sha(&other)).await, "under no other name either");
    server.write(messages(&upload_name("u", Identity, digest), &content, 50_000, 0)).await.unwrap();
    assert!(server.has(digest).await, "the name is free for the right bytes");
}

/// PROTOCOL 35, bad input: a blob that goes on after the announced size is refused while it still comes.
#[tokio::test]
async fn an_endless_upload_is_stopped() {
    let server = TestServer::start().await;
    for compressor in [Identity, Zstd] {
        let name = upload_name("u", compressor, sha(&noise(3, 1000)));
        let piece = if compressor == Zstd { zstd(&vec![7; 1 << 20]) } else { noise(4, 100_000) };
        let endless = futures::stream::unfold(0, move |offset| {
            let message = WriteRequest {
                resource_name: name.clone(),
                write_offset: offset,
                finish_write: false,
                data: piece.clone(),
            };
            let next = offset + piece.len() as i64;
            async move { Some((message, next)) }
        });
        let mut client = server.bytes();
        let answer = tokio::time::timeout(common::PATIENCE, client.write(endless)).await.expect("it takes for ever");
        refused(answer, Code::InvalidArgument);
    }
    until("its file is gone", async || server.staged_files() == 0).await;
}

/// PROTOCOL 41, bad input: what is no zstd, is cut off in a frame, unpacks to more than announced, or wants more memory than
/// an upload may have.
#[tokio::test]
async fn bad_frames_are_refused() {
    let server = TestServer::start().await;
    let content = b"text ".repeat(100_000);
    let digest = sha(&content);
    let whole = zstd(&content);
    let mut windowed = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    windowed.window_log(limits::ZSTD_WINDOW_LOG_MAX + 1).unwrap();
    std::io::Write::write_all(&mut windowed, &content).unwrap();
    for bad in [
        Bytes::from_static(b"certainly not zstd"),
        whole.slice(..whole.len() - 1),
        [&whole[..], b"trailing garbage"].concat().into(),
        zstd(&vec![0; 200 << 20]),
        windowed.finish().unwrap().into(),
    ] {
        for chunk in [1 << 20, 7] {
            let answer = server.write(messages(&upload_name("u", Zstd, digest), &bad, chunk, 0)).await;
            refused(answer, Code::InvalidArgument);
        }
    }
    assert!(!server.has(digest).await);
    assert_eq!(server.staged_files(), 0);
}

/// A message of some bytes that unpacks to many times the size of any buffer.
#[tokio::test]
async fn much_may_come_out_of_little() {
    let server = TestServer::start().await;
    for length in [1 << 18, 1 << 20, (1 << 20) + 1, 10 << 20] {
        let content = vec![7; length];
        let packed = zstd(&content);
        server.write(messages(&upload_name("u", Zstd, sha(&content)), &packed, 1 << 20, 0)).await.unwrap();
        let more = vec![8; length];
        server.write(messages(&upload_name("u", Zstd, sha(&more)), &zstd(&more), 5, 0)).await.unwrap();
        assert!(server.has(sha(&content)).await && server.has(sha(&more)).await);
    }
}

/// PROTOCOL 41: several frames in a row are a stream too.
#[tokio::test]
async fn frames_may_follow_each_other() {
    let server = TestServer::start().await;
    let content = b"text ".repeat(200_000);
    let frames: Vec<u8> = content.chunks(123_456).flat_map(|part| zstd(part).to_vec()).collect();
    for chunk in [1, 1000, 1 << 20] {
        let salted = [&frames[..], &zstd(&[chunk as u8])].concat();
        let digest = sha(&[&content[..], &[chunk as u8]].concat());
        let chunk = if chunk == 1 { 3 } else { chunk };
        server.write(messages(&upload_name("u", Zstd, digest), &salted, chunk, 0)).await.unwrap();
        assert!(server.has(digest).await);
    }
}

/// PROTOCOL 34, 38, bad input: offsets and names that do not fit together.
#[tokio::test]
async fn gaps_and_changed_names_are_refused() {
    let server = TestServer::start().await;
    let content = noise(5, 10_000);
    let name = upload_name("u", Identity, sha(&content));
    let other = upload_name("v", Identity, sha(&content));
    let good = messages(&name, &content, 4000, 0);
    let change = |change: &dyn Fn(&mut Vec<WriteRequest>)| {
        let mut all = good.clone();
        change(&mut all);
        all
    };
    for bad in [
        change(&|all| all[1].write_offset = 4001),
        change(&|all| all[1].write_offset = 0),
        change(&|all| all[1].resource_name.clone_from(&other)),
        change(&|all| all[0].resource_name.clear()),
        change(&|all| all.iter_mut().for_each(|m| m.write_offset += 1)),
        change(&|all| all[0].write_offset = -1),
        change(&|all| drop(all.remove(1))),
    ] {
        refused(server.write(bad).await, Code::InvalidArgument);
    }
    assert!(!server.has(sha(&content)).await);
    assert_eq!(server.write(good).await.unwrap(), 10_000);
}

/// PROTOCOL 38: a broken upload is taken up where it stands.
#[tokio::test]
async fn a_broken_upload_is_resumed() {
    let server = TestServer::start().await;
    let content = noise(6, 2_000_000);
    let name = upload_name("u", Identity, sha(&content));
    broken_upload(&server, &name, &content[..900_000]).await;
    let (at, complete) = committed(&server, &name).await;
    assert_eq!((at, complete), (900_000, false));
    assert_eq!(committed(&server, &upload_name("v", Identity, sha(&content))).await.0, 0, "another upload");
    let answer = server.write(messages(&name, &content[at..], 100_000, at as i64)).await.unwrap();
    assert_eq!(answer, content.len() as i64);
    assert_eq!(committed(&server, &name).await, (content.len(), true));
    assert_eq!(server.staged_files(), 0);
}

/// PROTOCOL 38 and 41: a compressed one counts where it stands in uncompressed bytes, and goes on with
/// a new frame from there.
#[tokio::test]
async fn a_broken_compressed_upload_is_resumed() {
    let server = TestServer::start().await;
    let content = noise(7, 2_000_000);
    let name = upload_name("u", Zstd, sha(&content));
    let packed = zstd(&content);
    broken_upload(&server, &name, &packed[..packed.len() / 2]).await;
    let (at, _) = committed(&server, &name).await;
    assert!(at > 500_000 && at < content.len(), "{at}");
    let rest = zstd(&content[at..]);
    let answer = server.write(messages(&name, &rest, 100_000, at as i64)).await.unwrap();
    assert_eq!(answer as usize, at + rest.len());
    assert!(server.has(sha(&content)).await);
}

/// PROTOCOL 38: a client may begin again instead, or repeat a part: it asked before its last bytes were in.
#[tokio::test]
async fn a_broken_upload_may_be_repeated_in_part_or_whole() {
    let server = TestServer::start().await;
    for (seed, compressor) in [(8, Identity), (9, Zstd)] {
        for from in [0, 300_000] {
            let content = noise(seed * 1_000_000 + from as u64, 1_000_000);
            let name = upload_name("u", compressor, sha(&content));
            let form = |bytes: &[u8]| if compressor == Zstd { zstd(bytes) } else { Bytes::copy_from_slice(bytes) };
            broken_upload(&server, &name, &form(&content[..700_000])).await;
            let again = form(&content[from..]);
            server.write(messages(&name, &again, 64 * 1024, from as i64)).await.unwrap();
            assert!(server.has(sha(&content)).await);
        }
    }
}

/// PROTOCOL 38, bad input: going on behind what has arrived would leave a hole.
#[tokio::test]
async fn resuming_behind_what_has_arrived_is_refused() {
    let server = TestServer::start().await;
    let content = noise(10, 500_000);
    let name = upload_name("u", Identity, sha(&content));
    let behind = messages(&name, &content[400_000..], 1 << 20, 400_000);
    refused(server.write(behind.clone()).await, Code::InvalidArgument);
    broken_upload(&server, &name, &content[..300_000]).await;
    refused(server.write(behind.clone()).await, Code::InvalidArgument);
    assert_eq!(committed(&server, &name).await.0, 300_000, "what has arrived is still there");
    let healthy = Stream::open(&server.channel);
    healthy.send(&name, 300_000, &content[300_000..310_000], false).await;
    refused(server.write(behind).await, Code::InvalidArgument);
    healthy.send("", 310_000, &content[310_000..], true).await;
    assert_eq!(healthy.end().await.unwrap(), 500_000, "a refused stream takes over from nobody");
}

/// PROTOCOL 38: a stream that is closed without `finish_write` is to be continued.
#[tokio::test]
async fn a_closed_stream_is_to_be_continued() {
    let server = TestServer::start().await;
    let content = noise(11, 400_000);
    let name = upload_name("u", Identity, sha(&content));
    let stream = Stream::open(&server.channel);
    stream.send(&name, 0, &content[..100_000], false).await;
    assert_eq!(stream.end().await.unwrap(), 100_000);
    let stream = Stream::open(&server.channel);
    stream.send(&name, 100_000, &content[100_000..], false).await;
    assert_eq!(stream.end().await.unwrap(), 400_000, "all bytes are here: it can only have been meant");
    assert!(server.has(sha(&content)).await);
}

/// A client that has lost its stream goes on while the server still waits for the old one; what comes
/// late over that is refused.
#[tokio::test]
async fn the_later_stream_wins() {
    let server = TestServer::start().await;
    let content = noise(12, 600_000);
    let name = upload_name("u", Identity, sha(&content));
    let old = Stream::open(&server.channel);
    old.send(&name, 0, &content[..300_000], false).await;
    until("it has arrived", async || committed(&server, &name).await.0 == 300_000).await;
    let new = Stream::open(&server.channel);
    new.send(&name, 300_000, &content[300_000..310_000], false).await;
    new.send("", 310_000, &content[310_000..590_000], false).await;
    until("the new one is heard", async || committed(&server, &name).await.0 >= 590_000).await;
    old.send("", 300_000, &noise(13, 290_000), false).await;
    refused(old.end().await, Code::Aborted);
    new.send("", 590_000, &content[590_000..], true).await;
    assert_eq!(new.end().await.unwrap(), 600_000);
}

/// PROTOCOL 39: one uuid for different blobs, at the same time.
#[tokio::test]
async fn one_uuid_may_serve_for_many_blobs() {
    let server = TestServer::start().await;
    let contents: Vec<_> = (20..28).map(|seed| noise(seed, 200_000)).collect();
    let writes = contents
        .iter()
        .map(|content| server.write(messages(&upload_name("same", Identity, sha(content)), content, 10_000, 0)));
    for committed in futures::future::join_all(writes).await {
        assert_eq!(committed.unwrap(), 200_000);
    }
}

/// PROTOCOL 39: the same blob several times at once, in both forms, even under one uuid.
#[tokio::test(flavor = "multi_thread")]
async fn one_blob_may_be_uploaded_by_many_at_once() {
    let server = TestServer::start().await;
    for (round, one_uuid) in [(30, false), (31, true)] {
        let content = noise(round, 3_000_000);
        let packed = zstd(&content);
        let write = |i: u32| {
            let (compressor, sent) = if i.is_multiple_of(2) { (Identity, &content) } else { (Zstd, &packed) };
            let uuid = if one_uuid { "same".to_owned() } else { format!("u{i}") };
            let all = messages(&upload_name(&uuid, compressor, sha(&content)), sent, 16 * 1024, 0);
            let server = &server;
            async move { (compressor, server.write(all).await.unwrap()) }
        };
        for (compressor, committed) in futures::future::join_all((0..8).map(write)).await {
            match compressor {
                Identity => assert_eq!(committed, 3_000_000),
                Zstd => assert!([-1, packed.len() as i64].contains(&committed), "{committed}"),
            }
        }
        assert!(server.has(sha(&content)).await);
    }
    until("nothing is left over", async || server.staged_files() == 0).await;
}

/// PROTOCOL 36: when somebody else completes the blob, the others need not go on.
#[tokio::test]
async fn a_blob_that_somebody_else_completes_is_answered_at_once() {
    let server = TestServer::start().await;
    for (seed, compressor) in [(40, Identity), (41, Zstd)] {
        let content = noise(seed, 20_000_000);
        let digest = sha(&content);
        let name = upload_name("slow", compressor, digest);
        let form = if compressor == Zstd { zstd(&content) } else { content.clone() };
        let slow = Stream::open(&server.channel);
        slow.send(&name, 0, &form[..300_000], false).await;
        until("it has begun", async || committed(&server, &name).await.0 > 0).await;
        server.write(messages(&upload_name("fast", Identity, digest), &content, 1 << 20, 0)).await.unwrap();
        slow.send("", 300_000, &form[300_000..10_000_000], false).await;
        let answer = tokio::time::timeout(common::PATIENCE, slow.call).await.expect("it waits").unwrap().unwrap();
        let expected = if compressor == Zstd { -1 } else { content.len() as i64 };
        assert_eq!(answer.into_inner().committed_size, expected);
    }
    until("nothing is left over", async || server.staged_files() == 0).await;
}

/// PROTOCOL 36, by the hundred: answers that come before the client has sent all do not harm the
/// connection that everything else of the build shares.
#[tokio::test(flavor = "multi_thread")]
async fn early_answers_do_not_harm_the_connection() {
    let server = TestServer::start().await;
    let content = noise(45, 2_000_000);
    let digest = server.put(content.clone()).await;
    for _ in 0..4 {
        let write = |i: u32| {
            let all = messages(&upload_name(&format!("u{i}"), Identity, digest), &content, 16 * 1024, 0);
            let server = &server;
            async move { server.write(all).await }
        };
        for committed in futures::future::join_all((0..400).map(write)).await {
            assert_eq!(committed.unwrap(), 2_000_000);
        }
    }
}

/// LIMITS 4: a build with 500 jobs has as many streams open on one connection; and Ctrl-C resets them
/// all at once.
#[tokio::test(flavor = "multi_thread")]
async fn many_open_streams_keep_nobody_waiting() {
    let server = TestServer::start().await;
    let content = noise(46, 100_000);
    let name = |i: u32| upload_name(&format!("u{i}"), Identity, sha(&content));
    let mut streams = Vec::new();
    for i in 0..500 {
        let stream = Stream::open(&server.channel);
        stream.send(&name(i), 0, &content[..10], false).await;
        streams.push(stream);
    }
    let small = noise(47, 1000);
    let answer = server.write(messages(&upload_name("u", Identity, sha(&small)), &small, 1000, 0));
    tokio::time::timeout(common::PATIENCE, answer).await.expect("it waits for the others").unwrap();
    streams.into_iter().for_each(Stream::cut);
    assert!(server.read(&common::blob_name(Identity, sha(&small)), 0, 0).await.is_ok());
}

/// PROTOCOL 38, bad input: a client that vanishes with its connection: its upload waits for it, then goes.
#[tokio::test]
async fn a_vanished_client_leaves_nothing_for_long() {
    let server = TestServer::start().await;
    let content = noise(50, 1_000_000);
    let name = upload_name("u", Identity, sha(&content));
    let channel = connect_tcp(server.tcp).await;
    let stream = Stream::open(&channel);
    stream.send(&name, 0, &content[..500_000], false).await;
    until("it has arrived", async || committed(&server, &name).await.0 == 500_000).await;
    stream.cut();
    drop(channel);
    assert_eq!(committed(&server, &name).await.0, 500_000, "it may come back");
    assert_eq!(server.staged_files(), 1);
    tokio::time::pause();
    until("it is forgotten", async || {
        tokio::time::advance(limits::UPLOAD_PARKED_TIME_MAX / 10).await;
        server.staged_files() == 0
    })
    .await;
}

/// PROTOCOL 38, bad input: half-done uploads are bounded in number: the oldest go first.
#[tokio::test]
async fn broken_uploads_are_bounded() {
    let server = TestServer::start().await;
    let data = noise(60, 70_000);
    let name = |i: usize| upload_name(&format!("u{i}"), Identity, sha(&noise(61, 100_000)));
    let many = limits::UPLOADS_PARKED_MAX + 20;
    for i in 0..many {
        let stream = Stream::open(&server.channel);
        stream.send(&name(i), 0, &data, false).await;
        assert_eq!(stream.end().await.unwrap(), 70_000);
    }
    assert_eq!(server.staged_files(), limits::UPLOADS_PARKED_MAX);
    assert_eq!(committed(&server, &name(0)).await.0, 0, "the oldest is gone");
    assert_eq!(committed(&server, &name(many - 1)).await.0, 70_000, "the newest is not");
}

/// The small uploads of a real build never touch the staging folder.
#[tokio::test]
async fn a_small_upload_makes_no_file() {
    let server = TestServer::start().await;
    let staging = server.directory.path().join("staging");
    std::fs::remove_dir(&staging).unwrap();
    let write = async |compressor: Compressor, content: &[u8], digest: Digest| {
        server.write(messages(&upload_name("u", compressor, digest), content, 1 << 20, 0)).await.unwrap()
    };
    let plain = noise(70, 20_000);
    write(Identity, &plain, sha(&plain)).await;
    let text = b"text ".repeat(5000);
    write(Zstd, &zstd(&text), sha(&text)).await;
    assert!(server.has(sha(&plain)).await && server.has(sha(&text)).await);
}
