//! A tree with something of everything, packed in every way, for the tests of sources.
use super::{Added, Source, Wanted, add};
use crate::access::Access;
use crate::error::ToolchainError;
use crate::{Kind, import_directory};
use lre_model::{Digest, DigestFunction};
use lre_store::DiskStore;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

pub(crate) const F: DigestFunction = DigestFunction::Sha256;

/// A store, a folder for downloads, and a folder to work in.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: DiskStore,
    pub(crate) access: Access,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(&dir.path().join("store")).unwrap();
        let access = Access::at(dir.path().join("access"));
        Self { dir, store, access }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn add(&self, kind: Kind, source: &str) -> Result<Added, ToolchainError> {
        let source: Source = source.parse()?;
        let wanted = Wanted { name: "t".to_owned(), kind, source, also: Vec::new(), expected: None };
        add(&self.store, F, &wanted, &self.access, Arc::new(())).await
    }

    /// That it is refused, and nothing is left behind but what was fetched.
    pub(crate) async fn refused(&self, kind: Kind, source: &str) -> String {
        let refused = self.add(kind, source).await.unwrap_err().to_string();
        let left = fs::read_dir(&self.access.directory).into_iter().flatten().flatten();
        let left: Vec<_> =
            left.map(|f| f.file_name()).filter(|name| name != "downloads" && name != "remembered").collect();
        assert!(left.is_empty(), "{left:?} is left behind");
        refused
    }

    /// The digest of the sample tree as a directory: what all others are compared with.
    pub(crate) async fn sample(&self) -> (PathBuf, Digest) {
        let tree = self.at("tree");
        make(&tree);
        let digest = import_directory(&self.store, F, &tree, &()).await.unwrap().digest;
        (tree, digest)
    }
}

/// Makes the sample tree.
pub(crate) fn make(tree: &Path) {
    let at = |name: &str| tree.join(name);
    let long = format!("share/{}/{}", "a-long-name".repeat(12), "another".repeat(30));
    for directory in ["bin", "lib", "empty/inside", "share/ünïcode", &*long] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    fs::write(at("bin/cc"), "#!/bin/sh\necho cc\n").unwrap();
    fs::set_permissions(at("bin/cc"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at("lib/large.so"), (0..400_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect::<Vec<_>>()).unwrap();
    fs::hard_link(at("lib/large.so"), at("lib/large.so.1")).unwrap();
    fs::write(at("lib/nothing"), "").unwrap();
    fs::write(at("share/ünïcode/ñ"), "ñ").unwrap();
    fs::write(at(&long).join("file"), "deep").unwrap();
    symlink("cc", at("bin/gcc")).unwrap();
    symlink("../lib/large.so", at(&long).join("link")).unwrap();
}

/// Packs what is in a directory with the machine's own `tar`.
pub(crate) fn tar(from: &Path, options: &[&str]) -> Vec<u8> {
    let packed = Command::new("tar").arg("-C").arg(from).args(options).args(["-cf", "-", "."]).output().unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    packed.stdout
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut to = liblzma::write::XzEncoder::new(Vec::new(), 0);
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

pub(crate) fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}
