//! A server that keeps nothing of the contract, in one of several ways.
use lre_proto::asset::{self, fetch_server::Fetch, push_server::Push};
use lre_proto::bytestream::byte_stream_server::ByteStream;
use lre_proto::bytestream::{self as bytes, ReadResponse, WriteResponse};
use lre_proto::longrunning::{self, operation, operations_server::Operations};
use lre_proto::re::{self, content_addressable_storage_server::ContentAddressableStorage};
use lre_proto::{protobuf, semver};
use prost::Message;
use re::action_cache_server::ActionCache;
use re::capabilities_server::Capabilities;
use re::execution_server::Execution;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_stream::Iter;
use tonic::{Request, Response, Status, Streaming};

/// How it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Whatever is asked, it nods, and has done nothing.
    Nods,
    /// The same, and tells nonsense of itself.
    Boasts,
    /// It says that all works, and nothing does.
    Refuses,
    /// It nods, and executes one action and never again.
    Tires,
}

/// The server.
#[derive(Clone)]
pub struct Liar {
    way: Way,
    executed: Arc<AtomicBool>,
}

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = Iter<std::vec::IntoIter<Result<T, Status>>>;

fn stream<T>(messages: Vec<T>) -> Answer<Stream<T>> {
    Ok(Response::new(tokio_stream::iter(messages.into_iter().map(Ok).collect::<Vec<_>>())))
}

impl Liar {
    pub fn new(way: Way) -> Self {
        Self { way, executed: Arc::default() }
    }

    fn nod<T>(&self, nothing: T) -> Answer<T> {
        match self.way {
            Way::Refuses => Err(Status::internal("nothing works here")),
            Way::Nods | Way::Boasts | Way::Tires => Ok(Response::new(nothing)),
        }
    }

    /// What it executes has always said `here`, and is over before it began.
    fn operation(&self) -> Answer<Stream<longrunning::Operation>> {
        if self.way != Way::Nods && self.executed.swap(true, Ordering::Relaxed) {
            return Err(Status::internal("too tired"));
        }
        let result = re::ActionResult { stdout_raw: b"here".to_vec(), ..Default::default() };
        let response = re::ExecuteResponse { result: Some(result), cached_result: true, ..Default::default() };
        let response = protobuf::Any {
            type_url: "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteResponse".to_owned(),
            value: response.encode_to_vec(),
        };
        let result = Some(operation::Result::Response(response));
        stream(vec![longrunning::Operation { result, ..Default::default() }])
    }
}

fn version(major: i32, minor: i32) -> Option<semver::SemVer> {
    Some(semver::SemVer { major, minor, ..Default::default() })
}

fn priorities(min_priority: i32, max_priority: i32) -> Option<re::PriorityCapabilities> {
    let range = re::priority_capabilities::PriorityRange { min_priority, max_priority };
    Some(re::PriorityCapabilities { priorities: vec![range] })
}

/// Everything that there is.
fn everything() -> re::ServerCapabilities {
    let functions = vec![re::digest_function::Value::Sha256 as i32, re::digest_function::Value::Blake3 as i32];
    let zstd = vec![re::compressor::Value::Zstd as i32];
    re::ServerCapabilities {
        cache_capabilities: Some(re::CacheCapabilities {
            digest_functions: functions.clone(),
            action_cache_update_capabilities: Some(re::ActionCacheUpdateCapabilities { update_enabled: true }),
            max_batch_total_size_bytes: 1 << 20,
            max_cas_blob_size_bytes: 1 << 40,
            symlink_absolute_path_strategy: re::symlink_absolute_path_strategy::Value::Allowed as i32,
            supported_compressors: zstd.clone(),
            supported_batch_update_compressors: zstd,
            split_blob_support: true,
            splice_blob_support: true,
            ..Default::default()
        }),
        execution_capabilities: Some(re::ExecutionCapabilities {
            digest_function: re::digest_function::Value::Sha256 as i32,
            digest_functions: functions,
            exec_enabled: true,
            supported_node_properties: vec!["mtime".to_owned()],
            ..Default::default()
        }),
        low_api_version: version(2, 0),
        high_api_version: version(2, 3),
        ..Default::default()
    }
}

/// What nobody should say of itself.
fn nonsense() -> re::ServerCapabilities {
    re::ServerCapabilities {
        cache_capabilities: Some(re::CacheCapabilities {
            digest_functions: vec![0],
            max_batch_total_size_bytes: 100 << 20,
            cache_priority_capabilities: priorities(5, 1),
            fast_cdc_2020_params: Some(re::FastCdc2020Params { avg_chunk_size_bytes: 7, seed: 0 }),
            ..Default::default()
        }),
        execution_capabilities: Some(re::ExecutionCapabilities {
            exec_enabled: true,
            execution_priority_capabilities: priorities(5, 9),
            supported_node_properties: vec!["OSFamily".to_owned()],
            ..Default::default()
        }),
        deprecated_api_version: version(9, 0),
        low_api_version: version(2, 1),
        high_api_version: version(2, 2),
    }
}

#[tonic::async_trait]
impl Capabilities for Liar {
    async fn get_capabilities(&self, request: Request<re::GetCapabilitiesRequest>) -> Answer<re::ServerCapabilities> {
        if !request.get_ref().instance_name.is_empty() {
            return Err(Status::unknown("which instance?"));
        }
        Ok(Response::new(match self.way {
            Way::Boasts => nonsense(),
            // It tells of neither, so both checks for that are seen to fail.
            Way::Refuses => re::ServerCapabilities::default(),
            Way::Nods | Way::Tires => everything(),
        }))
    }
}

#[tonic::async_trait]
impl ContentAddressableStorage for Liar {
    async fn find_missing_blobs(
        &self,
        request: Request<re::FindMissingBlobsRequest>,
    ) -> Answer<re::FindMissingBlobsResponse> {
        // Whoever asks for one blob is told that it is there, and who asks for more that the first is not.
        let missing = request.into_inner().blob_digests;
        let missing_blob_digests =
            if missing.len() == 1 { Vec::new() } else { vec![missing.first().cloned().unwrap_or_default()] };
        let twice = [missing_blob_digests.clone(), missing_blob_digests].concat();
        self.nod(re::FindMissingBlobsResponse { missing_blob_digests: twice })
    }

    async fn batch_update_blobs(
        &self,
        request: Request<re::BatchUpdateBlobsRequest>,
    ) -> Answer<re::BatchUpdateBlobsResponse> {
        // Of other digests than were sent.
        let response = re::batch_update_blobs_response::Response::default();
        let responses = vec![response; request.get_ref().requests.len().max(1)];
        self.nod(re::BatchUpdateBlobsResponse { responses })
    }

    async fn batch_read_blobs(&self, _: Request<re::BatchReadBlobsRequest>) -> Answer<re::BatchReadBlobsResponse> {
        self.nod(re::BatchReadBlobsResponse::default())
    }

    type GetTreeStream = Stream<re::GetTreeResponse>;

    async fn get_tree(&self, _: Request<re::GetTreeRequest>) -> Answer<Self::GetTreeStream> {
        self.nod(())?;
        stream(vec![re::GetTreeResponse { directories: vec![re::Directory::default(); 2], ..Default::default() }])
    }

    async fn split_blob(&self, _: Request<re::SplitBlobRequest>) -> Answer<re::SplitBlobResponse> {
        self.nod(re::SplitBlobResponse::default())
    }

    type GetChunkMappingStream = Stream<re::GetChunkMappingResponse>;

    async fn get_chunk_mapping(&self, _: Request<re::GetChunkMappingRequest>) -> Answer<Self::GetChunkMappingStream> {
        stream(Vec::new())
    }

    async fn splice_blob(&self, _: Request<re::SpliceBlobRequest>) -> Answer<re::SpliceBlobResponse> {
        self.nod(re::SpliceBlobResponse::default())
    }

    async fn register_chunk_mapping(
        &self,
        _: Request<Streaming<re::RegisterChunkMappingRequest>>,
    ) -> Answer<re::RegisterChunkMappingResponse> {
        self.nod(re::RegisterChunkMappingResponse::default())
    }
}

#[tonic::async_trait]
impl ByteStream for Liar {
    type ReadStream = Stream<ReadResponse>;

    async fn read(&self, _: Request<bytes::ReadRequest>) -> Answer<Self::ReadStream> {
        self.nod(())?;
        stream(vec![ReadResponse { data: "other bytes than were asked for".into() }])
    }

    async fn write(&self, _: Request<Streaming<bytes::WriteRequest>>) -> Answer<WriteResponse> {
        self.nod(WriteResponse { committed_size: 4711 })
    }

    async fn query_write_status(
        &self,
        _: Request<bytes::QueryWriteStatusRequest>,
    ) -> Answer<bytes::QueryWriteStatusResponse> {
        self.nod(bytes::QueryWriteStatusResponse { committed_size: 4711, complete: false })
    }
}

#[tonic::async_trait]
impl ActionCache for Liar {
    async fn get_action_result(&self, _: Request<re::GetActionResultRequest>) -> Answer<re::ActionResult> {
        self.nod(re::ActionResult::default())
    }

    async fn update_action_result(&self, _: Request<re::UpdateActionResultRequest>) -> Answer<re::ActionResult> {
        self.nod(re::ActionResult::default())
    }
}

#[tonic::async_trait]
impl Execution for Liar {
    type ExecuteStream = Stream<longrunning::Operation>;

    async fn execute(&self, _: Request<re::ExecuteRequest>) -> Answer<Self::ExecuteStream> {
        self.operation()
    }

    type WaitExecutionStream = Stream<longrunning::Operation>;

    async fn wait_execution(&self, _: Request<re::WaitExecutionRequest>) -> Answer<Self::WaitExecutionStream> {
        self.operation()
    }
}

#[tonic::async_trait]
impl Operations for Liar {
    async fn list_operations(
        &self,
        _: Request<longrunning::ListOperationsRequest>,
    ) -> Answer<longrunning::ListOperationsResponse> {
        self.nod(longrunning::ListOperationsResponse::default())
    }

    async fn get_operation(&self, _: Request<longrunning::GetOperationRequest>) -> Answer<longrunning::Operation> {
        self.nod(longrunning::Operation { done: true, ..Default::default() })
    }

    async fn delete_operation(&self, _: Request<longrunning::DeleteOperationRequest>) -> Answer<protobuf::Empty> {
        self.nod(protobuf::Empty::default())
    }

    async fn cancel_operation(&self, _: Request<longrunning::CancelOperationRequest>) -> Answer<protobuf::Empty> {
        self.nod(protobuf::Empty::default())
    }

    async fn wait_operation(&self, _: Request<longrunning::WaitOperationRequest>) -> Answer<longrunning::Operation> {
        self.nod(longrunning::Operation::default())
    }
}

#[tonic::async_trait]
impl Fetch for Liar {
    async fn fetch_blob(&self, _: Request<asset::FetchBlobRequest>) -> Answer<asset::FetchBlobResponse> {
        self.nod(asset::FetchBlobResponse::default())
    }

    async fn fetch_directory(&self, _: Request<asset::FetchDirectoryRequest>) -> Answer<asset::FetchDirectoryResponse> {
        self.nod(asset::FetchDirectoryResponse::default())
    }
}

#[tonic::async_trait]
impl Push for Liar {
    async fn push_blob(&self, _: Request<asset::PushBlobRequest>) -> Answer<asset::PushBlobResponse> {
        self.nod(asset::PushBlobResponse::default())
    }

    async fn push_directory(&self, _: Request<asset::PushDirectoryRequest>) -> Answer<asset::PushDirectoryResponse> {
        self.nod(asset::PushDirectoryResponse::default())
    }
}
