//! What a toolchain is.
use crate::{Source, ToolchainError};
use lre_model::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How a tree is mounted. The property of the platform follows from it (TOOLCHAINS 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// As `/`: the tree has `usr`, `bin`, `lib64`, … at the top.
    Rootfs,
    /// At `/lre/toolchains/<hash>`: a relocatable tree.
    Tree,
    /// Below `/nix/store`: the names at the top of the tree are those of store paths.
    Nix,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Rootfs, Self::Tree, Self::Nix];

    /// The platform property that names a toolchain of this kind.
    #[must_use]
    pub fn property(self) -> &'static str {
        match self {
            Self::Rootfs => "lre-rootfs",
            Self::Tree => "lre-toolchain",
            Self::Nix => "lre-nix",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rootfs => "rootfs",
            Self::Tree => "tree",
            Self::Nix => "nix",
        })
    }
}

/// Which compiler a toolchain has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// The GNU Compiler Collection.
    Gcc,
    /// Clang.
    Clang,
}

impl Family {
    /// From what `--version` says.
    #[must_use]
    pub fn of_version(said: &str) -> Option<Self> {
        // gcc calls itself by the name that it was called by: `cc (Debian 12.2.0-14) 12.2.0`.
        match said {
            said if said.contains("clang") => Some(Self::Clang),
            said if said.contains("Free Software Foundation") || said.contains("gcc") || said.contains("g++") => {
                Some(Self::Gcc)
            }
            _ => None,
        }
    }

    /// As in generated files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gcc => "gcc",
            Self::Clang => "clang",
        }
    }
}

/// A hash-pinned set of tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// What people call it.
    pub name: String,
    /// How it is mounted.
    pub kind: Kind,
    /// The root `Directory` of its tree: its identity, whatever it came from.
    pub digest: Digest,
    /// Variables that a command gets where it does not set them itself; `PATH` above all.
    pub environment: BTreeMap<String, String>,
    /// Role (`cc`, `c++`, `ar`, `ld`, `strip`, …) to absolute path inside the sandbox.
    pub tools: BTreeMap<String, String>,
    /// Where it came from, as the user wrote it: `capture:/usr/bin/cc`.
    pub source: String,
    /// What is fetched, one thing a line, where the source is a list of things with digests (`deb:`): from
    /// this anybody makes the same tree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipe: Vec<String>,
}

impl Toolchain {
    /// The platform property and its value.
    #[must_use]
    pub fn property(&self) -> (String, String) {
        (self.kind.property().to_owned(), self.digest.to_string())
    }

    /// Where it can be had again, with all that pins it.
    ///
    /// # Errors
    /// It says something that this version does not know.
    pub fn pinned_source(&self) -> Result<Source, ToolchainError> {
        self.source.parse::<Source>()?.with_recipe(&self.recipe)
    }

    /// Where the tree is seen by a command.
    #[must_use]
    pub fn mount(&self) -> String {
        match self.kind {
            Kind::Rootfs => "/".to_owned(),
            Kind::Tree => format!("/lre/toolchains/{}", self.digest.hash_text()),
            Kind::Nix => "/nix/store".to_owned(),
        }
    }

    /// Turns paths from the top of the tree into paths of the sandbox: only with the digest is it known where a
    /// tree will be.
    pub(crate) fn locate(&mut self) {
        let mount = self.mount();
        if mount != "/" {
            self.tools.values_mut().for_each(|path| *path = format!("{mount}{path}"));
        }
        let default = default_path(self.kind, &mount);
        self.environment.retain(|name, value| name != "PATH" || Some(&*value) != default.as_ref());
    }

    /// Where programs are looked for in this toolchain: what its source says, else what the sandbox does.
    #[must_use]
    pub fn path(&self) -> Option<String> {
        self.environment.get("PATH").cloned().or_else(|| default_path(self.kind, &self.mount()))
    }
}

/// All toolchains of one action, in the order in which they are mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// At most one of kind rootfs, which comes first.
    pub toolchains: Vec<Toolchain>,
}

impl Closure {
    /// The `PATH` of a command that does not set it itself. It follows from the digests alone: what a registry or a
    /// lock file says of a toolchain's environment reaches actions through the client, never in silence.
    #[must_use]
    pub fn path(&self) -> Option<String> {
        // Trees before the rootfs: whoever asks for a tree wants its tools.
        let trees = self.toolchains.iter().filter(|t| t.kind != Kind::Rootfs);
        let roots = self.toolchains.iter().filter(|t| t.kind == Kind::Rootfs);
        let paths: Vec<_> = trees.chain(roots).filter_map(|t| default_path(t.kind, &t.mount())).collect();
        (!paths.is_empty()).then(|| paths.join(":"))
    }
}

/// Where the sandbox looks for programs of a toolchain at `mount`.
fn default_path(kind: Kind, mount: &str) -> Option<String> {
    match kind {
        Kind::Rootfs => Some("/usr/bin:/bin".to_owned()),
        Kind::Tree => Some(format!("{mount}/bin:{mount}/usr/bin")),
        // Which of many store paths is meant is not to be seen from the tree.
        Kind::Nix => None,
    }
}
