//! `zig:`: clang, lld, musl and libc++ out of a zig release, frozen.
//!
//! `zig cc` is no toolchain that can be pinned: it keeps a cache that all its runs share, and builds its C and C++
//! libraries when it first links. So it is run once, in the sandbox, to build them; what it says it does
//! ([`commands`]) is written into configuration files for the compiler inside of it, and the tree that is kept calls
//! that compiler and its linker directly. The same release gives the same tree on every machine.
mod commands;

use super::{Archive, Finding, Found, Tree, tools_in};
use crate::access::Build;
use crate::error::ToolchainError;
use crate::import::import_layout;
use crate::layout::{Entry, Layout};
use crate::materialise::load_tree;
use crate::{Kind, Toolchain};
use bytes::Bytes;
use commands::Commands;
use lre_model::{Digest, InputTree, Node, RelPath};
use lre_store::Hold;
use std::fmt;
use std::str::FromStr;

/// The programs of the frozen tree's `bin`; see the file.
const DRIVER: &str = include_str!("driver.c");
/// Makes zig say how C++ is compiled, beside the C of [`DRIVER`].
const ANCHOR: &str = "int anchor;\n";
/// The names under which the driver is called.
const DRIVER_NAMES: [&str; 9] = ["ar", "c++", "cc", "clang", "clang++", "ld", "ld.lld", "ranlib", "dlltool"];
/// What programs are built for: musl, so that nothing outside the tree is linked with.
const TARGET: &str = "x86_64-linux-musl";
/// Where what zig wrote is collected, below the execution root.
const OUTPUT: &str = "out";
/// Where the libraries are kept in the frozen tree.
const LIBRARIES: &str = "lib/frozen";

/// What follows `zig:`: a release, as a wheel or an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zig {
    release: Archive,
}

impl FromStr for Zig {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self { release: text.parse()? })
    }
}

impl fmt::Display for Zig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.release.fmt(f)
    }
}

impl Zig {
    /// What gives the same tree every time; nothing where it is not pinned. The driver is part of the tree.
    pub(super) fn pinned(&self) -> Option<String> {
        let driver = Digest::of(lre_model::DigestFunction::Sha256, DRIVER.as_bytes());
        self.release.pinned().map(|pinned| format!("zig {} {pinned}", driver.hash_text()))
    }

    pub(super) async fn find(&self, finding: &Finding<'_>) -> Result<Found, ToolchainError> {
        let found = self.release.find(finding).await?;
        let (whole, _hold) = match found.tree {
            Tree::Layout(layout) => (layout, Hold::default()),
            Tree::Streamed(layout, hold) => (layout, hold),
            Tree::Stored(..) => return Err(self.broken("an archive gives a layout")),
        };
        let release = self.release(&whole)?;
        let (commands, built, _built_hold) = self.build(finding, &release).await?;
        let layout = self.freeze(&release, &commands, &built)?;
        Ok(Found {
            tools: tools_in(&layout, &["bin"]),
            // All contents are in the store by now; those of the release and those of the build are held.
            tree: Tree::Streamed(layout, _hold.and(_built_hold)),
            warnings: Vec::new(),
            environment: Default::default(),
            source: found.source.replacen("archive:", "zig:", 1),
            recipe: Vec::new(),
        })
    }

    /// The release's own folder of the archive: the one that has both `zig` and `lib`.
    fn release(&self, whole: &Layout) -> Result<Layout, ToolchainError> {
        let program = whole.iter().map(|(path, _)| path).find(|path| {
            let library = path.parent().and_then(|top| top.join("lib/libcxx/include").ok());
            path.segments().last().is_some_and(|name| name == "zig")
                && library.is_some_and(|l| whole.iter().any(|(p, _)| p.segments().starts_with(l.segments())))
        });
        let top = program.and_then(RelPath::parent).ok_or_else(|| {
            self.broken("there is no zig in it; what is wanted is a release: the wheel `ziglang`, or an archive of it")
        })?;
        let mut release = Layout::default();
        for (path, entry) in whole.iter().filter(|(path, _)| path.segments().starts_with(top.segments())) {
            let below = path.segments()[top.segments().len()..].join("/");
            let entry = match entry {
                // A wheel may have lost the bit.
                Entry::Stored { digest, .. } if below == "zig" => Entry::Stored { digest: *digest, executable: true },
                entry => entry.clone(),
            };
            if !below.is_empty() {
                release.insert(RelPath::parse(&below)?, entry);
            }
        }
        Ok(release)
    }

    /// Has zig build a C and C++ program once: its libraries, and our driver.
    async fn build(
        &self,
        finding: &Finding<'_>,
        release: &Layout,
    ) -> Result<(Commands, InputTree, Hold), ToolchainError> {
        let builder =
            finding.access.builder.as_ref().ok_or_else(|| {
                self.broken("its libraries must be built in the sandbox once, and there is none here")
            })?;
        let imported = import_layout(finding.store, finding.function, release, Vec::new(), &*finding.progress).await?;
        let toolchain = Toolchain {
            name: format!("{}-release", finding.wanted.name),
            kind: Kind::Tree,
            digest: imported.digest,
            environment: Default::default(),
            tools: Default::default(),
            source: self.to_string(),
            recipe: Vec::new(),
        };
        let arguments = [&format!("{}/zig", toolchain.mount()), "c++", "-target", TARGET, "-O2", "-s", "driver.c"];
        let arguments = arguments.into_iter().chain(["anchor.cc", "-o", "out/driver"]).map(str::to_owned).collect();
        let environment = [
            ("ZIG_GLOBAL_CACHE_DIR", "out/cache"),
            ("ZIG_LOCAL_CACHE_DIR", "out/cache"),
            ("ZIG_VERBOSE_CC", "1"),
            ("ZIG_VERBOSE_LINK", "1"),
        ];
        let build = Build {
            toolchain: &toolchain,
            arguments,
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            inputs: vec![("driver.c".to_owned(), DRIVER.into()), ("anchor.cc".to_owned(), ANCHOR.into())],
            output: OUTPUT.to_owned(),
        };
        let built = builder.build(build).await.map_err(|e| self.broken(&format!("the sandbox failed: {e}")))?;
        let (tree, hold) = load_tree(finding.store, built.output).await?;
        let commands = Commands::parse(&built.said).map_err(|e| self.broken(&e))?;
        Ok((commands, tree, hold))
    }

    /// What of the release is needed, with the libraries and the configuration.
    fn freeze(&self, release: &Layout, commands: &Commands, built: &InputTree) -> Result<Layout, ToolchainError> {
        let mut frozen = Layout::default();
        let kept = |path: &RelPath| {
            let path = path.to_string();
            path == "LICENSE" || commands.cxx.include.iter().any(|d| path == *d || path.starts_with(&format!("{d}/")))
        };
        for (path, entry) in release.iter().filter(|(path, _)| kept(path)) {
            frozen.insert(path.clone(), entry.clone());
        }
        let zig = release.get(&RelPath::parse("zig")?).ok_or_else(|| self.broken("there is no zig in it"))?;
        frozen.insert(RelPath::parse("bin/zig")?, zig.clone());
        let mut put = |path: String, content: String| -> Result<(), ToolchainError> {
            let entry = Entry::Bytes { content: Bytes::from(content), executable: false };
            frozen.insert(RelPath::parse(&path)?, entry);
            Ok(())
        };
        put("bin/cc.cfg".to_owned(), commands.c.configuration())?;
        put("bin/c++.cfg".to_owned(), commands.cxx.configuration())?;
        put("bin/program.cfg".to_owned(), commands.program_configuration(LIBRARIES))?;
        for library in &commands.libraries {
            let (digest, _) = self.file(built, library)?;
            let name = library.rsplit('/').next().unwrap_or_default();
            frozen.insert(RelPath::parse(&format!("{LIBRARIES}/{name}"))?, Entry::Stored { digest, executable: false });
        }
        let (digest, _) = self.file(built, &format!("{OUTPUT}/driver"))?;
        frozen.insert(RelPath::parse("bin/lre-driver")?, Entry::Stored { digest, executable: true });
        for name in DRIVER_NAMES {
            let entry = Entry::Symlink { target: "lre-driver".to_owned() };
            frozen.insert(RelPath::parse(&format!("bin/{name}"))?, entry);
        }
        Ok(frozen)
    }

    /// A file that the build left; `path` is from the execution root, as zig names it.
    fn file(&self, built: &InputTree, path: &str) -> Result<(Digest, bool), ToolchainError> {
        let missing = || self.broken(&format!("the build left no {path}"));
        let below = path.strip_prefix(OUTPUT).and_then(|p| p.strip_prefix('/')).ok_or_else(missing)?;
        let below = RelPath::parse(below)?;
        let (name, parents) = below.segments().split_last().ok_or_else(missing)?;
        let mut directory = built.get(&built.root.0).ok_or_else(missing)?;
        for parent in parents {
            let Some(Node::Directory { digest }) = directory.get(parent) else { return Err(missing()) };
            directory = built.get(digest).ok_or_else(missing)?;
        }
        match directory.get(name) {
            Some(Node::File { digest, executable }) => Ok((*digest, *executable)),
            _ => Err(missing()),
        }
    }

    fn broken(&self, problem: &str) -> ToolchainError {
        ToolchainError::unusable(format!("zig:{self}"), problem)
    }
}
