//! The body of a `PUT`: of any size, in bounded memory, and nothing of it is kept unless all has come.
use super::answer::Refused;
use crate::limits;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use lre_model::{Digest, DigestFunction};
use lre_store::{Blob, StagedBlob, Staging};
use std::io;
use tokio::task::JoinHandle;
use tonic::body::Body;

/// Takes the whole body, chunked or not. A body that ends before its announced length is an error of the connection,
/// which arrives here as one of the body.
pub(super) async fn whole(request: Request<Body>, staging: &Staging) -> Result<(Digest, Blob), Refused> {
    refuse_encoded(&request)?;
    let mut body = request.into_body();
    let mut taken = Taken { staged: Some(staging.create(DigestFunction::Sha256)?), busy: None };
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    loop {
        let frame = tokio::time::timeout(limits::HTTP_BODY_IDLE_TIME_MAX, body.frame()).await;
        let Some(frame) = frame.map_err(|_| Refused::Stalled)? else { break };
        // The rest are trailers, which say nothing to us.
        let Ok(data) = frame.map_err(|e| Refused::Broken(e.message().to_owned()))?.into_data() else { continue };
        bytes += data.len();
        pieces.push(data);
        if bytes >= limits::CHUNK_BYTES {
            taken.append(std::mem::take(&mut pieces)).await?;
            bytes = 0;
        }
    }
    taken.finish(pieces, bytes).await
}

/// Bytes that are kept as they come must not be those of another representation: whoever reads would not be told.
fn refuse_encoded(request: &Request<Body>) -> Result<(), Refused> {
    match request.headers().get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => Err(Refused::Encoded),
        _ => Ok(()),
    }
}

/// What has come. The last bytes are hashed and written while the next are on their way.
struct Taken {
    staged: Option<StagedBlob>,
    busy: Option<JoinHandle<io::Result<StagedBlob>>>,
}

impl Taken {
    async fn settle(&mut self) -> io::Result<StagedBlob> {
        match (self.busy.take(), self.staged.take()) {
            (Some(job), _) => job.await.map_err(io::Error::other)?,
            (None, Some(staged)) => Ok(staged),
            (None, None) => Err(io::Error::other("this upload has failed before")),
        }
    }

    async fn append(&mut self, pieces: Vec<Bytes>) -> io::Result<()> {
        let mut staged = self.settle().await?;
        self.busy = Some(tokio::task::spawn_blocking(move || write(&mut staged, &pieces).map(|()| staged)));
        Ok(())
    }

    async fn finish(mut self, pieces: Vec<Bytes>, bytes: usize) -> Result<(Digest, Blob), Refused> {
        let mut staged = self.settle().await?;
        let last = move || {
            write(&mut staged, &pieces)?;
            staged.finish()
        };
        Ok(crate::services::work(bytes, last).await?)
    }
}

fn write(staged: &mut StagedBlob, pieces: &[Bytes]) -> io::Result<()> {
    pieces.iter().try_for_each(|piece| staged.write(piece))
}
