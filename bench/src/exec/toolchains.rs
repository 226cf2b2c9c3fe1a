//! What a larger toolchain costs an execution.
use super::Stage;
use crate::generated::{self, one_input};
use crate::report::Row;
use crate::stats::{Samples, readable};
use crate::world::Order;
use anyhow::Result;
use lre_toolchain::{Kind, Toolchain};
use std::time::Duration;

const TURNS: usize = 6;
/// Executions with one toolchain before it is the next one's turn: a build does not change it from action to action.
const IN_A_ROW: usize = 25;
/// Of these the first do not count: what is kept ready may be of another toolchain.
const WARM_UP: usize = 3;

const ROOTFS_FILES: usize = 3200;
const MORE_AT_MOST: Duration = Duration::from_micros(600);

/// A `true` out of a closure of 5 paths, out of one of 300, and out of a rootfs of 3,200 files.
pub async fn larger(name: &str, stage: &mut Stage) -> Result<Row> {
    let world = &mut stage.world;
    let root = world.put_tree(&one_input()).await?;
    let mut modes: Vec<(Toolchain, String, Samples)> = Vec::new();
    for paths in [5, 300] {
        let (toolchain, _, program) = world.nix_like(paths).await?;
        modes.push((toolchain, program, Samples::default()));
    }
    let folder = world.places.folder("rootfs-3200");
    generated::rootfs(&folder, &world.places.programs(), ROOTFS_FILES)?;
    let rootfs = world.install("rootfs-3200", Kind::Rootfs, &folder).await?;
    modes.push((rootfs, "true".to_owned(), Samples::default()));
    for _ in 0..TURNS {
        for (toolchain, program, samples) in &mut modes {
            for round in 0..IN_A_ROW {
                let executed = world.run(&Order::new(toolchain, program, root)).await?;
                if round >= WARM_UP {
                    samples.add(executed.overhead());
                }
            }
        }
    }
    let [few, many, rootfs] = [0, 1, 2].map(|i| &modes[i].2);
    let larger = if many.p50() > rootfs.p50() { many } else { rootfs };
    let more = |samples: &Samples| samples.p50().saturating_sub(few.p50());
    let says = |samples: &Samples| format!("+{} (p50 {})", readable(more(samples)), readable(samples.p50()));
    let bar = |what: &str, samples| (format!("{what} <= +0.6 ms over 5 paths"), more(samples) <= MORE_AT_MOST);
    let ((nix, nix_met), (root, root_met)) = (bar("300 paths", many), bar("rootfs", rootfs));
    let row = Row::of(name, larger).beside("5 paths", few.p50()).bar(nix, nix_met).bar(root, root_met);
    Ok(row.note(format!("300 paths {}, rootfs of 3,200 files {}", says(many), says(rootfs))))
}
