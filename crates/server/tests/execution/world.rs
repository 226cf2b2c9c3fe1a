//! The real composition in this process, on its own socket, with a scripted executor.
use crate::scripted::{DEADLINE, Scripted};
use bytes::Bytes;
use futures::StreamExt;
use hyper_util::rt::TokioIo;
use lre_model::{Digest, DigestFunction};
use lre_proto::bytestream::byte_stream_client::ByteStreamClient;
use lre_proto::logstream::log_stream_service_client::LogStreamServiceClient;
use lre_proto::longrunning::{self, operation, operations_client::OperationsClient};
use lre_proto::re::{self, execution_client::ExecutionClient, execution_stage::Value as Stage};
use lre_proto::{protobuf, rpc};
use lre_server::compose::{Front, Parts, Server};
use lre_server::services::execution::Timeouts;
use lre_store::{BlobStore, Complete, MemoryStore, Staging, Verified};
use lre_testkit::{Recorded, TreeBuilder};
use lre_toolchain::{Kind, Registry, Toolchain};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};

pub const F: DigestFunction = DigestFunction::Sha256;

pub struct World {
    pub server: Server,
    pub execution: ExecutionClient<Channel>,
    pub operations: OperationsClient<Channel>,
    pub bytes: ByteStreamClient<Channel>,
    pub logs: LogStreamServiceClient<Channel>,
    pub memory: Arc<MemoryStore>,
    pub blobs: Arc<dyn BlobStore>,
    pub actions: Arc<Recorded<Arc<MemoryStore>>>,
    pub executor: Arc<Scripted>,
    pub registry: Arc<Registry>,
    pub toolchain: Toolchain,
    pub dir: tempfile::TempDir,
}

/// How a test's server differs from the usual one.
pub struct Setting {
    pub slots: usize,
    pub waiting_max: usize,
    pub grace: Duration,
    pub default_toolchain: Option<String>,
    pub finish_time: Duration,
    pub toolchain_peers: Vec<lre_toolchain::Cas>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            slots: 2,
            waiting_max: 100,
            grace: Duration::from_millis(50),
            default_toolchain: None,
            finish_time: DEADLINE,
            toolchain_peers: Vec::new(),
        }
    }
}

/// An action to be uploaded.
#[derive(Clone)]
pub struct Spec {
    pub function: DigestFunction,
    pub arguments: Vec<String>,
    pub inputs: TreeBuilder,
    pub platform: Vec<(String, String)>,
    pub do_not_cache: bool,
    pub timeout: Option<Duration>,
    pub salt: u8,
}

/// Everything an action is made of.
pub struct Built {
    pub action: Digest,
    pub command: Digest,
    pub blobs: Vec<(Digest, Bytes)>,
}

/// One message of an operation, decoded.
#[derive(Clone, Debug)]
pub struct Told {
    pub name: String,
    pub stage: Stage,
    pub action: Option<re::Digest>,
    pub metadata: re::ExecuteOperationMetadata,
    pub response: Option<re::ExecuteResponse>,
}

pub async fn connect(socket: std::path::PathBuf) -> Channel {
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://lre").connect_with_connector(connector).await.unwrap()
}

pub fn toolchain(name: &str) -> Toolchain {
    Toolchain {
        name: name.to_owned(),
        kind: Kind::Rootfs,
        digest: Digest::of(F, name.as_bytes()),
        environment: [("PATH".to_owned(), "/usr/bin".to_owned())].into(),
        tools: [].into(),
        source: "dir:/nowhere".to_owned(),
        recipe: Vec::new(),
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(Setting::default()).await
    }

    pub async fn with(setting: Setting) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let memory = Arc::new(MemoryStore::default());
        let blobs: Arc<dyn BlobStore> = Arc::new(Verified(Arc::clone(&memory)));
        let actions = Arc::new(Recorded::new(Arc::clone(&memory)));
        let executor = Arc::new(Scripted::new(Arc::clone(&blobs)));
        let registry = Arc::new(Registry::open(dir.path().join("registry")).unwrap());
        let toolchain = toolchain("gcc");
        registry.put(&toolchain).unwrap();
        let parts = Parts {
            blobs: Arc::clone(&blobs),
            actions: Arc::new(Complete::new(Arc::clone(&actions), Arc::clone(&blobs))),
            executor: executor.clone(),
            registry: Arc::clone(&registry),
            names: None,
            staging: Staging::new(dir.path().join("staging")).unwrap(),
            default_toolchain: setting.default_toolchain,
            accepted_properties: vec!["container-image".to_owned()],
            toolchain_peers: setting.toolchain_peers,
            peer_token: None,
            limits: lre_scheduler::Limits {
                waiting_max: setting.waiting_max,
                grace: setting.grace,
                ..lre_scheduler::Limits::new(setting.slots)
            },
            timeouts: Timeouts { default: Duration::from_secs(30), max: Duration::from_secs(60) },
            finish_time: setting.finish_time,
        };
        let socket = dir.path().join("s");
        let front = Front { tcp: None, socket: Some(socket.clone()), token: None };
        let server = Server::serve(parts, front).await.unwrap();
        let channel = connect(socket).await;
        Self {
            server,
            execution: ExecutionClient::new(channel.clone()),
            operations: OperationsClient::new(channel.clone()),
            bytes: ByteStreamClient::new(channel.clone()),
            logs: LogStreamServiceClient::new(channel),
            memory,
            blobs,
            actions,
            executor,
            registry,
            toolchain,
            dir,
        }
    }

    /// A command with the toolchain of this world.
    pub fn spec(&self, script: &str) -> Spec {
        Spec {
            arguments: script.split(' ').map(str::to_owned).collect(),
            inputs: TreeBuilder::new(F),
            function: F,
            platform: vec![self.toolchain.property()],
            do_not_cache: false,
            timeout: None,
            salt: 0,
        }
    }

    pub async fn upload(&self, built: &Built) {
        for (digest, bytes) in &built.blobs {
            self.blobs.write(*digest, bytes.clone().into()).await.unwrap();
        }
    }

    /// Builds and uploads.
    pub async fn put(&self, spec: Spec) -> Digest {
        let built = spec.build();
        self.upload(&built).await;
        built.action
    }

    pub async fn script(&self, script: &str) -> Digest {
        self.put(self.spec(script)).await
    }

    pub async fn ask(&self, request: re::ExecuteRequest) -> Result<Streaming<longrunning::Operation>, Status> {
        Ok(self.execution.clone().execute(request).await?.into_inner())
    }

    pub async fn wait(&self, name: &str) -> Result<Streaming<longrunning::Operation>, Status> {
        let request = re::WaitExecutionRequest { name: name.to_owned() };
        Ok(self.execution.clone().wait_execution(request).await?.into_inner())
    }

    /// Asks until the operation is over, without being one who waits for it.
    pub async fn until_done(&self, name: &str) -> re::ExecuteResponse {
        let ask = async {
            loop {
                let request = longrunning::GetOperationRequest { name: name.to_owned() };
                let operation = self.operations.clone().get_operation(request).await.unwrap().into_inner();
                if let Some(response) = told(&operation).response {
                    return response;
                }
            }
        };
        tokio::time::timeout(DEADLINE, ask).await.expect("the operation goes on and on")
    }

    /// Waits until nothing runs and nothing waits.
    pub async fn until_idle(&self) {
        let idle = async {
            while self.server.driver().load() != (0, 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, idle).await.expect("something runs or waits for ever");
    }

    /// Executes to the end.
    pub async fn run(&self, request: re::ExecuteRequest) -> Result<re::ExecuteResponse, Status> {
        Ok(response(&all(self.ask(request).await?).await))
    }

    pub async fn text(&self, digest: Option<&re::Digest>) -> String {
        let blob = self.blobs.read(Digest::from_wire(F, digest).unwrap()).await.unwrap();
        String::from_utf8(blob.into_bytes(1 << 20).await.unwrap().to_vec()).unwrap()
    }
}

impl Spec {
    pub fn build(self) -> Built {
        let mut blobs = Vec::new();
        let mut put = |bytes: Vec<u8>| {
            let digest = Digest::of(self.function, &bytes);
            blobs.push((digest, Bytes::from(bytes)));
            digest
        };
        let tree = self.inputs.build();
        let command = put(re::Command { arguments: self.arguments, ..Default::default() }.encode_to_vec());
        let duration = |t: Duration| protobuf::Duration { seconds: t.as_secs() as i64, nanos: t.subsec_nanos() as i32 };
        let action = re::Action {
            command_digest: Some(command.to_wire()),
            input_root_digest: Some(tree.root.0.to_wire()),
            timeout: self.timeout.map(duration),
            do_not_cache: self.do_not_cache,
            salt: vec![self.salt],
            platform: Some(lre_model::Platform::new(self.platform).to_wire()),
        };
        let action = put(action.encode_to_vec());
        blobs.extend(tree.blobs);
        Built { action, command, blobs }
    }
}

pub fn request(action: Digest) -> re::ExecuteRequest {
    re::ExecuteRequest { action_digest: Some(action.to_wire()), ..Default::default() }
}

pub fn again(action: Digest) -> re::ExecuteRequest {
    re::ExecuteRequest { skip_cache_lookup: true, ..request(action) }
}

pub fn told(operation: &longrunning::Operation) -> Told {
    let metadata = operation.metadata.as_ref().expect("metadata in every message");
    assert!(metadata.type_url.ends_with("/build.bazel.remote.execution.v2.ExecuteOperationMetadata"));
    let metadata = re::ExecuteOperationMetadata::decode(&metadata.value[..]).unwrap();
    let response = match &operation.result {
        None => None,
        Some(operation::Result::Response(any)) => {
            assert!(any.type_url.ends_with("/build.bazel.remote.execution.v2.ExecuteResponse"));
            Some(re::ExecuteResponse::decode(&any.value[..]).unwrap())
        }
        Some(operation::Result::Error(error)) => panic!("Operation.error must never be set: {error:?}"),
    };
    let stage = metadata.stage();
    assert_eq!(operation.done, stage == Stage::Completed, "done if and only if COMPLETED");
    assert_eq!(operation.done, response.is_some());
    Told { name: operation.name.clone(), stage, action: metadata.action_digest.clone(), metadata, response }
}

/// The next message.
pub async fn next(stream: &mut Streaming<longrunning::Operation>) -> Told {
    let message = tokio::time::timeout(DEADLINE, stream.next()).await.expect("no message in time");
    told(&message.expect("the stream ended without `done`").unwrap())
}

/// Messages until one of this stage.
pub async fn until(stream: &mut Streaming<longrunning::Operation>, stage: Stage) -> Told {
    loop {
        let message = next(stream).await;
        if message.stage == stage {
            return message;
        }
    }
}

/// All messages; the last one is `done`, and after it the stream ends.
pub async fn all(mut stream: Streaming<longrunning::Operation>) -> Vec<Told> {
    let mut messages = vec![next(&mut stream).await];
    while messages.last().unwrap().stage != Stage::Completed {
        messages.push(next(&mut stream).await);
    }
    assert!(stream.next().await.is_none(), "the stream ends after `done`");
    messages
}

pub fn response(messages: &[Told]) -> re::ExecuteResponse {
    messages.last().unwrap().response.clone().unwrap()
}

/// `google.rpc.Status` as a gRPC status, so that both places are looked at in the same way.
pub fn as_status(status: &rpc::Status) -> Status {
    Status::with_details(status.code.into(), status.message.clone(), status.encode_to_vec().into())
}

/// Type, subject and description of each violation.
pub fn violations(status: &Status) -> Vec<(String, String, String)> {
    use tonic_types::StatusExt;
    let failure = status.get_details_precondition_failure();
    let violations = failure.map(|failure| failure.violations).unwrap_or_default();
    violations.into_iter().map(|v| (v.r#type, v.subject, v.description)).collect()
}
