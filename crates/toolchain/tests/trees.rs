//! Trees on their way into a real store and out of it again (TOOLCHAINS 1 and 2).
use lre_model::{Digest, DigestFunction, RelPath};
use lre_store::{Blob, BlobStore, DiskStore, Inodes, MTIME_SECONDS};
use lre_toolchain::{
    Entry, Imported, Layout, Stage, ToolchainError, Warning, import_directory, import_layout, load_tree, materialise,
};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Mutex;

const F: DigestFunction = DigestFunction::Sha256;

struct Lab {
    dir: tempfile::TempDir,
    store: DiskStore,
    inodes: Inodes,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(&dir.path().join("store")).unwrap();
        let inodes = Inodes::new(dir.path().join("store/inodes")).unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        Self { dir, store, inodes }
    }

    fn tree(&self) -> std::path::PathBuf {
        self.dir.path().join("tree")
    }

    async fn import(&self, path: &Path) -> Result<Imported, ToolchainError> {
        import_directory(&self.store, F, path, &()).await
    }
}

/// A tree with everything that a tree may have.
fn fill(top: &Path) {
    fs::create_dir_all(top.join("usr/bin")).unwrap();
    fs::create_dir_all(top.join("usr/lib/empty")).unwrap();
    fs::write(top.join("usr/bin/cc"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(top.join("usr/bin/cc"), Permissions::from_mode(0o755)).unwrap();
    fs::write(top.join("usr/lib/a.h"), "#!/bin/sh\n").unwrap();
    fs::write(top.join("usr/lib/nothing"), "").unwrap();
    fs::hard_link(top.join("usr/lib/a.h"), top.join("usr/lib/b.h")).unwrap();
    symlink("usr/bin", top.join("bin")).unwrap();
    symlink("/nowhere", top.join("dangling")).unwrap();
}

#[tokio::test]
async fn what_comes_out_is_what_went_in() {
    let lab = Lab::new();
    fill(&lab.tree());
    let imported = lab.import(&lab.tree()).await.unwrap();
    assert_eq!((imported.files, imported.directories, imported.warnings), (4, 5, vec![]));
    let path =
        materialise(&lab.store, &lab.inodes, imported.digest, &lab.dir.path().join("store/trees")).await.unwrap();
    assert!(path.ends_with(format!("{}-{}", imported.digest.hash_text(), imported.digest.size_bytes())));
    let stat = |name: &str| fs::symlink_metadata(path.join(name)).unwrap();
    for (name, mode) in [
        ("", 0o40755),
        ("usr/lib/empty", 0o40755),
        ("usr/bin/cc", 0o100_555),
        ("usr/lib/a.h", 0o100_444),
        ("usr/lib/nothing", 0o100_444),
    ] {
        assert_eq!((stat(name).mode(), stat(name).mtime()), (mode, MTIME_SECONDS), "{name}");
    }
    assert_ne!(stat("usr/bin/cc").ino(), stat("usr/lib/a.h").ino(), "links share the mode, so these cannot be links");
    assert_eq!(fs::read_link(path.join("bin")).unwrap(), Path::new("usr/bin"));
    assert_eq!(fs::read_link(path.join("dangling")).unwrap(), Path::new("/nowhere"));
    assert_eq!(stat("dangling").mtime(), MTIME_SECONDS);
    // Imported again, the materialised tree is the same one.
    assert_eq!(lab.import(&path).await.unwrap().digest, imported.digest);
}

/// TOOLCHAINS 1: owner, mtime, umask, other mode bits are dropped, hard links are equal content.
#[tokio::test]
async fn the_digest_depends_on_nothing_else() {
    let (lab, other) = (Lab::new(), Lab::new());
    fill(&lab.tree());
    fill(&other.tree());
    for (file, mode) in [("usr/bin/cc", 0o700), ("usr/lib/a.h", 0o600), ("usr/lib/nothing", 0o666)] {
        fs::set_permissions(other.tree().join(file), Permissions::from_mode(mode)).unwrap();
    }
    fs::remove_file(other.tree().join("usr/lib/b.h")).unwrap();
    fs::copy(other.tree().join("usr/lib/a.h"), other.tree().join("usr/lib/b.h")).unwrap();
    let digest = lab.import(&lab.tree()).await.unwrap().digest;
    assert_eq!(other.import(&other.tree()).await.unwrap().digest, digest);
    fs::set_permissions(other.tree().join("usr/lib/nothing"), Permissions::from_mode(0o755)).unwrap();
    assert_ne!(other.import(&other.tree()).await.unwrap().digest, digest, "the executable bit is kept");
    fs::set_permissions(other.tree().join("usr/lib/nothing"), Permissions::from_mode(0o644)).unwrap();
    fs::remove_dir(other.tree().join("usr/lib/empty")).unwrap();
    assert_ne!(other.import(&other.tree()).await.unwrap().digest, digest, "empty directories are kept");
}

#[tokio::test]
async fn what_gets_lost_is_named() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let lab = Lab::new();
    let top = lab.tree();
    for name in ["su", "README", "readme"] {
        fs::write(top.join(name), "x").unwrap();
    }
    fs::set_permissions(top.join("su"), Permissions::from_mode(0o4755)).unwrap();
    mknodat(CWD, top.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(top.join("sock")).unwrap();
    rustix::fs::setxattr(top.join("README"), "user.x", b"y", rustix::fs::XattrFlags::empty()).unwrap();
    let imported = lab.import(&top).await.unwrap();
    assert_eq!(imported.files, 3);
    let expected = [
        Warning::Setuid(top.join("su")),
        Warning::Attributes(top.join("README")),
        Warning::Special { path: top.join("pipe"), kind: "a named pipe" },
        Warning::Special { path: top.join("sock"), kind: "a socket" },
        Warning::CaseCollision("README".into(), "readme".into()),
    ];
    assert_eq!(imported.warnings, expected);
}

#[tokio::test]
async fn names_that_are_not_utf8_are_refused_by_path() {
    use std::os::unix::ffi::OsStrExt;
    let bad = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let (name, target) = (Lab::new(), Lab::new());
    fs::write(name.tree().join(bad), "").unwrap();
    symlink(bad, target.tree().join("link")).unwrap();
    for (lab, path) in [(&name, name.tree().join(bad)), (&target, target.tree().join("link"))] {
        match lab.import(&lab.tree()).await {
            Err(ToolchainError::NotUtf8(named)) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        }
    }
}

fn at(path: &str) -> RelPath {
    RelPath::parse(path).unwrap()
}

#[tokio::test]
async fn a_layout_in_memory_is_the_same_tree() {
    let lab = Lab::new();
    fill(&lab.tree());
    let script = lab.tree().join("usr/bin/cc");
    let mut layout = Layout::default();
    layout.insert(at("usr/bin/cc"), Entry::Host(script));
    layout.insert(at("usr/lib/nothing"), Entry::Bytes { content: Default::default(), executable: false });
    for header in ["usr/lib/a.h", "usr/lib/b.h"] {
        layout.insert(at(header), Entry::Bytes { content: "#!/bin/sh\n".into(), executable: false });
    }
    layout.insert(at("usr/lib/empty"), Entry::Directory);
    layout.insert(at("bin"), Entry::Symlink { target: "usr/bin".into() });
    layout.insert(at("dangling"), Entry::Symlink { target: "/nowhere".into() });
    let imported = import_layout(&lab.store, F, &layout, vec![], &()).await.unwrap();
    assert_eq!(imported.digest, lab.import(&lab.tree()).await.unwrap().digest);
    layout.insert(at("bin/cc"), Entry::Bytes { content: Default::default(), executable: true });
    let refused = import_layout(&lab.store, F, &layout, vec![], &()).await.unwrap_err();
    assert!(refused.to_string().contains("`bin` cannot be part"), "{refused}");
}

/// Only what is missing is written, and progress says how much of it.
#[tokio::test]
async fn a_second_import_writes_nothing() {
    struct Stored(Mutex<u64>);
    impl lre_toolchain::Progress for Stored {
        fn update(&self, stage: Stage, done: u64, total: u64) {
            if stage == Stage::Storing {
                assert!(done <= total);
                let mut most = self.0.lock().unwrap();
                *most = done.max(*most);
            }
        }
    }
    let lab = Lab::new();
    fill(&lab.tree());
    for expected_zero in [false, true] {
        let stored = Stored(Mutex::new(0));
        import_directory(&lab.store, F, &lab.tree(), &stored).await.unwrap();
        assert_eq!(*stored.0.lock().unwrap() == 0, expected_zero);
    }
}

/// A tree without all its blobs is not mounted, and all that is missing is said at once.
#[tokio::test]
async fn materialising_names_everything_that_is_missing() {
    let (lab, other) = (Lab::new(), Lab::new());
    fill(&lab.tree());
    let digest = lab.import(&lab.tree()).await.unwrap().digest;
    // All directories but no file.
    let (tree, _hold) = load_tree(&lab.store, digest).await.unwrap();
    for (digest, directory) in tree.directories() {
        other.store.write(*digest, Blob::Bytes(directory.encode().into())).await.unwrap();
    }
    let into = other.dir.path().join("trees");
    match materialise(&other.store, &other.inodes, digest, &into).await {
        Err(ToolchainError::Missing { toolchain, missing }) => {
            assert_eq!((toolchain, missing), (digest, vec![Digest::of(F, b"#!/bin/sh\n")]));
        }
        other => panic!("{other:?}"),
    }
    assert!(!into.exists(), "nothing is left half done");
}

/// Two servers, or a server and a command line, may ask for one tree at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn materialising_at_the_same_time_gives_one_tree() {
    let lab = Lab::new();
    fill(&lab.tree());
    let digest = lab.import(&lab.tree()).await.unwrap().digest;
    let into = lab.dir.path().join("store/trees");
    let made = futures::future::join_all((0..8).map(|_| materialise(&lab.store, &lab.inodes, digest, &into))).await;
    let first = made[0].as_ref().unwrap();
    assert!(made.iter().all(|m| m.as_ref().unwrap() == first));
    assert_eq!(fs::read_dir(&into).unwrap().count(), 1);
}
