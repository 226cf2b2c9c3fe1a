//! What is fetched, with digests: one line for each package, `sha256 size name=version architecture path`.
//!
//! The lines are in `lre.lock`, so that a tree can be made again from it alone: neither the index of the archive nor
//! what this program had built in when it was locked has a say. The first line names the rules by which packages
//! become a tree ([`super::rules`]), which the digest of the tree depends on as much as on the packages.
use lre_model::{Digest, DigestFunction};
use std::fmt;

/// The rules of this version.
const RULES: u32 = 1;
/// What the first line begins with.
const RULES_WORD: &str = "rules ";
/// The largest package that is taken, in bytes; the largest in Debian's archive has less than 2 GiB.
const PACKAGE_BYTES_MAX: u64 = 8 << 30;

/// A package, pinned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pinned {
    /// As in `Package:`.
    pub name: String,
    /// As in `Version:`.
    pub version: String,
    /// `amd64`, `all`.
    pub architecture: String,
    /// Of the `.deb`, in lower-case hexadecimal.
    pub sha256: String,
    /// Of the `.deb`.
    pub size_bytes: u64,
    /// Where it is, from the top of its archive: `pool/main/b/bash/bash_5.2.15-2_amd64.deb`.
    pub path: String,
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, architecture, sha256, size_bytes, path } = self;
        write!(f, "{sha256} {size_bytes} {name}={version} {architecture} {path}")
    }
}

/// All packages of a tree, in order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe(Vec<Pinned>);

impl Recipe {
    /// Sorted, so that the same packages are the same recipe.
    ///
    /// # Errors
    /// There is none, or one is there twice.
    pub fn new(mut packages: Vec<Pinned>) -> Result<Self, String> {
        packages.sort();
        let twice = |pair: &&[Pinned]| pair[0].name == pair[1].name && pair[0].architecture == pair[1].architecture;
        if let Some(pair) = packages.windows(2).find(twice) {
            return Err(format!("the package {} is there twice", pair[0].name));
        }
        if packages.is_empty() {
            return Err("it names no package".to_owned());
        }
        Ok(Self(packages))
    }

    /// Reads its lines. Those that begin with `#` are for people.
    ///
    /// # Errors
    /// Which line makes no sense, and why.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut lines = lines.into_iter().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let first = lines.next().unwrap_or_default();
        match first.strip_prefix(RULES_WORD).map(str::parse::<u32>) {
            Some(Ok(RULES)) => {}
            Some(Ok(newer)) => {
                return Err(format!(
                    "its packages are unpacked by rules {newer}, this lre has rules {RULES}: update lre"
                ));
            }
            _ => return Err(format!("its first line is `{RULES_WORD}{RULES}`, not `{first}`")),
        }
        let packages = lines.map(|line| pinned(line).map_err(|problem| format!("`{line}`: {problem}")));
        Self::new(packages.collect::<Result<_, _>>()?)
    }

    /// What is pinned.
    #[must_use]
    pub fn packages(&self) -> &[Pinned] {
        &self.0
    }

    /// As it stands in `lre.lock`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let packages = self.0.iter().map(ToString::to_string);
        std::iter::once(format!("{RULES_WORD}{RULES}")).chain(packages).collect()
    }

    /// Names it: the SHA-256 of its lines, each with its end.
    #[must_use]
    pub fn digest(&self) -> String {
        let text: String = self.lines().iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        Digest::of(DigestFunction::Sha256, text.as_bytes()).hash_text()
    }

    /// All that is fetched.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.0.iter().map(|pinned| pinned.size_bytes).sum()
    }

    /// What its programs run on, as Debian calls it; nothing where no package minds.
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        self.0.iter().map(|pinned| pinned.architecture.as_str()).find(|architecture| *architecture != "all")
    }
}

fn pinned(line: &str) -> Result<Pinned, String> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [sha256, size, package, architecture, path] = fields[..] else {
        return Err(format!("`sha256 size name=version architecture path` are five words, here are {}", fields.len()));
    };
    let (name, version) = package.split_once('=').ok_or("its third word is not name=version")?;
    let size_bytes = size.parse().ok().filter(|size| *size <= PACKAGE_BYTES_MAX).ok_or("its second word is no size")?;
    if Digest::parse(DigestFunction::Sha256, sha256, 0).is_err() {
        return Err("its first word is not a SHA-256".to_owned());
    }
    if !is_name(name) || !is_name(architecture) {
        return Err("names have lower-case letters, digits, `+`, `-` and `.`".to_owned());
    }
    let of_version = |b: u8| b.is_ascii_alphanumeric() || b".+-~:".contains(&b);
    if version.is_empty() || !version.bytes().all(of_version) {
        return Err(format!("`{version}` is no version"));
    }
    // It becomes a part of an address.
    let of_path = |b: u8| b.is_ascii_alphanumeric() || b".+-~_/%:".contains(&b);
    let climbs = path.starts_with('/') || path.split('/').any(|part| part == "..");
    if climbs || !path.ends_with(".deb") || !path.bytes().all(of_path) {
        return Err(format!("`{path}` is no place of a package in an archive"));
    }
    Ok(Pinned {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
        sha256: sha256.to_owned(),
        size_bytes,
        path: path.to_owned(),
    })
}

/// Whether a package may be called so (Debian Policy 5.6.7).
pub(super) fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.bytes().next().is_some_and(plain) && name.bytes().all(|b| plain(b) || b"+-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> String {
        let sha256 = "0123456789abcdef".repeat(4);
        format!("{sha256} 7 {name}=1:2.0~rc1+b1-3 all pool/main/x/{name}/{name}_2.0~rc1+b1-3_all.deb")
    }

    #[test]
    fn a_recipe_is_read_as_it_is_written_and_sorted() {
        let [a, b] = ["g++-12", "bash"].map(line);
        let read = Recipe::parse(["# for people", "rules 1", &a, "", &b]).unwrap();
        assert_eq!(read.lines(), ["rules 1".to_owned(), b, a]);
        let lines = read.lines();
        assert_eq!(Recipe::parse(lines.iter().map(String::as_str)).unwrap(), read);
        assert_eq!((read.digest().len(), read.size_bytes(), read.architecture()), (64, 14, None));
        assert_eq!(
            (read.packages()[1].name.as_str(), read.packages()[1].version.as_str()),
            ("g++-12", "1:2.0~rc1+b1-3")
        );
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let good = line("bash");
        for (from, to, says) in [
            (" all", "", "are five words, here are 4"),
            ("0123", "01x3", "not a SHA-256"),
            (" 7 ", " -7 ", "no size"),
            (" 7 ", " 99999999999999 ", "no size"),
            ("bash=", "Bash=", "lower-case"),
            ("bash=1", "bash=$1", "no version"),
            ("bash=", "bash", "name=version"),
            ("pool/", "/pool/", "no place"),
            ("pool/", "../pool/", "no place"),
            ("pool/", "pool/?x=", "no place"),
            (".deb", ".rpm", "no place"),
        ] {
            assert!(good.contains(from));
            let refused = Recipe::parse(["rules 1", &good.replacen(from, to, 1)]).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
        let refused = |lines: &[&str]| Recipe::parse(lines.iter().copied()).unwrap_err();
        assert!(refused(&["rules 1", &good, &good]).contains("twice"));
        assert!(refused(&["rules 2", &good]).contains("update lre"));
        assert!(refused(&[&good]).contains("first line"));
        assert!(refused(&["rules 1"]).contains("names no package"));
        assert!(refused(&[]).contains("first line"));
    }
}
