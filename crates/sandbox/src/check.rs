//! What this machine allows: tried, not guessed from version numbers.
use crate::launcher::{NAMESPACES, filter};
use crate::sys::{self, Forked};
use crate::{INNER_ID, probe};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use std::ffi::CString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// One thing that a sandbox needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// Whether it is as needed.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
    /// What a user can do about it; empty where nothing is to be done.
    pub fix: String,
}

/// The oldest kernel that has all we call: `mount_setattr`, and overlayfs in user namespaces.
const KERNEL_MIN: (u32, u32) = (5, 12);

/// Looks whether sandboxes can be made here, by making one and looking at each step. Needs no
/// privileges, changes nothing, takes a few milliseconds; can be called from any thread.
#[must_use]
pub fn check() -> Vec<Finding> {
    let mut findings = vec![kernel(&rustix::system::uname().release().to_string_lossy())];
    match attempt() {
        Ok(results) => findings.extend(results.into_iter().map(|(stage, errno)| stage_finding(stage, errno))),
        Err(errno) => findings.push(namespaces_refused(errno, &|path| std::fs::read_to_string(path).ok())),
    }
    findings
}

fn kernel(release: &str) -> Finding {
    let ok = kernel_version(release) >= KERNEL_MIN;
    let fix = if ok { String::new() } else { format!("run on Linux {}.{} or newer", KERNEL_MIN.0, KERNEL_MIN.1) };
    Finding { what: "kernel", ok, detail: format!("Linux {release}"), fix }
}

/// The first two numbers of a kernel's release; 0 for what is none.
pub(crate) fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Makes a sandbox in a child. For each stage that was tried: what the kernel said.
fn attempt() -> Result<Vec<(probe::Stage, Option<Errno>)>, Errno> {
    let ids = Ids::own();
    let mut filter = filter();
    let said = in_namespaces(|report| probe::run(&ids.user, &ids.group, &mut filter, report))?;
    Ok(probe::decode(&said))
}

/// What is written into the id maps.
struct Ids {
    user: Vec<u8>,
    group: Vec<u8>,
}

impl Ids {
    fn own() -> Self {
        Self {
            user: format!("{INNER_ID} {} 1", rustix::process::geteuid().as_raw()).into_bytes(),
            group: format!("{INNER_ID} {} 1", rustix::process::getegid().as_raw()).into_bytes(),
        }
    }
}

/// What `child` writes, in a process in new namespaces. It must not allocate: another thread of
/// this process may hold the allocator's lock, which then is held for ever in the copy.
fn in_namespaces(child: impl FnOnce(&OwnedFd)) -> Result<Vec<u8>, Errno> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let pid = match sys::fork_into(NAMESPACES, None::<OwnedFd>)? {
        Forked::Child => {
            child(&write);
            sys::exit_now(0)
        }
        Forked::Parent { pid, .. } => pid,
    };
    drop(write);
    let mut said = Vec::new();
    let mut buffer = [0; 256];
    while let Ok(n @ 1..) = rustix::io::retry_on_intr(|| rustix::io::read(&read, &mut buffer)) {
        said.extend_from_slice(&buffer[..n]);
    }
    sys::wait(pid, true);
    Ok(said)
}

/// Looks whether executions can write below `directory`, which is made where it is not there: not
/// every file system can be the upper layer of an overlay. Tries it, and leaves nothing behind. On a full disk it
/// cannot be tried, which is nothing against the file system: who only reads from a store must be able to start on it.
#[must_use]
pub fn check_directory(directory: &Path) -> Finding {
    const WHAT: &str = "outputs in the store's directory";
    match try_directory(directory) {
        Ok(()) => Finding { what: WHAT, ok: true, detail: "overlayfs can write there".to_owned(), fix: String::new() },
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            let detail = format!("not tried: {}: {error}", directory.display());
            Finding { what: WHAT, ok: true, detail, fix: String::new() }
        }
        Err(error) => Finding {
            what: WHAT,
            ok: false,
            detail: format!("{}: {error}", directory.display()),
            fix: "choose a directory on a local file system with extended attributes (ext4, xfs, btrfs, tmpfs), \
                  for example with --store; in a container that is a volume, not the container's own file system"
                .to_owned(),
        },
    }
}

fn try_directory(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let place = directory.join(format!(".check-{}-{:?}", std::process::id(), std::thread::current().id()));
    let tried = try_below(&place);
    let removed = std::fs::remove_dir_all(&place);
    tried?;
    removed
}

fn try_below(place: &Path) -> std::io::Result<()> {
    let ids = Ids::own();
    for name in ["lower/directory", "upper", "work"] {
        std::fs::create_dir_all(place.join(name))?;
    }
    let inside = CString::new(place.as_os_str().as_bytes())?;
    let said = in_namespaces(|report| probe::store(&inside, &ids.user, &ids.group, report));
    // Overlayfs leaves directories that nobody may enter.
    for inner in ["work/work", "work/work/incompat", "work/work/incompat/volatile"] {
        let _ = std::fs::set_permissions(place.join(inner), std::fs::Permissions::from_mode(0o700));
    }
    match probe::errors(&said?).next() {
        Some(None) => Ok(()),
        Some(Some(errno)) => Err(errno.into()),
        None => Err(std::io::Error::other("the attempt ended without a word")),
    }
}

fn stage_finding(stage: probe::Stage, errno: Option<Errno>) -> Finding {
    let (what, works, fix) = stage.words();
    match errno {
        None => Finding { what, ok: true, detail: works.to_owned(), fix: String::new() },
        Some(errno) => {
            let mut finding =
                Finding { what, ok: false, detail: std::io::Error::from(errno).to_string(), fix: fix.to_owned() };
            if let Some(known) = switched_off(&|path| std::fs::read_to_string(path).ok()) {
                finding.fix = known;
            }
            finding
        }
    }
}

/// New namespaces were refused as a whole.
fn namespaces_refused(errno: Errno, read: &dyn Fn(&str) -> Option<String>) -> Finding {
    let fix = switched_off(read).unwrap_or_else(|| match errno {
        Errno::NOSPC | Errno::USERS => "sudo sysctl user.max_user_namespaces=15000".to_owned(),
        _ => "in a container: start it so that it may make user namespaces, for docker with \
              --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
            .to_owned(),
    });
    Finding { what: "user namespaces", ok: false, detail: std::io::Error::from(errno).to_string(), fix }
}

/// The switches that distributions have for user namespaces, in the order in which they matter.
fn switched_off(read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let is = |path: &str, value: &str| read(path).is_some_and(|content| content.trim() == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Some("sudo sysctl kernel.unprivileged_userns_clone=1".to_owned());
    }
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return Some("sudo sysctl user.max_user_namespaces=15000".to_owned());
    }
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return Some("sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_as_numbers() {
        for (release, ok) in [("6.18.44-fc", true), ("5.12.0", true), ("5.4.0-150-generic", false), ("odd", false)] {
            assert_eq!(kernel(release).ok, ok, "{release}");
        }
    }

    /// Every refusal comes with something the user can do.
    #[test]
    fn each_switch_has_its_fix() {
        let cases = [
            ("/proc/sys/kernel/unprivileged_userns_clone", "0\n", "kernel.unprivileged_userns_clone=1"),
            ("/proc/sys/user/max_user_namespaces", "0\n", "user.max_user_namespaces=15000"),
            (
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                "1\n",
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            ("/none", "", "--security-opt"),
        ];
        for (path, content, fix) in cases {
            let finding = namespaces_refused(Errno::PERM, &|asked| (asked == path).then(|| content.to_owned()));
            assert!(finding.fix.contains(fix), "{finding:?}");
        }
        assert!(namespaces_refused(Errno::NOSPC, &|_| None).fix.contains("max_user_namespaces"));
    }

    /// A directory that serves is found to serve, one that cannot is named, and nothing is left.
    #[test]
    fn the_directory_of_a_store_is_tried() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let finding = check_directory(&directory.path().join("new,:\\store"));
        // Where user namespaces are forbidden nothing can be tried.
        assert_eq!(finding.ok, check().iter().all(|f| f.ok), "{finding:?}");
        let left = std::fs::read_dir(directory.path().join("new,:\\store")).expect("made").count();
        assert_eq!(left, 0);
        let finding = check_directory(Path::new("/proc/self/none"));
        assert!(!finding.ok && finding.detail.contains("/proc/self/none"), "{finding:?}");
    }

    /// What was tried is said in full, and a broken step says what broke.
    #[test]
    fn a_finding_for_every_stage() {
        let findings = check();
        for finding in &findings {
            assert!(!finding.detail.is_empty() && finding.ok == finding.fix.is_empty(), "{finding:?}");
        }
        assert!(findings.len() > 1, "{findings:?}");
    }
}
