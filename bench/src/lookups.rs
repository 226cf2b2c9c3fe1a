//! What is asked of a cache that has everything.
use crate::generated::one_input;
use crate::report::{Report, Row};
use crate::stats::Samples;
use crate::world::{F, Order, World};
use anyhow::Result;
use lre_model::Digest;
use lre_proto::re::action_cache_client::ActionCacheClient;
use lre_proto::re::capabilities_client::CapabilitiesClient;
use lre_proto::re::content_addressable_storage_client::ContentAddressableStorageClient;
use lre_proto::re::{FindMissingBlobsRequest, GetActionResultRequest, GetCapabilitiesRequest};
use std::time::{Duration, Instant};

const ROUNDS: usize = 300;

/// Ping, action cache hit, `Execute` answered from the cache, and FindMissing of 1,000 digests.
pub async fn lookups(world: &mut World, report: &mut Report) -> Result<()> {
    let root = world.put_tree(&one_input()).await?;
    let toolchain = world.toolchain.clone();
    let action = world.new_action(&Order::new(&toolchain, "true", root)).await?;
    world.execute(action).await?;
    let (mut present, mut half) = (Vec::new(), Vec::new());
    for i in 0..1000_u32 {
        let digest = world.put(format!("blob {i}").into_bytes()).await?.to_wire();
        let absent = Digest::of(F, format!("absent {i}").as_bytes()).to_wire();
        half.push(if i % 2 == 0 { digest.clone() } else { absent });
        present.push(digest);
    }
    let mut capabilities = CapabilitiesClient::new(world.channel.clone());
    let mut cache = ActionCacheClient::new(world.channel.clone());
    let mut cas = ContentAddressableStorageClient::new(world.channel.clone());
    let (mut ping, mut hit, mut execute) = (Samples::default(), Samples::default(), Samples::default());
    let (mut find, mut find_half) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        capabilities.get_capabilities(GetCapabilitiesRequest::default()).await?;
        ping.add(start.elapsed());

        let start = Instant::now();
        let request = GetActionResultRequest { action_digest: Some(action.to_wire()), ..Default::default() };
        cache.get_action_result(request).await?;
        hit.add(start.elapsed());

        execute.add(world.execute(action).await?.elapsed);

        for (digests, samples, expected) in [(&present, &mut find, 0), (&half, &mut find_half, 500)] {
            let request = FindMissingBlobsRequest { blob_digests: digests.clone(), ..Default::default() };
            let start = Instant::now();
            let missing = cas.find_missing_blobs(request).await?.into_inner().missing_blob_digests;
            samples.add(start.elapsed());
            anyhow::ensure!(missing.len() == expected, "{} missing", missing.len());
        }
    }
    let base = ping.p50();
    report.row(Row::of("ping (GetCapabilities)", &ping));
    let over = base + Duration::from_micros(300);
    report.row(Row::of("action cache hit: at most 0.3 ms over the ping", &hit).at_most(over).beside("the ping", base));
    report.row(Row::of("Execute answered from the cache", &execute).beside("the ping", base));
    let find = Row::of("FindMissing of 1,000 digests, all present", &find).at_most(Duration::from_millis(1));
    report.row(find.beside("the ping", base));
    report.row(Row::of("FindMissing of 1,000 digests, half absent", &find_half).beside("the ping", base));
    Ok(())
}
