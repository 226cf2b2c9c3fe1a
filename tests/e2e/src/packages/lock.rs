//! The lock file: one line for each package, `sha256 size name=version architecture`.
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs;
use std::path::Path;

/// A package, pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Of the `.deb`, in lower-case hexadecimal.
    pub sha256: String,
    /// Of the `.deb`.
    pub size_bytes: u64,
    /// As in `Package:`.
    pub name: String,
    /// As in `Version:`.
    pub version: String,
    /// `amd64` or `all`.
    pub architecture: String,
}

impl Pinned {
    /// The name under which `apt-get download` leaves it.
    pub fn file_name(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "%3a"), self.architecture)
    }
}

/// All packages, in order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock(Vec<Pinned>);

impl Lock {
    /// Sorted, so that the same packages are the same lock.
    pub fn new(mut packages: Vec<Pinned>) -> Self {
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Self(packages)
    }

    /// Reads a lock file. Lines that begin with `#` are for people.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("the lock file {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("the lock file {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
        lines
            .map(|(index, line)| pinned(line).with_context(|| format!("line {}", index + 1)))
            .collect::<Result<_>>()
            .map(Self::new)
    }

    /// What is pinned.
    pub fn packages(&self) -> &[Pinned] {
        &self.0
    }

    /// Names the set of packages, whatever the comments say.
    pub fn digest(&self) -> String {
        let digests: Vec<&str> = self.0.iter().map(|pinned| pinned.sha256.as_str()).collect();
        Sha256::digest(digests.join("\n")).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn pinned(line: &str) -> Result<Pinned> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [sha256, size, package, architecture] = fields[..] else { bail!("four fields, not {}", fields.len()) };
    let (name, version) = package.split_once('=').context("name=version")?;
    if sha256.len() != 64 || !sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        bail!("`{sha256}` is not a SHA-256");
    }
    Ok(Pinned {
        sha256: sha256.to_owned(),
        size_bytes: size.parse().context("the size")?,
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
    })
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Debian packages for the end-to-end tests: sha256 size name=version architecture.")?;
        writeln!(f, "# Written by `cargo xtask packages --update`; do not edit.")?;
        for pinned in &self.0 {
            let Pinned { sha256, size_bytes, name, version, architecture } = pinned;
            writeln!(f, "{sha256} {size_bytes} {name}={version} {architecture}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_read_as_it_is_written() {
        let pinned = |name: &str, version: &str| Pinned {
            sha256: "0123456789abcdef".repeat(4),
            size_bytes: 7,
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "all".to_owned(),
        };
        let lock = Lock::new(vec![pinned("zlib", "1:2.0"), pinned("bash", "5")]);
        assert_eq!(Lock::parse(&lock.to_string()).unwrap(), lock);
        assert_eq!(lock.packages()[0].name, "bash");
        assert_eq!(lock.packages()[1].file_name(), "zlib_1%3a2.0_all.deb");
    }

    #[test]
    fn a_torn_line_is_named() {
        let error = format!("{:#}", Lock::parse("# note\nabc 1 bash=5 all\n").unwrap_err());
        assert!(error.contains("line 2") && error.contains("not a SHA-256"), "{error}");
    }
}
