//! Debian packages for tests: pinned by digest, fetched once, unpacked without being installed.
//!
//! Packages come in sets ([`sets`]), each with a lock file that names every package with its version and SHA-256. They
//! come through `apt-get download` with a state directory of our own (so root is not needed and the machine's apt is
//! left alone), from whatever mirror this machine uses, and are kept by digest in a cache outside of `target/`: a
//! second run fetches nothing. A set may be of another release of Debian than the machine; see [`apt`].
//! Maintainer scripts never run; what little they would have done is done in [`unpack`].
mod apt;
mod lock;
mod sets;
mod unpack;

pub use lock::{Lock, Pinned};

use crate::jail::Root;
use anyhow::{Context, Result, bail};
use apt::Apt;
use sets::Set;
use sha2::{Digest, Sha256};
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The packages of one set, in one cache.
pub struct Packages {
    set: &'static Set,
    lock: PathBuf,
    cache: PathBuf,
}

impl Packages {
    /// What `tests/e2e/packages/NAME.lock` names, kept in `$LRE_TEST_CACHE`, else `$XDG_CACHE_HOME/lre-tests`, else
    /// `~/.cache/lre-tests`.
    ///
    /// # Panics
    /// There is no such set.
    pub fn of_this_checkout(name: &str) -> Self {
        let set = Set::named(name).unwrap_or_else(|| panic!("no set of packages is called `{name}`"));
        Self { set, lock: locks().join(format!("{name}.lock")), cache: cache_directory() }
    }

    /// All sets.
    pub fn all_of_this_checkout() -> Vec<Self> {
        sets::SETS.iter().map(|set| Self::of_this_checkout(set.name)).collect()
    }

    /// Of the set.
    pub fn name(&self) -> &'static str {
        self.set.name
    }

    /// Fetches what is missing, and returns the folder in which everything is unpacked.
    ///
    /// Several processes may ask at once: the first works, the others wait for it. Other sets wait for nothing.
    pub fn ready(&self) -> Result<Root> {
        let (lock, _guard) = self.fetched()?;
        let root = self.cache.join("roots").join(format!("{}-{}", unpack::LAYOUT, lock.digest()));
        if !root.exists() {
            let files: Vec<PathBuf> = lock.packages().iter().map(|pinned| self.file(pinned)).collect();
            eprintln!("packages: unpacking {} packages into {}", files.len(), root.display());
            unpack::into(&files, &root)?;
        }
        Ok(Root::new(root))
    }

    /// Fetches what is missing, and returns each package's digest and file.
    pub fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let (lock, _guard) = self.fetched()?;
        Ok(lock.packages().iter().map(|pinned| (pinned.sha256.clone(), self.file(pinned))).collect())
    }

    /// What there is now of the lock, and the lock on the cache: while it lives nobody else works on this set.
    fn fetched(&self) -> Result<(Lock, File)> {
        let lock = Lock::read(&self.lock)?;
        fs::create_dir_all(&self.cache).with_context(|| format!("the cache {}", self.cache.display()))?;
        let guard = File::create(self.cache.join(format!("busy-{}", self.name())))?;
        guard.lock().context("the cache cannot be locked")?;
        let lock = self.settled(lock)?;
        self.fetch(&lock)?;
        // The indexes are as large as the packages, and stale by the time they would be needed again.
        let _ = fs::remove_dir_all(self.apt());
        Ok((lock, guard))
    }

    /// Resolves the closure anew against the package index of the set's release and writes the lock file.
    pub fn update_lock(&self) -> Result<()> {
        let apt = Apt::updated(&self.apt(), self.set.suite)?;
        let lock = self.resolved(&apt)?;
        fs::create_dir_all(locks())?;
        fs::write(&self.lock, lock.to_string())?;
        let _ = fs::remove_dir_all(self.apt());
        eprintln!("packages: {} packages pinned in {}", lock.packages().len(), self.lock.display());
        self.ready().map(drop)
    }

    fn resolved(&self, apt: &Apt) -> Result<Lock> {
        let mut names = apt.closure(&self.set.roots())?;
        names.extend(self.set.alone.iter().map(|name| (*name).to_owned()));
        names.sort();
        names.dedup();
        Ok(Lock::new(apt.newest(&names)?))
    }

    fn apt(&self) -> PathBuf {
        self.cache.join("apt").join(self.name())
    }

    fn file(&self, pinned: &Pinned) -> PathBuf {
        self.cache.join("packages").join(format!("{}.deb", pinned.sha256))
    }

    fn missing<'a>(&self, lock: &'a Lock) -> Vec<&'a Pinned> {
        lock.packages().iter().filter(|pinned| !self.file(pinned).exists()).collect()
    }

    /// The lock as it can be had.
    ///
    /// A mirror keeps only the newest version of a package, so a lock that nobody touches for a month names packages
    /// that are gone. Then the version that the signed index has now stands in, said loudly, and what was chosen is
    /// written down beside the cache so that the next run chooses (and fetches) nothing anew. With
    /// `LRE_PACKAGES_LOCKED=1` it is an error instead.
    fn settled(&self, lock: Lock) -> Result<Lock> {
        if self.missing(&lock).is_empty() {
            return Ok(lock);
        }
        let written = self.cache.join("settled").join(lock.digest());
        if written.exists() {
            let settled = Lock::read(&written)?;
            if self.missing(&settled).is_empty() {
                return Ok(settled);
            }
        }
        let apt = Apt::updated(&self.apt(), self.set.suite)?;
        let (settled, replaced) = apt.settle(&lock, |pinned| self.file(pinned).exists())?;
        if !replaced.is_empty() {
            let list = replaced.join("\n  ");
            let name = self.name();
            let hint = format!("`cargo xtask packages --update {name}` pins what the mirror has; commit the lock file");
            if env::var_os("LRE_PACKAGES_LOCKED").is_some() {
                bail!("the mirror no longer has what {name}.lock names:\n  {list}\nhint: {hint}");
            }
            eprintln!(
                "packages: WARNING: not what {name}.lock names, since the mirror has moved on:\n  {list}\nhint: {hint}"
            );
        }
        fs::create_dir_all(self.cache.join("settled"))?;
        fs::write(&written, settled.to_string())?;
        Ok(settled)
    }

    fn fetch(&self, lock: &Lock) -> Result<()> {
        let missing = self.missing(lock);
        if missing.is_empty() {
            return Ok(());
        }
        let bytes: u64 = missing.iter().map(|pinned| pinned.size_bytes).sum();
        eprintln!("packages: fetching {} packages, {} MB", missing.len(), bytes / 1_000_000);
        let packages = self.cache.join("packages");
        fs::create_dir_all(&packages)?;
        let here = tempfile::Builder::new().prefix("fetch-").tempdir_in(&packages)?;
        Apt::at(&self.apt(), self.set.suite)?.download(&missing, here.path())?;
        for pinned in missing {
            let file = here.path().join(pinned.file_name());
            let actual = sha256_of(&file).with_context(|| format!("apt-get did not leave {}", file.display()))?;
            if actual != pinned.sha256 {
                bail!(
                    "{}={}: the lock says sha256 {}, the mirror sent {actual}",
                    pinned.name,
                    pinned.version,
                    pinned.sha256
                );
            }
            fs::rename(&file, self.file(pinned))?;
        }
        Ok(())
    }
}

/// Where the lock files are.
fn locks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packages")
}

pub(crate) fn cache_directory() -> PathBuf {
    if let Some(chosen) = env::var_os("LRE_TEST_CACHE") {
        return chosen.into();
    }
    if let Some(cache) = env::var_os("XDG_CACHE_HOME") {
        return Path::new(&cache).join("lre-tests");
    }
    Path::new(&env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache/lre-tests")
}

/// The SHA-256 of a file's content, in lower-case hexadecimal.
pub fn sha256_of(file: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(file)?, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
