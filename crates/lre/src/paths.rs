//! Where things are: the XDG base directories, and what a path of a socket may be.
use crate::exit::{OrProblem, Problem};
use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Longest path of a Unix socket, in bytes: `sun_path` has 108 and the last one is NUL (unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The folders of this user. Nothing is made by looking them up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Sockets; gone after a logout.
    pub runtime: PathBuf,
    /// The store; may be deleted at any time.
    pub cache: PathBuf,
    /// Logs, the token.
    pub state: PathBuf,
    /// What the user wrote.
    pub config: PathBuf,
}

impl Paths {
    /// From the environment of this process.
    ///
    /// # Errors
    /// Neither HOME nor the XDG variables are set.
    pub fn from_environment() -> Result<Self, Problem> {
        let runtime_is_ours = |path: &Path| owned_directory(path).is_ok();
        Self::new(|name| std::env::var_os(name), uid(), runtime_is_ours)
    }

    /// Pure: `variable` is the environment, `usable` tells whether a runtime directory is there and ours.
    /// A session that was left with `su` still has the other user's XDG_RUNTIME_DIR, so this is asked.
    fn new(
        variable: impl Fn(&str) -> Option<OsString>,
        uid: u32,
        usable: impl Fn(&Path) -> bool,
    ) -> Result<Self, Problem> {
        // XDG Base Directory Specification: relative paths are invalid and are ignored.
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let base = |name: &str, below: &str| {
            let fallback = || home.as_ref().map(|home| home.join(below));
            let base = absolute(name).or_else(fallback).ok_or_else(|| {
                Problem::error(format!("neither HOME nor {name} is set to an absolute path"))
                    .hint(format!("set HOME, or {name}"))
            })?;
            Ok::<_, Problem>(base.join("lre"))
        };
        let runtime = match absolute("XDG_RUNTIME_DIR").filter(|path| usable(path)) {
            Some(runtime) => runtime.join("lre"),
            None => PathBuf::from(format!("/tmp/lre-{uid}")),
        };
        Ok(Self {
            runtime,
            cache: base("XDG_CACHE_HOME", ".cache")?,
            state: base("XDG_STATE_HOME", ".local/state")?,
            config: base("XDG_CONFIG_HOME", ".config")?,
        })
    }

    /// The default socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("re.sock")
    }

    /// The token that lets others in over TCP.
    #[must_use]
    pub fn token(&self) -> PathBuf {
        self.state.join("token")
    }

    /// The log of `lre up`.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.state.join("serve.log")
    }

    /// The user's configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config.join("lre.json5")
    }
}

/// The user that runs this process.
#[must_use]
pub fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Whether `path` is a directory (no symlink) that belongs to this user.
fn owned_directory(path: &Path) -> Result<(), String> {
    let metadata = std::fs::symlink_metadata(path).map_err(|e| e.to_string())?;
    if !metadata.is_dir() {
        return Err("it is not a directory".to_owned());
    }
    if metadata.uid() != uid() {
        return Err(format!("it belongs to user {}, not to user {}", metadata.uid(), uid()));
    }
    Ok(())
}

/// Makes a directory that only this user can enter. One that is there already must be this user's
/// own: in /tmp anybody may have made it first, and could then pose as our server.
///
/// # Errors
/// It cannot be made, or is somebody else's.
pub fn private_directory(path: &Path) -> Result<(), Problem> {
    let problem = || Problem::error(format!("the directory {} cannot be used", path.display()));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| problem().why(e))?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(problem().why(e)),
    }
    owned_directory(path).map_err(|why| problem().why(why).hint("set XDG_RUNTIME_DIR, or choose another --socket"))?;
    let mode = std::fs::symlink_metadata(path).or_problem(format!("cannot look at {}", path.display()))?.mode();
    if mode & 0o077 != 0 {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(path, private).or_problem(format!("cannot make {} private", path.display()))?;
    }
    Ok(())
}

/// Checks that the kernel takes `path` as a socket.
///
/// # Errors
/// Too long, or relative: a client may start anywhere.
pub fn check_socket(path: &Path) -> Result<(), String> {
    let length = path.as_os_str().len();
    if !path.is_absolute() {
        return Err(format!("`{}` is not an absolute path", path.display()));
    }
    if length > SOCKET_PATH_BYTES_MAX {
        return Err(format!(
            "`{}` has {length} bytes, the kernel takes at most {SOCKET_PATH_BYTES_MAX} for a socket",
            path.display()
        ));
    }
    Ok(())
}

/// The workspace that `start` is in: the nearest directory upwards with one of its marks.
#[must_use]
pub fn workspace(start: &Path) -> Option<PathBuf> {
    const MARKS: [&str; 6] = ["lre.lock", "lre.json5", "MODULE.bazel", "WORKSPACE.bazel", "WORKSPACE", ".git"];
    start.ancestors().find(|directory| MARKS.iter().any(|mark| directory.join(mark).exists())).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(variables: &[(&str, &str)], usable: bool) -> Result<Paths, Problem> {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        Paths::new(variable, 1000, |_| usable)
    }

    #[test]
    fn a_plain_home_is_enough() {
        let paths = paths(&[("HOME", "/home/a")], false).unwrap();
        assert_eq!(paths.cache, Path::new("/home/a/.cache/lre"));
        assert_eq!(paths.token(), Path::new("/home/a/.local/state/lre/token"));
        assert_eq!(paths.config_file(), Path::new("/home/a/.config/lre/lre.json5"));
        assert_eq!(paths.socket(), Path::new("/tmp/lre-1000/re.sock"));
    }

    #[test]
    fn xdg_variables_win_unless_relative_or_not_ours() {
        let set = [("HOME", "/home/a"), ("XDG_CACHE_HOME", "/c"), ("XDG_STATE_HOME", "s"), ("XDG_RUNTIME_DIR", "/r")];
        let ours = paths(&set, true).unwrap();
        assert_eq!((ours.cache.as_path(), ours.runtime.as_path()), (Path::new("/c/lre"), Path::new("/r/lre")));
        assert_eq!(ours.state, Path::new("/home/a/.local/state/lre"));
        assert_eq!(paths(&set, false).unwrap().runtime, Path::new("/tmp/lre-1000"));
        assert!(paths(&[], true).unwrap_err().to_string().contains("HOME"));
    }

    #[test]
    fn sockets_fit_into_the_kernel() {
        assert!(check_socket(Path::new("/run/user/1000/lre/re.sock")).is_ok());
        assert!(check_socket(Path::new("re.sock")).is_err());
        let long = format!("/{}", "x".repeat(SOCKET_PATH_BYTES_MAX));
        assert!(check_socket(Path::new(&long)).unwrap_err().contains("108 bytes"));
        assert!(check_socket(Path::new(&long[..SOCKET_PATH_BYTES_MAX])).is_ok());
    }

    #[test]
    fn a_directory_that_others_can_enter_is_closed() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/lre");
        private_directory(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        private_directory(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(private_directory(&link).unwrap_err().to_string().contains("not a directory"));
    }

    #[test]
    fn the_nearest_mark_is_the_workspace() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(root.path().join("lre.lock"), "").unwrap();
        std::fs::create_dir(root.path().join("a/b/.git")).unwrap();
        assert_eq!(workspace(&deep), Some(root.path().join("a/b")));
        assert_eq!(workspace(&root.path().join("a")), Some(root.path().to_owned()));
    }
}
