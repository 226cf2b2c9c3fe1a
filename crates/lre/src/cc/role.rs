//! Which program of which pinned toolchain is meant by the name of a compiler. Never one of this machine.
use crate::client::Client;
use crate::commands::Context;
use crate::exit::{Exit, Problem};
use crate::pinned;
use lre_model::{Platform, Policy, Terms};
use lre_store::BlobStore;
use lre_toolchain::{Family, LockFile, Locked, Seen, Toolchain, look};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The toolchain of a workspace, for C and C++.
pub struct Pinned {
    /// It.
    pub toolchain: Toolchain,
    /// Which compiler it has, where that is known.
    family: Option<Family>,
    policy: Policy,
    /// Where its headers are, as far as the lock file says.
    pub headers: Vec<String>,
    /// The lock file, where there is one.
    pub lock: Option<PathBuf>,
}

/// What kind of program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Compiles and links.
    Driver,
    /// One of binutils, by its plain name.
    Tool(&'static str),
}

/// Tools of builds that are no compilers.
const TOOLS: &[&str] = &[
    "ar",
    "as",
    "ld",
    "nm",
    "objcopy",
    "objdump",
    "ranlib",
    "readelf",
    "size",
    "strings",
    "strip",
    "dwp",
    "addr2line",
];

impl Pinned {
    /// The toolchain of the lock file `lock`, else of the one above `here` or above the workspace, else the installed one.
    ///
    /// # Errors
    /// A lock file that cannot be used, several toolchains that could be meant, or none.
    pub fn find(
        context: &Context,
        here: &Path,
        workspace: Option<&Path>,
        lock: Option<&Path>,
        name: Option<&str>,
    ) -> Result<Self, Problem> {
        let read = match (lock, pinned::lock(here)?, workspace) {
            (Some(path), ..) => Some((path.to_owned(), named(path)?)),
            (None, Some(above), _) => Some(above),
            // A build directory may be anywhere.
            (None, None, Some(workspace)) => pinned::lock(workspace)?,
            (None, None, None) => None,
        };
        if let Some((path, lock)) = read {
            let policy = lock.policy();
            let locked = choose(&lock, name)?;
            if let Some(locked) = locked {
                let cc = locked.facts.cc.as_ref();
                let family = cc.map(|cc| cc.family);
                let headers = cc.map(|cc| [&cc.c_include_directories[..], &cc.cxx_include_directories].concat());
                let headers = headers.unwrap_or_default().into_iter().collect::<BTreeSet<_>>().into_iter().collect();
                return Ok(Self { toolchain: locked.toolchain(), family, policy, headers, lock: Some(path) });
            }
        }
        match pinned::choose(context, here, name)? {
            Some(toolchain) => Ok(Self { toolchain, family: None, policy: Policy::default(), headers: Vec::new(), lock: None }),
            None => Err(Problem::new(Exit::Toolchain, "there is no toolchain to compile with")
                .why("no lre.lock above this directory pins one, and none is installed; this machine's compiler is never used")
                .hint("lre toolchain add cc --from deb:cc-debian12 --lock")),
        }
    }

    /// What every action asks for.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform::new([self.toolchain.property(), (Terms::POLICY.to_owned(), self.policy.to_string())])
    }

    /// The program that `compiler` names, and what kind it is: a path of this machine counts by its last part.
    ///
    /// # Errors
    /// The toolchain has none of that name.
    pub async fn program(&self, client: &Client, compiler: &str) -> Result<(String, Kind), Problem> {
        let name = compiler.rsplit('/').next().unwrap_or(compiler);
        let kind = kind(name);
        let tool = |role: &str| self.toolchain.tools.get(role).cloned();
        let by_role = match (name, self.family) {
            ("cc" | "c++", _) => tool(name),
            // Whoever captured g++ alone has it in both roles.
            ("gcc", Some(Family::Gcc)) | ("clang", Some(Family::Clang)) => {
                tool("cc").filter(|path| !path.ends_with("++"))
            }
            ("g++", Some(Family::Gcc)) | ("clang++", Some(Family::Clang)) => tool("c++"),
            (_, _) => tool(name).filter(|_| matches!(kind, Some(Kind::Tool(_)))),
        };
        let program = match by_role {
            Some(program) => Some(program),
            None => self.searched(client, name).await?,
        };
        match (program, kind) {
            (Some(program), Some(kind)) => Ok((program, kind)),
            (Some(_), None) => {
                Err(Problem::usage(format!("`{name}` is no compiler, archiver or linker that is known here"))
                    .hint("lre run -- COMMAND runs any command"))
            }
            (None, _) => Err(self.lacks(name)),
        }
    }

    fn lacks(&self, name: &str) -> Problem {
        let has: Vec<_> = self.toolchain.tools.keys().map(String::as_str).collect();
        let problem = Problem::new(Exit::Toolchain, format!("the toolchain `{}` has no `{name}`", self.toolchain.name))
            .why(format!("it has: {}", has.join(", ")))
            .why("this machine's own is never taken in its place");
        match self.family {
            Some(Family::Gcc) if name.contains("clang") => {
                problem.hint("name gcc or g++, or cc or c++, which fit both")
            }
            Some(Family::Clang) if name.contains("g") => {
                problem.hint("name clang or clang++, or cc or c++, which fit both")
            }
            _ => problem.hint("lre toolchain add NAME --from deb:PACKAGES --lock pins one that has it"),
        }
    }

    /// Looked for along the toolchain's PATH.
    async fn searched(&self, client: &Client, name: &str) -> Result<Option<String>, Problem> {
        let store: &dyn BlobStore = &**client.store();
        for directory in self.toolchain.path().unwrap_or_default().split(':') {
            let path = format!("{directory}/{name}");
            let seen = look(store, &self.toolchain, &path).await;
            let seen = seen.map_err(|e| {
                Problem::new(Exit::Toolchain, "the toolchain cannot be looked at")
                    .because(Box::new(e) as Box<dyn std::error::Error>)
            })?;
            if matches!(seen, Seen::File { executable: true, .. }) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

fn named(path: &Path) -> Result<LockFile, Problem> {
    let lock = LockFile::read(path);
    let lock = lock.map_err(|e| Problem::new(Exit::Toolchain, "the lock file cannot be used").why(e))?;
    lock.ok_or_else(|| {
        Problem::new(Exit::Toolchain, format!("there is no lock file {}", path.display())).hint("lre init")
    })
}

/// The toolchain of this name, else the only one with a C compiler.
fn choose<'a>(lock: &'a LockFile, name: Option<&str>) -> Result<Option<&'a Locked>, Problem> {
    if let Some(name) = name {
        let found = lock.get(name);
        return found
            .map(Some)
            .ok_or_else(|| Problem::new(Exit::Toolchain, format!("lre.lock pins no toolchain `{name}`")));
    }
    let compiles = |t: &&Locked| t.facts.cc.is_some() || t.tools.contains_key("cc");
    let all: Vec<_> = lock.toolchains().iter().filter(compiles).collect();
    match all[..] {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        [first, ..] => {
            let names: Vec<_> = all.iter().map(|t| t.name.as_str()).collect();
            Err(Problem::new(Exit::Toolchain, format!("lre.lock pins several toolchains for C: {}", names.join(", ")))
                .hint(format!("lre cc --toolchain {} …, or LRE_CC_TOOLCHAIN={0}", first.name)))
        }
    }
}

/// `x86_64-linux-gnu-g++-12` is a driver, `gcc-ar` is `ar`.
fn kind(name: &str) -> Option<Kind> {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').trim_end_matches('-');
    let last = plain.rsplit('-').next().unwrap_or(plain);
    if let Some(tool) = TOOLS.iter().find(|tool| **tool == last) {
        return Some(Kind::Tool(tool));
    }
    matches!(last, "cc" | "c++" | "gcc" | "g++" | "clang" | "clang++" | "cpp" | "c99" | "c89").then_some(Kind::Driver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_their_names() {
        for (name, expected) in [
            ("g++", Some(Kind::Driver)),
            ("x86_64-linux-gnu-gcc-12", Some(Kind::Driver)),
            ("clang++-14", Some(Kind::Driver)),
            ("gcc-ar", Some(Kind::Tool("ar"))),
            ("llvm-ranlib-14", Some(Kind::Tool("ranlib"))),
            ("python3.11", None),
            ("tcc", None),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
