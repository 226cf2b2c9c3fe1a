//! Which directory of an archive becomes the tree.
use super::Archive;
use crate::error::ToolchainError;
use crate::import::Warning;
use crate::layout::{Entry, Layout};
use lre_model::RelPath;
use std::collections::BTreeSet;

/// Directories that are not a version's name but where something stands: alone at the top they are meant.
const KNOWN: [&str; 19] = [
    "bin", "sbin", "lib", "lib32", "lib64", "libexec", "libx32", "usr", "etc", "opt", "nix", "share", "include", "var",
    "boot", "home", "root", "srv", "run",
];

/// The layout below the directory that is meant.
pub(super) fn taken(archive: &Archive, layout: Layout, warnings: &mut Vec<Warning>) -> Result<Layout, ToolchainError> {
    let refused = |problem: String| Err(ToolchainError::unusable(archive.shown(), problem));
    if layout.is_empty() {
        return refused("there is nothing in it".to_owned());
    }
    let top = match &archive.top {
        Some(top) => RelPath::parse(top)?,
        None => match only_directory(&layout) {
            Some(name) => {
                warnings.push(Warning::Note(format!(
                    "all of {} is in its directory `{name}`, which is left away; `top=.` keeps it",
                    archive.shown()
                )));
                RelPath::root().join(name)?
            }
            None => return Ok(layout),
        },
    };
    if top.is_root() {
        return Ok(layout);
    }
    let depth = top.segments().len();
    let mut below = Layout::default();
    for (path, entry) in layout.below(&top) {
        below.insert(RelPath::parse(&path.segments()[depth..].join("/"))?, entry.clone());
    }
    if below.is_empty() {
        return refused(format!("there is no directory `{top}` in it, or nothing in that"));
    }
    Ok(below)
}

/// The only name at the top, if it is a directory that has something in it.
fn only_directory(layout: &Layout) -> Option<&str> {
    let names: BTreeSet<_> = layout.iter().filter_map(|(path, _)| path.segments().first()).collect();
    let [name] = Vec::from_iter(names)[..] else { return None };
    let has_more = layout.iter().any(|(path, _)| path.segments().len() > 1);
    (has_more && !KNOWN.contains(&name.as_str())).then_some(name.as_str())
}

/// What is said of symlinks that lead out of a tree, which in a root they would not. They are data, and may be
/// meant for a file of the root file system; but what they name is not pinned with the tree.
pub(in super::super) fn leaving(layout: &Layout) -> Option<Warning> {
    let leaves = |path: &RelPath, target: &str| path.parent().unwrap_or_default().join(target).is_err();
    let mut links = layout.iter().filter_map(|(path, entry)| match entry {
        Entry::Symlink { target } if leaves(path, target) => Some((path, target)),
        _ => None,
    });
    let (path, target) = links.next()?;
    let more = match links.count() {
        0 => String::new(),
        more => format!("; so do {more} more symlinks"),
    };
    Some(Warning::Note(format!("`{path}` points out of the tree, to `{target}`{more}")))
}
