//! The same build as somebody else would do it: a process of its own with another home, path,
//! environment, time zone, language and umask.
use super::build::{Builder, Built};
use super::project::Project;
use crate::client::Client;
use crate::config::Endpoint;
use crate::exit::{OrProblem, Problem};
use crate::ui::Progress;
use lre_toolchain::Toolchain;
use serde::{Deserialize, Serialize};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the other process is told, as JSON on its stdin.
#[derive(Serialize, Deserialize)]
struct Order {
    socket: PathBuf,
    directory: PathBuf,
    toolchain: Toolchain,
}

/// The word that makes `lre demo` the second person.
pub const FLAG: &str = "--as-second-person";

/// Builds in another process. Blocks.
///
/// # Errors
/// The process cannot be started, or fails; what it printed is told.
pub fn build_elsewhere(home: &Path, socket: &Path, toolchain: &Toolchain) -> Result<Built, Problem> {
    let failed = "the second person's build";
    let directory = home.join("a longer path with spaces/project");
    std::fs::create_dir_all(&directory).or_problem(failed)?;
    let order = Order { socket: socket.to_owned(), directory, toolchain: toolchain.clone() };
    let mut child = Command::new(crate::machine::this_program()?)
        .arg0("lre")
        .args(["demo", FLAG])
        .env_clear()
        .env("HOME", home)
        .env("USER", "somebody")
        .env("PATH", "/nowhere/bin:/usr/bin")
        .env("TZ", "Asia/Tokyo")
        .env("LANG", "tr_TR.UTF-8")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("CPATH", "/nowhere/include")
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .or_problem(failed)?;
    let stdin = child.stdin.take().ok_or_else(|| Problem::error(failed))?;
    serde_json::to_writer(stdin, &order).or_problem(failed)?;
    let output = child.wait_with_output().or_problem(failed)?;
    if !output.status.success() {
        return Err(Problem::error(format!("{failed} ended with {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).or_problem(failed)
}

/// Is the second person: reads the order, builds, prints what was built.
///
/// # Errors
/// As any build.
pub async fn be() -> Result<(), Problem> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let order: Order = serde_json::from_reader(std::io::stdin()).or_problem("the order cannot be read")?;
    Project::unpack(&order.directory)?;
    let client = Client::connect(&Endpoint::Unix(order.socket), None).await?;
    let builder = Builder {
        client: &client,
        project: &Project::embedded()?,
        directory: &order.directory,
        toolchain: &order.toolchain,
        progress: &Progress::default(),
    };
    let built = builder.build("second home").await?;
    serde_json::to_writer(std::io::stdout(), &built).or_problem("the answer cannot be written")
}
