//! From the exec of `lre serve` to its first answer, with a million blobs in its store.
use super::data::{ABSENT, blob, blobs};
use super::{MILLION, Stage, disk, megabytes};
use crate::report::{Report, Row};
use crate::stats::{Samples, readable};
use crate::world::F;
use anyhow::{Context, Result, ensure};
use lre_e2e::serve::{Home, Serve};
use lre_model::Digest;
use lre_proto::re::FindMissingBlobsRequest;
use lre_proto::re::content_addressable_storage_client::ContentAddressableStorageClient;
use lre_store::upstream::{self, Upstream};
use lre_store::{Blob, BlobStore};
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Of each kind of start.
const ROUNDS: usize = 3;

/// Blobs of the first FindMissing; half of them are absent.
const ASKED: u64 = 1000;

/// What a server is given before it is killed: no clean stop has written it into a checkpoint.
const UPLOADED: u64 = 50_000;

const AT_MOST: Duration = Duration::from_secs(1);

/// A running `lre serve` on a store.
pub struct Server {
    serve: Serve,
    // After the server: it ends before its home goes.
    _home: Home,
    channel: Channel,
    executed: Instant,
}

impl Server {
    /// Starts it and connects.
    pub async fn start(store: &Path) -> Result<Self> {
        let home = Home::new()?;
        let store = store.to_str().context("a path that is not UTF-8")?;
        let executed = Instant::now();
        let serve = home.serve_with(&["--slots", "2", "--store", store])?;
        let channel = upstream::connect_unix(home.socket()).await?;
        Ok(Self { serve, _home: home, channel, executed })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.serve.pid()
    }

    /// Asks for blobs of which so many must be missing.
    pub async fn missing(&self, digests: &[Digest], expected: usize) -> Result<()> {
        let blob_digests = digests.iter().map(|digest| digest.to_wire()).collect();
        let request = FindMissingBlobsRequest { blob_digests, digest_function: F.to_wire(), ..Default::default() };
        let mut cas = ContentAddressableStorageClient::new(self.channel.clone());
        let missing = cas.find_missing_blobs(request).await?.into_inner().missing_blob_digests.len();
        ensure!(missing == expected, "{missing} are missing, not {expected}");
        Ok(())
    }

    /// Ends it as a user does.
    pub fn stop(self) -> Result<()> {
        let status = self.serve.terminate()?;
        ensure!(status.success(), "lre serve ended with {status}");
        Ok(())
    }

    /// Ends it as nobody should.
    pub fn kill(mut self) -> Result<()> {
        self.serve.kill().map(drop)
    }
}

/// What was measured of some starts.
#[derive(Default)]
struct Starts {
    /// The log is in the page cache.
    warm: Samples,
    /// The disk has to be read.
    cold: Samples,
    /// What the cold ones had read from the disk when they answered, in bytes.
    fetched: u64,
}

/// The rows.
pub async fn start(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let (folder, _) = stage.million().await?;
    let empty = stage.folder("start-empty");
    std::fs::create_dir(&empty)?;
    let (mut clean, mut killed, mut bare) = (Starts::default(), Starts::default(), Samples::default());
    for _ in 0..ROUNDS {
        bare.add(answered(&empty, 0).await?.0);
        clean.warm.add(answered(&folder, MILLION).await?.0);
        disk::forget_pages(&folder)?;
        let (cold, fetched) = answered(&folder, MILLION).await?;
        clean.cold.add(cold);
        clean.fetched = fetched;
    }
    clean.rows("after a clean stop", bare.p50(), report);
    for round in 0..ROUNDS as u64 {
        let (from, to) = (MILLION + round * UPLOADED, MILLION + (round + 1) * UPLOADED);
        let server = Server::start(&folder).await?;
        upload(&server, from, to).await?;
        server.kill()?;
        let (warm, server, _) = first_answer(&folder, to).await?;
        killed.warm.add(warm);
        server.kill()?;
        disk::forget_pages(&folder)?;
        let (cold, server, fetched) = first_answer(&folder, to).await?;
        killed.cold.add(cold);
        killed.fetched = fetched;
        server.kill()?;
    }
    killed.rows("after kill -9 behind 50,000 uploads", bare.p50(), report);
    Ok(())
}

/// How long `lre serve` takes to its first answer with the first `count` blobs in its store, which is closed cleanly
/// before and after.
pub async fn clean(folder: &Path, count: u64) -> Result<Duration> {
    answered(folder, count).await.map(|(elapsed, _)| elapsed)
}

async fn answered(folder: &Path, count: u64) -> Result<(Duration, u64)> {
    let (elapsed, server, fetched) = first_answer(folder, count).await?;
    server.stop()?;
    Ok((elapsed, fetched))
}

/// From the exec to the answer, the server, and what the disk had to be read for it.
async fn first_answer(folder: &Path, count: u64) -> Result<(Duration, Server, u64)> {
    // The last ones first: those were written before whatever happened.
    let there = (count.saturating_sub(ASKED / 2)..count).map(|number| blob(number).0);
    let digests: Vec<_> = there.chain((ABSENT..ABSENT + ASKED / 2).map(|number| blob(number).0)).collect();
    let server = Server::start(folder).await?;
    server.missing(&digests, usize::try_from(ASKED / 2)?).await?;
    let elapsed = server.executed.elapsed();
    let fetched = disk::fetched(server.pid());
    Ok((elapsed, server, fetched))
}

async fn upload(server: &Server, from: u64, to: u64) -> Result<()> {
    let store = Upstream::new(server.channel.clone(), None);
    let blobs = blobs(from..to).into_iter().map(|(digest, content)| (digest, Blob::Bytes(content))).collect();
    for written in store.write_many(blobs).await {
        written?;
    }
    Ok(())
}

impl Starts {
    fn rows(self, after: &str, empty: Duration, report: &mut Report) {
        let kinds = [("page cache warm", &self.warm), ("pages of the store dropped", &self.cold)];
        for (kind, samples) in kinds {
            let slowest = samples.quantile(1.0);
            let name = format!("`lre serve` with 1,000,000 blobs, exec to the first FindMissing, {after}, {kind}");
            let row = Row::of(&name, samples).bar("each < 1 s", slowest < AT_MOST);
            let row = row.note(format!("the slowest {}; with an empty store {}", readable(slowest), readable(empty)));
            report.row(if kind.contains("dropped") {
                row.note(format!("{} read from the disk; names and inodes stay cached", megabytes(self.fetched)))
            } else {
                row
            });
        }
    }
}
