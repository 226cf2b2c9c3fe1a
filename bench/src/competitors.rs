//! What a user has today: bubblewrap with the same mounts, over a tree of hard links for each action.
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A bubblewrap to compare with.
pub struct Bubblewrap {
    program: PathBuf,
}

/// What it mounts read-only.
pub enum Mounts {
    /// A rootfs, as the parts that a Debian one has.
    Rootfs(PathBuf),
    /// Each of these folders, below `/nix/store`.
    Paths(Vec<PathBuf>),
}

impl Bubblewrap {
    /// Finds `bwrap`: `LRE_BWRAP`, else on the PATH.
    pub fn find() -> Result<Self> {
        let program = PathBuf::from(std::env::var_os("LRE_BWRAP").unwrap_or_else(|| "bwrap".into()));
        let version = Command::new(&program).arg("--version").output();
        let version = version.context("bubblewrap is needed to compare with: `cargo xtask bench` fetches it")?;
        print!("compared with {}", String::from_utf8_lossy(&version.stdout));
        Ok(Self { program })
    }

    /// Runs `program`, a path inside, over the folder `exec`. Only the process is timed.
    pub fn run(&self, mounts: &Mounts, exec: &Path, program: &str) -> Result<Duration> {
        let mut command = self.sandbox(mounts, exec);
        timed(command.arg("--").arg(program))
    }

    fn sandbox(&self, mounts: &Mounts, exec: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--unshare-all", "--die-with-parent", "--clearenv", "--uid", "1000", "--gid", "1000"]);
        match mounts {
            Mounts::Rootfs(rootfs) => {
                for name in ["usr", "etc/alternatives"] {
                    command.arg("--ro-bind").arg(rootfs.join(name)).arg(format!("/{name}"));
                }
                for name in ["bin", "lib", "lib64"] {
                    command.arg("--symlink").arg(format!("usr/{name}")).arg(format!("/{name}"));
                }
            }
            Mounts::Paths(paths) => {
                for path in paths {
                    let name = path.file_name().unwrap_or_default();
                    command.arg("--ro-bind").arg(path).arg(Path::new("/nix/store").join(name));
                }
            }
        }
        command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--bind"]);
        command.arg(exec).args(["/lre/exec", "--chdir", "/lre/exec"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

/// A program alone, without any sandbox.
pub fn bare(program: &Path) -> Result<Duration> {
    timed(&mut Command::new(program))
}

fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    let status: ExitStatus = command.status()?;
    let elapsed = start.elapsed();
    ensure!(status.success(), "{} ended with {status}", command.get_program().display());
    Ok(elapsed)
}

/// So many processes, two at a time; how many a second.
pub fn two_at_a_time(count: usize, one: impl Fn() -> Result<Duration> + Sync) -> Result<f64> {
    let started = AtomicUsize::new(0);
    let worker = || {
        while started.fetch_add(1, Ordering::Relaxed) < count {
            one()?;
        }
        Ok::<(), anyhow::Error>(())
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads = [scope.spawn(worker), scope.spawn(worker)];
        threads.into_iter().try_for_each(|thread| thread.join().expect("a worker does not panic"))
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let count = count as f64;
    Ok(count / start.elapsed().as_secs_f64())
}

/// The input tree of most services: hard links to a store of its own, made for each action.
pub struct HardLinks {
    store: PathBuf,
    /// Where the tree is while there is one.
    pub exec: PathBuf,
}

impl HardLinks {
    /// With a store and a tree in this folder.
    pub fn new(directory: &Path) -> Result<Self> {
        let (store, exec) = (directory.join("store"), directory.join("exec"));
        fs::create_dir_all(&store)?;
        Ok(Self { store, exec })
    }

    /// Lays out the files, calls `run`, removes the tree. All of it is timed, as an action has to wait for all of it.
    pub fn around(&self, files: &BTreeMap<String, Vec<u8>>, run: impl Fn() -> Result<Duration>) -> Result<Duration> {
        let blobs: Vec<(&String, PathBuf)> =
            files.iter().map(|(path, content)| Ok((path, self.blob(path, content)?))).collect::<Result<_>>()?;
        let start = Instant::now();
        fs::create_dir(&self.exec)?;
        for (path, blob) in blobs {
            let to = self.exec.join(path);
            if let Some(parent) = to.parent()
                && !parent.exists()
            {
                fs::create_dir_all(parent)?;
            }
            fs::hard_link(blob, to)?;
        }
        run()?;
        fs::remove_dir_all(&self.exec)?;
        Ok(start.elapsed())
    }

    fn blob(&self, path: &str, content: &[u8]) -> Result<PathBuf> {
        let digest = lre_model::Digest::of(crate::world::F, content);
        let blob = self.store.join(format!("{}-{}", path.replace('/', "_"), &digest.hash_text()[..16]));
        if !blob.exists() {
            fs::write(&blob, content)?;
        }
        Ok(blob)
    }
}
