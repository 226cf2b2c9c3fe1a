//! How far long work has come.

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Asking the compiler, walking directories: counts files found; the total is not known (0).
    Finding,
    /// Downloading: counts bytes.
    Fetching,
    /// Reading an archive: counts bytes taken out of it; the total is not known (0).
    Unpacking,
    /// Reading and hashing: counts bytes.
    Hashing,
    /// Writing what the store does not have: counts bytes.
    Storing,
    /// Laying out the tree: counts files.
    Materialising,
}

/// Hears of progress. Called from several threads, often: be quick.
pub trait Progress: Send + Sync {
    /// `done` of `total` units of this stage.
    fn update(&self, stage: Stage, done: u64, total: u64);
}

/// Nobody listens.
impl Progress for () {
    fn update(&self, _: Stage, _: u64, _: u64) {}
}
