//! The store paths of several toolchains as one directory.
//!
//! A store path is named by what it was made from, so paths of one name in two closures are equal: normally. A build
//! that gives other bits every time, made on two machines, has one name for two contents; which of them is meant cannot be
//! known, so it is refused.
use crate::Failure;
use bytes::Bytes;
use lre_model::{Digest, DigestFunction, Directory, Node};
use lre_toolchain::Kind;
use std::collections::BTreeMap;

/// What stands at the top of the store, and which toolchain brought it.
#[derive(Debug, Default)]
pub(crate) struct Union {
    paths: BTreeMap<String, (Node, String)>,
}

impl Union {
    /// Adds all store paths of a toolchain.
    ///
    /// # Errors
    /// Another toolchain has another content for one of them.
    pub(crate) fn add(&mut self, toolchain: &str, directory: &Directory) -> Result<(), Failure> {
        for (name, node) in directory.children() {
            let (there, from) =
                self.paths.entry(name.as_str().to_owned()).or_insert_with(|| (node.clone(), toolchain.to_owned()));
            if there != node {
                let problem = format!(
                    "the toolchains `{from}` and `{toolchain}` have different contents for /nix/store/{name}, so they cannot \
                     be used together; add both again from the same Nix store or binary cache"
                );
                return Err(Failure::Platform { property: Kind::Nix.property(), problem });
            }
        }
        Ok(())
    }

    /// The directory of all of them.
    pub(crate) fn encode(self, function: DigestFunction) -> (Digest, Bytes) {
        let mut directory = Directory::default();
        for (name, (node, _)) in self.paths {
            // They were names of a directory before, each once.
            let _same = directory.insert(&name, node);
        }
        let blob = Bytes::from(directory.encode());
        (Digest::of(function, &blob), blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: DigestFunction = DigestFunction::Sha256;

    fn directory(paths: &[(&str, &str)]) -> Directory {
        let mut directory = Directory::default();
        for (name, content) in paths {
            let digest = Digest::of(F, content.as_bytes());
            directory.insert(name, Node::File { digest, executable: false }).unwrap();
        }
        directory
    }

    #[test]
    fn equal_paths_are_one_and_the_order_does_not_matter() {
        let (a, b) = (directory(&[("x", "1"), ("y", "2")]), directory(&[("y", "2"), ("z", "3")]));
        let of = |all: [&Directory; 2]| {
            let mut union = Union::default();
            all.iter().for_each(|one| union.add("t", one).unwrap());
            union.encode(F)
        };
        assert_eq!(of([&a, &b]), of([&b, &a]));
        assert_eq!(of([&a, &b]).1, directory(&[("x", "1"), ("y", "2"), ("z", "3")]).encode());
        assert_eq!(of([&a, &a]).1, a.encode());
    }

    #[test]
    fn one_name_for_two_contents_is_refused_with_both_toolchains() {
        let mut union = Union::default();
        union.add("old", &directory(&[("x", "1"), ("y", "2")])).unwrap();
        let refused = union.add("new", &directory(&[("y", "3")])).unwrap_err();
        for text in ["`old`", "`new`", "/nix/store/y"] {
            assert!(refused.to_string().contains(text), "{refused}");
        }
        assert!(matches!(refused, Failure::Platform { property: "lre-nix", .. }));
    }
}
