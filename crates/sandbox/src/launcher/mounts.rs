//! Builds the new root: a tmpfs, and in it what the plan's steps say; and adds to it what each execution
//! has to itself.
//!
//! The new root is attached on top of `/`, where this process, whose root is the old one, does not
//! see it. So absolute paths mean the host's and paths from the new root's descriptor mean the
//! sandbox's, and neither hides the other. Paths inside are resolved with `RESOLVE_IN_ROOT`: an
//! absolute symlink in somebody's input tree must not lead to the host.
use crate::{Step, sys};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::ffi::{CStr, CString};

type Result<T> = std::result::Result<T, Errno>;

/// Most bytes of the root's own files: what a plan's `File` steps write, and directories.
const ROOT_BYTES_MAX: u64 = 64 << 20;
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

/// The root of a sandbox: while it is built, or when it is this process's own.
pub(super) struct Root(OwnedFd);

impl Root {
    /// An empty root, attached where nobody sees it: in a mount namespace of a lesser user namespace
    /// nothing that is mounted is seen from outside.
    pub(super) fn new() -> Result<Self> {
        let mount = tmpfs(0o755, ROOT_BYTES_MAX)?;
        attach(&mount, CWD, c"/")?;
        Ok(Self(mount))
    }

    /// The root that this process has entered, or whose process it was copied from.
    pub(super) fn here() -> Result<Self> {
        rustix::fs::open("/", DIRECTORY, Mode::empty()).map(Self)
    }

    /// From here on nothing that the host mounts or unmounts is seen inside.
    pub(super) fn isolate(&self) -> Result<()> {
        let host = rustix::fs::open("/", DIRECTORY, Mode::empty())?;
        sys::mount_setattr(host.as_fd(), true, 0, libc::MS_PRIVATE)
    }

    /// Performs one step.
    pub(super) fn perform(&self, step: &Step) -> Result<()> {
        match step {
            Step::Directory { inside } => self.directory(&components(inside)?).map(drop),
            Step::BindReadOnly { host, inside } => self.bind(host, inside),
            Step::Symlink { target, inside } => {
                let (parent, name) = self.place(inside)?;
                rustix::fs::symlinkat(target, parent, name)
            }
            Step::File { inside, content } => self.file(inside, content),
            Step::Tmpfs { inside, mode, bytes_max } => self.mount_at(&tmpfs(*mode, *bytes_max)?, inside),
            Step::Dev => self.dev(),
            Step::Proc { whole } => self.mount_at(&proc(*whole)?, c"/proc"),
        }
    }

    /// A directory to mount on later, when this root can be written no more.
    pub(super) fn mount_point(&self, inside: &CStr) -> Result<()> {
        self.directory(&components(inside)?).map(drop)
    }

    /// Shows the folder of a slot at `inside`, writable: what is laid out and written there later is seen.
    /// Commands never see it, because their inputs are mounted on top of it.
    pub(super) fn bind_slot(&self, slot: &CStr, inside: &CStr) -> Result<()> {
        let tree = open_tree(CWD, slot, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
        sys::mount_setattr(tree.as_fd(), false, u64::from(NO_SUID_NO_DEV.bits()), 0)?;
        self.mount_at(&tree, inside)
    }

    /// Shows `lower` at `inside`; what is written goes to `upper`. `work` is the kernel's own, on the same
    /// file system.
    pub(super) fn overlay(&self, lower: &OwnedFd, upper: &OwnedFd, work: &OwnedFd, inside: &CStr) -> Result<()> {
        self.mount_at(&overlay(lower, upper, work)?, inside)
    }

    /// Makes this the root of the process, takes the host's tree away, and forbids writing to what
    /// is not a mount of its own.
    pub(super) fn enter(self) -> Result<()> {
        rustix::process::fchdir(&self.0)?;
        // Both paths the same: the old root ends up on top of the new one, and is taken off there.
        rustix::process::pivot_root(c".", c".")?;
        rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH)?;
        sys::mount_setattr(self.0.as_fd(), false, u64::from(READ_ONLY.bits()), 0)
    }

    /// A directory or file, read-only, without the mounts below it.
    pub(super) fn bind(&self, host: &CStr, inside: &CStr) -> Result<()> {
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
        let file = rustix::fs::openat(&parent, &name, flags, Mode::from_raw_mode(0o444))?;
        let mut rest = content;
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest))?;
            rest = &rest[written..];
        }
        settle(&parent, &name)
    }

    fn dev(&self) -> Result<()> {
        // Read-only means their modes and times, which the host's root could change; writing to a
        // device is not writing to its mount.
        let attributes =
            MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let directory = self.directory(&[c"dev".to_owned()])?;
        for (host, name) in DEVICES {
            let device = open_tree(CWD, *host, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
            sys::mount_setattr(device.as_fd(), false, u64::from(attributes.bits()), 0)?;
            make_target(&directory, name, FileType::RegularFile)?;
            attach(&device, directory.as_fd(), name)?;
        }
        DEVICE_LINKS.iter().try_for_each(|(target, name)| rustix::fs::symlinkat(*target, &directory, *name))
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
            return rustix::fs::openat(&self.0, c".", DIRECTORY, Mode::empty());
        };
        let path = names.iter().map(|n| n.to_bytes()).collect::<Vec<_>>().join(&b'/');
        match rustix::fs::openat2(&self.0, path, DIRECTORY, Mode::empty(), ResolveFlags::IN_ROOT) {
            Err(Errno::NOENT) => {}
            found => return found,
        }
        let parent = self.directory(parents)?;
        rustix::fs::mkdirat(&parent, last, Mode::from_raw_mode(0o755))?;
        rustix::fs::openat(&parent, last, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
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

fn tmpfs(mode: u32, bytes_max: u64) -> Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"mode", format!("{mode:o}"))?;
    fsconfig_set_string(context.as_fd(), c"size", bytes_max.to_string())?;
    finish(&context, NO_SUID_NO_DEV)
}

/// The processes of this PID namespace, read-only; without `whole` nothing else of /proc: no /proc/sys, no machine.
fn proc(whole: bool) -> Result<OwnedFd> {
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    if !whole {
        fsconfig_set_string(context.as_fd(), c"subset", c"pid")?;
    }
    // Read-only: with a server of root's the command is, for much of /proc, root, capabilities or not; and
    // what it did to the modes of /proc/self/net would be seen by the next in the same network.
    finish(&context, READ_ONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC)
}

/// The layers are named through descriptors. So no path needs escaping, which is different from
/// option to option and from kernel to kernel, and no host path shows in the sandbox's mountinfo.
fn overlay(lower: &OwnedFd, upper: &OwnedFd, work: &OwnedFd) -> Result<OwnedFd> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (option, layer) in [(c"lowerdir", lower), (c"upperdir", upper), (c"workdir", work)] {
        fsconfig_set_string(context.as_fd(), option, format!("/proc/self/fd/{}", layer.as_raw_fd()))?;
    }
    // In a user namespace overlayfs may keep its notes only in user xattrs.
    fsconfig_set_flag(context.as_fd(), c"userxattr")?;
    // Without it unmounting writes the whole file system of `upper` to disk, for files that are
    // moved into the store or thrown away.
    fsconfig_set_flag(context.as_fd(), c"volatile")?;
    finish(&context, NO_SUID_NO_DEV)
}

/// A directory below `parent`, only to be named.
pub(super) fn directory_at(parent: impl AsFd, path: &CStr) -> Result<OwnedFd> {
    rustix::fs::openat(parent, path, DIRECTORY, Mode::empty())
}

/// Gives a directory below `parent` its constant times.
pub(super) fn settle(parent: &OwnedFd, name: &CStr) -> Result<()> {
    let time = Timespec { tv_sec: FILE_TIME, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(parent, name, &times, AtFlags::empty())
}

fn finish(context: &OwnedFd, attributes: MountAttrFlags) -> Result<OwnedFd> {
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
