//! Bad input and load: whatever a client does or stops doing, nothing is stored half, what it used is given back, and other
//! clients are served. Memory is in `hostile_memory.rs`, streams of executions in `execution/leaving.rs`.
mod common;

use bytes::Bytes;
use common::{PATIENCE, TestServer, blob_name, connect_tcp, messages, noise, refused, sha, until, upload_name, zstd};
use futures::StreamExt;
use futures::future::join_all;
use lre_model::Compressor::{Identity, Zstd};
use lre_model::Digest;
use lre_proto::bytestream::byte_stream_client::ByteStreamClient;
use lre_proto::bytestream::{QueryWriteStatusRequest, ReadRequest, WriteRequest};
use lre_proto::re::content_addressable_storage_client::ContentAddressableStorageClient;
use lre_proto::re::{self, FindMissingBlobsRequest, GetTreeRequest, RegisterChunkMappingRequest};
use lre_server::limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;

/// Somebody else, who must not notice anything.
async fn others_are_served(server: &TestServer) {
    let channel = connect_tcp(server.tcp).await;
    let content = noise(rand(), 10_000);
    let digest = sha(&content);
    let all = messages(&upload_name("other", Identity, digest), &content, 4000, 0);
    let mut bytes = ByteStreamClient::new(channel);
    let written = tokio::time::timeout(PATIENCE, bytes.write(tokio_stream::iter(all))).await.expect("others wait");
    assert_eq!(written.unwrap().into_inner().committed_size, 10_000);
    assert!(server.has(digest).await);
}

fn rand() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// Open files of this process, the server's among them, that have `part` in their path.
fn open_files(part: &str) -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let paths = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    paths.filter(|path| path.to_string_lossy().contains(part)).count()
}

/// The first message, and then nothing: neither more, nor an end.
fn endless<T: Send + 'static>(first: T) -> impl futures::Stream<Item = T> + Send + 'static {
    tokio_stream::iter([first]).chain(tokio_stream::pending())
}

/// PROTOCOL 35, bad input: a client that vanishes in the middle of an upload, plain or compressed, leaves nothing that could be read.
#[tokio::test]
async fn an_upload_that_stops_is_not_stored() {
    let server = TestServer::start().await;
    let content = noise(1, 1_000_000);
    let digest = sha(&content);
    for (compressor, sent) in [(Identity, content.slice(..600_000)), (Zstd, zstd(&content).slice(..600_000))] {
        let name = upload_name("u", compressor, digest);
        let channel = connect_tcp(server.tcp).await;
        let first = WriteRequest { resource_name: name.clone(), data: sent, ..Default::default() };
        let mut client = ByteStreamClient::new(channel);
        let call = tokio::spawn(async move { client.write(endless(first)).await });
        let query = QueryWriteStatusRequest { resource_name: name };
        until("it has arrived", async || {
            let answer = server.bytes().query_write_status(query.clone()).await.unwrap().into_inner();
            assert!(!answer.complete);
            answer.committed_size > 0
        })
        .await;
        call.abort();
        others_are_served(&server).await;
        assert!(!server.has(digest).await);
        refused(server.read(&blob_name(Identity, digest), 0, 0).await, Code::NotFound);
    }
    assert!(server.staged_files() <= 2, "they wait for their clients, and no longer than five minutes");
}

/// PROTOCOL 85, bad input: a client that stops in the middle of a list of chunks leaves nothing.
#[tokio::test]
async fn a_list_of_chunks_that_stops_makes_nothing() {
    let server = TestServer::start().await;
    let blob = sha(b"never");
    let first = RegisterChunkMappingRequest {
        blob_digest: Some(blob.to_wire()),
        digest_function: blob.function().to_wire(),
        chunk_digests: vec![server.put("ne").await.to_wire()],
        ..Default::default()
    };
    let mut client = ContentAddressableStorageClient::new(connect_tcp(server.tcp).await);
    let call = tokio::spawn(async move { client.register_chunk_mapping(endless(first)).await });
    others_are_served(&server).await;
    call.abort();
    others_are_served(&server).await;
    assert!(!server.has(blob).await);
    assert_eq!(server.staged_files(), 0);
}

/// PROTOCOL 40, bad input: a client that stops reading and vanishes gives back the file that it read.
#[tokio::test]
async fn a_download_that_stops_gives_back_its_file() {
    let server = TestServer::start().await;
    let digest = server.put(noise(2, 32 << 20)).await;
    for compressor in [Identity, Zstd] {
        let channel = connect_tcp(server.tcp).await;
        let request = ReadRequest { resource_name: blob_name(compressor, digest), ..Default::default() };
        let mut stream = ByteStreamClient::new(channel.clone()).read(request).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        until("it is read from", async || open_files(&digest.hash_text()) > 0).await;
        others_are_served(&server).await;
        drop((stream, channel));
        until("its file is closed", async || open_files(&digest.hash_text()) == 0).await;
    }
}

/// PROTOCOL 32, bad input: a client that leaves a tree in the middle harms nobody.
#[tokio::test]
async fn a_tree_that_nobody_reads_to_its_end() {
    let server = TestServer::start().await;
    let mut builder = lre_testkit::TreeBuilder::new(lre_model::DigestFunction::Sha256);
    for i in 0..500 {
        builder = builder.file(&format!("d{i}/{}", "n".repeat(200)), format!("{i}"));
    }
    let built = builder.build();
    for (digest, content) in &built.blobs {
        server.stores.blobs.write(*digest, content.clone().into()).await.unwrap();
    }
    let request = GetTreeRequest { root_digest: Some(built.root.0.to_wire()), page_size: 1, ..Default::default() };
    let mut stream = server.cas().get_tree(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    drop(stream);
    others_are_served(&server).await;
}

/// Half of them send, half of them receive, all at once.
async fn many_streams(server: &TestServer, channels: &[Channel], streams: usize) {
    let down = noise(3, 500_000);
    let name = blob_name(Identity, server.put(down.clone()).await);
    let one = async |i: usize| {
        let mut client = ByteStreamClient::new(channels[i % channels.len()].clone());
        if i.is_multiple_of(2) {
            let content = noise(1000 + i as u64, 150_000);
            let all = messages(&upload_name(&format!("u{i}"), Identity, sha(&content)), &content, 16 * 1024, 0);
            let written = client.write(tokio_stream::iter(all)).await.unwrap();
            assert_eq!(written.into_inner().committed_size, 150_000);
            assert!(server.has(sha(&content)).await);
        } else {
            let request = ReadRequest { resource_name: name.clone(), ..Default::default() };
            let mut stream = client.read(request).await.unwrap().into_inner();
            let mut bytes = Vec::new();
            while let Some(message) = stream.message().await.unwrap() {
                bytes.extend_from_slice(&message.data);
            }
            assert!(bytes == down);
        }
    };
    join_all((0..streams).map(one)).await;
    until("nothing is left over", async || server.staged_files() == 0).await;
    until("all files are closed", async || open_files("/blobs/sha256/") == 0).await;
}

/// PROTOCOL 39, 40: a thousand streams at once over one connection, as a build with a thousand jobs has.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_over_one_connection() {
    let server = TestServer::start().await;
    many_streams(&server, std::slice::from_ref(&server.channel), 1000).await;
}

/// PROTOCOL 39, 40: a thousand streams over a connection each. `lre serve` raises the soft limit of open files as this test does.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    // Both ends are in this process.
    let connections = if limit.maximum.is_none_or(|most| most >= 4096) { 1000 } else { 300 };
    let server = TestServer::start().await;
    let channels = join_all((0..connections).map(|_| connect_tcp(server.tcp))).await;
    many_streams(&server, &channels, connections).await;
}

/// PROTOCOL 7, bad input: more streams than one connection may have wait for their turn and are not refused.
#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_wait() {
    let server = TestServer::start().await;
    let call = async |_: u32| server.cas().find_missing_blobs(FindMissingBlobsRequest::default()).await.map(drop);
    let answers = join_all((0..limits::HTTP2_STREAMS_MAX + 500).map(call)).await;
    assert!(answers.iter().all(Result::is_ok));
}

/// PROTOCOL 21, 34, 40, bad input: names that lead out of the store, have a NUL, are not words or are 100 KiB long are refused in
/// words; the connection lives on.
#[tokio::test]
async fn names_of_all_kinds_are_refused_in_words() {
    let server = TestServer::start().await;
    let h = sha(b"x").hash_text();
    let long = "n".repeat(100 << 10);
    for bad in [
        "blobs/../../../../../../../../etc/passwd/10".to_owned(),
        format!("blobs/{h}/../{h}/1"),
        format!("blobs/..%2f..%2f{h}/1"),
        format!("blobs//{h}/1"),
        format!("/etc/passwd/blobs/\0{h}/1"),
        format!("blobs/{}\0/1", &h[1..]),
        format!("blobs/{h}/1\0"),
        format!("blobs/{h}/\u{663}"),
        format!("blobs/{h}/+1"),
        format!("blobs/{}/1", "é".repeat(32)),
        format!("blobs/{long}/1"),
        format!("blobs/{h}/{}", "9".repeat(100 << 10)),
        format!("compressed-blobs/{long}/{h}/1"),
        long.clone(),
        "é".repeat(50 << 10),
        "/".repeat(100 << 10),
        "blobs/".repeat(20 << 10),
    ] {
        let shown: String = bad.chars().take(60).collect();
        let status = refused(server.read(&bad, 0, 0).await, Code::InvalidArgument);
        assert!(status.message().len() < 2000, "{shown}: {}", status.message().len());
        let upload = format!("uploads/u/{bad}");
        refused(server.write(messages(&upload, b"x", 1, 0)).await, Code::InvalidArgument);
        let query = QueryWriteStatusRequest { resource_name: upload };
        refused(server.bytes().query_write_status(query).await, Code::InvalidArgument);
        let find = FindMissingBlobsRequest {
            blob_digests: vec![re::Digest { hash: bad, size_bytes: 1 }],
            ..Default::default()
        };
        refused(server.cas().find_missing_blobs(find).await, Code::InvalidArgument);
    }
    // An instance name is free text, of any length.
    let digest = server.put("x").await;
    assert_eq!(server.read(&format!("{long}/blobs/{digest}"), 0, 0).await.unwrap(), b"x");
    others_are_served(&server).await;
}

/// PROTOCOL 5, bad input: a message beyond all limits is refused, alone.
#[tokio::test]
async fn a_message_that_is_too_large_is_refused_alone() {
    let server = TestServer::start().await;
    let large = Bytes::from(vec![7; limits::MESSAGE_BYTES_RECEIVED_MAX + 1]);
    let name = upload_name("u", Identity, sha(&large));
    refused(server.write(messages(&name, &large, large.len(), 0)).await, Code::OutOfRange);
    assert!(!server.has(sha(&large)).await);
    let upload = re::batch_update_blobs_request::Request {
        digest: Some(sha(&large).to_wire()),
        data: large.to_vec(),
        ..Default::default()
    };
    let request = re::BatchUpdateBlobsRequest { requests: vec![upload], ..Default::default() };
    refused(server.cas().batch_update_blobs(request).await, Code::OutOfRange);
    let find = FindMissingBlobsRequest { blob_digests: vec![sha(b"x").to_wire(); 300_000], ..Default::default() };
    refused(server.cas().find_missing_blobs(find).await, Code::OutOfRange);
    assert!(server.read(&blob_name(Identity, server.put("x").await), 0, 0).await.is_ok(), "the same connection");
}

/// Bytes that begin as HTTP/2 does and go on as it does not.
fn broken_http2() -> Vec<Vec<u8>> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    // Length (3 bytes), type, flags, stream (4 bytes).
    let frame = |length: u32, kind: u8, stream: u32, payload: &[u8]| {
        [
            preface,
            &[0, 0, 0, 4, 0, 0, 0, 0, 0][..],
            &length.to_be_bytes()[1..],
            &[kind, 0],
            &stream.to_be_bytes(),
            payload,
        ]
        .concat()
    };
    vec![
        [preface, &noise(4, 4096)[..]].concat(),
        frame(0xff_ffff, 0, 1, &noise(5, 4096)),
        frame(100, 1, 1, &[0xff; 100]),
        frame(100, 1, 2, &[0x82; 100]),
        frame(5, 4, 0, &[0, 1, 2, 3, 4]),
        frame(4, 8, 0, &[0, 0, 0, 0]),
        frame(8, 0, 7, &[0; 8]),
        preface[..10].to_vec(),
        noise(6, 100_000).to_vec(),
    ]
}

/// PROTOCOL 8, bad input: bytes that are no HTTP/2, from the first or from some later one on, end their own connection and nothing else.
#[tokio::test]
async fn garbage_ends_its_connection() {
    let server = TestServer::start().await;
    for garbage in broken_http2() {
        let mut stream = TcpStream::connect(server.tcp).await.unwrap();
        // The server may close before it has read all.
        let _ = stream.write_all(&garbage).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection stays open");
        others_are_served(&server).await;
    }
}

/// PROTOCOL 5, 9, 27, 46, bad input: a gRPC message that is cut off, or is no message, is an error of its call.
#[tokio::test]
async fn messages_that_are_none_are_refused() {
    use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
    /// Sends bytes as they are.
    #[derive(Default)]
    struct Raw;
    impl Encoder for Raw {
        type Item = Bytes;
        type Error = tonic::Status;
        fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
            bytes::BufMut::put_slice(to, &item);
            Ok(())
        }
    }
    impl Decoder for Raw {
        type Item = ();
        type Error = tonic::Status;
        fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, tonic::Status> {
            Ok(Some(()))
        }
    }
    impl Codec for Raw {
        type Encode = Bytes;
        type Decode = ();
        type Encoder = Self;
        type Decoder = Self;
        fn encoder(&mut self) -> Self {
            Self
        }
        fn decoder(&mut self) -> Self {
            Self
        }
    }
    let server = TestServer::start().await;
    for method in
        ["ContentAddressableStorage/FindMissingBlobs", "ActionCache/UpdateActionResult", "Capabilities/GetCapabilities"]
    {
        for garbage in [noise(7, 1000), Bytes::from_static(b"\x0a\xff\xff\xff\xff\x0f"), Bytes::from_static(&[0x0a; 7])]
        {
            let mut client = tonic::client::Grpc::new(server.channel.clone());
            client.ready().await.unwrap();
            let path = format!("/build.bazel.remote.execution.v2.{method}").parse().unwrap();
            let answer = client.unary(tonic::Request::new(garbage), path, Raw).await;
            let code = answer.expect_err("it was understood").code();
            assert!([Code::Internal, Code::InvalidArgument].contains(&code), "{method}: {code:?}");
        }
    }
    others_are_served(&server).await;
}

/// PROTOCOL 39, bad input: uploads under many names that all stop are forgotten, oldest first, and no blob comes of them.
#[tokio::test(flavor = "multi_thread")]
async fn many_uploads_that_stop_are_bounded() {
    let server = TestServer::start().await;
    let content = noise(8, 200_000);
    let digest: Digest = sha(&content);
    let cut = async |i: usize| {
        let name = upload_name(&format!("u{i}"), Identity, digest);
        let mut part = messages(&name, &content[..100_000], 50_000, 0);
        part.iter_mut().for_each(|message| message.finish_write = false);
        server.write(part).await.unwrap()
    };
    let committed = join_all((0..limits::UPLOADS_PARKED_MAX * 3).map(cut)).await;
    assert!(committed.iter().all(|bytes| *bytes == 100_000));
    until("the oldest go", async || server.staged_files() <= limits::UPLOADS_PARKED_MAX).await;
    assert!(!server.has(digest).await);
    others_are_served(&server).await;
}
