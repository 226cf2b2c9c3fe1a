//! Toolchain -> files for Bazel and other clients.
//!
//! Pure: what comes out depends on the lock file and the options alone, never on this machine, its
//! user, its environment or the time. Two people who generate from one lock file get equal bytes.
#![forbid(unsafe_code)]

pub mod bazel;
pub mod buck2;
pub mod buildstream;
mod choice;
mod client;
pub mod cmake;
mod head;
pub mod make;
pub mod pants;
pub mod recc;
pub mod siso;
mod starlark;

pub use client::{Addresses, Client, Import};

/// What the user may choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The toolchain that is taken for every language that it has; for others what the lock file makes clear.
    pub toolchain: Option<String>,
    /// The one for Java, where that is another.
    pub java: Option<String>,
    /// The one for Rust, where that is another.
    pub rust: Option<String>,
    /// With `lre`, every flag is of `build:lre` and counts only with `--config=lre`; absent: always.
    pub prefix: Option<String>,
}

/// Why nothing can be generated. The user's turn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    /// No toolchain in the lock file compiles, runs or generates anything that is known.
    #[error("lre.lock pins no toolchain with a compiler; hint: lre toolchain add cc --from capture:/usr/bin/cc")]
    NoCompiler,
    /// The lock file has several for one language, and it was not said which.
    #[error("lre.lock pins several toolchains for {language}: {}; hint: name one of them with --toolchain", .names.join(", "))]
    Several {
        /// `cc`, `java` or `rust`.
        language: &'static str,
        /// Theirs.
        names: Vec<String>,
    },
    /// No toolchain of this name, or it has not been introspected, or it is for something else.
    #[error("lre.lock pins no toolchain `{name}` for {language}")]
    NoSuch {
        /// As the user wrote it.
        name: String,
        /// `cc`, `java`, `rust` or `any language`.
        language: &'static str,
    },
    /// Two toolchains would get one package.
    #[error("two toolchains of lre.lock would both be in the package `{0}`; hint: add one of them under another name")]
    Clash(String),
    /// Rust links with a C compiler, and there is none in the same sandbox.
    #[error(
        "the Rust toolchain `{0}` has nothing to link with: it brings no C compiler, and none shares its sandbox; \
         hint: add one that is a tree, or one root file system with both"
    )]
    NoLinker(String),
    /// A name that cannot follow `build:`.
    #[error("`{0}` cannot be a --config name: letters, digits, `-` and `_` are taken")]
    Prefix(String),
    /// A name that `--client` does not know.
    #[error("no client is called `{0}`")]
    NoClient(String),
    /// The server listens at nothing.
    #[error("neither `listen` nor `socket` is set; hint: lre config")]
    Nowhere,
    /// This client takes no Unix socket, and the server has nothing else.
    #[error("{0} speaks to TCP ports only, and the server has none; hint: set `listen`, for instance 127.0.0.1:50051")]
    NoTcp(&'static str),
}
