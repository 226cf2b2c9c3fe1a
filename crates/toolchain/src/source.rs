//! Where a toolchain comes from, and how it gets into the store.
use crate::capture::capture;
use crate::error::ToolchainError;
use crate::import::{Imported, Warning, blocking, import_layout};
use crate::layout::{Entry, Layout};
use crate::progress::Progress;
use crate::registry::check_name;
use crate::{Kind, Toolchain};
use lre_model::{DigestFunction, RelPath};
use lre_store::BlobStore;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// Where a toolchain comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `capture:/usr/bin/cc`: this machine's compiler, frozen.
    Capture(PathBuf),
    /// `dir:/path`: a directory as it is.
    Directory(PathBuf),
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
        }
    }
}

impl FromStr for Source {
    type Err = ToolchainError;
    fn from_str(text: &str) -> Result<Self, ToolchainError> {
        match text.split_once(':') {
            Some(("capture", path)) if path.starts_with('/') => Ok(Self::Capture(path.into())),
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Directory(path.into())),
            _ => Err(ToolchainError::Source(text.to_owned())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture(path) => write!(f, "capture:{}", path.display()),
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
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
}

/// A toolchain that is in the store. It is not in a [`crate::Registry`] yet: put it there while
/// `imported.hold` lives.
#[derive(Debug)]
pub struct Added {
    /// For the registry and the lock file.
    pub toolchain: Toolchain,
    /// What was imported; its warnings are those of the source as well.
    pub imported: Imported,
}

/// Brings a toolchain from its source into the store.
///
/// # Errors
/// A bad name, a source that cannot be had, and what the store says.
pub async fn add(
    store: &dyn BlobStore,
    function: DigestFunction,
    wanted: &Wanted,
    progress: Arc<dyn Progress>,
) -> Result<Added, ToolchainError> {
    check_name(&wanted.name).map_err(|problem| ToolchainError::unusable(&wanted.name, problem))?;
    let (from, heard) = (wanted.clone(), progress.clone());
    let found = blocking(move || find(&from, &*heard)).await?;
    let imported = import_layout(store, function, &found.layout, found.warnings, &*progress).await?;
    let mut toolchain = Toolchain {
        name: wanted.name.clone(),
        kind: wanted.kind,
        digest: imported.digest,
        environment: found.environment,
        tools: found.tools,
        source: wanted.source.to_string(),
    };
    if wanted.kind == Kind::Tree {
        // Only now is it known where the tree will be.
        let mount = toolchain.mount();
        let directories = SEARCHED.map(|d| (d, RelPath::parse(d)));
        let there = directories.iter().filter(|(_, d)| d.as_ref().is_ok_and(|d| is_directory(&found.layout, d)));
        let path: Vec<_> = there.map(|(d, _)| format!("{mount}/{d}")).collect();
        toolchain.environment = [("PATH".to_owned(), path.join(":"))].into();
        toolchain.tools.values_mut().for_each(|path| *path = format!("{mount}{path}"));
    }
    Ok(Added { toolchain, imported })
}

struct Found {
    layout: Layout,
    warnings: Vec<Warning>,
    environment: BTreeMap<String, String>,
    /// With paths from the top of the tree, `/bin/cc`.
    tools: BTreeMap<String, String>,
}

fn find(wanted: &Wanted, progress: &dyn Progress) -> Result<Found, ToolchainError> {
    match &wanted.source {
        Source::Capture(_) if wanted.kind == Kind::Tree => Err(ToolchainError::unusable(
            wanted.source.to_string(),
            "what is captured has absolute paths of this machine and can only be mounted as `/`; use --kind rootfs",
        )),
        Source::Directory(_) if !wanted.also.is_empty() => {
            Err(ToolchainError::unusable(wanted.source.to_string(), "--also is for captured toolchains"))
        }
        Source::Capture(compiler) => {
            let captured = capture(compiler, &wanted.also, progress)?;
            let (layout, warnings) = (captured.layout, captured.warnings);
            Ok(Found { layout, warnings, environment: captured.environment, tools: captured.tools })
        }
        Source::Directory(path) => {
            let (layout, warnings) = Layout::of_directory(path)?;
            let tools = tools_in(&layout);
            let environment = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into();
            Ok(Found { layout, warnings, environment, tools })
        }
    }
}

/// Where programs are looked for in a tree.
const SEARCHED: [&str; 2] = ["bin", "usr/bin"];
/// Roles of tools, and the names that programs with this role have.
const ROLES: [(&str, &[&str]); 16] = [
    ("cc", &["cc", "gcc", "clang"]),
    ("c++", &["c++", "g++", "clang++"]),
    ("cpp", &["cpp", "clang-cpp"]),
    ("ar", &["ar", "llvm-ar"]),
    ("as", &["as"]),
    ("ld", &["ld", "ld.lld", "ld.gold"]),
    ("nm", &["nm", "llvm-nm"]),
    ("objcopy", &["objcopy", "llvm-objcopy"]),
    ("objdump", &["objdump", "llvm-objdump"]),
    ("ranlib", &["ranlib", "llvm-ranlib"]),
    ("strip", &["strip", "llvm-strip"]),
    ("dwp", &["dwp", "llvm-dwp"]),
    ("gcov", &["gcov"]),
    ("llvm-cov", &["llvm-cov"]),
    ("sh", &["sh"]),
    ("bash", &["bash"]),
];

fn tools_in(layout: &Layout) -> BTreeMap<String, String> {
    let mut tools = BTreeMap::new();
    for (role, names) in ROLES {
        // The name decides before the directory: `usr/bin/cc` is preferred to `bin/clang`.
        let paths = names.iter().flat_map(|name| SEARCHED.map(|d| format!("{d}/{name}")));
        let is_file =
            |path: &String| RelPath::parse(path).is_ok_and(|p| layout.get(&p).is_some_and(|e| *e != Entry::Directory));
        if let Some(path) = paths.into_iter().find(is_file) {
            tools.insert(role.to_owned(), format!("/{path}"));
        }
    }
    tools
}

fn is_directory(layout: &Layout, path: &RelPath) -> bool {
    layout.iter().any(|(p, _)| p.segments().starts_with(path.segments()))
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
        for bad in ["", "capture:", "capture:cc", "dir:", "/usr/bin/cc", "nix:x", "Capture:/usr/bin/cc"] {
            let refused = bad.parse::<Source>().unwrap_err().to_string();
            assert!(refused.contains("capture:/usr/bin/cc"), "{refused}");
        }
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
        let mut wanted =
            Wanted { name: "t".to_owned(), kind: Kind::Tree, source: Source::Directory(tree), also: Vec::new() };
        let added = add(&store, DigestFunction::Sha256, &wanted, Arc::new(())).await.unwrap().toolchain;
        let mount = format!("/lre/toolchains/{}", added.digest.hash_text());
        let tools: Vec<_> = added.tools.iter().map(|(role, path)| (role.as_str(), path.as_str())).collect();
        let at = |name: &str| format!("{mount}/bin/{name}");
        assert_eq!(tools, [("c++", &*at("c++")), ("cc", &at("clang")), ("sh", &at("sh"))]);
        assert_eq!(added.environment["PATH"], format!("{mount}/bin"));
        wanted.kind = Kind::Rootfs;
        let as_root = add(&store, DigestFunction::Sha256, &wanted, Arc::new(())).await.unwrap().toolchain;
        assert_eq!((as_root.digest, as_root.tools["cc"].as_str()), (added.digest, "/bin/clang"));
        wanted.source = Source::Capture("/usr/bin/cc".into());
        wanted.kind = Kind::Tree;
        assert!(add(&store, DigestFunction::Sha256, &wanted, Arc::new(())).await.is_err());
    }
}
