//! Whether the server that runs is the one that the workspace means.
use super::plan::Plan;
use crate::commands::{Context, block_on};
use crate::exit::Problem;
use crate::instance::Instance;
use lre_clientgen::Client;
use lre_toolchain::{Advertised, LockFile};
use serde_json::{Value, json};

/// What was found out about the server.
pub enum Server {
    /// None runs.
    Absent,
    /// It has these faults.
    Present(Vec<String>),
}

impl Server {
    /// What is wrong.
    pub fn problems(&self) -> Vec<String> {
        match self {
            Self::Absent => Vec::new(),
            Self::Present(problems) => problems.clone(),
        }
    }

    /// For `--json`; `null` where none runs.
    pub fn json(&self) -> Value {
        match self {
            Self::Absent => Value::Null,
            Self::Present(problems) => json!({ "drifted": problems }),
        }
    }
}

/// Compares the server that runs, or that the user named, with the lock file and with where the clients look for it.
///
/// # Errors
/// A server that the user named does not answer.
pub fn of_server(lock: &LockFile, plan: &Plan, clients: &[Client], context: &Context) -> Result<Server, Problem> {
    let instance = Instance::running(&context.config.store);
    if context.config.server.is_none() && instance.is_none() {
        return Ok(Server::Absent);
    }
    let advertised = block_on(async { Ok(context.connect().await?.toolchains().await?) })?;
    let mut problems = advertised.map_or_else(Vec::new, |advertised| lacking(lock, &advertised));
    if let Some(tcp) = instance.and_then(|instance| instance.tcp) {
        for file in clients.iter().filter_map(|client| client.local_file()) {
            let local = plan.present(file)?.unwrap_or_default();
            problems.extend(elsewhere(file, &local, &tcp.to_string()));
        }
    }
    Ok(Server::Present(problems))
}

/// Pinned toolchains that the server cannot run.
fn lacking(lock: &LockFile, advertised: &Advertised) -> Vec<String> {
    let lacks = lock.toolchains().iter().filter(|t| advertised.has(t.kind, t.digest) == Some(false));
    lacks.map(|t| format!("the server has no toolchain {} ({})", t.digest, t.name)).collect()
}

/// That a client looks at another port of this machine than the server listens at.
fn elsewhere(file: &str, local: &str, tcp: &str) -> Option<String> {
    let lines = local.lines().filter(|line| !line.starts_with('#'));
    let (line, port) = lines.filter_map(|line| Some((line, loopback_port(line)?))).next()?;
    let listens = tcp.rsplit(':').next().unwrap_or_default();
    (port != listens).then(|| format!("{file} says `{}`, and the server listens at {tcp}", line.trim()))
}

fn loopback_port(line: &str) -> Option<&str> {
    let (_, after) = line.split_once("//127.0.0.1:").or_else(|| line.split_once("//localhost:"))?;
    Some(after.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_is_noticed_and_another_machine_is_not_ours() {
        for (line, wrong) in [
            ("build:lre --remote_executor=grpc://127.0.0.1:50051", false),
            ("build:lre --remote_executor=grpc://127.0.0.1:50052", true),
            ("build:lre --remote_executor=grpc://fleet:50052", false),
            ("build:lre --remote_executor=unix:/run/x", false),
            ("remote_store_address = \"grpc://localhost:50052\"", true),
            ("export RECC_SERVER=http://127.0.0.1:50051", false),
            ("# http://127.0.0.1:50052", false),
        ] {
            assert_eq!(elsewhere("f", &format!("{line}\n"), "127.0.0.1:50051").is_some(), wrong, "{line}");
        }
        assert_eq!(elsewhere("f", "", "127.0.0.1:1"), None);
    }
}
