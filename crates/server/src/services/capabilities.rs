//! `Capabilities` (PROTOCOL, B).
use crate::limits;
use lre_model::{DigestFunction, Property};
use lre_proto::{re, semver::SemVer};
use lre_store::chunking;
use lre_toolchain::{ADVERTISED_COUNT, ADVERTISED_LIST, Advertised, Registry};
use std::sync::Arc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// What this server can do. The same for every instance name, and both sections always: a client
/// may use one address as cache and as executor (PROTOCOL, 9).
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    registry: Option<Arc<Registry>>,
}

impl Capabilities {
    /// Tells of the toolchains in `registry`, where there is one.
    #[must_use]
    pub fn new(registry: Option<Arc<Registry>>) -> Self {
        Self { registry }
    }

    /// Which toolchains there are, as headers: the API has no place for them. A registry that cannot be read is told
    /// to whoever executes; the capabilities are what they are.
    fn tell_toolchains(&self, metadata: &mut MetadataMap) {
        let Some(Ok(installed)) = self.registry.as_ref().map(|registry| registry.all()) else { return };
        let (list, count) = Advertised::of(&installed).headers();
        for (name, value) in [(ADVERTISED_LIST, list), (ADVERTISED_COUNT, count)] {
            if let Ok(value) = value.parse() {
                metadata.insert(name, value);
            }
        }
    }
}

/// What is advertised.
#[must_use]
pub fn advertised() -> re::ServerCapabilities {
    let version = |major, minor| Some(SemVer { major, minor, ..Default::default() });
    re::ServerCapabilities {
        cache_capabilities: Some(cache()),
        execution_capabilities: Some(execution()),
        // PROTOCOL, 19: would announce which versions go. None of those that are spoken does.
        deprecated_api_version: None,
        // Bazel 4.2 and 7.7 refuse a server whose low version is above 2.0 (PROTOCOL, 10).
        low_api_version: version(2, 0),
        high_api_version: version(2, 3),
    }
}

fn cache() -> re::CacheCapabilities {
    let compressors = vec![re::compressor::Value::Zstd as i32];
    re::CacheCapabilities {
        digest_functions: functions(),
        action_cache_update_capabilities: Some(re::ActionCacheUpdateCapabilities { update_enabled: true }),
        cache_priority_capabilities: Some(priorities()),
        max_batch_total_size_bytes: limits::BATCH_BYTES_MAX.cast_signed(),
        symlink_absolute_path_strategy: re::symlink_absolute_path_strategy::Value::Allowed as i32,
        supported_compressors: compressors.clone(),
        supported_batch_update_compressors: compressors,
        // 0: no limit. Blobs are streamed to disk.
        max_cas_blob_size_bytes: 0,
        split_blob_support: true,
        splice_blob_support: true,
        fast_cdc_2020_params: Some(re::FastCdc2020Params {
            avg_chunk_size_bytes: chunking::AVERAGE_BYTES as u64,
            seed: chunking::SEED,
        }),
        rep_max_cdc_params: None,
    }
}

fn execution() -> re::ExecutionCapabilities {
    re::ExecutionCapabilities {
        digest_function: DigestFunction::Sha256.to_wire(),
        exec_enabled: true,
        execution_priority_capabilities: Some(priorities()),
        // NodeProperty names, not platform properties (PROTOCOL, 16). Of outputs only: see docs/reference/protocol.md, 76.
        supported_node_properties: Property::ALL.map(|property| property.name().to_owned()).to_vec(),
        digest_functions: functions(),
    }
}

fn functions() -> Vec<i32> {
    DigestFunction::ALL.map(DigestFunction::to_wire).to_vec()
}

fn priorities() -> re::PriorityCapabilities {
    let (min_priority, max_priority) = limits::PRIORITY_RANGE;
    let range = re::priority_capabilities::PriorityRange { min_priority, max_priority };
    re::PriorityCapabilities { priorities: vec![range] }
}

#[tonic::async_trait]
impl re::capabilities_server::Capabilities for Capabilities {
    async fn get_capabilities(
        &self,
        _: Request<re::GetCapabilitiesRequest>,
    ) -> Result<Response<re::ServerCapabilities>, Status> {
        let mut response = Response::new(advertised());
        self.tell_toolchains(response.metadata_mut());
        Ok(response)
    }
}
