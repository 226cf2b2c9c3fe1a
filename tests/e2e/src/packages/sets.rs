//! Which packages there are, in sets that are fetched and unpacked each by itself.

/// What any command line needs.
const BASE: &[&str] = &["base-files", "bash", "coreutils", "dash", "findutils", "grep", "sed", "util-linux"];

/// Packages of one Debian release that end in one root.
pub(super) struct Set {
    /// Of its lock file.
    pub name: &'static str,
    /// The release they come from.
    pub suite: &'static str,
    /// Whether the root has a command line besides what is named.
    pub base: bool,
    /// What the closure is resolved from.
    pub wanted: &'static [&'static str],
    /// Taken without what they depend on.
    pub alone: &'static [&'static str],
}

impl Set {
    pub fn named(name: &str) -> Option<&'static Self> {
        SETS.iter().find(|set| set.name == name)
    }

    /// Everything whose dependencies are taken too.
    pub fn roots(&self) -> Vec<&'static str> {
        let base = if self.base { BASE } else { &[] };
        base.iter().chain(self.wanted).copied().collect()
    }
}

/// The sets. To change one: edit it here, then `cargo xtask packages --update NAME`.
pub(super) const SETS: &[Set] = &[
    Set {
        name: "bazel-4",
        suite: "bookworm",
        base: true,
        wanted: &[
            // What Bazel needs to run.
            "libgrpc++1.51",
            "libprotobuf32",
            "openjdk-17-jre-headless",
            // For the benchmarks, and the second project.
            "bubblewrap",
            "googletest",
        ],
        // They depend on a whole compiler, a JDK and 80 jars, for rules that no test uses.
        alone: &["bazel-bootstrap", "bazel-bootstrap-data"],
    },
    Set {
        name: "bazel-7",
        suite: "forky",
        base: true,
        wanted: &[
            "libgrpc++1.51t64",
            "libprotobuf32t64",
            "openjdk-25-jre-headless",
            "zlib1g",
            // The newest Nix that Debian has, in one root with a Bazel: for a development shell that has both.
            "nix-bin",
            "bash-static",
            "busybox-static",
        ],
        alone: &[
            "bazel-bootstrap",
            "bazel-bootstrap-data",
            // The modules that are built into every Bazel 7: Debian's /etc/bazel/bazelrc overrides each with one of
            // these, so that nothing asks the network for them.
            "bazel-features",
            "bazel-platforms",
            "bazel-rules-cc",
            "bazel-rules-java",
            "bazel-rules-license",
            "bazel-rules-proto",
            "bazel-rules-python",
            "bazel-skylib",
            // JavaBuilder, turbine, ijar and singlejar.
            "bazel-java-tools",
            "bazel-java-tools-data",
            "libturbine-java",
            // Rules that a project with Rust takes.
            "bazel-rules-rust",
            "librust-tinyjson-dev",
            // The jars that Bazel is really made of; the others of its dependencies are never loaded.
            "libasync-profiler-java",
            "libcaffeine-java",
            "libcommons-compress-java",
            "libcommons-io-java",
            "libcommons-lang-java",
            "libcommons-pool2-java",
            "libfastutil-java",
            "libgoogle-api-client-java",
            "libgoogle-auth-java",
            "libgoogle-auto-value-java",
            "libgoogle-flogger-java",
            "libgoogle-gson-java",
            "libgoogle-http-client-java",
            "libgrpc-java",
            "libguava-java",
            "libhamcrest-java",
            "libjcommander-java",
            "libjsr305-java",
            "libnetty-buffer-java",
            "libnetty-common-java",
            "libnetty-java",
            "libopencensus-java",
            "libperfmark-java",
            "libprotobuf-java",
            "libreactive-streams-java",
            "librx-java",
            "libxz-java",
            "libzstd-jni-java",
            "libzstd-jni1",
        ],
    },
    // recc, trexe, casupload, casdownload and buildbox-casd. No base: they run from their folder, on the machine as it is.
    Set { name: "buildbox", suite: "forky", base: false, wanted: &["buildbox"], alone: &[] },
    // Compilers behind a compiler cache, for the HTTP cache.
    Set { name: "ccache", suite: "bookworm", base: true, wanted: &["ccache", "gcc", "libc6-dev"], alone: &[] },
    // Python and what BuildStream needs of it that Debian has; see `wheels::buildstream` for the rest.
    Set {
        name: "buildstream",
        suite: "bookworm",
        base: true,
        wanted: &[
            "bubblewrap",
            "python3",
            "python3-click",
            "python3-jinja2",
            "python3-packaging",
            "python3-pluginbase",
            "python3-psutil",
            "python3-ruamel.yaml",
            "python3-typing-extensions",
            "python3-ujson",
        ],
        alone: &[],
    },
    // The oldest Nix with flakes that Debian has; and one as the design asks for (2.19 or later).
    Set { name: "nix-2.8", suite: "bookworm", base: true, wanted: NIX, alone: &[] },
    Set { name: "nix-2.26", suite: "trixie", base: true, wanted: NIX, alone: &[] },
    // Toolchains: roots that are mounted as `/` for actions.
    Set { name: "toolchains-java", suite: "bookworm", base: true, wanted: &["openjdk-17-jdk-headless"], alone: &[] },
    Set { name: "toolchains-rust", suite: "bookworm", base: true, wanted: &["rustc"], alone: &[] },
    Set {
        name: "toolchains-all",
        suite: "bookworm",
        base: true,
        wanted: &["g++", "openjdk-17-jdk-headless", "rustc"],
        alone: &[],
    },
    // The same, and a Bazel that runs in it: somebody's own machine with the toolchain at the same paths.
    Set {
        name: "workstation",
        suite: "bookworm",
        base: true,
        wanted: &["g++", "openjdk-17-jdk-headless", "rustc", "libgrpc++1.51", "libprotobuf32"],
        alone: &["bazel-bootstrap", "bazel-bootstrap-data"],
    },
    Set {
        name: "llvm",
        suite: "bookworm",
        base: true,
        wanted: &["clang-14", "lld-14", "llvm-14", "libc++-14-dev", "libc++abi-14-dev", "libc6-dev"],
        alone: &[],
    },
    // CMake and its two builders on a machine without any compiler; and a project of others.
    Set {
        name: "cmake",
        suite: "bookworm",
        base: true,
        wanted: &["cmake", "ninja-build", "make", "googletest"],
        alone: &[],
    },
    Set { name: "musl", suite: "bookworm", base: true, wanted: &["musl-tools", "gcc"], alone: &[] },
];

/// Nix; and what the stand-in for nixpkgs makes its packages of: programs that need no library, and `patchelf` for those that
/// do.
const NIX: &[&str] = &["nix-bin", "gzip", "tar", "xz-utils", "bash-static", "busybox-static", "patchelf"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_pinned_and_every_lock_is_of_a_set() {
        let folder = super::super::locks();
        let mut pinned: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".lock").to_owned())
            .collect();
        pinned.sort();
        let mut names: Vec<&str> = SETS.iter().map(|set| set.name).collect();
        names.sort_unstable();
        assert_eq!(pinned, names);
    }
}
