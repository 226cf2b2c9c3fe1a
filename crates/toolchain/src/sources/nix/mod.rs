//! `nix:`: closures of Nix store paths, from a Nix on this machine or from binary caches without any.
//!
//! The names at the top of the tree are those of store paths. Every path is checked against the hash of its NAR: what
//! Nix's database says of it, or what is signed. Nix evaluates and builds only where the user names an installable, and
//! only when the toolchain is added: what is kept are the store paths that came out.
mod cache;
mod dump;
mod info;
mod keys;
mod local;
mod nar;
mod narinfo;
mod path;

use super::{Finding, Found, Tree, tools_in};
use crate::ToolchainError;
use crate::error::io_at;
use crate::import::{Warning, blocking, import_layout};
use crate::intake::{Intake, take_in};
use crate::layout::{Entry, Layout, entry_of};
use crate::materialise::load_tree;
use cache::Caches;
use futures::stream::{self, StreamExt, TryStreamExt};
use info::Info;
use local::Silent;
use lre_model::{Digest, RelPath};
use lre_store::Hold;
use path::StorePath;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// NARs hashed at the same time.
const PARALLEL_HASHES: usize = 4;

/// What follows `nix:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nix {
    /// `/nix/store/HASH-NAME`, several with commas between them: these and all that they need.
    Paths(Vec<String>),
    /// Anything else that `nix build` takes: `.#lre-cc`.
    Installable(String),
}

impl FromStr for Nix {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with(path::STORE) {
            // It becomes an argument of a program.
            let installable = !text.starts_with('-') && !text.contains(char::is_whitespace);
            return if installable {
                Ok(Self::Installable(text.to_owned()))
            } else {
                Err(format!("`{text}` is not an installable"))
            };
        }
        let mut paths = Vec::new();
        for path in text.split(',') {
            let path: StorePath = path.parse()?;
            if path.name().ends_with(".drv") {
                return Err(format!("`{path}` says how something is built; give the path of what comes out"));
            }
            let path = path.to_string();
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        Ok(Self::Paths(paths))
    }
}

impl fmt::Display for Nix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paths(paths) => f.write_str(&paths.join(",")),
            Self::Installable(installable) => f.write_str(installable),
        }
    }
}

impl Nix {
    /// What gives the same tree every time; nothing where it is not pinned.
    pub(super) fn pinned(&self) -> Option<String> {
        match self {
            Self::Paths(_) => Some(format!("nix:{self}")),
            Self::Installable(_) => None,
        }
    }

    pub(super) async fn find(&self, finding: &Finding<'_>) -> Result<Found, ToolchainError> {
        let named = self.named().await?;
        let (tree, layout, warnings) = closure(&named, finding).await?;
        let directories = programs(&named, &layout);
        let directories: Vec<_> = directories.iter().map(String::as_str).collect();
        let mut environment = BTreeMap::new();
        if !directories.is_empty() {
            let path: Vec<_> = directories.iter().map(|directory| format!("{}/{directory}", path::STORE)).collect();
            environment.insert("PATH".to_owned(), path.join(":"));
        }
        let source = Self::Paths(named.iter().map(ToString::to_string).collect());
        Ok(Found {
            tools: tools_in(&layout, &directories),
            tree,
            warnings,
            environment,
            source: format!("nix:{source}"),
            recipe: Vec::new(),
        })
    }

    async fn named(&self) -> Result<Vec<StorePath>, ToolchainError> {
        match self {
            Self::Paths(paths) => {
                let parsed =
                    paths.iter().map(|path| path.parse().map_err(|e: String| ToolchainError::unusable(path, e)));
                parsed.collect()
            }
            Self::Installable(installable) => {
                let asked = installable.clone();
                blocking(move || local::build(&asked).map_err(|silent| not_built(&asked, silent))).await
            }
        }
    }
}

/// Where the programs of the named paths are, from the top of the tree. What only others need is not offered.
fn programs(named: &[StorePath], layout: &Layout) -> Vec<String> {
    let directories = named.iter().map(|path| format!("{}/bin", path.base()));
    let there = |directory: &String| {
        let entry = RelPath::parse(directory).ok().and_then(|path| layout.get(&path).cloned());
        matches!(entry, Some(Entry::Directory | Entry::Symlink { .. }))
    };
    directories.filter(there).collect()
}

/// All that these paths need: from this machine's Nix where that has them, else from binary caches.
async fn closure(named: &[StorePath], finding: &Finding<'_>) -> Result<(Tree, Layout, Vec<Warning>), ToolchainError> {
    let asked = named.to_vec();
    let silent = match blocking(move || Ok(local::closure(&asked))).await? {
        Ok(infos) => return from_store(infos, finding).await,
        Err(silent) => silent,
    };
    if finding.access.nix_caches.is_empty() {
        return Err(nowhere(&named[0], silent));
    }
    match from_caches(named, finding).await {
        // Both are said: which of them the user expected is not known.
        Err(ToolchainError::NotFound { what, hint }) => {
            let hint = match silent {
                Silent::Absent => format!("{hint}; and there is no Nix on this machine"),
                Silent::Failed(problem) => format!("{hint}; and this machine's Nix does not have it: {problem}"),
            };
            Err(ToolchainError::NotFound { what, hint })
        }
        done => done,
    }
}

/// Imports the files of a store of this machine.
async fn from_store(infos: Vec<Info>, finding: &Finding<'_>) -> Result<(Tree, Layout, Vec<Warning>), ToolchainError> {
    let paths: Vec<_> = infos.iter().map(|info| info.path.clone()).collect();
    let (layout, warnings) = blocking(move || files_of(&paths)).await?;
    let imported = import_layout(finding.store, finding.function, &layout, warnings, &*finding.progress).await?;
    check(&infos, imported.digest, finding).await?;
    Ok((Tree::Stored(imported.digest, imported.hold), layout, imported.warnings))
}

fn files_of(paths: &[StorePath]) -> Result<(Layout, Vec<Warning>), ToolchainError> {
    let (mut layout, mut warnings) = (Layout::default(), Vec::new());
    for path in paths {
        let Some(host) = local::files(path) else {
            let hint = "Nix knows it, but its files are not on this machine; copy them into a binary cache: \
                `nix copy --to file:///DIRECTORY PATH`, and name that in `nix_caches`";
            return Err(ToolchainError::NotFound { what: path.to_string(), hint: hint.to_owned() });
        };
        let inside = RelPath::parse(path.base())?;
        let kind = host.symlink_metadata().map_err(io_at("look at it", &host))?.file_type();
        if kind.is_dir() {
            layout.add_directory(&host, &inside, &mut warnings)?;
        } else if let Some(entry) = entry_of(&host, kind)? {
            layout.insert(inside, entry);
        } else {
            return Err(ToolchainError::unusable(path.to_string(), "it is neither file, directory nor symlink"));
        }
    }
    Ok((layout, warnings))
}

/// Checks each path against the hash of its NAR, on what the store has.
async fn check(infos: &[Info], digest: Digest, finding: &Finding<'_>) -> Result<(), ToolchainError> {
    let (tree, _hold) = load_tree(finding.store, digest).await?;
    let root = tree.root_directory().cloned().unwrap_or_default();
    let (tree, root) = (&tree, &root);
    let all = stream::iter(infos).map(|info| async move {
        let node = root.get(info.path.base()).ok_or(lre_store::StoreError::Missing(digest))?;
        let whole = dump::hash(finding.store, tree, node).await?;
        if (whole.hash, whole.size_bytes) == (info.nar_hash, info.nar_size) {
            return Ok(());
        }
        let problem = format!(
            "its files are not what Nix's database says: their narHash is {}, not {}; `nix-store --repair-path {}` may help",
            whole.hash, info.nar_hash, info.path
        );
        Err(ToolchainError::unusable(info.path.to_string(), problem))
    });
    all.buffer_unordered(PARALLEL_HASHES).try_collect().await
}

/// Fetches from binary caches, through the store, without unpacking to disk.
async fn from_caches(
    named: &[StorePath],
    finding: &Finding<'_>,
) -> Result<(Tree, Layout, Vec<Warning>), ToolchainError> {
    let caches = Arc::new(Caches::new(finding.access, finding.progress.clone())?);
    let offered = caches.closure(named).await?;
    let unpack = move |intake: &Intake| caches.unpack(offered, intake);
    let (layout, hold): (Layout, Hold) =
        take_in(finding.store, finding.function, finding.access, finding.progress.clone(), unpack).await?;
    Ok((Tree::Streamed(layout.clone(), hold), layout, Vec::new()))
}

fn nowhere(path: &StorePath, silent: Silent) -> ToolchainError {
    let caches = "name a binary cache in `nix_caches` of lre.json5 to fetch it without Nix";
    let hint = match silent {
        Silent::Absent => format!("there is no Nix on this machine, and no binary cache to ask: {caches}"),
        Silent::Failed(problem) => {
            format!(
                "this machine's Nix does not have it: {problem}\n`nix-store --realise {path}` may bring it, or {caches}"
            )
        }
    };
    ToolchainError::NotFound { what: path.to_string(), hint }
}

fn not_built(installable: &str, silent: Silent) -> ToolchainError {
    match silent {
        Silent::Absent => ToolchainError::NotFound {
            what: format!("`nix`, to build `{installable}`,"),
            hint: "install Nix, or give the store path: `nix:/nix/store/HASH-NAME`".to_owned(),
        },
        Silent::Failed(problem) => ToolchainError::unusable(installable, format!("it cannot be built: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "/nix/store/0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-a";
    const B: &str = "/nix/store/1s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-b";

    #[test]
    fn paths_are_pinned_and_installables_are_not() {
        let both: Nix = format!("{B},{A}/,{B}").parse().unwrap();
        assert_eq!(both.to_string(), format!("{B},{A}"), "in the user's order, which is that of PATH");
        assert_eq!(both.pinned(), Some(format!("nix:{B},{A}")));
        for installable in [".#lre-cc", "nixpkgs#gcc", "github:o/r/0123?dir=x#a.b", "path:/x#y", "/home/me/flake#cc"] {
            let read: Nix = installable.parse().unwrap();
            assert_eq!((read.to_string(), read.pinned()), (installable.to_owned(), None));
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for (bad, says) in [
            (format!("{A}/bin/cc"), "inside of a store path"),
            (format!("{A}.drv"), "what comes out"),
            (format!("{A},"), "below /nix/store"),
            ("/nix/store/gcc".to_owned(), "too short"),
            ("--help".to_owned(), "not an installable"),
            ("a b".to_owned(), "not an installable"),
        ] {
            let refused = bad.parse::<Nix>().unwrap_err();
            assert!(refused.contains(says), "{bad}: {refused}");
        }
    }
}
