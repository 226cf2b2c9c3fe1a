//! How many small actions a second.
//!
//! The client is this process, one thread with a runtime of its own, apart from the server; what it
//! costs is told beside. The actions are uploaded before.
use super::Stage;
use crate::competitors::{Mounts, bare, two_at_a_time};
use crate::generated::one_input;
use crate::process::Family;
use crate::report::Row;
use crate::world::{Order, World, execute};
use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use lre_model::Digest;
use std::time::Instant;

const TURNS: usize = 3;
const ACTIONS: usize = 2000;
const BARE: usize = 4000;
const BUBBLEWRAPPED: usize = 300;
/// What Bazel with --jobs=16 asks for.
pub const IN_FLIGHT: usize = 16;
const BAR: f64 = 1000.0;

/// Ours 16 in flight over two slots; processes and bubblewrap two at a time.
pub async fn throughput(name: &str, stage: &mut Stage) -> Result<Row> {
    let (world, bwrap) = (&mut stage.world, &stage.bwrap);
    let toolchain = world.toolchain.clone();
    let root = world.put_tree(&one_input()).await?;
    let order = Order::new(&toolchain, "true", root);
    let (mounts, program) = (Mounts::Rootfs(world.rootfs()), world.places.programs().join("true"));
    let exec = world.places.folder("throughput");
    std::fs::create_dir(&exec)?;
    let (mut ours, mut processes, mut bubblewrapped) = (Vec::new(), Vec::new(), Vec::new());
    let mut spent = String::new();
    all(world, &order, 200).await?;
    for _ in 0..TURNS {
        let actions = world.new_actions(&order, ACTIONS).await?;
        let before = Family::of(world.server.pid())?;
        ours.push(rate(world, &actions).await?);
        spent = Family::of(world.server.pid())?.since(&before).each(ACTIONS);
        processes.push(two_at_a_time(BARE, || bare(&program))?);
        bubblewrapped.push(two_at_a_time(BUBBLEWRAPPED, || bwrap.run(&mounts, &exec, "/usr/bin/true"))?);
    }
    let [ours, processes, bubblewrapped] = [ours, processes, bubblewrapped].map(median);
    let other = format!("bare processes {processes:.0}/s; bubblewrap {bubblewrapped:.0}/s (two at a time)");
    Ok(Row::new(name, format!("{ours:.0} actions/s"))
        .other(ours / processes, &other)
        .bar(format!(">= {BAR:.0} actions/s"), ours >= BAR)
        .note(format!("{:.2}x of bare processes, {:.2}x of bubblewrap", ours / processes, ours / bubblewrapped))
        .note("the client is a process of its own with one thread; the actions were uploaded before")
        .note(spent))
}

/// Uploads and executes so many.
pub async fn all(world: &mut World, order: &Order<'_>, count: usize) -> Result<()> {
    let actions = world.new_actions(order, count).await?;
    rate(world, &actions).await.map(drop)
}

/// Executes all; how many a second.
async fn rate(world: &World, actions: &[Digest]) -> Result<f64> {
    let start = Instant::now();
    let executions = stream::iter(actions).map(|action| execute(world.execution(), *action));
    let known = executions
        .buffer_unordered(IN_FLIGHT)
        .try_fold(0, async |known, executed| Ok(known + usize::from(executed.known)));
    ensure!(known.await? == 0, "actions that nobody has seen before were known");
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let count = actions.len() as f64;
    Ok(count / start.elapsed().as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
