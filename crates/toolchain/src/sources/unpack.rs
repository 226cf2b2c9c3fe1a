//! The rules by which entries of an archive become entries of a layout. They are those of an unpacking in a
//! `chroot`: an entry below a symlink lands where the symlink points, inside the tree and nowhere else; and a
//! name that would leave the tree is refused, with the archive and the entry named.
use crate::error::ToolchainError;
use crate::import::Warning;
use crate::layout::{Entry, Layout};
use lre_model::RelPath;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Entries of one archive. A toolchain of 20,000 files is large; each entry takes some 300 bytes of memory.
const ENTRIES_MAX: u64 = 2_000_000;
/// Bytes that one archive may unpack to: sixty times a large toolchain, and no disk that is full by accident.
const UNPACKED_BYTES_MAX: u64 = 64 << 30;
/// Directories above an entry. Trees are walked by recursion, here and in clients.
const DEPTH_MAX: usize = 256;
/// Bytes in a path: `PATH_MAX` of Linux less room for where the tree is mounted.
const PATH_BYTES_MAX: usize = 3_900;
/// Bytes in one name: `NAME_MAX` of Linux.
const NAME_BYTES_MAX: usize = 255;
/// Symlinks followed on the way to one entry, as in Linux.
const LINKS_MAX: usize = 40;
/// How names begin that say what a layer removes.
const WHITEOUT: &str = ".wh.";
/// How names begin that are the matter of one file system.
const WHITEOUT_META: &str = ".wh..wh.";
/// Says that nothing of the layers below is seen in this directory.
const OPAQUE: &str = ".wh..wh..opq";

/// What names of entries may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whiteouts {
    /// Nothing but names. A directory where a symlink to a directory stands is that directory (as with `dpkg`),
    /// and what stands where a directory with something in it was is refused.
    Plain,
    /// A layer of an image: `.wh.NAME` removes `NAME` of the layers below, and whatever comes later replaces what
    /// stands there. One leading `/` is forgotten, since some tools write it.
    Oci,
}

/// One archive on its way into a layout.
pub(crate) struct Unpack<'a> {
    what: &'a str,
    layout: &'a mut Layout,
    warnings: &'a mut Vec<Warning>,
    whiteouts: Whiteouts,
    /// What this archive has put, which its own whiteouts do not hide.
    mine: BTreeSet<RelPath>,
    entries: u64,
    bytes: u64,
}

impl<'a> Unpack<'a> {
    /// `what` names the archive in errors.
    pub(crate) fn new(
        what: &'a str,
        layout: &'a mut Layout,
        warnings: &'a mut Vec<Warning>,
        whiteouts: Whiteouts,
    ) -> Self {
        Self { what, layout, warnings, whiteouts, mine: BTreeSet::new(), entries: 0, bytes: 0 }
    }

    /// Names an entry of this archive.
    pub(crate) fn named(&self, name: &[u8]) -> String {
        format!("{}: {}", self.what, String::from_utf8_lossy(name).escape_debug())
    }

    /// An error at this entry.
    pub(crate) fn refused(&self, name: &[u8], problem: impl ToString) -> ToolchainError {
        ToolchainError::unusable(self.named(name), problem)
    }

    /// Where the entry of this name lands; nothing for the top itself, which is a directory, and for what is no entry
    /// but a whiteout, which is followed.
    pub(crate) fn place(&mut self, name: &[u8], directory: bool) -> Result<Option<RelPath>, ToolchainError> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(self.refused(name, format!("the archive has more than {ENTRIES_MAX} entries")));
        }
        let path = self.find(name)?;
        let Some(last) = path.segments().last() else {
            return if directory { Ok(None) } else { Err(self.refused(name, "it has no name")) };
        };
        if self.whiteouts == Whiteouts::Oci && last.starts_with(WHITEOUT) {
            self.hide(name, &path)?;
            return Ok(None);
        }
        Ok(Some(path))
    }

    /// Makes room for the content of an entry.
    pub(crate) fn expect(&mut self, name: &[u8], bytes: u64) -> Result<(), ToolchainError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > UNPACKED_BYTES_MAX {
            return Err(self.refused(name, format!("the archive unpacks to more than {UNPACKED_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    /// A directory.
    pub(crate) fn directory(&mut self, name: &[u8], path: RelPath) -> Result<(), ToolchainError> {
        if self.whiteouts == Whiteouts::Plain && matches!(self.layout.get(&path), Some(Entry::Symlink { .. })) {
            let names: Vec<_> = path.segments().iter().map(String::as_str).collect();
            return match follow(self.layout, &names) {
                Ok(path) if path.is_root() => Ok(()),
                Ok(path) => self.put(name, path, Entry::Directory),
                Err(problem) => Err(self.refused(name, problem)),
            };
        }
        self.put(name, path, Entry::Directory)
    }

    /// A file or symlink.
    pub(crate) fn put(&mut self, name: &[u8], path: RelPath, entry: Entry) -> Result<(), ToolchainError> {
        match self.whiteouts {
            Whiteouts::Oci => drop(self.mine.insert(path.clone())),
            Whiteouts::Plain if entry == Entry::Directory => match self.layout.get(&path) {
                None | Some(Entry::Directory) => {}
                Some(_) => return Err(self.refused(name, "a file of the same name comes before this directory")),
            },
            Whiteouts::Plain if self.layout.below(&path).next().is_some() => {
                return Err(self.refused(name, "a directory of the same name, which is not empty, comes before it"));
            }
            Whiteouts::Plain => {}
        }
        self.layout.replace(path, entry);
        Ok(())
    }

    /// A symlink, verbatim: where it points is data, wherever that is.
    pub(crate) fn symlink(&mut self, name: &[u8], path: RelPath, target: &[u8]) -> Result<(), ToolchainError> {
        let text = std::str::from_utf8(target).map_err(|_| self.refused(name, "its target is not UTF-8"))?;
        if text.is_empty() || text.contains('\0') || text.len() > PATH_BYTES_MAX {
            return Err(self.refused(name, format!("no symlink can point to `{}`", text.escape_debug())));
        }
        self.put(name, path, Entry::Symlink { target: text.to_owned() })
    }

    /// One more name of a file that has come before, in this archive or below it: equal content.
    pub(crate) fn link(&mut self, name: &[u8], path: RelPath, target: &[u8]) -> Result<(), ToolchainError> {
        let shown = String::from_utf8_lossy(target).escape_debug().to_string();
        let from = self.find(target)?;
        match self.layout.get(&from) {
            // A file may be given its own name once more.
            Some(_) if from == path => Ok(()),
            Some(Entry::Directory) => Err(self.refused(name, format!("it is a hard link to `{shown}`, a directory"))),
            Some(entry) => {
                let entry = entry.clone();
                self.put(name, path, entry)
            }
            None => Err(self.refused(name, format!("it is a hard link to `{shown}`, which does not come before it"))),
        }
    }

    /// What a tree does not hold.
    pub(crate) fn left_out(&mut self, path: &RelPath, kind: &'static str) -> Result<(), ToolchainError> {
        self.warnings.push(Warning::Special { path: shown(path), kind });
        Ok(())
    }

    /// Bits of a mode that get lost.
    pub(crate) fn mode(&mut self, path: &RelPath, mode: u32) {
        if mode & 0o6000 != 0 {
            self.warnings.push(Warning::Setuid(shown(path)));
        }
    }

    /// Extended attributes get lost.
    pub(crate) fn attributes(&mut self, path: &RelPath) {
        self.warnings.push(Warning::Attributes(shown(path)));
    }

    /// The path of a name, its parents followed as in a `chroot`.
    fn find(&self, name: &[u8]) -> Result<RelPath, ToolchainError> {
        let names = names(name, self.whiteouts).map_err(|problem| self.refused(name, problem))?;
        let Some((last, parents)) = names.split_last() else { return Ok(RelPath::root()) };
        let path = follow(self.layout, parents).map_err(|problem| self.refused(name, problem))?.join(last)?;
        let long = path.segments().iter().map(|name| name.len() + 1).sum::<usize>() > PATH_BYTES_MAX;
        match path.segments().len() {
            depth if depth > DEPTH_MAX => {
                Err(self.refused(name, format!("it is more than {DEPTH_MAX} directories deep")))
            }
            _ if long => Err(self.refused(name, format!("its path is longer than {PATH_BYTES_MAX} bytes"))),
            _ => Ok(path),
        }
    }

    /// Follows a whiteout: what it names is gone, unless this very layer has put it.
    fn hide(&mut self, name: &[u8], path: &RelPath) -> Result<(), ToolchainError> {
        let last = path.segments().last().map_or("", String::as_str);
        let parent = path.parent().unwrap_or_default();
        let hidden = match last.strip_prefix(WHITEOUT) {
            _ if last == OPAQUE => None,
            _ if last.starts_with(WHITEOUT_META) => return Ok(()),
            None | Some("" | "." | "..") => return Err(self.refused(name, "it is a whiteout of nothing")),
            Some(hidden) => Some(parent.join(hidden)?),
        };
        // A directory stays when all is gone that told of it.
        if !parent.is_root() && self.layout.get(&parent).is_none() && self.layout.below(&parent).next().is_some() {
            self.layout.insert(parent.clone(), Entry::Directory);
        }
        let top = hidden.as_ref().unwrap_or(&parent);
        let below = self.layout.below(top).map(|(path, _)| path);
        let gone: Vec<_> = hidden.iter().chain(below).filter(|path| !self.has_put_at_or_below(path)).cloned().collect();
        gone.iter().for_each(|path| self.layout.remove(path));
        Ok(())
    }

    fn has_put_at_or_below(&self, path: &RelPath) -> bool {
        self.mine.range(path..).next().is_some_and(|mine| mine.segments().starts_with(path.segments()))
    }
}

/// Where a directory of an unpacked tree really is, from its top, without a slash before it; nothing where it is not.
pub(crate) fn real_directory(layout: &Layout, path: &str) -> Option<String> {
    let names: Vec<_> = path.split('/').collect();
    Some(follow(layout, &names).ok()?.to_string())
}

fn shown(path: &RelPath) -> PathBuf {
    PathBuf::from(format!("/{path}"))
}

/// The parts of an entry's name. One that leaves the tree, or tries to, is refused as a whole: no tool
/// writes such names by accident.
fn names(name: &[u8], whiteouts: Whiteouts) -> Result<Vec<&str>, String> {
    let text = std::str::from_utf8(name).map_err(|_| "its name is not UTF-8")?;
    let text = match text.strip_prefix('/') {
        Some(rest) if whiteouts == Whiteouts::Oci => rest,
        Some(_) => return Err("its name is absolute".to_owned()),
        None => text,
    };
    let mut names = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("its name has `..` in it and may leave the tree".to_owned()),
            part if part.contains('\0') => return Err("its name has a NUL in it".to_owned()),
            part if part.len() > NAME_BYTES_MAX => {
                return Err(format!("a part of its name is longer than {NAME_BYTES_MAX} bytes"));
            }
            part => names.push(part),
        }
    }
    let reserved = names.iter().rev().skip(1).any(|name| name.starts_with(WHITEOUT));
    if reserved && whiteouts == Whiteouts::Oci {
        return Err(format!("names that begin with `{WHITEOUT}` are not for directories"));
    }
    Ok(names)
}

/// The directory that these names lead to, symlinks followed inside the tree: its top is their `/`, and `..`
/// at the top stays there. What is not in the layout yet will be a directory.
fn follow(layout: &Layout, names: &[&str]) -> Result<RelPath, String> {
    let mut path = RelPath::root();
    let mut left: Vec<String> = names.iter().rev().map(|&name| name.to_owned()).collect();
    let mut links = 0;
    while let Some(name) = left.pop() {
        match &*name {
            "" | "." => continue,
            ".." => {
                path = path.parent().unwrap_or_default();
                continue;
            }
            _ => {}
        }
        let next = path.join(&name).map_err(|e| e.to_string())?;
        match layout.get(&next) {
            None | Some(Entry::Directory) => path = next,
            Some(Entry::Symlink { target }) => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(format!("the symlinks on its way are a loop, one of them is `{next}`"));
                }
                if target.starts_with('/') {
                    path = RelPath::root();
                }
                left.extend(target.split('/').rev().map(str::to_owned));
            }
            Some(_) => return Err(format!("`{next}`, which it is below, is a file")),
        }
    }
    Ok(path)
}
