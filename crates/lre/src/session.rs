//! A server for the length of one command: the one that runs, else one of our own on the same store.
use crate::client::{ActionSpec, Client, ClientError, Entry, Inputs, Options};
use crate::commands::{Context, serve};
use crate::exit::{OrProblem, Problem};
use crate::instance::Instance;
use crate::machine;
use async_trait::async_trait;
use lre_model::{Digest, Platform};
use lre_server::compose::{self, Server};
use lre_store::BlobStore;
use lre_toolchain::{Input, Probe, Probed, Prober, Seen, Toolchain, look};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// See the module.
pub struct Session {
    /// A connection to the server.
    pub client: Client,
    own: Option<Own>,
}

struct Own {
    server: Server,
    store: PathBuf,
    // The socket is in it.
    _directory: tempfile::TempDir,
}

impl Session {
    /// Connects, or starts a server.
    ///
    /// # Errors
    /// Neither works.
    pub async fn open(context: &Context) -> Result<Self, Problem> {
        let store = &context.config.store;
        if context.config.server.is_some() || Instance::running(store).is_some() {
            return Ok(Self { client: context.connect().await?, own: None });
        }
        machine::sandbox_level()?;
        // In /tmp, because the path of a socket must be short.
        let directory = tempfile::Builder::new().prefix("lre-").tempdir().or_problem("cannot make a directory")?;
        let socket = Some(directory.path().join("re.sock"));
        // It is gone before anybody could use the default toolchain.
        let options = compose::Options { tcp: None, socket, default_toolchain: None, ..serve::options(context)? };
        let server = Server::start(options).await.map_err(serve::refused)?;
        let instance = Instance { socket: server.socket().map(ToOwned::to_owned), ..Instance::of_this_process() };
        instance.write(store)?;
        let own = Some(Own { server, store: store.clone(), _directory: directory });
        Ok(Self { client: context.connect().await?, own })
    }

    /// Ends a server of our own in order.
    pub async fn close(self) {
        if let Some(own) = self.own {
            Instance::remove(&own.store);
            own.server.shutdown().await;
        }
    }

    /// Runs commands with a toolchain and nothing else.
    #[must_use]
    pub fn prober(&self, toolchain: &Toolchain) -> impl Prober {
        let platform = Platform::new([toolchain.property()]);
        ActionProber { client: &self.client, platform, toolchain: toolchain.clone() }
    }
}

/// Probes are actions: hermetic like all others, and known the second time.
struct ActionProber<'a> {
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

impl ActionProber<'_> {
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
