//! A store whose process is killed in the middle of its writes.
use lre_model::{ActionDigest, Digest};
use lre_store::{ActionCache, BlobStore, DiskStore, OpenError, hash_reader};
use lre_testkit::numbered;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

const KILLS: usize = 10;
/// What is read in full after each kill, in blobs; more than one life writes.
const NEWEST: usize = 800;

fn start(dir: &Path, first: usize) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_store-writer"))
        .args(["write", dir.to_str().unwrap(), &first.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

/// Every acknowledged write is there after every kill (the page cache survives it), every file is what
/// its name says, and nothing half-written is left.
#[tokio::test]
async fn killed_in_the_middle_of_many_writes() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<usize> = Vec::new();
    for kill in 0..KILLS {
        let first = acknowledged.iter().max().map_or(0, |last| last + 1);
        let (mut child, mut stdout) = start(dir.path(), first);
        // Each time at another point of another number of writes.
        let mut line = String::new();
        for _ in 0..(37 + kill * 61) {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the writer ended by itself");
            acknowledged.push(line.trim().parse().unwrap());
        }
        if kill == 0 {
            match DiskStore::open(&dir.path().join("store")) {
                Err(OpenError::InUse { pid }) => assert_eq!(pid, child.id()),
                other => panic!("two processes in one store: {other:?}"),
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it could still say before the signal came.
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        acknowledged.extend(rest.split_inclusive('\n').filter_map(|l| l.strip_suffix('\n')?.parse::<usize>().ok()));
        check(&dir.path().join("store"), &acknowledged).await;
    }
    check_names(&dir.path().join("store"));
    assert!(acknowledged.len() > 1_000);
}

async fn check(dir: &Path, acknowledged: &[usize]) {
    let store = DiskStore::open(dir).unwrap();
    assert_eq!(fs::read_dir(dir.join("temporary")).unwrap().count(), 0);
    let digests: Vec<_> = acknowledged.iter().map(|i| numbered::digest(*i)).collect();
    let (_hold, missing) = store.hold(&digests).await.unwrap();
    assert_eq!(missing, [], "acknowledged and lost");
    // The newest are read in full; the older ones have been.
    for (i, digest) in acknowledged.iter().zip(&digests).rev().take(NEWEST) {
        let bytes = store.read(*digest).await.unwrap().into_bytes(1 << 30).await.unwrap();
        assert_eq!(Digest::of(digest.function(), &bytes), *digest, "blob {i}");
        let result = store.get(ActionDigest(*digest)).await.unwrap().expect("acknowledged and lost");
        assert_eq!(result, numbered::result(*i));
    }
    let swept = store.sweep().unwrap();
    assert_eq!((swept.foreign, store.quarantined()), (0, 0));
}

/// Not only what was acknowledged: every name that is there says the truth.
fn check_names(dir: &Path) {
    for function in lre_model::DigestFunction::ALL {
        for folder in fs::read_dir(dir.join("blobs").join(function.name())).unwrap() {
            for file in fs::read_dir(folder.unwrap().path()).unwrap() {
                let file = file.unwrap();
                let actual = hash_reader(function, File::open(file.path()).unwrap()).unwrap();
                assert_eq!(file.file_name().to_str().unwrap(), actual.hash_text());
            }
        }
    }
}
