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
//! | limits, priority, affinity of pid 1, which it may change and the next command would inherit | looked at; anything changed ends the root |
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
    if mounts != place.mounts {
        return Err(failed_at("a mount was left")(Errno::BUSY));
    }
    let inherited = Inherited::look().map_err(failed_at("looking at pid 1"))?;
    if place.inherited.as_ref() == Some(&inherited) { Ok(()) } else { Err(failed_at("pid 1 was changed")(Errno::PERM)) }
}

/// What a command may change of pid 1, and what is mounted.
#[derive(PartialEq, Eq)]
pub(super) struct Inherited {
    limits: Vec<u8>,
    scheduling: Vec<u8>,
    affinity: Vec<u8>,
    io_priority: i32,
}

impl Inherited {
    /// As it is now.
    pub(super) fn look() -> Result<Self, Errno> {
        let stat = read(c"/proc/self/stat")?;
        // After the name, which may have any character: priority and nice are the fields 18 and 19, of
        // the real-time kind 40 and 41 (proc_pid_stat(5)); the name is the second, the next field the third.
        let after_name = stat.rsplit(|b| *b == b')').next().unwrap_or_default();
        let fields: Vec<_> = after_name.split(|b| *b == b' ').skip(1).collect();
        let scheduling = [18, 19, 40, 41].iter().flat_map(|n| fields.get(n - 3).copied().unwrap_or_default().to_vec());
        let status = read(c"/proc/self/status")?;
        let affinity = status.split(|b| *b == b'\n').find(|line| line.starts_with(b"Cpus_allowed:"));
        Ok(Self {
            limits: read(c"/proc/self/limits")?,
            scheduling: scheduling.collect(),
            affinity: affinity.unwrap_or_default().to_vec(),
            io_priority: sys::io_priority(),
        })
    }
}

fn read(path: &CStr) -> Result<Vec<u8>, Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let (mut all, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut buffer))? {
            0 => return Ok(all),
            n => all.extend_from_slice(&buffer[..n]),
        }
    }
}

/// How many mounts this process sees.
pub(super) fn count_mounts() -> Result<usize, Errno> {
    Ok(read(c"/proc/self/mountinfo")?.iter().filter(|b| **b == b'\n').count())
}

/// Mounts a tmpfs anew. Always: whether somebody has changed its mode, its times or its attributes cannot
/// be told from looking.
fn renew(step: &Step, inside: &CStr) -> Result<(), Errno> {
    unmount(inside, UnmountFlags::DETACH)?;
    Root::here()?.perform(step)
}
