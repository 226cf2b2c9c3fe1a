//! The contracts, applied to every store and composition of this crate.
use lre_model::{Digest, DigestFunction};
use lre_store::{
    Blob, BlobStore, Complete, Counts, DiskStore, MemoryStore, Metered, ReadThrough, StoreError, Verified, compose,
};
use lre_testkit::{Fault, Faulty, Kept, action_cache_contract, blob_store_contract};
use std::sync::Arc;

fn disk() -> Kept<DiskStore> {
    let dir = tempfile::tempdir().unwrap();
    Kept::new(DiskStore::open(dir.path()).unwrap(), dir)
}

fn composed(far: Option<Arc<MemoryStore>>) -> (lre_store::Stores, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(DiskStore::open(dir.path()).unwrap());
    (compose(disk, far.map(|far| (far.clone() as Arc<dyn BlobStore>, far as Arc<_>))), dir)
}

blob_store_contract! {
    memory => Verified(MemoryStore::default());
    on_disk => disk();
    metered => Metered::new(disk());
    memory_before_memory => ReadThrough::new(Verified(MemoryStore::default()), MemoryStore::default());
    disk_before_memory => ReadThrough::new(disk(), MemoryStore::default());
    disk_before_disk => ReadThrough::new(disk(), disk());
    before_a_broken_one => ReadThrough::new(disk(), Faulty::after(0, Fault::Upstream, MemoryStore::default()));
    before_one_that_breaks => ReadThrough::new(disk(), Faulty::after(2, Fault::Io, MemoryStore::default()));
    before_one_that_forgets => ReadThrough::new(disk(), Faulty::after(0, Fault::Forgets, MemoryStore::default()));
    product => { let (stores, dir) = composed(None); Kept::new(stores.blobs, dir) };
    product_with_upstream => {
        let (stores, dir) = composed(Some(Arc::default()));
        Kept::new(stores.blobs, dir)
    };
}

action_cache_contract! {
    results_in_memory => MemoryStore::default();
    results_on_disk => disk();
    complete_results => Complete::new(disk(), Verified(MemoryStore::default()));
    results_metered => Metered::new(MemoryStore::default());
    results_before => ReadThrough::new(disk(), MemoryStore::default());
    results_before_a_broken_one => ReadThrough::new(disk(), Faulty::after(0, Fault::Upstream, MemoryStore::default()));
    product_results => { let (stores, dir) = composed(None); Kept::new(stores.results, dir) };
    product_results_with_upstream => {
        let (stores, dir) = composed(Some(Arc::default()));
        Kept::new(stores.results, dir)
    };
}

fn of(text: &str) -> Digest {
    Digest::of(DigestFunction::Sha256, text.as_bytes())
}

fn blob(text: &str) -> Blob {
    bytes::Bytes::copy_from_slice(text.as_bytes()).into()
}

/// Whatever breaks, wherever, at whichever call: what is read has the bytes of its name, what was
/// acknowledged is there when the disk works again, and what the near store claims it can give.
#[tokio::test]
async fn no_fault_makes_a_store_lie() {
    for (near_sound, far_sound) in (0..9).flat_map(|n| (0..9).map(move |f| (n, f))) {
        for near_fault in Fault::HONEST {
            for far_fault in Fault::ALL {
                let near = Arc::new(Faulty::after(near_sound, near_fault, Verified(MemoryStore::default())));
                let far = Arc::new(Faulty::after(far_sound, far_fault, MemoryStore::default()));
                far.inner().write(of("far"), blob("far")).await.unwrap();
                let store = ReadThrough::new(near.clone(), far.clone());
                let story = format!("near {near_fault:?} after {near_sound}, far {far_fault:?} after {far_sound}");
                check_no_lie(&store, &near, &story).await;
            }
        }
    }
}

type Near = Arc<Faulty<Verified<MemoryStore>>>;

async fn check_no_lie(store: &impl BlobStore, near: &Near, story: &str) {
    let mut acknowledged = Vec::new();
    for text in ["one", "far", "two", "far", "one"] {
        if text != "far" && store.write(of(text), blob(text)).await.is_ok() {
            acknowledged.push(of(text));
        }
        let lie = store.write(of("truth"), blob("lies!")).await;
        assert!(lie.is_err(), "{story}");
        if let Ok(read) = store.read(of(text)).await {
            assert_eq!(read.into_bytes(9).await.unwrap(), text, "{story}");
        }
        if let Ok((_, missing)) = store.hold(&[of("truth")]).await {
            assert_eq!(missing, [of("truth")], "{story}");
        }
    }
    near.heal();
    let (hold, _) = near.hold(&[of("one"), of("two"), of("far")]).await.unwrap();
    for digest in hold.digests() {
        near.read(*digest).await.unwrap_or_else(|e| panic!("{story}: {e}"));
    }
    for digest in acknowledged {
        store.read(digest).await.unwrap_or_else(|e| panic!("{story}: {e}"));
    }
}

/// What was fetched once is answered when the upstream is gone.
#[tokio::test]
async fn offline_after_the_first_read() {
    let far = Faulty::after(2, Fault::Upstream, MemoryStore::default());
    far.write(of("libc.so"), blob("libc.so")).await.unwrap();
    let store = ReadThrough::new(disk(), far);
    for attempt in 1..=3 {
        let read = store.read(of("libc.so")).await.unwrap_or_else(|e| panic!("read {attempt}: {e}"));
        assert_eq!(read.into_bytes(64).await.unwrap(), "libc.so");
    }
    assert!(matches!(store.read(of("other")).await, Err(StoreError::Missing(_))), "missing, not failed");
    assert_eq!(store.failures(), 1);
}

/// An upstream that sends other bytes poisons nothing.
#[tokio::test]
async fn an_upstream_that_lies_is_not_believed() {
    let far = Faulty::after(1, Fault::Lies, MemoryStore::default());
    far.write(of("libc.so"), blob("libc.so")).await.unwrap();
    let store = ReadThrough::new(disk(), far);
    assert!(matches!(store.read(of("libc.so")).await, Err(StoreError::Missing(_))));
    assert_eq!(store.failures(), 1);
}

#[tokio::test]
async fn calls_are_counted() {
    let store = Metered::new(Verified(MemoryStore::default()));
    let counters = store.counters();
    store.write(of("abc"), blob("abc")).await.unwrap();
    store.write(of("abc"), blob("abd")).await.unwrap_err();
    store.read(of("abc")).await.unwrap();
    store.read(of("no")).await.unwrap_err();
    let _ = store.hold(&[of("abc"), of("no"), of("neither")]).await.unwrap();
    let expected = Counts {
        held: 1,
        missing: 3,
        reads: 1,
        read_bytes: 3,
        writes: 1,
        written_bytes: 3,
        errors: 1,
        ..Counts::default()
    };
    assert_eq!(counters.counts(), expected);
}
