//! What every [`BlobStore`] promises. Each case gets an empty store.
use crate::TreeBuilder;
use bytes::Bytes;
use lre_model::{Digest, DigestFunction};
use lre_store::{Blob, BlobStore, FileBlob, Origin, StoreError};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sizes around the limits where stores, messages and streams change their ways.
const SIZES: [usize; 4] = [1, 4095, 64 * 1024, 64 * 1024 + 1];
/// Larger than any message of gRPC.
const LARGE: usize = 5 * 1024 * 1024;

/// Bytes that differ from place to place, so that pieces put together in the wrong order are noticed.
pub fn bytes(size: usize, seed: u8) -> Bytes {
    let mut bytes = Vec::with_capacity(size + 8);
    let mut state = u64::from(seed) + 1;
    while bytes.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 8).to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

async fn content(store: &impl BlobStore, digest: Digest) -> Bytes {
    let blob = store.read(digest).await.unwrap_or_else(|e| panic!("reading {digest}: {e}"));
    assert_eq!(blob.size_bytes(), digest.size_bytes(), "the size is that of the digest");
    blob.into_bytes(u64::MAX).await.unwrap()
}

async fn assert_absent(store: &impl BlobStore, digest: Digest, why: &str) {
    let (hold, missing) = store.hold(&[digest]).await.unwrap();
    assert_eq!((hold.digests().len(), missing), (0, vec![digest]), "{why}");
    let read = store.read(digest).await;
    assert!(matches!(read, Err(StoreError::Missing(d)) if d == digest), "{why}: {read:?}");
}

async fn assert_present(store: &impl BlobStore, expected: &Bytes, digest: Digest, why: &str) {
    let (hold, missing) = store.hold(&[digest]).await.unwrap();
    assert!(missing.is_empty() && hold.digests() == [digest], "{why}");
    assert!(content(store, digest).await == *expected, "{why}: other bytes");
}

/// A scratch folder, so that files can be given in all three origins.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn open(path: &Path, origin: Origin) -> Blob {
    Blob::File(FileBlob::open(path, origin).unwrap())
}

pub async fn what_nobody_wrote_is_missing<S: BlobStore>(store: Arc<S>) {
    for function in DigestFunction::ALL {
        assert_absent(&*store, Digest::of(function, b"never written"), "nobody wrote it").await;
    }
    let (hold, missing) = store.hold(&[]).await.unwrap();
    assert!(hold.digests().is_empty() && missing.is_empty());
}

pub async fn missing_blobs_are_named_once_and_in_order<S: BlobStore>(store: Arc<S>) {
    for function in DigestFunction::ALL {
        let digest = |text: &str| Digest::of(function, text.as_bytes());
        let (here, a, b, c) = (digest("here"), digest("a"), digest("b"), digest("c"));
        store.write(here, Bytes::from_static(b"here").into()).await.unwrap();
        for asked in [[c, here, a, c, b, a, here, b], [a, a, b, here, here, c, c, a], [b, c, a, b, c, a, here, here]] {
            let (hold, missing) = store.hold(&asked).await.unwrap();
            let mut expected = Vec::new();
            for d in asked {
                if d != here && !expected.contains(&d) {
                    expected.push(d);
                }
            }
            assert_eq!(missing, expected, "asked for {asked:?}");
            assert!(hold.digests().contains(&here) && hold.digests().iter().all(|d| *d == here));
        }
    }
}

pub async fn a_tree_is_held_with_all_that_it_names<S: BlobStore>(store: Arc<S>) {
    for function in DigestFunction::ALL {
        let built =
            TreeBuilder::new(function).file("a/b/x", "x").file("a/y", "y").file("c/x", "x").file("e", "").build();
        let (tree, beside) = (built.subtree(), Digest::of(function, b"beside"));
        let mut there: Vec<Digest> = Vec::new();
        // One more each time, the root last: what is below a directory counts also where the directory is missing.
        for (digest, bytes) in built.blobs.iter().filter(|(digest, _)| **digest != built.root.0) {
            let (_hold, missing) = store.hold_tree(&tree, &[beside, beside]).await.unwrap();
            for blob in tree.blobs().into_iter().chain([beside]).filter(|blob| !blob.is_empty_blob()) {
                let times = missing.iter().filter(|digest| **digest == blob).count();
                assert_eq!(times, usize::from(!there.contains(&blob)), "{blob} of {missing:?}, {there:?} is there");
            }
            store.write(*digest, bytes.clone().into()).await.unwrap();
            there.push(*digest);
        }
        assert_eq!(store.hold_tree(&tree, &[]).await.unwrap().1, [built.root.0]);
        store.write(built.root.0, built.blobs[&built.root.0].clone().into()).await.unwrap();
        for _ in 0..2 {
            assert_eq!(store.hold_tree(&tree, &[]).await.unwrap().1, []);
            assert_eq!(store.hold_tree(&tree, &[beside]).await.unwrap().1, [beside]);
        }
    }
}

pub async fn what_was_written_is_read_back<S: BlobStore>(store: Arc<S>) {
    let scratch = Scratch::new();
    for function in DigestFunction::ALL {
        for (i, size) in SIZES.into_iter().chain([LARGE]).enumerate() {
            let as_bytes = bytes(size, i as u8);
            let digest = Digest::of(function, &as_bytes);
            store.write(digest, as_bytes.clone().into()).await.unwrap();
            assert_present(&*store, &as_bytes, digest, &format!("{size} bytes from memory")).await;
            for (j, origin) in [Origin::Foreign, Origin::Owned, Origin::Store].into_iter().enumerate() {
                for hashed in [false, true] {
                    // A large file that was hashed goes the same ways as a small one.
                    if size == LARGE && hashed != (origin == Origin::Owned) {
                        continue;
                    }
                    let seed = 100 + (i * 8 + j * 2) as u8 + u8::from(hashed);
                    let in_file = bytes(size, seed);
                    let path = scratch.file(&format!("{}-{size}-{seed}", function.name()), &in_file);
                    let digest = Digest::of(function, &in_file);
                    let blob = match hashed {
                        true => Blob::File(FileBlob::hash(&path, origin, function).unwrap().1),
                        false => open(&path, origin),
                    };
                    store.write(digest, blob).await.unwrap();
                    assert_present(&*store, &in_file, digest, &format!("{size} bytes, {origin:?}")).await;
                }
            }
        }
    }
}

pub async fn wrong_bytes_are_refused_and_nothing_is_kept<S: BlobStore>(store: Arc<S>) {
    let scratch = Scratch::new();
    for function in DigestFunction::ALL {
        for size in SIZES.into_iter().chain([LARGE]) {
            let digest = Digest::of(function, &bytes(size, 1));
            let wrong: [(&str, Bytes); 4] = [
                ("as many", bytes(size, 2)),
                ("fewer", bytes(size - 1, 1)),
                ("more", bytes(size + 1, 1)),
                ("none", Bytes::new()),
            ];
            for (kind, wrong) in wrong {
                let refused = store.write(digest, wrong.clone().into()).await;
                assert!(
                    matches!(refused, Err(StoreError::Corrupt { expected, .. }) if expected == digest),
                    "{refused:?}"
                );
                for origin in [Origin::Foreign, Origin::Owned, Origin::Store] {
                    if size == LARGE && kind != "fewer" {
                        break;
                    }
                    let refused = store.write(digest, open(&scratch.file("wrong", &wrong), origin)).await;
                    assert!(matches!(refused, Err(StoreError::Corrupt { expected, .. }) if expected == digest));
                }
                let (_, blob) = FileBlob::hash(scratch.file("wrong", &wrong), Origin::Owned, function).unwrap();
                let refused = store.write(digest, Blob::File(blob)).await;
                assert!(matches!(refused, Err(StoreError::Corrupt { expected, .. }) if expected == digest));
                assert_absent(&*store, digest, &format!("{kind} bytes for {size} were refused")).await;
                if !wrong.is_empty() {
                    assert_absent(&*store, Digest::of(function, &wrong), "nor is it kept under its true name").await;
                }
            }
        }
    }
}

/// A store may say that it has the blob already, or that these are other bytes; the blob stays.
pub async fn wrong_bytes_do_not_replace_the_right_ones<S: BlobStore>(store: Arc<S>) {
    for size in [10, 100 * 1024] {
        let right = bytes(size, 1);
        let digest = Digest::of(DigestFunction::Sha256, &right);
        store.write(digest, right.clone().into()).await.unwrap();
        let _ = store.write(digest, bytes(size, 2).into()).await;
        let _ = store.write(digest, bytes(size + 1, 1).into()).await;
        assert_present(&*store, &right, digest, "wrong bytes came afterwards").await;
    }
}

/// PROTOCOL, 26: never uploaded, always there.
pub async fn the_empty_blob_is_always_present<S: BlobStore>(store: Arc<S>) {
    let scratch = Scratch::new();
    for function in DigestFunction::ALL {
        let empty = Digest::empty(function);
        assert_present(&*store, &Bytes::new(), empty, "never written").await;
        store.write(empty, Bytes::new().into()).await.unwrap();
        store.write(empty, open(&scratch.file("empty", b""), Origin::Foreign)).await.unwrap();
        store.write(empty, open(&scratch.file("empty", b""), Origin::Owned)).await.unwrap();
        assert_present(&*store, &Bytes::new(), empty, "written").await;
        let full = store.write(empty, Bytes::from_static(b"x").into()).await;
        assert!(matches!(full, Err(StoreError::Corrupt { .. })), "{full:?}");
        let full = store.write(empty, open(&scratch.file("full", b"x"), Origin::Foreign)).await;
        assert!(matches!(full, Err(StoreError::Corrupt { .. })), "{full:?}");
        assert_present(&*store, &Bytes::new(), empty, "still").await;
    }
}

pub async fn zero_size_with_another_hash_is_absent<S: BlobStore>(store: Arc<S>) {
    for function in DigestFunction::ALL {
        let one = Digest::of(function, b"x");
        store.write(one, Bytes::from_static(b"x").into()).await.unwrap();
        for hash in ["00".repeat(32), one.hash_text()] {
            let odd = Digest::parse(function, &hash, 0).unwrap();
            assert_absent(&*store, odd, "nothing has this digest").await;
            let refused = store.write(odd, Bytes::new().into()).await;
            assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
            assert_absent(&*store, odd, "it was refused").await;
        }
    }
}

pub async fn the_same_hash_with_another_size_is_absent<S: BlobStore>(store: Arc<S>) {
    for function in DigestFunction::ALL {
        for size in [10, 100 * 1024] {
            let right = bytes(size, 3);
            let digest = Digest::of(function, &right);
            let sized = |size: usize| Digest::parse(function, &digest.hash_text(), size as i64).unwrap();
            let others = [sized(size - 1), sized(size + 1), sized(0), sized(1 << 40)];
            for other in others {
                assert_absent(&*store, other, "before").await;
                let refused = store.write(other, right.clone().into()).await;
                assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
            }
            store.write(digest, right.clone().into()).await.unwrap();
            for other in others {
                assert_absent(&*store, other, "the size is part of the digest").await;
                let refused = store.write(other, right.clone().into()).await;
                assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
                assert_present(&*store, &right, digest, "asked with a wrong size before").await;
            }
        }
    }
}

/// PROTOCOL, 23: one store, two functions, never mixed.
pub async fn digest_functions_are_not_mixed<S: BlobStore>(store: Arc<S>) {
    let (sha, blake) = (Digest::of(DigestFunction::Sha256, b"both"), Digest::of(DigestFunction::Blake3, b"both"));
    let both = Bytes::from_static(b"both");
    store.write(sha, both.clone().into()).await.unwrap();
    assert_absent(&*store, blake, "only the other function's was written").await;
    let crossed = Digest::parse(DigestFunction::Blake3, &sha.hash_text(), 4).unwrap();
    assert_absent(&*store, crossed, "a hash of SHA-256 is no hash of BLAKE3").await;
    let refused = store.write(crossed, both.clone().into()).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    store.write(blake, both.clone().into()).await.unwrap();
    assert_present(&*store, &both, sha, "SHA-256").await;
    assert_present(&*store, &both, blake, "BLAKE3").await;
    // A file that was hashed with one function is not believed under the other.
    let scratch = Scratch::new();
    let (sha, file) = FileBlob::hash(scratch.file("f", b"other"), Origin::Owned, DigestFunction::Sha256).unwrap();
    let crossed = Digest::parse(DigestFunction::Blake3, &sha.hash_text(), 5).unwrap();
    let refused = store.write(crossed, Blob::File(file.clone())).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    store.write(sha, Blob::File(file.clone())).await.unwrap();
    let blake = Digest::of(DigestFunction::Blake3, b"other");
    store.write(blake, Blob::File(file)).await.unwrap();
    assert_present(&*store, &Bytes::from_static(b"other"), blake, "BLAKE3").await;
}

pub async fn a_blob_may_be_written_twice<S: BlobStore>(store: Arc<S>) {
    let scratch = Scratch::new();
    for size in [10, 100 * 1024] {
        let right = bytes(size, 4);
        let digest = Digest::of(DigestFunction::Sha256, &right);
        for _ in 0..2 {
            store.write(digest, right.clone().into()).await.unwrap();
            store.write(digest, open(&scratch.file("foreign", &right), Origin::Foreign)).await.unwrap();
            store.write(digest, open(&scratch.file("owned", &right), Origin::Owned)).await.unwrap();
            std::fs::remove_file(scratch.0.path().join("owned")).unwrap();
        }
        assert_present(&*store, &right, digest, "written six times").await;
    }
}

pub async fn a_blob_may_be_written_by_many_at_once<S: BlobStore + 'static>(store: Arc<S>) {
    let scratch = Arc::new(Scratch::new());
    for size in [10, 64 * 1024 + 1, 1024 * 1024] {
        let right = bytes(size, 5);
        let digest = Digest::of(DigestFunction::Sha256, &right);
        let mut writers = tokio::task::JoinSet::new();
        for i in 0..24 {
            let (store, right, scratch) = (store.clone(), right.clone(), scratch.clone());
            writers.spawn(async move {
                let wrong = i % 6 == 5;
                let blob = match i % 3 {
                    _ if wrong => bytes(size, 6).into(),
                    0 => right.into(),
                    1 => open(&scratch.file(&format!("{i}"), &right), Origin::Foreign),
                    _ => open(&scratch.file(&format!("{i}"), &right), Origin::Owned),
                };
                (wrong, store.write(digest, blob).await, store.read(digest).await)
            });
        }
        while let Some(done) = writers.join_next().await {
            let (wrong, written, read) = done.unwrap();
            assert!(wrong || written.is_ok(), "{written:?}");
            match read {
                Ok(blob) => assert!(blob.into_bytes(u64::MAX).await.unwrap() == right, "never half of it"),
                Err(e) => assert!(wrong && matches!(e, StoreError::Missing(_)), "{e}"),
            }
        }
        assert_present(&*store, &right, digest, "all are done").await;
    }
}

pub async fn a_foreign_file_may_change_afterwards<S: BlobStore>(store: Arc<S>) {
    let scratch = Scratch::new();
    for size in [10, 100 * 1024, 5 * 1024 * 1024] {
        let right = bytes(size, 7);
        let digest = Digest::of(DigestFunction::Sha256, &right);
        let path = scratch.file("foreign", &right);
        // Whoever owns it has it open, and writes to it through the same inode.
        let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let (_, blob) = FileBlob::hash(&path, Origin::Foreign, DigestFunction::Sha256).unwrap();
        store.write(digest, Blob::File(blob)).await.unwrap();
        writer.write_all(b"changed").unwrap();
        assert_present(&*store, &right, digest, "its source has changed").await;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_ne!(mode & 0o200, 0, "the file of somebody else was not touched");
        // And the changed file is not believed to be what it was.
        let other = Digest::of(DigestFunction::Blake3, &right);
        let refused = store.write(other, open(&path, Origin::Foreign)).await;
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    }
}

pub async fn an_owned_file_may_go_away_afterwards<S: BlobStore>(store: Arc<S>) {
    let scratch = Scratch::new();
    for size in [10, 100 * 1024] {
        let right = bytes(size, 8);
        let digest = Digest::of(DigestFunction::Sha256, &right);
        let path = scratch.file("owned", &right);
        store.write(digest, open(&path, Origin::Owned)).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_present(&*store, &right, digest, "its source is gone").await;
        // One that has a second name, through which somebody may write later.
        let right = bytes(size, 9);
        let digest = Digest::of(DigestFunction::Sha256, &right);
        let (path, second) = (scratch.file("owned", &right), scratch.0.path().join("second"));
        std::fs::hard_link(&path, &second).unwrap();
        store.write(digest, open(&path, Origin::Owned)).await.unwrap();
        let mut permissions = std::fs::metadata(&second).unwrap().permissions();
        permissions.set_mode(0o644);
        std::fs::set_permissions(&second, permissions).unwrap();
        std::fs::write(&second, b"changed").unwrap();
        assert_present(&*store, &right, digest, "its second name was written to").await;
        std::fs::remove_file(&second).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}

pub async fn a_file_of_another_store_may_go_away_afterwards<S: BlobStore>(store: Arc<S>) {
    let dir = tempfile::tempdir().unwrap();
    let other = lre_store::DiskStore::open(dir.path()).unwrap();
    for size in [10, 100 * 1024] {
        let right = bytes(size, 10);
        let digest = Digest::of(DigestFunction::Blake3, &right);
        other.write(digest, right.clone().into()).await.unwrap();
        store.write(digest, other.read(digest).await.unwrap()).await.unwrap();
    }
    drop(other);
    dir.close().unwrap();
    for size in [10, 100 * 1024] {
        let right = bytes(size, 10);
        assert_present(&*store, &right, Digest::of(DigestFunction::Blake3, &right), "its source is gone").await;
    }
}

pub async fn a_file_that_was_cut_after_it_was_opened_is_refused<S: BlobStore>(store: Arc<S>) {
    let scratch = Scratch::new();
    for size in [10, 100 * 1024] {
        let right = bytes(size, 11);
        let digest = Digest::of(DigestFunction::Sha256, &right);
        let path = scratch.file("cut", &right);
        let blob = open(&path, Origin::Foreign);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(size as u64 - 1).unwrap();
        let refused = store.write(digest, blob).await;
        assert!(refused.is_err(), "the file is shorter than it was");
        assert_absent(&*store, digest, "it was refused").await;
    }
}

pub async fn pieces_can_be_read<S: BlobStore>(store: Arc<S>) {
    for size in [100, 200 * 1024, 5 * 1024 * 1024] {
        let right = bytes(size, 12);
        let digest = Digest::of(DigestFunction::Sha256, &right);
        store.write(digest, right.clone().into()).await.unwrap();
        let blob = store.read(digest).await.unwrap();
        for (offset, length) in [(0, 1), (0, size), (1, size), (size - 1, 10), (size, 1), (size + 1, 1), (size / 2, 64)]
        {
            let piece = blob.read_at(offset as u64, length).unwrap();
            let (from, to) = (offset.min(size), (offset + length).min(size));
            assert!(piece == right.slice(from..to.max(from)), "{length} bytes from {offset} of {size}");
        }
    }
}

pub async fn many_blobs_are_held_at_once<S: BlobStore + 'static>(store: Arc<S>) {
    const BLOBS: usize = 600;
    let blobs: Vec<Bytes> = (0..BLOBS).map(|i| Bytes::from(format!("blob {i}"))).collect();
    let digests: Vec<Digest> = blobs.iter().map(|b| Digest::of(DigestFunction::Sha256, b)).collect();
    let mut writers = tokio::task::JoinSet::new();
    for (i, blob) in blobs.iter().enumerate().filter(|(i, _)| i % 3 != 0) {
        let (store, digest, blob) = (store.clone(), digests[i], blob.clone());
        writers.spawn(async move { store.write(digest, blob.into()).await });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap().unwrap();
    }
    let expected: Vec<_> = digests.iter().copied().step_by(3).collect();
    for _ in 0..2 {
        let (hold, missing) = store.hold(&digests).await.unwrap();
        assert_eq!(missing, expected);
        assert_eq!(hold.digests().len(), BLOBS - expected.len());
    }
}

/// Sizes on both sides of what fits a batch, equal blobs, both functions, the empty one.
fn many() -> Vec<(Digest, Blob, Bytes)> {
    let small = (0..700).map(|i| (i % 97 * 53, (i % 251) as u8));
    let all = small.chain([(0, 0), (1_200_000, 1), (1_200_000, 2), (LARGE, 3), (700, 4), (700, 4)]);
    let function = |at: usize| DigestFunction::ALL[usize::from(at.is_multiple_of(7))];
    let blob = |(at, (size, seed))| {
        let content = bytes(size, seed);
        (Digest::of(function(at), &content), content.clone().into(), content)
    };
    all.enumerate().map(blob).collect()
}

pub async fn many_blobs_are_written_and_read_in_one_call<S: BlobStore>(store: Arc<S>) {
    let all = many();
    let written = store.write_many(all.iter().map(|(digest, blob, _)| (*digest, blob.clone())).collect()).await;
    assert_eq!(written.len(), all.len());
    written.into_iter().for_each(|written| written.unwrap());
    let absent = Digest::of(DigestFunction::Sha256, b"not written");
    let mut digests: Vec<_> = all.iter().map(|(digest, ..)| *digest).collect();
    digests.insert(5, absent);
    let mut read = store.read_many(&digests).await;
    assert_eq!(read.len(), digests.len());
    assert!(matches!(read.remove(5), Err(StoreError::Missing(d)) if d == absent));
    for (read, (digest, _, content)) in read.into_iter().zip(all) {
        let read = read.unwrap_or_else(|e| panic!("{digest}: {e}")).into_bytes(u64::MAX).await.unwrap();
        assert!(read == content, "{digest}: other bytes");
    }
    assert!(store.read_many(&[]).await.is_empty() && store.write_many(Vec::new()).await.is_empty());
}

pub async fn one_wrong_blob_of_many_is_refused_alone<S: BlobStore>(store: Arc<S>) {
    for wrong in [bytes(30, 200), bytes(29, 100), Bytes::new(), bytes(31, 100)] {
        let blobs: Vec<_> = (0..20).map(|i| (Digest::of(DigestFunction::Sha256, &bytes(30, 100 + i)), i)).collect();
        let given = |(digest, i): &(Digest, u8)| {
            let content = if *i == 0 { wrong.clone() } else { bytes(30, 100 + *i) };
            (*digest, content.into())
        };
        let written = store.write_many(blobs.iter().map(given).collect()).await;
        for (written, (digest, i)) in written.into_iter().zip(&blobs) {
            match (written, i) {
                (Err(StoreError::Corrupt { expected, .. }), 0) => assert_eq!(expected, *digest),
                (written, i) => assert!(*i != 0 && written.is_ok(), "{i}: {written:?}"),
            }
        }
        assert_absent(&*store, blobs[0].0, "it was refused").await;
    }
}
