//! The child that [`crate::check`] makes: takes the steps of a sandbox one by one and says how each
//! went. It is a copy of a process with many threads, so it allocates nothing.
use crate::sys;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, move_mount,
};
use std::ffi::CStr;

type Result<T> = std::result::Result<T, Errno>;

/// One thing that is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Ids,
    Nested,
    Mounts,
    Proc,
    Overlay,
    Loopback,
    Root,
    Filter,
}

impl Stage {
    /// In this order.
    const ALL: [Self; 8] =
        [Self::Ids, Self::Nested, Self::Mounts, Self::Proc, Self::Overlay, Self::Loopback, Self::Root, Self::Filter];

    /// What it is called, what it means that it works, and the fix where it does not.
    pub(crate) fn words(self) -> (&'static str, &'static str, &'static str) {
        const CONTAINER: &str = "in a container: mount /proc unmasked and writable, for docker with \
                                 --security-opt systempaths=unconfined";
        match self {
            Self::Ids => (
                "user namespaces",
                "allowed",
                "allow this user to make user namespaces (sysctl user.max_user_namespaces, AppArmor, the container's seccomp profile)",
            ),
            Self::Nested => ("nested user namespaces", "can be forbidden inside", CONTAINER),
            Self::Mounts => (
                "mounts in a user namespace",
                "allowed",
                "in a container: --security-opt apparmor=unconfined --security-opt seccomp=unconfined",
            ),
            Self::Proc => ("/proc of a sandbox", "can be mounted", CONTAINER),
            Self::Overlay => {
                ("overlayfs in a user namespace", "works", "sudo modprobe overlay; Linux 5.11 or newer is needed")
            }
            Self::Loopback => (
                "network of its own",
                "loopback only",
                "a kernel with CONFIG_NET_NS; in a container: --security-opt seccomp=unconfined",
            ),
            Self::Root => (
                "root of its own",
                "can be entered",
                "the machine runs from its initramfs, which cannot be left: boot it with a root file system",
            ),
            Self::Filter => ("system call filter", "works", "a kernel with CONFIG_SECCOMP_FILTER"),
        }
    }
}

/// What each stage said, from what [`run`] wrote.
pub(crate) fn decode(said: &[u8]) -> Vec<(Stage, Option<Errno>)> {
    Stage::ALL.into_iter().zip(errors(said)).collect()
}

/// The errors in what was written.
pub(crate) fn errors(said: &[u8]) -> impl Iterator<Item = Option<Errno>> {
    let errno = |bytes: &[u8; 4]| match i32::from_le_bytes(*bytes) {
        0 => None,
        raw => Some(Errno::from_raw_os_error(raw)),
    };
    said.as_chunks::<4>().0.iter().map(errno)
}

/// Tries all, and writes an errno or 0 for each.
pub(crate) fn run(user: &[u8], group: &[u8], filter: &mut [libc::sock_filter], report: &OwnedFd) {
    let mut root = None;
    for stage in Stage::ALL {
        let result = match stage {
            Stage::Ids => write(c"/proc/self/setgroups", b"deny")
                .and_then(|()| write(c"/proc/self/uid_map", user))
                .and_then(|()| write(c"/proc/self/gid_map", group)),
            Stage::Nested => write(c"/proc/sys/user/max_user_namespaces", b"0"),
            Stage::Mounts => new_root().map(|made| root = Some(made)),
            Stage::Proc => proc(),
            Stage::Overlay => root.as_ref().ok_or(Errno::INVAL).and_then(overlay),
            Stage::Loopback => sys::loopback_up(),
            Stage::Root => root.as_ref().ok_or(Errno::INVAL).and_then(enter),
            Stage::Filter => rustix::thread::set_no_new_privs(true).and_then(|()| sys::install_filter(filter)),
        };
        let errno = result.err().map_or(0, Errno::raw_os_error);
        if rustix::io::write(report, &errno.to_le_bytes()).is_err() {
            return;
        }
    }
}

fn write(path: &CStr, content: &[u8]) -> Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, content).map(drop)
}

fn new_root() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host = rustix::fs::open(c"/", flags, Mode::empty())?;
    sys::mount_setattr(host.as_fd(), true, 0, libc::MS_PRIVATE)?;
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(&mount, c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(mount)
}

fn proc() -> Result<()> {
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"subset", c"pid")?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map(drop)
}

fn enter(root: &OwnedFd) -> Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH)
}

/// An overlay in this directory of the host, which has `lower`, `upper` and `work`; a file is
/// written through it. In namespaces of its own; writes one errno.
pub(crate) fn store(directory: &CStr, user: &[u8], group: &[u8], report: &OwnedFd) {
    let attempt = || {
        write(c"/proc/self/setgroups", b"deny")?;
        write(c"/proc/self/uid_map", user)?;
        write(c"/proc/self/gid_map", group)?;
        rustix::process::chdir(directory)?;
        let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (option, name) in [(c"lowerdir", c"lower"), (c"upperdir", c"upper"), (c"workdir", c"work")] {
            fsconfig_set_string(context.as_fd(), option, name)?;
        }
        for flag in [c"userxattr", c"volatile"] {
            fsconfig_set_flag(context.as_fd(), flag)?;
        }
        fsconfig_create(context.as_fd())?;
        let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        move_mount(&mount, c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        // Replacing a directory of the lower layer needs an extended attribute on the upper.
        rustix::fs::unlinkat(&mount, c"directory", rustix::fs::AtFlags::REMOVEDIR)?;
        rustix::fs::mkdirat(&mount, c"directory", Mode::from_raw_mode(0o755))
    };
    let errno = attempt().err().map_or(0, Errno::raw_os_error);
    let _ = rustix::io::write(report, &errno.to_le_bytes());
}

fn overlay(root: &OwnedFd) -> Result<()> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Without allocating a path can only be a constant, so the working directory leads to them.
    rustix::process::fchdir(root)?;
    for (option, name) in [(c"lowerdir", c"lower"), (c"upperdir", c"upper"), (c"workdir", c"work")] {
        rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755))?;
        fsconfig_set_string(context.as_fd(), option, name)?;
    }
    fsconfig_set_flag(context.as_fd(), c"userxattr")?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map(drop)
}
