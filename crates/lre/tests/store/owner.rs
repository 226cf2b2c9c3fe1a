//! One owner, and a store that belongs to a newer version.
use crate::server::{Program, noise, sha};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything in a directory: its kind, when it was changed, and its bytes.
fn picture(directory: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let mut picture = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mut bytes = Vec::new();
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if metadata.is_file() {
            bytes = fs::read(&path).unwrap();
        }
        picture.insert(path, (metadata.mode(), metadata.ctime(), metadata.ctime_nsec(), bytes));
    }
    picture
}

#[tokio::test]
async fn a_second_server_is_refused_and_told_who_has_the_store() {
    let program = Program::new();
    let first = program.serve(&[]);
    let bytes = noise(1, 5_000);
    first.client().await.batch(std::slice::from_ref(&bytes)).await.unwrap();
    let other = Program::at(program.store().to_owned());
    let said = other.refused();
    assert!(said.contains(&format!("process {}", first.pid())), "{said}");
    // The first one is none the worse for it, and whoever asks after a kill gets the store at once.
    assert_eq!(first.client().await.missing(&[sha(&bytes)]).await, []);
    first.kill();
    let second = other.serve(&[]);
    assert_eq!(second.client().await.read(sha(&bytes)).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_store_of_a_newer_format_is_refused_and_not_touched() {
    let program = Program::new();
    let server = program.serve(&[]);
    server.client().await.batch(&[noise(1, 5_000), noise(2, 50_000)]).await.unwrap();
    server.kill();
    let format = program.store().join("format");
    let ours: u32 = fs::read_to_string(&format).unwrap().trim().rsplit(' ').next().unwrap().parse().unwrap();
    fs::write(&format, format!("lre-store {}\n", ours + 1)).unwrap();
    let before = picture(program.store());
    let said = program.refused();
    assert!(said.contains(&format!("has format {}", ours + 1)) && said.contains("update lre"), "{said}");
    assert!(picture(program.store()) == before, "it was touched");
}
