//! How long it takes from the start of the process to its first answer.
use crate::server::{Program, assert_instant, noise, sha};
use lre_store::{Blob, BlobStore, DiskStore};
use std::path::PathBuf;
use std::process::Command;

/// Says to the process that it is the one that fills a store and is killed.
const ROLE: &str = "LRE_TEST_FILLS";

/// In this test; the benchmark has a million.
const BLOBS: u64 = 100_000;

fn blob(n: u64) -> Blob {
    noise(n, 100 + (n % 300) as usize).into()
}

/// Issue: with many blobs the server answers its first FindMissing within one second of its start, also after kill -9.
#[tokio::test]
async fn a_start_is_instant_however_much_there_is() {
    if let Some(store) = std::env::var_os(ROLE) {
        return fill(store.into()).await;
    }
    let program = Program::new();
    let this = std::env::current_exe().unwrap();
    let mut filler = Command::new(this);
    filler.args(["--exact", "start::a_start_is_instant_however_much_there_is", "--nocapture"]);
    let ended = filler.env(ROLE, program.store()).output().unwrap();
    assert!(!ended.status.success(), "it was to be killed");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(said.contains("filled"), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    let some: Vec<_> = (0..BLOBS).step_by(997).map(|n| sha(&noise(n, 100 + (n % 300) as usize))).collect();
    // After the kill of whoever wrote them, after the kill of a server, and after that of one that has looked at nothing.
    let mut answered = Vec::new();
    for _ in 0..3 {
        let server = program.serve(&[]);
        let client = server.client().await;
        assert_eq!(client.missing(&some).await, []);
        answered.push(server.age());
        server.kill();
    }
    eprintln!("first answers after {answered:?}");
    assert_instant(answered);
}

async fn fill(store: PathBuf) {
    let store = DiskStore::open(&store).unwrap();
    for first in (0..BLOBS).step_by(500) {
        let blobs = (first..first + 500).map(|n| (sha(&noise(n, 100 + (n % 300) as usize)), blob(n))).collect();
        store.write_many(blobs).await.into_iter().for_each(|written| written.unwrap());
    }
    println!("filled");
    let this = rustix::process::getpid();
    rustix::process::kill_process(this, rustix::process::Signal::KILL).unwrap();
}
