//! E: ByteStream.Read.
use crate::check::checks;
use crate::probe::Probe;
use crate::stream::{CHUNK, Form, unzstd};
use crate::verdict::{Verdict, ensure, fail, refused, same, works};
use tonic::Code;

checks! {
    Must 40 "Read gives the blob" whole;
    Must 40 "Read from an offset gives the rest" from_offset;
    Must 40 "Read with a limit gives no more" with_limit;
    Must 40 "Read with a limit beyond the end gives what there is" limit_beyond;
    Must 40 "Read from the end gives nothing" from_the_end;
    Must 40 "Read from beyond the end is OUT_OF_RANGE" beyond;
    Must 40 "Read from a negative offset is OUT_OF_RANGE" negative;
    Should 40 "Read with a negative limit is refused" negative_limit;
    Must 40 "Read of a missing blob is NOT_FOUND" missing;
    Must 40 "Read of a malformed name is INVALID_ARGUMENT" malformed;
    Should 40 "Read of a name with something after it is refused" trailing;
    Must 41 "a compressed read unpacks to the blob" compressed;
    Must 41 "a compressed read from an offset of uncompressed bytes gives the rest" compressed_offset;
    Must 41 "a compressed read with a limit is INVALID_ARGUMENT" compressed_limit;
    Must 41 "a compressed read of a missing blob is NOT_FOUND" compressed_missing;
    Must 41 "a compressed read of the empty blob unpacks to nothing" compressed_empty;
}

/// A blob of some messages.
async fn blob(probe: &Probe) -> Verdict<(Vec<u8>, String)> {
    let content = probe.noise(3 * CHUNK + 17);
    let digest = probe.stream_in(Form::Plain, &content).await?;
    Ok((content, probe.read_name(Form::Plain, digest)))
}

/// Reads a part, and expects these bytes of the blob.
async fn part(probe: &Probe, offset: usize, limit: usize) -> Verdict {
    let (content, name) = blob(probe).await?;
    let end = if limit == 0 { content.len() } else { content.len().min(offset + limit) };
    let read = works("Read", probe.read_part(&name, offset as i64, limit as i64).await)?;
    same("how many bytes", &(end - offset), &read.len())?;
    ensure!(read == content[offset..end], "other bytes came back");
    Ok(())
}

async fn whole(probe: &Probe) -> Verdict {
    part(probe, 0, 0).await
}

async fn from_offset(probe: &Probe) -> Verdict {
    part(probe, CHUNK + 3, 0).await
}

async fn with_limit(probe: &Probe) -> Verdict {
    part(probe, 5, CHUNK + 1).await
}

async fn limit_beyond(probe: &Probe) -> Verdict {
    part(probe, 2 * CHUNK, 5 * CHUNK).await
}

async fn from_the_end(probe: &Probe) -> Verdict {
    part(probe, 3 * CHUNK + 17, 0).await
}

async fn beyond(probe: &Probe) -> Verdict {
    let (content, name) = blob(probe).await?;
    let answer = probe.read_part(&name, content.len() as i64 + 1, 0).await;
    refused("Read from beyond the end", answer, &[Code::OutOfRange]).map(drop)
}

async fn negative(probe: &Probe) -> Verdict {
    let (_, name) = blob(probe).await?;
    let codes = [Code::OutOfRange, Code::InvalidArgument];
    refused("Read from offset -1", probe.read_part(&name, -1, 0).await, &codes).map(drop)
}

async fn negative_limit(probe: &Probe) -> Verdict {
    let (_, name) = blob(probe).await?;
    let codes = [Code::InvalidArgument, Code::OutOfRange];
    refused("Read with limit -1", probe.read_part(&name, 0, -1).await, &codes).map(drop)
}

async fn missing(probe: &Probe) -> Verdict {
    let answer = probe.read(Form::Plain, probe.digest(&probe.noise(100))).await;
    refused("Read of a missing blob", answer, &[Code::NotFound]).map(drop)
}

async fn malformed(probe: &Probe) -> Verdict {
    let (_, name) = blob(probe).await?;
    let no_size = name.rsplit_once('/').map_or("", |(front, _)| front);
    for name in ["", "nonsense", no_size, &format!("{no_size}/x")] {
        refused(&format!("Read of `{name}`"), probe.read_part(name, 0, 0).await, &[Code::InvalidArgument])?;
    }
    Ok(())
}

async fn trailing(probe: &Probe) -> Verdict {
    let (_, name) = blob(probe).await?;
    let answer = probe.read_part(&format!("{name}/more"), 0, 0).await.map(|bytes| bytes.len());
    refused("Read of a name that goes on", answer, &[Code::InvalidArgument, Code::NotFound]).map(drop)
}

/// The name of a new blob in compressed form, and its content.
async fn packed(probe: &Probe) -> Verdict<(Vec<u8>, String)> {
    probe.zstd_streams()?;
    let content = [probe.noise(2 * CHUNK), vec![b'd'; CHUNK]].concat();
    let digest = probe.stream_in(Form::Plain, &content).await?;
    Ok((content, probe.read_name(Form::Zstd, digest)))
}

async fn compressed(probe: &Probe) -> Verdict {
    compressed_from(probe, 0).await
}

async fn compressed_offset(probe: &Probe) -> Verdict {
    compressed_from(probe, CHUNK + 5).await
}

async fn compressed_from(probe: &Probe, offset: usize) -> Verdict {
    let (content, name) = packed(probe).await?;
    let read = works("compressed Read", probe.read_part(&name, offset as i64, 0).await)?;
    match unzstd(&read) {
        Ok(read) if read == content[offset..] => Ok(()),
        Ok(_) => fail("it unpacks to other bytes"),
        Err(error) => fail(format!("it is no zstd: {error}")),
    }
}

async fn compressed_limit(probe: &Probe) -> Verdict {
    let (_, name) = packed(probe).await?;
    refused("compressed Read with a limit", probe.read_part(&name, 0, 10).await, &[Code::InvalidArgument]).map(drop)
}

async fn compressed_missing(probe: &Probe) -> Verdict {
    probe.zstd_streams()?;
    let answer = probe.read(Form::Zstd, probe.digest(&probe.noise(100))).await;
    refused("compressed Read of a missing blob", answer, &[Code::NotFound]).map(drop)
}

async fn compressed_empty(probe: &Probe) -> Verdict {
    probe.zstd_streams()?;
    let name = probe.read_name(Form::Zstd, probe.digest(b""));
    let read = works("compressed Read of the empty blob", probe.read_part(&name, 0, 0).await)?;
    same("what it unpacks to", &Some(Vec::new()), &unzstd(&read).ok())
}
