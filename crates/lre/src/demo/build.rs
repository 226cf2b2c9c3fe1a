//! Builds a project through the Execution API, as any client would.
use super::project::{Project, Step};
use crate::client::{ActionSpec, Client, Entry, Executed, Inputs, Limits, Options, Prepared};
use crate::exit::{OrProblem, Problem};
use crate::ui::Progress;
use futures::StreamExt;
use lre_model::{Digest, DigestFunction, Platform};
use lre_toolchain::Toolchain;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// One action as it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Its digest.
    pub action: Digest,
    /// It came from the action cache.
    pub cached: bool,
    /// Its output, if it has one: content and executable bit.
    pub output: Option<(Digest, bool)>,
}

/// A whole build as it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// By the name of the step.
    pub steps: BTreeMap<String, Done>,
    /// From the first upload to the last answer.
    pub elapsed: Duration,
}

impl Built {
    /// How many actions came from the cache.
    pub fn hits(&self) -> usize {
        self.steps.values().filter(|done| done.cached).count()
    }

    /// How many steps have another action digest elsewhere.
    pub fn differences(&self, other: &Self) -> usize {
        let differs = |(name, done): &(&String, &Done)| other.steps.get(*name).map(|d| d.action) != Some(done.action);
        self.steps.iter().filter(differs).count() + other.steps.len().saturating_sub(self.steps.len())
    }
}

/// A project on disk, a server, a toolchain.
pub struct Builder<'a> {
    pub client: &'a Client,
    pub project: &'a Project,
    pub directory: &'a Path,
    pub toolchain: &'a Toolchain,
    pub progress: &'a Progress,
}

/// Actions on their way at the same time; the server has as many slots as the machine has cores, and a
/// few more keep the queue filled.
const AT_ONCE: usize = 8;

impl Builder<'_> {
    /// Builds and tests everything.
    ///
    /// # Errors
    /// The server cannot be reached; an action fails, with what it printed.
    pub async fn build(&self, what: &str) -> Result<Built, Problem> {
        let start = Instant::now();
        let stages = self.project.stages(self.toolchain)?;
        let (total, finished) = (stages.iter().map(Vec::len).sum::<usize>(), AtomicUsize::new(0));
        let mut steps: BTreeMap<String, Done> = BTreeMap::new();
        let mut made = BTreeMap::new();
        for stage in &stages {
            let runs = stage.iter().map(|step| {
                let (made, finished) = (&made, &finished);
                async move {
                    let done = self.step(step, made).await?;
                    let count = finished.fetch_add(1, Ordering::Relaxed) + 1;
                    self.progress.show(&format!("{what}: {count}/{total}  {}", step.name));
                    Ok::<_, Problem>((step, done))
                }
            });
            let results: Vec<_> = futures::stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
            for result in results {
                let (step, done) = result?;
                if let (Some(path), Some(output)) = (&step.output, done.output) {
                    made.insert(path.clone(), output);
                }
                steps.insert(step.name.clone(), done);
            }
        }
        Ok(Built { steps, elapsed: start.elapsed() })
    }

    async fn step(&self, step: &Step, made: &BTreeMap<String, (Digest, bool)>) -> Result<Done, Problem> {
        let prepared = self.prepare(step, made).await?;
        let executed = self.client.run(&prepared, &Options::default()).await?;
        done(self.client, step, &prepared, &executed).await
    }

    /// The action of a step, hashed.
    pub async fn prepare(&self, step: &Step, made: &BTreeMap<String, (Digest, bool)>) -> Result<Prepared, Problem> {
        let mut inputs = Inputs::default();
        for source in &step.sources {
            inputs.add_tree(source, &self.directory.join(source), Limits::NONE, &|_| false)?;
        }
        for path in &step.made {
            let known = made.get(path);
            let (digest, executable) = *known.ok_or_else(|| Problem::error(format!("nothing made {path}")))?;
            inputs.add(path, Entry::Stored { digest, executable })?;
        }
        let spec = ActionSpec {
            arguments: step.arguments.clone(),
            inputs,
            outputs: step.output.iter().cloned().collect(),
            platform: Platform::new([self.toolchain.property()]),
            function: DigestFunction::Sha256,
            ..ActionSpec::default()
        };
        Ok(self.client.prepare(spec).await?)
    }
}

/// What a step gave, where it ended well.
///
/// # Errors
/// It did not, with what it printed.
pub async fn done(client: &Client, step: &Step, prepared: &Prepared, executed: &Executed) -> Result<Done, Problem> {
    let result = &executed.result;
    if let Some(status) = &executed.failure {
        return Err(Problem::error(format!("{} failed", step.name)).why(status.message()).why(&executed.message));
    }
    if result.exit_code() != 0 {
        let problem = Problem::error(format!("{} ended with {}", step.name, result.exit_code()));
        let stdout = text(client, result.wire().stdout_digest.as_ref()).await?;
        return Err(problem.why(stdout).why(text(client, result.wire().stderr_digest.as_ref()).await?));
    }
    let output = match result.wire().output_files.first() {
        Some(file) => {
            let digest = Digest::from_wire(DigestFunction::Sha256, file.digest.as_ref());
            Some((digest.or_problem("the server names an output wrongly")?, file.is_executable))
        }
        None if step.output.is_some() => return Err(Problem::error(format!("{} made nothing", step.name))),
        None => None,
    };
    Ok(Done { action: prepared.action.0, cached: executed.cached, output })
}

/// What a command printed, as text, cut to what a person reads.
///
/// # Errors
/// The server does not give it.
pub async fn text(client: &Client, digest: Option<&lre_proto::re::Digest>) -> Result<String, Problem> {
    use lre_store::BlobStore;
    const SHOWN_BYTES_MAX: usize = 4000;
    let Some(digest) = digest else { return Ok(String::new()) };
    let digest = Digest::from_wire(DigestFunction::Sha256, Some(digest)).or_problem("a malformed digest")?;
    let blob = client.store().read(digest).await.or_problem("the output of a command cannot be read")?;
    let bytes = blob.read_at(0, SHOWN_BYTES_MAX).or_problem("the output of a command cannot be read")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
