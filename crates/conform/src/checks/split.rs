//! I: SplitBlob and SpliceBlob.
use crate::check::checks;
use crate::probe::Probe;
use crate::stream::Form;
use crate::verdict::{Verdict, ensure, refused, same, skip, works};
use lre_model::Digest;
use lre_proto::re;
use tonic::{Code, Status};

checks! {
    Must 85 "the chunks of a split blob are there, and make the blob" split;
    Must 85 "SplitBlob of a missing blob is NOT_FOUND" split_missing;
    Must 85 "SpliceBlob makes a blob of its chunks" splice;
    Must 85 "SpliceBlob with a missing chunk is NOT_FOUND" splice_missing;
    Must 85 "SpliceBlob of chunks that make another blob is INVALID_ARGUMENT, and nothing kept" splice_lies;
    May 85 "SplitBlob is UNIMPLEMENTED where it is not told" not_told;
}

fn told(probe: &Probe, what: fn(&re::CacheCapabilities) -> bool) -> Verdict {
    if what(probe.cache()?) { Ok(()) } else { skip("it is not told") }
}

async fn ask_split(probe: &Probe, digest: Digest) -> Result<re::SplitBlobResponse, Status> {
    let request = re::SplitBlobRequest {
        instance_name: probe.instance().to_owned(),
        blob_digest: Some(digest.to_wire()),
        digest_function: digest.function().to_wire(),
        ..Default::default()
    };
    Ok(probe.cas().split_blob(request).await?.into_inner())
}

async fn ask_splice(probe: &Probe, blob: Digest, chunks: &[Digest]) -> Result<re::SpliceBlobResponse, Status> {
    let request = re::SpliceBlobRequest {
        instance_name: probe.instance().to_owned(),
        blob_digest: Some(blob.to_wire()),
        chunk_digests: chunks.iter().map(|chunk| chunk.to_wire()).collect(),
        digest_function: blob.function().to_wire(),
        ..Default::default()
    };
    Ok(probe.cas().splice_blob(request).await?.into_inner())
}

async fn split(probe: &Probe) -> Verdict {
    told(probe, |cache| cache.split_blob_support)?;
    let content = probe.noise(6 << 20);
    let digest = probe.stream_in(Form::Plain, &content).await?;
    let chunks = works("SplitBlob", ask_split(probe, digest).await)?.chunk_digests;
    ensure!(!chunks.is_empty(), "no chunks");
    let mut joined = Vec::new();
    for chunk in &chunks {
        joined.extend(probe.content("a chunk", Some(chunk), digest.function()).await?);
    }
    ensure!(joined == content, "the chunks make other bytes");
    Ok(())
}

async fn split_missing(probe: &Probe) -> Verdict {
    told(probe, |cache| cache.split_blob_support)?;
    let answer = ask_split(probe, probe.digest(&probe.noise(100))).await;
    refused("SplitBlob of a missing blob", answer, &[Code::NotFound]).map(drop)
}

/// Two chunks that are there, and what they make.
async fn chunks(probe: &Probe) -> Verdict<(Vec<Digest>, Vec<u8>)> {
    let parts = [probe.noise(70_000), probe.noise(80_000)];
    let mut digests = Vec::new();
    for part in &parts {
        digests.push(probe.stream_in(Form::Plain, part).await?);
    }
    Ok((digests, parts.concat()))
}

async fn splice(probe: &Probe) -> Verdict {
    told(probe, |cache| cache.splice_blob_support)?;
    let (chunks, content) = chunks(probe).await?;
    let digest = probe.digest(&content);
    let answer = works("SpliceBlob", ask_splice(probe, digest, &chunks).await)?;
    same("the digest of the answer", &Some(digest.to_wire()), &answer.blob_digest)?;
    let read = works("ByteStream.Read of what was spliced", probe.read(Form::Plain, digest).await)?;
    ensure!(read == content, "other bytes came back");
    Ok(())
}

async fn splice_missing(probe: &Probe) -> Verdict {
    told(probe, |cache| cache.splice_blob_support)?;
    let (mut chunks, content) = chunks(probe).await?;
    let gone = probe.noise(100);
    chunks.push(probe.digest(&gone));
    let whole = probe.digest(&[content, gone].concat());
    refused("SpliceBlob with a missing chunk", ask_splice(probe, whole, &chunks).await, &[Code::NotFound]).map(drop)
}

async fn splice_lies(probe: &Probe) -> Verdict {
    told(probe, |cache| cache.splice_blob_support)?;
    let (chunks, content) = chunks(probe).await?;
    let other = probe.digest(&probe.noise(content.len()));
    let answer = ask_splice(probe, other, &chunks).await;
    refused("SpliceBlob of other bytes", answer, &[Code::InvalidArgument])?;
    ensure!(!probe.has(other).await?, "it is there all the same");
    Ok(())
}

async fn not_told(probe: &Probe) -> Verdict {
    if probe.cache()?.split_blob_support {
        return skip("it is told");
    }
    let answer = ask_split(probe, probe.digest(&probe.noise(10))).await;
    refused("SplitBlob", answer, &[Code::Unimplemented]).map(drop)
}
