//! What an execution costs beside the command's own time.
use crate::bubblewrap::{Bubblewrap, bare};
use crate::report::{Report, Row};
use crate::stats::{self, Samples};
use crate::world::World;
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::Duration;

/// Rounds that are not counted: caches of the kernel fill, the first layout of a tree is made.
const WARM_UP: usize = 5;

/// 200 executions of a static `true` with one input.
pub async fn trivial(world: &mut World, bwrap: &Bubblewrap, report: &mut Report) -> Result<()> {
    let files = BTreeMap::from([("input.txt".to_owned(), b"one input\n".to_vec())]);
    let root = world.put_tree(&files).await?;
    let mut stages = Vec::new();
    let (mut ours, mut theirs, mut alone) = (Samples::default(), Samples::default(), Samples::default());
    for round in 0..200 + WARM_UP {
        let action = world.new_action("true", root, &[]).await?;
        let executed = world.execute(action).await?;
        let bwrap = bwrap.run("true", &files)?;
        let bare = bare(&world.rootfs(), "true")?;
        if round >= WARM_UP {
            ours.add(executed.elapsed.saturating_sub(executed.command));
            stages.push(executed.stages);
            theirs.add(bwrap);
            alone.add(bare);
        }
    }
    let base = alone.p50();
    report.row(Row::new("Execute `true`, 1 input: overhead", ours).target(Duration::from_millis(2)).against(
        "bubblewrap, same mounts, without gRPC or cache, less the bare program",
        theirs.p50().saturating_sub(base),
        &theirs,
    ));
    println!("    stages, ms: {}", stats::stages(&stages));
    Ok(())
}

/// 100 compile-like actions with 1,000 inputs of which 1 % change from one to the next.
pub async fn thousand_inputs(world: &mut World, bwrap: &Bubblewrap, report: &mut Report) -> Result<()> {
    let mut files: BTreeMap<String, Vec<u8>> = (0..1000).map(|i| (path(i), content(i, 0))).collect();
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    let (mut command, mut stages) = (Samples::default(), Vec::new());
    for round in 0..100 + WARM_UP {
        for j in 0..10 {
            let i = (round * 7 + j * 97) % 1000;
            files.insert(path(i), content(i, round + 1));
        }
        let root = world.put_tree(&files).await?;
        let action = world.new_action("reader", root, &["out.o"]).await?;
        let executed = world.execute(action).await?;
        let bwrap = bwrap.run("reader", &files)?;
        if round >= WARM_UP {
            ours.add(executed.elapsed.saturating_sub(executed.command));
            stages.push(executed.stages);
            command.add(executed.command);
            theirs.add(bwrap);
        }
    }
    report.row(
        Row::new("1,000 inputs, 1 % changed, 1 output: overhead", ours).target(Duration::from_millis(3)).against(
            "hard-link tree + bubblewrap, same mounts, less the command",
            theirs.p50().saturating_sub(command.p50()),
            &theirs,
        ),
    );
    println!("    stages, ms: {}", stats::stages(&stages));
    Ok(())
}

fn path(i: usize) -> String {
    format!("pkg{}/src{}/f{i}.h", i / 128, i / 16)
}

/// Between 1 and 40 KiB, as headers are.
fn content(i: usize, version: usize) -> Vec<u8> {
    let mut text = format!("// {i} version {version}\n");
    let line = "extern int function(int a, const char *b); /* as most of a header is */\n";
    while text.len() < 1024 + (i * 7919) % 40_000 {
        text.push_str(line);
    }
    text.into_bytes()
}
