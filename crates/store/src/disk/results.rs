//! Action results: the `ActionResult` message of each action, in the log.
use super::catalogue::{Entry, Key, Payload, RECORD_HEAD_BYTES};
use super::{Inner, RESULT_BYTES_MAX};
use crate::StoreError;
use bytes::Bytes;
use lre_model::{ActionDigest, ActionResult, Digest};
use std::sync::Arc;

/// Results name everything else: of one moment they go first.
const RANK: u8 = u8::MAX;

impl Inner {
    pub(super) fn get_result(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        let key = Key::result(action);
        let Some((entry, payload)) = self.payload(&key, action.0)? else { return Ok(None) };
        match ActionResult::decode(action.0.function(), &payload) {
            Ok(result) => {
                self.renew(&key, &entry, self.stamp(0))?;
                Ok(Some(Arc::new(result)))
            }
            Err(error) => {
                self.discard(&key, &payload, &error.to_string())?;
                Ok(None)
            }
        }
    }

    pub(super) fn put_result(&self, action: ActionDigest, result: &ActionResult) -> Result<(), StoreError> {
        let bytes = result.encode();
        if bytes.len() as u64 > RESULT_BYTES_MAX {
            return Err(StoreError::TooLarge { size_bytes: bytes.len() as u64, at_most: RESULT_BYTES_MAX });
        }
        self.admit(bytes.len() as u64 + RECORD_HEAD_BYTES)?;
        self.catalogue.put(Key::result(action), action.0.size_bytes(), &bytes, self.stamp(RANK))?;
        self.dirty();
        Ok(())
    }

    /// The payload of an entry whose digest has this size, in the log, with the entry.
    pub(super) fn payload(&self, key: &Key, digest: Digest) -> Result<Option<(Entry, Bytes)>, StoreError> {
        match self.catalogue.read_if(key, |entry| entry.size_bytes == digest.size_bytes())? {
            Some((entry, Payload::Bytes(bytes))) => Ok(Some((entry, bytes))),
            None | Some((_, Payload::File | Payload::Absent)) => Ok(None),
            Some((_, Payload::Damaged(found))) => {
                self.keep_damaged(key, &found, "its checksum is wrong")?;
                Ok(None)
            }
        }
    }
}
