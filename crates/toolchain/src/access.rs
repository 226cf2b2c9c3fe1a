//! How the outside world is reached when a toolchain is fetched.
use crate::Toolchain;
use async_trait::async_trait;
use lre_model::Digest;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// How the outside world is reached. Nothing in it has a say in what is fetched: that is pinned by digest.
#[derive(Clone, Default)]
pub struct Access {
    /// Where downloads are kept until they are imported, and contents wait for the store. On the file
    /// system of the store they move into it without a copy.
    pub directory: PathBuf,
    /// Nothing is fetched over a network.
    pub offline: bool,
    /// Where Debian's packages are, before the mirrors of this machine's own `apt` or in place of them: the address
    /// above `pool/`. Several with spaces between them are asked in order: security updates have one of their own.
    pub debian_mirror: Option<String>,
    /// Where Nix store paths are looked for when this machine has none: addresses of binary caches.
    pub nix_caches: Vec<String>,
    /// Whose signatures are believed on what a binary cache sends: `name:base64`.
    pub nix_keys: Vec<String>,
    /// REAPI services that are asked for a pinned tree before any other source.
    pub peers: Vec<String>,
    /// For sources that must build something once.
    pub builder: Option<Arc<dyn Builder>>,
    /// What these peers want to be shown. Nobody else is: an address that a lock file names is not one that this
    /// machine's user has chosen.
    pub peer_token: Option<String>,
}

impl Access {
    /// With this folder and nothing else said.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..Self::default() }
    }
}

/// Runs one command in the sandbox.
#[async_trait]
pub trait Builder: Send + Sync {
    /// Runs it, with the same result for the same build on every machine.
    ///
    /// # Errors
    /// The sandbox failed, or the command did (then with what it said).
    async fn build(&self, build: Build<'_>) -> io::Result<Built>;
}

/// What is to be run.
pub struct Build<'a> {
    /// All that it sees, in the store.
    pub toolchain: &'a Toolchain,
    /// The command.
    pub arguments: Vec<String>,
    /// All of its environment.
    pub environment: BTreeMap<String, String>,
    /// Files in its directory.
    pub inputs: Vec<(String, Vec<u8>)>,
    /// The directory that is kept.
    pub output: String,
}

/// What became of it.
pub struct Built {
    /// All it wrote to stderr.
    pub said: String,
    /// The tree of its output directory, in the store.
    pub output: Digest,
}
