//! Recipes that come with this program. Refreshed by `examples/deb_lock.rs`.
use super::Recipe;

/// A recipe that comes with this program.
#[derive(Debug, PartialEq, Eq)]
pub struct Embedded {
    /// What follows `deb:`.
    pub name: &'static str,
    /// One line for people.
    pub what: &'static str,
    /// The packages that the recipe was resolved from, beside [`super::BASE`].
    pub wanted: &'static [&'static str],
    /// The lock file.
    text: &'static str,
}

/// The recipes that come with this program. None has Python or Perl: a build that wants them writes
/// `deb:gcc,g++,make,python3`, and has them pinned as well.
pub const EMBEDDED: &[Embedded] = &[
    Embedded {
        name: "cc-debian12",
        what: "C and C++: gcc 12, g++, binutils, make and a shell's tools, glibc 2.36",
        wanted: CC,
        text: include_str!("../../../locks/cc-debian12.lock"),
    },
    Embedded {
        name: "java-debian12",
        what: "Java: OpenJDK 17 without a display, and a shell's tools",
        wanted: &["openjdk-17-jdk-headless"],
        text: include_str!("../../../locks/java-debian12.lock"),
    },
    Embedded {
        name: "rust-debian12",
        what: "Rust: rustc 1.63 with gcc 12 as its linker, and a shell's tools",
        wanted: &["rustc", "gcc", "binutils", "make"],
        text: include_str!("../../../locks/rust-debian12.lock"),
    },
    Embedded {
        name: "polyglot-debian12",
        what: "C, C++, Java and Rust in one root: the three above together",
        wanted: &["gcc", "g++", "binutils", "make", "openjdk-17-jdk-headless", "rustc"],
        text: include_str!("../../../locks/polyglot-debian12.lock"),
    },
];

const CC: &[&str] = &["gcc", "g++", "binutils", "make"];

/// What whoever starts a project must know to choose, one line for each way.
pub const CHOICE: [&str; 2] = [
    "capture  this machine's compiler, frozen: nothing is fetched; others get it from you, as a peer or in a file",
    "deb      Debian's packages, pinned in lre.lock: some 80 MB once; anybody makes the same from lre.lock alone",
];

impl Embedded {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        EMBEDDED.iter().find(|embedded| embedded.name == name)
    }

    /// The lock file of a recipe that was resolved anew.
    #[must_use]
    pub fn file(&self, recipe: &Recipe) -> String {
        let Self { name, what, wanted, .. } = self;
        let head = format!(
            "# deb:{name}: {what}.\n# Resolved from {}, and what every tree has.\n# Written by `cargo run -p \
             lre-toolchain --example deb_lock`; do not edit.\n",
            wanted.join(", ")
        );
        recipe.lines().iter().fold(head, |text, line| text + line + "\n")
    }

    /// What it says.
    ///
    /// # Panics
    /// The program was built with a lock file that makes no sense; a test looks at every one.
    #[must_use]
    pub fn recipe(&self) -> Recipe {
        Recipe::parse(self.text.lines()).expect("embedded recipes make sense")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_recipes_have_what_they_say() {
        for embedded in EMBEDDED {
            let recipe = embedded.recipe();
            let has = |name: &str| recipe.packages().iter().any(|pinned| pinned.name == name);
            for name in embedded.wanted.iter().chain(super::super::BASE) {
                assert!(has(name), "{name} in {}", embedded.name);
            }
            assert_eq!(recipe.architecture(), Some("amd64"));
            assert!(recipe.packages().iter().all(|p| ["amd64", "all"].contains(&&*p.architecture)));
            assert_eq!(Embedded::named(embedded.name), Some(embedded));
            assert!(embedded.what.len() < 80, "one line: {}", embedded.what);
        }
        assert!(CHOICE.iter().all(|line| line.len() < 120));
    }
}
