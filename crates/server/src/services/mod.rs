//! One file for each service of the API.
pub mod action_cache;
pub mod asset;
pub mod bytestream;
pub mod capabilities;
pub mod cas;
mod chunks;
pub(crate) mod download;
pub mod execution;
mod frames;
pub mod health;
mod log;
pub mod logstream;
mod operation_filter;
pub mod operations;
pub mod reflection;
pub mod store;
mod tree;
mod upload;
mod uploads;

pub use log::LogError;

use crate::limits;
use execution::Rooms;
use logstream::LogStreams;
use lre_proto::bytestream::byte_stream_server::ByteStreamServer;
use lre_proto::logstream::log_stream_service_server::LogStreamServiceServer;
use lre_proto::re::action_cache_server::ActionCacheServer;
use lre_proto::re::capabilities_server::CapabilitiesServer;
use lre_proto::re::content_addressable_storage_server::ContentAddressableStorageServer;
use lre_store::{BlobStore, Staging};
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
    /// Adds Capabilities, ContentAddressableStorage, ByteStream, LogStreamService and ActionCache.
    pub fn add_to(self, routes: &mut RoutesBuilder) {
        self.add_with(routes, None);
    }

    /// The same, for a server that runs actions.
    pub fn add_with(self, routes: &mut RoutesBuilder, rooms: Option<&Arc<Rooms>>) {
        let Self { blobs, actions, staging } = self;
        let registry = rooms.map(|rooms| Arc::clone(&rooms.tools.registry));
        let actions = action_cache::ActionCache::new(Arc::clone(&blobs), actions, rooms.cloned());
        let cas = cas::Cas::new(Arc::clone(&blobs), staging.clone());
        let operations = rooms.map_or_else(Arc::default, |rooms| Arc::clone(&rooms.operations));
        let logs = LogStreams::new(Arc::clone(&blobs), operations, staging.clone());
        let bytestream = bytestream::ByteStream::new(blobs, staging, logs.clone());
        let most = limits::MESSAGE_BYTES_RECEIVED_MAX;
        routes
            .add_service(CapabilitiesServer::new(capabilities::Capabilities::new(registry)))
            .add_service(ContentAddressableStorageServer::new(cas).max_decoding_message_size(most))
            .add_service(frames::Frames(ByteStreamServer::new(bytestream).max_decoding_message_size(most)))
            .add_service(LogStreamServiceServer::new(logs))
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
