//! Who is asking: an invocation of a client, for whom what is told counts as used.
//!
//! Known to the task, not to the calls: it decides nothing but what a report says, and all that stands between a request and the
//! disk would have to carry it.
use std::future::Future;

tokio::task_local! {
    static CURRENT: Invoker;
}

/// An invocation that a store knows; [`crate::DiskStore::invocation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Invoker(pub(crate) u16);

impl Invoker {
    /// What `future` does with the store is done for this invocation. Tasks that it spawns are nobody's, unless they
    /// are given [`Invoker::current`].
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// The same of work that does not wait.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// The invocation that this task works for.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(|invoker| *invoker).unwrap_or_default()
    }
}
