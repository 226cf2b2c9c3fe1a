//! E: ByteStream.Write.
use crate::check::checks;
use crate::probe::Probe;
use crate::stream::{CHUNK, Form, messages, unfinished, zstd};
use crate::verdict::{Verdict, ensure, fail, refused, same, works};
use futures::future::join_all;
use lre_proto::bytestream::WriteRequest;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

checks! {
    Must 34 "Write takes a name with metadata at its end" trailing_metadata;
    Must 34 "Write takes the name in the first message only" name_once;
    Must 34 "Write takes the same name in every message" name_always;
    Must 34 "Write without a name is refused" no_name;
    Should 34 "Write refuses another name in a later message" other_name;
    Must 35 "Write answers with the size of the blob" committed;
    Must 35 "Write refuses other bytes than announced, and keeps nothing" other_bytes;
    Must 35 "Write refuses too few bytes, and keeps nothing" too_few;
    Must 35 "Write refuses too many bytes, and keeps nothing" too_many;
    Must 35 "Write refuses a gap" gap;
    Must 35 "Write takes 5 MiB in many messages" large;
    Must 36 "Write of an existing blob is OK, with its size" existing;
    Must 36 "Write of an existing blob is answered before the client has sent it" existing_at_once;
    Must 36 "a compressed write of an existing blob is OK, with -1" existing_compressed;
    May 37 "a finished compressed write is answered with the bytes sent, the blob's size, or -1" compressed_size;
    Must 39 "one uuid serves two blobs" one_uuid;
    Must 39 "eight writers of one blob all succeed" eight_writers;
    Must 39 "compressed and plain writers of one blob all succeed" mixed_writers;
    Must 41 "a compressed write is there in plain" compressed_write;
    Must 41 "a compressed write of other bytes is refused, and nothing kept" compressed_lies;
    Must 41 "a compressed write of what is not compressed is refused" not_compressed;
    May 42 "a compressor that is not told is refused" unknown_compressor;
}

async fn stored(probe: &Probe, name: &str, content: &[u8]) -> Verdict {
    let committed = works(&format!("Write of `{name}`"), probe.send_all(name, content).await)?;
    same("committed_size", &(content.len() as i64), &committed)?;
    ensure!(probe.has(probe.digest(content)).await?, "FindMissingBlobs says that it is missing");
    Ok(())
}

async fn trailing_metadata(probe: &Probe) -> Verdict {
    let content = probe.noise(70);
    let name = probe.write_name(&probe.upload(), Form::Plain, probe.digest(&content));
    stored(probe, &format!("{name}/some/file.txt"), &content).await
}

async fn name_once(probe: &Probe) -> Verdict {
    let content = probe.noise(3 * CHUNK);
    let name = probe.write_name(&probe.upload(), Form::Plain, probe.digest(&content));
    stored(probe, &name, &content).await
}

async fn name_always(probe: &Probe) -> Verdict {
    let content = probe.noise(3 * CHUNK);
    let name = probe.write_name(&probe.upload(), Form::Plain, probe.digest(&content));
    let mut messages = messages(&name, &content, 0);
    messages.iter_mut().for_each(|message| message.resource_name.clone_from(&name));
    works("Write with the name in every message", probe.send(messages).await).map(drop)
}

async fn no_name(probe: &Probe) -> Verdict {
    let content = probe.noise(70);
    refused("Write without a name", probe.send_all("", &content).await, &[Code::InvalidArgument]).map(drop)
}

async fn other_name(probe: &Probe) -> Verdict {
    let content = probe.noise(3 * CHUNK);
    let name = probe.write_name(&probe.upload(), Form::Plain, probe.digest(&content));
    let mut messages = messages(&name, &content, 0);
    messages[1].resource_name = probe.write_name(&probe.upload(), Form::Plain, probe.digest(&probe.noise(5)));
    refused("Write with two names", probe.send(messages).await, &[Code::InvalidArgument]).map(drop)
}

async fn committed(probe: &Probe) -> Verdict {
    let content = probe.noise(1234);
    let name = probe.write_name(&probe.upload(), Form::Plain, probe.digest(&content));
    stored(probe, &name, &content).await
}

/// What is sent under a digest that it does not have.
async fn lie(probe: &Probe, announced: &[u8], sent: &[u8]) -> Verdict {
    let digest = probe.digest(announced);
    let name = probe.write_name(&probe.upload(), Form::Plain, digest);
    refused("Write", probe.send_all(&name, sent).await, &[Code::InvalidArgument])?;
    ensure!(!probe.has(digest).await?, "it is there all the same");
    Ok(())
}

async fn other_bytes(probe: &Probe) -> Verdict {
    lie(probe, &probe.noise(1000), &probe.noise(1000)).await
}

async fn too_few(probe: &Probe) -> Verdict {
    let content = probe.noise(1000);
    lie(probe, &content, &content[..999]).await
}

async fn too_many(probe: &Probe) -> Verdict {
    let content = probe.noise(1001);
    lie(probe, &content[..1000], &content).await
}

async fn gap(probe: &Probe) -> Verdict {
    let content = probe.noise(3 * CHUNK);
    let digest = probe.digest(&content);
    let mut messages = messages(&probe.write_name(&probe.upload(), Form::Plain, digest), &content, 0);
    messages[1].write_offset += 1;
    refused("Write with a gap", probe.send(messages).await, &[Code::InvalidArgument, Code::OutOfRange])?;
    ensure!(!probe.has(digest).await?, "it is there all the same");
    Ok(())
}

async fn large(probe: &Probe) -> Verdict {
    let content = probe.noise(5 << 20);
    let name = probe.write_name(&probe.upload(), Form::Plain, probe.digest(&content));
    stored(probe, &name, &content).await
}

async fn existing(probe: &Probe) -> Verdict {
    let content = probe.noise(2 * CHUNK);
    let digest = probe.stream_in(Form::Plain, &content).await?;
    let name = probe.write_name(&probe.upload(), Form::Plain, digest);
    let committed = works("Write of an existing blob", probe.send_all(&name, &content).await)?;
    same("committed_size", &(content.len() as i64), &committed)
}

async fn existing_at_once(probe: &Probe) -> Verdict {
    const SOON: Duration = Duration::from_secs(10);
    let content = probe.noise(4 * CHUNK);
    let digest = probe.stream_in(Form::Plain, &content).await?;
    let name = probe.write_name(&probe.upload(), Form::Plain, digest);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let first = WriteRequest { finish_write: false, ..unfinished(&name, &content[..CHUNK], 0).remove(0) };
    let mut client = probe.bytes();
    let answer = client.write(ReceiverStream::new(receiver));
    // The stream stays open, and nothing else comes.
    let _ = sender.send(first).await;
    let Ok(answer) = tokio::time::timeout(SOON, answer).await else {
        return fail(format!("no answer within {} s of the first message", SOON.as_secs()));
    };
    drop(sender);
    let committed = works("Write of an existing blob", answer)?.into_inner().committed_size;
    same("committed_size", &(content.len() as i64), &committed)
}

async fn existing_compressed(probe: &Probe) -> Verdict {
    probe.zstd_streams()?;
    let content = probe.noise(1000);
    let digest = probe.stream_in(Form::Plain, &content).await?;
    let name = probe.write_name(&probe.upload(), Form::Zstd, digest);
    let committed = works("compressed Write of an existing blob", probe.send_all(&name, &zstd(&content)).await)?;
    same("committed_size", &-1, &committed)
}

async fn compressed_size(probe: &Probe) -> Verdict {
    probe.zstd_streams()?;
    let content = vec![b'c'; 5000].into_iter().chain(probe.noise(32)).collect::<Vec<u8>>();
    let packed = zstd(&content);
    let name = probe.write_name(&probe.upload(), Form::Zstd, probe.digest(&content));
    let committed = works("compressed Write", probe.send_all(&name, &packed).await)?;
    let known = [packed.len() as i64, content.len() as i64, -1];
    ensure!(known.contains(&committed), "committed_size is {committed}; {known:?} were expected");
    Ok(())
}

async fn one_uuid(probe: &Probe) -> Verdict {
    let (first, second) = (probe.noise(500), probe.noise(500));
    let upload = probe.upload();
    let names = [&first, &second].map(|content| probe.write_name(&upload, Form::Plain, probe.digest(content)));
    let (one, two) = tokio::join!(probe.send_all(&names[0], &first), probe.send_all(&names[1], &second));
    works("Write of the first blob", one)?;
    works("Write of the second blob under the same uuid", two).map(drop)
}

async fn eight_writers(probe: &Probe) -> Verdict {
    let content = probe.noise(8 * CHUNK);
    let names: Vec<_> =
        (0..8).map(|_| probe.write_name(&probe.upload(), Form::Plain, probe.digest(&content))).collect();
    for answer in join_all(names.iter().map(|name| probe.send_all(name, &content))).await {
        same("committed_size", &(content.len() as i64), &works("Write of one blob by eight", answer)?)?;
    }
    Ok(())
}

async fn mixed_writers(probe: &Probe) -> Verdict {
    probe.zstd_streams()?;
    let content = probe.noise(8 * CHUNK);
    let (digest, packed) = (probe.digest(&content), zstd(&content));
    let plain: Vec<_> = (0..3).map(|_| probe.write_name(&probe.upload(), Form::Plain, digest)).collect();
    let zstd: Vec<_> = (0..3).map(|_| probe.write_name(&probe.upload(), Form::Zstd, digest)).collect();
    let plain = join_all(plain.iter().map(|name| probe.send_all(name, &content)));
    let (plain, zstd) = tokio::join!(plain, join_all(zstd.iter().map(|name| probe.send_all(name, &packed))));
    for answer in plain.into_iter().chain(zstd) {
        works("Write of one blob in both forms", answer)?;
    }
    let read = works("ByteStream.Read", probe.read(Form::Plain, digest).await)?;
    ensure!(read == content, "other bytes came back");
    Ok(())
}

async fn compressed_write(probe: &Probe) -> Verdict {
    probe.zstd_streams()?;
    let content = probe.noise(3 * CHUNK);
    let digest = probe.stream_in(Form::Zstd, &content).await?;
    let read = works("ByteStream.Read in plain", probe.read(Form::Plain, digest).await)?;
    ensure!(read == content, "other bytes came back");
    Ok(())
}

async fn compressed_lies(probe: &Probe) -> Verdict {
    probe.zstd_streams()?;
    let digest = probe.digest(&probe.noise(1000));
    let name = probe.write_name(&probe.upload(), Form::Zstd, digest);
    let answer = probe.send_all(&name, &zstd(&probe.noise(1000))).await;
    refused("compressed Write of other bytes", answer, &[Code::InvalidArgument])?;
    ensure!(!probe.has(digest).await?, "it is there all the same");
    Ok(())
}

async fn not_compressed(probe: &Probe) -> Verdict {
    probe.zstd_streams()?;
    let content = probe.noise(1000);
    let name = probe.write_name(&probe.upload(), Form::Zstd, probe.digest(&content));
    let answer = probe.send_all(&name, &content).await;
    refused("compressed Write of bytes that are not", answer, &[Code::InvalidArgument]).map(drop)
}

async fn unknown_compressor(probe: &Probe) -> Verdict {
    let content = probe.noise(100);
    let name = probe.write_name(&probe.upload(), Form::Zstd, probe.digest(&content)).replace("/zstd/", "/snappy/");
    let codes = [Code::InvalidArgument, Code::Unimplemented];
    refused("Write of `compressed-blobs/snappy`", probe.send_all(&name, &content).await, &codes).map(drop)
}
