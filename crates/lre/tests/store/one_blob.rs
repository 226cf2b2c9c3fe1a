//! The same bytes by every way into the store are one blob.
use crate::home::Home;
use crate::server::{Client as Wire, PATIENCE, noise, sha};
use lre::client::{Entry, Options};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Large enough for a file of its own, and small enough for the log.
const LENGTHS: [usize; 2] = [300_000, 3_000];

/// Inodes with these bytes below a folder, and how often the log has them.
fn copies(store: &Path, bytes: &[u8]) -> (usize, usize) {
    let (mut inodes, mut logged) = (HashSet::new(), 0);
    let mut pending = vec![store.to_owned()];
    while let Some(folder) = pending.pop() {
        // Trees of slots come and go.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
            if metadata.is_dir() {
                pending.push(entry.path());
            } else if metadata.is_file() {
                let Ok(content) = fs::read(entry.path()) else { continue };
                if content == bytes {
                    inodes.insert((metadata.dev(), metadata.ino()));
                } else if folder.ends_with("log") {
                    logged += content.windows(bytes.len()).filter(|window| *window == bytes).count();
                }
            }
        }
    }
    (inodes.len(), logged)
}

async fn put_over_http(tcp: std::net::SocketAddr, bytes: &[u8]) {
    let mut stream = tokio::net::TcpStream::connect(tcp).await.unwrap();
    let (name, length) = (sha(bytes).hash_text(), bytes.len());
    let head =
        format!("PUT /cas/{name} HTTP/1.1\r\nHost: {tcp}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(&[head.as_bytes(), bytes].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn the_http_cache_grpc_toolchains_and_actions_share_their_blobs() {
    let home = Home::new();
    let blobs: Vec<_> = LENGTHS.iter().map(|length| noise(*length as u64, *length)).collect();
    let tree = home.path().join("shared");
    fs::create_dir(&tree).unwrap();
    for (i, bytes) in blobs.iter().enumerate() {
        fs::write(tree.join(format!("data{i}")), bytes).unwrap();
    }
    let server = home.serve(&[]);
    let (client, wire) = (server.client().await, Wire::connect(server.tcp).await);
    for bytes in &blobs {
        put_over_http(server.tcp, bytes).await;
        wire.batch(std::slice::from_ref(bytes)).await.unwrap();
        wire.stream(bytes).await.unwrap();
    }
    home.must(&["toolchain", "add", "shared", "--from", &format!("dir:{}", tree.display())]);
    let mut spec = home.script("cat in0 >out0; cat in1 >out1", &["out0", "out1"]);
    for (i, bytes) in blobs.iter().enumerate() {
        let entry = Entry::Bytes { content: bytes.clone(), executable: false };
        spec.inputs.add(&format!("in{i}"), entry).unwrap();
    }
    let prepared = client.prepare(spec).await.unwrap();
    let ran = client.run(&prepared, &Options::default()).await.unwrap();
    assert!(ran.failure.is_none() && !ran.cached);

    for bytes in &blobs {
        assert_eq!(wire.missing(&[sha(bytes)]).await, []);
        assert!(wire.read(sha(bytes)).await.unwrap() == *bytes);
        // What an action has left is cleared away behind its answer.
        let deadline = Instant::now() + PATIENCE;
        let mut found = copies(&home.store(), bytes);
        while found.0 > 1 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
            found = copies(&home.store(), bytes);
        }
        let (inodes, logged) = found;
        // The small one was in the log before a tree needed a file of it; these bytes are dead.
        let log_at_most = usize::from(bytes.len() < 16 << 10);
        assert!(inodes == 1 && logged <= log_at_most, "{} bytes: {inodes} files, {logged} in the log", bytes.len());
    }
}
