//! Action results: a small [framed](super::frame) file for each action, with the `ActionResult` message.
use super::Inner;
use super::layout::Room;
use crate::StoreError;
use lre_model::{ActionDigest, ActionResult};
use std::sync::Arc;

impl Inner {
    pub(super) fn get_result(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        let read = |payload: &[u8]| {
            ActionResult::decode(action.0.function(), payload).map(Arc::new).map_err(|e| e.to_string())
        };
        self.get_framed(Room::Results, action.0, read)
    }

    pub(super) fn put_result(&self, action: ActionDigest, result: &ActionResult) -> Result<(), StoreError> {
        self.put_framed(Room::Results, action.0, &result.encode())
    }
}
