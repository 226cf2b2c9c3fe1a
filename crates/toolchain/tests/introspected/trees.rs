//! Debian packages as toolchains, with something put in or taken out.
use crate::sandbox::Sandbox;
use lre_e2e::packages::Packages;
use lre_model::{DigestFunction, RelPath};
use lre_store::{DiskStore, Inodes};
use lre_toolchain::{
    Entry, Facts, Kind, Layout, Manifest, Toolchain, ToolchainError, Unfit, import_layout, introspect,
    introspect_described, materialise,
};
use std::path::Path;
use std::time::Instant;

/// A third of the bytes of the packages, which no test needs.
const LEFT_OUT: [&str; 12] = [
    "usr/bin/rustdoc",
    "usr/bin/x86_64-linux-gnu-lto-dump-12",
    "usr/lib/gcc/x86_64-linux-gnu/12/lto1",
    "usr/lib/jvm/java-17-openjdk-amd64/jmods",
    "usr/lib/llvm-14/bin/llvm-exegesis",
    "usr/lib/llvm-14/bin/obj2yaml",
    "usr/lib/x86_64-linux-gnu/libasan.so.8.0.0",
    "usr/lib/x86_64-linux-gnu/libclang-14.so.14.0.6",
    "usr/lib/x86_64-linux-gnu/libtsan.so.2.0.0",
    "usr/sbin",
    "usr/share",
    "var",
];

/// All trees of one run share a store, so that the tenth costs little more than its hashes.
pub struct Trees {
    directory: tempfile::TempDir,
    store: DiskStore,
    inodes: Inodes,
}

/// A tree before it is imported.
pub struct Tree {
    layout: Layout,
    kind: Kind,
    tools: Vec<(String, String)>,
}

impl Trees {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = DiskStore::open(&directory.path().join("store")).unwrap();
        let inodes = Inodes::new(directory.path().join("store/inodes")).unwrap();
        Self { directory, store, inodes }
    }

    /// What a toolchain says of itself.
    pub async fn facts(&self, tree: Tree) -> Facts {
        self.ask(tree, None).await.unwrap()
    }

    /// Why a toolchain cannot be used.
    pub async fn refusal(&self, tree: Tree) -> Unfit {
        refusal(self.ask(tree, None).await)
    }

    pub async fn described(&self, tree: Tree, manifest: &Manifest) -> Facts {
        self.ask(tree, Some(manifest)).await.unwrap()
    }

    pub async fn refusal_described(&self, tree: Tree, manifest: &Manifest) -> Unfit {
        refusal(self.ask(tree, Some(manifest)).await)
    }

    async fn ask(&self, tree: Tree, manifest: Option<&Manifest>) -> Result<Facts, ToolchainError> {
        let start = Instant::now();
        let imported = import_layout(&self.store, DigestFunction::Sha256, &tree.layout, Vec::new(), &()).await.unwrap();
        let into = self.directory.path().join("store/trees");
        let root = materialise(&self.store, &self.inodes, imported.digest, &into).await.unwrap();
        println!("  {} files, {} bytes, there in {:.1?}", imported.files, imported.bytes, start.elapsed());
        let mut toolchain = Toolchain {
            name: "t".to_owned(),
            kind: tree.kind,
            digest: imported.digest,
            environment: Default::default(),
            tools: tree.tools.into_iter().collect(),
            source: "dir:/opt/t".to_owned(),
            recipe: Vec::new(),
        };
        let mount = toolchain.mount();
        toolchain.tools.values_mut().for_each(|path| *path = format!("{}{path}", mount.trim_end_matches('/')));
        let sandbox = Sandbox::new(&self.store, &root, &toolchain);
        let start = Instant::now();
        let facts = match manifest {
            Some(manifest) => introspect_described(&sandbox, &toolchain, manifest).await,
            None => introspect(&sandbox, &toolchain).await,
        };
        // One command at a time: a server runs as many as it has slots.
        let ((commands, processor), wall) = (sandbox.spent(), start.elapsed());
        println!("  asked in {wall:.2?}: {commands} commands, {processor:.2?} of processor time");
        facts
    }
}

fn refusal(asked: Result<Facts, ToolchainError>) -> Unfit {
    match asked {
        Err(ToolchainError::Unfit(unfit)) => {
            println!("  {unfit}\n  hint: {}", unfit.hint);
            *unfit
        }
        other => panic!("not refused as unfit: {other:?}"),
    }
}

impl Tree {
    /// With nothing in it.
    pub fn empty() -> Self {
        Self { layout: Layout::default(), kind: Kind::Rootfs, tools: Vec::new() }
    }

    /// With everything of a set of packages, and these tools.
    pub fn of(set: &str, tools: &[(&str, &str)]) -> Self {
        let root = Packages::of_this_checkout(set).ready().unwrap();
        let (layout, _) = Layout::of_directory(root.path()).unwrap();
        let tools = tools.iter().map(|(role, path)| ((*role).to_owned(), (*path).to_owned())).collect();
        Self { layout, kind: Kind::Rootfs, tools }.without(&LEFT_OUT)
    }

    pub fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    pub fn tool(mut self, role: &str, path: &str) -> Self {
        self.tools.push((role.to_owned(), path.to_owned()));
        self
    }

    /// With what another set of packages has at these paths and below.
    pub fn and(mut self, set: &str, paths: &[&str]) -> Self {
        let other = Self::of(set, &[]);
        for (path, entry) in other.layout.iter() {
            if paths.iter().any(|wanted| Path::new(&path.to_string()).starts_with(wanted)) {
                self.layout.insert(path.clone(), entry.clone());
            }
        }
        self
    }

    /// Without what is at these paths and below.
    pub fn without(mut self, paths: &[&str]) -> Self {
        let mut kept = Layout::default();
        for (path, entry) in self.layout.iter() {
            let text = path.to_string();
            if !paths.iter().any(|gone| Path::new(&text).starts_with(gone)) {
                kept.insert(path.clone(), entry.clone());
            }
        }
        assert!(kept.len() < self.layout.len(), "nothing is at {paths:?}");
        self.layout = kept;
        self
    }

    /// With an executable script, or a file.
    pub fn with(mut self, path: &str, text: &str) -> Self {
        let entry = Entry::Bytes { content: text.to_owned().into(), executable: text.starts_with("#!") };
        self.layout.insert(RelPath::parse(path).unwrap(), entry);
        self
    }

    pub fn with_symlink(mut self, path: &str, target: &str) -> Self {
        self.layout.insert(RelPath::parse(path).unwrap(), Entry::Symlink { target: target.to_owned() });
        self
    }

    /// With a program of this machine.
    pub fn with_program(mut self, path: &str, host: &str) -> Self {
        self.layout.insert(RelPath::parse(path).unwrap(), Entry::Host(host.into()));
        self
    }
}
