//! `Execute`, followed to its end through broken streams.
use crate::client::error::missing;
use crate::client::{Client, ClientError, Prepared};
use lre_model::{ActionResult, Digest};
use lre_proto::{longrunning, re, rpc};
use lre_server::metadata::EXPLAIN_HEADER;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status, Streaming};

/// How an action is to be executed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Run it even where a result is known.
    pub skip_cache_lookup: bool,
    /// Run it, and have the server tell what the command wanted and did not get.
    pub explain: bool,
    /// Lower runs earlier.
    pub priority: i32,
}

/// What an execution gave.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The result; empty where there is none, which only happens with a failure.
    pub result: Arc<ActionResult>,
    /// It was not run now.
    pub cached: bool,
    /// What the server tells people beside it.
    pub message: String,
    /// Why there is no exit code: the command was too slow, for example. The result holds its output so
    /// far.
    pub failure: Option<Status>,
}

/// Where an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The cache is asked.
    CacheCheck,
    /// It waits for a slot.
    Queued,
    /// It runs.
    Executing,
}

/// How often a broken stream is taken up again, and the pause before each time (doubled each time): a
/// server that is restarted is back within this.
const RECONNECTS_MAX: u32 = 6;
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// How often blobs that went missing between upload and execution are sent again.
const REUPLOADS_MAX: u32 = 3;

/// How one stream ended.
enum End {
    Done(Box<re::ExecuteResponse>),
    /// The connection broke, or the stream ended without an answer.
    Broken(Status),
    /// The server said no.
    Refused(Status),
}

impl Client {
    /// Executes an action whose blobs are uploaded, and waits for its end. `watch` is told of each stage.
    ///
    /// A stream that breaks is taken up with `WaitExecution`; blobs that the server has lost meanwhile
    /// are sent again (PROTOCOL, 51 and 54).
    ///
    /// # Errors
    /// The server refuses, or stays away.
    pub async fn execute(
        &self,
        prepared: &Prepared,
        options: &Options,
        watch: &(dyn Fn(Stage) + Send + Sync),
    ) -> Result<Executed, ClientError> {
        let (mut operation, mut reconnects, mut reuploads) = (None::<String>, 0, 0);
        loop {
            let opened = match &operation {
                None => self.open(prepared, options).await,
                Some(name) => self.wait(name).await,
            };
            let end = match opened {
                Ok(stream) => follow(stream, &mut operation, watch).await,
                Err(status) if broken(&status) => End::Broken(status),
                Err(status) => End::Refused(status),
            };
            match end {
                End::Done(response) => {
                    let status = response.status.as_ref().map(from_rpc).filter(|s| s.code() != Code::Ok);
                    match status {
                        Some(status) if reuploads < REUPLOADS_MAX && self.resend(prepared, &status).await? => {
                            (operation, reuploads) = (None, reuploads + 1);
                        }
                        status => return executed(prepared, *response, status),
                    }
                }
                End::Broken(status) if reconnects == RECONNECTS_MAX => return Err(self.unreachable(status)),
                End::Broken(_) => {
                    tokio::time::sleep(RECONNECT_PAUSE * 2_u32.pow(reconnects)).await;
                    reconnects += 1;
                }
                // The server was restarted and knows nothing of it: ask again.
                End::Refused(status) if operation.is_some() && status.code() == Code::NotFound => operation = None,
                End::Refused(status) if reuploads < REUPLOADS_MAX && self.resend(prepared, &status).await? => {
                    (operation, reuploads) = (None, reuploads + 1);
                }
                End::Refused(status) => return Err(status.into()),
            }
        }
    }

    async fn open(&self, prepared: &Prepared, options: &Options) -> Result<Streaming<longrunning::Operation>, Status> {
        let request = re::ExecuteRequest {
            skip_cache_lookup: options.skip_cache_lookup,
            action_digest: Some(prepared.action.0.to_wire()),
            execution_policy: (options.priority != 0).then_some(re::ExecutionPolicy { priority: options.priority }),
            digest_function: prepared.action.0.function().to_wire(),
            ..Default::default()
        };
        let mut request = self.request(request, Some(prepared.action));
        if options.explain {
            request.metadata_mut().insert(EXPLAIN_HEADER, MetadataValue::from_static("1"));
        }
        Ok(self.execution().execute(request).await?.into_inner())
    }

    async fn wait(&self, name: &str) -> Result<Streaming<longrunning::Operation>, Status> {
        let request = re::WaitExecutionRequest { name: name.to_owned() };
        Ok(self.execution().wait_execution(self.request(request, None)).await?.into_inner())
    }

    /// Sends again what the server says it misses; whether there was anything of ours.
    async fn resend(&self, prepared: &Prepared, status: &Status) -> Result<bool, ClientError> {
        let subjects = missing(status);
        let ours: Vec<Digest> =
            prepared.blobs.keys().copied().filter(|d| subjects.iter().any(|s| *s == d.subject())).collect();
        self.send(prepared, &ours).await?;
        Ok(!ours.is_empty())
    }
}

async fn follow(
    mut stream: Streaming<longrunning::Operation>,
    operation: &mut Option<String>,
    watch: &(dyn Fn(Stage) + Send + Sync),
) -> End {
    loop {
        let update = match stream.message().await {
            Ok(Some(update)) => update,
            Ok(None) => return End::Broken(Status::unavailable("the stream ended before the execution did")),
            Err(status) if broken(&status) => return End::Broken(status),
            Err(status) => return End::Refused(status),
        };
        if !update.name.is_empty() {
            *operation = Some(update.name);
        }
        use longrunning::operation::Result as R;
        match update.result {
            Some(R::Response(any)) => {
                return match re::ExecuteResponse::decode(&any.value[..]) {
                    Ok(response) => End::Done(Box::new(response)),
                    Err(e) => End::Refused(Status::data_loss(format!("the answer is no ExecuteResponse: {e}"))),
                };
            }
            Some(R::Error(error)) => return End::Refused(from_rpc(&error)),
            None => {
                if let Some(stage) = update.metadata.as_ref().and_then(|any| stage(&any.value)) {
                    watch(stage);
                }
            }
        }
    }
}

fn stage(metadata: &[u8]) -> Option<Stage> {
    use re::execution_stage::Value;
    let metadata = re::ExecuteOperationMetadata::decode(metadata).ok()?;
    match Value::try_from(metadata.stage).ok()? {
        Value::CacheCheck => Some(Stage::CacheCheck),
        Value::Queued => Some(Stage::Queued),
        Value::Executing => Some(Stage::Executing),
        Value::Unknown | Value::Completed => None,
    }
}

/// Whether the connection broke, as opposed to the server having said no. What tonic makes up itself has
/// a source; what came over the wire has none.
pub(super) fn broken(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

fn from_rpc(status: &rpc::Status) -> Status {
    let details = status.encode_to_vec().into();
    Status::with_details(Code::from(status.code), status.message.clone(), details)
}

fn executed(
    prepared: &Prepared,
    response: re::ExecuteResponse,
    failure: Option<Status>,
) -> Result<Executed, ClientError> {
    let result = match (response.result, failure.clone()) {
        (Some(result), _) => result,
        (None, Some(status)) => return Err(status.into()),
        (None, None) => return Err(ClientError::Protocol("an answer without a result".to_owned())),
    };
    let result = ActionResult::from_wire(prepared.action.0.function(), result);
    let result = result.map_err(|e| ClientError::Protocol(e.to_string()))?;
    Ok(Executed { result: Arc::new(result), cached: response.cached_result, message: response.message, failure })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_not_a_broken_stream() {
        assert!(broken(&Status::unavailable("")));
        assert!(broken(&Status::from_error(Box::new(std::io::Error::other("reset")))));
        assert!(!broken(&Status::not_found("")));
        assert!(!broken(&Status::internal("the sandbox failed")));
    }

    #[test]
    fn details_of_a_response_are_readable() {
        use tonic_types::{ErrorDetails, StatusExt};
        let mut details = ErrorDetails::new();
        details.add_precondition_failure_violation("MISSING", "blobs/x/1", "");
        let status = Status::with_error_details(Code::FailedPrecondition, "gone", details);
        let wire = rpc::Status::decode(status.details()).unwrap();
        assert_eq!(missing(&from_rpc(&wire)), ["blobs/x/1"]);
    }
}
