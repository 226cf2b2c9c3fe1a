//! LIMITS 5: the HTTP cache's memory does not depend on the size of blobs. One test, alone in its process, because it looks
//! at the memory of the whole process; client and server are both in it.
mod common;
#[path = "common/http.rs"]
mod http;

use common::{TestServer, noise};
use http::Wire;
use lre_model::{DigestFunction, Hasher};
use std::time::Instant;
use tokio::io::AsyncReadExt;

const MIB: u64 = 1 << 20;

/// Size of the blobs. More than twice what may stay in memory is proof enough on every run; `LRE_LARGE_MIB=4096` is for a run by
/// hand (SPECIFICATION: blobs of 4 GiB).
fn blob_bytes() -> u64 {
    std::env::var("LRE_LARGE_MIB").map_or(256, |mib| mib.parse::<u64>().expect("LRE_LARGE_MIB is a number")) * MIB
}

/// Growth of resident memory that buffers and allocators may cause, in bytes.
const GROWTH_MAX: u64 = 32 * MIB;

fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Runs `work` and looks at the growth of the peak of resident memory meanwhile.
async fn in_little_memory(what: &str, work: impl Future<Output = ()>) {
    let before = memory("VmRSS:");
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let begin = Instant::now();
    work.await;
    let (seconds, grown) = (begin.elapsed().as_secs_f64(), memory("VmHWM:").saturating_sub(before));
    let rate = blob_bytes() as f64 / 1e6 / seconds;
    eprintln!("{what}: {} MiB in {seconds:.2} s, {rate:.0} MB/s, memory +{} MiB", blob_bytes() / MIB, grown / MIB);
    assert!(grown < GROWTH_MAX, "{what}: {} MiB", grown / MIB);
}

/// PROTOCOL 89: blobs and values of any size pass through memory that does not grow with them, with their length announced or in
/// chunks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_pass_through_little_memory() {
    let server = TestServer::start().await;
    let piece = noise(2, 256 * 1024);
    let times = blob_bytes() / piece.len() as u64;
    let mut hasher = Hasher::new(DigestFunction::Sha256);
    (0..times).for_each(|_| hasher.update(&piece));
    let digest = hasher.finish();
    let path = format!("/cas/{}", digest.hash_text());
    let mut wire = Wire::connect(server.tcp).await;
    assert_eq!(wire.ask("PUT", "/webdav/warm", &[], &piece).await.status, 201);
    in_little_memory("PUT in chunks of a value", async {
        let head = "PUT /webdav/large HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        wire.send(head.as_bytes()).await;
        for _ in 0..times {
            wire.send(format!("{:x}\r\n", piece.len()).as_bytes()).await;
            wire.send(&piece).await;
            wire.send(b"\r\n").await;
        }
        wire.send(b"0\r\n\r\n").await;
        assert_eq!(wire.answer("PUT").await.status, 201);
    })
    .await;
    assert!(server.has(digest).await, "a value is a blob");
    in_little_memory("PUT of a blob", async {
        let length = digest.size_bytes();
        wire.send(format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n").as_bytes())
            .await;
        for _ in 0..times {
            wire.send(&piece).await;
        }
        assert_eq!(wire.answer("PUT").await.status, 200);
    })
    .await;
    in_little_memory("GET", async {
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
        assert_eq!(wire.head().await.header("content-length"), digest.size_bytes().to_string());
        let mut buffer = vec![0; piece.len()];
        for _ in 0..times {
            wire.stream.read_exact(&mut buffer).await.unwrap();
            assert!(buffer == piece);
        }
    })
    .await;
    assert_eq!(server.staged_files(), 0);
}
