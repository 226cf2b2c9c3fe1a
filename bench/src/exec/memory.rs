//! What the server keeps in memory: idle, after many actions, and while one prints a gigabyte.
use super::throughput;
use crate::generated::{LOUD_BYTES, one_input};
use crate::process::{Family, forget_peak, resident};
use crate::report::Row;
use crate::world::{Order, World};
use anyhow::{Context, Result, ensure};

const MIB: u64 = 1024 * 1024;
const LOUD_AT_MOST: u64 = 16 * MIB;
const IDLE_AT_MOST: u64 = 64 * MIB;
/// For 20,000 actions nobody has seen before. The index of what is stored grows with them, by some 65 bytes a blob.
const GROWTH_AT_MOST: u64 = 8 * MIB;
const BEFORE: usize = 2000;
const MORE: usize = 20_000;
/// Uploaded and executed together.
const BATCH: usize = 1000;

/// One action prints 1 GB: the most that the server had resident meanwhile, over what it had before.
pub async fn stdout(name: &str) -> Result<Row> {
    let mut world = World::start().await?;
    let toolchain = world.toolchain.clone();
    let root = world.put_tree(&one_input()).await?;
    world.run(&Order::new(&toolchain, "true", root)).await?;
    let pid = world.server.pid();
    forget_peak(pid)?;
    let (before, _) = resident(pid)?;
    let executed = world.run(&Order::new(&toolchain, "loud", root)).await?;
    let (after, peak) = resident(pid)?;
    let digest = executed.result.stdout_digest.context("stdout has no digest")?;
    ensure!(digest.size_bytes.unsigned_abs() == LOUD_BYTES, "stdout has {} bytes", digest.size_bytes);
    let more = peak.saturating_sub(before);
    Ok(Row::new(name, format!("+{} ({} to {})", mib(more), mib(before), mib(peak)))
        .bar("<= +16 MiB of resident memory", more <= LOUD_AT_MOST)
        .note(format!("afterwards {}; the execution took {:.2} s", mib(after), executed.elapsed.as_secs_f64())))
}

/// A server that has done nothing; after 2,000 actions; after 22,000.
pub async fn growth(idle_name: &str, growth_name: &str) -> Result<[Row; 2]> {
    let mut world = World::start().await?;
    let pid = world.server.pid();
    let (fresh, _) = resident(pid)?;
    actions(&mut world, BEFORE).await?;
    let (before, _) = resident(pid)?;
    actions(&mut world, MORE).await?;
    let (after, peak) = resident(pid)?;
    let family = Family::of(pid)?.size();
    let growth = after.saturating_sub(before);
    let idle = Row::new(idle_name, format!("{} after 22,000 actions, {} before any", mib(after), mib(fresh)))
        .bar("<= 64 MiB", after.max(fresh) <= IDLE_AT_MOST)
        .note(format!("the most meanwhile {}; {family} processes belong to the server", mib(peak)));
    let growth = Row::new(growth_name, format!("+{} ({} to {})", mib(growth), mib(before), mib(after)))
        .bar("<= +8 MiB", growth <= GROWTH_AT_MOST)
        .note("every action another one, so that blobs and results grow with them");
    Ok([idle, growth])
}

async fn actions(world: &mut World, count: usize) -> Result<()> {
    let toolchain = world.toolchain.clone();
    let root = world.put_tree(&one_input()).await?;
    for _ in 0..count / BATCH {
        throughput::all(world, &Order::new(&toolchain, "true", root), BATCH).await?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "two digits are printed")]
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}
