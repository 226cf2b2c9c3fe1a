//! Programs run from an unpacked root as if it were installed.
//!
//! The absolute paths and links inside of Debian packages (`/usr/share/java`, `/etc/java-17-openjdk`) hold only below
//! `/`. So a command gets a mount namespace of its own, with a fresh root made of the unpacked folders and of those
//! of the machine that it is given. Root is not needed; root uses its privilege to become another user inside, whom
//! the real kernel then sees as another user.
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root into which packages were unpacked.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

/// The folder of the unpacked root over which the new root is mounted. Each command sees only its own.
pub(crate) const NEW_ROOT: &str = "mnt";

/// Lays out the new root, then becomes the user in it. `$1` the unpacked root, `$2` the user or `-`, `$3` the working
/// directory; then the folders that stay visible, up to `--`; then the command.
///
/// The new root is moved over the old one: below a mere `chroot` the kernel refuses user namespaces, and Nix, Bazel and
/// we ourselves make them. `-n`, since an ordinary user may not write mount's table.
const SCRIPT: &str = r#"
root=$1 user=$2 cwd=$3; shift 3
new=$root/mnt
mount -t tmpfs -o mode=0755 none "$new"
for path in "$root"/*; do
  name=${path##*/}
  case $name in mnt|proc|dev|tmp|sys) continue;; esac
  mkdir "$new/$name"; mount --bind "$path" "$new/$name"
done
mkdir -m 1777 "$new/tmp"; mkdir "$new/proc" "$new/dev"
mount --rbind /proc "$new/proc"; mount --rbind /dev "$new/dev"
while [ "$1" != -- ]; do
  mkdir -p "$new$1"; mount --rbind "$1" "$new$1"; shift
done
shift
cd "$new"; mount -n --move . /
last='umask "${UMASK:-022}"; cd "$0" && exec "$@"'
if [ "$user" = - ]; then set -- chroot . /bin/sh -c "$last" "$cwd" "$@"
else set -- chroot --userspec="$user:$user" --groups= . /bin/sh -c "$last" "$cwd" "$@"; fi
exec "$@"
"#;

impl Root {
    /// A folder that [`crate::packages`] has filled.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is on this machine. Its programs run from there only if they need nothing by an absolute path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `program` (a path inside), to be run in `cwd` with only `visible` of this machine's folders in sight, and with
    /// an empty environment but for a PATH. The variable `UMASK`, if there is one, is its umask.
    ///
    /// `user` needs root outside; `None` is whoever calls. For an ordinary caller the command sees itself as uid 0 of
    /// a namespace that holds nobody else; outside it is the caller all the time.
    pub fn command(&self, program: &str, user: Option<u32>, cwd: &Path, visible: &[&Path]) -> Command {
        let mut command = Command::new("unshare");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--", "/bin/sh", "-ec", SCRIPT, "jail"]);
        command.arg(&self.0).arg(user.map_or_else(|| "-".to_owned(), |user| user.to_string())).arg(cwd);
        command.args(visible.iter().map(|path| path.as_os_str())).args([OsStr::new("--"), OsStr::new(program)]);
        command
    }
}

/// Whether this process has uid 0.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}
