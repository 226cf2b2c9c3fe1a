//! What is lifted, in stores made for it.
use super::super::catalogue::{Entry, Kind, Stamp};
use super::super::names::{Form, Name, Namespace, Record};
use super::*;
use crate::{ActionCache, Blob, BlobStore};
use bytes::Bytes;
use lift::Lifted;
use lre_model::{ActionDigest, ActionResult, DigestFunction, Directory, Node, encode_tree, wire};
use order::{DIRECTORY_RANK_MAX, TREE_RANK};
use std::time::SystemTime;

const F: DigestFunction = DigestFunction::Sha256;

struct Place {
    _dir: tempfile::TempDir,
    store: DiskStore,
    runtime: tokio::runtime::Runtime,
    /// Marks are told from here on.
    start: u32,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(&dir.path().join("store")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let start = store.inner.clock.minute() + 1_000_000;
        Self { _dir: dir, store, runtime, start }
    }

    fn inner(&self) -> &Inner {
        &self.store.inner
    }

    fn blob(&self, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(F, &bytes);
        self.runtime.block_on(self.store.write(digest, Blob::Bytes(bytes))).unwrap();
        digest
    }

    fn directory(&self, files: &[Digest], subdirectories: &[Digest]) -> Digest {
        let mut directory = Directory::default();
        for (i, digest) in files.iter().enumerate() {
            let node = Node::File { digest: *digest, executable: false };
            directory.insert(&format!("f{i}"), node).unwrap();
        }
        for (i, digest) in subdirectories.iter().enumerate() {
            directory.insert(&format!("d{i}"), Node::Directory { digest: *digest }).unwrap();
        }
        self.blob(directory.encode())
    }

    fn result(&self, name: &str, wire: wire::ActionResult) -> ActionDigest {
        let action = ActionDigest(Digest::of(F, name.as_bytes()));
        let result = Arc::new(ActionResult::from_wire(F, wire).unwrap());
        self.runtime.block_on(self.store.put(action, result)).unwrap();
        action
    }

    fn use_at(&self, key: Key, minute: u32) {
        let stamp = Stamp { minute: self.start + minute, invocation: 7, rank: 0 };
        assert!(self.inner().catalogue.touch(&[key], stamp).unwrap().is_empty());
    }

    fn lift(&self, roots: &[Digest], since: u32) -> Lifted {
        let since = if since == 0 { 0 } else { self.start + since };
        lift(self.inner(), roots, self.start + 500, since, &|| false)
    }

    fn entry(&self, digest: Digest) -> Entry {
        self.inner().catalogue.get(&Key::blob(digest)).unwrap()
    }

    /// Minute and rank; of what nobody marked 0.
    fn of(&self, digest: Digest) -> (u32, u8) {
        let entry = self.entry(digest);
        (entry.used.saturating_sub(self.start), entry.rank)
    }
}

fn file(digest: Digest) -> wire::OutputFile {
    wire::OutputFile { path: "out".into(), digest: Some(digest.to_wire()), ..Default::default() }
}

#[test]
fn all_that_a_result_names_is_as_young_as_it() {
    let place = Place::new();
    let (out, err, leaf, deep, loose) =
        (place.blob("out"), place.blob("err"), place.blob("leaf"), place.blob("deep"), place.blob("loose"));
    let lower = place.directory(&[deep], &[]);
    let root = place.directory(&[leaf], &[lower]);
    let mut in_tree = Directory::default();
    let (tree_file, tree_lower) = (place.blob("file of a tree"), place.blob("below in a tree"));
    let mut child = Directory::default();
    child.insert("x", Node::File { digest: tree_lower, executable: false }).unwrap();
    let children = [(Digest::of(F, &child.encode()), child)].into();
    in_tree.insert("a", Node::File { digest: tree_file, executable: true }).unwrap();
    in_tree
        .insert("sub", Node::Directory { digest: *std::collections::BTreeMap::keys(&children).next().unwrap() })
        .unwrap();
    let tree = place.blob(encode_tree(&in_tree, &children));
    let output = |tree: Option<Digest>, root: Option<Digest>| wire::OutputDirectory {
        path: "d".into(),
        tree_digest: tree.map(Digest::to_wire),
        root_directory_digest: root.map(Digest::to_wire),
        ..Default::default()
    };
    let action = place.result(
        "a",
        wire::ActionResult {
            output_files: vec![file(out), file(Digest::empty(F))],
            output_directories: vec![output(Some(tree), None), output(None, Some(root))],
            stderr_digest: Some(err.to_wire()),
            ..Default::default()
        },
    );
    place.use_at(Key::result(action), 40);
    place.use_at(Key::blob(out), 90);
    let done = place.lift(&[], 0);
    assert!(done.whole && done.unreadable == 0, "{done:?}");
    for (digest, expected) in [
        (out, (90, 0)),
        (err, (40, 0)),
        (tree, (40, TREE_RANK)),
        (tree_file, (40, 0)),
        (tree_lower, (40, 0)),
        (root, (40, 2)),
        (leaf, (40, 0)),
        (lower, (40, 1)),
        (deep, (40, 0)),
        (loose, (0, 0)),
    ] {
        assert_eq!(place.of(digest), expected, "{digest}");
    }
    assert_eq!(place.entry(deep).invocation, 7, "it is of whoever used the result");
    assert_eq!(place.lift(&[], 0).lifted, 0, "once is enough");
    assert_eq!(place.lift(&[], 41).read, 0, "nothing was used since");
}

#[test]
fn names_and_roots_too_whatever_they_are() {
    let place = Place::new();
    let (opaque, blob, leaf, out, tool) =
        (place.blob("opaque"), place.blob("needed"), place.blob("leaf"), place.blob("out"), place.blob("tool"));
    let root = place.directory(&[leaf], &[]);
    let needed = place.directory(&[], &[root]);
    let toolchain = place.directory(&[tool], &[]);
    let message = wire::ActionResult { output_files: vec![file(out)], ..Default::default() };
    let value = place.blob(prost::Message::encode_to_vec(&message));
    let names = place.store.names();
    let name = |name: &str, record: Record, minute| {
        let name = Name::new(Namespace::WebDav, [name]);
        names.put(name, &record).unwrap();
        let mut found = None;
        place.inner().catalogue.each(|key, entry| {
            if key.kind == Kind::Name && entry.used < place.start {
                found = Some(*key);
            }
        });
        place.use_at(found.unwrap(), minute);
    };
    let record = |digest, form| Record::of(digest, form, SystemTime::now());
    name("plain", Record { blobs: vec![blob], ..record(opaque, Form::Opaque) }, 10);
    name("value", record(value, Form::ActionResult), 20);
    name("tree", record(root, Form::Directory), 30);
    name("other", Record { directories: vec![needed], ..record(opaque, Form::Opaque) }, 40);
    let done = place.lift(&[toolchain, Digest::of(F, b"a root that is not here")], 0);
    assert!(done.whole && done.unreadable == 0, "{done:?}");
    for (digest, expected) in [
        (opaque, (40, 0)),
        (blob, (10, 0)),
        (value, (20, 0)),
        (out, (20, 0)),
        (root, (40, 1)),
        (leaf, (40, 0)),
        (needed, (40, 2)),
        (toolchain, (500, 1)),
        (tool, (500, 0)),
    ] {
        assert_eq!(place.of(digest), expected, "{digest}");
    }
}

/// The youngest that reaches it gives its age to a directory, though it is read once; ranks say nothing about that.
#[test]
fn a_shared_directory_is_as_young_as_the_youngest_that_names_it() {
    let place = Place::new();
    let leaf = place.blob("shared leaf");
    let shared = place.directory(&[leaf], &[]);
    let old = place.directory(&[], &[shared]);
    let young = place.directory(&[leaf], &[old]);
    for (digest, minute, rank) in [(old, 5, 9), (young, 50, 1), (shared, 1, 30)] {
        let stamp = Stamp { minute: place.start + minute, invocation: 0, rank };
        place.inner().catalogue.touch(&[Key::blob(digest)], stamp).unwrap();
    }
    let done = place.lift(&[], 0);
    assert_eq!((done.read, done.whole), (3, true));
    assert_eq!([shared, leaf, old].map(|d| place.of(d).0), [50; 3]);
    assert!(place.of(young).1 > place.of(old).1 || place.of(young).1 == DIRECTORY_RANK_MAX, "what names stands higher");
}

#[test]
fn damage_depth_and_lies_do_not_stop_it() {
    let place = Place::new();
    let leaf = place.blob("leaf of a deep tree");
    let mut top = place.directory(&[leaf], &[]);
    for _ in 0..400 {
        top = place.directory(&[], &[top]);
    }
    let absent = place.directory(&[Digest::of(F, b"gone")], &[Digest::of(F, b"gone too")]);
    let garbage = place.blob(&b"no directory at all \xff\xff"[..]);
    // A file that was changed from outside, so that it names itself: large, for only files are not checked at each read.
    let mut lie = Directory::default();
    for i in 0..400 {
        lie.insert(&format!("f{i:03}"), Node::File { digest: leaf, executable: false }).unwrap();
    }
    let liar = place.blob(lie.encode());
    assert_eq!(place.entry(liar).file_bytes().max(1).div_ceil(4096), liar.size_bytes().div_ceil(4096), "a file");
    let path = place.inner().layout.of(super::super::layout::Room::Blobs, liar);
    let mut changed = Directory::default();
    for (name, node) in lie.children().skip(5) {
        changed.insert(name.as_str(), node.clone()).unwrap();
    }
    changed.insert("z", Node::Directory { digest: liar }).unwrap();
    let mut bytes = changed.encode();
    // Filled up with a field that nobody knows.
    let filler = usize::try_from(liar.size_bytes()).unwrap() - bytes.len() - 3;
    bytes.extend([15 << 3 | 2, (filler & 0x7f) as u8 | 0x80, (filler >> 7) as u8]);
    bytes.resize(bytes.len() + filler, 0);
    assert_eq!(Directory::decode(F, &bytes).unwrap().subdirectories().next(), Some(liar));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    for (digest, rank) in [(top, 1), (absent, 1), (garbage, 3), (liar, 1)] {
        let stamp = Stamp { minute: place.start + 60, invocation: 0, rank };
        place.inner().catalogue.touch(&[Key::blob(digest)], stamp).unwrap();
    }
    let done = place.lift(&[], 0);
    assert_eq!((done.whole, done.unreadable), (true, 1), "{done:?}");
    assert_eq!((place.of(leaf), place.of(liar).0), ((60, 0), 60));
    assert_eq!(place.of(top).1, DIRECTORY_RANK_MAX);
    let stopped = lift(place.inner(), &[], place.start, 0, &|| true);
    assert!(!stopped.whole);
}

/// A blob is what somebody takes it for: a file here, a directory there, a Tree in a result that lies.
#[test]
fn one_blob_in_two_parts() {
    let place = Place::new();
    let leaf = place.blob("leaf");
    let both = place.directory(&[leaf], &[]);
    let folder = place.directory(&[both], &[]);
    let above = place.directory(&[], &[both]);
    let output = wire::OutputDirectory {
        path: "d".into(),
        tree_digest: Some(both.to_wire()),
        root_directory_digest: Some(above.to_wire()),
        ..Default::default()
    };
    let action = place.result("lies", wire::ActionResult { output_directories: vec![output], ..Default::default() });
    place.use_at(Key::result(action), 30);
    let stamp = Stamp { minute: place.start + 20, invocation: 0, rank: 1 };
    place.inner().catalogue.touch(&[Key::blob(folder)], stamp).unwrap();
    assert!(place.lift(&[], 0).whole);
    assert_eq!([leaf, both, above, folder].map(|digest| place.of(digest)), [(30, 0), (30, 1), (30, 2), (20, 2)]);
}

#[test]
fn lengths_of_time_are_read_by_people() {
    assert_eq!(
        [0, 59, 60, 125, 1440, 1440 * 3 + 130].map(span),
        ["0 min", "59 min", "1 h", "2 h 5 min", "1 d 0 h", "3 d 2 h"]
    );
}
