//! What the wire costs: the calls that clients make most, against a raw socket and against buildbox-casd, which is the
//! cache that recc and BuildStream bring along. Both servers are processes of their own, behind a Unix socket.
mod casd;
mod lookups;
mod streams;
mod uploads;

use crate::generated::noise;
use crate::report::{Report, Row};
use crate::stats::Samples;
use crate::world::World;
use anyhow::Result;
use casd::Casd;
use lre_model::Digest;
use std::time::Duration;
use tonic::transport::Channel;

/// One of the two servers.
struct Peer {
    channel: Channel,
    /// As casd answers it: a blob of its own for each, so that neither profits from what the other was given.
    seed: u64,
}

/// The scenarios whose name has `part`, or all.
pub async fn protocol(part: Option<&str>, report: &mut Report) -> Result<()> {
    let wanted = |name: &str| part.is_none_or(|part| name.contains(part));
    let mut world = World::start().await?;
    let casd = Casd::start().await?;
    let peers = [Peer { channel: world.channel.clone(), seed: 1 }, Peer { channel: casd.channel.clone(), seed: 2 }];
    if wanted("ByteStream of 256 MiB") {
        streams::streams(&peers, report).await?;
    }
    if wanted("ByteStream of 1 KiB") {
        streams::small(&peers, report).await?;
    }
    if wanted("FindMissing") || wanted("action cache") {
        lookups::lookups(&mut world, &peers, report).await?;
    }
    if wanted("batch") {
        uploads::batches(&peers, report).await?;
    }
    Ok(())
}

/// A row of which the same was measured of casd.
fn beside_casd(name: &str, [ours, casd]: &[Samples; 2]) -> Row {
    Row::of(name, ours).at_most_of(1.0, "buildbox-casd", casd.p50())
}

fn blob_name(digest: Digest) -> String {
    format!("blobs/{}/{}", digest.hash_text(), digest.size_bytes())
}

/// So many bytes in so long, for people.
fn rate(bytes: usize, in_time: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mib = bytes as f64 / (1 << 20) as f64;
    format!("{:.0} MiB/s", mib / in_time.as_secs_f64())
}
