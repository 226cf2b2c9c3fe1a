//! Files that are kept under `golden/`.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Compares `files` with the folder `golden/name`, or rewrites it.
#[track_caller]
pub fn check(name: &str, files: &BTreeMap<String, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        let _ = fs::remove_dir_all(&folder);
        for (path, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
    let (kept, made) = (in_folder(&folder), files.keys().map(|path| folder.join(path)).collect::<BTreeSet<_>>());
    assert_eq!(kept, made, "UPDATE=1 rewrites {}", folder.display());
    for (path, content) in files {
        let kept = fs::read_to_string(folder.join(path)).unwrap();
        let diff = similar::TextDiff::from_lines(kept.as_str(), content.as_str());
        assert!(kept == *content, "{name}/{path} differs; UPDATE=1 rewrites it:\n{}", diff.unified_diff());
    }
}

fn in_folder(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { in_folder(&p) } else { BTreeSet::from([p]) }).collect()
}
