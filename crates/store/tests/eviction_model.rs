//! Random lives of a store under a budget beside a list of what was promised: builds that look, upload, hit and pause, while time
//! passes, the store is opened again, and collections come at any moment.
//!
//! The promises: no blob that somebody was told of is gone while he may rely on it; a leaf never goes before what names it;
//! what goes is older than what stays, and of one age what names goes before what is named; what a dry run says is what
//! happens.
use bytes::Bytes;
use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction, Directory, Subtree, wire};
use lre_store::{
    ActionCache, Blob, BlobStore, Collected, Complete, DiskStore, Form, Hold, Inodes, Name, Namespace, Record,
};
use lre_testkit::TreeBuilder;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const F: DigestFunction = DigestFunction::Blake3;

/// Blobs beside those of trees, trees, results, invocations: few, so that they meet.
const BLOBS: usize = 10;
const TREES: usize = 5;
const RESULTS: usize = 6;
const BUILDS: usize = 3;

/// How long after its last call a build may come back, in minutes (docs/reference/store.md).
const IDLE_MINUTES: u32 = 180;

#[derive(Debug, Clone)]
enum Op {
    Write(usize),
    Look(Vec<usize>),
    Upload(usize),
    /// Kept until it is let go.
    HoldTree(usize),
    LetGo,
    Put(usize),
    Hit(usize),
    Name(usize),
    Program(usize),
    Pass(u32),
    /// To so many hundredths of what it takes.
    Collect(u64),
    Reopen,
}

fn op() -> impl Strategy<Value = (usize, Op)> {
    let op = prop_oneof![
        6 => (0..BLOBS).prop_map(Op::Write),
        4 => prop::collection::vec(0..BLOBS, 1..8).prop_map(Op::Look),
        5 => (0..TREES).prop_map(Op::Upload),
        4 => (0..TREES).prop_map(Op::HoldTree),
        3 => Just(Op::LetGo),
        5 => (0..RESULTS).prop_map(Op::Put),
        5 => (0..RESULTS).prop_map(Op::Hit),
        2 => (0..BLOBS).prop_map(Op::Name),
        2 => (0..BLOBS).prop_map(Op::Program),
        8 => prop_oneof![1..20_u32, 100..400_u32].prop_map(Op::Pass),
        8 => (0..100_u64).prop_map(Op::Collect),
        1 => Just(Op::Reopen),
    ];
    (0..BUILDS, op)
}

/// What there is in the world, in the store or not.
struct World {
    blobs: Vec<(Digest, Bytes)>,
    trees: Vec<(Arc<Subtree>, BTreeMap<Digest, Bytes>)>,
    results: Vec<(ActionDigest, Arc<ActionResult>, BTreeSet<Digest>)>,
    /// What each directory names.
    below: HashMap<Digest, Vec<Digest>>,
}

impl World {
    fn new() -> Self {
        let content = |i: usize| Bytes::from(vec![i as u8 + 1; [10, 900, 17_000, 3_000, 40_000][i % 5]]);
        let blobs: Vec<_> = (0..BLOBS).map(|i| (Digest::of(F, &content(i)), content(i))).collect();
        let mut trees = Vec::new();
        let mut messages = Vec::new();
        for i in 0..TREES {
            // They share files, directories, and blobs that are no part of any tree.
            let built = TreeBuilder::new(F)
                .file("own", format!("file of tree {i}"))
                .file("shared/deep/large", vec![200; 20_000])
                .file("shared/deep/small", vec![i as u8 / 2; 50])
                .file("a/b/c/blob", content(i))
                .file("a/next", content(i + 1))
                .build();
            messages.push((Digest::of(F, &built.tree), built.tree.clone()));
            trees.push((built.subtree(), built.blobs));
        }
        let mut below = HashMap::new();
        for (digest, bytes) in trees.iter().flat_map(|(_, blobs)| blobs) {
            if let Ok(directory) = Directory::decode(F, bytes).map_err(drop)
                && directory.encode() == *bytes
            {
                below.insert(*digest, directory.files().chain(directory.subdirectories()).collect());
            }
        }
        let results = (0..RESULTS).map(|i| Self::result(i, &blobs, &trees, &messages)).collect();
        let mut world = Self { blobs, trees, results, below };
        for (i, message) in messages.into_iter().enumerate() {
            world.trees[i].1.insert(message.0, message.1);
        }
        world
    }

    /// A result that names a blob, and a tree by its root, by its message, or by both.
    fn result(
        i: usize,
        blobs: &[(Digest, Bytes)],
        trees: &[(Arc<Subtree>, BTreeMap<Digest, Bytes>)],
        messages: &[(Digest, Bytes)],
    ) -> (ActionDigest, Arc<ActionResult>, BTreeSet<Digest>) {
        let (blob, (tree, all), message) = (blobs[i].0, &trees[i % TREES], messages[i % TREES].0);
        let directory = wire::OutputDirectory {
            path: "d".into(),
            tree_digest: (i % 3 != 1).then(|| message.to_wire()),
            root_directory_digest: (!i.is_multiple_of(3)).then(|| tree.digest().to_wire()),
            ..Default::default()
        };
        let file = wire::OutputFile { path: "f".into(), digest: Some(blob.to_wire()), ..Default::default() };
        let message_of =
            wire::ActionResult { output_files: vec![file], output_directories: vec![directory], ..Default::default() };
        let mut named: BTreeSet<_> = if i.is_multiple_of(3) { tree_files(tree) } else { all.keys().copied().collect() };
        named.insert(blob);
        if i % 3 != 1 {
            named.insert(message);
        }
        let result = Arc::new(ActionResult::from_wire(F, message_of).unwrap());
        (ActionDigest(Digest::of(F, format!("action {i}").as_bytes())), result, named)
    }

    fn all(&self) -> BTreeMap<Digest, Bytes> {
        let trees = self.trees.iter().flat_map(|(_, blobs)| blobs.clone());
        self.blobs.iter().cloned().chain(trees).collect()
    }
}

fn tree_files(tree: &Arc<Subtree>) -> BTreeSet<Digest> {
    let mut files = BTreeSet::new();
    tree.walk(|tree| {
        files.extend(tree.files());
        true
    });
    files
}

/// What a build was told of.
#[derive(Default)]
struct Build {
    last: u32,
    told: BTreeSet<Digest>,
}

fn open(dir: &tempfile::TempDir) -> Arc<DiskStore> {
    let store = DiskStore::open(&dir.path().join("store")).unwrap();
    // What is looked through after a start loses the names of what is gone: a dry run and what follows must find the same.
    store.sweep().unwrap();
    Arc::new(store)
}

struct Life {
    world: Arc<World>,
    dir: tempfile::TempDir,
    store: Option<Arc<DiskStore>>,
    inodes: Inodes,
    now: u32,
    builds: Vec<Build>,
    /// Those that live in this process, and what they hold.
    holds: Vec<(Hold, BTreeSet<Digest>)>,
}

impl Life {
    fn new(world: Arc<World>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(open(&dir));
        let inodes = Inodes::new(dir.path().join("store/inodes")).unwrap();
        let builds = (0..BUILDS).map(|_| Build::default()).collect();
        Self { world, dir, store, inodes, now: 10_000, builds, holds: Vec::new() }
    }

    fn store(&self) -> Arc<DiskStore> {
        self.store.clone().expect("open between operations")
    }

    /// What may be relied on now.
    fn promised(&self) -> BTreeSet<Digest> {
        let calling = self.builds.iter().filter(|build| self.now - build.last <= IDLE_MINUTES);
        let told = calling.flat_map(|build| &build.told);
        told.chain(self.holds.iter().flat_map(|(_, held)| held)).copied().collect()
    }

    /// One call of a build.
    async fn call(&mut self, build: usize, op: Op) {
        let invoker = self.store().invocation(&format!("build {build}"), "tool").unwrap();
        let known = &mut self.builds[build];
        if self.now - known.last > IDLE_MINUTES {
            known.told.clear();
        }
        known.last = self.now;
        let told = invoker.scope(self.work(op)).await;
        self.builds[build].told.extend(told);
    }

    /// Returns what is promised by it.
    async fn work(&mut self, op: Op) -> BTreeSet<Digest> {
        let (store, world) = (self.store(), Arc::clone(&self.world));
        match op {
            Op::Write(i) => write_all(&store, [&world.blobs[i]].map(|(digest, bytes)| (digest, bytes))).await,
            Op::Upload(i) => write_all(&store, &world.trees[i].1).await,
            Op::Look(some) => {
                let digests: Vec<_> = some.into_iter().map(|i| world.blobs[i].0).collect();
                let (_hold, missing) = store.hold(&digests).await.unwrap();
                digests.into_iter().filter(|digest| !missing.contains(digest)).collect()
            }
            Op::HoldTree(i) => {
                let (tree, _) = &world.trees[i];
                let (hold, missing) = store.hold_tree(tree, &[world.blobs[i].0]).await.unwrap();
                let mut held: BTreeSet<_> = tree.blobs().into_iter().chain([world.blobs[i].0]).collect();
                held.retain(|digest| !missing.contains(digest));
                self.holds.push((hold, held.clone()));
                held
            }
            Op::Put(i) => {
                let (action, result, _) = &world.results[i];
                store.put(*action, Arc::clone(result)).await.unwrap();
                BTreeSet::new()
            }
            Op::Hit(i) => {
                let (action, _, named) = &world.results[i];
                let hit = Complete::new(store.clone(), store).get(*action).await.unwrap();
                if hit.is_some() { named.clone() } else { BTreeSet::new() }
            }
            Op::Name(i) => {
                let record = Record::of(world.blobs[i].0, Form::Opaque, SystemTime::now());
                store.names().put(Name::new(Namespace::WebDav, [format!("{i}").as_str()]), &record).unwrap();
                BTreeSet::new()
            }
            Op::Program(i) => {
                let _ = self.inodes.path(&*store, world.blobs[i].0, true).await;
                BTreeSet::new()
            }
            other => panic!("{other:?} is nobody's"),
        }
    }

    async fn step(&mut self, build: usize, op: Op) {
        match op {
            Op::LetGo => drop(self.holds.pop()),
            Op::Pass(minutes) => {
                self.store().pass_time(Duration::from_secs(u64::from(minutes) * 60));
                self.now += minutes;
            }
            Op::Collect(hundredths) => self.collect(hundredths),
            Op::Reopen => {
                self.holds.clear();
                self.store = None;
                self.store = Some(open(&self.dir));
            }
            other => self.call(build, other).await,
        }
    }

    /// Used and rank of all that is there; results stand above all.
    fn marks(&self) -> BTreeMap<Digest, (u32, u8)> {
        let store = self.store();
        let blobs = self.world.all().into_keys().filter_map(|digest| Some((digest, store.peek(digest)?)));
        let results =
            self.world.results.iter().filter_map(|(action, ..)| Some((action.0, (store.peek_result(*action)?, 255))));
        blobs.chain(results).collect()
    }

    fn collect(&mut self, hundredths: u64) {
        let store = self.store();
        let gc = |to_bytes, dry_run| -> Collected {
            store.gc(Some(to_bytes), dry_run, |_| ControlFlow::Continue(())).unwrap()
        };
        let takes = gc(u64::MAX, true).before_bytes;
        let target = takes * hundredths / 100;
        let would = gc(target, true);
        let before = self.marks();
        let done = gc(target, false);
        assert_eq!(
            (done.results, done.names, done.directories, done.blobs, done.copies),
            (would.results, would.names, would.directories, would.blobs, would.copies),
            "what a dry run says is what happens"
        );
        assert_eq!((done.oldest, done.youngest, done.held_bytes), (would.oldest, would.youngest, would.held_bytes));
        let after = self.marks();
        let lost: Vec<_> = self.promised().into_iter().filter(|digest| !after.contains_key(digest)).collect();
        assert!(lost.is_empty(), "promised, and gone: {lost:?}");
        self.in_order(&before, &after);
        self.whole(&before, &after);
        self.no_stray_copies(&after);
    }

    /// What goes is older than what stays; of one age what names goes first.
    fn in_order(&self, before: &BTreeMap<Digest, (u32, u8)>, after: &BTreeMap<Digest, (u32, u8)>) {
        let turn = |(used, rank): &(u32, u8)| (*used, 255 - rank);
        let youngest =
            before.iter().filter(|(digest, _)| !after.contains_key(digest)).map(|(_, mark)| turn(mark)).max();
        let oldest = after.values().map(turn).min();
        if let (Some(youngest), Some(oldest)) = (youngest, oldest) {
            assert!(youngest <= oldest, "{youngest:?} went, {oldest:?} stays");
        }
    }

    /// What is there is whole, as far as it was.
    fn whole(&self, before: &BTreeMap<Digest, (u32, u8)>, after: &BTreeMap<Digest, (u32, u8)>) {
        let check = |from: Digest, named: &mut dyn Iterator<Item = Digest>| {
            for digest in named {
                let fine = !before.contains_key(&digest) || after.contains_key(&digest);
                assert!(fine, "{digest} went before {from}, which names it");
            }
        };
        for (action, _, named) in self.world.results.iter().filter(|(action, ..)| after.contains_key(&action.0)) {
            // Of one that is not complete nobody knows all that it names.
            if named.iter().all(|digest| before.contains_key(digest)) {
                check(action.0, &mut named.iter().copied());
            }
        }
        // Nobody has said of the others that they are directories.
        for (digest, _) in before.iter().filter(|(digest, (_, rank))| *rank > 0 && after.contains_key(digest)) {
            check(*digest, &mut self.world.below.get(digest).into_iter().flatten().copied());
        }
    }

    fn no_stray_copies(&self, after: &BTreeMap<Digest, (u32, u8)>) {
        let folder: PathBuf = self.dir.path().join("store/inodes/blake3/executable");
        for prefix in fs::read_dir(folder).into_iter().flatten() {
            for copy in fs::read_dir(prefix.unwrap().path()).unwrap() {
                let name = copy.unwrap().file_name();
                let there = after.keys().any(|digest| *digest.hash_text() == *name);
                assert!(there, "a copy of {name:?}, which is gone");
            }
        }
    }

    /// At the end all that is promised can be read.
    async fn read_promised(&self) {
        let all = self.world.all();
        for digest in self.promised().into_iter().filter(|digest| !digest.is_empty_blob()) {
            let blob = self.store().read(digest).await.unwrap_or_else(|e| panic!("promised: {e}"));
            assert_eq!(blob.into_bytes(1 << 20).await.unwrap(), all[&digest]);
        }
    }
}

async fn write_all<'a>(
    store: &DiskStore,
    blobs: impl IntoIterator<Item = (&'a Digest, &'a Bytes)>,
) -> BTreeSet<Digest> {
    let mut written = BTreeSet::new();
    for (digest, bytes) in blobs {
        store.write(*digest, Blob::Bytes(bytes.clone())).await.unwrap();
        written.insert(*digest);
    }
    written
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_was_promised_goes_and_what_goes_goes_in_order(ops in prop::collection::vec(op(), 1..70)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut life = Life::new(Arc::new(World::new()));
            for (build, op) in ops {
                life.step(build, op).await;
            }
            life.collect(0);
            life.read_promised().await;
        });
    }
}
