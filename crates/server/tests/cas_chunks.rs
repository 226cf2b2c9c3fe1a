//! PROTOCOL, 18 and I: large blobs as lists of chunks.
mod common;

use bytes::Bytes;
use common::{TestServer, messages, noise, refused, sha, upload_name};
use lre_model::Compressor::Identity;
use lre_model::{Digest, DigestFunction};
use lre_proto::re::chunking_function::Value as Function;
use lre_proto::re::{
    self, GetCapabilitiesRequest, GetChunkMappingRequest, RegisterChunkMappingRequest, SpliceBlobRequest,
    SplitBlobRequest,
};
use lre_server::auth::Porch;
use lre_server::limits;
use lre_store::{DiskStore, Stores, chunking};
use lre_testkit::{Fault, Faulty};
use prost::Message;
use std::collections::HashSet;
use std::sync::Arc;
use tonic::{Code, Status};
use tonic_types::StatusExt;

fn parsed(function: DigestFunction, wire: &[re::Digest]) -> Vec<Digest> {
    wire.iter().map(|digest| Digest::from_wire(function, Some(digest)).unwrap()).collect()
}

async fn split(server: &TestServer, blob: Digest) -> Result<(Vec<Digest>, i32), Status> {
    let request = SplitBlobRequest {
        blob_digest: Some(blob.to_wire()),
        digest_function: blob.function().to_wire(),
        chunking_function: Function::FastCdc2020 as i32,
        ..Default::default()
    };
    let answer = server.cas().split_blob(request).await?.into_inner();
    Ok((parsed(blob.function(), &answer.chunk_digests), answer.chunking_function))
}

fn splicing(blob: Digest, chunks: &[Digest]) -> SpliceBlobRequest {
    SpliceBlobRequest {
        blob_digest: Some(blob.to_wire()),
        chunk_digests: chunks.iter().map(|chunk| chunk.to_wire()).collect(),
        digest_function: blob.function().to_wire(),
        ..Default::default()
    }
}

async fn splice(server: &TestServer, blob: Digest, chunks: &[Digest]) -> Result<Digest, Status> {
    let answer = server.cas().splice_blob(splicing(blob, chunks)).await?.into_inner();
    Ok(Digest::from_wire(blob.function(), answer.blob_digest.as_ref()).unwrap())
}

async fn content(server: &TestServer, blob: Digest) -> Bytes {
    server.stores.blobs.read(blob).await.unwrap().into_bytes(u64::MAX).await.unwrap()
}

async fn joined(server: &TestServer, chunks: &[Digest]) -> Vec<u8> {
    let mut all = Vec::new();
    for chunk in chunks {
        all.extend_from_slice(&content(server, *chunk).await);
    }
    all
}

/// Pieces of some bytes, each a blob of its own in the store.
async fn pieces(server: &TestServer, content: &Bytes, length: usize) -> Vec<Digest> {
    let mut digests = Vec::new();
    for at in (0..content.len()).step_by(length) {
        digests.push(server.put(content.slice(at..content.len().min(at + length))).await);
    }
    digests
}

/// PROTOCOL 18: splitting and splicing are advertised, with an average of 512 KiB and the seed 0.
#[tokio::test]
async fn chunking_is_advertised() {
    let server = TestServer::start().await;
    let answer = server.capabilities().get_capabilities(GetCapabilitiesRequest::default()).await.unwrap().into_inner();
    let cache = answer.cache_capabilities.unwrap();
    assert!(cache.split_blob_support && cache.splice_blob_support);
    let parameters = cache.fast_cdc_2020_params.unwrap();
    assert_eq!((parameters.avg_chunk_size_bytes, parameters.seed), (512 * 1024, 0));
    assert!(cache.rep_max_cdc_params.is_none(), "what is not there is not promised");
}

/// PROTOCOL 85: a large blob is answered with chunks that are in the store and are the blob when put together, for both digest
/// functions.
#[tokio::test]
async fn a_large_blob_has_chunks() {
    let server = TestServer::start().await;
    let large = noise(1, 7_000_000);
    for function in DigestFunction::ALL {
        let blob = server.put_as(function, large.clone()).await;
        let (chunks, cut_by) = split(&server, blob).await.unwrap();
        assert_eq!(cut_by, Function::FastCdc2020 as i32);
        assert!(chunks.len() > 5 && chunks.iter().all(|chunk| chunk.function() == function), "{}", chunks.len());
        let sizes: Vec<_> = chunking::chunks(&large[..]).map(|chunk| chunk.unwrap().len() as u64).collect();
        assert_eq!(chunks.iter().map(|chunk| chunk.size_bytes()).collect::<Vec<_>>(), sizes, "cut as clients cut");
        assert!(joined(&server, &chunks).await == large);
        assert_eq!(split(&server, blob).await.unwrap().0, chunks, "the second answer is the first");
    }
}

/// PROTOCOL 85: a blob of at most four times the average is its own only chunk; the empty blob too.
#[tokio::test]
async fn a_small_blob_is_not_cut() {
    let server = TestServer::start().await;
    for length in [1, chunking::MAX_BYTES] {
        let blob = server.put(noise(2, length)).await;
        assert_eq!(split(&server, blob).await.unwrap().0, [blob]);
    }
    let over = server.put(noise(3, chunking::MAX_BYTES + 1)).await;
    assert!(split(&server, over).await.unwrap().0.len() > 1);
    let empty = Digest::empty(DigestFunction::Sha256);
    assert_eq!(split(&server, empty).await.unwrap().0, [empty]);
    // Asked before the first use by clients that want to know whether the call is there.
    assert_eq!(splice(&server, empty, &[empty]).await.unwrap(), empty);
}

/// PROTOCOL 85: a chunk that has gone since the last answer is there again after the next.
#[tokio::test]
async fn chunks_that_went_away_come_back() {
    let server = TestServer::start().await;
    let large = noise(4, 5_000_000);
    let blob = server.put(large.clone()).await;
    let (chunks, _) = split(&server, blob).await.unwrap();
    server.lose(chunks[1]).await;
    common::until("it is seen to be gone", async || !server.has(chunks[1]).await).await;
    assert_eq!(split(&server, blob).await.unwrap().0, chunks);
    assert!(joined(&server, &chunks).await == large);
}

/// PROTOCOL 85: of a new version of a large blob only what changed must travel.
#[tokio::test]
async fn a_new_version_shares_its_chunks_with_the_old_one() {
    let server = TestServer::start().await;
    let old = noise(5, 12_000_000);
    let new: Bytes = [&old[..4_000_000], b"inserted", &old[4_000_000..]].concat().into();
    let (before, _) = split(&server, server.put(old).await).await.unwrap();
    let before: HashSet<_> = before.into_iter().collect();
    // As a client does: cut, ask what is missing, upload that, splice.
    let (mut chunks, mut sent) = (Vec::new(), 0);
    for chunk in chunking::chunks(&new[..]) {
        let chunk = chunk.unwrap();
        let digest = sha(&chunk);
        if !server.has(digest).await {
            assert!(!before.contains(&digest));
            sent += chunk.len();
            server.write(messages(&upload_name("u", Identity, digest), &chunk, 1 << 20, 0)).await.unwrap();
        }
        chunks.push(digest);
    }
    assert!(sent < 5_000_000, "{sent} of {} bytes were sent", new.len());
    assert_eq!(splice(&server, sha(&new), &chunks).await.unwrap(), sha(&new));
    assert!(content(&server, sha(&new)).await == new);
    assert_eq!(split(&server, sha(&new)).await.unwrap().0, chunks);
}

/// PROTOCOL 85, bad input: a blob that is not there is NOT_FOUND, a malformed digest INVALID_ARGUMENT.
#[tokio::test]
async fn nothing_comes_of_a_blob_that_is_not_there() {
    let server = TestServer::start().await;
    for blob in [sha(b"absent"), Digest::parse(DigestFunction::Sha256, &"ab".repeat(32), 1 << 40).unwrap()] {
        let status = refused(split(&server, blob).await, Code::NotFound);
        assert_eq!(status.get_details_resource_info().unwrap().resource_name, blob.subject());
    }
    for digest in [None, Some(re::Digest { hash: "../x".into(), size_bytes: 1 })] {
        let request = SplitBlobRequest { blob_digest: digest, ..Default::default() };
        let status = refused(server.cas().split_blob(request).await, Code::InvalidArgument);
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "blob_digest");
    }
}

/// PROTOCOL 85: any chunks make a blob, wherever they were cut and whatever function is named; the answer of SplitBlob is then
/// the same chunks.
#[tokio::test]
async fn a_blob_is_made_of_chunks() {
    let server = TestServer::start().await;
    for (seed, cut_by) in [(10, Function::Unknown as i32), (11, Function::RepMaxCdc as i32), (12, 4711)] {
        let large = noise(seed, 3_000_000);
        let chunks = pieces(&server, &large, 700_000).await;
        let request = SpliceBlobRequest { chunking_function: cut_by, ..splicing(sha(&large), &chunks) };
        let answer = server.cas().splice_blob(request).await.unwrap().into_inner();
        assert_eq!(answer.blob_digest, Some(sha(&large).to_wire()));
        assert!(content(&server, sha(&large)).await == large);
        let known = if cut_by == 4711 { Function::Unknown as i32 } else { cut_by };
        assert_eq!(split(&server, sha(&large)).await.unwrap(), (chunks, known));
    }
    assert_eq!(server.staged_files(), 0);
}

/// PROTOCOL 85: splicing what is there is done already; cut elsewhere it is ALREADY_EXISTS, and the cuts stay.
#[tokio::test]
async fn splicing_twice_is_harmless() {
    let server = TestServer::start().await;
    let large = noise(13, 3_000_000);
    let (first, other) = (pieces(&server, &large, 700_000).await, pieces(&server, &large, 900_000).await);
    for _ in 0..2 {
        splice(&server, sha(&large), &first).await.unwrap();
    }
    refused(splice(&server, sha(&large), &other).await, Code::AlreadyExists);
    assert_eq!(split(&server, sha(&large)).await.unwrap().0, first);
    // Of a blob that came whole nobody knows cuts.
    let whole = noise(14, 3_000_000);
    let blob = server.put(whole.clone()).await;
    splice(&server, blob, &pieces(&server, &whole, 700_000).await).await.unwrap();
}

/// PROTOCOL 85, bad input: chunks that are another blob are INVALID_ARGUMENT, missing ones NOT_FOUND, and nothing is stored.
#[tokio::test]
async fn wrong_chunks_make_no_blob() {
    let server = TestServer::start().await;
    let large = noise(15, 3_000_000);
    let blob = sha(&large);
    let chunks = pieces(&server, &large, 700_000).await;
    let swapped = [chunks[1], chunks[0], chunks[2], chunks[3], chunks[4]];
    for wrong in [&chunks[1..], &[], &swapped, &[&chunks[..], &chunks[..1]].concat()] {
        refused(splice(&server, blob, wrong).await, Code::InvalidArgument);
    }
    let huge = Digest::parse(DigestFunction::Sha256, &"ab".repeat(32), i64::MAX).unwrap();
    refused(splice(&server, blob, &[huge, huge, huge]).await, Code::InvalidArgument);
    let absent = sha(&noise(16, 700_000));
    let status =
        refused(splice(&server, blob, &[&chunks[..3], &[absent], &chunks[4..]].concat()).await, Code::NotFound);
    assert_eq!(status.get_details_resource_info().unwrap().resource_name, absent.subject());
    let malformed = SpliceBlobRequest {
        chunk_digests: vec![chunks[0].to_wire(), re::Digest { hash: "X".repeat(64), size_bytes: 1 }],
        ..splicing(blob, &[])
    };
    let status = refused(server.cas().splice_blob(malformed).await, Code::InvalidArgument);
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "chunk_digests[1]");
    let many = vec![Digest::empty(DigestFunction::Sha256).to_wire(); 100_000];
    let parts = (0..3).map(|_| RegisterChunkMappingRequest {
        blob_digest: Some(blob.to_wire()),
        digest_function: blob.function().to_wire(),
        chunk_digests: many.clone(),
        ..Default::default()
    });
    let parts = tokio_stream::iter(parts.collect::<Vec<_>>());
    refused(server.cas().register_chunk_mapping(parts).await, Code::ResourceExhausted);
    assert!(!server.has(blob).await);
    assert_eq!(server.staged_files(), 0);
}

/// PROTOCOL 85: the calls of later versions, as streams, say the same.
#[tokio::test]
async fn chunk_lists_may_come_as_streams() {
    let server = TestServer::start().await;
    let large = noise(17, 3_000_000);
    let blob = sha(&large);
    let chunks = pieces(&server, &large, 400_000).await;
    let part = |chunks: &[Digest]| RegisterChunkMappingRequest {
        chunk_digests: chunks.iter().map(|chunk| chunk.to_wire()).collect(),
        ..Default::default()
    };
    let first = RegisterChunkMappingRequest {
        blob_digest: Some(blob.to_wire()),
        digest_function: blob.function().to_wire(),
        chunking_function: Function::RepMaxCdc as i32,
        ..part(&chunks[..2])
    };
    let parts = tokio_stream::iter([first.clone(), part(&[]), part(&chunks[2..])]);
    let answer = server.cas().register_chunk_mapping(parts).await.unwrap().into_inner();
    assert_eq!(answer.blob_digest, Some(blob.to_wire()));
    let request = GetChunkMappingRequest {
        blob_digest: Some(blob.to_wire()),
        digest_function: blob.function().to_wire(),
        ..Default::default()
    };
    let mut parts = server.cas().get_chunk_mapping(request.clone()).await.unwrap().into_inner();
    let answer = parts.message().await.unwrap().unwrap();
    assert_eq!(parsed(blob.function(), &answer.chunk_digests), chunks);
    assert_eq!(answer.chunking_function, Function::RepMaxCdc as i32);
    assert!(parts.message().await.unwrap().is_none());
    // Here the digest function must be said.
    let unnamed = GetChunkMappingRequest { digest_function: 0, ..request };
    refused(server.cas().get_chunk_mapping(unnamed).await, Code::InvalidArgument);
    let unnamed = RegisterChunkMappingRequest { digest_function: 0, ..first };
    refused(server.cas().register_chunk_mapping(tokio_stream::iter([unnamed])).await, Code::InvalidArgument);
    refused(server.cas().register_chunk_mapping(tokio_stream::iter([])).await, Code::InvalidArgument);
}

/// PROTOCOL 85: a list that is too long for one message comes in several, and is refused in words where there is but one.
#[tokio::test]
async fn a_list_of_chunks_stays_within_a_message() {
    let server = TestServer::start().await;
    let count = limits::CHUNKS_IN_MESSAGE_MAX + 1000;
    let piece = noise(21, 60);
    let chunks = vec![server.put(piece.clone()).await; count];
    let blob = sha(&piece.repeat(count));
    splice(&server, blob, &chunks).await.unwrap();
    let status = refused(split(&server, blob).await, Code::ResourceExhausted);
    assert!(status.message().contains("GetChunkMapping"), "{status:?}");
    let request = GetChunkMappingRequest {
        blob_digest: Some(blob.to_wire()),
        digest_function: blob.function().to_wire(),
        ..Default::default()
    };
    let mut parts = server.cas().get_chunk_mapping(request).await.unwrap().into_inner();
    let mut lengths = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        assert!(part.encoded_len() < 4 << 20);
        lengths.push(part.chunk_digests.len());
    }
    assert_eq!(lengths, [limits::CHUNKS_IN_MESSAGE_MAX, 1000]);
}

/// PROTOCOL 85, bad input: a store that breaks while a blob is cut or put together says so, and the call works afterwards.
#[tokio::test]
async fn a_full_disk_is_told() {
    let large = noise(18, 3_000_000);
    for sound in 0..6 {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Faulty::after(u64::MAX, Fault::Full, DiskStore::open(directory.path()).unwrap()));
        let stores = Stores { blobs: store.clone(), results: store.clone(), counters: Arc::default() };
        let server = TestServer::over(stores, directory, Porch::new(None)).await;
        let blob = server.put(large.clone()).await;
        let spliced = noise(19, 1_000_000);
        let chunks = pieces(&server, &spliced, 600_000).await;
        store.break_after(sound);
        refused(split(&server, blob).await, Code::ResourceExhausted);
        store.break_after(sound.min(4));
        refused(splice(&server, sha(&spliced), &chunks).await, Code::ResourceExhausted);
        store.heal();
        assert!(joined(&server, &split(&server, blob).await.unwrap().0).await == large);
        splice(&server, sha(&spliced), &chunks).await.unwrap();
        assert_eq!(server.staged_files(), 0);
    }
}

/// PROTOCOL 85: many who ask for one blob at once get one answer, and the store is no larger for it.
#[tokio::test(flavor = "multi_thread")]
async fn many_may_ask_for_the_chunks_of_one_blob() {
    let server = TestServer::start().await;
    let blob = server.put(noise(20, 6_000_000)).await;
    let answers = futures::future::join_all((0..50).map(|_| split(&server, blob))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().0).collect();
    assert!(answers.iter().all(|answer| answer == &answers[0]));
    let reads = server.stores.counters.counts().reads;
    assert!(reads <= limits::CHUNKINGS_AT_ONCE_MAX as u64, "the blob was read {reads} times");
}
