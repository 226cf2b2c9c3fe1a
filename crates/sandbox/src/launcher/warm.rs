//! What a warm init cleans between two executions. They share a mount, a PID and an IPC namespace, so
//! everything that a command can leave there is taken away:
//!
//! | left by a command | taken away by |
//! |---|---|
//! | processes | killed and waited for, like after every execution |
//! | what it wrote to its inputs' tree | the overlay is unmounted, the next has a folder of its own |
//! | files in /tmp, /dev/shm and its home, their modes and times | each is unmounted and mounted anew |
//! | System V shared memory, semaphores, message queues; POSIX message queues | removed: a new IPC namespace |
//! | the working directory of pid 1 | set anew |
//! | mounts | it can make none; they are counted nevertheless, and one too many ends the root |
//!
//! What it does not take away: pids go on counting, so `$$` differs from run to run. So it is for actions of one trust domain that ask for it (`lre-warm`).
use super::init::Place;
use super::mounts::Root;
use super::root::Failure;
use super::waiting::failed_at;
use crate::{RootPlan, Step, sys};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::CStr;

/// Takes away what the last execution left.
pub(super) fn clean(plan: &RootPlan, place: &Place) -> Result<(), Failure> {
    rustix::process::chdir(c"/").map_err(failed_at("leaving the working directory"))?;
    // One mount, or two where the exec root itself was made writable on top of read-only inputs. What is
    // mounted below goes with it. Detached: somebody outside may still look at what was written.
    let mut mounts = count_mounts().map_err(failed_at("counting the mounts"))?;
    while mounts > place.mounts {
        unmount(plan.exec_root.as_c_str(), UnmountFlags::DETACH).map_err(failed_at("unmounting the inputs"))?;
        mounts = count_mounts().map_err(failed_at("counting the mounts"))?;
    }
    sys::new_ipc_namespace().map_err(failed_at("a new IPC namespace"))?;
    for step in &plan.fresh {
        if let Step::Tmpfs { inside, .. } = step {
            renew(step, inside).map_err(|errno| Failure { step: step.to_string(), errno })?;
        }
    }
    let mounts = count_mounts().map_err(failed_at("counting the mounts"))?;
    // A number that is not ours says that somebody has done what nobody can.
    if mounts == place.mounts { Ok(()) } else { Err(failed_at("a mount was left")(Errno::BUSY)) }
}

/// How many mounts this process sees.
pub(super) fn count_mounts() -> Result<usize, Errno> {
    let file = rustix::fs::open(c"/proc/self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = vec![0; 64 * 1024];
    let mut lines = 0;
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut buffer))? {
            0 => return Ok(lines),
            n => lines += buffer[..n].iter().filter(|b| **b == b'\n').count(),
        }
    }
}

/// Mounts a tmpfs anew. Always: whether somebody has changed its mode, its times or its attributes cannot
/// be told from looking.
fn renew(step: &Step, inside: &CStr) -> Result<(), Errno> {
    unmount(inside, UnmountFlags::DETACH)?;
    Root::here()?.perform(step)
}
