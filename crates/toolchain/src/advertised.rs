//! Which toolchains a server can run: two headers of its answer to `GetCapabilities`. Not part of the API, so they
//! are headers that other clients do not look at.
use crate::{Kind, Toolchain};
use lre_model::Digest;
use std::fmt::Write;

/// Header with the platform properties of the toolchains, `lre-rootfs=HASH/SIZE, lre-toolchain=HASH/SIZE`, as many as
/// there is room for.
pub const LIST: &str = "lre-toolchains";
/// Header with the number of toolchains, listed or not.
pub const COUNT: &str = "lre-toolchains-count";

/// Bytes of the list. Clients written in Java take 8 KiB of headers in all, which the other headers of an answer
/// need some of.
const LIST_BYTES_MAX: usize = 6 * 1024;

/// What a server says of its toolchains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advertised {
    /// Those that are listed.
    pub toolchains: Vec<(Kind, Digest)>,
    /// How many there are.
    pub count: usize,
}

impl Advertised {
    /// What is said of `installed`, those that stand first above all. A tree that has two names is one toolchain.
    #[must_use]
    pub fn of(installed: &[Toolchain]) -> Self {
        let mut toolchains = Vec::new();
        for toolchain in installed {
            let one = (toolchain.kind, toolchain.digest);
            if !toolchains.contains(&one) {
                toolchains.push(one);
            }
        }
        Self { count: toolchains.len(), toolchains }
    }

    /// The values of [`LIST`] and [`COUNT`].
    #[must_use]
    pub fn headers(&self) -> (String, String) {
        let mut list = String::new();
        for (kind, digest) in &self.toolchains {
            let one = format!("{}={digest}", kind.property());
            if list.len() + one.len() + 2 > LIST_BYTES_MAX {
                break;
            }
            let comma = if list.is_empty() { "" } else { ", " };
            // Text takes what it is given.
            let _ = write!(list, "{comma}{one}");
        }
        (list, self.count.to_string())
    }

    /// Reads the headers, by name. `None` for a server that does not say: another implementation, or an older one.
    /// What cannot be understood in a list is left out, as a newer server may know more kinds.
    #[must_use]
    pub fn parse<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let count = header(COUNT)?.trim().parse().ok()?;
        let one = |text: &str| {
            let (property, digest) = text.trim().split_once('=')?;
            let kind = Kind::ALL.into_iter().find(|kind| kind.property() == property)?;
            Some((kind, Digest::from_text(digest).ok()?))
        };
        let toolchains = header(LIST).unwrap_or_default().split(',').filter_map(one).collect();
        Some(Self { toolchains, count })
    }

    /// Whether the server has it; `None` where it has more than it lists and this one is not listed.
    #[must_use]
    pub fn has(&self, kind: Kind, digest: Digest) -> Option<bool> {
        match self.toolchains.contains(&(kind, digest)) {
            true => Some(true),
            false if self.toolchains.len() < self.count => None,
            false => Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::DigestFunction;

    fn toolchain(n: u32, kind: Kind) -> Toolchain {
        Toolchain {
            name: n.to_string(),
            kind,
            digest: Digest::of(DigestFunction::Sha256, &n.to_le_bytes()),
            environment: Default::default(),
            tools: Default::default(),
            source: "dir:/x".to_owned(),
            recipe: Vec::new(),
        }
    }

    fn read(list: &str, count: &str) -> Option<Advertised> {
        let (list, count) = (list.to_owned(), count.to_owned());
        Advertised::parse(|name| match name {
            LIST => Some(list.as_str()),
            COUNT => Some(count.as_str()),
            _ => None,
        })
    }

    #[test]
    fn what_is_said_is_understood() {
        let installed = [Kind::Tree, Kind::Rootfs, Kind::Nix, Kind::Tree].map(|kind| toolchain(1, kind));
        for installed in [&installed[..], &[]] {
            let said = Advertised::of(installed);
            let (list, count) = said.headers();
            assert_eq!(read(&list, &count), Some(said.clone()));
            assert_eq!(said.count, if installed.is_empty() { 0 } else { 3 }, "the same tree twice is one");
            let has = |kind| said.has(kind, toolchain(1, kind).digest);
            assert_eq!(has(Kind::Rootfs), Some(!installed.is_empty()));
            assert_eq!(said.has(Kind::Rootfs, toolchain(2, Kind::Rootfs).digest), Some(false));
        }
    }

    #[test]
    fn a_list_that_is_too_long_says_how_many_there_are() {
        let installed: Vec<_> = (0..500).map(|n| toolchain(n, Kind::Rootfs)).collect();
        let (list, count) = Advertised::of(&installed).headers();
        assert!(list.len() <= LIST_BYTES_MAX && list.is_ascii(), "{} bytes", list.len());
        let read = read(&list, &count).unwrap();
        assert!(read.toolchains.len() > 50);
        assert_eq!((read.count, read.has(Kind::Rootfs, installed[0].digest)), (500, Some(true)));
        assert_eq!(read.has(Kind::Rootfs, installed[499].digest), None, "nobody knows");
    }

    #[test]
    fn who_says_nothing_is_not_said_to_have_nothing() {
        assert_eq!(Advertised::parse(|_| None), None);
        assert_eq!(read("", "many"), None);
        let digest = toolchain(1, Kind::Tree).digest;
        let newer = read(&format!("lre-vm={digest}, lre-toolchain={digest}, what"), "3").unwrap();
        assert_eq!(newer.toolchains, [(Kind::Tree, digest)]);
    }
}
