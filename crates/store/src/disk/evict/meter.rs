//! How far a pass is, and whether it goes on.
use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;

/// What a pass is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// It counts what there is.
    #[default]
    Counting,
    /// It looks what is named by what: what results, names and directories need is as young as they are.
    Lifting,
    /// It takes away what is oldest.
    Evicting,
    /// It moves what is left of the log together.
    Compacting,
}

/// How far it is; see [`crate::DiskStore::gc`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub step: Step,
    /// Entries that were taken away, or would be.
    pub entries: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Bytes that are to be freed in all.
    pub goal_bytes: u64,
}

/// Whoever is told how far it is, and says whether to go on.
type Tell<'a> = &'a mut dyn FnMut(&Progress) -> ControlFlow<()>;

/// Tells of a pass while it runs, and asks each time whether it goes on.
pub(super) struct Meter<'a> {
    tell: RefCell<Tell<'a>>,
    progress: Cell<Progress>,
    stopped: Cell<bool>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(tell: Tell<'a>) -> Self {
        Self { tell: RefCell::new(tell), progress: Cell::default(), stopped: Cell::new(false) }
    }

    pub(super) fn step(&self, step: Step) {
        self.progress.set(Progress { step, ..self.progress.get() });
    }

    pub(super) fn goal(&self, goal_bytes: u64) {
        self.progress.set(Progress { goal_bytes, ..self.progress.get() });
    }

    pub(super) fn freed(&self, bytes: u64) {
        let mut progress = self.progress.get();
        progress.entries += 1;
        progress.freed_bytes += bytes;
        self.progress.set(progress);
    }

    /// Asked between small steps; once it has been told to stop it says so for ever.
    pub(super) fn is_stopped(&self) -> bool {
        if !self.stopped.get() {
            let told = (self.tell.borrow_mut())(&self.progress.get());
            self.stopped.set(told.is_break());
        }
        self.stopped.get()
    }
}
