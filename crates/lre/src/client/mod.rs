//! A client of the Remote Execution API: what `lre run`, `lre init` and `lre demo` speak with, to our
//! server or to any other.
mod action;
mod download;
mod error;
mod execute;
mod inputs;
mod prober;

pub use action::{ActionSpec, Prepared};
pub use download::stream_digests;
pub use error::{ClientError, split_hint};
pub use execute::{Executed, Options, Stage};
pub use inputs::{Entry, Inputs, Limits};
pub use prober::ActionProber;

use crate::client::inputs::Content;
use crate::config::Endpoint;
use futures::{StreamExt, TryStreamExt};
use lre_model::{Action, ActionDigest, ActionResult, Digest};
use lre_proto::admin::store_client::StoreClient;
use lre_proto::re;
use lre_store::upstream::Upstream;
use lre_store::{Blob, BlobStore, FileBlob, Origin};
use lre_toolchain::Advertised;
use prost::Message;
use re::execution_client::ExecutionClient;
use std::collections::HashMap;
use std::sync::Arc;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Largest message taken, in bytes. An answer carries stdout and stderr inline; a server may fill it up
/// to its own limit, which is 4 MiB as a rule.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Blobs on their way at the same time.
const UPLOADS_AT_ONCE: usize = 32;

/// What an upload moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Blobs sent.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that the server had already.
    pub present: usize,
}

/// A connection to a server.
pub struct Client {
    endpoint: Endpoint,
    channel: Channel,
    token: Option<MetadataValue<tonic::metadata::Ascii>>,
    store: Arc<Upstream>,
    invocation: String,
}

impl Client {
    /// Connects, and asks for the capabilities so that a wrong address is noticed here.
    ///
    /// # Errors
    /// Nobody answers, or somebody who does not speak this API.
    pub async fn connect(endpoint: &Endpoint, token: Option<&str>) -> Result<Self, ClientError> {
        let address = match endpoint {
            Endpoint::Unix(path) => format!("unix:{}", path.display()),
            Endpoint::Tcp(authority) => authority.clone(),
        };
        let unreachable = |e| ClientError::Unreachable { endpoint: endpoint.clone(), source: Box::new(e) };
        let channel = Upstream::connect(&address).await.map_err(unreachable)?.channel().clone();
        let bearer = token.map(|token| format!("Bearer {token}").parse());
        let bearer = bearer.transpose().map_err(|_| ClientError::BadInput("the token is not plain text".to_owned()))?;
        let client = Self {
            endpoint: endpoint.clone(),
            store: Arc::new(Upstream::new(channel.clone(), token.map(ToOwned::to_owned))),
            channel,
            token: bearer,
            invocation: uuid::Uuid::new_v4().to_string(),
        };
        client.capabilities().await?;
        Ok(client)
    }

    /// What the server can do.
    ///
    /// # Errors
    /// Nobody answers, or somebody who does not speak this API.
    pub async fn capabilities(&self) -> Result<re::ServerCapabilities, ClientError> {
        let mut client = re::capabilities_client::CapabilitiesClient::new(self.channel.clone());
        let request = self.request(re::GetCapabilitiesRequest::default(), None);
        let answer = client.get_capabilities(request).await.map_err(|status| self.told(status))?;
        Ok(answer.into_inner())
    }

    /// Which toolchains the server says it can run; `None` where it does not say.
    ///
    /// # Errors
    /// As [`Client::capabilities`].
    pub async fn toolchains(&self) -> Result<Option<Advertised>, ClientError> {
        let mut client = re::capabilities_client::CapabilitiesClient::new(self.channel.clone());
        let request = self.request(re::GetCapabilitiesRequest::default(), None);
        let answer = client.get_capabilities(request).await.map_err(|status| self.told(status))?;
        Ok(Advertised::parse(|name| answer.metadata().get(name)?.to_str().ok()))
    }

    /// The store of the server.
    #[must_use]
    pub fn store(&self) -> &Arc<Upstream> {
        &self.store
    }

    /// What our own servers are asked about their store.
    #[must_use]
    pub fn admin(&self) -> StoreClient<Channel> {
        StoreClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Hashes an action, away from the threads that serve connections.
    ///
    /// # Errors
    /// Inputs that cannot be read or that cannot be.
    pub async fn prepare(&self, spec: ActionSpec) -> Result<Prepared, ClientError> {
        let prepared = tokio::task::spawn_blocking(move || spec.prepare()).await;
        prepared.map_err(|e| ClientError::Protocol(e.to_string()))?
    }

    /// An action that the server has already, whoever has sent it; none of its blobs are here.
    ///
    /// # Errors
    /// The server does not have it, or has something else under this digest.
    pub async fn known(&self, digest: ActionDigest) -> Result<Prepared, ClientError> {
        let blob = self.store.read(digest.0).await?.into_bytes(MESSAGE_BYTES_MAX as u64).await?;
        let action = Action::decode(digest, &blob).map_err(|e| ClientError::BadInput(e.to_string()))?;
        let Action { command, input_root, .. } = action;
        Ok(Prepared { action: digest, command, input_root, files: 0, bytes: 0, blobs: HashMap::default() })
    }

    /// The result that the server remembers, where it remembers one.
    ///
    /// # Errors
    /// The server does not answer, or answers with an error.
    pub async fn cached(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, ClientError> {
        let request = re::GetActionResultRequest {
            action_digest: Some(action.0.to_wire()),
            inline_stdout: true,
            inline_stderr: true,
            digest_function: action.0.function().to_wire(),
            ..Default::default()
        };
        let mut client = re::action_cache_client::ActionCacheClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        match client.get_action_result(self.request(request, Some(action))).await {
            Ok(result) => {
                let result = ActionResult::from_wire(action.0.function(), result.into_inner());
                Ok(Some(Arc::new(result.map_err(|e| ClientError::Protocol(e.to_string()))?)))
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.told(status)),
        }
    }

    /// Sends what the server does not have yet.
    ///
    /// # Errors
    /// A file that changed since it was hashed, and whatever happens on the way.
    pub async fn upload(&self, prepared: &Prepared) -> Result<Uploaded, ClientError> {
        let all: Vec<_> = prepared.blobs.keys().copied().collect();
        let (_hold, missing) = self.store.hold(&all).await?;
        self.send(prepared, &missing).await?;
        let bytes = missing.iter().map(|d| d.size_bytes()).sum();
        Ok(Uploaded { blobs: missing.len(), bytes, present: all.len() - missing.len() })
    }

    async fn send(&self, prepared: &Prepared, digests: &[Digest]) -> Result<(), ClientError> {
        let one = |digest: Digest| async move {
            let blob = match prepared.blobs.get(&digest) {
                Some(Content::Bytes(bytes)) => Blob::Bytes(bytes.clone()),
                Some(Content::File(path)) => {
                    let open = FileBlob::open(path, Origin::Foreign);
                    Blob::File(open.map_err(|source| ClientError::Local { path: path.clone(), source })?)
                }
                None => return Err(ClientError::Protocol(format!("the server asks for {digest}, which is not ours"))),
            };
            Ok(self.store.write(digest, blob).await?)
        };
        futures::stream::iter(digests.iter().copied().map(one))
            .buffer_unordered(UPLOADS_AT_ONCE)
            .try_collect::<()>()
            .await
    }

    /// Uploads and executes: the whole way for callers who need no figures.
    ///
    /// # Errors
    /// As [`Client::upload`] and [`Client::execute`].
    pub async fn run(&self, prepared: &Prepared, options: &Options) -> Result<Executed, ClientError> {
        self.upload(prepared).await?;
        self.execute(prepared, options, &|_| {}).await
    }

    fn execution(&self) -> ExecutionClient<Channel> {
        ExecutionClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// A request that says who calls, and for which action.
    fn request<T>(&self, message: T, action: Option<ActionDigest>) -> Request<T> {
        let mut request = Request::new(message);
        self.sign(request.metadata_mut(), action);
        request
    }

    fn sign(&self, metadata: &mut MetadataMap, action: Option<ActionDigest>) {
        if let Some(token) = &self.token {
            metadata.insert("authorization", token.clone());
        }
        let caller = re::RequestMetadata {
            tool_details: Some(re::ToolDetails {
                tool_name: "lre".to_owned(),
                tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            action_id: action.map(|action| action.0.hash_text()).unwrap_or_default(),
            tool_invocation_id: self.invocation.clone(),
            ..Default::default()
        };
        let header = MetadataValue::from_bytes(&caller.encode_to_vec());
        metadata.insert_bin("build.bazel.remote.execution.v2.requestmetadata-bin", header);
    }

    fn unreachable(&self, status: Status) -> ClientError {
        ClientError::Unreachable { endpoint: self.endpoint.clone(), source: Box::new(status) }
    }

    fn told(&self, status: Status) -> ClientError {
        if execute::broken(&status) { self.unreachable(status) } else { status.into() }
    }
}
