//! What the smallest execution costs beside the command's own time, afresh and in a warm slot.
use super::{Stage, WARM_UP};
use crate::competitors::{HardLinks, Mounts, bare};
use crate::generated::one_input;
use crate::report::Row;
use crate::stats::{self, Samples};
use crate::world::{Order, World};
use anyhow::{Context, Result};
use std::time::Duration;

const ROUNDS: usize = 200;
/// What both are given.
const PATHS: usize = 50;
/// Actions of one trust domain may run in a slot that another of them has left.
const WARM: (&str, &str) = ("lre-warm", "bench");

/// A static `true` with one input, out of a closure of 50 paths.
pub async fn fresh(name: &str, stage: &mut Stage) -> Result<Row> {
    let (world, bwrap) = (&mut stage.world, &stage.bwrap);
    let (toolchain, paths, program) = world.nix_like(PATHS).await?;
    let root = world.put_tree(&one_input()).await?;
    let order = Order::new(&toolchain, &program, root);
    // The tree is made once: bubblewrap alone is what is compared.
    let links = HardLinks::new(&world.places.folder("trivial"))?;
    std::fs::create_dir(&links.exec)?;
    let (mounts, on_host) = (Mounts::Paths(paths), world.places.programs().join("true"));
    let (mut ours, mut theirs, mut alone, mut stages) =
        (Samples::default(), Samples::default(), Samples::default(), Vec::new());
    for round in 0..ROUNDS + WARM_UP {
        let executed = world.run(&order).await?;
        let bwrap = bwrap.run(&mounts, &links.exec, &program)?;
        let bare = bare(&on_host)?;
        if round >= WARM_UP {
            ours.add(executed.overhead());
            stages.push(executed.stages);
            theirs.add(bwrap);
            alone.add(bare);
        }
    }
    let less = theirs.p50().saturating_sub(alone.p50());
    Ok(Row::of(name, &ours)
        .at_most(Duration::from_millis(2))
        .at_most_of(0.2, "bubblewrap alone", less)
        .note(format!("bubblewrap with the same 50 mounts {theirs}, less the bare program {alone}"))
        .note(format!("stages, ms: {}", stats::stages(&stages))))
}

/// The same `true` in a slot that stays warm, and in one that does not.
pub async fn warm(name: &str, stage: &mut Stage) -> Result<Row> {
    let world = &mut stage.world;
    let toolchain = world.toolchain.clone();
    let root = world.put_tree(&one_input()).await?;
    let fresh = Order::new(&toolchain, "true", root);
    let warm = Order { properties: &[WARM], ..fresh };
    let (mut ours, mut cold, mut stages) = (Samples::default(), Samples::default(), Vec::new());
    for round in 0..ROUNDS + WARM_UP {
        let executed = executed(world, &warm).await?;
        let afresh = executed_afresh(world, &fresh).await?;
        if round >= WARM_UP {
            ours.add(executed.overhead());
            stages.push(executed.stages);
            cold.add(afresh);
        }
    }
    Ok(Row::of(name, &ours)
        .at_most(Duration::from_millis(1))
        .beside("the same without `lre-warm`", cold.p50())
        .note(format!("stages, ms: {}", stats::stages(&stages))))
}

async fn executed(world: &mut World, order: &Order<'_>) -> Result<crate::world::Executed> {
    world.run(order).await.context("a server that has no warm slots refuses the property `lre-warm`")
}

async fn executed_afresh(world: &mut World, order: &Order<'_>) -> Result<Duration> {
    Ok(world.run(order).await?.overhead())
}
