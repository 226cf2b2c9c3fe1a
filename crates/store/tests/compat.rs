//! Stores written by older versions are read for ever.
//!
//! `tests/compat/store-1` was written by the first version of format 1: a blob for each digest function,
//! and a result and a name for each. `tests/compat/store-2` was written by the first version of format 2: the same, and beside it what
//! the log can say: a small blob and one that was given a file, a result and a name that were forgotten, and a checkpoint. `UPDATE=1`
//! writes the directory of the current format anew, which is only right while no version with that format has been
//! released.
use bytes::Bytes;
use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction, wire};
use lre_store::{ActionCache, BlobStore, DiskStore, Form, Name, Namespace, Record};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn kept(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/compat/store-{format}"))
}

/// All files below `dir` that are the data of a store, by path.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.join("blobs"), dir.join("results"), dir.join("names"), dir.join("log")];
    while let Some(folder) = folders.pop().filter(|folder| folder.exists() || folder.starts_with(dir)) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found.insert("format".into(), fs::read(dir.join("format")).unwrap());
    found
}

fn copy(files: &BTreeMap<PathBuf, Vec<u8>>, to: &Path) {
    for (path, content) in files {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

const CONTENT: &[u8] = b"written by the first version\n";

fn result(function: DigestFunction) -> Arc<ActionResult> {
    let output = wire::OutputFile {
        path: "out/a.o".into(),
        digest: Some(Digest::of(function, CONTENT).to_wire()),
        is_executable: true,
        ..Default::default()
    };
    let metadata = wire::ExecutedActionMetadata { worker: "first".into(), ..Default::default() };
    let wire = wire::ActionResult {
        output_files: vec![output],
        stderr_raw: b"a warning".to_vec(),
        execution_metadata: Some(metadata),
        ..Default::default()
    };
    Arc::new(ActionResult::from_wire(function, wire).unwrap())
}

/// One with everything that a record can have.
fn named(function: DigestFunction) -> (Name, Record) {
    let digest = Digest::of(function, CONTENT);
    let record = Record {
        expires_at: Some(UNIX_EPOCH + Duration::from_micros(32_503_680_000_000_007)),
        blobs: vec![digest],
        directories: vec![Digest::empty(function)],
        ..Record::of(digest, Form::Opaque, UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001))
    };
    (Name::new(Namespace::AssetBlobs, [function.name(), "urn:example:first", "qualifier", "value"]), record)
}

const SMALL: &[u8] = b"so small that it has no file\n";

/// What only format 2 has.
const FORGOTTEN: &[u8] = b"an action whose result was forgotten";

fn other_name() -> Name {
    Name::new(Namespace::WebDav, ["forgotten"])
}

async fn write(dir: &Path) {
    let store = DiskStore::open(dir).unwrap();
    for function in DigestFunction::ALL {
        let digest = Digest::of(function, CONTENT);
        store.write(digest, Bytes::from_static(CONTENT).into()).await.unwrap();
        store.promote(digest).await.unwrap();
        store.write(Digest::of(function, SMALL), Bytes::from_static(SMALL).into()).await.unwrap();
        store.put(ActionDigest(Digest::of(function, b"action")), result(function)).await.unwrap();
        let (name, record) = named(function);
        store.names().put(name, &record).unwrap();
        store.names().put(other_name(), &record).unwrap();
        store.put(ActionDigest(Digest::of(function, FORGOTTEN)), result(function)).await.unwrap();
        store.invocation("of the first version", "a tool").unwrap();
    }
    // The checkpoint knows of what is above, and the tail behind it takes some of that back.
    store.sync().unwrap();
    assert!(store.names().remove(other_name()).unwrap());
    for function in DigestFunction::ALL {
        store.forget(ActionDigest(Digest::of(function, FORGOTTEN))).await.unwrap();
    }
}

/// Looks at what all formats have.
async fn check(store: &DiskStore) {
    for function in DigestFunction::ALL {
        let blob = store.read(Digest::of(function, CONTENT)).await.unwrap();
        assert_eq!(blob.into_bytes(1000).await.unwrap(), CONTENT);
        let got = store.get(ActionDigest(Digest::of(function, b"action"))).await.unwrap();
        assert_eq!(got, Some(result(function)));
    }
    // What the background makes of the names has been made of them.
    store.sweep().unwrap();
    for function in DigestFunction::ALL {
        let (name, record) = named(function);
        assert_eq!(store.names().get(name, SystemTime::now()).unwrap(), Some(record));
    }
    assert_eq!(store.quarantined(), 0);
}

/// The files of results and names go into the log, and the store is one of the current format from then on.
#[tokio::test]
async fn format_1_is_read() {
    let dir = tempfile::tempdir().unwrap();
    copy(&files(&kept(1)), dir.path());
    for _ in 0..2 {
        check(&DiskStore::open(dir.path()).unwrap()).await;
    }
    assert!(!dir.path().join("results").exists() && !dir.path().join("names").exists());
    assert_eq!(fs::read_to_string(dir.path().join("format")).unwrap(), "lre-store 2\n");
}

/// Killed at any point of it, the move is begun again.
#[tokio::test]
async fn a_move_from_format_1_that_was_cut_short_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    copy(&files(&kept(1)), dir.path());
    drop(DiskStore::open(dir.path()).unwrap());
    // As if killed before the format was written, with some of the old files still there.
    copy(&files(&kept(1)), dir.path());
    check(&DiskStore::open(dir.path()).unwrap()).await;
}

#[tokio::test]
async fn format_2_is_read() {
    if std::env::var("UPDATE").is_ok_and(|v| v == "1") {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).await;
        let _ = fs::remove_dir_all(kept(2));
        copy(&files(dir.path()), &kept(2));
    }
    let dir = tempfile::tempdir().unwrap();
    copy(&files(&kept(2)), dir.path());
    for _ in 0..2 {
        let store = DiskStore::open(dir.path()).unwrap();
        check(&store).await;
        for function in DigestFunction::ALL {
            let blob = store.read(Digest::of(function, SMALL)).await.unwrap();
            assert_eq!(blob.into_bytes(1000).await.unwrap(), SMALL);
            assert!(store.file_of(Digest::of(function, CONTENT)).is_some());
            assert_eq!(store.get(ActionDigest(Digest::of(function, FORGOTTEN))).await.unwrap(), None);
        }
        assert_eq!(store.names().get(other_name(), SystemTime::now()).unwrap(), None);
    }
}
