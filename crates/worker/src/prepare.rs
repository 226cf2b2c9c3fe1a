//! The dressing room: input root laid out, plans written.
use crate::launcher::Launcher;
use crate::limits::ExecutionLimits;
use crate::mount_points;
use crate::plan::{self, HostNetwork};
use crate::ready::ReadyToolchains;
use crate::rooms::Rooms;
use crate::root::Root;
use crate::{Failure, Work};
use lre_model::{Command, Invalid, Network, Node, OutputPath, RelPath, Subtree};
use lre_sandbox::SandboxPlan;
use lre_sandbox::cgroup::SlotCgroup;
use lre_store::{BlobStore, Inodes, StoreError};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::Arc;
use std::time::SystemTime;

/// Ready to run.
pub(crate) struct Prepared<'a> {
    pub work: Work,
    pub limits: ExecutionLimits,
    pub root: &'a mut Root,
    pub plan: SandboxPlan,
    pub fetch_started: SystemTime,
    pub fetch_completed: SystemTime,
}

/// The rooms and tools of the worker that preparing needs.
pub(crate) struct Dressing<'a> {
    pub store: &'a dyn BlobStore,
    pub inodes: &'a Inodes,
    pub toolchains: &'a ReadyToolchains,
    pub launcher: &'a Launcher,
    /// What there may be at most, whatever an action asks for.
    pub limits: ExecutionLimits,
    /// Of the slot that was granted.
    pub rooms: &'a mut Rooms,
    /// Of that slot.
    pub cgroup: Option<&'a SlotCgroup>,
}

impl<'a> Dressing<'a> {
    /// Lays out the inputs and writes the plans.
    pub(crate) async fn prepare(self, work: Work) -> Result<Prepared<'a>, Failure> {
        let fetch_started = SystemTime::now();
        let loaded = &work.loaded;
        starts_somewhere(&loaded.command, &loaded.inputs)?;
        let writable = Directories::of(&loaded.command, &loaded.inputs)?;
        let limits = self.limits.lowered(&work.terms.limits);
        let toolchains = self.toolchains.get(&work.closure, self.store, self.inodes).await?;
        let toolchains: Vec<_> = toolchains.iter().map(AsRef::as_ref).collect();
        let host = (work.terms.network == Network::Host).then(host_network);
        let wanted = plan::root(&toolchains, &work.terms, &limits, host.as_ref());
        let mut wanted = wanted.map_err(|e| Invalid::new("platform", e))?;
        wanted.cgroup = self.cgroup.map(|cgroup| limited(cgroup, &limits)).transpose()?;
        let room = self.rooms.get(wanted).map_err(|e| laying_out(e.into()))?;
        let (inputs, directories) = if work.terms.mutates_inputs {
            (Arc::clone(&loaded.inputs), writable.made)
        } else {
            (mount_points::add(&loaded.inputs, &writable.missing), writable.outermost())
        };
        room.show(&inputs, self.store, self.inodes).await.map_err(laying_out)?;
        let fetch_completed = SystemTime::now();
        let plan = execution(&work, directories, &limits)?;
        let root = room.root(self.launcher).map_err(|e| {
            Failure::Sandbox(format!("the launcher does not answer: {e}; `lre doctor` looks for the reason"))
        })?;
        Ok(Prepared { work, limits, root, plan, fetch_started, fetch_completed })
    }
}

/// The path of a cgroup, which has these limits now.
fn limited(cgroup: &SlotCgroup, limits: &ExecutionLimits) -> Result<CString, Failure> {
    let limited = cgroup.limit(limits.memory_bytes_max, limits.processes_held().into());
    let path = limited.and_then(|()| plan::host(cgroup.path()).map_err(Into::into));
    path.map_err(|e| Failure::Sandbox(format!("the cgroup {} cannot be limited: {e}", cgroup.path().display())))
}

/// The plan of an execution that is to be made once more, as it was prepared.
pub(crate) fn once_more(work: &Work, limits: &ExecutionLimits) -> Result<SandboxPlan, Failure> {
    let writable = Directories::of(&work.loaded.command, &work.loaded.inputs)?;
    let directories = if work.terms.mutates_inputs { writable.made } else { writable.outermost() };
    execution(work, directories, limits)
}

fn execution(work: &Work, directories: BTreeSet<String>, limits: &ExecutionLimits) -> Result<SandboxPlan, Failure> {
    let (command, path) = (&work.loaded.command, work.closure.path());
    let (policy, directories) = (work.terms.policy, names(directories));
    let plan = plan::execution(command, policy, path.as_deref(), directories, work.timeout, limits);
    Ok(plan.map_err(|e| Invalid::new("command", e))?)
}

/// How the host finds names; what it has not is empty.
fn host_network() -> HostNetwork {
    let read = |path| std::fs::read(path).unwrap_or_default();
    HostNetwork { hosts: read("/etc/hosts"), resolv_conf: read("/etc/resolv.conf") }
}

fn names(directories: BTreeSet<String>) -> Vec<CString> {
    // No path of REAPI has a NUL in it: `RelPath` refuses it.
    directories.into_iter().filter_map(|name| CString::new(name).ok()).collect()
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

/// The directories in which outputs are written. All sorted, so parents come before their children.
///
/// REAPI, `Command.output_paths`: "The directories leading up to the output paths (which are not output
/// paths themselves) are created by the worker".
#[derive(Debug, Default, PartialEq, Eq)]
struct Directories {
    /// All of them that do not lead through a symlink, the exec root as `.`.
    all: BTreeSet<String>,
    /// Those that must be made, with all that leads to them.
    made: BTreeSet<String>,
    /// Those of them that no input directory is at.
    missing: BTreeSet<String>,
}

impl Directories {
    fn of(command: &Command, inputs: &Subtree) -> Result<Self, Failure> {
        let mut directories = Self::default();
        command.outputs.all().try_for_each(|output| directories.add(output, inputs))?;
        Ok(directories)
    }

    fn add(&mut self, output: &OutputPath, inputs: &Subtree) -> Result<(), Failure> {
        let parent = output.path.parent();
        let segments = parent.as_ref().map_or(&[][..], RelPath::segments);
        let mut missing = BTreeSet::new();
        for depth in 1..=segments.len() {
            match inputs.lookup(&segments[..depth]) {
                Some(Node::Directory { .. }) => {}
                // The command sees what the link points to; a directory here would hide the link.
                Some(Node::Symlink { .. }) => return Ok(()),
                Some(Node::File { .. }) => {
                    let problem = format!("`{}` is an input file, not a directory", segments[..depth].join("/"));
                    return Err(Failure::Output { path: output.requested.clone(), problem });
                }
                None => missing.extend((depth..=segments.len()).map(|depth| segments[..depth].join("/"))),
            }
            if !missing.is_empty() {
                break;
            }
        }
        if !missing.is_empty() {
            self.made.extend((1..=segments.len()).map(|depth| segments[..depth].join("/")));
            self.missing.extend(missing);
        }
        self.all.insert(if segments.is_empty() { ".".to_owned() } else { segments.join("/") });
        Ok(())
    }

    /// Those that are below no other.
    fn outermost(mut self) -> BTreeSet<String> {
        if self.all.contains(".") {
            return BTreeSet::from([".".to_owned()]);
        }
        // By their ancestors and not by each other: there may be ten thousand.
        let all = std::mem::take(&mut self.all);
        let below = |directory: &&String| directory.match_indices('/').any(|(end, _)| all.contains(&directory[..end]));
        all.iter().filter(|directory| !below(directory)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_another_is_left_out() {
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        let outermost = |names| Directories { all: set(names), ..Directories::default() }.outermost();
        assert_eq!(outermost(&["a/b", "a", "a-c", "d/e"]), set(&["a", "a-c", "d/e"]));
        assert_eq!(outermost(&["a/b", "."]), set(&["."]));
        assert_eq!(outermost(&[]), set(&[]));
    }
}
