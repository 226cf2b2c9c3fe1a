//! A file system that is really full: the test runs itself again on a small one of its own, in a mount namespace that takes it
//! away at the end.
use crate::server::{Client, PATIENCE, Program, noise, sha};
use bytes::Bytes;
use lre_model::{ActionDigest, Digest};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Says to the process where its small disk is.
const ROLE: &str = "LRE_TEST_SMALL_DISK";

/// Of the small disk.
const DISK_BYTES: u64 = 64 << 20;

/// Of a file beside the store, which goes in the end.
const BALLAST_BYTES: usize = 12 << 20;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Root has ext4, as users have it; who is not root has what a user namespace may mount. A machine that can make neither has
/// not run this test, and fails it.
#[tokio::test]
async fn on_a_full_file_system_writes_are_refused_and_all_else_goes_on() {
    if let Some(disk) = std::env::var_os(ROLE) {
        return on_the_small_disk(Path::new(&disk)).await;
    }
    // Short: a socket is in it.
    let folder = tempfile::Builder::new().prefix("lre-d-").tempdir_in("/tmp").unwrap();
    let (image, disk) = (folder.path().join("image"), folder.path().join("disk"));
    fs::create_dir(&disk).unwrap();
    let mut command = Command::new("unshare");
    let mount = if rustix::process::geteuid().is_root() {
        File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
        let made = Command::new("mkfs.ext4").env("PATH", PATH).args(["-q", "-F", "-m", "0"]).arg(&image).output();
        succeeded("mkfs.ext4 (e2fsprogs)", made);
        command.arg("--mount");
        "mount -o loop \"$IMAGE\" \"$DISK\"".to_owned()
    } else {
        command.args(["--user", "--map-root-user", "--mount"]);
        format!("mount -t tmpfs -o size={DISK_BYTES} none \"$DISK\"")
    };
    let script = format!("{mount} && exec \"$0\" --exact \"$NAME\" --nocapture");
    command.args(["sh", "-c", &script]).arg(std::env::current_exe().unwrap());
    let name = "full::on_a_full_file_system_writes_are_refused_and_all_else_goes_on";
    command.env("PATH", PATH).env("NAME", name).env("IMAGE", &image).env("DISK", &disk).env(ROLE, &disk);
    succeeded("the test on a small disk", command.output());
}

fn succeeded(what: &str, output: std::io::Result<Output>) {
    let Output { status, stdout, stderr } = output.unwrap_or_else(|e| panic!("{what}: {e}"));
    let said = [stdout, stderr].concat();
    assert!(status.success(), "{what}: {status}\n{}", String::from_utf8_lossy(&said));
}

/// What was kept and what was refused: seeds and lengths, and actions with what they said.
#[derive(Default)]
struct Told {
    kept: Vec<(u64, usize)>,
    refused: Vec<(u64, usize)>,
    results: Vec<(ActionDigest, Digest)>,
    next: u64,
}

/// Full, and nothing else.
#[track_caller]
fn is_full(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.get_details_quota_failure().is_some(), "{status:?}");
}

async fn send(client: &Client, bytes: &Bytes) -> Result<(), Status> {
    match bytes.len() > 10_000 {
        true => client.stream(bytes).await,
        false => client.batch(std::slice::from_ref(bytes)).await,
    }
}

impl Told {
    /// Writes blobs of this length until three are refused.
    async fn fill(&mut self, client: &Client, length: usize) {
        let before = self.refused.len();
        while self.refused.len() < before + 3 {
            self.next += 1;
            let bytes = noise(self.next, length);
            match send(client, &bytes).await {
                Ok(()) => self.kept.push((self.next, length)),
                Err(status) => {
                    is_full(&status);
                    self.refused.push((self.next, length));
                }
            }
            assert!(self.kept.len() < 500_000, "this disk is not full");
        }
    }

    /// Results until one is refused.
    async fn fill_results(&mut self, client: &Client, stdout: Digest) {
        for n in 0..100_000_u32 {
            let action = ActionDigest(sha(&n.to_le_bytes()));
            match client.put_result(action, stdout).await {
                Ok(()) => self.results.push((action, stdout)),
                Err(status) => {
                    is_full(&status);
                    assert_eq!(client.result(action).await, None, "a result that was refused");
                    return;
                }
            }
        }
        panic!("100,000 results fit on a full disk");
    }

    /// Everything that was kept is there, byte for byte, and nothing else.
    async fn check(&self, client: &Client) {
        let digest = |(seed, length): &(u64, usize)| sha(&noise(*seed, *length));
        let kept: Vec<_> = self.kept.iter().map(digest).collect();
        let refused: Vec<_> = self.refused.iter().map(digest).collect();
        assert_eq!(client.missing(&kept).await, [], "what was kept");
        assert_eq!(client.missing(&refused).await, refused, "what was refused");
        for ((seed, length), digest) in self.kept.iter().zip(&kept) {
            // Of the smallest there are thousands.
            if *length > 10_000 || seed % 16 == 0 {
                assert!(client.read(*digest).await.unwrap() == noise(*seed, *length), "{digest}");
            }
        }
        for (action, stdout) in &self.results {
            assert_eq!(client.result(*action).await, Some(*stdout), "the result of {action}");
        }
    }
}

async fn on_the_small_disk(disk: &Path) {
    let stat = rustix::fs::statvfs(disk).unwrap();
    assert!(stat.f_blocks * stat.f_frsize <= DISK_BYTES, "not the small disk");
    let ballast: PathBuf = disk.join("ballast");
    fs::write(&ballast, noise(0, BALLAST_BYTES)).unwrap();
    let program = Program::at(disk.join("store"));
    // No budget that would say so before the disk does.
    let server = program.serve(&["--store-bytes-max", "1TiB"]);
    let client = server.client().await;
    let mut told = Told::default();
    let said = noise(u64::MAX, 900);
    client.batch(std::slice::from_ref(&said)).await.unwrap();
    client.put_result(ActionDigest(sha(b"early")), sha(&said)).await.unwrap();
    told.results.push((ActionDigest(sha(b"early")), sha(&said)));
    for length in [700_000, 30_000, 5_000, 60] {
        told.fill(&client, length).await;
    }
    told.fill_results(&client, sha(&said)).await;
    told.check(&client).await;

    // A start needs no room, also with the budget that is a share of it.
    server.kill();
    let server = program.serve(&[]);
    let client = server.client().await;
    told.check(&client).await;
    is_full(&client.stream(&noise(u64::MAX - 1, 3_000_000)).await.unwrap_err());
    told.check(&client).await;

    // Room from outside the store, and everything that was refused is taken, by the same process.
    fs::remove_file(&ballast).unwrap();
    let freed = Instant::now();
    for (seed, length) in std::mem::take(&mut told.refused) {
        // What is left of the disk is looked at again when a write was refused.
        while let Err(status) = send(&client, &noise(seed, length)).await {
            is_full(&status);
            assert!(freed.elapsed() < PATIENCE, "there is room again, and still: {status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        told.kept.push((seed, length));
    }
    client.put_result(ActionDigest(sha(b"late")), sha(&said)).await.unwrap();
    told.results.push((ActionDigest(sha(b"late")), sha(&said)));
    told.check(&client).await;
    server.kill();
    told.check(&program.serve(&[]).client().await).await;
    let waiting = |name: &str| fs::read_dir(program.store().join(name)).unwrap().count();
    assert_eq!((waiting("quarantine"), waiting("staging"), waiting("temporary")), (0, 0, 0));
}
