//! Action results over the wire.
use super::{Upstream, failed};
use crate::{ActionCache, StoreError};
use async_trait::async_trait;
use lre_model::{ActionDigest, ActionResult};
use lre_proto::re;
use std::sync::Arc;
use tonic::Code;

#[async_trait]
impl ActionCache for Upstream {
    async fn get(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        let message = re::GetActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(action.0.to_wire()),
            digest_function: action.0.function().to_wire(),
            ..Default::default()
        };
        let wire = match self.action_cache().get_action_result(self.unary(message)?).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(failed("GetActionResult", &status)),
        };
        let result = ActionResult::from_wire(action.0.function(), wire)
            .map_err(|e| StoreError::Upstream(format!("GetActionResult answered with a malformed result: {e}")))?;
        Ok(Some(Arc::new(result)))
    }

    async fn put(&self, action: ActionDigest, result: Arc<ActionResult>) -> Result<(), StoreError> {
        let message = re::UpdateActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(action.0.to_wire()),
            action_result: Some(result.wire().clone()),
            digest_function: action.0.function().to_wire(),
            ..Default::default()
        };
        let answer = self.action_cache().update_action_result(self.unary(message)?).await;
        answer.map(|_| ()).map_err(|status| failed("UpdateActionResult", &status))
    }
}
