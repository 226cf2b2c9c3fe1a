//! BatchUpdateBlobs: how recc and BuildStream upload a tree of small files.
use super::{Peer, beside_casd, noise};
use crate::report::Report;
use crate::stats::Samples;
use crate::world::F;
use anyhow::{Result, ensure};
use bytes::Bytes;
use lre_model::Digest;
use lre_proto::re::BatchUpdateBlobsRequest;
use lre_proto::re::batch_update_blobs_request::Request;
use lre_proto::re::content_addressable_storage_client::ContentAddressableStorageClient;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

const ROUNDS: u64 = 20;

/// Of a batch: 1,000 blobs of 1 KiB stay below the 4 MiB that every gRPC server takes.
const BLOBS: u64 = 1000;

/// A batch of 1,000 blobs that nobody has seen before.
pub async fn batches(peers: &[Peer; 2], report: &mut Report) -> Result<()> {
    let mut samples = <[Samples; 2]>::default();
    for round in 0..ROUNDS {
        for (i, peer) in peers.iter().enumerate() {
            let seed = |n| (peer.seed << 56) | (round << 32) | n;
            let contents: Vec<Bytes> = (0..BLOBS).map(|n| noise(seed(n), 1024)).collect();
            samples[i].add(upload(&peer.channel, &contents).await?);
        }
    }
    report.row(beside_casd("batch upload of 1,000 blobs of 1 KiB", &samples));
    Ok(())
}

/// Uploads in batches of 1,000; how long all of them took.
pub async fn upload(channel: &Channel, contents: &[Bytes]) -> Result<Duration> {
    let mut cas = ContentAddressableStorageClient::new(channel.clone());
    let mut elapsed = Duration::ZERO;
    for batch in contents.chunks(1000) {
        let one = |content: &Bytes| Request {
            digest: Some(Digest::of(F, content).to_wire()),
            data: content.to_vec(),
            ..Default::default()
        };
        let request = BatchUpdateBlobsRequest { requests: batch.iter().map(one).collect(), ..Default::default() };
        let start = Instant::now();
        let answer = cas.batch_update_blobs(request).await?.into_inner();
        elapsed += start.elapsed();
        for response in answer.responses {
            let code = response.status.map_or(0, |status| status.code);
            ensure!(code == 0, "a blob was refused with {code}");
        }
    }
    Ok(elapsed)
}
