//! A Unix socket that is ours alone: its folder, its mode, and what an earlier server left.
use crate::limits::SOCKET_PATH_BYTES_MAX;
use crate::listen::ListenError;
use rustix::fs::{FlockOperation, Mode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::geteuid;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connections that wait to be accepted: a build with 500 jobs opens as many at once.
const BACKLOG: i32 = 1024;

/// A socket file that goes away with this value.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: a file of this name that is another is not ours to remove.
    identity: (u64, u64),
}

impl BoundSocket {
    /// Binds `path`. A socket that nobody answers at is removed first; one that somebody answers at
    /// is an error.
    pub(crate) fn bind(path: &Path) -> Result<Self, ListenError> {
        let path = std::path::absolute(path).map_err(|source| ListenError::Socket { path: path.into(), source })?;
        let bytes = path.as_os_str().as_bytes().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            return Err(ListenError::PathTooLong { path, bytes, at_most: SOCKET_PATH_BYTES_MAX });
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        let lock = private_directory(directory)?;
        let failed = |source: io::Error| ListenError::Socket { path: path.clone(), source };
        // Two servers that start at once must not take each other's new socket for an old one.
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|e| failed(e.into()))?;
        remove_stale(&path)?;
        let listener = listen(&path).map_err(failed)?;
        let metadata = fs::symlink_metadata(&path).map_err(failed)?;
        Ok(Self { listener, identity: (metadata.dev(), metadata.ino()), path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The listener for the current runtime.
    pub(crate) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// The folder of the socket, made where it does not exist, if nobody else can put files there.
fn private_directory(directory: &Path) -> Result<File, ListenError> {
    let wrong = |problem: String| ListenError::Folder { directory: directory.into(), problem };
    let failed = |source: io::Error| wrong(format!("cannot be used: {source}"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let us = geteuid().as_raw();
    // The link too, if it is one: who owns it could point it elsewhere later.
    let link = fs::symlink_metadata(directory).map_err(failed)?;
    let metadata = fs::metadata(directory).map_err(failed)?;
    if let Some(other) = [link.uid(), metadata.uid()].into_iter().find(|uid| *uid != us) {
        return Err(wrong(format!("belongs to uid {other}, not to uid {us}")));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(wrong(format!("can be written by others (mode {:o})", metadata.mode() & 0o7777)));
    }
    File::open(directory).map_err(failed)
}

/// Removes what a server left that was killed. Whether it lives is asked by connecting: a lock file
/// would be one more thing to be left behind.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |source: io::Error| ListenError::Socket { path: path.into(), source };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(ListenError::NotASocket(path.into())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ListenError::SocketInUse(path.into())),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        // Its queue is full: somebody lives there.
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(ListenError::SocketInUse(path.into())),
        Err(e) => Err(failed(e)),
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before it has a name: the file then has this mode from its first moment.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn the_socket_is_ours_alone_and_goes_away() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("made/on/the/way/re.sock");
        let socket = BoundSocket::bind(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(socket.path(), path);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("re.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as after kill -9");
        let live = BoundSocket::bind(&path).unwrap();
        let refused = BoundSocket::bind(&path).unwrap_err();
        assert!(matches!(refused, ListenError::SocketInUse(_)), "{refused}");
        assert!(refused.hint().contains("lre down"));
        UnixStream::connect(live.path()).expect("still there");
    }

    #[test]
    fn the_socket_of_a_successor_is_not_removed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("re.sock");
        let first = BoundSocket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = BoundSocket::bind(&path).unwrap();
        drop(first);
        UnixStream::connect(second.path()).expect("still there");
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("notes.txt");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(BoundSocket::bind(&path), Err(ListenError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_path_that_the_kernel_cannot_take_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().as_os_str().len() + 1;
        let at_most = temp.path().join("x".repeat(SOCKET_PATH_BYTES_MAX - base));
        drop(BoundSocket::bind(&at_most).unwrap());
        let over = temp.path().join("x".repeat(SOCKET_PATH_BYTES_MAX - base + 1));
        let refused = BoundSocket::bind(&over).unwrap_err();
        assert!(matches!(refused, ListenError::PathTooLong { bytes: 108, at_most: 107, .. }), "{refused}");
        assert!(refused.hint().contains("XDG_RUNTIME_DIR"));
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        for mode in [0o777, 0o1777, 0o770] {
            let folder = temp.path().join(format!("{mode:o}"));
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let refused = BoundSocket::bind(&folder.join("re.sock")).unwrap_err();
            assert!(matches!(refused, ListenError::Folder { .. }), "{mode:o}: {refused}");
            assert!(refused.hint().contains("chmod 700"));
        }
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        // Of root for an ordinary user; root gives one away.
        let temp = tempfile::tempdir().unwrap();
        let folder = if geteuid().is_root() {
            std::os::unix::fs::chown(temp.path(), Some(65_534), None).unwrap();
            temp.path()
        } else {
            Path::new("/")
        };
        let refused = BoundSocket::bind(&folder.join("re.sock")).unwrap_err();
        assert!(matches!(refused, ListenError::Folder { .. }), "{refused}");
    }
}
