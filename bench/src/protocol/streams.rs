//! ByteStream: one large blob in each direction, and the small writes of which Bazel's uploads consist.
use super::{Peer, beside_casd, blob_name, noise, rate};
use crate::report::{Report, Row};
use crate::stats::Samples;
use crate::world::F;
use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use lre_model::{Digest, Hasher};
use lre_proto::bytestream::byte_stream_client::ByteStreamClient;
use lre_proto::bytestream::{ReadRequest, WriteRequest};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Of the large blob.
const BYTES: usize = 256 << 20;

/// In a message, and in a write to the raw socket.
const CHUNK_BYTES: usize = 256 << 10;

/// Of the large blob.
const ROUNDS: u64 = 5;

/// Small blobs written in a round.
const SMALL: u64 = 200;

/// Of the small blobs.
const SMALL_ROUNDS: u64 = 5;

/// Writes that are under way together.
const AT_A_TIME: usize = 32;

/// How much of the raw socket's rate is asked for.
const SHARE: f64 = 0.6;

/// Write and read of a large blob, in turns with a raw socket that moves the same bytes.
pub async fn streams(peers: &[Peer; 2], report: &mut Report) -> Result<()> {
    // The files stay to the end, as those of the servers do: memory that nobody had before is dearer.
    let files = tempfile::Builder::new().prefix("kept-").tempdir()?;
    let (mut raw, mut bare) = (Samples::default(), Samples::default());
    let (mut writes, mut reads) = <([Samples; 2], [Samples; 2])>::default();
    for round in 0..ROUNDS {
        for (i, peer) in peers.iter().enumerate() {
            let content = noise(peer.seed << 32 | round, BYTES);
            let digest = Digest::of(F, &content);
            if i == 0 {
                raw.add(raw_socket(content.clone())?);
                bare.add(kept(content.clone(), &files.path().join(round.to_string()))?);
            }
            writes[i].add(write(&peer.channel, digest, content).await?);
            reads[i].add(read(&peer.channel, digest).await?);
        }
    }
    for (name, samples) in [("ByteStream write of 256 MiB", writes), ("ByteStream read of 256 MiB", reads)] {
        let [ours, casd] = &samples;
        let row = Row::of(name, ours).at_most_of(1.0 / SHARE, "a raw socket", raw.p50());
        let mut row = row.at_most_of(1.0, "buildbox-casd", casd.p50());
        if name.contains("write") {
            row = row.at_most_of(1.0 / SHARE, "a raw socket, SHA-256 and a file", bare.p50());
        }
        let rates = [
            ("ours", ours),
            ("a raw socket", &raw),
            ("buildbox-casd", casd),
            ("a raw socket, SHA-256 and a file", &bare),
        ];
        let rates = rates.map(|(who, samples)| format!("{who} {}", rate(BYTES, samples.p50())));
        report.row(row.note(rates.join(", ")));
    }
    Ok(())
}

/// Small writes, one after the other and 32 at a time.
pub async fn small(peers: &[Peer; 2], report: &mut Report) -> Result<()> {
    let mut one = <[Samples; 2]>::default();
    let mut many = <[Samples; 2]>::default();
    for round in 0..SMALL_ROUNDS {
        for (i, peer) in peers.iter().enumerate() {
            let seed = (peer.seed << 48) | (round << 32);
            small_writes(peer, seed, 1).await?.into_iter().for_each(|sample| one[i].add(sample));
            let start = Instant::now();
            let count = small_writes(peer, seed | (1 << 24), AT_A_TIME).await?.len();
            many[i].add(start.elapsed() / u32::try_from(count)?);
        }
    }
    report.row(beside_casd("ByteStream write of 1 KiB", &one));
    report.row(beside_casd("ByteStream writes of 1 KiB, 32 at a time, each", &many));
    Ok(())
}

async fn small_writes(peer: &Peer, seed: u64, at_a_time: usize) -> Result<Vec<Duration>> {
    let calls = (0..SMALL).map(|n| {
        let content = noise(seed | n, 1024);
        write(&peer.channel, Digest::of(F, &content), content)
    });
    stream::iter(calls).buffer_unordered(at_a_time).try_collect().await
}

async fn write(channel: &Channel, digest: Digest, content: Bytes) -> Result<Duration> {
    let size = content.len();
    let name = format!("uploads/{}/{}", uuid(digest), blob_name(digest));
    let messages = (0..size).step_by(CHUNK_BYTES).map(move |start| {
        let end = size.min(start + CHUNK_BYTES);
        WriteRequest {
            resource_name: if start == 0 { name.clone() } else { String::new() },
            write_offset: start as i64,
            finish_write: end == size,
            data: content.slice(start..end),
        }
    });
    let start = Instant::now();
    let answer = ByteStreamClient::new(channel.clone()).write(stream::iter(messages)).await?.into_inner();
    ensure!(answer.committed_size == size as i64, "committed {} of {size}", answer.committed_size);
    Ok(start.elapsed())
}

async fn read(channel: &Channel, digest: Digest) -> Result<Duration> {
    let request = ReadRequest { resource_name: blob_name(digest), read_offset: 0, read_limit: 0 };
    let start = Instant::now();
    let mut chunks = ByteStreamClient::new(channel.clone()).read(request).await?.into_inner();
    let mut bytes = 0;
    while let Some(chunk) = chunks.message().await? {
        bytes += chunk.data.len();
    }
    ensure!(bytes as u64 == digest.size_bytes(), "read {bytes} of {}", digest.size_bytes());
    Ok(start.elapsed())
}

/// The digest is as good as chance: no blob is written twice.
fn uuid(digest: Digest) -> String {
    let hash = digest.hash_text();
    format!("{}-{}-4{}-8{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32])
}

/// The same bytes through a socket without any protocol, from one thread to another.
fn raw_socket(content: Bytes) -> Result<Duration> {
    through_a_socket(content, |_| Ok(()))
}

/// And with what any store has to do with them: hash them, and write them to a file of their own.
fn kept(content: Bytes, file: &Path) -> Result<Duration> {
    let (mut file, mut hasher) = (File::create_new(file)?, Hasher::new(F));
    let elapsed = through_a_socket(content, |piece| {
        hasher.update(piece);
        file.write_all(piece)
    })?;
    std::hint::black_box(hasher.finish());
    Ok(elapsed)
}

fn through_a_socket(content: Bytes, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> Result<Duration> {
    let (mut near, mut far) = UnixStream::pair()?;
    let start = Instant::now();
    let sender = std::thread::spawn(move || content.chunks(CHUNK_BYTES).try_for_each(|chunk| near.write_all(chunk)));
    let (mut buffer, mut bytes) = (vec![0; CHUNK_BYTES], 0);
    loop {
        match far.read(&mut buffer)? {
            0 => break,
            n => {
                each(&buffer[..n])?;
                bytes += n;
            }
        }
    }
    let elapsed = start.elapsed();
    sender.join().expect("the sender does not panic")?;
    ensure!(bytes == BYTES, "{bytes} of {BYTES} arrived");
    Ok(elapsed)
}
