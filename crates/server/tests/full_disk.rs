//! A disk that is really full, and not a store that says so: the test runs itself again on a file system of 12 MiB, in a mount
//! namespace of its own.
mod common;

use common::{TestServer, messages, noise, refused, sha, until, upload_name, zstd};
use lre_model::Compressor::{Identity, Zstd};
use lre_model::Digest;
use lre_proto::re::{SpliceBlobRequest, SplitBlobRequest};
use std::process::Command;
use tonic::Code;
use tonic_types::StatusExt;

/// Says to the process that its temporary folder is the small disk.
const ROLE: &str = "LRE_FULL_DISK_TEST";

/// PROTOCOL 35, 85, bad input: blobs that the disk has no room for are RESOURCE_EXHAUSTED, nothing of them stays, and smaller ones
/// are stored as before.
#[tokio::test]
async fn what_does_not_fit_the_disk_is_refused() {
    if std::env::var_os(ROLE).is_some() {
        return on_a_small_disk().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=12m none \"$TMPDIR\" && exec \"$0\" --nocapture";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
    let output = command.env(ROLE, "1").env("TMPDIR", folder.path()).output().expect("unshare is there (util-linux)");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

async fn on_a_small_disk() {
    let server = TestServer::start().await;
    let free = || rustix::fs::statvfs(server.directory.path()).unwrap();
    let room = free().f_bavail * free().f_frsize;
    assert!(room < 16 << 20, "not the small disk: {room} bytes");
    let large = noise(1, 20 << 20);
    for (compressor, sent) in [(Identity, large.clone()), (Zstd, zstd(&large))] {
        let name = upload_name("u", compressor, sha(&large));
        let status = refused(server.write(messages(&name, &sent, 100_000, 0)).await, Code::ResourceExhausted);
        assert!(status.get_details_quota_failure().is_some(), "{status:?}");
        until("its file is gone", async || server.staged_files() == 0).await;
    }
    assert!(!server.has(sha(&large)).await);
    // Announced, and never sent: takes no room of others for long.
    let huge = Digest::parse(lre_model::DigestFunction::Sha256, &"ab".repeat(32), i64::MAX).unwrap();
    let mut some = messages(&upload_name("u", Identity, huge), &large[..300_000], 100_000, 0);
    some.iter_mut().for_each(|message| message.finish_write = false);
    refused(server.write(some).await, Code::ResourceExhausted);

    // It fits once. Its chunks beside it do not, and two of it neither.
    let fits = noise(2, 7 << 20);
    server.write(messages(&upload_name("u", Identity, sha(&fits)), &fits, 100_000, 0)).await.unwrap();
    let split = SplitBlobRequest { blob_digest: Some(sha(&fits).to_wire()), ..Default::default() };
    refused(server.cas().split_blob(split).await, Code::ResourceExhausted);
    let twice = [&fits[..], &fits[..]].concat();
    let splice = SpliceBlobRequest {
        blob_digest: Some(sha(&twice).to_wire()),
        chunk_digests: vec![sha(&fits).to_wire(); 2],
        ..Default::default()
    };
    refused(server.cas().splice_blob(splice).await, Code::ResourceExhausted);
    assert_eq!(server.staged_files(), 0);

    assert!(server.has(sha(&fits)).await, "what was stored stays");
    assert!(server.read(&format!("blobs/{}", sha(&fits)), 0, 0).await.unwrap() == fits);
}
