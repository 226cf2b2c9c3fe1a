//! Waiting for processes below pid 1.
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
    /// first.
    pub(super) fn wait_for(&self, command: i32, deadline: Duration) -> Option<Reaped> {
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
            let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], timeout.as_ref());
            sys::take_child_signals(&self.0);
        }
    }
}
