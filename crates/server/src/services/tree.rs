//! `GetTree` (PROTOCOL, 32): a directory and all below it, each once, in pages.
use crate::limits;
use crate::status;
use futures::Stream;
use lre_model::{Digest, Invalid};
use lre_proto::re;
use lre_store::{BlobStore, StoreError};
use prost::Message;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use tonic::Status;

/// Walks a tree breadth first. The order is that of the directories themselves, so a page token
/// can be the number of directories that were seen before.
struct Walk {
    blobs: Arc<dyn BlobStore>,
    queue: VecDeque<Digest>,
    seen: HashSet<Digest>,
    /// Read already, to know whether a page is the last one.
    ahead: Option<re::Directory>,
    /// Directories that were given out.
    position: u64,
}

impl Walk {
    fn new(blobs: Arc<dyn BlobStore>, root: Digest) -> Self {
        Self { blobs, queue: VecDeque::from([root]), seen: HashSet::from([root]), ahead: None, position: 0 }
    }

    async fn next(&mut self) -> Result<Option<re::Directory>, Status> {
        let next = match self.ahead.take() {
            Some(directory) => Some(directory),
            None => self.load().await?,
        };
        self.position += u64::from(next.is_some());
        Ok(next)
    }

    /// The next directory that is there; what is missing is left out without an error.
    async fn load(&mut self) -> Result<Option<re::Directory>, Status> {
        while let Some(digest) = self.queue.pop_front() {
            if let Some(directory) = read(&*self.blobs, digest).await? {
                self.enqueue(digest, &directory)?;
                return Ok(Some(directory));
            }
        }
        Ok(None)
    }

    fn enqueue(&mut self, parent: Digest, directory: &re::Directory) -> Result<(), Status> {
        for child in &directory.directories {
            let digest = Digest::from_wire(parent.function(), child.digest.as_ref())
                .map_err(|e| status::of(Invalid::new(format!("directory {parent}: `{}`", child.name), e)))?;
            if self.seen.insert(digest) {
                self.queue.push_back(digest);
            }
        }
        Ok(())
    }

    /// The next page; it has a token where another follows.
    async fn page(&mut self, directories_max: usize) -> Result<Option<re::GetTreeResponse>, Status> {
        let mut page = re::GetTreeResponse::default();
        let mut bytes = 0;
        while page.directories.len() < directories_max && bytes < limits::TREE_PAGE_BYTES_MAX {
            let Some(directory) = self.next().await? else { break };
            bytes += directory.encoded_len();
            page.directories.push(directory);
        }
        self.ahead = match self.ahead.take() {
            Some(directory) => Some(directory),
            None => self.load().await?,
        };
        if self.ahead.is_some() {
            page.next_page_token = self.position.to_string();
        }
        Ok((!page.directories.is_empty()).then_some(page))
    }
}

/// A directory, where it is present. Held first: who is told of a directory may go on to fetch what it names.
async fn read(blobs: &dyn BlobStore, digest: Digest) -> Result<Option<re::Directory>, Status> {
    let (_hold, missing) = blobs.hold(&[digest]).await.map_err(status::of)?;
    if !missing.is_empty() {
        return Ok(None);
    }
    let blob = match blobs.read(digest).await {
        Ok(blob) => blob,
        Err(StoreError::Missing(_)) => return Ok(None),
        Err(e) => return Err(status::of(e)),
    };
    let bytes = blob.into_bytes(limits::DIRECTORY_BYTES_MAX).await.map_err(status::of)?;
    let directory = re::Directory::decode(bytes)
        .map_err(|e| status::of(Invalid::new("root_digest", format!("{digest} is not a Directory: {e}"))))?;
    Ok(Some(directory))
}

/// The pages of the tree below `root`, from the one that `token` names.
///
/// # Errors
/// NOT_FOUND where the root is missing, INVALID_ARGUMENT for a token that is not one of ours, a
/// negative page size, or a blob that is not a directory.
pub(super) async fn pages(
    blobs: Arc<dyn BlobStore>,
    root: Digest,
    page_size: i32,
    token: &str,
) -> Result<impl Stream<Item = Result<re::GetTreeResponse, Status>> + Send + 'static, Status> {
    let invalid = |field: &str, problem: String| status::of(Invalid::new(field, problem));
    let page_size = usize::try_from(page_size).map_err(|_| invalid("page_size", format!("{page_size} is negative")))?;
    let directories_max = match page_size {
        0 => limits::TREE_PAGE_DIRECTORIES_MAX,
        asked => asked.min(limits::TREE_PAGE_DIRECTORIES_MAX),
    };
    let skip: u64 = match token {
        "" => 0,
        token => {
            token.parse().map_err(|_| invalid("page_token", format!("`{token}` is not a token of this server")))?
        }
    };
    if read(&*blobs, root).await?.is_none() {
        return Err(status::of(StoreError::Missing(root)));
    }
    let mut walk = Walk::new(blobs, root);
    while walk.position < skip && walk.next().await?.is_some() {}
    Ok(futures::stream::try_unfold(walk, move |mut walk| async move {
        let page = walk.page(directories_max).await?;
        Ok(page.map(|page| (page, walk)))
    }))
}
