//! What is asked of a cache that has everything, or half of it.
use super::uploads::upload;
use super::{Peer, beside_casd, noise};
use crate::generated::one_input;
use crate::report::{Report, Row};
use crate::stats::Samples;
use crate::world::{F, Order, World};
use anyhow::{Result, ensure};
use lre_model::Digest;
use lre_proto::re::action_cache_client::ActionCacheClient;
use lre_proto::re::capabilities_client::CapabilitiesClient;
use lre_proto::re::content_addressable_storage_client::ContentAddressableStorageClient;
use lre_proto::re::{
    ActionResult, FindMissingBlobsRequest, GetActionResultRequest, GetCapabilitiesRequest, UpdateActionResultRequest,
};
use prost::Message;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

const ROUNDS: usize = 300;

/// The larger of the two FindMissing.
const MANY: usize = 10_000;

/// Ping, action cache hit, `Execute` answered from the cache, and FindMissing of 1,000 and 10,000 digests.
pub async fn lookups(world: &mut World, peers: &[Peer; 2], report: &mut Report) -> Result<()> {
    let (mut ping, mut hit) = <([Samples; 2], [Samples; 2])>::default();
    for (i, peer) in peers.iter().enumerate() {
        let action = remembered(&peer.channel).await?;
        for _ in 0..ROUNDS {
            ping[i].add(pinged(&peer.channel).await?);
            hit[i].add(found(&peer.channel, action).await?);
        }
    }
    let base = ping[0].p50();
    report.row(beside_casd("ping (GetCapabilities)", &ping));
    let over = base + Duration::from_micros(300);
    report.row(beside_casd("action cache hit: at most 0.3 ms over the ping", &hit).at_most(over));
    executed_from_the_cache(world, base, report).await?;
    missing(peers, report).await
}

async fn executed_from_the_cache(world: &mut World, ping: Duration, report: &mut Report) -> Result<()> {
    let root = world.put_tree(&one_input()).await?;
    let toolchain = world.toolchain.clone();
    let action = world.new_action(&Order::new(&toolchain, "true", root)).await?;
    world.execute(action).await?;
    let mut execute = Samples::default();
    for _ in 0..ROUNDS {
        execute.add(world.execute(action).await?.elapsed);
    }
    report.row(Row::of("Execute answered from the action cache", &execute).beside("the ping", ping));
    Ok(())
}

async fn missing(peers: &[Peer; 2], report: &mut Report) -> Result<()> {
    let mut samples: [[Samples; 2]; 3] = Default::default();
    for (i, peer) in peers.iter().enumerate() {
        let contents = (0..MANY as u64).map(|n| noise((peer.seed << 40) | n, 100)).collect::<Vec<_>>();
        upload(&peer.channel, &contents).await?;
        let present: Vec<_> = contents.iter().map(|content| Digest::of(F, content).to_wire()).collect();
        let mut half = present[..1000].to_vec();
        for (n, digest) in half.iter_mut().enumerate().step_by(2) {
            *digest = Digest::of(F, format!("absent {n}").as_bytes()).to_wire();
        }
        let mut cas = ContentAddressableStorageClient::new(peer.channel.clone());
        for round in 0..ROUNDS {
            let asked = [(&present[..1000], 0), (&half[..], 500), (&present[..], 0)];
            for (which, (digests, expected)) in asked.into_iter().enumerate() {
                // Ten times as many, a tenth as often.
                if which == 2 && round % 10 != 0 {
                    continue;
                }
                let request = FindMissingBlobsRequest { blob_digests: digests.to_vec(), ..Default::default() };
                let start = Instant::now();
                let missing = cas.find_missing_blobs(request).await?.into_inner().missing_blob_digests;
                samples[which][i].add(start.elapsed());
                ensure!(missing.len() == expected, "{} missing", missing.len());
            }
        }
    }
    let [all, half, many] = &samples;
    let most = Duration::from_millis(1);
    report.row(beside_casd("FindMissing of 1,000 digests, all present", all).at_most(most));
    report.row(beside_casd("FindMissing of 1,000 digests, half absent", half).at_most(most));
    report.row(beside_casd("FindMissing of 10,000 digests, all present", many));
    Ok(())
}

/// An action whose result the server was given: it names no blobs, so that a look-up is nothing but a look-up.
async fn remembered(channel: &Channel) -> Result<Digest> {
    let command = lre_proto::re::Command { arguments: vec!["true".to_owned()], ..Default::default() }.encode_to_vec();
    let root = lre_proto::re::Directory::default().encode_to_vec();
    let action = lre_proto::re::Action {
        command_digest: Some(Digest::of(F, &command).to_wire()),
        input_root_digest: Some(Digest::of(F, &root).to_wire()),
        ..Default::default()
    };
    let action = action.encode_to_vec();
    let digest = Digest::of(F, &action);
    upload(channel, &[command.into(), action.into()]).await?;
    let request = UpdateActionResultRequest {
        action_digest: Some(digest.to_wire()),
        action_result: Some(ActionResult { stdout_raw: b"done".to_vec(), ..Default::default() }),
        ..Default::default()
    };
    ActionCacheClient::new(channel.clone()).update_action_result(request).await?;
    Ok(digest)
}

async fn pinged(channel: &Channel) -> Result<Duration> {
    let mut capabilities = CapabilitiesClient::new(channel.clone());
    let start = Instant::now();
    capabilities.get_capabilities(GetCapabilitiesRequest::default()).await?;
    Ok(start.elapsed())
}

async fn found(channel: &Channel, action: Digest) -> Result<Duration> {
    let request = GetActionResultRequest { action_digest: Some(action.to_wire()), ..Default::default() };
    let mut cache = ActionCacheClient::new(channel.clone());
    let start = Instant::now();
    let result = cache.get_action_result(request).await?.into_inner();
    let elapsed = start.elapsed();
    ensure!(result.stdout_raw == b"done", "another result");
    Ok(elapsed)
}
