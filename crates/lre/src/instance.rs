//! What a running server leaves in its store, so that other commands find it: `server.json`.
//!
//! The store belongs to one server at a time, so there is one writer. A crash leaves the file behind;
//! the process number together with its start time says whether it still means anything.
use crate::config::Endpoint;
use crate::exit::{OrProblem, Problem};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A running server, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Of this file.
    pub schema_version: u32,
    /// Process number.
    pub pid: u32,
    /// When that process started, in clock ticks since the boot: numbers are used again, times are not.
    pub start_ticks: u64,
    /// When it was ready, in seconds since 1970.
    pub since: u64,
    /// Of `lre`.
    pub version: String,
    /// The TCP listener, with its real port.
    pub tcp: Option<SocketAddr>,
    /// The Unix socket.
    pub socket: Option<PathBuf>,
    /// What the store may take of the disk, in bytes, as it was at the start.
    #[serde(default)]
    pub store_bytes_max: Option<u64>,
    /// Actions at the same time.
    pub slots: usize,
    /// How strong the sandbox is.
    pub sandbox: String,
    /// Where the kernel holds memory and processes of actions; else the server watches them.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
    /// Of actions that name none.
    pub default_toolchain: Option<String>,
}

impl Instance {
    /// This process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let pid = std::process::id();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            schema_version: 1,
            pid,
            start_ticks: start_ticks(pid).unwrap_or_default(),
            since,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tcp: None,
            socket: None,
            store_bytes_max: None,
            slots: 0,
            sandbox: String::new(),
            cgroup: None,
            default_toolchain: None,
        }
    }

    fn path(store: &Path) -> PathBuf {
        store.join("server.json")
    }

    /// Tells others. Whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, store: &Path) -> Result<(), Problem> {
        let path = Self::path(store);
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(store)?;
            file.write_all(format!("{:#}\n", serde_json::to_value(self)?).as_bytes())?;
            file.persist(&path).map_err(|e| e.error)
        };
        write().map(drop).or_problem(format!("cannot write {}", path.display()))
    }

    /// Takes it back.
    pub fn remove(store: &Path) {
        // A file that stays says nothing false: its process is gone.
        let _ = std::fs::remove_file(Self::path(store));
    }

    /// The server of `store`, where one runs.
    #[must_use]
    pub fn running(store: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(Self::path(store)).ok()?;
        let instance: Self = serde_json::from_str(&text).ok()?;
        (start_ticks(instance.pid) == Some(instance.start_ticks)).then_some(instance)
    }

    /// Where to reach it: the socket is quicker, and needs no token.
    #[must_use]
    pub fn endpoint(&self) -> Option<Endpoint> {
        let socket = self.socket.clone().map(Endpoint::Unix);
        socket.or_else(|| self.tcp.map(|address| Endpoint::Tcp(address.to_string())))
    }

    /// How long it has been up.
    #[must_use]
    pub fn up_for(&self) -> Duration {
        (UNIX_EPOCH + Duration::from_secs(self.since)).elapsed().unwrap_or_default()
    }
}

/// Field 22 of /proc/PID/stat. The name of the program, in parentheses, may contain anything.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    // After the name comes field 3, the state: Z is a process that has ended.
    (fields.next()? != "Z").then_some(())?;
    fields.nth(22 - 4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_found_while_its_process_lives() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(Instance::running(store.path()), None);
        let mut instance = Instance::of_this_process();
        instance.tcp = Some(([127, 0, 0, 1], 5).into());
        instance.write(store.path()).unwrap();
        let found = Instance::running(store.path()).unwrap();
        assert_eq!(found, instance);
        assert_eq!(found.endpoint(), Some(Endpoint::Tcp("127.0.0.1:5".into())));
        // The same number, another process.
        Instance { start_ticks: instance.start_ticks + 1, ..instance }.write(store.path()).unwrap();
        assert_eq!(Instance::running(store.path()), None);
        Instance::remove(store.path());
    }

    #[test]
    fn a_process_that_has_ended_does_not_count() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(start_ticks(pid), None);
        assert!(start_ticks(std::process::id()).is_some());
    }
}
