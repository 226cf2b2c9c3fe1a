//! Writes to a store until it is killed, or until the disk is full; for the tests of this crate.
#![forbid(unsafe_code)]
use bytes::Bytes;
use lre_model::{ActionDigest, DigestFunction};
use lre_store::{ActionCache, Blob, BlobStore, DiskStore, FileBlob, Origin, Staging, StoreError};
use lre_testkit::numbered;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    match &arguments[..] {
        [_, mode, dir, first] if mode == "write" => write_for_ever(Path::new(dir), first.parse().unwrap()).await,
        [_, mode, dir, of] if mode == "fill" => fill(Path::new(dir), of == "bytes").await,
        _ => panic!("usage: store-writer write DIR FIRST | store-writer fill DIR bytes|inodes"),
    }
}

/// Blob number `i` in one of the forms that a store takes.
fn form(i: usize, bytes: Bytes, dir: &Path, staging: &Staging) -> io::Result<Blob> {
    // A name of this life alone: what an earlier one gave up belongs to the store.
    let path = dir.join("outputs").join(format!("{}-{i}", std::process::id()));
    match i % 4 {
        0 => Ok(bytes.into()),
        1 => {
            let mut staged = staging.create(numbered::function(i))?;
            staged.write(&bytes)?;
            Ok(staged.finish()?.1)
        }
        2 => {
            std::fs::write(&path, &bytes)?;
            Ok(Blob::File(FileBlob::hash(&path, Origin::Owned, numbered::function(i))?.1))
        }
        _ => {
            std::fs::write(&path, &bytes)?;
            Ok(Blob::File(FileBlob::open(&path, Origin::Foreign)?))
        }
    }
}

/// Four tasks write blob after blob, from `first` on, and a result with each; the number of what is
/// acknowledged goes to stdout.
async fn write_for_ever(dir: &Path, first: usize) {
    let store = Arc::new(DiskStore::open(&dir.join("store")).unwrap());
    let staging = Staging::new(dir.join("store/staging")).unwrap();
    std::fs::create_dir_all(dir.join("outputs")).unwrap();
    let next = Arc::new(AtomicUsize::new(first));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, staging, next, dir) = (store.clone(), staging.clone(), next.clone(), dir.to_owned());
        tasks.spawn(async move {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let blob = form(i, numbered::bytes(i), &dir, &staging).unwrap();
                store.write(numbered::digest(i), blob).await.unwrap();
                store.put(ActionDigest(numbered::digest(i)), numbered::result(i)).await.unwrap();
                // One write call: lines of four tasks must not mix.
                io::stdout().write_all(format!("{i}\n").as_bytes()).unwrap();
            }
        });
    }
    tasks.join_next().await;
    unreachable!("a writer ended");
}

/// Writes until the disk is full, of bytes or of inodes, and checks what a full disk must not do. What is packed needs no inode.
async fn fill(dir: &Path, of_bytes: bool) {
    let store = DiskStore::open(&dir.join("store")).unwrap();
    let staging = Staging::new(dir.join("store/staging")).unwrap();
    let waiting = |name: &str| std::fs::read_dir(dir.join("store").join(name)).unwrap().count();
    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    for i in (0..4_000).map(|i| i * 4) {
        match store.write(numbered::digest(i), numbered::bytes(i).into()).await {
            Ok(()) => kept.push(i),
            Err(StoreError::Full(_)) => refused.push(i),
            Err(e) => panic!("blob {i}: {e}: {:?}", std::error::Error::source(&e)),
        }
        assert_eq!(waiting("temporary"), 0, "nothing half-written stays");
        if refused.len() == 20 {
            break;
        }
    }
    assert!(kept.len() > 3 && refused.len() == 20, "{} kept, {} refused", kept.len(), refused.len());
    for i in &kept {
        let read = store.read(numbered::digest(*i)).await.unwrap().into_bytes(1 << 30).await.unwrap();
        assert!(read == numbered::bytes(*i), "what was acknowledged is whole");
    }
    for i in &refused {
        assert!(matches!(store.read(numbered::digest(*i)).await, Err(StoreError::Missing(_))));
    }
    results_and_staging_on_a_full_disk(&store, &staging, of_bytes).await;
    assert_eq!((waiting("temporary"), waiting("staging")), (0, 0));
    assert_eq!(store.quarantined(), 0);
    // Room again: what was refused is taken.
    for file in kept.iter().filter_map(|i| store.file_of(numbered::digest(*i))) {
        std::fs::remove_file(file).unwrap();
    }
    let again = refused[0];
    store.write(numbered::digest(again), numbered::bytes(again).into()).await.unwrap();
    store.read(numbered::digest(again)).await.unwrap();
    println!("kept {} refused {}", kept.len(), refused.len());
}

async fn results_and_staging_on_a_full_disk(store: &DiskStore, staging: &Staging, of_bytes: bool) {
    // The last bytes: a small result may still fit, so results are put until one does not.
    let mut full = false;
    for i in 0..4_000 {
        match store.put(ActionDigest(numbered::digest(i)), numbered::result(i)).await {
            Ok(()) => assert!(store.get(ActionDigest(numbered::digest(i))).await.unwrap().is_some()),
            Err(StoreError::Full(_)) => {
                full = true;
                assert_eq!(store.get(ActionDigest(numbered::digest(i))).await.unwrap(), None);
                break;
            }
            Err(e) => panic!("result {i}: {e}"),
        }
    }
    assert_eq!(full, of_bytes, "4,000 results on a full disk");
    let mut staged = staging.create(DigestFunction::Sha256).unwrap();
    let error = (0..1_000).find_map(|_| staged.write(&[1; 50_000]).err()).expect("50 MB fitted on a full disk");
    assert!(matches!(StoreError::from(error), StoreError::Full(_)));
}
