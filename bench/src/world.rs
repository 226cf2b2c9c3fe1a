//! A real `lre serve` on a store of its own, with small toolchains, and a client that speaks plain REAPI to it.
use crate::generated::{self, Places};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use lre_e2e::serve::{Home, Serve};
use lre_model::{Digest, DigestFunction};
use lre_proto::longrunning::operation::Result as Ending;
use lre_proto::re::{self, execution_client::ExecutionClient};
use lre_store::upstream::{self, Upstream};
use lre_store::{Blob, BlobStore};
use lre_testkit::{BuiltTree, TreeBuilder};
use lre_toolchain::{Kind, Registry, Toolchain};
use prost::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tonic::transport::Channel;

/// The function that all benchmarks use.
pub const F: DigestFunction = DigestFunction::Sha256;

/// What every server here is started with, beside a port and a store of its own.
const SERVE: [&str; 2] = ["--slots", "2"];

/// Everything a scenario needs.
pub struct World {
    /// The server, a process of its own.
    pub server: Serve,
    // After the server: it ends before its files go.
    home: Home,
    /// What was generated.
    pub places: Places,
    /// A connection over the Unix socket.
    pub channel: Channel,
    /// The store, over the wire.
    pub store: Upstream,
    /// A rootfs of a few static programs.
    pub toolchain: Toolchain,
    execution: ExecutionClient<Channel>,
    actions: u64,
}

/// What is to be executed.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// With what.
    pub toolchain: &'a Toolchain,
    /// Which program, by name or by path.
    pub program: &'a str,
    /// Over what.
    pub root: Digest,
    /// Paths that it leaves.
    pub outputs: &'a [&'a str],
    /// Properties of the platform beside the toolchain's.
    pub properties: &'a [(&'a str, &'a str)],
}

/// What one `Execute` was like.
pub struct Executed {
    /// From the call to the last message.
    pub elapsed: Duration,
    /// The command's own time.
    pub command: Duration,
    /// Where the rest went, by the timestamps of the result.
    pub stages: Vec<(&'static str, Duration)>,
    /// What the command left.
    pub result: re::ActionResult,
    /// Whether it was known and did not run.
    pub known: bool,
}

impl Executed {
    /// What it cost beside the command's own time.
    pub fn overhead(&self) -> Duration {
        self.elapsed.saturating_sub(self.command)
    }
}

impl World {
    /// Starts a server and registers the toolchain.
    pub async fn start() -> Result<Self> {
        let home = Home::new()?;
        let server = home.serve_with(&SERVE).context("the server does not start")?;
        let places = Places::new(home.path().join("generated"))?;
        let channel = upstream::connect_unix(home.socket()).await?;
        let store = Upstream::new(channel.clone(), None);
        let execution = ExecutionClient::new(channel.clone());
        let root = places.folder("rootfs");
        generated::rootfs(&root, &places.programs(), 0)?;
        let toolchain = installed(&home, &store, "bench", Kind::Rootfs, &root).await?;
        Ok(Self { server, home, places, channel, store, toolchain, execution, actions: 0 })
    }

    /// The home of who started the server: its files.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The host path of the toolchain, for the competitors.
    pub fn rootfs(&self) -> PathBuf {
        self.places.folder("rootfs")
    }

    /// Imports and registers what is in a folder.
    pub async fn install(&self, name: &str, kind: Kind, folder: &Path) -> Result<Toolchain> {
        installed(&self.home, &self.store, name, kind, folder).await
    }

    /// A Nix-like closure of so many paths: the toolchain, where each path is on the host, and where `true` is.
    pub async fn nix_like(&self, paths: usize) -> Result<(Toolchain, Vec<PathBuf>, String)> {
        let (name, folder) = (format!("nix-{paths}"), self.places.folder(&format!("nix-{paths}")));
        let names = generated::nix_like(&folder, &self.places.programs(), paths)?;
        let toolchain = self.install(&name, Kind::Nix, &folder).await?;
        let program = format!("{}/{}/bin/true", toolchain.mount(), names[0]);
        Ok((toolchain, names.iter().map(|name| folder.join(name)).collect(), program))
    }

    /// Uploads actions that nobody has seen before.
    pub async fn new_actions(&mut self, order: &Order<'_>, count: usize) -> Result<Vec<Digest>> {
        let (mut actions, mut blobs) = (Vec::new(), Vec::new());
        for _ in 0..count {
            self.actions += 1;
            let command = blob(order.command(self.actions).encode_to_vec());
            let action = blob(order.action(command.0).encode_to_vec());
            actions.push(action.0);
            blobs.extend([command, action]);
        }
        for written in self.store.write_many(blobs).await {
            written?;
        }
        Ok(actions)
    }

    /// One of them.
    pub async fn new_action(&mut self, order: &Order<'_>) -> Result<Digest> {
        Ok(self.new_actions(order, 1).await?[0])
    }

    /// Uploads and executes.
    pub async fn run(&mut self, order: &Order<'_>) -> Result<Executed> {
        let action = self.new_action(order).await?;
        let executed = self.execute(action).await?;
        ensure!(!executed.known, "an action that nobody has seen before was known");
        Ok(executed)
    }

    /// Executes, and insists that the command succeeded.
    pub async fn execute(&self, action: Digest) -> Result<Executed> {
        execute(self.execution.clone(), action).await
    }

    /// For calls that are made at the same time.
    pub fn execution(&self) -> ExecutionClient<Channel> {
        self.execution.clone()
    }

    /// Uploads a tree of files and returns its root.
    pub async fn put_tree(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<Digest> {
        let tree = files.iter().fold(TreeBuilder::new(F), |tree, (path, content)| tree.file(path, content.clone()));
        let BuiltTree { root, blobs, .. } = tree.build();
        let digests: Vec<_> = blobs.keys().copied().collect();
        let (_hold, missing) = self.store.hold(&digests).await?;
        let missing = missing.into_iter().map(|digest| (digest, Blob::Bytes(blobs[&digest].clone()))).collect();
        for written in self.store.write_many(missing).await {
            written?;
        }
        Ok(root.0)
    }
}

/// Executes, and insists that the command succeeded.
pub async fn execute(mut execution: ExecutionClient<Channel>, action: Digest) -> Result<Executed> {
    let request = re::ExecuteRequest { action_digest: Some(action.to_wire()), ..Default::default() };
    let (start, asked) = (Instant::now(), SystemTime::now());
    let mut stream = execution.execute(request).await?.into_inner();
    let mut last = None;
    while let Some(operation) = stream.message().await? {
        last = Some(operation);
    }
    let elapsed = start.elapsed();
    let Some(Ending::Response(any)) = last.and_then(|o| o.result) else {
        bail!("the operation did not end");
    };
    let response = re::ExecuteResponse::decode(&any.value[..])?;
    let result = response.result.with_context(|| format!("no result: {:?} {}", response.status, response.message))?;
    ensure!(result.exit_code == 0, "exit code {}: {:?}", result.exit_code, response.status);
    let metadata = result.execution_metadata.clone().unwrap_or_default();
    let command = metadata.virtual_execution_duration.unwrap_or_default();
    let command = Duration::new(command.seconds.unsigned_abs(), command.nanos.unsigned_abs());
    Ok(Executed {
        elapsed,
        command,
        stages: stages(&metadata, asked, asked + elapsed),
        result,
        known: response.cached_result,
    })
}

impl<'a> Order<'a> {
    /// Without outputs and further properties.
    pub fn new(toolchain: &'a Toolchain, program: &'a str, root: Digest) -> Self {
        Self { toolchain, program, root, outputs: &[], properties: &[] }
    }

    /// `number` makes it one of its own.
    fn command(&self, number: u64) -> re::Command {
        let environment = re::command::EnvironmentVariable { name: "N".to_owned(), value: number.to_string() };
        re::Command {
            arguments: vec![self.program.to_owned()],
            environment_variables: vec![environment],
            output_paths: self.outputs.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }
    }

    fn action(&self, command: Digest) -> re::Action {
        let given = self.properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut properties: Vec<_> = given.chain([self.toolchain.property()]).collect();
        // The API wants them in order.
        properties.sort();
        let properties = properties.into_iter().map(|(name, value)| re::platform::Property { name, value }).collect();
        re::Action {
            command_digest: Some(command.to_wire()),
            input_root_digest: Some(self.root.to_wire()),
            platform: Some(re::Platform { properties }),
            ..Default::default()
        }
    }
}

fn blob(bytes: Vec<u8>) -> (Digest, Blob) {
    (Digest::of(F, &bytes), Blob::Bytes(Bytes::from(bytes)))
}

async fn installed(home: &Home, store: &Upstream, name: &str, kind: Kind, folder: &Path) -> Result<Toolchain> {
    let imported = lre_toolchain::import_directory(store, F, folder, &()).await?;
    let path = [("PATH".to_owned(), "/usr/bin".to_owned())];
    let toolchain = Toolchain {
        name: name.to_owned(),
        kind,
        digest: imported.digest,
        environment: if kind == Kind::Rootfs { BTreeMap::from(path) } else { BTreeMap::new() },
        tools: BTreeMap::new(),
        source: format!("dir:{name}"),
        recipe: Vec::new(),
    };
    Registry::open(home.store().join("toolchains/registry"))?.put(&toolchain)?;
    Ok(toolchain)
}

/// The stages of an execution, in order, from the call to the last message. All clocks are this machine's.
fn stages(
    metadata: &re::ExecutedActionMetadata,
    asked: SystemTime,
    answered: SystemTime,
) -> Vec<(&'static str, Duration)> {
    let at = |stamp: &Option<lre_proto::protobuf::Timestamp>| {
        stamp.as_ref().map_or(Duration::ZERO, |t| Duration::new(t.seconds.unsigned_abs(), t.nanos.unsigned_abs()))
    };
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let marks = [
        ("", since(asked)),
        ("asked", at(&metadata.queued_timestamp)),
        ("read, held, queued", at(&metadata.worker_start_timestamp)),
        ("inputs laid out", at(&metadata.input_fetch_completed_timestamp)),
        ("sandbox set up", at(&metadata.execution_start_timestamp)),
        ("command", at(&metadata.execution_completed_timestamp)),
        ("sandbox gone", at(&metadata.output_upload_start_timestamp)),
        ("outputs stored", at(&metadata.output_upload_completed_timestamp)),
        ("remembered, answered", since(answered)),
    ];
    marks.windows(2).map(|pair| (pair[1].0, pair[1].1.saturating_sub(pair[0].1))).collect()
}
