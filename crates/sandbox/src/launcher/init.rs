//! Pid 1 of a sandbox: mounts what is an execution's own, waits for the execution, starts its command,
//! takes every process that ends, and when the command has ended kills what is left and answers.
//!
//! The command is not pid 1 itself, because the kernel protects that one from signals it has no
//! handler for: a program that dies by raising SIGTERM would live on.
use super::channel::Channel;
use super::mounts::{Root, directory_at, settle};
use super::observe::{self, NotStarted, Observer};
use super::root::Failure;
use super::waiting::{Children, failed_at};
use super::{exec, warm};
use crate::{Ended, How, Inputs, RootPlan, Run, STDERR, STDOUT, SandboxPlan, TREE, UPPER, WORK, sys};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::ffi::{CStr, CString};

/// An init that has answered for each execution it took.
const DONE: i32 = 0;
/// One whose root must not be used any more.
const DOUBTFUL: i32 = 1;

/// The life of an init, in its own process. `number` is that of its first execution in this root.
pub(super) fn run(plan: &RootPlan, number: u64, channel: &Channel) -> ! {
    let ended = super::catch(|| live(plan, number, channel));
    sys::exit_now(if ended == Some(true) { DONE } else { DOUBTFUL })
}

/// Whether all went as it should.
fn live(plan: &RootPlan, mut number: u64, channel: &Channel) -> bool {
    let mut place = Place::make(plan, number);
    loop {
        let Ok(Some(run)) = channel.next() else { return true };
        let made = match &place {
            Ok(place) => place.enter(plan, &run.plan),
            Err(failure) => Err(Failure { step: failure.step.clone(), errno: failure.errno }),
        };
        if let Err(failure) = made {
            let _ = channel.refuse(failure.how());
            return false;
        }
        if channel.ended(supervise(plan, &run)).is_err() || plan.warm.is_none() {
            return true;
        }
        number += 1;
        place = place.and_then(|place| warm::clean(plan, &place)).and_then(|()| Place::again(plan, number));
    }
}

/// What an execution has to itself, ready before it is there.
pub(super) struct Place {
    root: Root,
    folder: Folder,
    /// What is mounted before an execution, once in the life of a warm init: what there is afterwards must
    /// be the same.
    pub(super) mounts: usize,
    /// The same of what a command could change of a warm init.
    pub(super) inherited: Option<warm::Inherited>,
}

impl Place {
    fn make(plan: &RootPlan, number: u64) -> Result<Self, Failure> {
        let root = Root::here().map_err(failed_at(ROOT))?;
        for step in &plan.fresh {
            root.perform(step).map_err(|errno| Failure { step: step.to_string(), errno })?;
        }
        Self::again(plan, number)
    }

    /// The part that is done again for each execution of a warm init.
    fn again(plan: &RootPlan, number: u64) -> Result<Self, Failure> {
        let mounts =
            if plan.warm.is_some() { warm::count_mounts().map_err(failed_at("counting the mounts"))? } else { 0 };
        let inherited = plan.warm.as_ref().map(|_| warm::Inherited::look().map_err(failed_at("looking at pid 1")));
        let folder = Folder::make(plan, number).map_err(failed_at("the folder of the execution"))?;
        folder.open_standard_files().map_err(failed_at("standard files"))?;
        let root = Root::here().map_err(failed_at(ROOT))?;
        let tree = path(&plan.exec_root, &[TREE]);
        match plan.inputs {
            Inputs::Overlay => {
                let tree = directory_at(CWD, &tree).map_err(failed_at("the input tree"))?;
                let mounted = root.overlay(&tree, &folder.upper, &folder.work, &plan.exec_root);
                mounted.map_err(failed_at("overlay over the inputs"))?;
            }
            Inputs::ReadOnly => root.bind(&tree, &plan.exec_root).map_err(failed_at("inputs, read-only"))?,
        }
        Ok(Self { root, folder, mounts, inherited: inherited.transpose()? })
    }

    /// The last steps, which only the execution itself can say.
    fn enter(&self, root: &RootPlan, plan: &SandboxPlan) -> Result<(), Failure> {
        for (number, name) in plan.directories.iter().enumerate() {
            let made = match root.inputs {
                Inputs::Overlay => self.folder.make_directory(name),
                Inputs::ReadOnly => self.make_writable(root, name, number),
            };
            made.map_err(|errno| Failure { step: format!("directory {}", name.to_string_lossy()), errno })?;
        }
        // What was made in them has given them another time.
        for name in plan.directories.iter().map(CString::as_c_str).chain([c"."]) {
            settle(&self.folder.upper, name).map_err(failed_at("times of directories"))?;
        }
        if root.warm.is_none() {
            drop_privileges().map_err(failed_at("giving up privileges"))?;
        }
        rustix::process::chdir(plan.exec.directory.as_c_str()).map_err(|errno| {
            let step = format!("working directory {}", plan.exec.directory.to_string_lossy());
            Failure { step, errno }
        })
    }

    /// Lets this one directory of read-only inputs be written, with all below it.
    fn make_writable(&self, root: &RootPlan, name: &CStr, number: usize) -> Result<(), Errno> {
        let mut parents = name.to_bytes().to_vec();
        for end in (1..=parents.len()).filter(|end| *end == name.to_bytes().len() || name.to_bytes()[*end] == b'/') {
            let parent = CString::new(&parents[..end]).map_err(|_| Errno::INVAL)?;
            self.folder.make_directory(&parent)?;
        }
        let mut inside = root.exec_root.to_bytes().to_vec();
        inside.push(b'/');
        inside.append(&mut parents);
        let inside = CString::new(inside).map_err(|_| Errno::INVAL)?;
        let (upper, work) = (directory_at(&self.folder.upper, name)?, self.folder.work_directory(number)?);
        self.root.overlay(&directory_at(CWD, &inside)?, &upper, &work, &inside)
    }
}

const ROOT: &str = "the root of the sandbox";

/// The folder of an execution on the host: what it writes is here.
struct Folder {
    path: CString,
    /// Takes what the command writes.
    upper: OwnedFd,
    /// The kernel's own.
    work: OwnedFd,
}

/// The mode of a directory that is made for a command.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

impl Folder {
    /// It may be there: a clean one that was used before. What the kernel has left in it is taken away: it
    /// mounts no work directory whose last mount it did not write to disk, which here it never does.
    fn make(plan: &RootPlan, number: u64) -> Result<Self, Errno> {
        let folder = path(&plan.exec_root, &[&format!("{}{number}", plan.run)]);
        let new = make_directory(CWD, &folder)?;
        let make = |name| {
            let path = path(&folder, &[name]);
            make_directory(CWD, &path)?;
            directory_at(CWD, &path)
        };
        let (upper, work) = (make(UPPER)?, make(WORK)?);
        let directory = AtFlags::REMOVEDIR;
        let left = [
            (c"work/incompat/volatile/dirty", AtFlags::empty()),
            (c"work/incompat/volatile", directory),
            (c"work/incompat", directory),
        ];
        for (name, kind) in left.into_iter().filter(|_| !new) {
            match rustix::fs::unlinkat(&work, name, kind) {
                Err(Errno::NOENT) | Ok(()) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Self { path: folder, upper, work })
    }

    /// In the upper layer, unless it is there.
    fn make_directory(&self, name: &CStr) -> Result<(), Errno> {
        make_directory(&self.upper, name).map(drop)
    }

    /// One more for the kernel.
    fn work_directory(&self, number: usize) -> Result<OwnedFd, Errno> {
        let name = CString::new(number.to_string()).map_err(|_| Errno::INVAL)?;
        rustix::fs::mkdirat(&self.work, &name, DIRECTORY_MODE)?;
        directory_at(&self.work, &name)
    }

    /// Standard input is the sandbox's own /dev/null. Not the host's: as its owner, the host's root could
    /// change its mode through the descriptor. Without one, a pipe at its end.
    fn open_standard_files(&self) -> Result<(), Errno> {
        let null = rustix::fs::open(c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let input = match null {
            Err(Errno::NOENT) => rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?.0,
            opened => opened?,
        };
        sys::become_standard(&input, 0)?;
        for (name, number) in [(STDOUT, 1), (STDERR, 2)] {
            // Appended to, so that two processes that share it do not overwrite each other.
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::open(path(&self.path, &[name]), flags, Mode::from_raw_mode(0o600))?;
            sys::become_standard(&file, number)?;
        }
        Ok(())
    }
}

/// Whether it had to be made.
fn make_directory(parent: impl AsFd, name: &CStr) -> Result<bool, Errno> {
    match rustix::fs::mkdirat(parent, name, DIRECTORY_MODE) {
        Err(Errno::EXIST) => Ok(false),
        made => made.map(|()| true),
    }
}

/// `base/name/...`. Names are ours, so no NUL is in them; if one were, nothing of that name is there.
pub(super) fn path(base: &CStr, names: &[&str]) -> CString {
    let mut path = base.to_bytes().to_vec();
    for name in names {
        path.push(b'/');
        path.extend(name.bytes().filter(|b| *b != 0));
    }
    CString::new(path).unwrap_or_default()
}

/// No capability is left. A warm init keeps its own, which it needs to clean up; executing a program
/// takes them from the command, as for any other user.
fn drop_privileges() -> Result<(), Errno> {
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// Runs the command and says how it ended.
fn supervise(root: &RootPlan, run: &Run) -> Ended {
    let started = sys::now();
    let mut ended = Ended::without_a_run(How::Lost);
    ended.setup = started.saturating_sub(run.asked);
    let children = match Children::watch() {
        Ok(children) => children,
        Err(errno) => {
            ended.how = Failure { step: "watching processes".to_owned(), errno }.how();
            return ended;
        }
    };
    match start(root, &run.plan) {
        Err(NotStarted::Refused(refusal, wanted)) => {
            let _ = rustix::io::write(rustix::stdio::stderr(), &refusal.message);
            ended.how = How::Exited(refusal.code);
            ended.wanted = wanted;
        }
        Err(NotStarted::Unobservable(errno)) => {
            ended.how = Failure { step: "observing the command".to_owned(), errno }.how();
        }
        Ok((command, mut observer)) => {
            let deadline = started.saturating_add(run.plan.timeout);
            let reaped = children.wait_for(command, deadline, observer.as_mut());
            ended.wall = sys::now().saturating_sub(started);
            ended.left_running = kill_the_rest();
            (ended.how, ended.usage) = match reaped {
                Some(reaped) => (how(reaped.status), reaped.usage),
                None => (How::TimedOut, sys::usage_of_children()),
            };
            ended.wanted = observer.map(Observer::into_wanted).unwrap_or_default();
        }
    }
    ended
}

/// Starts the command, and only where the plan wants it observed somebody who observes it.
fn start(root: &RootPlan, plan: &SandboxPlan) -> Result<(i32, Option<Observer>), NotStarted> {
    if !plan.observe {
        let command = exec::start(&plan.exec, plan.file_bytes_max);
        return command.map(|command| (command, None)).map_err(|refusal| NotStarted::Refused(refusal, Vec::new()));
    }
    let own = vec![root.exec_root.clone(), c"/proc".into(), c"/dev".into()];
    observe::start(&plan.exec, plan.file_bytes_max, own).map(|(command, observer)| (command, Some(observer)))
}

fn how(status: i32) -> How {
    if libc::WIFSIGNALED(status) {
        How::Signaled(libc::WTERMSIG(status))
    } else {
        How::Exited(libc::WEXITSTATUS(status))
    }
}

/// Kills every process that is left and waits until it is gone; returns how many ran. Every process
/// here descends from this one, so when no child is left none is.
fn kill_the_rest() -> u32 {
    // What has ended and nobody waited for does not count.
    while sys::wait(-1, false).is_some() {}
    sys::kill_all_others();
    let mut killed = 0;
    while let Some(reaped) = sys::wait(-1, true) {
        if libc::WIFSIGNALED(reaped.status) && libc::WTERMSIG(reaped.status) == libc::SIGKILL {
            killed += 1;
        }
    }
    killed
}
