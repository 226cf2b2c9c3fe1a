//! What most caches are: a file for each blob, named by its hash.
//!
//! As plain as it can be and still right: hashed on its way in, complete before it has its name, 256 folders that are
//! there from the start. It does not look whether it has a blob before it writes it, and checks nothing when it reads: what it
//! leaves out is in its favour.
use super::data::Named;
use anyhow::{Result, ensure};
use lre_model::Digest;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The store.
pub struct Files {
    root: PathBuf,
    serial: u64,
}

impl Files {
    /// In a folder that is not there yet.
    pub fn new(root: &Path) -> Result<Self> {
        for shard in 0..=u8::MAX {
            fs::create_dir_all(root.join(format!("blobs/{shard:02x}")))?;
        }
        fs::create_dir(root.join("temporary"))?;
        Ok(Self { root: root.to_owned(), serial: 0 })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let hash = digest.hash_text();
        let mut path = self.root.join("blobs");
        path.push(&hash[..2]);
        path.push(hash);
        path
    }

    /// One after the other.
    pub fn write(&mut self, blobs: &[Named]) -> Result<()> {
        for (digest, content) in blobs {
            ensure!(Digest::of(digest.function(), content) == *digest, "other bytes");
            self.serial += 1;
            let temporary = self.root.join(format!("temporary/{}", self.serial));
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o444).open(&temporary)?;
            file.write_all(content)?;
            drop(file);
            fs::rename(&temporary, self.path(*digest))?;
        }
        Ok(())
    }

    /// How many are not there.
    pub fn missing(&self, digests: &[Digest]) -> Result<usize> {
        let mut missing = 0;
        for digest in digests {
            match fs::symlink_metadata(self.path(*digest)) {
                Ok(metadata) => missing += usize::from(metadata.len() != digest.size_bytes()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => missing += 1,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(missing)
    }

    /// How many bytes they have.
    pub fn read(&self, digests: &[Digest]) -> Result<u64> {
        let mut bytes = 0;
        for digest in digests {
            let mut content = vec![0; usize::try_from(digest.size_bytes())?];
            File::open(self.path(*digest))?.read_exact(&mut content)?;
            bytes += std::hint::black_box(content).len() as u64;
        }
        Ok(bytes)
    }
}
