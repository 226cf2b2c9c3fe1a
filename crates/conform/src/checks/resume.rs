//! E, 38: uploads that break.
use crate::check::checks;
use crate::probe::Probe;
use crate::stream::{CHUNK, Form, messages, unfinished, zstd};
use crate::verdict::{Verdict, ensure, fail, same, works};
use tokio_stream::wrappers::ReceiverStream;

checks! {
    Should 38 "QueryWriteStatus of an unknown upload is 0, and no error" unknown_upload;
    Should 38 "QueryWriteStatus of a finished upload is complete, with its size" finished_upload;
    Should 38 "QueryWriteStatus of an existing blob is complete, with its size" existing_blob;
    Should 38 "an upload that broke is resumed where it stands" broken_upload;
    Should 38 "an upload that broke can begin anew" from_the_start;
    Should 41 "a compressed upload that broke can begin anew" compressed_from_the_start;
}

async fn unknown_upload(probe: &Probe) -> Verdict {
    let name = probe.write_name(&probe.upload(), Form::Plain, probe.digest(&probe.noise(100)));
    let status = works("QueryWriteStatus of an unknown upload", probe.status(&name).await)?;
    same("committed_size and complete", &(0, false), &(status.committed_size, status.complete))
}

async fn finished_upload(probe: &Probe) -> Verdict {
    let content = probe.noise(100);
    let name = probe.write_name(&probe.upload(), Form::Plain, probe.digest(&content));
    works("Write", probe.send_all(&name, &content).await)?;
    let status = works("QueryWriteStatus of a finished upload", probe.status(&name).await)?;
    same("committed_size and complete", &(100, true), &(status.committed_size, status.complete))
}

async fn existing_blob(probe: &Probe) -> Verdict {
    let digest = probe.put(probe.noise(100)).await?;
    let name = probe.write_name(&probe.upload(), Form::Plain, digest);
    let status = works("QueryWriteStatus of an existing blob", probe.status(&name).await)?;
    same("committed_size and complete", &(100, true), &(status.committed_size, status.complete))
}

/// Sends all but the last message and hangs up.
async fn break_off(probe: &Probe, name: &str, data: &[u8]) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut client = probe.bytes();
    let feed = async {
        let mut messages = unfinished(name, data, 0);
        messages.pop();
        for message in messages {
            if sender.send(message).await.is_err() {
                return;
            }
        }
        // Until the last one was taken from the channel.
        let _ = sender.reserve().await;
    };
    tokio::select! {
        _ = client.write(ReceiverStream::new(receiver)) => {}
        () = feed => {}
    }
}

async fn broken_upload(probe: &Probe) -> Verdict {
    /// A server notices a broken stream when it does.
    const LOOKS: usize = 50;
    const BETWEEN: std::time::Duration = std::time::Duration::from_millis(100);
    let content = probe.noise(8 * CHUNK);
    let name = probe.write_name(&probe.upload(), Form::Plain, probe.digest(&content));
    break_off(probe, &name, &content).await;
    let mut committed = 0;
    for _ in 0..LOOKS {
        let status = works("QueryWriteStatus of a broken upload", probe.status(&name).await)?;
        ensure!(!status.complete, "a broken upload is said to be complete");
        committed = status.committed_size;
        if committed > 0 {
            break;
        }
        tokio::time::sleep(BETWEEN).await;
    }
    if committed == 0 {
        return fail("committed_size is 0 after a part was sent: everything has to be sent again");
    }
    let start = usize::try_from(committed).unwrap_or(usize::MAX);
    ensure!(start <= content.len(), "committed_size is {committed}, more than was sent");
    let rest = works("Write of the rest", probe.send(messages(&name, &content[start..], start)).await)?;
    same("committed_size", &(content.len() as i64), &rest)?;
    let read = works("ByteStream.Read", probe.read(Form::Plain, probe.digest(&content)).await)?;
    ensure!(read == content, "other bytes came back");
    Ok(())
}

async fn from_the_start(probe: &Probe) -> Verdict {
    let content = probe.noise(8 * CHUNK);
    let name = probe.write_name(&probe.upload(), Form::Plain, probe.digest(&content));
    break_off(probe, &name, &content).await;
    let committed = works("Write from offset 0 after a broken one", probe.send_all(&name, &content).await)?;
    same("committed_size", &(content.len() as i64), &committed)
}

async fn compressed_from_the_start(probe: &Probe) -> Verdict {
    probe.zstd_streams()?;
    let content = probe.noise(8 * CHUNK);
    let (digest, packed) = (probe.digest(&content), zstd(&content));
    let name = probe.write_name(&probe.upload(), Form::Zstd, digest);
    break_off(probe, &name, &packed).await;
    works("compressed Write from offset 0 after a broken one", probe.send_all(&name, &packed).await)?;
    let read = works("ByteStream.Read", probe.read(Form::Plain, digest).await)?;
    ensure!(read == content, "other bytes came back");
    Ok(())
}
