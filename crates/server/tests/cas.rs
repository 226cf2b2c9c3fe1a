//! PROTOCOL, C and D: ContentAddressableStorage.
mod common;

use common::{TestServer, noise, refused, sha, zstd};
use lre_model::{Digest, DigestFunction};
use lre_proto::re::batch_update_blobs_request::Request as Upload;
use lre_proto::re::{self, BatchReadBlobsRequest, BatchUpdateBlobsRequest, FindMissingBlobsRequest, GetTreeRequest};
use lre_testkit::TreeBuilder;
use prost::Message;
use std::collections::HashSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const IDENTITY: i32 = re::compressor::Value::Identity as i32;
const ZSTD: i32 = re::compressor::Value::Zstd as i32;
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

async fn missing(
    server: &TestServer,
    function: DigestFunction,
    wire: Vec<re::Digest>,
) -> Result<Vec<re::Digest>, Status> {
    let request =
        FindMissingBlobsRequest { blob_digests: wire, digest_function: function.to_wire(), ..Default::default() };
    Ok(server.cas().find_missing_blobs(request).await?.into_inner().missing_blob_digests)
}

fn wire(hash: &str, size_bytes: i64) -> re::Digest {
    re::Digest { hash: hash.to_owned(), size_bytes }
}

fn upload(content: &[u8]) -> Upload {
    Upload { digest: Some(sha(content).to_wire()), data: content.to_vec(), compressor: IDENTITY }
}

async fn update(server: &TestServer, requests: Vec<Upload>) -> Result<Vec<i32>, Status> {
    let request = BatchUpdateBlobsRequest { requests, ..Default::default() };
    let responses = server.cas().batch_update_blobs(request).await?.into_inner().responses;
    Ok(responses.into_iter().map(|r| r.status.map_or(0, |s| s.code)).collect())
}

async fn read(
    server: &TestServer,
    digests: Vec<re::Digest>,
    acceptable_compressors: Vec<i32>,
) -> Result<Vec<re::batch_read_blobs_response::Response>, Status> {
    let request = BatchReadBlobsRequest { digests, acceptable_compressors, ..Default::default() };
    Ok(server.cas().batch_read_blobs(request).await?.into_inner().responses)
}

/// PROTOCOL 21, 27, 28, 30, 32, bad input: malformed digests are refused before anything is looked at, with the path of
/// the field.
#[tokio::test]
async fn malformed_digests_are_refused() {
    let server = TestServer::start().await;
    for bad in [
        wire("../../../../etc/passwd", 1),
        wire(&EMPTY.to_uppercase(), 0),
        wire(&EMPTY[1..], 0),
        wire("", 0),
        wire(EMPTY, -1),
    ] {
        let asked = missing(&server, DigestFunction::Sha256, vec![sha(b"x").to_wire(), bad.clone()]).await;
        let status = refused(asked, Code::InvalidArgument);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "blob_digests[1]", "{bad:?}");
        let one = Upload { digest: Some(bad.clone()), data: b"x".to_vec(), compressor: IDENTITY };
        assert_eq!(update(&server, vec![one]).await.unwrap(), [Code::InvalidArgument as i32], "{bad:?}");
        let entry = &read(&server, vec![bad.clone()], vec![]).await.unwrap()[0];
        assert_eq!(entry.status.as_ref().unwrap().code, Code::InvalidArgument as i32, "{bad:?}");
        let tree = GetTreeRequest { root_digest: Some(bad), ..Default::default() };
        refused(server.cas().get_tree(tree).await, Code::InvalidArgument);
    }
}

/// PROTOCOL 20: the size is part of the digest, for those who look, read and write.
#[tokio::test]
async fn the_same_hash_with_another_size_is_another_blob() {
    let server = TestServer::start().await;
    let digest = server.put("hello").await;
    let other = wire(&digest.hash_text(), 6);
    let answer = missing(&server, DigestFunction::Sha256, vec![other.clone()]).await.unwrap();
    assert_eq!(answer, vec![other.clone()]);
    let entry = &read(&server, vec![other], vec![]).await.unwrap()[0];
    assert_eq!(entry.status.as_ref().unwrap().code, Code::NotFound as i32);
    let tree = GetTreeRequest { root_digest: Some(wire(&digest.hash_text(), 6)), ..Default::default() };
    refused(server.cas().get_tree(tree).await, Code::NotFound);
}

/// PROTOCOL 20, bad input: bytes under their own hash and another size are refused, and the right ones stay.
#[tokio::test]
async fn the_right_hash_with_a_wrong_size_is_refused() {
    let server = TestServer::start().await;
    let digest = server.put("hello").await;
    for size in [0, 4, 6, i64::MAX] {
        let one =
            Upload { digest: Some(wire(&digest.hash_text(), size)), data: b"hello".to_vec(), compressor: IDENTITY };
        assert_eq!(update(&server, vec![one]).await.unwrap(), [Code::InvalidArgument as i32], "{size}");
    }
    assert_eq!(read(&server, vec![digest.to_wire()], vec![]).await.unwrap()[0].data, b"hello");
}

/// PROTOCOL 22, 24, bad input: a hash of another length is told by the name of its function, and a function that is not
/// advertised is refused, SHA256TREE among them.
#[tokio::test]
async fn other_digest_functions_are_refused_by_name() {
    let server = TestServer::start().await;
    for (digits, name) in [(32, "MD5"), (40, "SHA1"), (96, "SHA384"), (128, "SHA512")] {
        let asked = missing(&server, DigestFunction::Sha256, vec![wire(&"ab".repeat(digits / 2), 5)]).await;
        let status = refused(asked, Code::InvalidArgument);
        assert!(status.message().contains(name) && status.message().contains("SHA256 and BLAKE3"), "{status:?}");
    }
    use re::digest_function::Value;
    for value in [
        Value::Md5,
        Value::Sha1,
        Value::Sha384,
        Value::Sha512,
        Value::Vso,
        Value::Murmur3,
        Value::Sha256tree,
        Value::Gitsha1,
    ] {
        let request = FindMissingBlobsRequest { digest_function: value as i32, ..Default::default() };
        let status = refused(server.cas().find_missing_blobs(request).await, Code::InvalidArgument);
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "digest_function");
    }
}

/// PROTOCOL 23, bad input: bytes whose hash is of the other function are refused: the two are never mixed.
#[tokio::test]
async fn functions_are_not_mixed() {
    let server = TestServer::start().await;
    for (function, other) in
        [(DigestFunction::Sha256, DigestFunction::Blake3), (DigestFunction::Blake3, DigestFunction::Sha256)]
    {
        let content = format!("content for {}", function.name());
        let digest = Digest::of(function, content.as_bytes());
        let one = Upload { digest: Some(digest.to_wire()), data: content.clone().into_bytes(), compressor: IDENTITY };
        let request =
            BatchUpdateBlobsRequest { requests: vec![one], digest_function: other.to_wire(), ..Default::default() };
        let answer = server.cas().batch_update_blobs(request.clone()).await.unwrap().into_inner();
        assert_eq!(answer.responses[0].status.as_ref().unwrap().code, Code::InvalidArgument as i32);
        let request = BatchUpdateBlobsRequest { digest_function: function.to_wire(), ..request };
        let answer = server.cas().batch_update_blobs(request).await.unwrap().into_inner();
        assert_eq!(answer.responses[0].status.as_ref().map_or(0, |status| status.code), 0);
        assert_eq!(missing(&server, other, vec![digest.to_wire()]).await.unwrap(), [digest.to_wire()]);
    }
}

/// PROTOCOL 33: what was uploaded is there when it is needed, also after the server was started anew: nothing goes by itself.
#[tokio::test]
async fn what_was_uploaded_stays() {
    let server = TestServer::start().await;
    let digests: Vec<_> = [&b"an action"[..], b"its input"].into_iter().map(sha).collect();
    update(&server, vec![upload(b"an action"), upload(b"its input")]).await.unwrap();
    let server = server.again().await;
    let asked = digests.iter().map(|digest| digest.to_wire()).collect();
    assert!(missing(&server, DigestFunction::Sha256, asked).await.unwrap().is_empty());
    assert_eq!(server.read(&format!("blobs/{}", digests[1]), 0, 0).await.unwrap(), b"its input");
}

/// PROTOCOL 22 and 23: without a function 64 digits are SHA-256; BLAKE3 must be named; a function
/// that is not advertised is refused.
#[tokio::test]
async fn digest_functions_are_named_or_inferred() {
    let server = TestServer::start().await;
    let sha256 = server.put("hello").await;
    let blake3 = server.put_as(DigestFunction::Blake3, "hello").await;
    let unset = FindMissingBlobsRequest {
        blob_digests: vec![sha256.to_wire(), blake3.to_wire()],
        digest_function: 0,
        ..Default::default()
    };
    let answer = server.cas().find_missing_blobs(unset.clone()).await.unwrap().into_inner();
    assert_eq!(answer.missing_blob_digests, [blake3.to_wire()], "a BLAKE3 hash is no SHA-256 hash");
    assert!(missing(&server, DigestFunction::Blake3, vec![blake3.to_wire()]).await.unwrap().is_empty());
    let md5 = FindMissingBlobsRequest { digest_function: re::digest_function::Value::Md5 as i32, ..unset };
    refused(server.cas().find_missing_blobs(md5).await, Code::InvalidArgument);
}

/// PROTOCOL 26: the empty blob is always there, without an upload; another hash of no bytes never.
#[tokio::test]
async fn the_empty_blob_needs_no_upload() {
    let server = TestServer::start().await;
    for function in DigestFunction::ALL {
        let empty = Digest::empty(function).to_wire();
        let zeros = wire(&"00".repeat(32), 0);
        assert_eq!(missing(&server, function, vec![empty.clone(), zeros.clone()]).await.unwrap(), [zeros]);
    }
    let entry = &read(&server, vec![wire(EMPTY, 0)], vec![ZSTD]).await.unwrap()[0];
    assert_eq!((entry.status.as_ref().unwrap().code, entry.data.len()), (0, 0));
    let root = GetTreeRequest { root_digest: Some(wire(EMPTY, 0)), ..Default::default() };
    let mut pages = server.cas().get_tree(root).await.unwrap().into_inner();
    assert_eq!(pages.message().await.unwrap().unwrap().directories, [re::Directory::default()]);
}

/// PROTOCOL 27: thousands in a call, exactly the missing ones, each once.
#[tokio::test]
async fn thousands_are_asked_for_at_once() {
    let server = TestServer::start().await;
    let mut asked = Vec::new();
    let mut absent = Vec::new();
    for i in 0..20_000_u32 {
        let digest = sha(&i.to_le_bytes());
        if i % 100 == 0 {
            server.put(i.to_le_bytes().to_vec()).await;
        } else {
            absent.push(digest.to_wire());
        }
        asked.push(digest.to_wire());
    }
    asked.extend(asked.clone());
    assert_eq!(missing(&server, DigestFunction::Sha256, asked).await.unwrap(), absent);
}

/// PROTOCOL 28: one bad entry is refused alone, and nothing of it is kept.
#[tokio::test]
async fn each_upload_of_a_batch_has_its_own_status() {
    let server = TestServer::start().await;
    let wrong = Upload { digest: Some(sha(b"other").to_wire()), data: b"wrong".to_vec(), compressor: IDENTITY };
    let long = Upload { digest: Some(wire(&sha(b"long").hash_text(), 3)), data: b"long".to_vec(), compressor: 0 };
    let none = Upload { digest: None, data: b"x".to_vec(), compressor: 0 };
    let codes = update(&server, vec![upload(b"a"), wrong, upload(b"b"), long, none]).await.unwrap();
    let bad = Code::InvalidArgument as i32;
    assert_eq!(codes, [0, bad, 0, bad, bad]);
    assert!(server.has(sha(b"a")).await && server.has(sha(b"b")).await);
    for content in [&b"other"[..], b"wrong", b"long"] {
        assert!(!server.has(sha(content)).await);
    }
}

/// PROTOCOL 28: the answers name the blobs that they are about.
#[tokio::test]
async fn answers_echo_their_digests() {
    let server = TestServer::start().await;
    let request = BatchUpdateBlobsRequest { requests: vec![upload(b"b"), upload(b"a")], ..Default::default() };
    let responses = server.cas().batch_update_blobs(request).await.unwrap().into_inner().responses;
    let echoed: Vec<_> = responses.into_iter().map(|r| r.digest.unwrap()).collect();
    assert_eq!(echoed, [sha(b"b").to_wire(), sha(b"a").to_wire()]);
    let entries = read(&server, echoed.clone(), vec![]).await.unwrap();
    assert_eq!(entries.into_iter().map(|e| e.digest.unwrap()).collect::<Vec<_>>(), echoed);
}

/// PROTOCOL 29: above the advertised total, as a whole; at it, not.
#[tokio::test]
async fn a_batch_has_a_limit() {
    let server = TestServer::start().await;
    let limit = lre_server::services::capabilities::advertised().cache_capabilities.unwrap().max_batch_total_size_bytes;
    let at = noise(1, limit as usize);
    let over = noise(2, limit as usize + 1);
    assert_eq!(update(&server, vec![upload(&at)]).await.unwrap(), [0]);
    refused(update(&server, vec![upload(&over)]).await, Code::InvalidArgument);
    assert!(!server.has(sha(&over)).await);
    assert_eq!(read(&server, vec![sha(&at).to_wire()], vec![]).await.unwrap()[0].data, at);
    let more = vec![sha(&at).to_wire(), wire(&sha(b"x").hash_text(), 1)];
    refused(read(&server, more, vec![]).await, Code::InvalidArgument);
}

/// PROTOCOL 30: absent ones alone are NOT_FOUND; identity is always acceptable; zstd where asked.
#[tokio::test]
async fn a_batch_is_read_in_an_acceptable_form() {
    let server = TestServer::start().await;
    let text = "hermetic ".repeat(1000);
    let incompressible = noise(3, 5000);
    let digests = vec![
        server.put(text.clone()).await.to_wire(),
        sha(b"absent").to_wire(),
        server.put(incompressible.clone()).await.to_wire(),
    ];
    for acceptable in [vec![], vec![IDENTITY], vec![re::compressor::Value::Brotli as i32]] {
        let entries = read(&server, digests.clone(), acceptable).await.unwrap();
        assert_eq!((entries[0].compressor, &entries[0].data[..]), (IDENTITY, text.as_bytes()));
        assert_eq!(entries[1].status.as_ref().unwrap().code, Code::NotFound as i32);
        assert_eq!(entries[2].status.as_ref().unwrap().code, 0);
    }
    let entries = read(&server, digests, vec![ZSTD]).await.unwrap();
    assert_eq!(entries[0].compressor, ZSTD);
    assert!(entries[0].data.len() < text.len() / 10);
    assert_eq!(zstd::stream::decode_all(&entries[0].data[..]).unwrap(), text.as_bytes());
    assert_eq!((entries[2].compressor, &entries[2].data[..]), (IDENTITY, &incompressible[..]));
}

/// PROTOCOL 31: compressed entries are named by their uncompressed bytes; bombs, garbage and cut-off
/// frames are refused alone.
#[tokio::test]
async fn a_batch_may_be_compressed() {
    let server = TestServer::start().await;
    let text = "hermetic ".repeat(10_000).into_bytes();
    let packed = |content: &[u8], data: &[u8]| Upload {
        digest: Some(sha(content).to_wire()),
        data: data.to_vec(),
        compressor: ZSTD,
    };
    let bomb = zstd(&vec![0; 100 << 20]);
    let cut_off = zstd(&text[1..]);
    let frames = [zstd(&text[..1000]), zstd(&text[1000..2000])].concat();
    let codes = update(
        &server,
        vec![
            packed(&text, &zstd(&text)),
            packed(b"small", &bomb),
            packed(b"garbage", b"garbage"),
            packed(&text[1..], &cut_off[..cut_off.len() / 2]),
            packed(&text[..2000], &frames),
            Upload { compressor: re::compressor::Value::Brotli as i32, ..upload(b"brotli") },
            Upload { compressor: 4711, ..upload(b"nonsense") },
        ],
    );
    let bad = Code::InvalidArgument as i32;
    assert_eq!(codes.await.unwrap(), [0, bad, bad, bad, 0, bad, bad]);
    assert!(server.has(sha(&text)).await && server.has(sha(&text[..2000])).await);
    assert!(!server.has(sha(b"small")).await && !server.has(sha(b"brotli")).await);
}

async fn tree(
    server: &TestServer,
    root: Digest,
    page_size: i32,
    page_token: &str,
) -> Result<Vec<re::GetTreeResponse>, Status> {
    let request = GetTreeRequest {
        root_digest: Some(root.to_wire()),
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let mut stream = server.cas().get_tree(request).await?.into_inner();
    let mut pages = Vec::new();
    while let Some(page) = stream.message().await? {
        pages.push(page);
    }
    Ok(pages)
}

/// A tree of 12 distinct directories, two of which are reached on several ways.
fn sample() -> lre_testkit::BuiltTree {
    let mut builder = TreeBuilder::new(DigestFunction::Sha256);
    for i in 0..10 {
        builder = builder.file(&format!("d{i}/name{i}"), format!("content {i}"));
        builder = builder.file(&format!("d{i}/shared/x"), "same everywhere");
    }
    builder.build()
}

async fn put_all(server: &TestServer, built: &lre_testkit::BuiltTree) {
    for (digest, content) in &built.blobs {
        server.stores.blobs.write(*digest, content.clone().into()).await.unwrap();
    }
}

/// PROTOCOL 25, 32: the root and every descendant, each once, and each in the bytes that its digest is of.
#[tokio::test]
async fn a_tree_has_every_directory_once() {
    let server = TestServer::start().await;
    let built = sample();
    put_all(&server, &built).await;
    let pages = tree(&server, built.root.0, 0, "").await.unwrap();
    assert_eq!(pages.len(), 1);
    assert!(pages[0].next_page_token.is_empty(), "the last page has no token");
    let digests: Vec<_> = pages[0].directories.iter().map(|d| sha(&d.encode_to_vec())).collect();
    assert_eq!(digests.len(), 12);
    assert_eq!(digests.iter().collect::<HashSet<_>>().len(), 12);
    assert!(digests.contains(&built.root.0));
}

/// PROTOCOL 32: pages of the asked size; each token continues where its page ended.
#[tokio::test]
async fn a_tree_comes_in_pages() {
    let server = TestServer::start().await;
    let built = sample();
    put_all(&server, &built).await;
    let whole = tree(&server, built.root.0, 0, "").await.unwrap().remove(0).directories;
    let pages = tree(&server, built.root.0, 5, "").await.unwrap();
    assert_eq!(pages.iter().map(|p| p.directories.len()).collect::<Vec<_>>(), [5, 5, 2]);
    assert_eq!(pages.iter().flat_map(|p| p.directories.clone()).collect::<Vec<_>>(), whole);
    let rest = tree(&server, built.root.0, 5, &pages[0].next_page_token).await.unwrap();
    assert_eq!(rest, pages[1..]);
    for (size, token) in [(-1, ""), (0, "not ours"), (0, "-1")] {
        refused(tree(&server, built.root.0, size, token).await, Code::InvalidArgument);
    }
}

/// PROTOCOL 32: holes are left out without an error, a missing root is NOT_FOUND.
#[tokio::test]
async fn a_tree_with_holes_is_given_as_far_as_it_goes() {
    let server = TestServer::start().await;
    let built = sample();
    let shared = TreeBuilder::new(DigestFunction::Sha256).file("x", "same everywhere").build().root.0;
    for (digest, content) in built.blobs.iter().filter(|(digest, _)| **digest != shared) {
        server.stores.blobs.write(*digest, content.clone().into()).await.unwrap();
    }
    let pages = tree(&server, built.root.0, 11, "").await.unwrap();
    assert_eq!(pages.len(), 1);
    assert_eq!((pages[0].directories.len(), pages[0].next_page_token.as_str()), (11, ""));
    refused(tree(&server, sha(b"nobody"), 0, "").await, Code::NotFound);
}

/// PROTOCOL 32, bad input: a blob that is no directory cannot have a tree.
#[tokio::test]
async fn a_tree_of_something_else_is_refused() {
    let server = TestServer::start().await;
    let root = server.put(&b"\x0a\xff\xff\xff\xff not a Directory"[..]).await;
    refused(tree(&server, root, 0, "").await, Code::InvalidArgument);
}
