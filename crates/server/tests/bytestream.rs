//! PROTOCOL, E: ByteStream, what is asked and answered. See `bytestream_uploads.rs` for uploads that
//! break, race and lie, and `bytestream_large.rs` for large ones.
mod common;

use bytes::Bytes;
use common::{TestServer, blob_name, messages, noise, refused, sha, upload_name, zstd};
use lre_model::Compressor::{Identity, Zstd};
use lre_model::{Digest, DigestFunction};
use lre_proto::bytestream::{QueryWriteStatusRequest, WriteRequest};
use lre_proto::re;
use prost::Message;
use tonic::Code;
use tonic::metadata::MetadataValue;

fn unpack(frames: &[u8]) -> Vec<u8> {
    zstd::stream::decode_all(frames).unwrap()
}

async fn status(server: &TestServer, name: &str) -> (i64, bool) {
    let request = QueryWriteStatusRequest { resource_name: name.to_owned() };
    let answer = server.bytes().query_write_status(request).await.unwrap().into_inner();
    (answer.committed_size, answer.complete)
}

/// PROTOCOL 1, 34 and 35: every form of the name; the answer is the size; then it can be read.
#[tokio::test]
async fn what_is_written_can_be_read_under_every_name() {
    let server = TestServer::start().await;
    let instances = ["", "main/", "a/b/c/"];
    for (i, instance) in instances.into_iter().enumerate() {
        for function in DigestFunction::ALL {
            for metadata in ["", "/meta", "/path/to/main.o"] {
                let content = format!("content of {i}{metadata}");
                let digest = Digest::of(function, content.as_bytes());
                let name = format!("{instance}{}{metadata}", upload_name("u-1", Identity, digest));
                let committed = server.write(messages(&name, content.as_bytes(), 1 << 20, 0)).await.unwrap();
                assert_eq!(committed, content.len() as i64, "{name}");
                for other in instances {
                    let name = format!("{other}{}", blob_name(Identity, digest));
                    assert_eq!(server.read(&name, 0, 0).await.unwrap(), content.as_bytes());
                }
            }
        }
    }
    assert_eq!(server.staged_files(), 0);
}

/// The optional `sha256` segment that some clients write is no instance name.
#[tokio::test]
async fn sha256_may_be_named() {
    let server = TestServer::start().await;
    let digest = server.put("x").await;
    assert_eq!(server.read(&format!("i/blobs/sha256/{digest}"), 0, 0).await.unwrap(), b"x");
}

/// PROTOCOL 34: the name only in the first message, or the same in all.
#[tokio::test]
async fn many_small_messages_make_a_blob() {
    let server = TestServer::start().await;
    for (content, chunk) in [(noise(1, 200_000), 1000), (noise(2, 3 << 20), 16 * 1024), (noise(3, 10), 1)] {
        let digest = sha(&content);
        let name = upload_name("u", Identity, digest);
        let mut all = messages(&name, &content, chunk, 0);
        if chunk == 1000 {
            all.iter_mut().for_each(|m| m.resource_name.clone_from(&name));
        }
        assert_eq!(server.write(all).await.unwrap(), content.len() as i64);
        assert_eq!(server.read(&blob_name(Identity, digest), 0, 0).await.unwrap(), content);
    }
    assert_eq!(server.staged_files(), 0, "nothing stays behind");
}

/// REAPI, `WriteRequest`: data may be empty; `finish_write` may come alone.
#[tokio::test]
async fn empty_messages_are_harmless() {
    let server = TestServer::start().await;
    let content = noise(4, 100_000);
    let name = upload_name("u", Identity, sha(&content));
    let mut all = messages(&name, &content, 40_000, 0);
    all.iter_mut().for_each(|m| m.finish_write = false);
    let end = WriteRequest { write_offset: content.len() as i64, finish_write: true, ..Default::default() };
    let start = WriteRequest { resource_name: name.clone(), ..Default::default() };
    all.insert(0, start);
    all.push(end);
    assert_eq!(server.write(all).await.unwrap(), content.len() as i64);
    assert!(server.has(sha(&content)).await);
}

/// PROTOCOL 36: a blob that is there is answered at once, while the client still has bytes to send.
#[tokio::test]
async fn an_existing_blob_is_not_waited_for() {
    let server = TestServer::start().await;
    let content = noise(5, 1 << 20);
    let digest = server.put(content.clone()).await;
    for (compressor, committed) in [(Identity, content.len() as i64), (Zstd, -1)] {
        let first = WriteRequest {
            resource_name: upload_name("u", compressor, digest),
            data: content.slice(..10),
            ..Default::default()
        };
        // Never ends: only a server that does not wait can answer.
        let endless = futures::StreamExt::chain(tokio_stream::iter([first]), tokio_stream::pending());
        let answer = tokio::time::timeout(common::PATIENCE, server.bytes().write(endless)).await.expect("it waited");
        assert_eq!(answer.unwrap().into_inner().committed_size, committed);
    }
}

/// PROTOCOL 26: the empty blob can be written and read, in both forms.
#[tokio::test]
async fn the_empty_blob_is_there() {
    let server = TestServer::start().await;
    for function in DigestFunction::ALL {
        let empty = Digest::empty(function);
        assert_eq!(server.read(&blob_name(Identity, empty), 0, 0).await.unwrap(), b"");
        assert_eq!(unpack(&server.read(&blob_name(Zstd, empty), 0, 0).await.unwrap()), b"");
        assert_eq!(server.write(messages(&upload_name("u", Identity, empty), b"", 1, 0)).await.unwrap(), 0);
    }
    let zeros = format!("blobs/{}/0", "00".repeat(32));
    refused(server.read(&zeros, 0, 0).await, Code::NotFound);
    let upload = format!("uploads/u/{zeros}");
    refused(server.write(messages(&upload, b"", 1, 0)).await, Code::InvalidArgument);
}

/// PROTOCOL 40: reads begin and end where they are told; beyond the end it is OUT_OF_RANGE, absent NOT_FOUND.
#[tokio::test]
async fn parts_can_be_read() {
    let server = TestServer::start().await;
    let content = noise(6, 700_000);
    let name = blob_name(Identity, server.put(content.clone()).await);
    let size = content.len() as i64;
    for (offset, limit) in [(0, 0), (0, 1), (1, 0), (699_999, 0), (100, 300_000), (0, size), (5, size * 2), (size, 0)] {
        let end = if limit == 0 { size } else { (offset + limit).min(size) };
        let expected = &content[offset as usize..end as usize];
        assert_eq!(server.read(&name, offset, limit).await.unwrap(), expected, "{offset} {limit}");
    }
    for offset in [size + 1, -1, i64::MIN, i64::MAX] {
        refused(server.read(&name, offset, 0).await, Code::OutOfRange);
    }
    refused(server.read(&name, 0, -1).await, Code::InvalidArgument);
    refused(server.read(&blob_name(Identity, sha(b"absent")), 0, 0).await, Code::NotFound);
}

/// PROTOCOL 1, 21, 34, 38, 40, 42, bad input: malformed names, and compressors that are not advertised, are refused before
/// anything is looked at.
#[tokio::test]
async fn malformed_names_are_refused() {
    let server = TestServer::start().await;
    let h = sha(b"x").hash_text();
    let upper = h.to_uppercase();
    for bad in [
        String::new(),
        "/".into(),
        "blobs".into(),
        format!("blobs/{h}"),
        format!("blobs/{h}/"),
        format!("blobs/{h}/-1"),
        format!("blobs/{h}/1x"),
        format!("blobs/{h}/99999999999999999999"),
        format!("blobs/{upper}/1"),
        format!("blobs/{h}0/1"),
        format!("blobs/md5/{h}/1"),
        "blobs/../../../../etc/passwd/1".into(),
        format!("compressed-blobs/brotli/{h}/1"),
        format!("compressed-blobs/deflate/{h}/1"),
        format!("compressed-blobs/{h}/1"),
        format!("actions/{h}/1"),
    ] {
        refused(server.read(&bad, 0, 0).await, Code::InvalidArgument);
        let upload = format!("uploads/u/{bad}");
        refused(server.write(messages(&upload, b"x", 1, 0)).await, Code::InvalidArgument);
        let request = QueryWriteStatusRequest { resource_name: upload };
        refused(server.bytes().query_write_status(request).await, Code::InvalidArgument);
    }
    refused(server.write(vec![]).await, Code::InvalidArgument);
}

/// PROTOCOL 41: what was written in one form is there in every form, at every offset.
#[tokio::test]
async fn compressed_and_plain_are_one_blob() {
    let server = TestServer::start().await;
    let text = Bytes::from("a line that repeats itself\n".repeat(40_000));
    for function in DigestFunction::ALL {
        let digest = Digest::of(function, &text);
        let packed = zstd(&text);
        let name = upload_name("u", Zstd, digest);
        let committed = server.write(messages(&name, &packed, 100, 0)).await.unwrap();
        assert_eq!(committed, packed.len() as i64, "PROTOCOL, 37: bytes as they were sent");
        assert_eq!(server.read(&blob_name(Identity, digest), 0, 0).await.unwrap(), text);
        for offset in [0, 1, 500_000, text.len()] {
            let frames = server.read(&blob_name(Zstd, digest), offset as i64, 0).await.unwrap();
            assert_eq!(unpack(&frames), text[offset..], "offset {offset} counts uncompressed bytes");
            assert!(frames.len() < 100_000);
        }
        refused(server.read(&blob_name(Zstd, digest), text.len() as i64 + 1, 0).await, Code::OutOfRange);
        refused(server.read(&blob_name(Zstd, digest), 0, 5).await, Code::InvalidArgument);
    }
    let noise = noise(7, 2 << 20);
    let digest = server.put(noise.clone()).await;
    assert_eq!(unpack(&server.read(&blob_name(Zstd, digest), 0, 0).await.unwrap()), noise);
}

/// PROTOCOL 37: siso compares with the size of the blob, all others with what they have sent.
#[tokio::test]
async fn siso_is_told_the_uncompressed_size() {
    let server = TestServer::start().await;
    for (tool, content) in [("siso", "s".repeat(1000)), ("bazel", "b".repeat(1000))] {
        let digest = sha(content.as_bytes());
        let packed = zstd(content.as_bytes());
        let all = messages(&upload_name("u", Zstd, digest), &packed, 1 << 20, 0);
        let mut request = tonic::Request::new(tokio_stream::iter(all));
        let details = re::ToolDetails { tool_name: tool.to_owned(), ..Default::default() };
        let metadata = re::RequestMetadata { tool_details: Some(details), ..Default::default() };
        let header = MetadataValue::from_bytes(&metadata.encode_to_vec());
        request.metadata_mut().insert_bin("build.bazel.remote.execution.v2.requestmetadata-bin", header);
        let committed = server.bytes().write(request).await.unwrap().into_inner().committed_size;
        assert_eq!(committed, if tool == "siso" { 1000 } else { packed.len() as i64 }, "{tool}");
    }
}

/// PROTOCOL 38: finished or existing: complete, and the size of the blob. Unknown: 0, not an error.
#[tokio::test]
async fn the_status_of_a_write_is_true() {
    let server = TestServer::start().await;
    let content = noise(8, 100_000);
    let digest = sha(&content);
    for compressor in [Identity, Zstd] {
        assert_eq!(status(&server, &upload_name("u", compressor, digest)).await, (0, false));
    }
    server.write(messages(&upload_name("u", Identity, digest), &content, 10_000, 0)).await.unwrap();
    for compressor in [Identity, Zstd] {
        assert_eq!(status(&server, &upload_name("other", compressor, digest)).await, (100_000, true));
    }
}
