//! `ActionCache` (PROTOCOL, F).
use super::execution::Rooms;
use crate::limits::INLINE_BYTES_MAX;
use crate::status::{self, Refusal};
use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction, Invalid};
use lre_proto::re;
use lre_store::{BlobStore, StoreError};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service. `actions` answers only with complete results (see `lre_store::Complete`); that is
/// a wrapper's concern and not checked again here.
pub struct ActionCache {
    blobs: Arc<dyn BlobStore>,
    actions: Arc<dyn lre_store::ActionCache>,
    /// Of a server that runs actions.
    rooms: Option<Arc<Rooms>>,
}

/// What the client would like to have inside the result (PROTOCOL, 45). Hints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inline {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Output files, by their paths.
    pub files: Vec<String>,
}

impl ActionCache {
    /// A service over a cache and the store that its results point into, with what runs actions, where something does.
    #[must_use]
    pub fn new(blobs: Arc<dyn BlobStore>, actions: Arc<dyn lre_store::ActionCache>, rooms: Option<Arc<Rooms>>) -> Self {
        Self { blobs, actions, rooms }
    }

    /// What `Execute` would answer without running anything: the result under the digest itself, else that of the
    /// server's default toolchain, which an action means that names none.
    async fn find(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        match (self.actions.get(action).await?, &self.rooms) {
            (None, Some(rooms)) => rooms.known_with_default(action).await,
            (found, _) => Ok(found),
        }
    }

    /// Everything that a result names must be there before the result is (PROTOCOL, 46), or its
    /// readers would be promised what cannot be had. The files inside `Tree`s are looked at when
    /// the result is read.
    async fn refuse_incomplete(&self, result: &ActionResult) -> Result<(), Status> {
        let named: Vec<_> = [result.blobs(), result.trees(), result.directories()].concat();
        let (_hold, missing) = self.blobs.hold(&named).await.map_err(status::of)?;
        match missing.is_empty() {
            true => Ok(()),
            false => Err(status::in_trailers(status::of(Refusal::Missing(missing)))),
        }
    }
}

/// Parses the key of a request.
fn action(function: i32, digest: Option<&re::Digest>) -> Result<ActionDigest, Status> {
    let function = DigestFunction::from_wire(function).map_err(status::of)?;
    let digest = Digest::from_wire(function, digest).map_err(|e| status::of(Invalid::new("action_digest", e)))?;
    Ok(ActionDigest(digest))
}

/// The result with what was asked for inside it, as far as it fits a message. What does not fit,
/// or cannot be read just now, is left to its digest.
///
/// # Errors
/// The store failed in another way than by not having a blob.
pub async fn inlined(
    blobs: &dyn BlobStore,
    result: &ActionResult,
    hints: &Inline,
) -> Result<re::ActionResult, StoreError> {
    let mut wire = result.wire().clone();
    let mut room = Room { blobs, function: result.function(), bytes: INLINE_BYTES_MAX };
    if hints.stdout && wire.stdout_raw.is_empty() {
        wire.stdout_raw = room.take(wire.stdout_digest.as_ref()).await?.unwrap_or_default();
    }
    if hints.stderr && wire.stderr_raw.is_empty() {
        wire.stderr_raw = room.take(wire.stderr_digest.as_ref()).await?.unwrap_or_default();
    }
    for file in wire.output_files.iter_mut().filter(|f| hints.files.contains(&f.path)) {
        if file.contents.is_empty() {
            file.contents = room.take(file.digest.as_ref()).await?.unwrap_or_default();
        }
    }
    Ok(wire)
}

/// How much may still be inlined.
struct Room<'a> {
    blobs: &'a dyn BlobStore,
    function: DigestFunction,
    bytes: usize,
}

impl Room<'_> {
    async fn take(&mut self, digest: Option<&re::Digest>) -> Result<Option<Vec<u8>>, StoreError> {
        let Ok(digest) = Digest::from_wire(self.function, digest) else { return Ok(None) };
        if digest.size_bytes() > self.bytes as u64 {
            return Ok(None);
        }
        let bytes = match self.blobs.read(digest).await {
            Ok(blob) => blob.into_bytes(self.bytes as u64).await?,
            Err(StoreError::Missing(_)) => return Ok(None),
            Err(e) => return Err(e),
        };
        self.bytes -= bytes.len().min(self.bytes);
        Ok(Some(bytes.to_vec()))
    }
}

#[tonic::async_trait]
impl re::action_cache_server::ActionCache for ActionCache {
    async fn get_action_result(
        &self,
        request: Request<re::GetActionResultRequest>,
    ) -> Result<Response<re::ActionResult>, Status> {
        let request = request.into_inner();
        let action = action(request.digest_function, request.action_digest.as_ref())?;
        let result = self.find(action).await.map_err(status::of)?;
        let result = result.ok_or_else(|| status::of(Refusal::NoResult(action)))?;
        let hints =
            Inline { stdout: request.inline_stdout, stderr: request.inline_stderr, files: request.inline_output_files };
        let wire = inlined(&*self.blobs, &result, &hints).await.map_err(status::of)?;
        Ok(Response::new(wire))
    }

    async fn update_action_result(
        &self,
        request: Request<re::UpdateActionResultRequest>,
    ) -> Result<Response<re::ActionResult>, Status> {
        let request = request.into_inner();
        let action = action(request.digest_function, request.action_digest.as_ref())?;
        let mut wire =
            request.action_result.ok_or_else(|| status::of(Invalid::new("action_result", "a result is needed")))?;
        // PROTOCOL, 47: never zero bytes. REAPI lets a server change what it is given.
        let metadata = wire.execution_metadata.get_or_insert_default();
        if metadata.worker.is_empty() {
            metadata.worker = "client".to_owned();
        }
        let result = ActionResult::from_wire(action.0.function(), wire).map_err(status::of)?;
        self.refuse_incomplete(&result).await?;
        let result = Arc::new(result);
        self.actions.put(action, Arc::clone(&result)).await.map_err(status::of)?;
        Ok(Response::new(result.wire().clone()))
    }
}
