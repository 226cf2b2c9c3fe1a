//! One scenario for each promise of SPECIFICATION.md: what a user has today is measured in the same
//! run, in turns, and the ratio counts. `cargo xtask bench` builds `lre`, fetches the competitors and runs it.
//!
//! The server is always a real `lre serve`, a process of its own; this process is the client, on one thread.
#![forbid(unsafe_code)]

mod cc;
mod competitors;
mod exec;
mod generated;
mod process;
mod protocol;
mod report;
mod stats;
mod store;
mod toolchain;
mod world;

use anyhow::{Context, Result, bail, ensure};
use report::Report;
use tokio::signal::unix::{SignalKind, signal};
use world::World;

const SCENARIOS: [&str; 5] = ["cc", "exec", "protocol", "store", "toolchain"];

fn main() -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // Whoever drops a scenario ends its servers and removes their files; a signal by itself would leave both.
        tokio::select! {
            ended = run() => ended,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

/// `bench [SCENARIO [ROW]]`: everything, what is named, of `exec` and `protocol` the rows whose name has this part, or of
/// `store` one part.
async fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (only, part) = (arguments.next(), arguments.next());
    if only.as_deref() == Some(store::TOUCH) {
        return store::touch(&part.context("a folder")?, &arguments.next().context("a count")?).await;
    }
    let known = only.as_deref().is_none_or(|only| SCENARIOS.contains(&only));
    ensure!(known, "there is no scenario `{}`, only {}", only.unwrap_or_default(), SCENARIOS.join(", "));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    println!("server {}", lre_e2e::binary::lre().display());
    let mut report = Report::default();
    if wanted("exec") {
        exec::exec(part.as_deref(), &mut report).await?;
    }
    if wanted("protocol") {
        protocol::protocol(part.as_deref(), &mut report).await?;
    }
    if wanted("store") {
        store::store(part.as_deref(), &mut report).await?;
    }
    if wanted("toolchain") {
        toolchain::toolchain(&mut World::start().await?, &mut report).await?;
    }
    if wanted("cc") {
        cc::cc(&mut report)?;
    }
    report.end()
}
