//! Who may have a store: one process at a time, of a version that knows it; and what the one before has left.
use lre_store::{DiskStore, OpenError};
use std::fs;

#[test]
fn a_second_store_is_refused_and_names_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(dir.path()).unwrap();
    match DiskStore::open(dir.path()) {
        Err(OpenError::InUse { pid }) => assert_eq!(pid, std::process::id()),
        other => panic!("{other:?}"),
    }
    drop(store);
    DiskStore::open(dir.path()).unwrap();
}

/// A newer store is refused, and not one byte of it is written.
#[test]
fn a_newer_store_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("format"), "lre-store 7\n").unwrap();
    fs::write(dir.path().join("whatever"), "of the future").unwrap();
    let error = DiskStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 7 }), "{error}");
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["format", "whatever"]);
    assert_eq!(fs::read_to_string(dir.path().join("format")).unwrap(), "lre-store 7\n");
}

/// Somebody's home directory, given by mistake, is left alone.
#[test]
fn a_directory_that_is_no_store_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "precious").unwrap();
    let error = DiskStore::open(dir.path()).unwrap_err();
    assert!(matches!(&error, OpenError::Foreign { what, .. } if what.contains("thesis.tex")), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    fs::write(dir.path().join("format"), "PDF 1.4\n").unwrap();
    assert!(matches!(DiskStore::open(dir.path()), Err(OpenError::Foreign { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn temporary_files_of_a_killed_process_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    drop(DiskStore::open(dir.path()).unwrap());
    fs::write(dir.path().join("temporary/17"), "half of a blo").unwrap();
    let _store = DiskStore::open(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("temporary")).unwrap().count(), 0);
}
