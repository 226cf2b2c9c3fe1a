//! What a user has today: bubblewrap with the same mounts, over a tree of hard links for each action.
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A bubblewrap to compare with, and a "store" of its own to link from.
pub struct Bubblewrap {
    program: PathBuf,
    rootfs: PathBuf,
    store: PathBuf,
    exec: PathBuf,
}

impl Bubblewrap {
    /// Finds `bwrap`: `LRE_BWRAP`, else on the PATH.
    pub fn find(rootfs: PathBuf, directory: &Path) -> Result<Self> {
        let program = PathBuf::from(std::env::var_os("LRE_BWRAP").unwrap_or_else(|| "bwrap".into()));
        let version = Command::new(&program).arg("--version").output();
        let version = version.context("bubblewrap is needed to compare with: `cargo xtask bench` fetches it")?;
        print!("compared with {}", String::from_utf8_lossy(&version.stdout));
        let (store, exec) = (directory.join("bwrap-store"), directory.join("bwrap-exec"));
        fs::create_dir(&store)?;
        Ok(Self { program, rootfs, store, exec })
    }

    /// Lays out the files as hard links, runs the program, removes the tree. All of it is timed, as
    /// an action has to wait for all of it.
    pub fn run(&self, program: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<Duration> {
        for (path, content) in files {
            let blob = self.blob(path, content);
            if !blob.exists() {
                fs::write(blob, content)?;
            }
        }
        let start = Instant::now();
        fs::create_dir(&self.exec)?;
        for (path, content) in files {
            let to = self.exec.join(path);
            if let Some(parent) = to.parent()
                && !parent.exists()
            {
                fs::create_dir_all(parent)?;
            }
            fs::hard_link(self.blob(path, content), to)?;
        }
        let mut command = self.sandbox();
        let status = command.arg("--").arg(format!("/usr/bin/{program}")).status()?;
        fs::remove_dir_all(&self.exec)?;
        let elapsed = start.elapsed();
        ensure!(status.success(), "bubblewrap ended with {status}");
        Ok(elapsed)
    }

    fn blob(&self, path: &str, content: &[u8]) -> PathBuf {
        let digest = lre_model::Digest::of(crate::world::F, content);
        self.store.join(format!("{}-{}", path.replace('/', "_"), &digest.hash_text()[..16]))
    }

    fn sandbox(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--unshare-all", "--die-with-parent", "--clearenv", "--uid", "1000", "--gid", "1000"]);
        for name in ["usr", "etc/alternatives"] {
            command.arg("--ro-bind").arg(self.rootfs.join(name)).arg(format!("/{name}"));
        }
        for name in ["bin", "lib", "lib64"] {
            command.arg("--symlink").arg(format!("usr/{name}")).arg(format!("/{name}"));
        }
        command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--bind"]);
        command.arg(&self.exec).args(["/lre/exec", "--chdir", "/lre/exec"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

/// The program alone, without any sandbox.
pub fn bare(rootfs: &Path, program: &str) -> Result<Duration> {
    let start = Instant::now();
    let status = Command::new(rootfs.join("usr/bin").join(program)).status()?;
    let elapsed = start.elapsed();
    ensure!(status.success(), "{program} ended with {status}");
    Ok(elapsed)
}
