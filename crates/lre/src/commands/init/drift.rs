//! Whether the server that runs is the one that the workspace means.
use super::plan::Plan;
use crate::commands::{Context, block_on};
use crate::exit::Problem;
use crate::instance::Instance;
use lre_clientgen::bazel;
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

/// Compares the server that runs, or that the user named, with the lock file and with where Bazel looks for it.
///
/// # Errors
/// A server that the user named does not answer.
pub fn of_server(lock: &LockFile, plan: &Plan, context: &Context) -> Result<Server, Problem> {
    let instance = Instance::running(&context.config.store);
    if context.config.server.is_none() && instance.is_none() {
        return Ok(Server::Absent);
    }
    let advertised = block_on(async { Ok(context.connect().await?.toolchains().await?) })?;
    let mut problems = advertised.map_or_else(Vec::new, |advertised| lacking(lock, &advertised));
    let local = plan.present(bazel::LOCAL_RC)?.unwrap_or_default();
    if let Some(tcp) = instance.and_then(|instance| instance.tcp) {
        problems.extend(elsewhere(&local, &tcp.to_string()));
    }
    Ok(Server::Present(problems))
}

/// Pinned toolchains that the server cannot run.
fn lacking(lock: &LockFile, advertised: &Advertised) -> Vec<String> {
    let lacks = lock.toolchains().iter().filter(|t| advertised.has(t.kind, t.digest) == Some(false));
    lacks.map(|t| format!("the server has no toolchain {} ({})", t.digest, t.name)).collect()
}

/// That Bazel looks at another port than the server listens at.
fn elsewhere(local: &str, tcp: &str) -> Option<String> {
    let executor = local.lines().find_map(|line| line.split_once("--remote_executor="))?.1.trim();
    let port = executor.strip_prefix("grpc://127.0.0.1:").or_else(|| executor.strip_prefix("grpc://localhost:"))?;
    let listens = tcp.rsplit(':').next().unwrap_or_default();
    (port != listens).then(|| format!("{} says {executor}, and the server listens at {tcp}", bazel::LOCAL_RC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_is_noticed_and_another_machine_is_not_ours() {
        let rc = |executor: &str| format!("build:lre --remote_executor={executor}\n");
        for (executor, wrong) in [
            ("grpc://127.0.0.1:50051", false),
            ("grpc://127.0.0.1:50052", true),
            ("grpc://fleet:50052", false),
            ("unix:/run/x", false),
        ] {
            assert_eq!(elsewhere(&rc(executor), "127.0.0.1:50051").is_some(), wrong, "{executor}");
        }
        assert_eq!(elsewhere("", "127.0.0.1:1"), None);
    }
}
