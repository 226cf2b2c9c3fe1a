//! What a command has left: the upper layer of the overlay over the input tree.
//!
//! Read from outside, after the last process is gone. The rules are those of the kernel's overlay
//! documentation for `userxattr`: a character device 0/0 hides a name, the attribute
//! `user.overlay.opaque` hides all of a directory below. Redirects and metacopy do not exist with
//! `userxattr`.
use lre_model::{Node, Subtree};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Both layers of one execution.
pub(crate) struct Layers {
    upper: PathBuf,
    lower: Arc<Subtree>,
}

/// One directory of the merged view.
#[derive(Clone, Debug)]
pub(crate) struct Merged {
    /// Where it lies, if the command has touched it.
    pub upper: Option<PathBuf>,
    lower: Option<Arc<Subtree>>,
}

/// What is at a path.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// A file that the command wrote, or changed in any way.
    Written { path: PathBuf, metadata: Box<Metadata> },
    /// An input, as it was.
    Input { digest: lre_model::Digest, executable: bool },
    /// A directory.
    Directory(Merged),
    /// A symlink, one of the inputs or one that was made. A target that is not UTF-8 cannot be said in REAPI.
    Symlink { target: OsString, metadata: Option<Box<Metadata>> },
    /// A socket, a pipe, a device.
    Special(&'static str),
}

impl Layers {
    /// The layers of an execution.
    pub(crate) fn new(upper: &Path, lower: &Arc<Subtree>) -> Self {
        Self { upper: upper.to_owned(), lower: Arc::clone(lower) }
    }

    /// The execution root.
    pub(crate) fn root(&self) -> Merged {
        Merged { upper: Some(self.upper.clone()), lower: Some(Arc::clone(&self.lower)) }
    }

    /// What is at a path; symlinks are not followed, the last as little as the others.
    pub(crate) fn find(&self, segments: &[String]) -> io::Result<Option<Found>> {
        let mut found = Found::Directory(self.root());
        for segment in segments {
            let Found::Directory(directory) = found else { return Ok(None) };
            match self.child(&directory, OsStr::new(segment))? {
                Some(child) => found = child,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// The names in a directory, in byte order; some may turn out to be hidden.
    pub(crate) fn names(&self, directory: &Merged) -> io::Result<BTreeSet<OsString>> {
        let mut names = BTreeSet::new();
        if let Some(upper) = &directory.upper {
            open_up(upper)?;
            for entry in std::fs::read_dir(upper)? {
                names.insert(entry?.file_name());
            }
        }
        if let Some(lower) = &directory.lower {
            names.extend(lower.directory().children().map(|(name, _)| OsString::from(name.as_str())));
        }
        Ok(names)
    }

    /// The child of this name.
    pub(crate) fn child(&self, directory: &Merged, name: &OsStr) -> io::Result<Option<Found>> {
        let below = directory.lower.as_ref().and_then(|lower| below(lower, name.to_str()?));
        let Some(upper) = &directory.upper else { return Ok(below) };
        open_up(upper)?;
        let path = upper.join(name);
        let metadata = match std::fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(below),
            Err(e) => return Err(e),
        };
        let kind = metadata.file_type();
        Ok(Some(if kind.is_dir() {
            let lower = match below {
                Some(Found::Directory(Merged { lower, .. })) if !is_opaque(&path)? => lower,
                _ => None,
            };
            Found::Directory(Merged { upper: Some(path), lower })
        } else if kind.is_file() {
            Found::Written { path, metadata: Box::new(metadata) }
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path)?.into_os_string();
            Found::Symlink { target, metadata: Some(Box::new(metadata)) }
        } else if kind.is_char_device() && metadata.rdev() == 0 {
            return Ok(None);
        } else if kind.is_socket() {
            Found::Special("socket")
        } else if kind.is_fifo() {
            Found::Special("named pipe")
        } else {
            Found::Special("device")
        }))
    }
}

/// An input, as it was.
fn below(directory: &Arc<Subtree>, name: &str) -> Option<Found> {
    Some(match directory.directory().get(name)? {
        Node::File { digest, executable } => Found::Input { digest: *digest, executable: *executable },
        Node::Directory { digest } => {
            Found::Directory(Merged { upper: None, lower: directory.child(digest).map(Arc::clone) })
        }
        Node::Symlink { target } => Found::Symlink { target: OsString::from(target), metadata: None },
    })
}

fn is_opaque(directory: &Path) -> io::Result<bool> {
    let mut value = [0; 2];
    match rustix::fs::getxattr(directory, "user.overlay.opaque", &mut value) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(false),
        // Longer than one letter: not the kernel's.
        Err(rustix::io::Errno::RANGE) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// A command may take the owner's own rights away (`chmod 000 out`); an ordinary user cannot look
/// into such a directory, so the rights are given back first. Root can look anyway.
fn open_up(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::symlink_metadata(directory)?.permissions().mode();
    if mode & 0o700 == 0o700 {
        return Ok(());
    }
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode | 0o700))
}
