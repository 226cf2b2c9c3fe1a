//! A private server with a small toolchain, and a client that speaks plain REAPI to it.
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use lre_model::{Digest, DigestFunction};
use lre_proto::re::{self, execution_client::ExecutionClient};
use lre_server::compose::{Options, Server};
use lre_store::upstream::{self, Upstream};
use lre_store::{Blob, BlobStore};
use lre_testkit::{BuiltTree, TreeBuilder};
use lre_toolchain::{Kind, Registry, Toolchain};
use prost::Message;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// The function that all benchmarks use.
pub const F: DigestFunction = DigestFunction::Sha256;

/// Does nothing.
const TRUE: &str = "int main(void) { return 0; }\n";

/// Does what a compiler does to the file system: reads each file that it is given, writes one.
const READER: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
    static char buffer[65536];
    char name[256];
    long sum = 0, n;
    for (int i = 0; i < 1000; i += 50) {
        snprintf(name, sizeof name, "pkg%d/src%d/f%d.h", i / 128, i / 16, i);
        int file = open(name, O_RDONLY);
        if (file < 0) return 1;
        while ((n = read(file, buffer, sizeof buffer)) > 0) sum += n;
        close(file);
    }
    int out = open("out.o", O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (out < 0 || write(out, buffer, 8192) != 8192) return 2;
    return sum == 0;
}
"#;

/// Everything a scenario needs.
pub struct World {
    /// Holds all files; gone when dropped.
    pub directory: tempfile::TempDir,
    /// The server, in this process.
    pub server: Server,
    /// A connection over the Unix socket.
    pub channel: Channel,
    /// The store, over the wire.
    pub store: Upstream,
    /// What the commands run with.
    pub toolchain: Toolchain,
    execution: ExecutionClient<Channel>,
    actions: u64,
}

/// What one `Execute` was like.
pub struct Executed {
    /// From the call to the last message.
    pub elapsed: Duration,
    /// The command's own time.
    pub command: Duration,
    /// Where the rest went, by the timestamps of the result.
    pub stages: Vec<(&'static str, Duration)>,
}

impl World {
    /// Starts the server and registers the toolchain.
    pub async fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("lre-bench").tempdir()?;
        let at = directory.path();
        fs::create_dir(at.join("run"))?;
        build_rootfs(&at.join("rootfs"))?;
        let options = Options {
            store: at.join("store"),
            slots: 2,
            tcp: None,
            socket: Some(at.join("run/re.sock")),
            token: None,
            default_toolchain: None,
            accepted_properties: Vec::new(),
            toolchain_peers: Vec::new(),
            peer_token: None,
            launcher: lre_worker::LauncherProgram {
                program: std::env::current_exe()?,
                arguments: vec!["launcher".to_owned()],
            },
            action_timeout_default: Duration::from_secs(60),
            action_timeout_max: Duration::from_secs(60),
            action_limits: lre_worker::ExecutionLimits::of_this_machine()?,
            cgroup: None,
        };
        let server = Server::start(options).await.context("the server does not start")?;
        let channel = upstream::connect_unix(&at.join("run/re.sock")).await?;
        let store = Upstream::new(channel.clone(), None);
        let imported = lre_toolchain::import_directory(&store, F, &at.join("rootfs"), &()).await?;
        let toolchain = Toolchain {
            name: "bench".to_owned(),
            kind: Kind::Rootfs,
            digest: imported.digest,
            environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin".to_owned())]),
            tools: BTreeMap::new(),
            source: "dir:rootfs".to_owned(),
            recipe: Vec::new(),
        };
        Registry::open(at.join("store/toolchains/registry"))?.put(&toolchain)?;
        let execution = ExecutionClient::new(channel.clone());
        Ok(Self { directory, server, channel, store, toolchain, execution, actions: 0 })
    }

    /// The host path of the toolchain, for the competitors.
    pub fn rootfs(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }

    /// Uploads an action that nobody has seen before.
    pub async fn new_action(&mut self, program: &str, root: Digest, outputs: &[&str]) -> Result<Digest> {
        self.actions += 1;
        let command = re::Command {
            arguments: vec![program.to_owned()],
            environment_variables: vec![re::command::EnvironmentVariable {
                name: "N".to_owned(),
                value: self.actions.to_string(),
            }],
            output_paths: outputs.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let command = self.put(command.encode_to_vec()).await?;
        let (name, value) = self.toolchain.property();
        let action = re::Action {
            command_digest: Some(command.to_wire()),
            input_root_digest: Some(root.to_wire()),
            platform: Some(re::Platform { properties: vec![re::platform::Property { name, value }] }),
            ..Default::default()
        };
        self.put(action.encode_to_vec()).await
    }

    /// Executes, and insists that the command succeeded.
    pub async fn execute(&mut self, action: Digest) -> Result<Executed> {
        let request = re::ExecuteRequest { action_digest: Some(action.to_wire()), ..Default::default() };
        let start = Instant::now();
        let mut stream = self.execution.execute(request).await?.into_inner();
        let mut last = None;
        while let Some(operation) = stream.message().await? {
            last = Some(operation);
        }
        let elapsed = start.elapsed();
        let Some(lre_proto::longrunning::operation::Result::Response(any)) = last.and_then(|o| o.result) else {
            bail!("the operation did not end");
        };
        let response = re::ExecuteResponse::decode(&any.value[..])?;
        let result =
            response.result.with_context(|| format!("no result: {:?} {}", response.status, response.message))?;
        anyhow::ensure!(result.exit_code == 0, "exit code {}: {:?}", result.exit_code, response.status);
        let metadata = result.execution_metadata.unwrap_or_default();
        let command = metadata.virtual_execution_duration.unwrap_or_default();
        let command = Duration::new(command.seconds.unsigned_abs(), command.nanos.unsigned_abs());
        Ok(Executed { elapsed, command, stages: stages(&metadata) })
    }

    /// Uploads a blob.
    pub async fn put(&self, bytes: Vec<u8>) -> Result<Digest> {
        let digest = Digest::of(F, &bytes);
        self.store.write(digest, Blob::Bytes(Bytes::from(bytes))).await?;
        Ok(digest)
    }

    /// Uploads a tree of files and returns its root.
    pub async fn put_tree(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<Digest> {
        let tree = files.iter().fold(TreeBuilder::new(F), |tree, (path, content)| tree.file(path, content.clone()));
        let BuiltTree { root, blobs, .. } = tree.build();
        let digests: Vec<_> = blobs.keys().copied().collect();
        let (_hold, missing) = self.store.hold(&digests).await?;
        for digest in missing {
            self.store.write(digest, Blob::Bytes(blobs[&digest].clone())).await?;
        }
        Ok(root.0)
    }
}

/// The stages of an execution, in order.
fn stages(metadata: &re::ExecutedActionMetadata) -> Vec<(&'static str, Duration)> {
    let at = |stamp: &Option<lre_proto::protobuf::Timestamp>| {
        stamp.as_ref().map_or(Duration::ZERO, |t| Duration::new(t.seconds.unsigned_abs(), t.nanos.unsigned_abs()))
    };
    let marks = [
        ("", at(&metadata.queued_timestamp)),
        ("read, held, queued", at(&metadata.worker_start_timestamp)),
        ("inputs laid out", at(&metadata.input_fetch_completed_timestamp)),
        ("sandbox set up", at(&metadata.execution_start_timestamp)),
        ("command", at(&metadata.execution_completed_timestamp)),
        ("sandbox gone", at(&metadata.output_upload_start_timestamp)),
        ("outputs stored", at(&metadata.output_upload_completed_timestamp)),
    ];
    marks.windows(2).map(|pair| (pair[1].0, pair[1].1.saturating_sub(pair[0].1))).collect()
}

/// A rootfs of two static programs, with the names at the top that a Debian one has.
fn build_rootfs(root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("usr/bin"))?;
    for name in ["lib", "lib64", "include", "libexec", "share"] {
        fs::create_dir_all(root.join("usr").join(name))?;
    }
    fs::create_dir_all(root.join("etc/alternatives"))?;
    for name in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    for (name, source) in [("true", TRUE), ("reader", READER)] {
        let c = root.join(format!("{name}.c"));
        fs::write(&c, source)?;
        let program = root.join("usr/bin").join(name);
        let status = Command::new("cc").args(["-O1", "-static", "-o"]).arg(&program).arg(&c).status();
        anyhow::ensure!(status.context("a C compiler is needed")?.success(), "cc failed");
        fs::remove_file(c)?;
    }
    Ok(())
}
