//! A store, a small toolchain and the real launcher, for the integration tests of this crate.
use lre_model::{Action, ActionDigest, Command, Digest, DigestFunction, Subtree, Terms, wire};
use lre_store::{BlobStore, DiskStore, Hold, Inodes};
use lre_testkit::TreeBuilder;
use lre_toolchain::{Closure, Kind, Toolchain};
use lre_worker::{
    ExecutionLimits, Executor, LauncherProgram, Loaded, LocalExecutor, LocalOptions, Outcome, Reader, Work,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

pub const F: DigestFunction = DigestFunction::Sha256;

/// The program that is the launcher.
pub const LAUNCHER: &str = env!("CARGO_BIN_EXE_lre-worker-test-launcher");
/// Names another copy of it, for a user who cannot come to that one.
pub const LAUNCHER_VARIABLE: &str = "LRE_WORKER_TEST_LAUNCHER";

/// How an execution is asked for, beside its command.
pub struct Asked {
    pub slot: usize,
    pub terms: Terms,
    pub timeout: Duration,
}

pub struct World {
    pub store: Arc<DiskStore>,
    pub executor: LocalExecutor,
    pub toolchain: Toolchain,
    pub directory: tempfile::TempDir,
}

/// A node of the input tree of a test.
pub enum In {
    File(&'static str),
    Program(&'static str),
    Link(&'static str),
    Empty,
}

impl World {
    pub async fn new() -> Self {
        Self::with(1, ExecutionLimits::of_this_machine().unwrap()).await
    }

    /// A world with so many slots and these limits.
    pub async fn with(slots: usize, limits: ExecutionLimits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("store");
        let store = Arc::new(DiskStore::open(&at).unwrap());
        let inodes = Arc::new(Inodes::new(at.join("inodes")).unwrap());
        let program = std::env::var_os(LAUNCHER_VARIABLE).unwrap_or_else(|| LAUNCHER.into());
        let launcher = LauncherProgram { program: program.into(), arguments: vec![] };
        let options = LocalOptions {
            store: Arc::clone(&store) as _,
            inodes,
            directory: at,
            slots,
            launcher,
            limits,
            cgroup: None,
        };
        let executor = LocalExecutor::start(options).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/act.c");
        let toolchain = toolchain(store.as_ref(), directory.path(), "act", source).await;
        Self { store, executor, toolchain, directory }
    }

    /// A toolchain of one program, made of this source.
    pub async fn program(&self, name: &str, source: &str) -> Toolchain {
        toolchain(self.store.as_ref(), self.directory.path(), name, source).await
    }

    async fn inputs(&self, nodes: &[(&str, In)]) -> Arc<Subtree> {
        let tree = nodes.iter().fold(TreeBuilder::new(F), |tree, (path, node)| match node {
            In::Empty => tree.directory(path),
            In::File(text) => tree.file(path, *text),
            In::Program(text) => tree.program(path, *text),
            In::Link(target) => tree.symlink(path, target),
        });
        let root = tree.store(self.store.as_ref()).await.unwrap();
        Reader::new(Arc::clone(&self.store) as _).inputs(root).await.unwrap()
    }

    pub async fn run(&self, nodes: &[(&str, In)], command: wire::Command) -> Outcome {
        self.run_with(nodes, command, Duration::from_secs(60), CancellationToken::new()).await
    }

    pub async fn run_with(
        &self,
        nodes: &[(&str, In)],
        command: wire::Command,
        timeout: Duration,
        cancel: CancellationToken,
    ) -> Outcome {
        self.execute(Asked { slot: 0, terms: Terms::default(), timeout }, nodes, command, cancel).await
    }

    pub async fn execute(
        &self,
        asked: Asked,
        nodes: &[(&str, In)],
        command: wire::Command,
        cancel: CancellationToken,
    ) -> Outcome {
        let work = self.work(asked, nodes, command).await;
        self.executor.execute(work, cancel).await
    }

    /// An execution to be made.
    pub async fn work(&self, asked: Asked, nodes: &[(&str, In)], command: wire::Command) -> Work {
        let inputs = self.inputs(nodes).await;
        let bytes = prost_bytes(&command);
        let loaded = Loaded {
            action: Action {
                digest: ActionDigest(Digest::of(F, b"the action")),
                command: Digest::of(F, &bytes),
                input_root: inputs.root(),
                timeout: None,
                do_not_cache: false,
                platform: None,
            },
            command: Command::decode(&bytes).unwrap(),
            inputs,
        };
        Work {
            loaded: Arc::new(loaded),
            closure: Closure { toolchains: vec![self.toolchain.clone()] },
            terms: asked.terms,
            hold: Arc::new(Hold::default()),
            slot: asked.slot,
            timeout: asked.timeout,
            queued: SystemTime::now(),
            explain: false,
            live: Arc::default(),
        }
    }

    pub async fn text(&self, digest: Option<&wire::Digest>) -> String {
        let Some(digest) = digest else { return String::new() };
        let digest = Digest::from_wire(F, Some(digest)).unwrap();
        let bytes = self.store.read(digest).await.unwrap().into_bytes(1 << 20).await.unwrap();
        assert_eq!(Digest::of(F, &bytes), digest, "what is stored is what its name says");
        String::from_utf8(bytes.to_vec()).unwrap()
    }
}

/// A rootfs with one static program in `/bin`.
async fn toolchain(store: &dyn BlobStore, directory: &Path, name: &str, source: &str) -> Toolchain {
    let root = directory.join(format!("rootfs-{name}"));
    std::fs::create_dir_all(root.join("bin")).unwrap();
    let cc = std::process::Command::new("cc")
        .args(["-D_GNU_SOURCE", "-static", "-O1", source, "-o"])
        .arg(root.join("bin").join(name))
        .status()
        .expect("a C compiler is needed (README)");
    assert!(cc.success());
    let imported = lre_toolchain::import_directory(store, F, &root, &()).await.unwrap();
    Toolchain {
        name: name.to_owned(),
        kind: Kind::Rootfs,
        digest: imported.digest,
        environment: BTreeMap::from([("PATH".into(), "/bin".into())]),
        tools: BTreeMap::new(),
        source: "dir:rootfs".into(),
        recipe: Vec::new(),
    }
}

fn prost_bytes(command: &wire::Command) -> Vec<u8> {
    prost::Message::encode_to_vec(command)
}

pub fn command(arguments: &[&str], outputs: &[&str]) -> wire::Command {
    wire::Command {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        output_paths: outputs.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

pub fn result(outcome: &Outcome) -> &wire::ActionResult {
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    outcome.result.as_ref().unwrap().wire()
}
