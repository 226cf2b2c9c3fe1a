//! Builds the new root: a tmpfs, and in it what the plan's steps say.
//!
//! The new root is attached on top of `/`, where this process, whose root is the old one, does not
//! see it. So absolute paths mean the host's and paths from the new root's descriptor mean the
//! sandbox's, and neither hides the other. Paths inside are resolved with `RESOLVE_IN_ROOT`: an
//! absolute symlink in somebody's input tree must not lead to the host.
use crate::{Step, sys};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::ffi::{CStr, CString};

type Result<T> = std::result::Result<T, Errno>;

/// Most bytes of the root's own files: what a plan's `File` steps write, and directories.
const ROOT_BYTES_MAX: u64 = 64 << 20;
/// Most bytes of /dev/shm: what container engines give.
const SHARED_MEMORY_BYTES_MAX: u64 = 64 << 20;
/// The time of every file that the plan writes, in seconds since 1970: 1980-01-01, the first that
/// every archive format can say. A file of "now" would make results differ.
const FILE_TIME: i64 = 315_532_800;

/// The devices of /dev. Nothing here tells about the machine or reaches a terminal.
const DEVICES: &[(&CStr, &CStr)] = &[
    (c"/dev/null", c"null"),
    (c"/dev/zero", c"zero"),
    (c"/dev/full", c"full"),
    (c"/dev/random", c"random"),
    (c"/dev/urandom", c"urandom"),
];
const DEVICE_LINKS: &[(&CStr, &CStr)] = &[
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
];

const NO_SUID_NO_DEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
const READ_ONLY: MountAttrFlags = NO_SUID_NO_DEV.union(MountAttrFlags::MOUNT_ATTR_RDONLY);
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The new root while it is built.
pub(super) struct Root {
    mount: OwnedFd,
    /// What [`Root::prepare`] made; mounted nowhere until a step says so.
    proc: Option<OwnedFd>,
    devices: Option<Devices>,
}

/// What /dev is made of.
struct Devices {
    /// As [`DEVICES`].
    files: Vec<OwnedFd>,
    shared_memory: OwnedFd,
}

impl Root {
    /// An empty root, attached where nobody sees it: in a mount namespace of a lesser user namespace
    /// nothing that is mounted is seen from outside.
    pub(super) fn new() -> Result<Self> {
        let mount = tmpfs(c"0755", ROOT_BYTES_MAX)?;
        attach(&mount, CWD, c"/")?;
        Ok(Self { mount, proc: None, devices: None })
    }

    /// Makes what nearly every plan asks for, before there is a plan.
    pub(super) fn prepare(&mut self) -> Result<()> {
        self.proc = Some(proc()?);
        self.devices = Some(Devices::new()?);
        Ok(())
    }

    /// From here on nothing that the host mounts or unmounts is seen inside. Not before there is a
    /// plan, so that a sandbox that was prepared early keeps nothing mounted that the host gave up.
    pub(super) fn isolate(&self) -> Result<()> {
        let host = rustix::fs::open("/", DIRECTORY, Mode::empty())?;
        sys::mount_setattr(host.as_fd(), true, 0, libc::MS_PRIVATE)
    }

    /// Performs one step.
    pub(super) fn perform(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Directory { inside } => self.directory(&components(inside)?).map(drop),
            Step::BindReadOnly { host, inside } => self.bind(host, inside),
            Step::Symlink { target, inside } => {
                let (parent, name) = self.place(inside)?;
                rustix::fs::symlinkat(target, parent, name)
            }
            Step::File { inside, content } => self.file(inside, content),
            Step::Tmpfs { inside, bytes_max } => self.mount_at(&tmpfs(c"1777", *bytes_max)?, inside),
            Step::Dev => {
                let devices = self.devices.take().map_or_else(Devices::new, Ok)?;
                self.dev(&devices)
            }
            Step::Proc => {
                let proc = self.proc.take().map_or_else(proc, Ok)?;
                self.mount_at(&proc, c"/proc")
            }
            Step::Overlay { lower, upper, work, inside } => self.mount_at(&overlay(lower, upper, work)?, inside),
        }
    }

    /// Makes this the root of the process, takes the host's tree away, and forbids writing to what
    /// is not a mount of its own.
    pub(super) fn enter(self) -> Result<()> {
        rustix::process::fchdir(&self.mount)?;
        // Both paths the same: the old root ends up on top of the new one, and is taken off there.
        rustix::process::pivot_root(c".", c".")?;
        rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH)?;
        sys::mount_setattr(self.mount.as_fd(), false, u64::from(READ_ONLY.bits()), 0)
    }

    fn bind(&self, host: &CStr, inside: &CStr) -> Result<()> {
        let tree = open_tree(CWD, host, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
        sys::mount_setattr(tree.as_fd(), false, u64::from(READ_ONLY.bits()), 0)?;
        let (parent, name) = self.place(inside)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode);
        make_target(&parent, &name, kind)?;
        attach(&tree, parent.as_fd(), &name)
    }

    fn file(&self, inside: &CStr, content: &[u8]) -> Result<()> {
        let (parent, name) = self.place(inside)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o444))?;
        let mut rest = content;
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest))?;
            rest = &rest[written..];
        }
        let time = Timespec { tv_sec: FILE_TIME, tv_nsec: 0 };
        rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })
    }

    fn dev(&self, devices: &Devices) -> Result<()> {
        let directory = self.directory(&[c"dev".to_owned()])?;
        for (device, (_, name)) in devices.files.iter().zip(DEVICES) {
            make_target(&directory, name, FileType::RegularFile)?;
            attach(device, directory.as_fd(), name)?;
        }
        for (target, name) in DEVICE_LINKS {
            rustix::fs::symlinkat(*target, &directory, *name)?;
        }
        make_target(&directory, c"shm", FileType::Directory)?;
        attach(&devices.shared_memory, directory.as_fd(), c"shm")
    }

    fn mount_at(&self, mount: &OwnedFd, inside: &CStr) -> Result<()> {
        let (parent, name) = self.place(inside)?;
        make_target(&parent, &name, FileType::Directory)?;
        attach(mount, parent.as_fd(), &name)
    }

    /// The directory in which `inside` lies, made where it is not there, and the last name.
    fn place(&self, inside: &CStr) -> Result<(OwnedFd, CString)> {
        let mut names = components(inside)?;
        let last = names.pop().ok_or(Errno::EXIST)?;
        Ok((self.directory(&names)?, last))
    }

    /// This directory, made where it is not there, with its parents.
    fn directory(&self, names: &[CString]) -> Result<OwnedFd> {
        let Some((last, parents)) = names.split_last() else {
            return rustix::fs::openat(&self.mount, c".", DIRECTORY, Mode::empty());
        };
        let path = names.iter().map(|n| n.to_bytes()).collect::<Vec<_>>().join(&b'/');
        match rustix::fs::openat2(&self.mount, path, DIRECTORY, Mode::empty(), ResolveFlags::IN_ROOT) {
            Err(Errno::NOENT) => {}
            found => return found,
        }
        let parent = self.directory(parents)?;
        rustix::fs::mkdirat(&parent, last, Mode::from_raw_mode(0o755))?;
        rustix::fs::openat(&parent, last, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
    }
}

impl Devices {
    fn new() -> Result<Self> {
        // Read-only means their modes and times, which the host's root could change; writing to a
        // device is not writing to its mount.
        let attributes =
            MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let open = |(host, _): &(&CStr, &CStr)| {
            let device = open_tree(CWD, *host, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
            sys::mount_setattr(device.as_fd(), false, u64::from(attributes.bits()), 0)?;
            Ok(device)
        };
        let files = DEVICES.iter().map(open).collect::<Result<_>>()?;
        Ok(Self { files, shared_memory: tmpfs(c"1777", SHARED_MEMORY_BYTES_MAX)? })
    }
}

/// The names of an absolute path. `..` has no place in a plan.
fn components(inside: &CStr) -> Result<Vec<CString>> {
    let Some(path) = inside.to_bytes().strip_prefix(b"/") else {
        return Err(Errno::INVAL);
    };
    let names = path.split(|b| *b == b'/').filter(|n| !n.is_empty() && *n != b".");
    names.map(|n| if n == b".." { Err(Errno::INVAL) } else { CString::new(n).map_err(|_| Errno::INVAL) }).collect()
}

/// Something to mount on: a directory, or an empty file for everything else.
fn make_target(parent: &OwnedFd, name: &CStr, kind: FileType) -> Result<()> {
    let made = match kind {
        FileType::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        _ => rustix::fs::mknodat(parent, name, FileType::RegularFile, Mode::from_raw_mode(0o444), 0),
    };
    match made {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

fn attach(mount: &OwnedFd, parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    move_mount(mount, c"", parent, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn tmpfs(mode: &CStr, bytes_max: u64) -> Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"mode", mode)?;
    fsconfig_set_string(context.as_fd(), c"size", bytes_max.to_string())?;
    finish(&context, NO_SUID_NO_DEV)
}

/// The processes of this PID namespace and nothing else of /proc: no /proc/sys, no machine.
fn proc() -> Result<OwnedFd> {
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"subset", c"pid")?;
    finish(&context, NO_SUID_NO_DEV | MountAttrFlags::MOUNT_ATTR_NOEXEC)
}

/// The layers are named through descriptors. So no path needs escaping, which is different from
/// option to option and from kernel to kernel, and no host path shows in the sandbox's mountinfo.
fn overlay(lower: &CStr, upper: &CStr, work: &CStr) -> Result<OwnedFd> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let layers = [(c"lowerdir", lower), (c"upperdir", upper), (c"workdir", work)];
    let mut open = Vec::with_capacity(layers.len());
    for (option, path) in layers {
        let directory = rustix::fs::open(path, DIRECTORY, Mode::empty())?;
        fsconfig_set_string(context.as_fd(), option, format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
        open.push(directory);
    }
    // In a user namespace overlayfs may keep its notes only in user xattrs.
    fsconfig_set_flag(context.as_fd(), c"userxattr")?;
    // Without it unmounting writes the whole file system of `upper` to disk, for files that are
    // moved into the store or thrown away.
    fsconfig_set_flag(context.as_fd(), c"volatile")?;
    finish(&context, NO_SUID_NO_DEV)
}

fn finish(context: &OwnedFd, attributes: MountAttrFlags) -> Result<OwnedFd> {
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
