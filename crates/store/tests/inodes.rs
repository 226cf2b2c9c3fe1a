//! Files to link to.
use bytes::Bytes;
use lre_model::{Digest, DigestFunction};
use lre_store::{BlobStore, DiskStore, Inodes, MTIME_SECONDS, MemoryStore, StoreError};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

const F: DigestFunction = DigestFunction::Sha256;

fn of(text: &str) -> Digest {
    Digest::of(F, text.as_bytes())
}

async fn keep(store: &dyn BlobStore, text: &'static str) -> Digest {
    store.write(of(text), Bytes::from_static(text.as_bytes()).into()).await.unwrap();
    of(text)
}

fn check(path: &Path, text: &str, mode: u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    assert!(metadata.is_file());
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (mode, MTIME_SECONDS), "{}", path.display());
    assert_eq!(fs::read_to_string(path).unwrap(), text);
}

#[tokio::test]
async fn plain_is_the_stores_own_file_and_executable_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(&dir.path().join("store")).unwrap();
    let inodes = Inodes::new(dir.path().join("store/inodes")).unwrap();
    let digest = keep(&store, "tool").await;
    let plain = inodes.path(&store, digest, false).await.unwrap();
    let executable = inodes.path(&store, digest, true).await.unwrap();
    assert!(plain.starts_with(store.directory().join("blobs")));
    check(&plain, "tool", 0o444);
    check(&executable, "tool", 0o555);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_ne!(inode(&plain), inode(&executable), "links share the mode, so these are two files");
    let again = inodes.path(&store, digest, true).await.unwrap();
    assert_eq!(inode(&again), inode(&executable), "copied once");
    fs::hard_link(&executable, dir.path().join("linked")).unwrap();
    fs::hard_link(&plain, dir.path().join("linked too")).unwrap();
}

/// Also of what is in memory, as small blobs are that came a moment ago.
#[tokio::test]
async fn no_plain_file_of_the_store_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(&dir.path().join("store")).unwrap();
    let inodes = Inodes::new(dir.path().join("store/inodes")).unwrap();
    for n in 0..1000_u32 {
        let bytes = Bytes::copy_from_slice(&n.to_le_bytes());
        let digest = Digest::of(F, &bytes);
        store.write(digest, bytes.into()).await.unwrap();
        let path = inodes.path(&store, digest, false).await.unwrap();
        assert!(path.starts_with(store.directory().join("blobs")), "{n} is {}", path.display());
    }
}

#[tokio::test]
async fn blobs_without_a_file_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    let inodes = Inodes::new(dir.path().join("inodes")).unwrap();
    let (memory, disk) = (MemoryStore::default(), DiskStore::open(&dir.path().join("store")).unwrap());
    let digest = keep(&memory, "in memory").await;
    check(&inodes.path(&memory, digest, false).await.unwrap(), "in memory", 0o444);
    check(&inodes.path(&memory, digest, true).await.unwrap(), "in memory", 0o555);
    for function in DigestFunction::ALL {
        let empty = Digest::empty(function);
        check(&inodes.path(&disk, empty, false).await.unwrap(), "", 0o444);
        check(&inodes.path(&disk, empty, true).await.unwrap(), "", 0o555);
    }
    let missing = inodes.path(&disk, of("missing"), true).await;
    assert!(matches!(missing, Err(StoreError::Missing(d)) if d == of("missing")));
    let left = fs::read_dir(dir.path().join("inodes/temporary")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn many_may_ask_for_one_file_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let inodes = Arc::new(Inodes::new(dir.path().join("inodes")).unwrap());
    let store = Arc::new(DiskStore::open(&dir.path().join("store")).unwrap());
    let digest = keep(&*store, "wanted").await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (inodes, store) = (inodes.clone(), store.clone());
        all.spawn(async move { inodes.path(&*store, digest, true).await.unwrap() });
    }
    while let Some(path) = all.join_next().await {
        check(&path.unwrap(), "wanted", 0o555);
    }
}

/// A copy whose mode or length somebody changed is made anew, and one of another boot, whose bytes may
/// never have reached the disk, is not believed.
#[tokio::test]
async fn a_damaged_copy_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("store/inodes");
    let store = DiskStore::open(&dir.path().join("store")).unwrap();
    let inodes = Inodes::new(&at).unwrap();
    let digest = keep(&store, "tool").await;
    let path = inodes.path(&store, digest, true).await.unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "to").unwrap();
    check(&inodes.path(&store, digest, true).await.unwrap(), "tool", 0o555);
    // The same boot keeps the copies, another does not.
    let inode = fs::metadata(&path).unwrap().ino();
    let inodes = Inodes::new(&at).unwrap();
    assert_eq!(fs::metadata(inodes.path(&store, digest, true).await.unwrap()).unwrap().ino(), inode);
    fs::write(at.join("boot"), "another boot").unwrap();
    fs::write(at.join("temporary/3"), "left by a killed process").unwrap();
    let inodes = Inodes::new(&at).unwrap();
    assert!(!path.exists());
    assert_eq!(fs::read_dir(at.join("temporary")).unwrap().count(), 0);
    check(&inodes.path(&store, digest, true).await.unwrap(), "tool", 0o555);
}
