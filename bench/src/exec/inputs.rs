//! What a compile-like action costs beside the command's own time: many inputs, of which few change.
use super::{Stage, WARM_UP};
use crate::competitors::{HardLinks, Mounts};
use crate::generated::Inputs;
use crate::report::Row;
use crate::stats::{self, Samples};
use crate::world::{Executed, Order, World};
use anyhow::Result;
use lre_toolchain::Toolchain;
use std::time::Duration;

const THOUSAND_ROUNDS: usize = 100;
const TEN_THOUSAND_ROUNDS: usize = 60;
/// As headers are; and less where there are ten times as many, since what is changed counts and not what is hashed here.
const BYTES_MAX: usize = 40_000;
const BYTES_MAX_OF_MANY: usize = 4_000;

/// 1,000 inputs of which 10 change, against hard links and bubblewrap.
pub async fn thousand(name: &str, stage: &mut Stage) -> Result<Row> {
    let (world, bwrap) = (&mut stage.world, &stage.bwrap);
    let toolchain = world.toolchain.clone();
    let mounts = Mounts::Rootfs(world.rootfs());
    let links = HardLinks::new(&world.places.folder("thousand"))?;
    let mut inputs = Inputs::new(1000, BYTES_MAX);
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    let (mut command, mut stages) = (Samples::default(), Vec::new());
    for round in 0..THOUSAND_ROUNDS + WARM_UP {
        let executed = next(world, &toolchain, &mut inputs).await?;
        let bwrap = links.around(inputs.files(), || bwrap.run(&mounts, &links.exec, "/usr/bin/reader"))?;
        if round >= WARM_UP {
            ours.add(executed.overhead());
            stages.push(executed.stages);
            command.add(executed.command);
            theirs.add(bwrap);
        }
    }
    let less = theirs.p50().saturating_sub(command.p50());
    Ok(Row::of(name, &ours)
        .at_most(Duration::from_millis(3))
        .at_most_of(0.2, "hard links + bubblewrap", less)
        .note(format!("a tree of hard links and bubblewrap with the same mounts {theirs}, less the command {command}"))
        .note(format!("stages, ms: {}", stats::stages(&stages))))
}

/// 10,000 inputs and 1,000 inputs in turns; of each 10 change.
pub async fn ten_thousand(name: &str, stage: &mut Stage) -> Result<Row> {
    let world = &mut stage.world;
    let toolchain = world.toolchain.clone();
    let (mut few, mut many) = (Inputs::new(1000, BYTES_MAX_OF_MANY), Inputs::new(10_000, BYTES_MAX_OF_MANY));
    let (mut ours, mut thousand, mut stages) = (Samples::default(), Samples::default(), Vec::new());
    for round in 0..TEN_THOUSAND_ROUNDS + WARM_UP {
        let executed = next(world, &toolchain, &mut many).await?;
        let fewer = next(world, &toolchain, &mut few).await?;
        if round >= WARM_UP {
            ours.add(executed.overhead());
            stages.push(executed.stages);
            thousand.add(fewer.overhead());
        }
    }
    Ok(Row::of(name, &ours)
        .at_most_of(2.0, "1,000 inputs, 1 % changed", thousand.p50())
        .note(format!("1,000 inputs {thousand}"))
        .note(format!("stages, ms: {}", stats::stages(&stages))))
}

/// Changes ten inputs and reads them all again.
async fn next(world: &mut World, toolchain: &Toolchain, inputs: &mut Inputs) -> Result<Executed> {
    inputs.change(10);
    let root = world.put_tree(inputs.files()).await?;
    world.run(&Order { outputs: &["out.o"], ..Order::new(toolchain, "reader", root) }).await
}
