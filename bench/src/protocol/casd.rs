//! buildbox-casd, on a cache of its own.
use anyhow::{Context, Result, bail};
use lre_store::upstream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// The process; it ends with this value.
pub struct Casd {
    /// Connected.
    pub channel: Channel,
    process: Child,
    // Last: its files go after it.
    _files: tempfile::TempDir,
}

impl Casd {
    /// Fetches it where it is not there yet, and starts it.
    pub async fn start() -> Result<Self> {
        let program = lre_e2e::buildbox::static_casd()?;
        let version = Command::new(&program).arg("--version").output().context("buildbox-casd does not start")?;
        let version = String::from_utf8_lossy(&version.stdout);
        let version = version.split_whitespace().last().unwrap_or("of no version");
        println!("compared with buildbox-casd {version}");
        let files = tempfile::Builder::new().prefix("casd-").tempdir()?;
        let socket = files.path().join("s");
        let mut command = Command::new(program);
        command.arg("--bind").arg(format!("unix:{}", socket.display())).arg(files.path().join("cache"));
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let start = Instant::now();
        let channel = loop {
            match upstream::connect_unix(&socket).await {
                Ok(channel) => break channel,
                Err(error) if start.elapsed() > PATIENCE || process.try_wait()?.is_some() => {
                    let _ = process.kill();
                    process.wait()?;
                    bail!("buildbox-casd does not answer: {error}");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        Ok(Self { channel, process, _files: files })
    }
}

impl Drop for Casd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
