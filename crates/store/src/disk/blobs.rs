//! `BlobStore` on the disk: what is there is asked of the catalogue, and of the disk only where it must be.
use super::catalogue::{Entry, Key, Place, Stamp};
use super::files::Look;
use super::holds::MARK_MINUTES;
use super::layout::Room;
use super::whole::{Epoch, Unseen};
use super::{DiskStore, IN_PLACE_BYTES, Inner, blocking, unpoisoned};
use crate::{Blob, BlobStore, Hold, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use lre_model::{ByDigest, Digest, Subtree};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Unknown digests up to which `hold` looks at the disk in place; a look costs 2-5 us.
const IN_PLACE_LOOKS: usize = 32;

/// Digests, each once.
type Seen = HashSet<Digest, ByDigest>;

#[async_trait]
impl BlobStore for DiskStore {
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        self.inner.refresh()?;
        self.inner.hold(digests).await
    }

    async fn hold_tree(&self, tree: &Arc<Subtree>, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        let inner = &self.inner;
        inner.refresh()?;
        let minute = inner.clock.minute();
        let held = inner.holds.enter(minute);
        let epoch = Epoch { losses: inner.catalogue.losses(), period: minute / MARK_MINUTES };
        let unseen = unpoisoned(inner.whole.lock()).unseen(tree, epoch);
        let (_, mut missing) = inner.missing_async(&unseen.blobs).await?;
        inner.rank(&unseen)?;
        if missing.is_empty() && inner.all_known(&unseen.blobs, epoch.losses) {
            unpoisoned(inner.whole.lock()).seen(&unseen, epoch);
        }
        let (hold, gone) = inner.hold(digests).await?;
        let told: Seen = missing.iter().copied().collect();
        missing.extend(gone.into_iter().filter(|digest| !told.contains(digest)));
        Ok((hold.and(Hold::new(Vec::new(), held)).with_tree(Arc::clone(tree)), missing))
    }

    fn file_of(&self, digest: Digest) -> Option<PathBuf> {
        let key = Key::blob(digest);
        let entry = self.inner.catalogue.get(&key)?;
        let there = entry.place == Place::File && self.inner.is_there(&key, &entry, digest) == Some(true);
        there.then(|| self.inner.layout.of(Room::Blobs, digest))
    }

    async fn promote(&self, digest: Digest) -> Result<Option<PathBuf>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let path = inner.layout.of(Room::Blobs, digest);
        if !inner.clone().has_async(digest).await? {
            return Err(StoreError::Missing(digest));
        }
        match inner.packed(digest, inner.stamp(0))? {
            Some(bytes) => inner.unpack(digest, &bytes, inner.stamp(0))?,
            // There is no file of the empty blob.
            None if digest.is_empty_blob() => return Ok(None),
            None => {}
        }
        Ok(Some(path))
    }

    fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        self.inner.room_for(bytes)
    }

    async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
        if digest.is_empty_blob() {
            return Ok(Bytes::new().into());
        }
        let inner = &self.inner;
        if let Some(bytes) = inner.packed(digest, inner.stamp(0))? {
            return Ok(bytes.into());
        }
        inner.refresh()?;
        // Twice: what is known may have been changed from outside, and is then looked at anew.
        for _ in 0..2 {
            if !inner.clone().has_async(digest).await? {
                return Err(StoreError::Missing(digest));
            }
            match inner.open(digest)? {
                Some(file) => {
                    inner.mark(&Key::blob(digest))?;
                    return Ok(Blob::File(file));
                }
                None => inner.catalogue.doubt_one(&Key::blob(digest)),
            }
        }
        Err(StoreError::Missing(digest))
    }

    async fn read_many(&self, digests: &[Digest]) -> Vec<Result<Blob, StoreError>> {
        let bytes: u64 = digests.iter().map(|digest| digest.size_bytes()).fold(0, u64::saturating_add);
        // Here and not on the other thread: there nobody knows for whom this task works.
        let (inner, asked, stamp) = (Arc::clone(&self.inner), digests.to_vec(), self.inner.stamp(0));
        let packed = move || {
            // Where one is not so easily had, `read` says why.
            Ok(asked.iter().map(|digest| inner.packed(*digest, stamp).ok().flatten()).collect())
        };
        let packed = if bytes <= IN_PLACE_BYTES { packed() } else { blocking(packed).await };
        let packed: Vec<Option<Bytes>> = packed.unwrap_or_else(|_| vec![None; digests.len()]);
        let mut blobs = Vec::with_capacity(digests.len());
        for (digest, bytes) in digests.iter().zip(packed) {
            blobs.push(match bytes {
                Some(bytes) => Ok(bytes.into()),
                None => self.read(*digest).await,
            });
        }
        blobs
    }

    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        let inner = self.inner.clone();
        let stamp = inner.stamp(0);
        match &blob {
            Blob::Bytes(bytes) if bytes.len() as u64 <= IN_PLACE_BYTES => inner.keep(digest, &blob, stamp),
            // A link is as quick as a small file.
            Blob::File(file) if file.proven() == Some(digest) && file.origin() == crate::Origin::Owned => {
                inner.keep(digest, &blob, stamp)
            }
            Blob::File(file) if file.size_bytes() <= IN_PLACE_BYTES => inner.keep(digest, &blob, stamp),
            _ => blocking(move || inner.keep(digest, &blob, stamp)).await,
        }
    }

    async fn write_many(&self, blobs: Vec<(Digest, Blob)>) -> Vec<Result<(), StoreError>> {
        let (inner, stamp, count) = (self.inner.clone(), self.inner.stamp(0), blobs.len());
        let bytes: u64 = blobs.iter().map(|(digest, _)| digest.size_bytes()).fold(0, u64::saturating_add);
        let pack = move || {
            // One that cannot be kept in one write is told of one by one.
            let kept = inner.pack_many(&blobs, stamp).unwrap_or_else(|_| vec![false; blobs.len()]);
            Ok((kept, blobs))
        };
        let packed = if bytes <= IN_PLACE_BYTES { pack() } else { blocking(pack).await };
        let (kept, blobs) = match packed {
            Ok(packed) => packed,
            // The thread that wrote has panicked. What it had written by then is there, and nobody is told so.
            Err(_) => {
                return (0..count).map(|_| Err(StoreError::Io(io::Error::other("a write was broken off")))).collect();
            }
        };
        let mut results = Vec::with_capacity(blobs.len());
        for ((digest, blob), kept) in blobs.into_iter().zip(kept) {
            results.push(if kept { Ok(()) } else { self.write(digest, blob).await });
        }
        results
    }
}

/// What is known of some digests at a glance.
#[derive(Default)]
struct Glance<'a> {
    /// Those that are there.
    present: Vec<Digest>,
    /// Those that are not known to be there: known to be absent (`Some(false)`), or to be looked for.
    unknown: Vec<(&'a Digest, Option<bool>)>,
    /// Those of the others, and of those to be looked for, whose mark is old.
    stale: Vec<Key>,
}

impl Inner {
    /// Whether a blob with this entry is there; `None`: the disk must be asked.
    fn is_there(&self, key: &Key, entry: &Entry, digest: Digest) -> Option<bool> {
        if entry.size_bytes != digest.size_bytes() {
            return Some(false);
        }
        (entry.place == Place::Packed || (entry.seen && self.watch.is_watched(key))).then_some(true)
    }

    fn glance<'a>(&self, digests: &'a [Digest]) -> Glance<'a> {
        let (mut asked, minute) = (digests.iter(), self.clock.minute());
        let mut glance = Glance { present: Vec::with_capacity(digests.len()), ..Glance::default() };
        self.catalogue.look(digests.iter().map(|digest| Key::blob(*digest)), |key, entry| {
            let Some(digest) = asked.next() else { return };
            let absent = Some(digest.is_empty_blob());
            let there = entry.map_or(absent, |entry| self.is_there(&key, &entry, *digest));
            match there {
                Some(true) => glance.present.push(*digest),
                _ => glance.unknown.push((digest, there)),
            }
            if there != Some(false) && entry.is_some_and(|entry| self.is_stale(&entry, minute)) {
                glance.stale.push(key);
            }
        });
        glance
    }

    /// [`BlobStore::hold`]; [`Inner::refresh`] first.
    async fn hold(self: &Arc<Self>, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        // Before the look: what is seen from now on stays.
        let held = self.holds.enter(self.clock.minute());
        let (present, missing) = self.missing_async(digests).await?;
        // The common case, warm: the disk was not asked.
        if let Some(present) = present {
            return Ok((Hold::new(present, held), missing));
        }
        let absent: Seen = missing.iter().copied().collect();
        let present = digests.iter().copied().filter(|d| !absent.contains(d)).collect();
        Ok((Hold::new(present, held), missing))
    }

    /// What is missing of `digests`, each once, in order; and before it what is there, where that is known without another look.
    /// What is there is marked as used.
    async fn missing_async(
        self: &Arc<Self>,
        digests: &[Digest],
    ) -> Result<(Option<Vec<Digest>>, Vec<Digest>), StoreError> {
        let Glance { present, unknown, stale } = self.glance(digests);
        let stamp = self.stamp(0);
        let looks = unknown.iter().filter(|(_, there)| there.is_none()).count();
        let mut present = (looks == 0).then_some(present);
        let at_a_glance = if looks <= IN_PLACE_LOOKS { self.missing_at_a_glance(&unknown)? } else { None };
        let mut missing = match at_a_glance {
            Some(missing) => missing,
            None => {
                let (inner, unknown) =
                    (Arc::clone(self), unknown.iter().map(|(d, there)| (**d, *there)).collect::<Vec<_>>());
                blocking(move || Ok(inner.missing(&unknown)?)).await?
            }
        };
        if !stale.is_empty() {
            let gone: HashSet<_> = self.touch(&stale, stamp)?.into_iter().collect();
            if !gone.is_empty() {
                present = None;
                let mut told: Seen = missing.iter().copied().collect();
                let went = |digest: &&Digest| gone.contains(&Key::blob(**digest)) && told.insert(**digest);
                missing.extend(digests.iter().filter(went).copied().collect::<Vec<_>>());
            }
        }
        Ok((present, missing))
    }

    /// What is missing of digests that are not known to be there, each once, in order. Blocks.
    fn missing(&self, unknown: &[(Digest, Option<bool>)]) -> io::Result<Vec<Digest>> {
        let (mut missing, mut seen) = (Vec::new(), Seen::default());
        for (digest, there) in unknown {
            if seen.insert(*digest) && !there.map_or_else(|| self.has_file(*digest), Ok)? {
                missing.push(*digest);
            }
        }
        Ok(missing)
    }

    /// The same, where it can be said with few looks and nothing to hash.
    fn missing_at_a_glance(&self, unknown: &[(&Digest, Option<bool>)]) -> io::Result<Option<Vec<Digest>>> {
        let mut missing = Vec::with_capacity(unknown.len());
        let mut seen = HashSet::with_capacity_and_hasher(unknown.len(), ByDigest::default());
        for (digest, there) in unknown {
            if !seen.insert(*digest) {
                continue;
            }
            match there {
                Some(true) => {}
                Some(false) => missing.push(**digest),
                None => match self.look(**digest)? {
                    Look::Present => {}
                    Look::Absent => missing.push(**digest),
                    Look::Doubtful => return Ok(None),
                },
            }
        }
        Ok(Some(missing))
    }

    /// Whether a blob is there and right; what must be hashed is hashed elsewhere.
    async fn has_async(self: Arc<Self>, digest: Digest) -> Result<bool, StoreError> {
        let key = Key::blob(digest);
        let Some(entry) = self.catalogue.get(&key) else { return Ok(digest.is_empty_blob()) };
        if let Some(there) = self.is_there(&key, &entry, digest) {
            return Ok(there);
        }
        match self.look(digest)? {
            Look::Present => Ok(true),
            Look::Absent => Ok(false),
            Look::Doubtful => blocking(move || Ok(self.prove(digest)?)).await,
        }
    }

    /// Whether all are known to be there, at this count of losses.
    fn all_known(&self, digests: &[Digest], losses: u64) -> bool {
        let unknown = self.glance(digests).unknown;
        unknown.is_empty() && self.catalogue.losses() == losses
    }

    /// Remembers of directories that they are, and how high they stand: of one moment the highest is evicted first.
    fn rank(&self, unseen: &Unseen) -> io::Result<()> {
        let mut higher: BTreeMap<u8, Vec<Key>> = BTreeMap::new();
        let mut ranks = unseen.directories.iter().map(|(_, rank)| *rank);
        let keys = unseen.directories.iter().map(|(digest, _)| Key::blob(*digest));
        self.catalogue.look(keys, |key, entry| {
            let rank = ranks.next().unwrap_or(0);
            if entry.is_some_and(|entry| entry.rank < rank) {
                higher.entry(rank).or_default().push(key);
            }
        });
        for (rank, keys) in higher {
            self.touch(&keys, self.stamp(rank))?;
        }
        Ok(())
    }

    /// The bytes of a blob that is in the log, which is used now. Of one whose record is damaged there are none, and no blob any
    /// more.
    fn packed(&self, digest: Digest, stamp: Stamp) -> Result<Option<Bytes>, StoreError> {
        let key = Key::blob(digest);
        let Some((entry, bytes)) = self.payload(&key, digest)? else { return Ok(None) };
        // What has gone by now was read all the same.
        self.renew(&key, &entry, stamp)?;
        Ok(Some(bytes))
    }
}
