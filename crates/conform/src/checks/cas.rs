//! D: ContentAddressableStorage.
use crate::check::checks;
use crate::probe::Probe;
use crate::stream::{Form, unzstd, zstd};
use crate::verdict::{Verdict, code, ensure, fail, refused, same, same_bytes, works};
use lre_model::{Digest, DigestFunction};
use lre_proto::re::{self, compressor::Value as Compressor};
use std::collections::BTreeSet;
use tonic::Code;

checks! {
    Must 26 "the empty blob is never missing" empty_is_found;
    Must 26 "the empty blob is read by BatchReadBlobs" empty_is_batch_read;
    Must 26 "the empty blob is read by ByteStream.Read" empty_is_read;
    Must 26 "the empty blob can be written, in a batch and as a stream" empty_is_written;
    Must 26 "no bytes under another hash are not the empty blob" not_empty;
    Must 27 "FindMissingBlobs names exactly what is missing" exactly_missing;
    Must 27 "FindMissingBlobs takes 5,000 digests" many_missing;
    Must 27 "FindMissingBlobs of nothing misses nothing" nothing_missing;
    Should 27 "FindMissingBlobs names what is asked for twice once" twice_missing;
    Must 28 "BatchUpdateBlobs answers each blob by its digest" batch_answers_each;
    Must 28 "BatchUpdateBlobs refuses the bad blob of a batch and takes the others" batch_with_a_bad_one;
    Must 28 "BatchUpdateBlobs of an existing blob is OK" batch_again;
    Must 28 "BatchUpdateBlobs of nothing is OK" batch_of_nothing;
    May 29 "a batch above the told size is refused" batch_too_large;
    Must 30 "BatchReadBlobs says NOT_FOUND for each that is missing and gives the others" batch_read_with_a_hole;
    Must 30 "BatchReadBlobs gives identity to who accepts nothing else" batch_read_identity;
    Must 30 "BatchReadBlobs gives what was accepted, with the digest of the blob" batch_read_zstd;
    Must 31 "BatchUpdateBlobs takes zstd where it is told" batch_zstd;
    Must 31 "BatchUpdateBlobs refuses zstd of other bytes" batch_zstd_lies;
    Must 31 "BatchUpdateBlobs refuses what is no zstd" batch_no_zstd;
}

async fn empty_is_found(probe: &Probe) -> Verdict {
    ensure!(probe.has(probe.digest(b"")).await?, "FindMissingBlobs says that the empty blob is missing");
    Ok(())
}

async fn empty_is_batch_read(probe: &Probe) -> Verdict {
    let empty = probe.digest(b"").to_wire();
    let read = works("BatchReadBlobs", probe.read_batch(vec![empty], &[], DigestFunction::Sha256).await)?;
    same("answers", &1, &read.len())?;
    same("the status of the empty blob", &Code::Ok, &code(read[0].status.as_ref()))
}

async fn empty_is_read(probe: &Probe) -> Verdict {
    let read = works("ByteStream.Read of the empty blob", probe.read(Form::Plain, probe.digest(b"")).await)?;
    same("its length", &0, &read.len())
}

async fn empty_is_written(probe: &Probe) -> Verdict {
    let empty = probe.digest(b"");
    probe.store(&[(empty, bytes::Bytes::new())]).await?;
    let name = probe.write_name(&probe.upload(), Form::Plain, empty);
    let committed = works("ByteStream.Write of the empty blob", probe.send_all(&name, b"").await)?;
    same("committed_size", &0, &committed)
}

async fn not_empty(probe: &Probe) -> Verdict {
    let hash = probe.digest(&probe.noise(9)).hash_text();
    let wire = re::Digest { hash, size_bytes: 0 };
    let request = re::FindMissingBlobsRequest {
        instance_name: probe.instance().to_owned(),
        blob_digests: vec![wire.clone()],
        ..Default::default()
    };
    match probe.cas().find_missing_blobs(request).await {
        Err(status) => refused::<()>("FindMissingBlobs", Err(status), &[Code::InvalidArgument]).map(drop),
        Ok(answer) => same("missing", &vec![wire], &answer.into_inner().missing_blob_digests),
    }
}

async fn exactly_missing(probe: &Probe) -> Verdict {
    let there = [probe.put(probe.noise(20)).await?, probe.put(probe.noise(21)).await?];
    let gone = [probe.digest(&probe.noise(22)), probe.digest(&probe.noise(23))];
    let missing = works("FindMissingBlobs", probe.missing(&[there[0], gone[0], there[1], gone[1]]).await)?;
    let hashes = |digests: &[re::Digest]| digests.iter().map(|digest| digest.hash.clone()).collect::<BTreeSet<_>>();
    same("missing", &hashes(&gone.map(Digest::to_wire)), &hashes(&missing))
}

async fn many_missing(probe: &Probe) -> Verdict {
    let there = probe.put(probe.noise(20)).await?;
    let mut asked: Vec<_> = (0..4999).map(|_| probe.digest(&probe.noise(16))).collect();
    asked.insert(2500, there);
    let missing = works("FindMissingBlobs of 5,000", probe.missing(&asked).await)?;
    same("how many are missing", &4999, &missing.len())?;
    ensure!(!missing.contains(&there.to_wire()), "the one that is there is among them");
    Ok(())
}

async fn nothing_missing(probe: &Probe) -> Verdict {
    let missing = works("FindMissingBlobs of nothing", probe.missing(&[]).await)?;
    same("how many are missing", &0, &missing.len())
}

async fn twice_missing(probe: &Probe) -> Verdict {
    let gone = probe.digest(&probe.noise(20));
    let missing = works("FindMissingBlobs", probe.missing(&[gone, gone]).await)?;
    same("how many are missing", &1, &missing.len())
}

async fn batch_answers_each(probe: &Probe) -> Verdict {
    let contents = [probe.noise(10), probe.noise(11), probe.noise(12)];
    let expected: BTreeSet<_> = contents.iter().map(|content| probe.digest(content).hash_text()).collect();
    let blobs = contents.map(|content| (probe.digest(&content).to_wire(), Compressor::Identity, content));
    let responses = works("BatchUpdateBlobs", probe.batch(blobs, DigestFunction::Sha256).await)?;
    let digests: BTreeSet<_> = responses.into_iter().filter_map(|response| Some(response.digest?.hash)).collect();
    same("the digests of the answers", &expected, &digests)
}

async fn batch_with_a_bad_one(probe: &Probe) -> Verdict {
    let (good, bad) = (probe.noise(10), probe.noise(10));
    let (digest, wrong) = (probe.digest(&good), probe.digest(&probe.noise(10)));
    let blobs = [(wrong, bad), (digest, good)];
    let blobs = blobs.map(|(digest, content)| (digest.to_wire(), Compressor::Identity, content));
    let responses = works("BatchUpdateBlobs as a whole", probe.batch(blobs, DigestFunction::Sha256).await)?;
    for (digest, expected) in [(wrong, Code::InvalidArgument), (digest, Code::Ok)] {
        let found = responses.iter().find(|response| response.digest.as_ref() == Some(&digest.to_wire()));
        let Some(response) = found else { return fail(format!("no answer for {digest}")) };
        same(&format!("the status of {digest}"), &expected, &code(response.status.as_ref()))?;
    }
    ensure!(!probe.has(wrong).await?, "the bad blob is there all the same");
    ensure!(probe.has(digest).await?, "the good blob is not there");
    Ok(())
}

async fn batch_again(probe: &Probe) -> Verdict {
    let content = probe.noise(10);
    probe.put(content.clone()).await?;
    probe.put(content).await.map(drop)
}

async fn batch_of_nothing(probe: &Probe) -> Verdict {
    let responses = works("BatchUpdateBlobs of nothing", probe.batch([], DigestFunction::Sha256).await)?;
    same("answers", &0, &responses.len())
}

async fn batch_too_large(probe: &Probe) -> Verdict {
    let told = usize::try_from(probe.cache()?.max_batch_total_size_bytes).unwrap_or(0);
    if told == 0 || told > 3_900_000 {
        return crate::verdict::skip("no size is told, or none below that of a message");
    }
    let contents = [probe.noise(told / 2 + 1), probe.noise(told / 2 + 1)];
    let blobs = contents.map(|content| (probe.digest(&content).to_wire(), Compressor::Identity, content));
    let answer = probe.batch(blobs, DigestFunction::Sha256).await.map(|responses| responses.len());
    refused("a batch above the told size", answer, &[Code::InvalidArgument]).map(drop)
}

async fn batch_read_with_a_hole(probe: &Probe) -> Verdict {
    let content = probe.noise(30);
    let there = probe.put(content.clone()).await?;
    let gone = probe.digest(&probe.noise(30));
    let asked = vec![gone.to_wire(), there.to_wire()];
    let responses = works("BatchReadBlobs as a whole", probe.read_batch(asked, &[], DigestFunction::Sha256).await)?;
    same("answers", &2, &responses.len())?;
    for (digest, expected, data) in [(gone, Code::NotFound, Vec::new()), (there, Code::Ok, content)] {
        let found = responses.iter().find(|response| response.digest.as_ref() == Some(&digest.to_wire()));
        let Some(response) = found else { return fail(format!("no answer for {digest}")) };
        same("the status of a blob", &expected, &code(response.status.as_ref()))?;
        same_bytes("its bytes", &data, &response.data)?;
    }
    Ok(())
}

async fn batch_read_identity(probe: &Probe) -> Verdict {
    let content = vec![b'a'; 5000];
    let digest = probe.put(content.clone()).await?;
    let accepted = [Compressor::Identity];
    let read =
        works("BatchReadBlobs", probe.read_batch(vec![digest.to_wire()], &accepted, DigestFunction::Sha256).await)?;
    same("answers", &1, &read.len())?;
    same("the compressor", &Compressor::Identity, &read[0].compressor())?;
    ensure!(read[0].data == content, "other bytes came back");
    Ok(())
}

async fn batch_read_zstd(probe: &Probe) -> Verdict {
    probe.zstd_streams()?;
    let content = vec![b'b'; 5000];
    let digest = probe.put(content.clone()).await?;
    let read = probe.read_batch(vec![digest.to_wire()], &[Compressor::Zstd], DigestFunction::Sha256).await;
    let read = works("BatchReadBlobs with zstd", read)?;
    same("answers", &1, &read.len())?;
    same("the digest", &Some(digest.to_wire()), &read[0].digest)?;
    let data = match read[0].compressor() {
        Compressor::Identity => read[0].data.clone(),
        Compressor::Zstd => unzstd(&read[0].data).unwrap_or_default(),
        other => return fail(format!("{other:?}, which was not accepted")),
    };
    ensure!(data == content, "other bytes came back");
    Ok(())
}

/// One packed blob in a batch; its status.
async fn packed(probe: &Probe, digest: Digest, data: Vec<u8>) -> Verdict<Code> {
    let blob = (digest.to_wire(), Compressor::Zstd, data);
    match probe.batch([blob], DigestFunction::Sha256).await {
        Err(status) => Ok(status.code()),
        Ok(responses) => Ok(code(responses.first().and_then(|response| response.status.as_ref()))),
    }
}

async fn batch_zstd(probe: &Probe) -> Verdict {
    probe.zstd_batches()?;
    let content = probe.noise(2000);
    let digest = probe.digest(&content);
    same("its status", &Code::Ok, &packed(probe, digest, zstd(&content)).await?)?;
    let read = works("ByteStream.Read", probe.read(Form::Plain, digest).await)?;
    ensure!(read == content, "other bytes came back");
    Ok(())
}

async fn batch_zstd_lies(probe: &Probe) -> Verdict {
    probe.zstd_batches()?;
    let digest = probe.digest(&probe.noise(2000));
    same("its status", &Code::InvalidArgument, &packed(probe, digest, zstd(&probe.noise(2000))).await?)?;
    ensure!(!probe.has(digest).await?, "it is there all the same");
    Ok(())
}

async fn batch_no_zstd(probe: &Probe) -> Verdict {
    probe.zstd_batches()?;
    let content = probe.noise(2000);
    let digest = probe.digest(&content);
    same("its status", &Code::InvalidArgument, &packed(probe, digest, content).await?)?;
    ensure!(!probe.has(digest).await?, "it is there all the same");
    Ok(())
}
