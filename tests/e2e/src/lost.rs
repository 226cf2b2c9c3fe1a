//! Blobs that a store loses behind the back of its server.
use anyhow::{Result, ensure};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a record of the log before its payload, and where in them the hash is (docs/reference/store.md).
const HEAD: usize = 64;
const HASH: usize = 24;

/// Makes the store in `directory` lose the blob with this SHA-256: its file is removed, or its record in the log is damaged and
/// read, by which the server notices.
///
/// # Errors
/// The blob is not there, or the server goes on answering with it.
pub fn lose(directory: &Path, server: SocketAddr, hash: &str) -> Result<()> {
    let file = directory.join("blobs/sha256").join(&hash[..2]).join(hash);
    if file.exists() {
        return Ok(fs::remove_file(file)?);
    }
    let bytes: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&hash[2 * i..2 * i + 2], 16)).collect::<Result<_, _>>()?;
    damage(&directory.join("log"), &bytes)?;
    let mut connection = TcpStream::connect(server)?;
    write!(connection, "GET /cas/{hash} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 404"), "a damaged blob was served: {answer}");
    Ok(())
}

/// Flips a bit of the payload of every record of this blob.
fn damage(log: &Path, hash: &[u8]) -> Result<()> {
    let mut damaged = 0;
    for segment in fs::read_dir(log)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()? {
        if segment.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let bytes = fs::read(&segment)?;
        let file = fs::OpenOptions::new().write(true).open(&segment)?;
        for at in bytes.windows(hash.len()).enumerate().filter(|(_, window)| *window == hash).map(|(at, _)| at) {
            if let Some(first) = bytes.get(at + HEAD - HASH) {
                file.write_all_at(&[first ^ 1], (at + HEAD - HASH) as u64)?;
                damaged += 1;
            }
        }
    }
    ensure!(damaged > 0, "the blob is neither a file nor in the log");
    Ok(())
}
