//! The dressing room: input root laid out, sandbox plan written.
use crate::plan::{self, Places};
use crate::ready::ReadyToolchains;
use crate::slot_tree::{SlotTree, remove_tree, settle};
use crate::{Failure, Work};
use lre_model::{Command, InputTree, Invalid, Node, OutputPath};
use lre_sandbox::SandboxPlan;
use lre_store::{BlobStore, Inodes, StoreError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What one execution writes to. Removed when the execution is over, in the background.
pub(crate) struct RunDirectory(PathBuf);

impl RunDirectory {
    fn create(path: PathBuf) -> io::Result<Self> {
        std::fs::create_dir(&path)?;
        let directory = Self(path);
        for inner in [directory.upper(), directory.work()] {
            std::fs::create_dir(inner)?;
        }
        Ok(directory)
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }
    pub(crate) fn work(&self) -> PathBuf {
        self.0.join("work")
    }
    pub(crate) fn stdout(&self) -> PathBuf {
        self.0.join("stdout")
    }
    pub(crate) fn stderr(&self) -> PathBuf {
        self.0.join("stderr")
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.0);
        let remove = move || {
            if let Err(error) = remove_tree(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove what an execution wrote");
            }
        };
        // Nobody waits for it: deleting 1,000 files takes longer than many a command.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Ready to run.
pub(crate) struct Prepared {
    pub work: Work,
    pub directory: RunDirectory,
    pub plan: SandboxPlan,
    pub fetch_started: SystemTime,
    pub fetch_completed: SystemTime,
}

/// The rooms and tools of the worker that preparing needs.
pub(crate) struct Dressing<'a> {
    pub store: &'a dyn BlobStore,
    pub inodes: &'a Inodes,
    pub toolchains: &'a ReadyToolchains,
    pub tree: &'a mut SlotTree,
    /// Where the directory of this execution is made.
    pub run_directory: PathBuf,
}

impl Dressing<'_> {
    /// Lays out the inputs and writes the plan.
    pub(crate) async fn prepare(self, work: Work) -> Result<Prepared, Failure> {
        let fetch_started = SystemTime::now();
        let loaded = &work.loaded;
        starts_somewhere(&loaded.command, &loaded.inputs)?;
        let toolchains = self.toolchains.get(&work.closure, self.store, self.inodes).await?;
        self.tree.show(&loaded.inputs, self.store, self.inodes).await.map_err(laying_out)?;
        let fetch_completed = SystemTime::now();
        let directory = RunDirectory::create(self.run_directory).map_err(|e| laying_out(e.into()))?;
        make_parents(&directory.upper(), &loaded.command, &loaded.inputs)?;
        let toolchains: Vec<_> = toolchains.iter().map(AsRef::as_ref).collect();
        let path = work.closure.environment().remove("PATH");
        let places = Places {
            lower: self.tree.path(),
            upper: &directory.upper(),
            work: &directory.work(),
            stdout: &directory.stdout(),
            stderr: &directory.stderr(),
        };
        let plan = plan::plan(&toolchains, &loaded.command, path.as_deref(), places, work.timeout)
            .map_err(|e| Invalid::new("command", e))?;
        Ok(Prepared { plan, directory, fetch_started, fetch_completed, work })
    }
}

fn laying_out(source: StoreError) -> Failure {
    match source {
        StoreError::Missing(digest) => Failure::Missing(vec![digest]),
        source => Failure::Store { doing: "laying out the inputs", source },
    }
}

/// REAPI, `Command.working_directory`: "must be a directory which exists in the input tree".
fn starts_somewhere(command: &Command, inputs: &InputTree) -> Result<(), Invalid> {
    match inputs.lookup(command.working_directory.segments()) {
        Some(Node::Directory { .. }) => Ok(()),
        _ => Err(Invalid::new(
            "command.working_directory",
            format!("`{}` is not a directory of the input root", command.working_directory),
        )),
    }
}

/// REAPI, `Command.output_paths`: the directories that lead to an output are made by the worker, the
/// output itself is not.
fn make_parents(upper: &Path, command: &Command, inputs: &InputTree) -> Result<(), Failure> {
    for output in command.outputs.all() {
        make_parent(upper, output, inputs)?;
    }
    settle(upper).map_err(|e| laying_out(e.into()))
}

fn make_parent(upper: &Path, output: &OutputPath, inputs: &InputTree) -> Result<(), Failure> {
    let Some(parent) = output.path.parent() else { return Ok(()) };
    let segments = parent.segments();
    for depth in 1..=segments.len() {
        match inputs.lookup(&segments[..depth]) {
            Some(Node::Directory { .. }) => {}
            // The command sees what the link points to; a directory here would hide the link.
            Some(Node::Symlink { .. }) => return Ok(()),
            Some(Node::File { .. }) => {
                let problem = format!("`{}` is an input file, not a directory", segments[..depth].join("/"));
                return Err(Failure::Output { path: output.requested.clone(), problem });
            }
            None => {
                let mut path = upper.to_owned();
                for segment in segments {
                    path.push(segment);
                    match std::fs::create_dir(&path) {
                        Ok(()) => settle(&path).map_err(|e| laying_out(e.into()))?,
                        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(e) => return Err(laying_out(e.into())),
                    }
                }
                return Ok(());
            }
        }
    }
    Ok(())
}
