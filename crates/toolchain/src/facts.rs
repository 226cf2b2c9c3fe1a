//! What is known of a toolchain beyond its bytes: found out in its sandbox, kept in `lre.lock`, and
//! all that the clients' files are made of.
use crate::types::Family;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a toolchain can do, by language. A toolchain may speak several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// It compiles C, and as a rule C++.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cc: Option<CcFacts>,
    /// It compiles or runs Java.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub java: Option<JavaFacts>,
    /// It compiles Rust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rust: Option<RustFacts>,
    /// It is described by a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomFacts>,
}

impl Facts {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is known of a C and C++ toolchain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CcFacts {
    /// Which compiler.
    pub family: Family,
    /// The first line of `--version`.
    pub version: String,
    /// What it compiles for: `x86_64-linux-gnu`.
    pub triple: String,
    /// `glibc_2.36`, `musl`, `unknown`.
    pub libc: String,
    /// Which linker: the first line of its `--version`.
    pub linker: String,
    /// Where it looks for headers of C, normalised, in order.
    pub c_include_directories: Vec<String>,
    /// Where it looks for headers of C++, normalised, in order.
    pub cxx_include_directories: Vec<String>,
    /// Of the flags that make compilation deterministic or better, those that it takes.
    pub compile_flags: Vec<String>,
    /// The same for C++ only.
    pub cxx_flags: Vec<String>,
    /// The same for linking.
    pub link_flags: Vec<String>,
    /// What a C++ program is linked with when the C driver links it.
    pub cxx_link_libraries: Vec<String>,
    /// Whether the linker takes `--start-lib` and `--end-lib`.
    pub start_end_lib: bool,
    /// Whether all it links is static: no shared libraries, or none that a program can load here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub static_only: bool,
}

/// What is known of a Java runtime or development kit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JavaFacts {
    /// Its feature release: 17.
    pub feature: u32,
    /// As in `java.version`: `17.0.11`.
    pub version: String,
    /// As in `java.vendor`.
    pub vendor: String,
    /// `JAVA_HOME` inside the sandbox, without symlinks.
    pub home: String,
    /// Whether `javac` is there: a development kit, not only a runtime.
    pub compiles: bool,
}

/// What is known of a Rust toolchain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RustFacts {
    /// The release: `1.63.0`.
    pub version: String,
    /// The triple of the machine that the compiler runs on: `x86_64-unknown-linux-gnu`.
    pub host: String,
    /// The triples that a standard library is there for, sorted.
    pub targets: Vec<String>,
    /// Where the standard libraries are, inside the sandbox.
    pub sysroot: String,
    /// The newest edition that it knows: `2021`.
    pub edition: String,
    /// What it links with: the C driver of this toolchain; absent where it brings none, so that
    /// another toolchain of the platform must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linker: Option<String>,
}

/// What the manifest of a toolchain of another kind says: a code generator, an interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomFacts {
    /// What the tool says of itself, one line.
    pub version: String,
    /// Name to absolute path inside the sandbox; rules of the project ask for a tool by its name.
    pub tools: BTreeMap<String, String>,
    /// Variables that its tools want to have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}
