//! What can go wrong with a toolchain, by whose turn it is.
use crate::introspect::Unfit;
use lre_model::{BadDirectory, BadPath, Digest};
use lre_store::StoreError;
use std::io;
use std::path::{Path, PathBuf};

/// What people can write.
const SOURCES: &str = "write `capture:/usr/bin/cc`, `deb:cc-debian12`, `deb:gcc,g++`, `nix:/nix/store/...`, \
    `oci:PATH-or-REFERENCE`, `archive:FILE-or-URL#sha256`, `zig:WHEEL` or `dir:/path/to/tree`";

/// What can go wrong with a toolchain.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// The user's turn: write another source.
    #[error("`{text}` is not a source of toolchains: {}", .problem.as_deref().unwrap_or(SOURCES))]
    Source {
        /// What was written.
        text: String,
        /// What is wrong with it, where its scheme is known.
        problem: Option<String>,
    },
    /// The user's turn: names in a tree are UTF-8 (REAPI, `Directory`), and so are the targets of symlinks.
    #[error("{} is not valid UTF-8, so it cannot be part of a toolchain: rename or remove it", .0.display())]
    NotUtf8(PathBuf),
    /// The user's turn: something cannot stand where the tree has it.
    #[error("`{path}` cannot be part of a toolchain: {problem}")]
    Unusable {
        /// Where, inside the tree or on the host.
        path: String,
        /// Why not.
        problem: String,
    },
    /// The user's turn: this compiler cannot be captured or introspected.
    #[error("{compiler}: {problem}")]
    Compiler {
        /// Which, as it was given.
        compiler: String,
        /// What it did.
        problem: String,
    },
    /// The user's turn: the tree is there, and its tools cannot be used.
    #[error(transparent)]
    Unfit(Box<Unfit>),
    /// The user's turn: the manifest does not say what it should.
    #[error("{place}: {problem}")]
    Manifest {
        /// Which file, and where in it.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// The user's turn: install it and try again.
    #[error("{} is needed but was not found; {hint}", .what)]
    NotFound {
        /// What was looked for.
        what: String,
        /// The next command.
        hint: String,
    },
    /// The user's turn: what a recipe pins is no longer where it was.
    #[error(transparent)]
    Gone(Box<Gone>),
    /// The user's turn, or the network's: something cannot be fetched.
    #[error("cannot fetch {what}: {problem}")]
    Fetch {
        /// Where from.
        what: String,
        /// Why not, and what may help.
        problem: String,
    },
    /// The user's turn: try again when nothing changes the file.
    #[error("{} changed while it was read", .0.display())]
    Changed(PathBuf),
    /// The user's turn: the lock file does not say what it should.
    #[error("{file}: {problem}")]
    Lock {
        /// Which file.
        file: String,
        /// What is wrong with it, and where.
        problem: String,
    },
    /// The user's turn: what a source gave is not what the lock file pins.
    #[error(transparent)]
    Mismatch(Box<Mismatch>),
    /// Somebody else's turn: the store that a tree was to be copied from.
    #[error(transparent)]
    Fetched(#[from] BadSource),
    /// The user's turn: none of the places where a pinned toolchain is said to be has it.
    #[error("the toolchain `{name}` ({digest}) cannot be had{}", listed(.tried))]
    Nowhere {
        /// Which.
        name: String,
        /// What is pinned.
        digest: Digest,
        /// What was tried, in order, and what became of it.
        tried: Vec<Tried>,
    },
    /// The user's turn: get the file again.
    #[error("{}: {problem}", .file.display())]
    Export {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it, and where.
        problem: String,
    },
    /// The user's turn: add the toolchain again; its blobs are gone.
    #[error("{} blobs of the toolchain {toolchain} are not in the store, the first is {}", .missing.len(), .missing[0])]
    Missing {
        /// Which.
        toolchain: Digest,
        /// Never empty.
        missing: Vec<Digest>,
    },
    /// The author's turn of whatever wrote the tree.
    #[error("the directory {digest} of a toolchain is not valid: {source}")]
    Directory {
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: BadDirectory,
    },
    /// The operator's turn: the disk.
    #[error("{}: cannot {doing}", .path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The operator's turn: the store.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Packages that a recipe pins and no archive has any more. Nothing is taken in their place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} packages of `{source_name}` are in none of the archives that were asked ({}), since archives drop old versions: {}; \
     ways out: a tree that somebody has (a peer's store, an export file: `lre toolchain import FILE`), an archive that \
     keeps old versions (`debian_mirror` in lre.json5: a mirror or a snapshot), or the versions of today: `{anew}`",
    .packages.len(), .asked.join(", "), .packages.join(", ")
)]
pub struct Gone {
    /// What was to be had.
    pub source_name: String,
    /// `name=version` of all that are gone.
    pub packages: Vec<String>,
    /// The archives that were asked.
    pub asked: Vec<String>,
    /// The source that resolves them anew.
    pub anew: String,
}

/// What a source gave is not what the lock file pins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the toolchain `{name}` is {found}, but lre.lock pins {locked}{}", .path.as_ref().map_or(String::new(), |p| format!("; the first difference is at {p}")))]
pub struct Mismatch {
    /// Which toolchain.
    pub name: String,
    /// What is pinned.
    pub locked: Digest,
    /// What was found.
    pub found: Digest,
    /// The first path that differs, where both trees can be read.
    pub path: Option<String>,
}

/// Why a tree could not be copied from another store.
#[derive(Debug, thiserror::Error)]
pub enum BadSource {
    /// Part of it is not there. Never empty.
    #[error("it does not have all of the tree: {} blobs are missing, the first is {}", .0.len(), .0[0])]
    Incomplete(Vec<Digest>),
    /// It does not answer, or what it sends is something else.
    #[error("{}", plainly(.0))]
    Failed(StoreError),
}

/// That it is somebody else's service is said by where it is.
fn plainly(error: &StoreError) -> String {
    match error {
        StoreError::Upstream(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A source that a toolchain was looked for in, in vain.
#[derive(Debug)]
pub struct Tried {
    /// As it was written.
    pub source: String,
    /// What became of it.
    pub problem: Box<ToolchainError>,
}

/// One line for each.
fn listed(tried: &[Tried]) -> String {
    if tried.is_empty() {
        return ": no source is named".to_owned();
    }
    let line = |t: &Tried| format!("\n  {}: {}", t.source, in_full(&*t.problem));
    format!(":{}", tried.iter().map(line).collect::<String>())
}

/// An error with its causes, as far as they are not said already.
#[must_use]
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

impl ToolchainError {
    pub(crate) fn unusable(path: impl Into<String>, problem: impl ToString) -> Self {
        Self::Unusable { path: path.into(), problem: problem.to_string() }
    }
}

impl From<BadPath> for ToolchainError {
    fn from(bad: BadPath) -> Self {
        let (BadPath::Absolute(path) | BadPath::Escapes(path) | BadPath::Nul(path)) = &bad;
        Self::unusable(path.clone(), &bad)
    }
}

/// For `map_err`: names what was tried on which file.
pub(crate) fn io_at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ToolchainError {
    move |source| ToolchainError::Io { doing, path: path.to_owned(), source }
}
