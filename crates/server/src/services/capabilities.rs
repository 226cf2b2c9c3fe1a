//! `Capabilities` (PROTOCOL, B).
use crate::limits;
use lre_model::DigestFunction;
use lre_proto::{re, semver::SemVer};
use tonic::{Request, Response, Status};

/// What this server can do. The same for every instance name, and both sections always: a client
/// may use one address as cache and as executor (PROTOCOL, 9).
#[derive(Clone, Copy, Debug, Default)]
pub struct Capabilities;

/// What is advertised.
#[must_use]
pub fn advertised() -> re::ServerCapabilities {
    let version = |major, minor| Some(SemVer { major, minor, ..Default::default() });
    re::ServerCapabilities {
        cache_capabilities: Some(cache()),
        execution_capabilities: Some(execution()),
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
        split_blob_support: false,
        splice_blob_support: false,
        fast_cdc_2020_params: None,
        rep_max_cdc_params: None,
    }
}

fn execution() -> re::ExecutionCapabilities {
    re::ExecutionCapabilities {
        digest_function: DigestFunction::Sha256.to_wire(),
        exec_enabled: true,
        execution_priority_capabilities: Some(priorities()),
        // NodeProperty names, not platform properties (PROTOCOL, 16). We have none.
        supported_node_properties: Vec::new(),
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
        Ok(Response::new(advertised()))
    }
}
