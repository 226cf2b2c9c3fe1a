//! `kill -9` in the middle of uploads.
use crate::server::{Client, PATIENCE, Program, assert_instant, noise, sha};
use bytes::Bytes;
use lre_model::{ActionDigest, Digest};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Uploads at the same time.
const UPLOADS: usize = 100;

/// Times that the server is killed.
const KILLS: u64 = 10;

/// What was sent, and what the server has said of it.
#[derive(Default)]
struct Told {
    /// By digest: the seed and the length, and whether it was acknowledged.
    blobs: Mutex<HashMap<Digest, (u64, usize, bool)>>,
    /// What was acknowledged of them.
    results: Mutex<Vec<(ActionDigest, Digest)>>,
    count: AtomicUsize,
    more: Notify,
}

impl Told {
    fn sent(&self, seed: u64) -> Bytes {
        let bytes = noise(seed, length(seed));
        self.blobs.lock().unwrap().insert(sha(&bytes), (seed, bytes.len(), false));
        bytes
    }

    fn acknowledged(&self, bytes: &Bytes) {
        self.blobs.lock().unwrap().get_mut(&sha(bytes)).unwrap().2 = true;
        self.count();
    }

    fn count(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.more.notify_one();
    }

    async fn wait_for(&self, count: usize) {
        let enough = async {
            while self.count.load(Ordering::SeqCst) < count {
                self.more.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, enough).await.expect("uploads go on");
    }
}

/// From 10 bytes to 2 MiB, most of them small.
fn length(seed: u64) -> usize {
    match seed % 25 {
        0 => 2 << 20,
        1 => 300_000,
        2..5 => 20_000 + (seed as usize * 7) % 50_000,
        5..9 => 3_000 + (seed as usize * 13) % 14_000,
        _ => 10 + (seed as usize * 31) % 2_000,
    }
}

/// Uploads one blob after the other in the ways that clients have, until the server is gone.
async fn upload(client: Client, told: Arc<Told>, first: u64) {
    for seed in (first..).step_by(UPLOADS) {
        let bytes = told.sent(seed);
        let sent = match seed % 2 {
            0 => client.stream(&bytes).await,
            _ => client.batch(std::slice::from_ref(&bytes)).await,
        };
        if sent.is_err() {
            return;
        }
        told.acknowledged(&bytes);
        let (action, stdout) = (ActionDigest(sha(&seed.to_le_bytes())), sha(&bytes));
        if seed % 3 == 0 {
            if client.put_result(action, stdout).await.is_err() {
                return;
            }
            told.results.lock().unwrap().push((action, stdout));
            told.count();
        }
    }
}

/// All that was acknowledged is there, byte for byte; of what was not, FindMissing tells the truth.
async fn check(client: &Client, told: &Told, since: u64) {
    let blobs = told.blobs.lock().unwrap().clone();
    let digests: Vec<_> = blobs.keys().copied().collect();
    let missing = client.missing(&digests).await;
    for digest in &missing {
        assert!(!blobs[digest].2, "{digest} was acknowledged and is missing");
        let read = client.read(*digest).await.expect_err("a missing blob is read");
        assert_eq!(read.code(), tonic::Code::NotFound, "{read:?}");
    }
    // What was looked at after an earlier kill is looked at again at the end.
    for (digest, (seed, length, _)) in blobs.iter().filter(|(_, (seed, ..))| *seed >= since) {
        if !missing.contains(digest) {
            let read = client.read(*digest).await.unwrap();
            assert!(read == noise(*seed, *length), "{digest} has other bytes");
        }
    }
    let results = told.results.lock().unwrap().clone();
    for (action, stdout) in results {
        assert_eq!(client.result(action).await, Some(stdout), "the result of {action}");
    }
}

/// Issue: kill -9 of a real server in the middle of 100 uploads, ten times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_in_the_middle_of_uploads() {
    let program = Program::new();
    let told = Arc::new(Told::default());
    let mut server = program.serve(&[]);
    let mut answered = Vec::new();
    for round in 0..KILLS {
        let since = round * 1_000_000;
        let mut uploads = JoinSet::new();
        let connections = [server.client().await, server.client().await, server.client().await];
        for i in 0..UPLOADS {
            uploads.spawn(upload(connections[i % 3].clone(), Arc::clone(&told), since + i as u64));
        }
        told.wait_for(told.count.load(Ordering::SeqCst) + 60 + 23 * round as usize).await;
        server.kill();
        uploads.join_all().await;
        server = program.serve(&[]);
        let client = server.client().await;
        client.missing(&[sha(b"whatever")]).await;
        answered.push(server.age());
        check(&client, &told, since).await;
    }
    check(&server.client().await, &told, 0).await;
    assert_instant(answered);
    let sent = told.blobs.lock().unwrap().len();
    let quarantined = std::fs::read_dir(program.store().join("quarantine")).unwrap().count();
    assert_eq!(quarantined, 0, "of {sent} blobs some were torn");
}
