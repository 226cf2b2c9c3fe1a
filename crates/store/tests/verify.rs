//! `DiskStore::verify` on stores damaged by hand: it finds exactly what is damaged, and a second run finds nothing.
use bytes::Bytes;
use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction};
use lre_proto::re;
use lre_store::{ActionCache, BlobStore, Checked, Damage, DiskStore, Inodes, Scrubbed, StoreError, Told, Usage};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

const F: DigestFunction = DigestFunction::Sha256;

fn of(bytes: &[u8]) -> Digest {
    Digest::of(F, bytes)
}

/// Bytes that are a file of their own.
fn large(n: u8) -> Vec<u8> {
    vec![n; 20_000]
}

async fn put(store: &DiskStore, bytes: &[u8]) -> Digest {
    store.write(of(bytes), Bytes::copy_from_slice(bytes).into()).await.unwrap();
    of(bytes)
}

fn path_of(store: &DiskStore, digest: Digest) -> PathBuf {
    let hash = digest.hash_text();
    store.directory().join("blobs/sha256").join(&hash[..2]).join(&hash)
}

fn verify(store: &DiskStore) -> (Scrubbed, Vec<Damage>) {
    let damages = Mutex::new(Vec::new());
    let told = |told: Told| match told {
        Told::Damage(damage) => damages.lock().unwrap().push(damage),
        Told::Progress { bytes, of_bytes, .. } => assert!(bytes <= of_bytes),
    };
    let scrubbed = store.verify(&told, &AtomicBool::new(false)).unwrap();
    let damages = damages.into_inner().unwrap();
    assert_eq!(scrubbed.problems, damages.len() as u64);
    assert!(!scrubbed.interrupted);
    (scrubbed, damages)
}

/// What one damage is found as, and that nothing is found after it.
fn found(store: &DiskStore) -> Vec<(Checked, String, String)> {
    let (_, damages) = verify(store);
    assert_eq!(verify(store).1, [], "a second run finds nothing");
    let mut found: Vec<_> = damages.into_iter().map(|d| (d.what, d.subject, d.problem)).collect();
    found.sort_by_key(|(what, subject, _)| (*what as u8, subject.clone()));
    found
}

async fn is_missing(store: &DiskStore, digest: Digest) -> bool {
    let (_hold, missing) = store.hold(&[digest]).await.unwrap();
    assert_eq!(missing.is_empty(), !matches!(store.read(digest).await, Err(StoreError::Missing(_))));
    !missing.is_empty()
}

/// Writes other bytes into a file, whatever its mode: its inode stays, and all its names with it.
fn overwrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mode = fs::metadata(path).unwrap().mode();
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn result_of(output: Digest) -> Arc<ActionResult> {
    let file = re::OutputFile { path: "out".into(), digest: Some(output.to_wire()), ..Default::default() };
    let wire = re::ActionResult { output_files: vec![file], ..Default::default() };
    Arc::new(ActionResult::from_wire(F, wire).unwrap())
}

fn counted(scrubbed: &Scrubbed, what: Checked) -> u64 {
    scrubbed.checked.iter().find(|(checked, _)| *checked == what).unwrap().1.count
}

/// Where the bytes are in the log: segment and offset.
fn in_log(store: &Path, bytes: &[u8]) -> (PathBuf, usize) {
    let mut found = Vec::new();
    for entry in fs::read_dir(store.join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let all = fs::read(&path).unwrap();
            let at = all.windows(bytes.len()).position(|window| window == bytes);
            found.extend(at.map(|at| (path, at)));
        }
    }
    assert_eq!(found.len(), 1, "the bytes are in the log once");
    found.remove(0)
}

/// Flips a bit of these bytes where they are in the log.
fn flip_in_log(store: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let (path, at) = in_log(store, bytes);
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[bytes[0] ^ 1], at as u64).unwrap();
}

/// A store with some of everything.
async fn some(dir: &Path) -> (DiskStore, Inodes) {
    let store = DiskStore::open(&dir.join("store")).unwrap();
    let inodes = Inodes::new(dir.join("store/inodes")).unwrap();
    for n in 0..3 {
        put(&store, &large(n)).await;
        put(&store, &[n; 100]).await;
        store.put(ActionDigest(of(&[n])), result_of(of(&large(n)))).await.unwrap();
    }
    inodes.path(&store, of(&large(0)), true).await.unwrap();
    (store, inodes)
}

#[tokio::test]
async fn a_sound_store_is_read_as_a_whole_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _inodes) = some(dir.path()).await;
    let (scrubbed, damages) = verify(&store);
    assert_eq!(damages, []);
    for (what, n) in [(Checked::FileBlob, 3), (Checked::PackedBlob, 3), (Checked::Result, 3), (Checked::Copy, 1)] {
        assert_eq!(counted(&scrubbed, what), n, "{what:?}");
    }
    for n in 0..3 {
        assert!(store.get(ActionDigest(of(&[n]))).await.unwrap().is_some());
        assert!(!is_missing(&store, of(&[n; 100])).await);
    }
}

#[tokio::test]
async fn a_changed_file_goes_with_the_result_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _inodes) = some(dir.path()).await;
    let bad = of(&large(1));
    overwrite(&path_of(&store, bad), |bytes| bytes[7] ^= 1);
    let found = found(&store);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].0, &found[0].1), (Checked::FileBlob, &bad.to_string()));
    assert!(found[0].2.starts_with("its content is that of "), "{found:?}");
    let action = of(&[1]);
    assert_eq!(found[1], (Checked::Result, action.to_string(), format!("it needs {bad}, which is not there")));
    assert!(is_missing(&store, bad).await && store.get(ActionDigest(action)).await.unwrap().is_none());
    assert!(dir.path().join("store/quarantine").join(bad.hash_text()).exists());
    // The client uploads it again, and all is well.
    put(&store, &large(1)).await;
    assert!(!is_missing(&store, bad).await);
    assert_eq!(verify(&store).1, []);
}

#[tokio::test]
async fn a_cut_a_removed_and_a_writable_file_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _inodes) = some(dir.path()).await;
    let [cut, removed, writable] = [0, 1, 2].map(|n| of(&large(n)));
    overwrite(&path_of(&store, cut), |bytes| bytes.truncate(10));
    fs::remove_file(path_of(&store, removed)).unwrap();
    fs::set_permissions(path_of(&store, writable), fs::Permissions::from_mode(0o644)).unwrap();
    let found = found(&store);
    let of_files = found.iter().filter(|(what, ..)| *what == Checked::FileBlob);
    let mut subjects: Vec<_> = of_files.map(|(_, subject, problem)| (subject.clone(), &problem[..8])).collect();
    let mut expected =
        vec![(cut.to_string(), "its cont"), (removed.to_string(), "its file"), (writable.to_string(), "its mode")];
    subjects.sort();
    expected.sort();
    assert_eq!(subjects, expected);
    assert_eq!(found.iter().filter(|(what, ..)| *what == Checked::Result).count(), 2);
    assert_eq!(found.len(), 5, "{found:?}");
    assert_eq!(fs::metadata(path_of(&store, writable)).unwrap().mode() & 0o7777, 0o444);
}

/// How the store was when it was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Was {
    Open,
    /// It knows its records from a checkpoint.
    Closed,
    /// It reads them when it is opened.
    Killed,
}

impl Was {
    const ALL: [Self; 3] = [Self::Open, Self::Closed, Self::Killed];

    /// Closes the store, or not, damages it, and opens it again.
    fn damaged(self, store: DiskStore, damage: impl FnOnce(&Path)) -> DiskStore {
        let root = store.directory().to_owned();
        if self == Self::Open {
            damage(&root);
            return store;
        }
        if self == Self::Closed {
            store.sync().unwrap();
        }
        drop(store);
        damage(&root);
        DiskStore::open(&root).unwrap()
    }
}

#[tokio::test]
async fn a_record_that_changed_on_the_disk_is_found() {
    for was in Was::ALL {
        let dir = tempfile::tempdir().unwrap();
        let (store, _inodes) = some(dir.path()).await;
        let (small, action) = (vec![1; 100], of(&[2]));
        store.put(ActionDigest(of(b"needs it")), result_of(of(&small))).await.unwrap();
        let store = was.damaged(store, |root| {
            flip_in_log(root, &small);
            flip_in_log(root, &result_of(of(&large(2))).encode());
        });
        let found = found(&store);
        let checksum = "its checksum is wrong".to_owned();
        let need =
            (Checked::Result, of(b"needs it").to_string(), format!("it needs {}, which is not there", of(&small)));
        if was == Was::Killed {
            assert_eq!(found[0], need);
            assert_eq!((found[1].0, found.len()), (Checked::Log, 2), "{found:?}");
        } else {
            let mut expected = vec![
                (Checked::PackedBlob, of(&small).hash_text(), checksum.clone()),
                (Checked::Result, action.hash_text(), checksum),
                need,
            ];
            expected.sort_by_key(|(what, subject, _)| (*what as u8, subject.clone()));
            assert_eq!(found, expected, "{was:?}");
            let kept = fs::read_dir(dir.path().join("store/quarantine")).unwrap().count();
            assert_eq!(kept, 2, "what was found is kept");
        }
        assert!(is_missing(&store, of(&small)).await);
        assert!(store.get(ActionDigest(action)).await.unwrap().is_none());
        put(&store, &small).await;
        assert!(!is_missing(&store, of(&small)).await);
        assert_eq!(verify(&store).1, []);
    }
}

/// What was behind the cut is gone, and nothing else.
#[tokio::test]
async fn a_cut_segment_loses_what_was_behind_the_cut() {
    for was in Was::ALL {
        let dir = tempfile::tempdir().unwrap();
        let (store, _inodes) = some(dir.path()).await;
        let store = was.damaged(store, |root| {
            let (segment, at) = in_log(root, &[2; 100]);
            fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(at as u64 + 50).unwrap();
        });
        let found = found(&store);
        let mut whats: Vec<_> = found.iter().map(|(what, subject, _)| (*what, subject.clone())).collect();
        let expected = [(Checked::PackedBlob, of(&[2; 100]).hash_text()), (Checked::Result, of(&[2]).hash_text())];
        match was {
            Was::Open => assert_eq!(whats, expected),
            Was::Killed => assert_eq!(whats.pop().unwrap().0, Checked::Log),
            Was::Closed => assert!(!whats.is_empty(), "{whats:?}"),
        }
        assert!(is_missing(&store, of(&[2; 100])).await, "{was:?}");
        assert!(store.get(ActionDigest(of(&[2]))).await.unwrap().is_none());
        for n in 0..2 {
            assert!(!is_missing(&store, of(&[n; 100])).await && !is_missing(&store, of(&large(n))).await);
            assert!(store.get(ActionDigest(of(&[n]))).await.unwrap().is_some());
        }
        put(&store, &[2; 100]).await;
        put(&store, &large(2)).await;
        store.put(ActionDigest(of(&[2])), result_of(of(&large(2)))).await.unwrap();
        assert_eq!(verify(&store).1, []);
        assert!(!is_missing(&store, of(&[2; 100])).await);
    }
}

#[tokio::test]
async fn foreign_files_are_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _inodes) = some(dir.path()).await;
    let root = store.directory().to_owned();
    let foreign = ["blobs/notes.txt", "blobs/sha256/readme", "log/core.1234"];
    for path in foreign {
        fs::write(root.join(path), "mine").unwrap();
    }
    let subjects: Vec<_> = found(&store).into_iter().map(|(what, subject, _)| (what, subject)).collect();
    assert_eq!(subjects, foreign.map(|path| (Checked::Foreign, path.to_owned())));
    assert_eq!(fs::read_dir(root.join("quarantine")).unwrap().count(), 3);
}

#[tokio::test]
async fn what_a_start_has_found_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _inodes) = some(dir.path()).await;
    let path = path_of(&store, of(&large(2)));
    drop(store);
    fs::remove_file(path).unwrap();
    let store = DiskStore::open(&dir.path().join("store")).unwrap();
    // The look through the store that follows a start comes upon it first, as a rule.
    store.sweep().unwrap();
    let found = found(&store);
    assert_eq!((found[0].0, &*found[0].2), (Checked::FileBlob, "its file is gone"), "{found:?}");
}

/// A link shares the bytes of what it links to: what is damaged is damaged in every input tree.
#[tokio::test]
async fn damaged_copies_and_what_links_to_them_go() {
    let dir = tempfile::tempdir().unwrap();
    let (store, inodes) = some(dir.path()).await;
    let root = store.directory().to_owned();
    let digest = of(&large(0));
    let copy = inodes.path(&store, digest, true).await.unwrap();
    for tree in ["slots/0/0/tree/a", "toolchains/trees/x/bin"] {
        fs::create_dir_all(root.join(tree)).unwrap();
        fs::hard_link(&copy, root.join(tree).join("cc")).unwrap();
    }
    fs::write(root.join("slots/0/0/tree/a/other"), "x").unwrap();
    overwrite(&copy, |bytes| bytes[0] ^= 1);
    let found = found(&store);
    let whats: Vec<_> = found.iter().map(|(what, subject, _)| (*what, subject.as_str())).collect();
    let name = copy.strip_prefix(&root).unwrap().to_str().unwrap();
    let expected =
        [(Checked::Copy, name), (Checked::Tree, "slots/0/0/tree/a/cc"), (Checked::Tree, "toolchains/trees/x/bin/cc")];
    assert_eq!(whats, expected);
    assert!(root.join("slots/0/0/tree/a/other").exists() && !root.join("toolchains/trees/x").exists());
    assert!(!is_missing(&store, digest).await, "the blob itself is sound");
    let again = inodes.path(&store, digest, true).await.unwrap();
    assert_eq!(fs::read(again).unwrap(), large(0));
}

/// What is damaged in a blob is damaged in the trees that link to it, even where a read has moved it aside before.
#[tokio::test]
async fn links_to_a_damaged_blob_go() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _inodes) = some(dir.path()).await;
    let root = store.directory().to_owned();
    let path = path_of(&store, of(&large(2)));
    fs::create_dir_all(root.join("slots/1/0/tree")).unwrap();
    fs::hard_link(&path, root.join("slots/1/0/tree/in")).unwrap();
    overwrite(&path, |bytes| bytes[19_999] ^= 1);
    let found = found(&store);
    assert!(
        found.iter().any(|(what, subject, _)| *what == Checked::Tree && subject == "slots/1/0/tree/in"),
        "{found:?}"
    );
    assert!(!root.join("slots/1/0/tree/in").exists());
}

#[tokio::test]
async fn it_can_be_ended_and_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _inodes) = some(dir.path()).await;
    overwrite(&path_of(&store, of(&large(1))), |bytes| bytes[0] ^= 1);
    let scrubbed = store.verify(&|_| {}, &AtomicBool::new(true)).unwrap();
    assert!(scrubbed.interrupted);
    assert_eq!(found(&store).len(), 2);
}

/// Beside clients that write, and one that reads what is there: nothing that is sound is ever taken for damaged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_clients_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _inodes) = some(dir.path()).await;
    let store = Arc::new(store);
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..200_u32 {
                let mut bytes = n.to_le_bytes().to_vec();
                put(&store, &bytes).await;
                bytes.resize(20_000, 7);
                put(&store, &bytes).await;
                let action = ActionDigest(of(&n.to_be_bytes()));
                store.put(action, result_of(of(&bytes))).await.unwrap();
                assert!(store.get(action).await.unwrap().is_some());
            }
        })
    };
    let (verifier, mut runs) = (Arc::clone(&store), 0);
    while !writer.is_finished() || runs == 0 {
        let store = Arc::clone(&verifier);
        let damages = tokio::task::spawn_blocking(move || verify(&store).1).await.unwrap();
        assert_eq!(damages, []);
        runs += 1;
    }
    writer.await.unwrap();
    for n in 0..200_u32 {
        assert!(store.get(ActionDigest(of(&n.to_be_bytes()))).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn the_total_is_what_du_says() {
    let dir = tempfile::tempdir().unwrap();
    let (store, inodes) = some(dir.path()).await;
    let root = store.directory().to_owned();
    let copy = inodes.path(&store, of(&large(0)), true).await.unwrap();
    for n in 0..20 {
        let tree = root.join(format!("slots/{n}/0/tree/deep"));
        fs::create_dir_all(&tree).unwrap();
        fs::hard_link(&copy, tree.join("copy")).unwrap();
        fs::hard_link(path_of(&store, of(&large(1))), tree.join("blob")).unwrap();
    }
    fs::write(root.join("staging"), vec![1; 9000]).unwrap();
    fs::write(root.join("server.json"), "{}").unwrap();
    store.sync().unwrap();
    store.sweep().unwrap();
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(&root).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let du: u64 = text.split_whitespace().next().unwrap().parse().unwrap();
    let usage = store.usage(&[]).unwrap();
    assert!(usage.total_bytes.abs_diff(du) <= 4096, "{} {du} {usage:?}", usage.total_bytes);
    let count = |kind: &str| usage.kinds.iter().find(|(name, _)| *name == kind).unwrap().1.count;
    assert_eq!((count("file-blobs"), count("packed-blobs"), count("results")), (3, 3, 3));
    assert_eq!((count("copies"), count("inputs")), (2, 0), "the copy and the mark of its boot; links are counted");
    assert_eq!(usage.kinds.iter().map(|(_, amount)| amount.bytes).sum::<u64>(), usage.total_bytes);
    assert_eq!(Usage::KINDS.len(), usage.kinds.len());
}
