//! Executions on this machine.
use crate::explain::Again;
use crate::launcher::{Launcher, LauncherProgram};
use crate::limits::{Machine, Reserves, Watcher};
use crate::prepare::Dressing;
use crate::ready::ReadyToolchains;
use crate::remove::empty_tree;
use crate::rooms::{ROOT_KEPT, Rooms};
use crate::run::Ran;
use crate::{ExecutionLimits, Executor, Failure, Outcome, Work};
use async_trait::async_trait;
use lre_sandbox::cgroup::SlotCgroup;
use lre_store::{BlobStore, Inodes};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// What a worker needs.
pub struct LocalOptions {
    /// Where blobs come from and go to.
    pub store: Arc<dyn BlobStore>,
    /// Files of the store that may be linked into input trees.
    pub inodes: Arc<Inodes>,
    /// On the same file system as the store; `slots` and `toolchains/trees` are made in it.
    pub directory: PathBuf,
    /// How many executions at once.
    pub slots: usize,
    /// Our own binary, as the launcher.
    pub launcher: LauncherProgram,
    /// What an execution may take of the machine where its action asks for no less.
    pub limits: ExecutionLimits,
    /// A cgroup that may be divided among the slots.
    pub cgroup: Option<PathBuf>,
}

/// Runs actions in sandboxes on this machine.
pub struct LocalExecutor {
    store: Arc<dyn BlobStore>,
    inodes: Arc<Inodes>,
    toolchains: ReadyToolchains,
    launcher: Launcher,
    limits: ExecutionLimits,
    watcher: Watcher,
    slots: Arc<Slots>,
    /// Of each slot, where the server was given one. After the slots: who is in them is dropped first.
    cgroups: Vec<Option<SlotCgroup>>,
    /// Holds the store, and all else that is ours.
    directory: PathBuf,
}

/// The scheduler grants a slot to one execution at a time; the lock makes that certain.
type Slots = Vec<Mutex<Rooms>>;

impl LocalExecutor {
    /// Starts the launcher and makes the slots, empty: what an earlier server left is removed, and so are
    /// toolchains that were not laid out to their end. Call
    /// it before the server grows (LIMITS 1: forking a large process is slow), inside a runtime.
    ///
    /// # Errors
    /// The launcher cannot be started, the folders cannot be made.
    pub fn start(options: LocalOptions) -> io::Result<Self> {
        let launcher = Launcher::start(options.launcher)?;
        let trees = options.directory.join("toolchains/trees");
        lre_toolchain::sweep(&trees).map_err(io::Error::other)?;
        let directory = options.directory.join("slots");
        // A command that root runs can leave set-user-ID files of root in its output layer. Nobody else may
        // come near them.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        std::fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        // The folder itself stays: on a full disk there might be no room for another one.
        while empty_tree(&directory)? {}
        let slots = (0..options.slots).map(|slot| Mutex::new(Rooms::new(directory.join(slot.to_string()))));
        let slots = Arc::new(slots.collect());
        tokio::spawn(rest(Arc::downgrade(&slots)));
        Ok(Self {
            cgroups: (0..slots.len()).map(|slot| cgroup(options.cgroup.as_deref()?, slot, &options.limits)).collect(),
            slots,
            directory: options.directory,
            toolchains: ReadyToolchains::new(trees),
            watcher: Watcher::start(&directory, Reserves::of_machine(Machine::look()?.memory_bytes))?,
            limits: options.limits,
            store: options.store,
            inodes: options.inodes,
            launcher,
        })
    }

    async fn stages(&self, work: Work, cancel: &CancellationToken) -> Result<Outcome, Failure> {
        let slot = self.slots.get(work.slot).ok_or_else(|| Failure::Sandbox(format!("no slot {}", work.slot)))?;
        let mut rooms = slot.lock().await;
        let cgroup = self.cgroups.get(work.slot).and_then(Option::as_ref);
        let before = cgroup.map(SlotCgroup::held);
        let mut ran = self.once(&mut rooms, cgroup, work, cancel).await?;
        if let Some(problem) = ran.never_started() {
            // An action cannot spoil a root, except a warm one (it may change the limits of its pid 1), and what is
            // outside can spoil any. The command has not run, so nothing is done twice.
            tracing::warn!(slot = ran.work.slot, problem, "a ready root was spoilt; another one is made");
            ran = self.once(&mut rooms, cgroup, ran.work, cancel).await?;
        }
        // The kernel kills everybody in it at once, the root too, so that nobody is left to say why.
        let out_of_memory =
            || cgroup.map(SlotCgroup::held).zip(before).is_some_and(|(now, before)| now.killed > before.killed);
        if ran.was_lost() && !out_of_memory() && !cancel.is_cancelled() {
            // Somebody has killed the root or the launcher. The command did not come to its end, nobody has seen an
            // output of it, and an action may be run any number of times. Once: what kills every root is no accident.
            tracing::warn!(slot = ran.work.slot, "a root was killed while its command ran; the command is run again");
            ran = self.once(&mut rooms, cgroup, ran.work, cancel).await?;
        }
        if out_of_memory() {
            ran.was_out_of_memory();
        }
        let again = Again {
            rooms: &mut rooms,
            launcher: &self.launcher,
            watcher: &self.watcher,
            limits: self.limits,
            own: &self.directory,
        };
        let explanation = again.explain(&ran, cancel).await;
        // What ran over inputs that somebody changed meanwhile has maybe seen others than its own.
        if rooms.last().is_some_and(|room| !room.is_intact()) {
            return Err(Failure::Sandbox("its inputs were changed from outside while it ran; try again".to_owned()));
        }
        let mut outcome = ran.collect(self.store.as_ref()).await;
        outcome.add(&explanation);
        Ok(outcome)
    }
}

impl LocalExecutor {
    /// Prepares and runs.
    async fn once(
        &self,
        rooms: &mut Rooms,
        cgroup: Option<&SlotCgroup>,
        work: Work,
        cancel: &CancellationToken,
    ) -> Result<Ran, Failure> {
        let dressing = Dressing {
            store: self.store.as_ref(),
            inodes: &self.inodes,
            toolchains: &self.toolchains,
            launcher: &self.launcher,
            limits: self.limits,
            rooms,
            cgroup,
        };
        dressing.prepare(work).await?.run(&self.watcher, cancel).await
    }
}

/// The cgroup of a slot; none where the kernel does not let us limit it, and then all is watched.
fn cgroup(given: &Path, slot: usize, limits: &ExecutionLimits) -> Option<SlotCgroup> {
    let made = SlotCgroup::make(given, slot).and_then(|cgroup| {
        cgroup.limit(limits.memory_bytes_max, limits.processes_held().into())?;
        Ok(cgroup)
    });
    made.inspect_err(|error| {
        tracing::warn!(given = %given.display(), %error, "no limits by the cgroup: memory and processes are watched");
    })
    .ok()
}

/// Ends the roots that are not used, as long as the slots are there.
async fn rest(slots: Weak<Slots>) {
    let mut timer = tokio::time::interval(ROOT_KEPT / 3);
    loop {
        let now = timer.tick().await;
        let Some(slots) = slots.upgrade() else { return };
        // One that is locked is in use.
        slots.iter().filter_map(|slot| slot.try_lock().ok()).for_each(|mut rooms| rooms.rest(now));
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    async fn execute(&self, work: Work, cancel: CancellationToken) -> Outcome {
        self.stages(work, &cancel)
            .await
            .unwrap_or_else(|failure| Outcome { failure: Some(failure), ..Outcome::default() })
    }
}
