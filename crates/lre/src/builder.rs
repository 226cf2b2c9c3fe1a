//! Runs what a source of toolchains must build once: an action like all others, so it is hermetic, and known the
//! second time.
use crate::client::{ActionSpec, Client, Entry, Inputs, Options};
use crate::commands::Context;
use crate::exit::{OrProblem, Problem};
use crate::holdings;
use async_trait::async_trait;
use lre_model::{Digest, Platform};
use lre_toolchain::{Build, Builder, Built, Registry};
use std::io;
use std::time::Duration;

/// Zig's libraries take two minutes on two cores; a slow machine gets more.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// Builds on the server of a [`crate::session::Session`].
pub struct ActionBuilder {
    client: Client,
    registry: Registry,
}

impl ActionBuilder {
    /// With a connection of its own.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn new(context: &Context) -> Result<Self, Problem> {
        Ok(Self { client: context.connect().await?, registry: holdings::registry(context)? })
    }

    async fn run(&self, build: &Build<'_>) -> Result<Built, Problem> {
        let mut inputs = Inputs::default();
        for (name, content) in &build.inputs {
            let content = bytes::Bytes::copy_from_slice(content);
            inputs.add(name, Entry::Bytes { content, executable: false })?;
        }
        let spec = ActionSpec {
            arguments: build.arguments.clone(),
            environment: build.environment.clone(),
            inputs,
            outputs: vec![build.output.clone()],
            output_directories_as_inputs: true,
            platform: Platform::new([build.toolchain.property()]),
            timeout: Some(TIMEOUT),
            ..ActionSpec::default()
        };
        let prepared = self.client.prepare(spec).await?;
        let executed = self.client.run(&prepared, &Options::default()).await?;
        let (_, stderr) = self.client.streams(&executed.result).await?;
        let said = String::from_utf8_lossy(&stderr).into_owned();
        let wire = executed.result.wire();
        let exit_code = executed.result.exit_code();
        if let Some(failure) = &executed.failure {
            return Err(Problem::error(failure.message()).why(last_lines(&said)));
        }
        let root = wire.output_directories.first().and_then(|directory| directory.root_directory_digest.as_ref());
        match (exit_code, root) {
            (0, Some(root)) => {
                let output = Digest::from_wire(executed.result.function(), Some(root));
                Ok(Built { said, output: output.or_problem("the server names no directory")? })
            }
            (code, _) => Err(Problem::error(format!("it ended with {code}")).why(last_lines(&said))),
        }
    }
}

#[async_trait]
impl Builder for ActionBuilder {
    async fn build(&self, build: Build<'_>) -> io::Result<Built> {
        // Under a name of its own, only while it runs: nobody has asked for this toolchain.
        self.registry.put(build.toolchain)?;
        let built = self.run(&build).await;
        self.registry.remove(&build.toolchain.name)?;
        // Told as one line: the caller knows nothing of clients, and people want the reason.
        built.map_err(|problem| io::Error::other(problem.to_string()))
    }
}

fn last_lines(said: &str) -> String {
    const SHOWN_MAX: usize = 5;
    let lines: Vec<_> = said.lines().filter(|line| line.contains("error")).take(SHOWN_MAX).collect();
    lines.join(" | ")
}
