//! `grpc.health.v1` (PROTOCOL, 6).
use lre_proto::asset::fetch_server::SERVICE_NAME as ASSET_FETCH;
use lre_proto::asset::push_server::SERVICE_NAME as ASSET_PUSH;
use lre_proto::bytestream::byte_stream_server::SERVICE_NAME as BYTE_STREAM;
use lre_proto::logstream::log_stream_service_server::SERVICE_NAME as LOG_STREAM;
use lre_proto::re::action_cache_server::SERVICE_NAME as ACTION_CACHE;
use lre_proto::re::capabilities_server::SERVICE_NAME as CAPABILITIES;
use lre_proto::re::content_addressable_storage_server::SERVICE_NAME as CAS;
use lre_proto::re::execution_server::SERVICE_NAME as EXECUTION;
use tonic::service::RoutesBuilder;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The services that are reported on; the empty name is the server as a whole.
pub const NAMES: [&str; 9] =
    ["", CAPABILITIES, CAS, BYTE_STREAM, ACTION_CACHE, EXECUTION, ASSET_FETCH, ASSET_PUSH, LOG_STREAM];

/// Says of every service whether it serves.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// Adds the health service; everything serves from now on.
    pub async fn add_to(routes: &mut RoutesBuilder) -> Self {
        let (reporter, server) = tonic_health::server::health_reporter();
        let health = Self { reporter };
        health.set(ServingStatus::Serving).await;
        routes.add_service(server);
        health
    }

    /// Watchers are told that the server goes away, before it does.
    pub async fn stopping(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for name in NAMES {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
