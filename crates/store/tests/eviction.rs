//! The byte budget: what goes, what stays, who is refused and how it ends; on a real disk.
use bytes::Bytes;
use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction, wire};
use lre_store::{
    ActionCache, Blob, BlobStore, Budget, Collected, DiskStore, FileBlob, Inodes, Origin, Progress, StoreError,
};
use lre_testkit::TreeBuilder;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const F: DigestFunction = DigestFunction::Blake3;
const HOUR: Duration = Duration::from_secs(3600);
const MIB: u64 = 1 << 20;

/// As many bytes as asked for, of which no block is like another.
fn content(n: u64, size: usize) -> Bytes {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 17).to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

async fn write(store: &DiskStore, n: u64, size: usize) -> Result<Digest, StoreError> {
    let bytes = content(n, size);
    let digest = Digest::of(F, &bytes);
    store.write(digest, Blob::Bytes(bytes)).await.map(|()| digest)
}

fn open(dir: &tempfile::TempDir) -> Arc<DiskStore> {
    Arc::new(DiskStore::open(&dir.path().join("store")).unwrap())
}

fn quietly(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn gc(store: &DiskStore, to_bytes: u64, dry_run: bool) -> Collected {
    store.gc(Some(to_bytes), dry_run, quietly).unwrap()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What a folder takes on the disk, hard links once; as `du` counts.
fn disk_bytes(folder: &Path) -> u64 {
    let (mut seen, mut bytes, mut folders) = (HashSet::new(), 0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            // What goes meanwhile takes nothing.
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if seen.insert((metadata.dev(), metadata.ino())) {
                bytes += metadata.blocks() * 512;
            }
        }
    }
    bytes
}

/// Issue 6, 3: a build that needs more than the budget is told so, with figures; nothing is taken from it; and when it
/// has been silent for three hours there is room again, without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_budget_is_told_with_figures_and_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.set_budget(Budget::Bytes(MIB)).unwrap();
    assert_eq!(store.budget_bytes(), Some(MIB));
    let build = store.invocation("6e1f-build", "bazel 7.4").unwrap();
    let kept = build.scope(write(&store, 0, 50_000)).await.unwrap();
    let action = ActionDigest(Digest::of(F, b"action"));
    let result = ActionResult::from_wire(F, wire::ActionResult { stdout_raw: vec![7; 100], ..Default::default() });
    store.put(action, Arc::new(result.unwrap())).await.unwrap();
    let mut n = 0;
    let mut refused = None;
    until("a write is refused", async || {
        n += 1;
        refused = build.scope(write(&store, n, 50_000)).await.err();
        refused.is_some()
    })
    .await;
    let Some(StoreError::OverBudget { needed_bytes, budget_bytes, used_bytes, held_bytes, holder }) = &refused else {
        panic!("{refused:?}");
    };
    assert!((50_000..60_000).contains(needed_bytes) && *budget_bytes == MIB, "{refused:?}");
    assert!(used_bytes + needed_bytes > MIB && *held_bytes > MIB * 8 / 10, "{refused:?}");
    assert!(
        holder.as_deref().is_some_and(|holder| holder.starts_with("the build 6e1f-build of bazel 7.4")),
        "{holder:?}"
    );
    let alone = write(&store, 1_000_000, 2 << 20).await;
    assert!(matches!(alone, Err(StoreError::OverBudget { needed_bytes, .. }) if needed_bytes > 2 * MIB), "{alone:?}");
    // What is there is served: reads, looks, hits.
    assert_eq!(store.read(kept).await.unwrap().size_bytes(), 50_000);
    assert!(store.hold(&[kept]).await.unwrap().1.is_empty());
    assert!(store.get(action).await.unwrap().is_some());
    assert!(write(&store, 0, 50_000).await.is_ok(), "what is there need not be written");
    store.pass_time(HOUR * 4);
    until("there is room again", async || write(&store, 2_000_000, 50_000).await.is_ok()).await;
    until("it is within its budget", async || disk_bytes(&store.directory().join("blobs")) <= MIB).await;
}

/// A store without a budget keeps all.
#[tokio::test]
async fn nobody_asked_so_nothing_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let digest = write(&store, 1, 100_000).await.unwrap();
    store.pass_time(HOUR * 24 * 365);
    write(&store, 2, 100_000).await.unwrap();
    assert_eq!(store.budget_bytes(), None);
    assert!(store.peek(digest).is_some());
}

/// The default: half of what nobody else has on the disk, which is far more than this.
#[tokio::test]
async fn a_share_of_the_disk_is_no_less_than_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let digest = write(&store, 1, 100_000).await.unwrap();
    store.set_budget(Budget::Share).unwrap();
    assert!(store.budget_bytes().is_some_and(|bytes| bytes > 100_000), "{:?}", store.budget_bytes());
    store.pass_time(HOUR * 24 * 365);
    assert_eq!(store.gc(None, false, quietly).unwrap().total().count, 0);
    assert!(store.peek(digest).is_some());
}

/// A registered toolchain stays, whatever is evicted and however old it is; and where nobody can say which are registered,
/// everything stays.
#[tokio::test]
async fn the_tree_of_a_toolchain_survives_anything() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let tools = TreeBuilder::new(F)
        .program("bin/cc", content(1, 30_000))
        .file("lib/a/b/c/libc.so", content(2, 100_000))
        .file("lib/a/note", "small")
        .directory("empty")
        .build();
    for (digest, bytes) in &tools.blobs {
        store.write(*digest, Blob::Bytes(bytes.clone())).await.unwrap();
    }
    let inodes = Inodes::new(store.directory().join("inodes")).unwrap();
    let cc = Digest::of(F, &content(1, 30_000));
    let program = inodes.path(&*store, cc, true).await.unwrap();
    let other = write(&store, 9, 30_000).await.unwrap();
    let known = Arc::new(AtomicBool::new(false));
    let (root, asked) = (tools.root.0, Arc::clone(&known));
    store.set_roots(move || match asked.load(Ordering::SeqCst) {
        true => Ok(vec![root]),
        false => Err(io::Error::other("the registry cannot be read")),
    });
    store.pass_time(HOUR * 24 * 30);
    let error = store.gc(Some(0), false, quietly).unwrap_err();
    assert!(error.to_string().contains("disk of the store failed"), "{error}");
    assert!(store.peek(other).is_some(), "nothing went");
    known.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        store.pass_time(HOUR * 24 * 30);
        let collected = gc(&store, 0, false);
        assert!(collected.held_bytes >= 130_000, "{collected:?}");
        for digest in tools.blobs.keys().filter(|digest| !digest.is_empty_blob()) {
            assert!(store.peek(*digest).is_some(), "{digest} of the toolchain");
        }
    }
    assert!(store.peek(other).is_none());
    assert!(program.exists(), "and its copy to execute");
    for (digest, bytes) in &tools.blobs {
        assert_eq!(store.read(*digest).await.unwrap().into_bytes(1 << 30).await.unwrap(), bytes);
    }
}

/// What goes is free on the disk: files, copies to execute, and what was in the log.
#[tokio::test]
async fn eviction_frees_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let inodes = Inodes::new(store.directory().join("inodes")).unwrap();
    for n in 0..20 {
        let digest = write(&store, n, 200_000).await.unwrap();
        inodes.path(&*store, digest, true).await.unwrap();
    }
    let owned = dir.path().join("output");
    fs::write(&owned, content(500, 300_000)).unwrap();
    let (linked, blob) = FileBlob::hash(&owned, Origin::Owned, F).unwrap();
    store.write(linked, Blob::File(blob)).await.unwrap();
    let small: Vec<_> = (1000..4000).map(|n| (Digest::of(F, &content(n, 1000)), content(n, 1000).into())).collect();
    let packed: Vec<_> = small.iter().map(|(digest, _)| *digest).collect();
    assert!(store.write_many(small).await.into_iter().all(|written| written.is_ok()));
    let before = disk_bytes(store.directory());
    assert!(before > 11 * MIB, "{before}");
    store.pass_time(HOUR * 24);
    let young = write(&store, 99, 200_000).await.unwrap();
    let seen = AtomicU64::new(0);
    let told = |progress: &Progress| {
        assert!(progress.freed_bytes >= seen.swap(progress.freed_bytes, Ordering::Relaxed), "it goes on");
        ControlFlow::Continue(())
    };
    let collected = store.gc(Some(MIB), false, told).unwrap();
    assert!((collected.blobs.count, collected.copies.count) > (20, 5), "{collected:?}");
    assert!(!collected.stopped && collected.after_bytes <= collected.before_bytes - collected.total().bytes / 2);
    let after = disk_bytes(store.directory());
    assert!(after < before - 9 * MIB, "{before} -> {after}, {collected:?}");
    // All of it: nothing is held but what came last.
    let collected = gc(&store, 0, false);
    assert!(collected.after_bytes <= MIB / 2, "{collected:?}");
    let after = disk_bytes(store.directory());
    assert!(after < MIB, "{after}, {collected:?}");
    assert!(packed.iter().all(|digest| store.peek(*digest).is_none()));
    assert!(store.peek(young).is_some() && collected.held_bytes >= 200_000, "{collected:?}");
    // Room that is there is used.
    assert!(write(&store, 0, 200_000).await.is_ok());
}

/// A copy whose blob somebody removed from outside goes with the next pass.
#[tokio::test]
async fn copies_without_a_blob_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let inodes = Inodes::new(store.directory().join("inodes")).unwrap();
    let (gone, here) = (write(&store, 1, 30_000).await.unwrap(), write(&store, 2, 30_000).await.unwrap());
    let copies = [inodes.path(&*store, gone, true).await.unwrap(), inodes.path(&*store, here, true).await.unwrap()];
    let hash = gone.hash_text();
    fs::remove_file(store.directory().join("blobs/blake3").join(&hash[..2]).join(&hash)).unwrap();
    assert_eq!(store.hold(&[gone, here]).await.unwrap().1, [gone]);
    gc(&store, 100 * MIB, true);
    assert_eq!(copies.each_ref().map(|copy| copy.exists()), [true, true], "a dry run changes nothing");
    gc(&store, 100 * MIB, false);
    assert_eq!(copies.map(|copy| copy.exists()), [false, true]);
}

/// A file that cannot be removed stays counted, and the rest goes.
#[tokio::test]
async fn what_cannot_be_removed_does_not_count_as_freed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    // That of the start is over, and will not find what is no file.
    store.sweep().unwrap();
    let (stuck, other) = (write(&store, 1, 50_000).await.unwrap(), write(&store, 2, 50_000).await.unwrap());
    let hash = stuck.hash_text();
    let path = store.directory().join("blobs/blake3").join(&hash[..2]).join(&hash);
    fs::remove_file(&path).unwrap();
    fs::create_dir_all(path.join("not empty")).unwrap();
    store.pass_time(HOUR * 24);
    let collected = gc(&store, 0, false);
    assert_eq!((collected.blobs.count, store.peek(other)), (1, None));
    assert!(collected.blobs.bytes < 60_000 && store.peek(stuck).is_some(), "{collected:?}");
    // It is no blob all the same.
    assert!(matches!(store.read(stuck).await, Err(StoreError::Missing(_))));
}

/// What a dry run says is what happens; stopped in the middle, what has gone has gone.
#[tokio::test]
async fn a_dry_run_says_what_would_go_and_a_stop_stops() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for n in 0..300 {
        write(&store, n, if n % 3 == 0 { 40_000 } else { 500 }).await.unwrap();
        if n % 50 == 0 {
            store.pass_time(HOUR);
        }
    }
    store.pass_time(HOUR * 24);
    for to_bytes in [3 * MIB, 2 * MIB, 0] {
        let would = gc(&store, to_bytes, true);
        assert_eq!(gc(&store, to_bytes, true), would, "and changes nothing");
        assert!(would.oldest < would.youngest || to_bytes > 0, "{would:?}");
        if to_bytes == 2 * MIB {
            let mut steps = 0;
            let stopped = store.gc(Some(to_bytes), false, |progress| {
                steps += u32::from(progress.entries > 0);
                if steps > 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let stopped = stopped.unwrap();
            assert!(stopped.stopped && (1..=6).contains(&stopped.total().count), "{stopped:?}");
            continue;
        }
        let done = gc(&store, to_bytes, false);
        assert_eq!((done.blobs, done.oldest, done.youngest), (would.blobs, would.oldest, would.youngest));
        assert_eq!((done.total(), done.held_bytes), (would.total(), would.held_bytes));
    }
}

/// With 100,000 entries, a tenth of them results that name the rest: a pass takes seconds where nothing is optimised.
#[tokio::test]
async fn a_hundred_thousand_entries() {
    const RESULTS: u64 = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for n in 0..RESULTS {
        let blobs: Vec<_> = (0..9).map(|i| content(n * 9 + i, 100)).collect();
        let file = |bytes: &Bytes| wire::OutputFile {
            path: "out".into(),
            digest: Some(Digest::of(F, bytes).to_wire()),
            ..Default::default()
        };
        let message = wire::ActionResult { output_files: blobs.iter().map(file).collect(), ..Default::default() };
        let result = Arc::new(ActionResult::from_wire(F, message).unwrap());
        store.put(ActionDigest(Digest::of(F, &n.to_le_bytes())), result).await.unwrap();
        let blobs = blobs.into_iter().map(|bytes| (Digest::of(F, &bytes), bytes.into())).collect();
        assert!(store.write_many(blobs).await.into_iter().all(|written| written.is_ok()));
        if n == RESULTS / 2 {
            store.pass_time(HOUR * 24);
        }
    }
    let began = Instant::now();
    let dry = gc(&store, 0, true);
    let looked = began.elapsed();
    assert_eq!(dry.total().count, (RESULTS / 2 + 1) * 10, "the younger half is held: {dry:?}");
    let collected = gc(&store, 0, false);
    eprintln!("100,000 entries: dry run {looked:?}, then eviction of half in {:?}", began.elapsed() - looked);
    assert_eq!(collected.total(), dry.total());
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

/// Writers, holders and passes at the same time, with a clock that flies: what is held is there and whole, what is there is
/// whole, and a link to a copy can be made while its blob is held.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_holders_and_passes_at_the_same_time() {
    const BLOBS: u64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let inodes = Arc::new(Inodes::new(store.directory().join("inodes")).unwrap());
    store.set_budget(Budget::Bytes(MIB)).unwrap();
    let ends = Instant::now() + Duration::from_secs(2);
    let (gone, slowest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let size = |n: u64| if n.is_multiple_of(2) { 40_000 } else { 3_000 };
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4_u64 {
        let (store, inodes, gone, slowest) = (store.clone(), inodes.clone(), gone.clone(), slowest.clone());
        let links = dir.path().join(format!("links{task}"));
        fs::create_dir(&links).unwrap();
        tasks.spawn(async move {
            let mut turn = task;
            while Instant::now() < ends {
                turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(task + 1);
                let some: Vec<_> = (0..4).map(|i| (turn >> (20 + 8 * i)) % BLOBS).collect();
                for n in &some {
                    let began = Instant::now();
                    let written = write(&store, *n, size(*n)).await;
                    assert!(matches!(written, Ok(_) | Err(StoreError::OverBudget { .. })), "{written:?}");
                    slowest.fetch_max(u64::try_from(began.elapsed().as_micros()).unwrap(), Ordering::Relaxed);
                }
                let digests: Vec<_> = some.iter().map(|n| Digest::of(F, &content(*n, size(*n)))).collect();
                let (hold, missing) = store.hold(&digests).await.unwrap();
                gone.fetch_add(missing.len() as u64, Ordering::Relaxed);
                tokio::task::yield_now().await;
                for (n, digest) in some.iter().zip(&digests).filter(|(_, digest)| !missing.contains(digest)) {
                    let bytes = store.read(*digest).await.unwrap().into_bytes(1 << 20).await.unwrap();
                    assert_eq!(bytes, content(*n, size(*n)));
                    match inodes.path(&*store, *digest, n.is_multiple_of(4)).await {
                        Ok(file) => {
                            let link = links.join(n.to_string());
                            fs::hard_link(&file, &link).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
                            fs::remove_file(link).unwrap();
                        }
                        Err(e) => assert!(matches!(e, StoreError::OverBudget { .. }), "{e}"),
                    }
                }
                drop(hold);
            }
        });
    }
    while Instant::now() < ends {
        store.pass_time(HOUR / 2);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    eprintln!("{} looks met what had gone, the slowest write took {slowest:?} us", gone.load(Ordering::Relaxed));
    let mut evicted = 0;
    for n in 0..BLOBS {
        let digest = Digest::of(F, &content(n, size(n)));
        match store.read(digest).await {
            Ok(blob) => assert_eq!(blob.into_bytes(1 << 20).await.unwrap(), content(n, size(n))),
            Err(StoreError::Missing(_)) => evicted += 1,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(evicted + gone.load(Ordering::Relaxed) > 0, "nothing was evicted");
}
