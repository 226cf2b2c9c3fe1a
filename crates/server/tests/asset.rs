//! Remote Asset over the wire.
mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{TestServer, refused, sha};
use lre_model::{Digest, DigestFunction};
use lre_proto::asset::fetch_client::FetchClient;
use lre_proto::asset::push_client::PushClient;
use lre_proto::asset::{
    FetchBlobRequest, FetchBlobResponse, FetchDirectoryRequest, FetchDirectoryResponse, PushBlobRequest,
    PushDirectoryRequest, Qualifier,
};
use lre_proto::protobuf::Timestamp;
use lre_testkit::TreeBuilder;
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const URI: &str = "urn:example:artifact";

fn qualifiers(pairs: &[(&str, &str)]) -> Vec<Qualifier> {
    pairs.iter().map(|(name, value)| Qualifier { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
}

fn uris(uris: &[&str]) -> Vec<String> {
    uris.iter().map(|uri| (*uri).to_owned()).collect()
}

/// So many seconds from now.
fn from_now(seconds: i64) -> Option<Timestamp> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Some(Timestamp { seconds: now as i64 + seconds, nanos: 0 })
}

fn push_of(digest: Digest) -> PushBlobRequest {
    PushBlobRequest {
        uris: uris(&[URI]),
        blob_digest: Some(digest.to_wire()),
        digest_function: digest.function().to_wire(),
        ..Default::default()
    }
}

async fn push(server: &TestServer, request: PushBlobRequest) -> Result<(), Status> {
    PushClient::new(server.channel.clone()).push_blob(request).await.map(drop)
}

async fn push_directory(server: &TestServer, request: PushDirectoryRequest) -> Result<(), Status> {
    PushClient::new(server.channel.clone()).push_directory(request).await.map(drop)
}

async fn fetch(server: &TestServer, request: FetchBlobRequest) -> FetchBlobResponse {
    FetchClient::new(server.channel.clone()).fetch_blob(request).await.unwrap().into_inner()
}

async fn fetch_directory(server: &TestServer, request: FetchDirectoryRequest) -> FetchDirectoryResponse {
    FetchClient::new(server.channel.clone()).fetch_directory(request).await.unwrap().into_inner()
}

fn asked(uri: &str, pairs: &[(&str, &str)]) -> FetchBlobRequest {
    FetchBlobRequest { uris: uris(&[uri]), qualifiers: qualifiers(pairs), ..Default::default() }
}

#[track_caller]
fn found(response: &FetchBlobResponse, digest: Digest) {
    assert_eq!(response.status.as_ref().map(|status| status.code), Some(0), "{response:?}");
    assert_eq!(response.blob_digest, Some(digest.to_wire()));
    assert_eq!(response.digest_function, digest.function().to_wire());
}

#[track_caller]
fn not_found(response: &FetchBlobResponse) {
    let status = response.status.as_ref().unwrap();
    assert_eq!((status.code, &response.blob_digest), (Code::NotFound as i32, &None), "{response:?}");
    assert!(status.message.contains("downloads nothing"), "{}", status.message);
}

/// PROTOCOL 86: what was pushed is fetched by any of its URIs; what was not is NOT_FOUND in the response's own status.
#[tokio::test]
async fn what_was_pushed_is_fetched() {
    let server = TestServer::start().await;
    not_found(&fetch(&server, asked(URI, &[])).await);
    let digest = server.put(&b"content"[..]).await;
    push(&server, PushBlobRequest { uris: uris(&["urn:a", "urn:b"]), ..push_of(digest) }).await.unwrap();
    for uri in ["urn:a", "urn:b"] {
        let response = fetch(&server, asked(uri, &[])).await;
        found(&response, digest);
        assert_eq!((response.uri.as_str(), response.expires_at), (uri, None));
    }
    let several = FetchBlobRequest { uris: uris(&["urn:unknown", "urn:b"]), ..Default::default() };
    let response = fetch(&server, several).await;
    found(&response, digest);
    assert_eq!(response.uri, "urn:b", "the first that is known");
    let newer = server.put(&b"newer"[..]).await;
    push(&server, PushBlobRequest { uris: uris(&["urn:a"]), ..push_of(newer) }).await.unwrap();
    found(&fetch(&server, asked("urn:a", &[])).await, newer);
    found(&fetch(&server, asked("urn:b", &[])).await, digest);
}

/// PROTOCOL 86: qualifiers are part of what is asked for, in whatever order.
#[tokio::test]
async fn qualifiers_are_part_of_the_name() {
    let server = TestServer::start().await;
    let digest = server.put(&b"of a branch"[..]).await;
    let pair = [("vcs.branch", "main"), ("resource_type", "x")];
    push(&server, PushBlobRequest { qualifiers: qualifiers(&pair), ..push_of(digest) }).await.unwrap();
    let response = fetch(&server, asked(URI, &[pair[1], pair[0]])).await;
    found(&response, digest);
    assert_eq!(response.qualifiers.len(), 2);
    for other in [&pair[..1], &[], &[("vcs.branch", "other"), pair[1]], &[pair[0], pair[1], ("more", "")]] {
        not_found(&fetch(&server, asked(URI, other)).await);
    }
}

/// PROTOCOL 86: each digest function has its own assets.
#[tokio::test]
async fn digest_functions_are_not_mixed() {
    let server = TestServer::start().await;
    let blake = server.put_as(DigestFunction::Blake3, &b"content"[..]).await;
    push(&server, push_of(blake)).await.unwrap();
    not_found(&fetch(&server, asked(URI, &[])).await);
    let request = FetchBlobRequest { digest_function: DigestFunction::Blake3.to_wire(), ..asked(URI, &[]) };
    found(&fetch(&server, request).await, blake);
}

/// PROTOCOL 86: what is too old for the client, or over by the word of who pushed it, is not found.
#[tokio::test]
async fn assets_have_an_age_and_an_end() {
    let server = TestServer::start().await;
    let digest = server.put(&b"content"[..]).await;
    push(&server, PushBlobRequest { expire_at: from_now(3600), ..push_of(digest) }).await.unwrap();
    let response = fetch(&server, asked(URI, &[])).await;
    found(&response, digest);
    assert_eq!(response.expires_at.unwrap().seconds / 60, from_now(3600).unwrap().seconds / 60);
    let at_least = |oldest| FetchBlobRequest { oldest_content_accepted: oldest, ..asked(URI, &[]) };
    found(&fetch(&server, at_least(from_now(-3600))).await, digest);
    not_found(&fetch(&server, at_least(from_now(3600))).await);
    push(&server, PushBlobRequest { expire_at: from_now(-1), ..push_of(digest) }).await.unwrap();
    not_found(&fetch(&server, asked(URI, &[])).await);
    push(&server, push_of(digest)).await.unwrap();
    found(&fetch(&server, asked(URI, &[])).await, digest);
}

/// PROTOCOL 86: an asset is answered while all that it refers to is there, and again when it is there again.
#[tokio::test]
async fn an_asset_is_whole_or_not_found() {
    let server = TestServer::start().await;
    let tree = TreeBuilder::new(DigestFunction::Sha256).file("dir/file", "deep").build();
    for (digest, bytes) in &tree.blobs {
        server.stores.blobs.write(*digest, bytes.clone().into()).await.unwrap();
    }
    let (digest, referred) = (server.put(&b"proto"[..]).await, server.put(&b"log"[..]).await);
    let whole = PushBlobRequest {
        references_blobs: vec![referred.to_wire()],
        references_directories: vec![tree.root.0.to_wire()],
        ..push_of(digest)
    };
    push(&server, whole).await.unwrap();
    let directory = PushDirectoryRequest {
        uris: uris(&[URI]),
        root_directory_digest: Some(tree.root.0.to_wire()),
        ..Default::default()
    };
    push_directory(&server, directory).await.unwrap();
    let fetch_tree = || FetchDirectoryRequest { uris: uris(&[URI]), ..Default::default() };
    let response = fetch_directory(&server, fetch_tree()).await;
    assert_eq!((response.status.unwrap().code, response.root_directory_digest), (0, Some(tree.root.0.to_wire())));
    for (gone, directory_too) in [(referred, false), (sha(b"deep"), true)] {
        found(&fetch(&server, asked(URI, &[])).await, digest);
        server.lose(gone).await;
        not_found(&fetch(&server, asked(URI, &[])).await);
        let status = fetch_directory(&server, fetch_tree()).await.status.unwrap();
        assert_eq!(status.code == Code::NotFound as i32, directory_too, "{gone}");
        server.put(if directory_too { &b"deep"[..] } else { b"log" }).await;
    }
    found(&fetch(&server, asked(URI, &[])).await, digest);
}

/// PROTOCOL 86: a checksum finds the blob in the store, whoever brought it there, as for Bazel's downloader.
#[tokio::test]
async fn a_checksum_finds_what_is_there() {
    let server = TestServer::start().await;
    let digest = server.put(&b"archive"[..]).await;
    let integrity = format!("sha256-{}", STANDARD.encode(digest.hash()));
    let bazels = [("checksum.sri", integrity.as_str()), ("bazel.canonical_id", "x")];
    let response = fetch(&server, asked("https://example.org/archive.tar.gz", &bazels)).await;
    found(&response, digest);
    assert_eq!(response.uri, "https://example.org/archive.tar.gz");
    server.lose(digest).await;
    not_found(&fetch(&server, asked("https://example.org/archive.tar.gz", &bazels)).await);
    // A push with the checksum of something else is a mistake of its client.
    let other = server.put(&b"other"[..]).await;
    let wrong = PushBlobRequest { qualifiers: qualifiers(&bazels), ..push_of(other) };
    refused(push(&server, wrong).await, Code::InvalidArgument);
}

/// PROTOCOL 86, bad input: what is not in the store cannot be pushed, and everything missing is named.
#[tokio::test]
async fn what_is_not_there_cannot_be_pushed() {
    let server = TestServer::start().await;
    let there = server.put(&b"there"[..]).await;
    let (absent, another) = (sha(b"absent"), sha(b"another"));
    let subjects = |status: Status| {
        let violations = status.get_details_precondition_failure().unwrap().violations;
        violations.into_iter().map(|violation| violation.subject).collect::<Vec<_>>()
    };
    let status = refused(push(&server, push_of(absent)).await, Code::FailedPrecondition);
    assert_eq!(subjects(status), [absent.subject()]);
    let refers = PushBlobRequest {
        references_blobs: vec![absent.to_wire()],
        references_directories: vec![another.to_wire()],
        ..push_of(there)
    };
    let status = refused(push(&server, refers).await, Code::FailedPrecondition);
    assert_eq!(subjects(status), [absent.subject(), another.subject()]);
    let tree = TreeBuilder::new(DigestFunction::Sha256).file("a/b", "absent").build();
    for (digest, bytes) in tree.blobs.iter().filter(|(digest, _)| **digest != absent) {
        server.stores.blobs.write(*digest, bytes.clone().into()).await.unwrap();
    }
    let incomplete = PushDirectoryRequest {
        uris: uris(&[URI]),
        root_directory_digest: Some(tree.root.0.to_wire()),
        ..Default::default()
    };
    let status = refused(push_directory(&server, incomplete).await, Code::FailedPrecondition);
    assert_eq!(subjects(status), [absent.subject()]);
    not_found(&fetch(&server, asked(URI, &[])).await);
}

/// PROTOCOL 86, bad input: malformed requests are INVALID_ARGUMENT, in both directions.
#[tokio::test]
async fn malformed_requests_are_refused() {
    let server = TestServer::start().await;
    let digest = server.put(&b"content"[..]).await;
    let bad_digest = lre_proto::re::Digest { hash: "../../x".into(), size_bytes: 1 };
    let twice = qualifiers(&[("a", "1"), ("a", "2")]);
    let time = Some(Timestamp { seconds: 0, nanos: -1 });
    for (what, request) in [
        ("no uri", PushBlobRequest { uris: vec![], ..push_of(digest) }),
        ("an empty uri", PushBlobRequest { uris: uris(&[""]), ..push_of(digest) }),
        ("a qualifier twice", PushBlobRequest { qualifiers: twice.clone(), ..push_of(digest) }),
        ("no digest", PushBlobRequest { blob_digest: None, ..push_of(digest) }),
        ("a bad digest", PushBlobRequest { blob_digest: Some(bad_digest.clone()), ..push_of(digest) }),
        ("a bad reference", PushBlobRequest { references_blobs: vec![bad_digest], ..push_of(digest) }),
        ("a bad function", PushBlobRequest { digest_function: 4711, ..push_of(digest) }),
        ("a bad time", PushBlobRequest { expire_at: time, ..push_of(digest) }),
        (
            "a bad checksum",
            PushBlobRequest { qualifiers: qualifiers(&[("checksum.sri", "sha256-x")]), ..push_of(digest) },
        ),
    ] {
        let status = push(&server, request).await.expect_err(what);
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
    }
    let many = PushBlobRequest { references_blobs: vec![digest.to_wire(); 20_000], ..push_of(digest) };
    refused(push(&server, many).await, Code::ResourceExhausted);
    let many = PushBlobRequest { uris: vec![URI.to_owned(); 2000], ..push_of(digest) };
    refused(push(&server, many).await, Code::ResourceExhausted);
    let mut client = FetchClient::new(server.channel.clone());
    for request in [
        FetchBlobRequest::default(),
        FetchBlobRequest { qualifiers: twice, ..asked(URI, &[]) },
        FetchBlobRequest { oldest_content_accepted: time, ..asked(URI, &[]) },
        FetchBlobRequest { digest_function: 4711, ..asked(URI, &[]) },
    ] {
        refused(client.fetch_blob(request).await, Code::InvalidArgument);
    }
    refused(client.fetch_directory(FetchDirectoryRequest::default()).await, Code::InvalidArgument);
}
