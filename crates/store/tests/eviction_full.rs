//! Eviction where there is no room to write down what is evicted. The test runs itself again on a file system of 12 MiB, in
//! namespaces of its own.
use bytes::Bytes;
use lre_model::{Digest, DigestFunction};
use lre_store::{Blob, BlobStore, Budget, DiskStore, Progress, StoreError};
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::process::Command;
use std::time::Duration;

/// Says to the process that its temporary folder is the small disk.
const ROLE: &str = "LRE_EVICTION_FULL_TEST";

const F: DigestFunction = DigestFunction::Blake3;
const SIZE: usize = 200_000;

fn quietly(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn content(n: u64) -> Bytes {
    n.to_le_bytes().repeat(SIZE / 8).into()
}

async fn write(store: &DiskStore, n: u64) -> Result<Digest, StoreError> {
    let digest = Digest::of(F, &content(n));
    store.write(digest, Blob::Bytes(content(n))).await.map(|()| digest)
}

#[tokio::test]
async fn on_a_full_disk_eviction_makes_room() {
    if std::env::var_os(ROLE).is_some() {
        return on_a_small_disk().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=12m none \"$TMPDIR\" && exec \"$0\" --nocapture";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
    let output = command.env(ROLE, "1").env("TMPDIR", folder.path()).output().expect("unshare is there (util-linux)");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

async fn on_a_small_disk() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("store");
    let store = DiskStore::open(&at).unwrap();
    let mut there = Vec::new();
    let error = loop {
        match write(&store, there.len() as u64).await {
            Ok(digest) => there.push(digest),
            Err(error) => break error,
        }
        assert!(there.len() < 100, "not the small disk");
    };
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    let mut ballast = File::create(dir.path().join("ballast")).unwrap();
    while ballast.write_all(&[1; 4096]).is_ok() {}
    // The log has no page left either, once what is left of its last one is used up.
    let mut small = 0_u64;
    let full = loop {
        let bytes = Bytes::from(small.to_le_bytes().to_vec());
        match store.write(Digest::of(F, &bytes), Blob::Bytes(bytes)).await {
            Ok(()) => small += 1,
            Err(error) => break error,
        }
        assert!(small < 100_000, "not full");
    };
    assert!(matches!(full, StoreError::Full(_)), "{full:?}");
    store.pass_time(Duration::from_secs(24 * 3600));
    // A look is a promise, on a full disk too.
    let (hold, missing) = store.hold(&there[..2]).await.unwrap();
    assert!(missing.is_empty());
    drop(hold);
    let collected = store.gc(Some(0), false, quietly).unwrap();
    assert_eq!(collected.blobs.count, there.len() as u64 - 2 + small, "{collected:?}");
    assert!(there[..2].iter().all(|digest| store.peek(*digest).is_some()));
    assert!(there[2..].iter().all(|digest| store.peek(*digest).is_none()));
    let again = write(&store, 1000).await.unwrap();
    drop(store);
    let store = DiskStore::open(&at).unwrap();
    for digest in [there[0], there[1], again] {
        assert_eq!(store.read(digest).await.unwrap().size_bytes(), SIZE as u64);
    }
    assert_eq!(store.hold(&there).await.unwrap().1, there[2..], "and what went has gone for good");
    a_share_of_a_small_disk(&store).await;
}

/// The default budget gives way to others: half of what they leave, though never less than the last builds have used.
async fn a_share_of_a_small_disk(store: &DiskStore) {
    store.set_budget(Budget::Share).unwrap();
    let share = store.budget_bytes().unwrap();
    assert!((1 << 20..6 << 20).contains(&share), "{share}");
    store.pass_time(Duration::from_secs(48 * 3600));
    let young = write(store, 2000).await.unwrap();
    let collected = store.gc(None, false, quietly).unwrap();
    assert!(collected.target_bytes < share && collected.after_bytes <= collected.target_bytes, "{collected:?}");
    assert!(store.peek(young).is_some());
}
