//! LIMITS 5: the server's memory does not depend on the size of blobs. One test, alone in its process,
//! because it looks at the memory of the whole process; client and server are both in it.
mod common;

use bytes::Bytes;
use common::{TestServer, blob_name, messages, noise, upload_name};
use lre_model::Compressor::{Identity, Zstd};
use lre_model::{Compressor, Digest, DigestFunction, Hasher};
use lre_proto::bytestream::{ReadRequest, WriteRequest};
use lre_proto::re::{SpliceBlobRequest, SplitBlobRequest};
use std::time::Instant;

const MIB: u64 = 1 << 20;

/// Size of the blobs. Four times what may stay in memory is proof enough on every run; `LRE_LARGE_MIB=4096` is for a run by
/// hand.
fn blob_bytes() -> u64 {
    std::env::var("LRE_LARGE_MIB").map_or(256, |mib| mib.parse::<u64>().expect("LRE_LARGE_MIB is a number")) * MIB
}

/// Growth of resident memory that streams, windows of 8 MiB and allocators may cause, in bytes.
const GROWTH_MAX: u64 = 64 * MIB;

fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Runs `work` and gives the growth of the peak of resident memory meanwhile.
async fn growth<T>(work: impl Future<Output = T>) -> (T, u64) {
    let before = memory("VmRSS:");
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let value = work.await;
    (value, memory("VmHWM:").saturating_sub(before))
}

/// The blob that is `piece` again and again.
fn repeated(piece: &[u8], times: u64) -> Digest {
    let mut hasher = Hasher::new(DigestFunction::Sha256);
    (0..times).for_each(|_| hasher.update(piece));
    hasher.finish()
}

async fn write(server: &TestServer, compressor: Compressor, digest: Digest, piece: Bytes, times: u64) {
    let name = upload_name("large", compressor, digest);
    let length = piece.len() as u64;
    let all = (0..times).map(move |i| WriteRequest {
        resource_name: if i == 0 { name.clone() } else { String::new() },
        write_offset: (i * length) as i64,
        finish_write: i + 1 == times,
        data: piece.clone(),
    });
    server.bytes().write(tokio_stream::iter(all)).await.unwrap();
}

async fn read(server: &TestServer, compressor: Compressor, digest: Digest) -> u64 {
    let request = ReadRequest { resource_name: blob_name(compressor, digest), ..Default::default() };
    let mut stream = server.bytes().read(request).await.unwrap().into_inner();
    let mut bytes = 0;
    while let Some(message) = stream.message().await.unwrap() {
        bytes += message.data.len() as u64;
    }
    bytes
}

fn report(what: &str, bytes: u64, begin: Instant, growth: u64) {
    let seconds = begin.elapsed().as_secs_f64();
    let rate = bytes as f64 / 1e6 / seconds;
    eprintln!("{what}: {} MiB in {seconds:.2} s, {rate:.0} MB/s, memory +{} MiB", bytes / MIB, growth / MIB);
    assert!(growth < GROWTH_MAX, "{what}: {} MiB", growth / MIB);
}

/// PROTOCOL 17, 35, 40, 41, 85: blobs of any size pass, plain and as zstd, through memory that does not grow with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_blobs_pass_through_little_memory() {
    let server = TestServer::start().await;
    // Warm: connection, threads, buffers.
    let warm = noise(1, 1 << 20);
    server.write(messages(&upload_name("warm", Identity, common::sha(&warm)), &warm, 1 << 16, 0)).await.unwrap();

    let piece = noise(2, 256 * 1024);
    let times = blob_bytes() / piece.len() as u64;
    let digest = repeated(&piece, times);
    let begin = Instant::now();
    let ((), grown) = growth(write(&server, Identity, digest, piece.clone(), times)).await;
    report("write", digest.size_bytes(), begin, grown);
    let begin = Instant::now();
    let (bytes, grown) = growth(read(&server, Identity, digest)).await;
    report("read", bytes, begin, grown);
    assert_eq!(bytes, digest.size_bytes());
    let begin = Instant::now();
    let (packed, grown) = growth(read(&server, Zstd, digest)).await;
    report("read as zstd", digest.size_bytes(), begin, grown);
    assert!(packed > 0);

    // Cut into chunks, and put together of them.
    let request = SplitBlobRequest { blob_digest: Some(digest.to_wire()), ..Default::default() };
    let begin = Instant::now();
    let (answer, grown) = growth(server.cas().split_blob(request)).await;
    report("split", digest.size_bytes(), begin, grown);
    let chunk_digests = answer.unwrap().into_inner().chunk_digests;
    let twice = repeated(&piece, times * 2);
    let chunk_digests = [&chunk_digests[..], &chunk_digests[..]].concat();
    let request = SpliceBlobRequest { blob_digest: Some(twice.to_wire()), chunk_digests, ..Default::default() };
    let begin = Instant::now();
    let (answer, grown) = growth(server.cas().splice_blob(request)).await;
    report("splice", twice.size_bytes(), begin, grown);
    answer.unwrap();

    // Hundreds of megabytes out of some kilobytes.
    let zeros = vec![0; 1 << 20];
    let times = blob_bytes() / MIB;
    let digest = repeated(&zeros, times);
    let frame = common::zstd(&zeros);
    let begin = Instant::now();
    let ((), grown) = growth(write(&server, Zstd, digest, frame, times)).await;
    report("write of zstd", digest.size_bytes(), begin, grown);
    assert!(server.has(digest).await);
    assert_eq!(server.staged_files(), 0);
}
