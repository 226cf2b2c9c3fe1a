//! The uploads that are under way or were broken off, by the name that their clients gave them.
use super::upload::Upload;
use crate::limits;
use crate::status;
use bytes::Bytes;
use lre_model::{Compressor, Digest, WriteResource};
use lre_store::{BlobStore, Staging};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tonic::Status;

/// REAPI: one `uuid` may be used for several blobs, so it is not enough of a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    upload: String,
    compressor: Compressor,
    digest: Digest,
}

impl Key {
    fn of(resource: &WriteResource) -> Self {
        Self { upload: resource.upload.clone(), compressor: resource.compressor, digest: resource.digest }
    }
}

struct Entry {
    upload: Arc<Upload>,
    /// When its last stream broke, in parkings; nothing while a stream is working on it.
    parked: Option<u64>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Key, Entry>,
    parkings: u64,
}

impl Table {
    /// Whether `key` still means this upload: a stream that began at 0 may have replaced it.
    fn is(&self, key: &Key, upload: &Arc<Upload>) -> bool {
        self.entries.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.upload, upload))
    }

    /// The limit on files that nobody may ever ask for again: the oldest goes.
    fn evict(&mut self) -> Option<Entry> {
        let parked = || self.entries.iter().filter_map(|(key, entry)| Some((entry.parked?, key)));
        if parked().count() <= limits::UPLOADS_PARKED_MAX {
            return None;
        }
        let oldest = parked().min_by_key(|(parking, _)| *parking).map(|(_, key)| key.clone())?;
        self.entries.remove(&oldest)
    }
}

/// All of them.
pub(super) struct Uploads {
    staging: Staging,
    table: Mutex<Table>,
}

impl Uploads {
    pub(super) fn new(staging: Staging) -> Arc<Self> {
        Arc::new(Self { staging, table: Mutex::default() })
    }

    pub(super) fn staging(&self) -> &Staging {
        &self.staging
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uncompressed bytes of this upload that need not be sent again.
    pub(super) async fn committed(&self, resource: &WriteResource) -> u64 {
        let upload = self.table().entries.get(&Key::of(resource)).map(|entry| Arc::clone(&entry.upload));
        match upload {
            Some(upload) => upload.committed().await,
            None => 0,
        }
    }

    /// A stream begins. At 0 it begins a new upload, which takes the name of an older one; behind
    /// that it goes on with the one of this name.
    pub(super) async fn begin(self: &Arc<Self>, resource: &WriteResource, offset: u64) -> Result<Session, Status> {
        let key = Key::of(resource);
        let known = self.table().entries.get(&key).map(|entry| Arc::clone(&entry.upload));
        let upload = match known {
            Some(upload) if offset > 0 => upload,
            _ => Arc::new(Upload::new(&self.staging, key.digest, key.compressor).map_err(status::of)?),
        };
        let ticket = upload.begin(offset).await?;
        let entry = Entry { upload: Arc::clone(&upload), parked: None };
        self.table().entries.insert(key.clone(), entry);
        Ok(Session { uploads: Arc::clone(self), key, upload, ticket, over: false })
    }

    fn park(self: &Arc<Self>, key: &Key, upload: &Arc<Upload>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.remove(key, upload);
            return;
        };
        let (parking, evicted) = {
            let mut table = self.table();
            table.parkings += 1;
            let parking = table.parkings;
            match table.entries.get_mut(key) {
                Some(entry) if Arc::ptr_eq(&entry.upload, upload) => entry.parked = Some(parking),
                _ => return,
            }
            (parking, table.evict())
        };
        drop(evicted);
        runtime.spawn(expire(Arc::downgrade(self), key.clone(), parking));
    }

    fn remove(&self, key: &Key, upload: &Arc<Upload>) {
        let mut table = self.table();
        let removed = if table.is(key, upload) { table.entries.remove(key) } else { None };
        drop(table);
        drop(removed);
    }
}

/// Forgets an upload, and with it its file, when nobody has come back for it.
async fn expire(uploads: Weak<Uploads>, key: Key, parking: u64) {
    tokio::time::sleep(limits::UPLOAD_PARKED_TIME_MAX).await;
    let Some(uploads) = uploads.upgrade() else { return };
    let mut table = uploads.table();
    let expired = table.entries.get(&key).is_some_and(|entry| entry.parked == Some(parking));
    let removed = if expired { table.entries.remove(&key) } else { None };
    drop(table);
    drop(removed);
}

/// One stream's work on an upload. Dropped before its end, in whatever way, it parks the upload for
/// the client to come back.
pub(super) struct Session {
    uploads: Arc<Uploads>,
    key: Key,
    upload: Arc<Upload>,
    ticket: u64,
    over: bool,
}

impl Session {
    pub(super) async fn append(&self, pieces: Vec<Bytes>) -> Result<(), Status> {
        match pieces.is_empty() {
            true => Ok(()),
            false => self.upload.append(self.ticket, pieces).await,
        }
    }

    pub(super) async fn is_whole(&self) -> Result<bool, Status> {
        self.upload.is_whole(self.ticket).await
    }

    pub(super) async fn committed(&self) -> u64 {
        self.upload.committed().await
    }

    pub(super) async fn finish(&self, blobs: &dyn BlobStore) -> Result<(), Status> {
        self.upload.finish(self.ticket, blobs).await
    }

    /// Whether no later stream has gone on with the upload.
    pub(super) fn is_current(&self) -> bool {
        self.upload.is_current(self.ticket)
    }

    /// The upload became a blob or can never become one: nothing of it is kept.
    pub(super) fn end(mut self) {
        self.over = true;
        self.uploads.remove(&self.key, &self.upload);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // An upload that a later stream works on is not parked by an earlier one.
        if !self.over && self.is_current() {
            self.uploads.park(&self.key, &self.upload);
        }
    }
}
