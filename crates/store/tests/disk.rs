//! What the disk store promises beyond the contract: restarts, kills, other boots of the kernel,
//! corrupt and foreign files.
use bytes::Bytes;
use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction};
use lre_store::{ActionCache, Blob, BlobStore, DiskStore, FileBlob, MTIME_SECONDS, Origin, Staging, StoreError};
use lre_testkit::TreeBuilder;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const F: DigestFunction = DigestFunction::Sha256;

fn of(bytes: &[u8]) -> Digest {
    Digest::of(F, bytes)
}

fn file_of(store: &Path, room: &str, digest: Digest) -> PathBuf {
    let hash = digest.hash_text();
    store.join(room).join(digest.function().name()).join(&hash[..2]).join(&hash)
}

/// Content that is told by its first bytes, and so large that it is a file of its own.
fn large(bytes: &[u8]) -> Vec<u8> {
    let mut content = bytes.to_vec();
    content.resize(20_000, b'.');
    content
}

/// Writes bytes that are a file of their own.
async fn put(store: &DiskStore, bytes: &[u8]) -> Digest {
    put_small(store, &large(bytes)).await
}

async fn put_small(store: &DiskStore, bytes: &[u8]) -> Digest {
    store.write(of(bytes), Bytes::copy_from_slice(bytes).into()).await.unwrap();
    of(bytes)
}

/// Whether what [`put`] has written is there.
async fn is_there(store: &DiskStore, bytes: &[u8]) -> bool {
    is_small_there(store, &large(bytes)).await
}

async fn is_small_there(store: &DiskStore, bytes: &[u8]) -> bool {
    match store.read(of(bytes)).await {
        Ok(blob) => {
            let (_hold, missing) = store.hold(&[of(bytes)]).await.unwrap();
            assert!(missing.is_empty(), "what can be read is not missing");
            assert_eq!(blob.into_bytes(1 << 20).await.unwrap(), bytes);
            true
        }
        Err(StoreError::Missing(_)) => {
            let (_hold, missing) = store.hold(&[of(bytes)]).await.unwrap();
            assert_eq!(missing, [of(bytes)], "what cannot be read is missing");
            false
        }
        Err(e) => panic!("{e}"),
    }
}

/// Changes bytes of the log on the disk: those that follow the first occurrence of `needle`, with it.
fn damage_log(dir: &Path, needle: &[u8], damage: impl Fn(&mut [u8])) {
    for segment in fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path()) {
        if segment.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let mut bytes = fs::read(&segment).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            damage(&mut bytes[at..]);
            let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            return;
        }
    }
    panic!("{:?} is not in the log", String::from_utf8_lossy(needle));
}

fn quarantined(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir.join("quarantine")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Makes a file of the store what it was not, although its mode forbids it.
fn overwrite(path: &Path, content: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, content).unwrap();
}

/// As after a power cut: the mark names another boot, and nothing is known to be on the disk since.
fn another_boot(dir: &Path, until: i64) {
    fs::write(dir.join("synced"), format!("boot another\nuntil {until}\n")).unwrap();
}

fn result(name: &str) -> Arc<ActionResult> {
    let wire = lre_model::wire::ActionResult { stdout_raw: name.into(), ..Default::default() };
    Arc::new(ActionResult::from_wire(F, wire).unwrap())
}

#[tokio::test]
async fn files_look_as_promised() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let digest = put(&store, b"looks").await;
    let path = file_of(dir.path(), "blobs", digest);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime(), metadata.nlink()), (0o444, MTIME_SECONDS, 1));
    let Blob::File(file) = store.read(digest).await.unwrap() else { panic!("not a file") };
    assert_eq!((file.path(), file.origin(), file.proven()), (&*path, Origin::Store, Some(digest)));
    assert_eq!(store.directory(), dir.path());
    assert_eq!(fs::read_dir(dir.path().join("temporary")).unwrap().count(), 0);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let action = ActionDigest(of(b"action"));
    {
        let store = DiskStore::open(dir.path()).unwrap();
        put(&store, b"kept").await;
        store.put(action, result("kept")).await.unwrap();
    }
    let store = DiskStore::open(dir.path()).unwrap();
    assert!(is_there(&store, b"kept").await);
    assert_eq!(store.get(action).await.unwrap().unwrap().wire().stdout_raw, b"kept");
    assert_eq!(store.quarantined(), 0);
}

/// The file of an owner becomes the blob: same inode, no copy.
#[tokio::test]
async fn an_owned_file_is_linked() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(&dir.path().join("store")).unwrap();
    let path = dir.path().join("output");
    let bytes = vec![3; 100_000];
    fs::write(&path, &bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    let (digest, blob) = FileBlob::hash(&path, Origin::Owned, F).unwrap();
    store.write(digest, Blob::File(blob)).await.unwrap();
    let metadata = fs::metadata(file_of(store.directory(), "blobs", digest)).unwrap();
    assert_eq!((metadata.ino(), metadata.mode() & 0o7777, metadata.mtime()), (inode, 0o444, MTIME_SECONDS));
    // One that is there already is left alone, whoever owns it.
    let again = dir.path().join("again");
    fs::write(&again, &bytes).unwrap();
    let (_, blob) = FileBlob::hash(&again, Origin::Owned, F).unwrap();
    store.write(digest, Blob::File(blob)).await.unwrap();
    assert_ne!(fs::metadata(&again).unwrap().mtime(), MTIME_SECONDS);
    assert_eq!(fs::metadata(file_of(store.directory(), "blobs", digest)).unwrap().ino(), inode);
}

/// The name of an owned file may have passed to another file; what was hashed is what is kept.
#[tokio::test]
async fn a_name_that_changed_hands_fools_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(&dir.path().join("store")).unwrap();
    let path = dir.path().join("output");
    for right in [b"right".to_vec(), large(b"right")] {
        fs::write(&path, &right).unwrap();
        let (digest, blob) = FileBlob::hash(&path, Origin::Owned, F).unwrap();
        overwrite(&path, &large(b"wrong")[..right.len()]);
        store.write(digest, Blob::File(blob)).await.unwrap();
        assert!(is_small_there(&store, &right).await);
    }
}

/// In whichever way a blob is removed, and whatever is asked next: it is missing.
#[tokio::test]
async fn a_blob_removed_from_outside_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let ways: [fn(&Path); 5] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::rename(path, path.with_file_name("elsewhere")).unwrap(),
        |path| fs::remove_dir_all(path.parent().unwrap()).unwrap(),
        |path| {
            let moved = path.ancestors().nth(4).unwrap().join("moved");
            let _ = fs::remove_dir_all(&moved);
            fs::rename(path.parent().unwrap(), moved).unwrap();
        },
        |path| fs::remove_dir_all(path.ancestors().nth(3).unwrap()).unwrap(),
    ];
    for (n, remove) in ways.into_iter().enumerate() {
        for ask_first in [true, false] {
            let digest = put(&store, b"removed").await;
            let (_hold, missing) = store.hold(&[digest]).await.unwrap();
            assert_eq!(missing, [], "way {n}");
            remove(&file_of(dir.path(), "blobs", digest));
            if ask_first {
                let (_hold, missing) = store.hold(&[digest]).await.unwrap();
                assert_eq!(missing, [digest], "way {n}");
            }
            assert!(!is_there(&store, b"removed").await, "way {n}");
            put(&store, b"removed").await;
            assert!(is_there(&store, b"removed").await, "way {n}: written again");
            remove(&file_of(dir.path(), "blobs", digest));
            put(&store, b"removed").await;
            assert!(is_there(&store, b"removed").await, "way {n}: a write does not believe what is known");
        }
    }
}

/// A tree that was held before is not looked for file by file; what goes away from outside is noticed all the same,
/// and the next time everything else is known again.
#[tokio::test]
async fn what_is_removed_from_a_tree_that_was_held_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let built = TreeBuilder::new(F).file("a/b/x", "x").file("a/y", "y").file("c/z", "z").build();
    let tree = built.subtree();
    for (digest, bytes) in &built.blobs {
        store.write(*digest, bytes.clone().into()).await.unwrap();
    }
    for (digest, bytes) in &built.blobs {
        store.promote(*digest).await.unwrap();
        for _ in 0..2 {
            assert_eq!(store.hold_tree(&tree, &[]).await.unwrap().1, []);
        }
        fs::remove_file(file_of(dir.path(), "blobs", *digest)).unwrap();
        for _ in 0..2 {
            assert_eq!(store.hold_tree(&tree, &[]).await.unwrap().1, [*digest]);
        }
        assert_eq!(store.file_of(*digest), None, "nobody may link to it");
        store.write(*digest, bytes.clone().into()).await.unwrap();
        assert_eq!(store.hold_tree(&tree, &[]).await.unwrap().1, []);
        assert_eq!(store.file_of(*digest), None, "it is small");
        store.promote(*digest).await.unwrap();
        assert_eq!(store.file_of(*digest), Some(file_of(dir.path(), "blobs", *digest)));
    }
}

/// What is not there is known without a look, from the start on.
#[tokio::test]
async fn what_is_not_there_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let before = DiskStore::open(dir.path()).unwrap();
    let old = put(&before, b"old").await;
    drop(before);
    let store = DiskStore::open(dir.path()).unwrap();
    let of = |n: u32| Digest::of(F, &large(&n.to_le_bytes()));
    let digests: Vec<_> = (0..2000).map(of).chain([old]).collect();
    assert_eq!(store.hold(&digests).await.unwrap().1, digests[..2000]);
    for n in 0..500_u32 {
        put(&store, &n.to_le_bytes()).await;
        assert_eq!(store.hold(&[of(n), of(n + 1)]).await.unwrap().1, [of(n + 1)]);
    }
    assert_eq!(store.hold(&digests).await.unwrap().1, digests[500..2000]);
    fs::remove_file(file_of(dir.path(), "blobs", of(7))).unwrap();
    fs::remove_dir_all(file_of(dir.path(), "blobs", of(8)).parent().unwrap()).unwrap();
    let missing = store.hold(&digests).await.unwrap().1;
    assert!(missing.contains(&of(7)) && missing.contains(&of(8)));
    for n in [7_u32, 8] {
        put(&store, &n.to_le_bytes()).await;
        assert!(is_there(&store, &n.to_le_bytes()).await);
    }
}

/// A process that was killed between the name of a file and the record of the log leaves a file that nobody knows of. It is
/// taken in if it is what its name says.
#[tokio::test]
async fn files_that_the_log_does_not_know_of_are_taken_in() {
    let dir = tempfile::tempdir().unwrap();
    drop(DiskStore::open(dir.path()).unwrap());
    for (content, bytes) in [(b"whole", large(b"whole")), (b"torn!", vec![0; 20_000])] {
        let path = file_of(dir.path(), "blobs", of(&large(content)));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let store = DiskStore::open(dir.path()).unwrap();
    store.sweep().unwrap();
    assert!(is_there(&store, b"whole").await);
    assert!(!is_there(&store, b"torn!").await);
    assert_eq!(quarantined(dir.path()), [of(&large(b"torn!")).hash_text()]);
}

/// Files that went away while nobody looked are gone for everybody, counted or asked for.
#[tokio::test]
async fn files_that_went_away_while_nobody_looked_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let digests = [put(&store, b"asked for").await, put(&store, b"not asked for").await];
    drop(store);
    digests.iter().for_each(|digest| fs::remove_file(file_of(dir.path(), "blobs", *digest)).unwrap());
    let store = DiskStore::open(dir.path()).unwrap();
    assert_eq!(store.hold(&digests[..1]).await.unwrap().1, digests[..1]);
    store.sweep().unwrap();
    assert_eq!(store.hold(&digests).await.unwrap().1, digests);
}

/// An input tree needs a file of what was small; the blob stays one blob.
#[tokio::test]
async fn a_small_blob_becomes_a_file_when_somebody_wants_to_link_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let small = b"small";
    {
        let store = DiskStore::open(dir.path()).unwrap();
        let digest = put_small(&store, small).await;
        assert!(matches!(store.read(digest).await.unwrap(), Blob::Bytes(_)));
        assert!(!file_of(dir.path(), "blobs", digest).exists());
        for _ in 0..2 {
            assert_eq!(store.promote(digest).await.unwrap(), Some(file_of(dir.path(), "blobs", digest)));
        }
        let metadata = fs::metadata(file_of(dir.path(), "blobs", digest)).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o444, MTIME_SECONDS));
        assert!(matches!(store.read(digest).await.unwrap(), Blob::File(_)));
        assert_eq!(store.promote(Digest::empty(F)).await.unwrap(), None, "the empty blob has no file");
        assert!(matches!(store.promote(of(b"missing")).await, Err(StoreError::Missing(_))));
    }
    let store = DiskStore::open(dir.path()).unwrap();
    assert!(is_small_there(&store, small).await);
    assert_eq!(store.file_of(of(small)), Some(file_of(dir.path(), "blobs", of(small))));
}

/// A damaged record is noticed when it is read, kept for a person to look at, and written again by whoever has it.
#[tokio::test]
async fn a_damaged_record_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let digest = put_small(&store, b"some small bytes").await;
    damage_log(dir.path(), b"some small bytes", |bytes| bytes[3] ^= 1);
    assert_eq!(store.hold(&[digest]).await.unwrap().1, [], "nobody has read it yet");
    assert!(!is_small_there(&store, b"some small bytes").await);
    assert_eq!((quarantined(dir.path()), store.quarantined()), (vec![digest.hash_text()], 1));
    put_small(&store, b"some small bytes").await;
    assert!(is_small_there(&store, b"some small bytes").await);
    drop(store);
    assert!(is_small_there(&DiskStore::open(dir.path()).unwrap(), b"some small bytes").await);
}

/// Somebody cleans up and thinks that nobody uses the store.
#[tokio::test]
async fn a_store_removed_from_outside_is_empty_and_works() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("store");
    let store = DiskStore::open(&at).unwrap();
    let digests = [put(&store, b"one").await, put(&store, b"two").await];
    let action = ActionDigest(of(b"action"));
    store.put(action, result("gone")).await.unwrap();
    // Not while the sweep of the start writes there.
    store.sweep().unwrap();
    fs::remove_dir_all(&at).unwrap();
    let (_hold, missing) = store.hold(&digests).await.unwrap();
    assert_eq!(missing, digests);
    assert_eq!(store.get(action).await.unwrap(), None);
    put(&store, b"one").await;
    store.put(action, result("again")).await.unwrap();
    assert!(is_there(&store, b"one").await && store.get(action).await.unwrap().is_some());
}

/// More is removed than the kernel remembers to tell.
#[tokio::test]
async fn many_blobs_removed_at_once_are_missing() {
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let many = queue.trim().parse::<usize>().unwrap().min(20_000) + 50;
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let digest = put(&store, b"0").await;
    let folder = file_of(dir.path(), "blobs", digest).parent().unwrap().to_owned();
    // Names that come and go fill the queue; then the blob goes, and nobody tells.
    for i in 0..many {
        let name = folder.join(format!("{}{i:060}", &digest.hash_text()[..4]));
        fs::hard_link(file_of(dir.path(), "blobs", digest), &name).unwrap();
        fs::remove_file(&name).unwrap();
    }
    fs::remove_file(file_of(dir.path(), "blobs", digest)).unwrap();
    let (_hold, missing) = store.hold(&[digest]).await.unwrap();
    assert_eq!(missing, [digest]);
    let (_hold, missing) = store.hold(&[Digest::empty(F)]).await.unwrap();
    assert_eq!(missing, [], "the empty blob is still there");
}

#[tokio::test]
async fn a_blob_cut_or_grown_is_moved_aside() {
    let more = [large(b"truncated"), b"more".to_vec()].concat();
    let other = large(b"truncateD");
    for (n, wrong) in [&b"truncat"[..], b"", &more, &other].into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(dir.path()).unwrap();
        let digest = put(&store, b"truncated").await;
        let path = file_of(dir.path(), "blobs", digest);
        overwrite(&path, wrong);
        if wrong.len() == 20_000 {
            // The right length: only a hash can tell, and one is made after another boot.
            drop(store);
            another_boot(dir.path(), 0);
            let store = DiskStore::open(dir.path()).unwrap();
            assert!(!is_there(&store, b"truncated").await);
        } else {
            assert!(!is_there(&store, b"truncated").await, "while the store is open, {n}");
            drop(store);
        }
        assert_eq!(quarantined(dir.path()), [digest.hash_text()], "{n}");
        let store = DiskStore::open(dir.path()).unwrap();
        assert!(!is_there(&store, b"truncated").await, "after a restart, {n}");
        put(&store, b"truncated").await;
        assert!(is_there(&store, b"truncated").await, "it can be written again, {n}");
    }
}

/// Right over wrong: a write puts right what it finds.
#[tokio::test]
async fn a_write_puts_right_what_it_finds() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let digest = put(&store, b"right").await;
    for round in 0..3 {
        overwrite(&file_of(dir.path(), "blobs", digest), b"wrong length");
        put(&store, b"right").await;
        assert!(is_there(&store, b"right").await);
        assert_eq!(quarantined(dir.path()).len(), round + 1, "each under its own name");
    }
}

#[tokio::test]
async fn names_that_are_no_regular_files_are_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let secret = dir.path().join("lock");
    for round in 0..3 {
        let digest = put(&store, b"not a file").await;
        let path = file_of(dir.path(), "blobs", digest);
        fs::remove_file(&path).unwrap();
        match round {
            0 => symlink(&secret, &path).unwrap(),
            1 => fs::create_dir(&path).unwrap(),
            _ => {
                // The path of a socket is short, that of a blob is not.
                let short = path.with_file_name("s");
                drop(std::os::unix::net::UnixListener::bind(&short).unwrap());
                fs::rename(short, &path).unwrap();
            }
        }
        assert!(!is_there(&store, b"not a file").await, "round {round}");
        assert_eq!(quarantined(dir.path()).len(), round + 1);
    }
    assert!(fs::metadata(secret).unwrap().is_file(), "what the symlink pointed to was not touched");
}

/// After the machine went down, what was changed since the last sync is hashed before it is used.
#[tokio::test]
async fn another_boot_hashes_what_was_not_synced() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let (sound, torn) = (put(&store, b"sound").await, put(&store, b"torn!").await);
    drop(store);
    another_boot(dir.path(), 0);
    overwrite(&file_of(dir.path(), "blobs", torn), &vec![0; 20_000]);
    let store = DiskStore::open(dir.path()).unwrap();
    assert!(is_there(&store, b"sound").await);
    assert!(!is_there(&store, b"torn!").await);
    assert_eq!(quarantined(dir.path()), [torn.hash_text()]);
    let (_hold, missing) = store.hold(&[sound, torn]).await.unwrap();
    assert_eq!(missing, [torn]);
}

/// Nobody has to ask for a torn blob: the store finds it, and only then says that this boot is sound.
#[tokio::test]
async fn the_sweep_finds_what_nobody_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let torn = put(&store, b"torn!").await;
    put(&store, b"sound").await;
    drop(store);
    another_boot(dir.path(), 0);
    overwrite(&file_of(dir.path(), "blobs", torn), &vec![0; 20_000]);
    let store = DiskStore::open(dir.path()).unwrap();
    // The one in the background and this one share the work.
    store.sweep().unwrap();
    assert_eq!(quarantined(dir.path()), [torn.hash_text()]);
    let mark = fs::read_to_string(dir.path().join("synced")).unwrap();
    assert!(!mark.contains("another"), "{mark}");
    drop(store);
    let store = DiskStore::open(dir.path()).unwrap();
    assert_eq!(store.sweep().unwrap().hashed, 0, "the same boot doubts nothing");
}

/// What is older than the mark is believed, so the mark must not be ahead of the clock.
#[tokio::test]
async fn a_sync_moves_the_mark_and_a_mark_of_the_future_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    put(&store, b"old").await;
    store.sync().unwrap();
    drop(store);
    let mark = fs::read_to_string(dir.path().join("synced")).unwrap();
    assert!(!mark.contains("until 0"), "a sync moves the mark: {mark}");
    let hour = 3600;
    let now = fs::metadata(dir.path().join("synced")).unwrap().ctime();
    another_boot(dir.path(), now + hour);
    let store = DiskStore::open(dir.path()).unwrap();
    let mark = fs::read_to_string(dir.path().join("synced")).unwrap();
    assert!(!mark.contains(&(now + hour).to_string()), "a mark of the future is not believed: {mark}");
    assert!(is_there(&store, b"old").await);
}

#[tokio::test]
async fn foreign_files_among_the_blobs_are_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let digest = put(&store, b"mine").await;
    let folder = file_of(dir.path(), "blobs", digest).parent().unwrap().to_owned();
    // Or the sweep of the start takes away what is only half made.
    drop(store);
    fs::write(folder.join("notes.txt"), b"not mine").unwrap();
    fs::write(folder.join("ab".repeat(32).to_uppercase()), b"not mine").unwrap();
    fs::write(dir.path().join("blobs/sha256/README"), b"not mine").unwrap();
    fs::create_dir_all(dir.path().join("blobs/blake3/zz/deep")).unwrap();
    // The right name in the wrong folder: nobody would find it there.
    let other = if folder.ends_with("00") { "01" } else { "00" };
    fs::create_dir_all(dir.path().join("blobs/sha256").join(other)).unwrap();
    fs::write(dir.path().join("blobs/sha256").join(other).join(digest.hash_text()), large(b"mine")).unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    // The sweep of the start may have some of them already.
    store.sweep().unwrap();
    assert_eq!((quarantined(dir.path()).len(), store.quarantined()), (5, 5));
    assert!(is_there(&store, b"mine").await);
    assert_eq!(store.sweep().unwrap().foreign, 0);
}

#[tokio::test]
async fn a_damaged_result_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let (one, two) = (ActionDigest(of(b"one")), ActionDigest(of(b"two")));
    store.put(two, result("of another action")).await.unwrap();
    for n in 0..10 {
        let said = format!("said in round {n}");
        store.put(one, result(&said)).await.unwrap();
        damage_log(dir.path(), said.as_bytes(), |bytes| bytes[n] ^= 1);
        assert_eq!(store.get(one).await.unwrap(), None, "damage {n}");
        assert_eq!(quarantined(dir.path()).len(), n + 1, "damage {n}");
    }
    assert!(store.get(two).await.unwrap().is_some());
    store.forget(two).await.unwrap();
    assert_eq!(store.get(two).await.unwrap(), None);
    drop(store);
    assert_eq!(DiskStore::open(dir.path()).unwrap().get(two).await.unwrap(), None, "for good");
}

/// `format` is not synced; a power cut may empty it or take it away, and the store is still one.
#[tokio::test]
async fn a_store_whose_format_was_lost_is_still_a_store() {
    let dir = tempfile::tempdir().unwrap();
    put(&DiskStore::open(dir.path()).unwrap(), b"kept").await;
    fs::create_dir(dir.path().join("toolchains")).unwrap();
    fs::write(dir.path().join("format"), "").unwrap();
    assert!(is_there(&DiskStore::open(dir.path()).unwrap(), b"kept").await);
    fs::remove_file(dir.path().join("format")).unwrap();
    assert!(is_there(&DiskStore::open(dir.path()).unwrap(), b"kept").await);
    assert_eq!(fs::read_to_string(dir.path().join("format")).unwrap(), "lre-store 2\n");
}

#[tokio::test]
async fn a_staged_file_is_linked_and_goes_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(&dir.path().join("store")).unwrap();
    let staging = Staging::new(dir.path().join("store/staging")).unwrap();
    let waiting = || fs::read_dir(store.directory().join("staging")).unwrap().count();
    for size in [0_usize, 1, 64 * 1024, 64 * 1024 + 1, 3_000_000] {
        let bytes = vec![9; size];
        let mut staged = staging.create(F).unwrap();
        for piece in bytes.chunks(50_000) {
            staged.write(piece).unwrap();
        }
        assert_eq!(staged.size_bytes(), size as u64);
        let (digest, blob) = staged.finish().unwrap();
        assert_eq!(digest, of(&bytes));
        let is_file = matches!(&blob, Blob::File(f) if f.origin() == Origin::Owned && f.proven() == Some(digest));
        assert_eq!(is_file, size > 64 * 1024, "{size} bytes");
        let inode = match &blob {
            Blob::File(file) => Some(file.file().metadata().unwrap().ino()),
            Blob::Bytes(_) => None,
        };
        store.write(digest, blob).await.unwrap();
        assert_eq!(waiting(), 0, "{size} bytes");
        if let Some(inode) = inode {
            assert_eq!(fs::metadata(file_of(store.directory(), "blobs", digest)).unwrap().ino(), inode);
        }
        assert!(store.read(digest).await.unwrap().into_bytes(1 << 30).await.unwrap() == bytes);
    }
    let mut abandoned = staging.create(F).unwrap();
    abandoned.write(&vec![0; 100_000]).unwrap();
    assert_eq!(waiting(), 1);
    drop(abandoned);
    assert_eq!(waiting(), 0);
    fs::write(store.directory().join("staging/left"), "by a killed process").unwrap();
    let _again = Staging::new(store.directory().join("staging")).unwrap();
    assert_eq!(waiting(), 0);
}
