//! `google.longrunning.Operations` over the operations of `Execute` (PROTOCOL, 55).
use super::operation_filter::Filter;
use crate::operation::Operation;
use crate::services::execution::Rooms;
use crate::status;
use lre_model::Invalid;
use lre_proto::longrunning::{
    self, CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest,
    ListOperationsResponse, WaitOperationRequest,
};
use lre_proto::protobuf::{self, Empty};
use lre_scheduler::OperationId;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// Operations in one answer where the client sets no page size.
const PAGE_DEFAULT: usize = 100;
/// Operations in one answer. Some kilobytes each; a message is at most 4 MiB.
const PAGE_MAX: usize = 500;
/// The longest `WaitOperation`, and what is taken where the client says nothing: short of what
/// proxies and clients take for a dead call.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The service.
pub struct Operations {
    rooms: Arc<Rooms>,
}

impl Operations {
    /// A service over the rooms of [`crate::services::execution::Execution`].
    #[must_use]
    pub fn new(rooms: Arc<Rooms>) -> Self {
        Self { rooms }
    }

    fn named(&self, name: &str) -> Result<Arc<Operation>, Status> {
        self.rooms.operations.named(name).map_err(status::of)
    }

    async fn now(&self, operation: &Operation) -> longrunning::Operation {
        operation.to_wire(&operation.state(), &*self.rooms.blobs).await
    }
}

/// A page token is the number of the last operation told.
fn after(token: &str) -> Result<Option<OperationId>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let problem = "not a token of this server: take next_page_token";
    let number = token.parse().map_err(|_| status::of(Invalid::new("page_token", problem)))?;
    Ok(Some(OperationId(number)))
}

/// Negative is over already.
fn wait(asked: protobuf::Duration) -> Duration {
    let nanos = u32::try_from(asked.nanos).unwrap_or(0).min(999_999_999);
    u64::try_from(asked.seconds).map_or(Duration::ZERO, |seconds| Duration::new(seconds, nanos)).min(WAIT_MAX)
}

#[tonic::async_trait]
impl longrunning::operations_server::Operations for Operations {
    /// All operations, whatever the parent: any instance name is this one.
    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let request = request.into_inner();
        let filter = Filter::parse(&request.filter).map_err(status::of)?;
        let page = match usize::try_from(request.page_size) {
            Ok(0) => PAGE_DEFAULT,
            Ok(size) => size.min(PAGE_MAX),
            Err(_) => return Err(status::of(Invalid::new("page_size", "a page size is not negative"))),
        };
        let found = self.rooms.operations.list(after(&request.page_token)?, page, |o| filter.matches(o));
        let next_page_token = match found.last() {
            Some(last) if found.len() == page => last.id.0.to_string(),
            _ => String::new(),
        };
        let mut operations = Vec::with_capacity(found.len());
        for operation in found {
            operations.push(self.now(&operation).await);
        }
        Ok(Response::new(ListOperationsResponse { operations, next_page_token, ..Default::default() }))
    }

    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<longrunning::Operation>, Status> {
        let operation = self.named(&request.into_inner().name)?;
        Ok(Response::new(self.now(&operation).await))
    }

    async fn delete_operation(&self, request: Request<DeleteOperationRequest>) -> Result<Response<Empty>, Status> {
        let operation = self.named(&request.into_inner().name)?;
        self.rooms.operations.delete(&operation);
        Ok(Response::new(Empty::default()))
    }

    /// What is over is not changed by it (google.longrunning: "the operation may have completed").
    async fn cancel_operation(&self, request: Request<CancelOperationRequest>) -> Result<Response<Empty>, Status> {
        let operation = self.named(&request.into_inner().name)?;
        self.rooms.driver.withdraw(&operation);
        Ok(Response::new(Empty::default()))
    }

    async fn wait_operation(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Response<longrunning::Operation>, Status> {
        let request = request.into_inner();
        let presence = self.rooms.driver.watch(self.named(&request.name)?);
        let asked = request.timeout.map_or(WAIT_MAX, wait);
        let mut states = presence.operation.subscribe();
        let done = states.wait_for(|state| matches!(state, crate::operation::State::Completed(_)));
        // Not done in time is an answer too: how far it is.
        let _ = tokio::time::timeout(asked, done).await.is_ok();
        Ok(Response::new(self.now(&presence.operation).await))
    }
}
