//! Asks the tools of a toolchain what they are like.
use crate::client::{ActionSpec, Client, ClientError, Entry, Inputs, Options};
use crate::exit::Problem;
use async_trait::async_trait;
use lre_model::{Digest, Platform};
use lre_store::BlobStore;
use lre_toolchain::{Input, Probe, Probed, Prober, Seen, Toolchain, look};
use std::collections::BTreeMap;
use std::io;

/// Probes are actions: hermetic like all others, and known the second time.
pub struct ActionProber<'a> {
    client: &'a Client,
    platform: Platform,
    toolchain: Toolchain,
}

/// Largest output of a probe, in bytes: a statically linked program is some ten MiB.
const OUTPUT_BYTES_MAX: u64 = 256 * 1024 * 1024;

#[async_trait]
impl Prober for ActionProber<'_> {
    async fn probe(&self, probe: &Probe) -> io::Result<Probed> {
        let mut inputs = Inputs::default();
        for Input { name, content, executable } in &probe.inputs {
            let entry = Entry::Bytes { content: content.clone(), executable: *executable };
            inputs.add(name, entry).map_err(io::Error::other)?;
        }
        let spec = ActionSpec {
            arguments: probe.arguments.clone(),
            environment: probe.environment.clone(),
            inputs,
            outputs: probe.outputs.clone(),
            platform: self.platform.clone(),
            ..ActionSpec::default()
        };
        // Told as one line: the caller knows nothing of clients, and people want the reason.
        self.run(spec).await.map_err(|e| io::Error::other(Problem::from(e).to_string()))
    }

    async fn look(&self, path: &str) -> io::Result<Seen> {
        look(&**self.client.store(), &self.toolchain, path).await.map_err(io::Error::other)
    }
}

impl<'a> ActionProber<'a> {
    /// With `toolchain` mounted and nothing else.
    #[must_use]
    pub fn new(client: &'a Client, toolchain: &Toolchain) -> Self {
        let platform = Platform::new([toolchain.property()]);
        Self { client, platform, toolchain: toolchain.clone() }
    }

    async fn run(&self, spec: ActionSpec) -> Result<Probed, ClientError> {
        let prepared = self.client.prepare(spec).await?;
        let result = self.client.run(&prepared, &Options::default()).await?.result;
        let (stdout, stderr) = self.client.streams(&result).await?;
        let mut outputs = BTreeMap::new();
        for file in &result.wire().output_files {
            let Ok(digest) = Digest::from_wire(result.function(), file.digest.as_ref()) else { continue };
            let content = self.client.store().read(digest).await?.into_bytes(OUTPUT_BYTES_MAX).await?;
            outputs.insert(file.path.clone(), content);
        }
        Ok(Probed { exit_code: result.exit_code(), stdout, stderr, outputs })
    }
}
