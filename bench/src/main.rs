//! One scenario for each promise of SPECIFICATION.md: what a user has today is measured in the same
//! run, in turns, and the ratio counts. `cargo xtask bench` fetches the competitors and runs it.
#![forbid(unsafe_code)]

mod bubblewrap;
mod lookups;
mod overhead;
mod report;
mod stats;
mod toolchain;
mod world;

use anyhow::Result;

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("launcher") {
        lre_sandbox::launcher::main();
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Result<()> {
    let mut world = world::World::start().await?;
    let bwrap = bubblewrap::Bubblewrap::find(world.rootfs(), world.directory.path())?;
    let mut report = report::Report::default();
    // `bench toolchain` and the like: only what is named.
    let only = std::env::args().nth(1);
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if wanted("overhead") {
        overhead::trivial(&mut world, &bwrap, &mut report).await?;
        overhead::thousand_inputs(&mut world, &bwrap, &mut report).await?;
    }
    if wanted("lookups") {
        lookups::lookups(&mut world, &mut report).await?;
    }
    if wanted("toolchain") {
        toolchain::toolchain(&mut world, &mut report).await?;
    }
    world.server.shutdown().await;
    // Absolute targets are for a quiet machine, so falling short is told and not an error.
    match report.fell_short() {
        [] => println!("all targets met"),
        rows => println!("falls short: {}", rows.join("; ")),
    }
    Ok(())
}
