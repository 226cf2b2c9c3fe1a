//! Random lives of a disk store beside a map that does the same: writes in every form, reads, holds,
//! restarts, power cuts, damage from outside. Whatever the order, the store says what the map says.
use bytes::Bytes;
use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction};
use lre_store::{ActionCache, Blob, BlobStore, DiskStore, FileBlob, Inodes, Origin, Staging, StoreError};
use proptest::prelude::*;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Blobs of a life; few, so that they meet again.
const BLOBS: usize = 12;

fn content(i: usize) -> Bytes {
    let size = [0, 1, 10, 5000, 20_000, 65_537, 200_000][i % 7];
    Bytes::from(vec![i as u8; size])
}

fn digest(i: usize) -> Digest {
    Digest::of(if i.is_multiple_of(2) { DigestFunction::Sha256 } else { DigestFunction::Blake3 }, &content(i))
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Bytes,
    Foreign,
    Owned,
    Hashed,
    Staged,
}

#[derive(Debug, Clone)]
enum Op {
    Write(usize, Form),
    /// The bytes of the second under the name of the first.
    WriteWrong(usize, usize, Form),
    Read(usize),
    ReadOtherSize(usize),
    Hold(Vec<usize>),
    Link(usize, bool),
    Put(usize, usize),
    Get(usize),
    Restart,
    /// The machine went down: the mark names another boot, and one blob lost its bytes.
    PowerCut(usize),
    Remove(usize),
    Cut(usize),
    Sync,
    Sweep,
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Bytes), Just(Form::Foreign), Just(Form::Owned), Just(Form::Hashed), Just(Form::Staged)]
}

fn op() -> impl Strategy<Value = Op> {
    let blob = || 0..BLOBS;
    prop_oneof![
        8 => (blob(), form()).prop_map(|(i, f)| Op::Write(i, f)),
        2 => (blob(), blob(), form()).prop_map(|(i, j, f)| Op::WriteWrong(i, j, f)),
        6 => blob().prop_map(Op::Read),
        2 => blob().prop_map(Op::ReadOtherSize),
        4 => prop::collection::vec(blob(), 0..40).prop_map(Op::Hold),
        3 => (blob(), any::<bool>()).prop_map(|(i, x)| Op::Link(i, x)),
        2 => (blob(), blob()).prop_map(|(i, j)| Op::Put(i, j)),
        2 => blob().prop_map(Op::Get),
        2 => Just(Op::Restart),
        1 => blob().prop_map(Op::PowerCut),
        1 => blob().prop_map(Op::Remove),
        1 => blob().prop_map(Op::Cut),
        1 => Just(Op::Sync),
        1 => Just(Op::Sweep),
    ]
}

/// A store and what it must say.
struct Life {
    dir: tempfile::TempDir,
    store: Option<Arc<DiskStore>>,
    staging: Staging,
    inodes: Inodes,
    blobs: HashMap<Digest, Bytes>,
    results: HashMap<ActionDigest, Arc<ActionResult>>,
    serial: usize,
}

impl Life {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("store");
        let store = Some(Arc::new(DiskStore::open(&at).unwrap()));
        let staging = Staging::new(at.join("staging")).unwrap();
        let inodes = Inodes::new(at.join("inodes")).unwrap();
        Self { dir, store, staging, inodes, blobs: HashMap::new(), results: HashMap::new(), serial: 0 }
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn store(&self) -> Arc<DiskStore> {
        self.store.clone().expect("open between operations")
    }

    fn file_of(&self, digest: Digest) -> PathBuf {
        let hash = digest.hash_text();
        self.at().join("blobs").join(digest.function().name()).join(&hash[..2]).join(hash)
    }

    fn restart(&mut self) {
        self.store = None;
        let at = self.at();
        self.store = Some(Arc::new(DiskStore::open(&at).unwrap()));
        self.staging = Staging::new(at.join("staging")).unwrap();
        self.inodes = Inodes::new(at.join("inodes")).unwrap();
    }

    fn form(&mut self, bytes: Bytes, function: DigestFunction, form: Form) -> Blob {
        self.serial += 1;
        let path = self.dir.path().join(self.serial.to_string());
        match form {
            Form::Bytes => return bytes.into(),
            Form::Staged => {
                let mut staged = self.staging.create(function).unwrap();
                staged.write(&bytes).unwrap();
                return staged.finish().unwrap().1;
            }
            Form::Foreign | Form::Owned | Form::Hashed => fs::write(&path, &bytes).unwrap(),
        }
        Blob::File(match form {
            Form::Hashed => FileBlob::hash(&path, Origin::Owned, function).unwrap().1,
            Form::Owned => FileBlob::open(&path, Origin::Owned).unwrap(),
            _ => FileBlob::open(&path, Origin::Foreign).unwrap(),
        })
    }

    fn has(&self, digest: Digest) -> bool {
        digest.is_empty_blob() || self.blobs.contains_key(&digest)
    }

    async fn read(&self, digest: Digest) {
        match self.store().read(digest).await {
            Ok(blob) => {
                assert!(self.has(digest), "{digest} must be missing");
                assert_eq!(blob.size_bytes(), digest.size_bytes());
                let bytes = blob.into_bytes(1 << 30).await.unwrap();
                assert_eq!(Digest::of(digest.function(), &bytes), digest);
            }
            Err(StoreError::Missing(d)) => assert!(d == digest && !self.has(digest), "{digest} is lost"),
            Err(e) => panic!("{e}"),
        }
    }

    async fn hold(&self, asked: &[Digest]) {
        let (hold, missing) = self.store().hold(asked).await.unwrap();
        let mut expected = Vec::new();
        for digest in asked {
            if !self.has(*digest) && !expected.contains(digest) {
                expected.push(*digest);
            }
        }
        assert_eq!(missing, expected);
        let held = asked.iter().filter(|d| self.has(**d)).count();
        assert_eq!(hold.digests().len(), held);
    }

    async fn link(&self, digest: Digest, executable: bool) {
        let path = match self.inodes.path(&*self.store(), digest, executable).await {
            Ok(path) => path,
            Err(StoreError::Missing(_)) => return assert!(!self.has(digest), "{digest} is lost"),
            Err(e) => panic!("{e}"),
        };
        let metadata = fs::metadata(&path).unwrap();
        let mode = if executable { 0o555 } else { 0o444 };
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (mode, lre_store::MTIME_SECONDS));
        assert_eq!(Digest::of(digest.function(), &fs::read(path).unwrap()), digest);
    }

    async fn write(&mut self, i: usize, form: Form) {
        let blob = self.form(content(i), digest(i).function(), form);
        self.store().write(digest(i), blob).await.unwrap();
        self.blobs.insert(digest(i), content(i));
        self.read(digest(i)).await;
    }

    async fn write_wrong(&mut self, i: usize, j: usize, form: Form) {
        let blob = self.form(content(j), digest(j).function(), form);
        let written = self.store().write(digest(i), blob).await;
        match content(i) == content(j) {
            true => {
                written.unwrap();
                self.blobs.insert(digest(i), content(i));
            }
            false => assert!(matches!(written, Err(StoreError::Corrupt { expected, .. }) if expected == digest(i))),
        }
        self.read(digest(i)).await;
    }

    async fn result(&mut self, action: usize, value: Option<usize>) {
        let key = ActionDigest(digest(action));
        if let Some(value) = value {
            let wire = lre_model::wire::ActionResult { stdout_raw: content(value).to_vec(), ..Default::default() };
            let result = Arc::new(ActionResult::from_wire(key.0.function(), wire).unwrap());
            self.store().put(key, result.clone()).await.unwrap();
            self.results.insert(key, result);
        }
        assert_eq!(self.store().get(key).await.unwrap(), self.results.get(&key).cloned());
    }

    /// Damages the file of a blob from outside, where there is one; the blob is lost with the next read.
    async fn damage(&mut self, i: usize, how: impl Fn(&Path)) {
        let path = self.file_of(digest(i));
        if path.exists() {
            how(&path);
            self.blobs.remove(&digest(i));
            self.read(digest(i)).await;
        }
    }

    async fn power_cut(&mut self, i: usize) {
        self.store = None;
        fs::write(self.at().join("synced"), "boot another\nuntil 0\n").unwrap();
        let path = self.file_of(digest(i));
        if path.exists() {
            // The name and the length are there, the bytes are not.
            fs::remove_file(&path).unwrap();
            fs::write(&path, vec![0; content(i).len()]).unwrap();
            if content(i).iter().any(|b| *b != 0) {
                self.blobs.remove(&digest(i));
            }
        }
        // Copies are never synced; they go with the boot.
        fs::write(self.at().join("inodes/boot"), "another").unwrap();
        self.restart();
    }

    async fn step(&mut self, op: Op) {
        match op {
            Op::Write(i, form) => self.write(i, form).await,
            Op::WriteWrong(i, j, form) => self.write_wrong(i, j, form).await,
            Op::Read(i) => self.read(digest(i)).await,
            Op::ReadOtherSize(i) => {
                let size = content(i).len() as i64 + 1;
                self.read(Digest::parse(digest(i).function(), &digest(i).hash_text(), size).unwrap()).await;
            }
            Op::Hold(asked) => self.hold(&asked.into_iter().map(digest).collect::<Vec<_>>()).await,
            Op::Link(i, executable) => {
                // A copy may outlive a blob that was removed from outside, and is as good.
                if self.has(digest(i)) {
                    self.link(digest(i), executable).await;
                }
            }
            Op::Put(i, j) => self.result(i, Some(j)).await,
            Op::Get(i) => self.result(i, None).await,
            Op::Restart => self.restart(),
            Op::PowerCut(i) => self.power_cut(i).await,
            Op::Remove(i) => self.damage(i, |path| fs::remove_file(path).unwrap()).await,
            Op::Cut(i) => {
                self.damage(i, |path| {
                    fs::remove_file(path).unwrap();
                    fs::write(path, b"??").unwrap();
                })
                .await;
            }
            Op::Sync => self.store().sync().unwrap(),
            Op::Sweep => drop(self.store().sweep().unwrap()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_says_what_the_map_says(ops in prop::collection::vec(op(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut life = Life::new();
            for op in ops {
                life.step(op).await;
            }
            life.restart();
            for i in 0..BLOBS {
                life.read(digest(i)).await;
                life.result(i, None).await;
            }
            let waiting = |name: &str| fs::read_dir(life.at().join(name)).unwrap().count();
            assert_eq!((waiting("temporary"), waiting("staging")), (0, 0));
        });
    }
}
