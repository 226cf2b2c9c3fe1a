//! Names that are no digests: restarts, torn and foreign files, power cuts, blobs that go away, times that are over.
use bytes::Bytes;
use lre_model::{ActionResult, Digest, DigestFunction, wire};
use lre_store::{ActionCache, BlobStore, DiskStore, Form, Name, Names, Namespace, Record, StoreError, first_absent_of};
use lre_testkit::TreeBuilder;
use std::fs;
use std::time::{Duration, SystemTime};

const F: DigestFunction = DigestFunction::Sha256;

fn of(bytes: &[u8]) -> Digest {
    Digest::of(F, bytes)
}

fn name(text: &str) -> Name {
    Name::new(Namespace::HttpActions, ["", text])
}

fn record(digest: Digest) -> Record {
    // To the microsecond, as it is kept.
    Record::of(digest, Form::Opaque, SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001))
}

async fn put(store: &DiskStore, bytes: &[u8]) -> Digest {
    store.write(of(bytes), Bytes::copy_from_slice(bytes).into()).await.unwrap();
    of(bytes)
}

fn get(names: &Names, text: &str) -> Option<Record> {
    names.get(name(text), SystemTime::now()).unwrap()
}

#[tokio::test]
async fn names_are_there_after_a_restart_and_mean_what_was_put_last() {
    let dir = tempfile::tempdir().unwrap();
    let full = Record {
        expires_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000)),
        blobs: vec![of(b"a"), Digest::of(DigestFunction::Blake3, b"b")],
        directories: vec![of(b"c")],
        ..record(of(b"second"))
    };
    {
        let store = DiskStore::open(dir.path()).unwrap();
        put(&store, b"first").await;
        put(&store, b"second").await;
        store.names().put(name("key"), &record(of(b"first"))).unwrap();
        store.names().put(name("key"), &full).unwrap();
    }
    let store = DiskStore::open(dir.path()).unwrap();
    let names = store.names();
    assert_eq!(get(&names, "key"), Some(full));
    assert_eq!(get(&names, "another"), None);
    assert_eq!(names.get(Name::new(Namespace::WebDav, ["", "key"]), SystemTime::now()).unwrap(), None, "of others");
    assert!(names.remove(name("key")).unwrap());
    assert!(!names.remove(name("key")).unwrap());
    assert_eq!((get(&names, "key"), store.quarantined()), (None, 0));
}

/// Names of blobs that have gone, and names whose time is over, do not stay for ever.
#[tokio::test]
async fn the_sweep_removes_what_is_of_no_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    // That of the start comes first.
    store.sweep().unwrap();
    let names = store.names();
    let kept = put(&store, b"kept").await;
    names.put(name("kept"), &record(kept)).unwrap();
    names.put(name("empty"), &record(Digest::empty(F))).unwrap();
    names.put(name("gone"), &record(of(b"never written"))).unwrap();
    let over = Record { expires_at: Some(SystemTime::now() - Duration::from_secs(1)), ..record(kept) };
    names.put(name("over"), &over).unwrap();
    assert_eq!(get(&names, "over"), None, "its time is over");
    assert!(get(&names, "gone").is_some(), "whether the blob is there, the reader looks");
    assert_eq!(store.sweep().unwrap().stale, 2);
    assert!(get(&names, "kept").is_some() && get(&names, "empty").is_some() && get(&names, "gone").is_none());
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let names = DiskStore::open(dir.path()).unwrap().names();
    let large = Record { blobs: vec![of(b"x"); 20_000], ..record(of(b"x")) };
    assert!(matches!(names.put(name("large"), &large), Err(StoreError::TooLarge { .. })));
    assert_eq!(get(&names, "large"), None);
    assert_eq!(fs::read_dir(dir.path().join("temporary")).unwrap().count(), 0);
}

/// Clients of the HTTP cache name blobs without their size.
#[tokio::test]
async fn a_blob_is_found_by_its_hash_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let names = store.names();
    let digest = put(&store, b"some bytes").await;
    let hash = |digest: Digest| Digest::parse(F, &digest.hash_text(), 0).unwrap();
    assert_eq!(names.find(hash(digest)).unwrap(), Some(digest));
    assert_eq!(names.find(hash(of(b"other bytes"))).unwrap(), None);
    assert_eq!(names.find(hash(of(b""))).unwrap(), Some(Digest::empty(F)), "always there");
    let blake = Digest::parse(DigestFunction::Blake3, &digest.hash_text(), 0).unwrap();
    assert_eq!(names.find(blake).unwrap(), None, "the two functions are never mixed");
}

/// PROTOCOL 44, 86: what a name needs is all there, or it is not answered.
#[tokio::test]
async fn what_a_name_needs_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    let tree = TreeBuilder::new(F).file("a/b/file", "deep").file("top", "top").build();
    let root = tree.root.0;
    for (digest, bytes) in &tree.blobs {
        store.write(*digest, bytes.clone().into()).await.unwrap();
    }
    let result = wire::ActionResult { stdout_digest: Some(of(b"said").to_wire()), ..Default::default() };
    let result = ActionResult::from_wire(F, result).unwrap().encode();
    let result = put(&store, &result).await;
    let at = SystemTime::now();
    let absent = async |record: &Record| first_absent_of(record, &store).await.unwrap();
    assert_eq!(absent(&Record::of(root, Form::Directory, at)).await, None);
    assert_eq!(absent(&Record::of(result, Form::Opaque, at)).await, None);
    assert_eq!(absent(&Record::of(result, Form::ActionResult, at)).await, Some(of(b"said")));
    let refers = Record { blobs: vec![of(b"said")], ..Record::of(result, Form::Opaque, at) };
    assert_eq!(absent(&refers).await, Some(of(b"said")));
    put(&store, b"said").await;
    assert_eq!(absent(&Record::of(result, Form::ActionResult, at)).await, None);
    let refers = Record { directories: vec![root], ..refers };
    assert_eq!(absent(&refers).await, None);
    let deep = of(b"deep");
    fs::remove_file(store.promote(deep).await.unwrap().unwrap()).unwrap();
    assert_eq!(absent(&refers).await, Some(deep));
    assert_eq!(absent(&Record::of(root, Form::Directory, at)).await, Some(deep));
    assert_eq!(absent(&Record::of(of(b"never"), Form::Opaque, at)).await, Some(of(b"never")));
    assert!(ActionCache::get(&store, lre_model::ActionDigest(result)).await.unwrap().is_none(), "a name is no result");
}
