//! Asking inside the sandbox.
use super::look::Seen;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;

/// A command for the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// Its environment, besides what the sandbox gives to every command.
    pub environment: BTreeMap<String, String>,
    /// What lies in its directory.
    pub inputs: Vec<Input>,
    /// Files that it may leave there and that are wanted.
    pub outputs: Vec<String>,
}

/// A file for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub content: Bytes,
    /// Whether it may be executed.
    pub executable: bool,
}

impl Input {
    /// A file with this text.
    #[must_use]
    pub fn text(name: &str, content: &str) -> Self {
        Self { name: name.to_owned(), content: Bytes::copy_from_slice(content.as_bytes()), executable: false }
    }
}

/// What a command in the sandbox did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probed {
    /// Its exit code; 128 and more for a signal, 126 and 127 as shells have them.
    pub exit_code: i32,
    /// All it wrote to stdout.
    pub stdout: Vec<u8>,
    /// All it wrote to stderr.
    pub stderr: Vec<u8>,
    /// Of the wanted outputs, those that it left.
    pub outputs: BTreeMap<String, Bytes>,
}

impl Probed {
    pub(super) fn ok(&self) -> bool {
        self.exit_code == 0
    }

    pub(super) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(super) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// stdout, then stderr.
    pub(super) fn text(&self) -> String {
        self.stdout() + &self.stderr()
    }
}

/// Runs commands with the toolchain mounted and nothing else of the host.
#[async_trait]
pub trait Prober: Send + Sync {
    /// Runs a command. One that fails is no error.
    async fn probe(&self, probe: &Probe) -> io::Result<Probed>;

    /// What the toolchain's tree has at an absolute path of the sandbox: [`super::look`] with its store.
    async fn look(&self, path: &str) -> io::Result<Seen>;
}
