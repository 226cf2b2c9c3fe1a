//! The dressing room: input root laid out, sandbox plan written.
use crate::plan::{self, Places};
use crate::ready::ReadyToolchains;
use crate::run_directory::{RunDirectories, RunDirectory};
use crate::slot_tree::{SlotTree, settle};
use crate::{Failure, Work};
use lre_model::{Command, Invalid, Node, OutputPath, Subtree};
use lre_sandbox::SandboxPlan;
use lre_store::{BlobStore, Inodes, StoreError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

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
    /// Where the execution will write.
    pub run_directories: &'a Arc<RunDirectories>,
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
        let directory = self.run_directories.take().map_err(|e| laying_out(e.into()))?;
        make_parents(&directory.upper(), &loaded.command, &loaded.inputs)?;
        let toolchains: Vec<_> = toolchains.iter().map(AsRef::as_ref).collect();
        let path = work.closure.path();
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
fn starts_somewhere(command: &Command, inputs: &Subtree) -> Result<(), Invalid> {
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
fn make_parents(upper: &Path, command: &Command, inputs: &Subtree) -> Result<(), Failure> {
    let mut made = false;
    for output in command.outputs.all() {
        made |= make_parent(upper, output, inputs)?;
    }
    // What was made in it has given the root another time.
    if made { settle(upper).map_err(|e| laying_out(e.into())) } else { Ok(()) }
}

/// Whether a directory had to be made.
fn make_parent(upper: &Path, output: &OutputPath, inputs: &Subtree) -> Result<bool, Failure> {
    let Some(parent) = output.path.parent() else { return Ok(false) };
    let segments = parent.segments();
    for depth in 1..=segments.len() {
        match inputs.lookup(&segments[..depth]) {
            Some(Node::Directory { .. }) => {}
            // The command sees what the link points to; a directory here would hide the link.
            Some(Node::Symlink { .. }) => return Ok(false),
            Some(Node::File { .. }) => {
                let problem = format!("`{}` is an input file, not a directory", segments[..depth].join("/"));
                return Err(Failure::Output { path: output.requested.clone(), problem });
            }
            None => {
                let mut path = upper.to_owned();
                let mut made = Vec::new();
                for segment in segments {
                    path.push(segment);
                    match std::fs::create_dir(&path) {
                        Ok(()) => made.push(path.clone()),
                        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(e) => return Err(laying_out(e.into())),
                    }
                }
                // At the end: what is made in a directory changes its time.
                made.iter().try_for_each(|path| settle(path)).map_err(|e| laying_out(e.into()))?;
                return Ok(true);
            }
        }
    }
    Ok(false)
}
