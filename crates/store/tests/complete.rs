//! Results are returned only while everything that they name is in the store (PROTOCOL, 44).
use bytes::Bytes;
use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction, wire};
use lre_store::{ActionCache, BlobStore, Complete, MemoryStore, StoreError, Verified};
use lre_testkit::{Call, Fault, Faulty, Recorded, TreeBuilder};
use std::sync::Arc;

const F: DigestFunction = DigestFunction::Blake3;

type Store = Arc<Verified<MemoryStore>>;

fn action() -> ActionDigest {
    ActionDigest(Digest::of(F, b"action"))
}

async fn keep(store: &Store, bytes: impl Into<Bytes>) -> Digest {
    let bytes = bytes.into();
    let digest = Digest::of(F, &bytes);
    store.write(digest, bytes.into()).await.unwrap();
    digest
}

fn built() -> lre_testkit::BuiltTree {
    let tree = TreeBuilder::new(F).file("a/b/deep.o", "deep").program("run", "program").symlink("l", "run");
    tree.directory("empty").build()
}

/// A result that names a file, both streams, a Tree and a root directory; and all that it needs.
async fn everything(store: &Store) -> (wire::ActionResult, Vec<Digest>) {
    let built = built();
    let mut needs = Vec::new();
    for (digest, bytes) in built.blobs {
        store.write(digest, bytes.into()).await.unwrap();
        if !digest.is_empty_blob() {
            needs.push(digest);
        }
    }
    let (tree, file) = (keep(store, built.tree).await, keep(store, "object file").await);
    let (stdout, stderr) = (keep(store, "said").await, keep(store, "complained").await);
    needs.extend([tree, file, stdout, stderr]);
    let directory = wire::OutputDirectory {
        path: "out".into(),
        tree_digest: Some(tree.to_wire()),
        root_directory_digest: Some(built.root.0.to_wire()),
        ..Default::default()
    };
    let output = wire::OutputFile { path: "a.o".into(), digest: Some(file.to_wire()), ..Default::default() };
    let result = wire::ActionResult {
        output_files: vec![output],
        output_directories: vec![directory],
        stdout_digest: Some(stdout.to_wire()),
        stderr_digest: Some(stderr.to_wire()),
        ..Default::default()
    };
    (result, needs)
}

async fn put(results: &impl ActionCache, wire: wire::ActionResult) {
    results.put(action(), Arc::new(ActionResult::from_wire(F, wire).unwrap())).await.unwrap();
}

#[tokio::test]
async fn each_single_blob_is_needed() {
    let store = Store::default();
    let (wire, needs) = everything(&store).await;
    let results = Complete::new(MemoryStore::default(), store.clone());
    assert_eq!(needs.len(), 9, "3 directories with entries, 2 files in them, and 4");
    for digest in needs {
        put(&results, wire.clone()).await;
        assert!(results.get(action()).await.unwrap().is_some(), "with {digest}");
        let bytes = store.read(digest).await.unwrap();
        store.0.remove(digest);
        assert_eq!(results.get(action()).await.unwrap(), None, "without {digest}");
        store.write(digest, bytes).await.unwrap();
        assert_eq!(results.get(action()).await.unwrap(), None, "it is forgotten, until somebody puts it again");
    }
}

/// The files of a Tree belong to the result also where no Directory blob names them.
#[tokio::test]
async fn a_tree_alone_needs_its_files_and_no_directories() {
    let store = Store::default();
    let built = built();
    let tree = keep(&store, built.tree.clone()).await;
    let directory = wire::OutputDirectory { tree_digest: Some(tree.to_wire()), ..Default::default() };
    let results = Complete::new(MemoryStore::default(), store.clone());
    let result = wire::ActionResult { output_directories: vec![directory], ..Default::default() };
    put(&results, result.clone()).await;
    assert_eq!(results.get(action()).await.unwrap(), None);
    keep(&store, "deep").await;
    put(&results, result.clone()).await;
    assert_eq!(results.get(action()).await.unwrap(), None);
    keep(&store, "program").await;
    put(&results, result).await;
    assert!(results.get(action()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_tree_that_is_none_makes_the_result_unknown() {
    let store = Store::default();
    let full = wire::Tree {
        root: Some(wire::Directory {
            directories: vec![wire::DirectoryNode {
                name: "gone".into(),
                digest: Some(Digest::of(F, b"no such directory").to_wire()),
            }],
            ..Default::default()
        }),
        children: vec![],
    };
    for bytes in [b"no protobuf \xff".to_vec(), prost::Message::encode_to_vec(&full)] {
        let tree = keep(&store, bytes).await;
        let directory = wire::OutputDirectory { tree_digest: Some(tree.to_wire()), ..Default::default() };
        let results = Complete::new(MemoryStore::default(), store.clone());
        put(&results, wire::ActionResult { output_directories: vec![directory], ..Default::default() }).await;
        assert_eq!(results.get(action()).await.unwrap(), None);
    }
}

/// Most hits have no directories: they cost one question, and read nothing.
#[tokio::test]
async fn a_plain_hit_costs_one_hold() {
    let store = Store::default();
    let file = keep(&store, "object file").await;
    let output = wire::OutputFile { path: "a.o".into(), digest: Some(file.to_wire()), ..Default::default() };
    let recorded = Arc::new(Recorded::new(store));
    let results = Complete::new(MemoryStore::default(), recorded.clone());
    put(&results, wire::ActionResult { output_files: vec![output], ..Default::default() }).await;
    assert!(results.get(action()).await.unwrap().is_some());
    assert_eq!(recorded.take(), [Call::Hold(1)]);
}

/// A store that could not say whether a blob is there has not said that it is not.
#[tokio::test]
async fn an_error_forgets_nothing() {
    let store = Store::default();
    let (wire, _) = everything(&store).await;
    let known = Arc::new(MemoryStore::default());
    put(&known, wire.clone()).await;
    for sound in 0..8 {
        let results = Complete::new(known.clone(), Faulty::after(sound, Fault::Io, store.clone()));
        let got = results.get(action()).await;
        assert!(matches!(got, Ok(Some(_)) | Err(StoreError::Io(_))), "{sound}");
        assert!(known.get(action()).await.unwrap().is_some(), "{sound}");
    }
}

/// Whichever call of the store breaks: an error or nothing, never a result that is not complete.
#[tokio::test]
async fn no_fault_makes_an_incomplete_result_complete() {
    let store = Store::default();
    let (wire, needs) = everything(&store).await;
    store.0.remove(needs[1]);
    for fault in [Fault::Io, Fault::Upstream, Fault::Forgets] {
        for sound in 0..8 {
            let results = Complete::new(MemoryStore::default(), Faulty::after(sound, fault, store.clone()));
            put(&results, wire.clone()).await;
            let got = results.get(action()).await;
            assert!(matches!(got, Ok(None) | Err(StoreError::Io(_) | StoreError::Upstream(_))), "{fault:?} {sound}");
        }
    }
}
