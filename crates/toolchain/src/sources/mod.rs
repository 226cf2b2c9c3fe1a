//! Where a toolchain comes from, and how it gets into the store. One file or folder for each source.
mod archive;
mod cas;
pub(crate) mod checked;
pub(crate) mod compressed;
pub mod deb;
mod exported;
mod host;
pub(crate) mod http;
mod nix;
mod oci;
mod remembered;
#[cfg(test)]
mod samples;
pub(crate) mod tar;
mod tools;
mod unpack;
mod zig;

use crate::access::Access;
use crate::error::ToolchainError;
use crate::import::{Imported, Warning, import_layout};
use crate::layout::Layout;
use crate::materialise::load_tree;
use crate::progress::Progress;
use crate::registry::check_name;
use crate::{Kind, Toolchain};
use lre_model::{Digest, DigestFunction};
use lre_store::{BlobStore, Hold};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

pub use archive::Archive;
pub use cas::Cas;
pub use deb::Deb;
pub use nix::Nix;
pub use oci::Oci;
pub(crate) use tools::{SEARCHED, tools_in};
pub use zig::Zig;

/// Where a toolchain comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `capture:/usr/bin/cc`: this machine's compiler, frozen.
    Capture(PathBuf),
    /// `dir:/path`: a directory as it is.
    Directory(PathBuf),
    /// `archive:FILE-or-URL#sha256`: tar, zip, wheel.
    Archive(Archive),
    /// `deb:gcc,g++`: Debian's packages, without their scripts.
    Deb(Deb),
    /// `nix:/nix/store/...`: a closure of Nix store paths.
    Nix(Nix),
    /// `oci:PATH` or `oci:REFERENCE@sha256:...`: a container image.
    Oci(Oci),
    /// `zig:...`: a frozen clang, lld, musl and libc++.
    Zig(Zig),
    /// `cas:ADDRESS`: a REAPI service that has the pinned tree.
    Cas(Cas),
    /// `file:PATH`: what `lre toolchain export` wrote.
    Exported(PathBuf),
}

impl Source {
    /// The compiler that is captured where the user names none.
    pub const DEFAULT: &str = "capture:/usr/bin/cc";

    /// What people must know of a toolchain from here.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Capture(_) => "captured, not rebuilt",
            Self::Directory(_) => "taken as it is",
            Self::Archive(_) => "unpacked from an archive",
            Self::Deb(_) => "unpacked from signed packages",
            Self::Nix(_) => "a closure of Nix store paths",
            Self::Oci(_) => "the tree of an image",
            Self::Zig(_) => "frozen",
            Self::Cas(_) => "fetched by digest",
            Self::Exported(_) => "carried in a file",
        }
    }

    /// With the recipe that a lock file has for it. Sources that have none ignore it.
    ///
    /// # Errors
    /// It is not what the source names, or no recipe at all.
    pub fn with_recipe(self, recipe: &[String]) -> Result<Self, ToolchainError> {
        match self {
            Self::Deb(deb) if !recipe.is_empty() => {
                let text = format!("deb:{deb}");
                let with = deb.with_recipe(recipe);
                with.map(Self::Deb).map_err(|problem| ToolchainError::Source { text, problem: Some(problem) })
            }
            other => Ok(other),
        }
    }

    /// Whether something must be built once, in the sandbox ([`Access::builder`]).
    #[must_use]
    pub fn is_built(&self) -> bool {
        matches!(self, Self::Zig(_))
    }

    /// The kinds of toolchain that come from here; the first is what is meant where none is named.
    #[must_use]
    pub fn kinds(&self) -> &'static [Kind] {
        match self {
            Self::Capture(_) | Self::Deb(_) => &[Kind::Rootfs],
            Self::Directory(_) | Self::Oci(_) => &[Kind::Rootfs, Kind::Tree],
            Self::Archive(_) => &[Kind::Tree, Kind::Rootfs],
            Self::Nix(_) => &[Kind::Nix],
            Self::Zig(_) => &[Kind::Tree],
            Self::Cas(_) | Self::Exported(_) => &Kind::ALL,
        }
    }
}

impl FromStr for Source {
    type Err = ToolchainError;
    fn from_str(text: &str) -> Result<Self, ToolchainError> {
        let unknown = || ToolchainError::Source { text: text.to_owned(), problem: None };
        let (scheme, rest) = text.split_once(':').filter(|(_, rest)| !rest.is_empty()).ok_or_else(unknown)?;
        let parsed = match scheme {
            "capture" if rest.starts_with('/') => Ok(Self::Capture(rest.into())),
            "capture" => Err("the path of a compiler is absolute".to_owned()),
            "dir" => Ok(Self::Directory(rest.into())),
            "archive" => rest.parse().map(Self::Archive),
            "deb" => rest.parse().map(Self::Deb),
            "nix" => rest.parse().map(Self::Nix),
            "oci" => rest.parse().map(Self::Oci),
            "zig" => rest.parse().map(Self::Zig),
            "cas" => rest.parse().map(Self::Cas),
            "file" => Ok(Self::Exported(rest.into())),
            _ => return Err(unknown()),
        };
        parsed.map_err(|problem| ToolchainError::Source { text: text.to_owned(), problem: Some(problem) })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture(path) => write!(f, "capture:{}", path.display()),
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
            Self::Archive(archive) => write!(f, "archive:{archive}"),
            Self::Deb(deb) => write!(f, "deb:{deb}"),
            Self::Nix(nix) => write!(f, "nix:{nix}"),
            Self::Oci(oci) => write!(f, "oci:{oci}"),
            Self::Zig(zig) => write!(f, "zig:{zig}"),
            Self::Cas(cas) => write!(f, "cas:{cas}"),
            Self::Exported(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// What is to be added.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What people will call it.
    pub name: String,
    /// How it will be mounted.
    pub kind: Kind,
    /// Where it comes from.
    pub source: Source,
    /// More programs and directories for a captured one.
    pub also: Vec<PathBuf>,
    /// The tree that it must be, where a lock file says so. Some sources are asked by it; what any gives
    /// is compared by the caller.
    pub expected: Option<Digest>,
}

/// A toolchain that is in the store. It is not in a [`crate::Registry`] yet: put it there while
/// `imported.hold` lives.
#[derive(Debug)]
pub struct Added {
    /// For the registry and the lock file. Its source is the pinned form of what the user wrote.
    pub toolchain: Toolchain,
    /// What was imported; its warnings are those of the source as well.
    pub imported: Imported,
}

/// What a source has for its work.
pub struct Finding<'a> {
    /// Where contents go that are no files of this machine.
    pub store: &'a dyn BlobStore,
    /// Names them.
    pub function: DigestFunction,
    /// What is to be added.
    pub wanted: &'a Wanted,
    /// The way to the outside world.
    pub access: &'a Access,
    /// Hears of progress.
    pub progress: Arc<dyn Progress>,
}

/// What a source has found.
pub struct Found {
    /// What stands where.
    pub tree: Tree,
    /// What was lost or looks odd.
    pub warnings: Vec<Warning>,
    /// Variables that its tools want to have, beyond the sandbox's own; they reach actions through the
    /// clients' files.
    pub environment: BTreeMap<String, String>,
    /// Role to path, from the top of the tree: `/bin/cc`.
    pub tools: BTreeMap<String, String>,
    /// How to have the same again: the source as the user wrote it, with what pins it.
    pub source: String,
    /// What was fetched, where the source is a list of things with digests; see [`Toolchain::recipe`].
    pub recipe: Vec<String>,
}

/// A tree, as a source has found it.
pub enum Tree {
    /// Still to be imported.
    Layout(Layout),
    /// As [`Tree::Layout`], with contents that the store has already, and holds.
    Streamed(Layout, Hold),
    /// In the store as a whole.
    Stored(Digest, Hold),
}

/// Brings a toolchain from its source into the store. What was brought before, and is pinned by its source, is
/// not brought again.
///
/// # Errors
/// A bad name, a source that cannot be had, and what the store says.
pub async fn add(
    store: &dyn BlobStore,
    function: DigestFunction,
    wanted: &Wanted,
    access: &Access,
    progress: Arc<dyn Progress>,
) -> Result<Added, ToolchainError> {
    check_name(&wanted.name).map_err(|problem| ToolchainError::unusable(&wanted.name, problem))?;
    check(wanted)?;
    let source = pinned(&wanted.source, access, &progress).await?;
    let wanted = &Wanted { source, ..wanted.clone() };
    let finding = Finding { store, function, wanted, access, progress: progress.clone() };
    let key = remembered::key(&finding);
    if let Some(added) = remembered::look(&finding, key.as_deref()).await? {
        return Ok(added);
    }
    let found = find(&finding).await?;
    let mut warnings = found.warnings;
    let imported = match found.tree {
        Tree::Layout(layout) => import_layout(store, function, &layout, warnings, &*progress).await?,
        Tree::Streamed(layout, _hold) => import_layout(store, function, &layout, warnings, &*progress).await?,
        Tree::Stored(digest, _hold) => {
            let (tree, hold) = load_tree(store, digest).await?;
            warnings.sort();
            Imported::of_tree(&tree, warnings, hold)
        }
    };
    let mut toolchain = Toolchain {
        name: wanted.name.clone(),
        kind: wanted.kind,
        digest: imported.digest,
        environment: found.environment,
        tools: found.tools,
        source: found.source,
        recipe: found.recipe,
    };
    toolchain.locate();
    let added = Added { toolchain, imported };
    remembered::keep(&finding, key.as_deref(), &added);
    Ok(added)
}

fn check(wanted: &Wanted) -> Result<(), ToolchainError> {
    let refused = |problem: String| Err(ToolchainError::unusable(wanted.source.to_string(), problem));
    let kinds = wanted.source.kinds();
    if !kinds.contains(&wanted.kind) {
        let kinds: Vec<_> = kinds.iter().map(ToString::to_string).collect();
        return refused(format!(
            "what comes from there has absolute paths and can only be mounted in its place; use --kind {}",
            kinds.join(" or ")
        ));
    }
    if !wanted.also.is_empty() && !matches!(wanted.source, Source::Capture(_)) {
        return refused("--also is for captured toolchains".to_owned());
    }
    Ok(())
}

/// The source with what pins it, where a look at it tells: then it may be known already, and if it changes while it
/// is read, that is seen.
async fn pinned(source: &Source, access: &Access, progress: &Arc<dyn Progress>) -> Result<Source, ToolchainError> {
    Ok(match source {
        Source::Archive(archive) => Source::Archive(archive.pin(access, progress.clone()).await?),
        Source::Oci(oci) => Source::Oci(oci.pin(access, progress.clone()).await?),
        other => other.clone(),
    })
}

async fn find(finding: &Finding<'_>) -> Result<Found, ToolchainError> {
    match &finding.wanted.source {
        Source::Capture(compiler) => host::captured(compiler, finding).await,
        Source::Directory(path) => host::directory(path, finding).await,
        Source::Archive(archive) => archive.find(finding).await,
        Source::Deb(deb) => deb.find(finding).await,
        Source::Nix(nix) => nix.find(finding).await,
        Source::Oci(oci) => oci.find(finding).await,
        Source::Zig(zig) => zig.find(finding).await,
        Source::Cas(cas) => cas.find(finding).await,
        Source::Exported(path) => exported::exported(path, finding).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_store::DiskStore;
    use std::fs;

    #[test]
    fn sources_are_read_and_written() {
        for text in [Source::DEFAULT, "dir:/opt/gcc", "dir:relative"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for bad in ["", "capture:", "dir:", "file:", "/usr/bin/cc", "guix:x", "Capture:/usr/bin/cc"] {
            let refused = bad.parse::<Source>().unwrap_err().to_string();
            assert!(refused.contains("capture:/usr/bin/cc"), "{refused}");
        }
        let refused = "capture:cc".parse::<Source>().unwrap_err().to_string();
        assert!(refused.contains("absolute"), "{refused}");
    }

    #[tokio::test]
    async fn a_tree_is_told_where_it_will_be_and_its_tools_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(&dir.path().join("store")).unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("bin")).unwrap();
        for name in ["clang", "c++", "sh"] {
            fs::write(tree.join("bin").join(name), "").unwrap();
        }
        let source = Source::Directory(tree);
        let mut wanted = Wanted { name: "t".to_owned(), kind: Kind::Tree, source, also: Vec::new(), expected: None };
        let access = Access::at(dir.path().join("access"));
        let added = add(&store, DigestFunction::Sha256, &wanted, &access, Arc::new(())).await.unwrap().toolchain;
        let mount = format!("/lre/toolchains/{}", added.digest.hash_text());
        let tools: Vec<_> = added.tools.iter().map(|(role, path)| (role.as_str(), path.as_str())).collect();
        let at = |name: &str| format!("{mount}/bin/{name}");
        assert_eq!(tools, [("c++", &*at("c++")), ("cc", &at("clang")), ("sh", &at("sh"))]);
        wanted.kind = Kind::Rootfs;
        let as_root = add(&store, DigestFunction::Sha256, &wanted, &access, Arc::new(())).await.unwrap().toolchain;
        assert_eq!((as_root.digest, as_root.tools["cc"].as_str()), (added.digest, "/bin/clang"));
        wanted.source = Source::Capture("/usr/bin/cc".into());
        wanted.kind = Kind::Tree;
        let refused = add(&store, DigestFunction::Sha256, &wanted, &access, Arc::new(())).await.unwrap_err();
        assert!(refused.to_string().contains("--kind rootfs"), "{refused}");
    }
}
