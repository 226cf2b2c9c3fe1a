//! One file for each service of the API.
pub mod action_cache;
pub mod asset;
pub mod bytestream;
pub mod capabilities;
pub mod cas;
mod chunks;
pub(crate) mod download;
pub mod execution;
pub mod health;
pub mod operations;
pub mod reflection;
mod tree;
mod upload;
mod uploads;

use crate::limits;
use lre_proto::bytestream::byte_stream_server::ByteStreamServer;
use lre_proto::re::action_cache_server::ActionCacheServer;
use lre_proto::re::capabilities_server::CapabilitiesServer;
use lre_proto::re::content_addressable_storage_server::ContentAddressableStorageServer;
use lre_store::{BlobStore, Staging};
use lre_toolchain::Registry;
use std::io;
use std::sync::Arc;
use tonic::service::RoutesBuilder;

/// What the services that only store and fetch are made of.
pub struct Storage {
    /// The blobs.
    pub blobs: Arc<dyn BlobStore>,
    /// The results; complete ones only (`lre_store::Complete`).
    pub actions: Arc<dyn lre_store::ActionCache>,
    /// Where uploads wait.
    pub staging: Staging,
}

impl Storage {
    /// Adds Capabilities, ContentAddressableStorage, ByteStream and ActionCache.
    pub fn add_to(self, routes: &mut RoutesBuilder) {
        self.add_with(routes, None);
    }

    /// The same, for a server that runs actions with the toolchains of `registry`.
    pub fn add_with(self, routes: &mut RoutesBuilder, registry: Option<Arc<Registry>>) {
        let Self { blobs, actions, staging } = self;
        let actions = action_cache::ActionCache::new(Arc::clone(&blobs), actions);
        let cas = cas::Cas::new(Arc::clone(&blobs), staging.clone());
        let bytestream = bytestream::ByteStream::new(blobs, staging);
        let most = limits::MESSAGE_BYTES_RECEIVED_MAX;
        routes
            .add_service(CapabilitiesServer::new(capabilities::Capabilities::new(registry)))
            .add_service(ContentAddressableStorageServer::new(cas).max_decoding_message_size(most))
            .add_service(ByteStreamServer::new(bytestream).max_decoding_message_size(most))
            .add_service(ActionCacheServer::new(actions).max_decoding_message_size(most));
    }
}

/// Work that takes time in proportion to `bytes`: where we are if they are few, else on a thread
/// that does not keep others waiting.
pub(crate) async fn work<T, E>(bytes: usize, work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    if bytes <= limits::INLINE_WORK_BYTES_MAX {
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(|e| E::from(io::Error::other(e)))?
}
