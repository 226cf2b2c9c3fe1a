//! How the outside world is reached when a toolchain is fetched.
use std::path::PathBuf;

/// How the outside world is reached. Nothing in it has a say in what is fetched: that is pinned by digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Where downloads are kept until they are imported, and contents wait for the store. On the file
    /// system of the store they move into it without a copy.
    pub directory: PathBuf,
    /// Nothing is fetched over a network.
    pub offline: bool,
    /// Where Debian's packages are, for a machine whose own `apt` cannot be used: the address above `pool/`.
    pub debian_mirror: Option<String>,
    /// Where Nix store paths are looked for when this machine has none: addresses of binary caches.
    pub nix_caches: Vec<String>,
    /// Whose signatures are believed on what a binary cache sends: `name:base64`.
    pub nix_keys: Vec<String>,
    /// REAPI services that are asked for a pinned tree before any other source.
    pub peers: Vec<String>,
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
