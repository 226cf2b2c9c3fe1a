//! Waiting for processes below pid 1.
use super::observe::Observer;
use super::root::Failure;
use crate::sys::{self, Reaped};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::time::Duration;

/// A step that is not the plan's.
pub(super) fn failed_at(step: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure { step: step.to_owned(), errno }
}

/// Tells when a child has ended, without a handler that could run in the middle of something.
pub(super) struct Children(OwnedFd);

impl Children {
    /// To be called before the first child is there.
    pub(super) fn watch() -> Result<Self, Errno> {
        sys::child_signals().map(Self)
    }

    /// Takes every process that ends, until `command` has; none when `deadline` (monotonic clock) comes
    /// first. Observes meanwhile.
    pub(super) fn wait_for(
        &self,
        command: i32,
        deadline: Duration,
        mut observer: Option<&mut Observer>,
    ) -> Option<Reaped> {
        loop {
            while let Some(reaped) = sys::wait(-1, false) {
                if reaped.pid == command {
                    return Some(reaped);
                }
            }
            let left = deadline.saturating_sub(sys::now());
            if left.is_zero() {
                return None;
            }
            // Longer than the kernel counts is for ever.
            let timeout = Timespec::try_from(left).ok();
            // Whatever woke us, a look at the children tells.
            let mut files = [PollFd::new(&self.0, PollFlags::IN)].to_vec();
            files.extend(observer.as_deref().map(|o| PollFd::from_borrowed_fd(o.as_fd(), PollFlags::IN)));
            let _ = poll(&mut files, timeout.as_ref());
            let called = files.get(1).is_some_and(|file| !file.revents().is_empty());
            if called && !observer.as_deref_mut().is_some_and(Observer::handle_one) {
                observer = None;
            }
            sys::take_child_signals(&self.0);
        }
    }
}
