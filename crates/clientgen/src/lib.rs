//! Toolchain -> files for Bazel and other clients.
//!
//! Pure: what comes out depends on the lock file and the options alone, never on this machine, its
//! user, its environment or the time. Two people who generate from one lock file get equal bytes.
#![forbid(unsafe_code)]

pub mod bazel;
mod starlark;

/// Why nothing can be generated. The user's turn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    /// No toolchain in the lock file has a C compiler.
    #[error("lre.lock pins no toolchain with a C compiler; hint: lre toolchain add cc --from capture:/usr/bin/cc")]
    NoCompiler,
    /// The lock file has several, and it was not said which.
    #[error("lre.lock pins several toolchains with a C compiler: {}; hint: name one of them with --toolchain", .0.join(", "))]
    Several(Vec<String>),
    /// No toolchain of this name, or it has not been introspected.
    #[error("lre.lock pins no toolchain `{0}` with a C compiler")]
    NoSuch(String),
    /// A name that cannot follow `build:`.
    #[error("`{0}` cannot be a --config name: letters, digits, `-` and `_` are taken")]
    Prefix(String),
}
