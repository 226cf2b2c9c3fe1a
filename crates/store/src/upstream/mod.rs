//! Somebody else's Remote Execution API service, as a store.
//!
//! The same contract that the disk keeps is kept here over the wire, so this is also how the protocol
//! of our own server is tested. Blobs of any size pass in bounded memory.
mod batch;
mod blobs;
mod connect;
mod results;
mod stream;

pub use connect::{connect_tcp, connect_unix};

use crate::{Staging, StoreError};
use lre_proto::bytestream::byte_stream_client::ByteStreamClient;
use lre_proto::re;
use lre_proto::re::action_cache_client::ActionCacheClient;
use lre_proto::re::capabilities_client::CapabilitiesClient;
use lre_proto::re::content_addressable_storage_client::ContentAddressableStorageClient;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::OnceCell;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Most bytes of blobs in one batch call, whatever the service says that it takes: a message of gRPC is
/// at most 4 MiB unless both sides agree on more, and digests and tags need room too.
const BATCH_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// Digests in one `FindMissingBlobs`. Each takes some 75 bytes, so that the request stays below 4 MiB.
const FIND_DIGESTS_MAX: usize = 20_000;

/// Bytes in one message of a stream (LIMITS 4: 64 to 256 KiB).
const CHUNK_BYTES: usize = 256 * 1024;

/// Largest message that is taken, in bytes. Results may be large; batches are smaller.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a call, or the next message of a stream, may take. A service that says nothing for so long
/// is not there.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service behind a connection.
pub struct Upstream {
    channel: Channel,
    instance: String,
    authorization: Option<Result<MetadataValue<Ascii>, StoreErrorText>>,
    batch_bytes_max: OnceCell<u64>,
    staging: OnceLock<(Staging, Option<tempfile::TempDir>)>,
}

type StoreErrorText = &'static str;

impl Upstream {
    /// A service reached by `channel`. The token travels as `authorization: Bearer <token>`.
    #[must_use]
    pub fn new(channel: Channel, token: Option<String>) -> Self {
        // A token that cannot be a header is told with the first call, as one that is refused is.
        let header = |token: String| {
            let mut value = MetadataValue::try_from(format!("Bearer {token}"))
                .map_err(|_| "the token has characters that no header can have")?;
            value.set_sensitive(true);
            Ok(value)
        };
        Self {
            channel,
            instance: String::new(),
            authorization: token.map(header),
            batch_bytes_max: OnceCell::new(),
            staging: OnceLock::new(),
        }
    }

    /// With a token; it travels as `authorization: Bearer <token>`.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Self {
        let authorization = Self::new(self.channel.clone(), token).authorization;
        Self { authorization, ..self }
    }

    /// A service at `endpoint`: `unix:/path`, `grpc://host:port` or `host:port`, with TLS `grpcs://host:port`.
    ///
    /// # Errors
    /// The endpoint cannot be understood or reached.
    pub async fn connect(endpoint: &str) -> Result<Self, StoreError> {
        Ok(Self::new(connect::connect(endpoint).await?, None))
    }

    /// With the `instance_name` that the service wants.
    #[must_use]
    pub fn with_instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = instance.into();
        self
    }

    /// Large blobs on their way in wait in `staging`. Without it they wait in a temporary folder; with
    /// that of a store, the store takes them over by a link instead of a copy.
    #[must_use]
    pub fn with_staging(self, staging: Staging) -> Self {
        Self { staging: OnceLock::from((staging, None)), ..self }
    }

    /// The connection, for calls beyond storage.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    fn staging(&self) -> io::Result<&Staging> {
        if let Some((staging, _)) = self.staging.get() {
            return Ok(staging);
        }
        let folder = tempfile::tempdir()?;
        let staging = Staging::new(folder.path())?;
        Ok(&self.staging.get_or_init(|| (staging, Some(folder))).0)
    }

    fn request<T>(&self, message: T) -> Result<Request<T>, StoreError> {
        let mut request = Request::new(message);
        match &self.authorization {
            None => {}
            Some(Ok(value)) => {
                request.metadata_mut().insert("authorization", value.clone());
            }
            Some(Err(why)) => return Err(StoreError::Upstream((*why).to_owned())),
        }
        Ok(request)
    }

    /// A request that is answered by one message.
    fn unary<T>(&self, message: T) -> Result<Request<T>, StoreError> {
        let mut request = self.request(message)?;
        request.set_timeout(PATIENCE);
        Ok(request)
    }

    fn cas(&self) -> ContentAddressableStorageClient<Channel> {
        ContentAddressableStorageClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn bytestream(&self) -> ByteStreamClient<Channel> {
        ByteStreamClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn action_cache(&self) -> ActionCacheClient<Channel> {
        ActionCacheClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Bytes up to which blobs go in batch calls; the service is asked once. Some take 64 KiB.
    async fn batch_bytes_max(&self) -> Result<u64, StoreError> {
        let ask = || async {
            let message = re::GetCapabilitiesRequest { instance_name: self.instance.clone() };
            let request = self.unary(message)?;
            match CapabilitiesClient::new(self.channel.clone()).get_capabilities(request).await {
                Ok(answer) => {
                    let cache = answer.into_inner().cache_capabilities.unwrap_or_default();
                    // 0 means: no limit of its own.
                    let at_most = u64::try_from(cache.max_batch_total_size_bytes).unwrap_or(0);
                    Ok(if at_most == 0 { BATCH_BYTES_MAX } else { at_most.min(BATCH_BYTES_MAX) })
                }
                Err(status) if status.code() == Code::Unimplemented => Ok(BATCH_BYTES_MAX),
                Err(status) => Err(failed("GetCapabilities", &status)),
            }
        };
        self.batch_bytes_max.get_or_try_init(ask).await.copied()
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// An error of the service, with the call, the code and what it said.
fn failed(call: &str, status: &Status) -> StoreError {
    let code = format!("{:?}", status.code());
    match status.message() {
        "" => StoreError::Upstream(format!("{call}: {code}")),
        message => StoreError::Upstream(format!("{call}: {code}: {message}")),
    }
}
