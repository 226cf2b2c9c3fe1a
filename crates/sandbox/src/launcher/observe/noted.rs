//! What an observed command did not find: each once, and not without end.
use crate::Wanted;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;

/// Most paths that are kept. A build tool that looks for its modules in a hundred places misses a
/// few thousand; what is missed first is what names the cause as often as not.
const PATHS_MAX: usize = 4096;
/// Most bytes of all paths that are kept.
const BYTES_MAX: usize = 512 * 1024;
/// Most addresses that are kept.
const ADDRESSES_MAX: usize = 64;
/// Most directories that are kept; their paths are no longer than the kernel's longest.
const LISTED_MAX: usize = 128;

/// Paths and addresses, in the order in which they were missed.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// None: forgiven.
    paths: Vec<Option<Vec<u8>>>,
    bytes: usize,
    /// Where the paths that end with a name are.
    by_name: BTreeMap<Vec<u8>, Vec<usize>>,
    addresses: Vec<String>,
    listed: BTreeSet<Vec<u8>>,
}

impl Noted {
    /// A path that does not exist. It is absolute and clean.
    pub(super) fn missed(&mut self, path: &[u8]) {
        let same = self.by_name.entry(name(path).to_owned()).or_default();
        if same.iter().any(|at| self.paths[*at].as_deref() == Some(path)) {
            return;
        }
        if self.paths.len() >= PATHS_MAX || self.bytes + path.len() > BYTES_MAX {
            return;
        }
        same.push(self.paths.len());
        self.bytes += path.len();
        self.paths.push(Some(path.to_owned()));
    }

    /// A file that exists. Whoever looked for one of its name before was on a search along a list of
    /// directories, as a shell, a compiler or a loader does, and has found it now.
    pub(super) fn found(&mut self, path: &[u8]) {
        for at in self.by_name.remove(name(path)).unwrap_or_default() {
            self.paths[at] = None;
        }
    }

    /// A directory that exists and was opened.
    pub(super) fn listed(&mut self, path: &[u8]) {
        if self.listed.len() < LISTED_MAX {
            self.listed.insert(path.to_owned());
        }
    }

    /// An address that somebody wanted to reach.
    pub(super) fn called(&mut self, address: String) {
        if self.addresses.len() < ADDRESSES_MAX && !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }

    /// All of it.
    pub(super) fn into_wanted(self) -> Vec<Wanted> {
        let text = |path| CString::new(path).ok();
        let paths = self.paths.into_iter().flatten().filter_map(text).map(Wanted::Path);
        let listed = self.listed.into_iter().filter_map(text).map(Wanted::Listed);
        paths.chain(listed).chain(self.addresses.into_iter().map(Wanted::Network)).collect()
    }
}

fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

/// `path` seen from the absolute `directory`, without empty parts, `.` and `..`.
///
/// By its letters: where a symlink stands before a `..` the kernel goes elsewhere. The paths that
/// are joined so are those of compilers (`/usr/lib/gcc/x/13/../../include`), which mean the letters.
pub(super) fn clean(directory: &[u8], path: &[u8]) -> Vec<u8> {
    let directory = if path.starts_with(b"/") { &[][..] } else { directory };
    let mut parts = Vec::new();
    for part in directory.split(|b| *b == b'/').chain(path.split(|b| *b == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut whole = Vec::with_capacity(directory.len() + path.len() + 1);
    for part in parts {
        whole.push(b'/');
        whole.extend_from_slice(part);
    }
    if whole.is_empty() { b"/".to_vec() } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_cleaned() {
        let cases = [
            ("/a/b", "c", "/a/b/c"),
            ("/a/b", "/c//d/./e", "/c/d/e"),
            ("/a", "/usr/lib/gcc/x/13/../../../../include/z.h", "/usr/include/z.h"),
            ("/a", "../../../b", "/b"),
            ("/a", "..", "/"),
            ("/a", "b/", "/a/b"),
        ];
        for (directory, path, expected) in cases {
            let cleaned = clean(directory.as_bytes(), path.as_bytes());
            assert_eq!(String::from_utf8_lossy(&cleaned), expected, "{directory} {path}");
        }
    }

    fn paths(noted: Noted) -> Vec<String> {
        let text = |wanted| match wanted {
            Wanted::Path(path) | Wanted::Listed(path) => path.to_string_lossy().into_owned(),
            Wanted::Network(address) => address,
        };
        noted.into_wanted().into_iter().map(text).collect()
    }

    /// `make` in PATH, `stdio.h` among the include directories: found in the end, so not missed.
    #[test]
    fn a_search_that_ends_well_is_forgiven() {
        let mut noted = Noted::default();
        noted.missed(b"/usr/local/include/stdio.h");
        noted.missed(b"/usr/local/include/zlib.h");
        noted.missed(b"/usr/include/zlib.h");
        noted.missed(b"/usr/include/zlib.h");
        noted.found(b"/usr/include/stdio.h");
        noted.called("10.0.0.1:80".to_owned());
        noted.called("10.0.0.1:80".to_owned());
        noted.missed(b"/opt/stdio.h");
        let expected = ["/usr/local/include/zlib.h", "/usr/include/zlib.h", "/opt/stdio.h", "10.0.0.1:80"];
        assert_eq!(paths(noted), expected);
    }

    #[test]
    fn there_is_an_end_to_it() {
        let mut noted = Noted::default();
        for number in 0..2 * PATHS_MAX {
            noted.missed(format!("/x/{number}").as_bytes());
            noted.called(format!("10.0.0.1:{number}"));
        }
        assert_eq!(paths(noted).len(), PATHS_MAX + ADDRESSES_MAX);
        let mut noted = Noted::default();
        for number in 0..1000 {
            noted.missed(format!("/{}/{number}", "x".repeat(4000)).as_bytes());
        }
        assert!(paths(noted).iter().map(String::len).sum::<usize>() <= BYTES_MAX);
    }
}
