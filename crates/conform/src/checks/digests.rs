//! C: digests, and everybody who takes one.
use crate::check::checks;
use crate::probe::Probe;
use crate::stream::Form;
use crate::verdict::{Verdict, ensure, offered, refused, same, same_bytes, works};
use lre_model::{Digest, DigestFunction};
use lre_proto::re;
use tonic::Code;

checks! {
    Must 20 "a blob under another size is another blob, for FindMissingBlobs" other_size_is_missing;
    Must 20 "a blob under another size is another blob, for reading" other_size_is_not_read;
    Must 20 "a blob is not taken under another size" other_size_is_not_written;
    Must 21 "FindMissingBlobs refuses malformed digests" malformed_find;
    Must 21 "BatchReadBlobs refuses malformed digests" malformed_batch_read;
    Must 21 "BatchUpdateBlobs refuses malformed digests" malformed_batch_update;
    Must 21 "ByteStream.Read refuses malformed digests" malformed_read;
    Must 21 "ByteStream.Write refuses malformed digests" malformed_write;
    Must 21 "GetActionResult refuses malformed digests" malformed_action;
    Should 21 "GetTree refuses malformed digests" malformed_tree;
    Must 22 "SHA-256 follows from the length where no function is named" inferred;
    Must 22 "a digest function that is not told is refused" unknown_function;
    Must 22 "BLAKE3 is written and read under its name" blake3_stream;
    Must 22 "BLAKE3 goes through batches" blake3_batch;
    Must 23 "a blob of one function is not there under another" never_mixed;
}

async fn other_size_is_missing(probe: &Probe) -> Verdict {
    let digest = probe.put(probe.noise(50)).await?;
    for size_bytes in [49, 51, 0] {
        let wire = re::Digest { size_bytes, ..digest.to_wire() };
        let request = re::FindMissingBlobsRequest {
            instance_name: probe.instance().to_owned(),
            blob_digests: vec![wire.clone()],
            ..Default::default()
        };
        match probe.cas().find_missing_blobs(request).await {
            // A size of 0 with a hash of something can be seen to be nonsense.
            Err(status) if status.code() == Code::InvalidArgument => {}
            answer => {
                let missing = works("FindMissingBlobs", answer)?.into_inner().missing_blob_digests;
                same("missing of a digest with another size", &vec![wire], &missing)?;
            }
        }
    }
    Ok(())
}

async fn other_size_is_not_read(probe: &Probe) -> Verdict {
    let digest = probe.put(probe.noise(50)).await?;
    let name = probe.read_name(Form::Plain, digest).replace("/50", "/49");
    let codes = [Code::NotFound, Code::InvalidArgument, Code::OutOfRange];
    let answer = probe.read_part(&name, 0, 0).await.map(|bytes| bytes.len());
    refused("ByteStream.Read of a digest with another size", answer, &codes)?;
    let wire = re::Digest { size_bytes: 51, ..digest.to_wire() };
    let answer = probe.read_batch(vec![wire], &[], DigestFunction::Sha256).await;
    let Ok(responses) = answer else { return refused("BatchReadBlobs", answer, &codes).map(drop) };
    let code = crate::verdict::code(responses.first().and_then(|response| response.status.as_ref()));
    ensure!(codes.contains(&code), "BatchReadBlobs of a digest with another size: expected NotFound, got {code:?}");
    Ok(())
}

async fn other_size_is_not_written(probe: &Probe) -> Verdict {
    let content = probe.noise(50);
    let wire = re::Digest { size_bytes: 49, ..probe.digest(&content).to_wire() };
    let blob = (wire, re::compressor::Value::Identity, content);
    let answer = probe.batch([blob], DigestFunction::Sha256).await;
    let Ok(responses) = answer else { return refused("BatchUpdateBlobs", answer, &[Code::InvalidArgument]).map(drop) };
    let code = crate::verdict::code(responses.first().and_then(|response| response.status.as_ref()));
    same("BatchUpdateBlobs under another size", &Code::InvalidArgument, &code)
}

/// What is no digest, and would be dangerous as a path.
fn malformed() -> Vec<re::Digest> {
    let good = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let digest = |hash: &str, size_bytes| re::Digest { hash: hash.to_owned(), size_bytes };
    vec![
        digest(&good.to_uppercase(), 5),
        digest(&good[..63], 5),
        digest("", 5),
        digest(&format!("../../../../etc/{}", &good[..48]), 5),
        digest(&good.replace('e', "g"), 5),
        digest(good, -1),
    ]
}

async fn malformed_find(probe: &Probe) -> Verdict {
    for digest in malformed() {
        let what = format!("FindMissingBlobs of {digest:?}");
        let request = re::FindMissingBlobsRequest {
            instance_name: probe.instance().to_owned(),
            blob_digests: vec![digest],
            ..Default::default()
        };
        let answer = probe.cas().find_missing_blobs(request).await.map(tonic::Response::into_inner);
        refused(&what, answer, &[Code::InvalidArgument])?;
    }
    Ok(())
}

async fn malformed_batch_read(probe: &Probe) -> Verdict {
    for digest in malformed() {
        let what = format!("BatchReadBlobs of {digest:?}");
        match probe.read_batch(vec![digest], &[], DigestFunction::Sha256).await {
            Ok(responses) => {
                let code = crate::verdict::code(responses.first().and_then(|response| response.status.as_ref()));
                same(&what, &Code::InvalidArgument, &code)?;
            }
            refusal => drop(refused(&what, refusal, &[Code::InvalidArgument])?),
        }
    }
    Ok(())
}

async fn malformed_batch_update(probe: &Probe) -> Verdict {
    for digest in malformed() {
        let what = format!("BatchUpdateBlobs of {digest:?}");
        let blob = (digest, re::compressor::Value::Identity, b"bytes".to_vec());
        match probe.batch([blob], DigestFunction::Sha256).await {
            Ok(responses) => {
                let code = crate::verdict::code(responses.first().and_then(|response| response.status.as_ref()));
                same(&what, &Code::InvalidArgument, &code)?;
            }
            refusal => drop(refused(&what, refusal, &[Code::InvalidArgument])?),
        }
    }
    Ok(())
}

async fn malformed_read(probe: &Probe) -> Verdict {
    for digest in malformed() {
        let good = probe.read_name(Form::Plain, probe.digest(b""));
        let name =
            format!("{}blobs/{}/{}", good.split("blobs/").next().unwrap_or_default(), digest.hash, digest.size_bytes);
        refused(&format!("Read of `{name}`"), probe.read_part(&name, 0, 0).await, &[Code::InvalidArgument])?;
    }
    Ok(())
}

async fn malformed_write(probe: &Probe) -> Verdict {
    for digest in malformed() {
        let good = probe.write_name(&probe.upload(), Form::Plain, probe.digest(b""));
        let name =
            format!("{}blobs/{}/{}", good.split("blobs/").next().unwrap_or_default(), digest.hash, digest.size_bytes);
        refused(&format!("Write of `{name}`"), probe.send_all(&name, b"bytes").await, &[Code::InvalidArgument])?;
    }
    Ok(())
}

async fn malformed_action(probe: &Probe) -> Verdict {
    for digest in malformed() {
        let what = format!("GetActionResult of {digest:?}");
        let request = re::GetActionResultRequest {
            instance_name: probe.instance().to_owned(),
            action_digest: Some(digest),
            ..Default::default()
        };
        let answer = probe.actions().get_action_result(request).await.map(tonic::Response::into_inner);
        refused(&what, answer, &[Code::InvalidArgument])?;
    }
    Ok(())
}

async fn malformed_tree(probe: &Probe) -> Verdict {
    for digest in malformed() {
        let what = format!("GetTree of {digest:?}");
        let request = re::GetTreeRequest {
            instance_name: probe.instance().to_owned(),
            root_digest: Some(digest),
            ..Default::default()
        };
        let answer = match offered("GetTree", probe.cas().get_tree(request).await)? {
            Ok(stream) => stream.into_inner().message().await,
            Err(status) => Err(status),
        };
        refused(&what, answer, &[Code::InvalidArgument])?;
    }
    Ok(())
}

async fn inferred(probe: &Probe) -> Verdict {
    let content = probe.noise(40);
    let digest = probe.put(content.clone()).await?;
    let request = re::BatchReadBlobsRequest {
        instance_name: probe.instance().to_owned(),
        digests: vec![digest.to_wire()],
        digest_function: 0,
        ..Default::default()
    };
    let answer = works("BatchReadBlobs without a function", probe.cas().batch_read_blobs(request).await)?.into_inner();
    let data = answer.responses.first().map(|response| response.data.clone());
    same_bytes("the blob", &content, &data.unwrap_or_default())
}

async fn unknown_function(probe: &Probe) -> Verdict {
    for function in [4711, re::digest_function::Value::Vso as i32] {
        if probe.cache()?.digest_functions.contains(&function) {
            continue;
        }
        let request = re::FindMissingBlobsRequest {
            instance_name: probe.instance().to_owned(),
            blob_digests: vec![probe.digest(&probe.noise(3)).to_wire()],
            digest_function: function,
        };
        let what = format!("FindMissingBlobs with digest function {function}");
        let answer = probe.cas().find_missing_blobs(request).await.map(tonic::Response::into_inner);
        refused(&what, answer, &[Code::InvalidArgument])?;
    }
    Ok(())
}

async fn blake3_stream(probe: &Probe) -> Verdict {
    let function = probe.blake3()?;
    let content = probe.noise(3000);
    let digest = Digest::of(function, &content);
    let name = probe.write_name(&probe.upload(), Form::Plain, digest);
    works("ByteStream.Write of a BLAKE3 name", probe.send_all(&name, &content).await)?;
    let read = works("ByteStream.Read of a BLAKE3 name", probe.read(Form::Plain, digest).await)?;
    ensure!(read == content, "other bytes came back");
    Ok(())
}

async fn blake3_batch(probe: &Probe) -> Verdict {
    let function = probe.blake3()?;
    let content = probe.noise(300);
    let digest = Digest::of(function, &content);
    probe.store(&[(digest, content.clone().into())]).await?;
    ensure!(probe.has(digest).await?, "FindMissingBlobs says that it is missing");
    let read = works("BatchReadBlobs", probe.read_batch(vec![digest.to_wire()], &[], function).await)?;
    same_bytes("the blob", &content, &read.first().map(|response| response.data.clone()).unwrap_or_default())
}

async fn never_mixed(probe: &Probe) -> Verdict {
    let function = probe.blake3()?;
    let content = probe.noise(300);
    let digest = probe.put(content.clone()).await?;
    // The same 64 digits under the other function.
    let Ok(other) = Digest::parse(function, &digest.hash_text(), 300) else { return Ok(()) };
    ensure!(!probe.has(other).await?, "the digits of a SHA-256 are found as those of a BLAKE3");
    Ok(())
}
