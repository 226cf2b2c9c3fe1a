//! Execution: the table of what it may cost, one file for each kind of row.
mod bazel;
mod inputs;
mod memory;
mod throughput;
mod toolchains;
mod trivial;

use crate::competitors::Bubblewrap;
use crate::report::{Report, Row};
use crate::world::World;
use anyhow::{Result, ensure};

/// Rounds that are not counted: caches of the kernel fill, the first layout of a tree is made.
const WARM_UP: usize = 5;

/// What the scenarios share.
struct Stage {
    world: World,
    bwrap: Bubblewrap,
    /// Made by the first that builds.
    builder: Option<bazel::Builder>,
}

#[derive(Clone, Copy)]
enum Scenario {
    Trivial,
    Thousand,
    Warm,
    TenThousand,
    Toolchains,
    Throughput,
    Chain,
    Stdout,
    Inkwell,
    GoogleTest,
    Memory,
}

/// Each scenario with the names of its rows, in the order in which they are measured. Two are what one scenario measures
/// together.
const SCENARIOS: [(Scenario, [&str; 2]); 11] = [
    (Scenario::Trivial, ["Execute of a static `true`, 1 input: overhead", ""]),
    (Scenario::Thousand, ["1,000 inputs, 1 % changed: overhead", ""]),
    (Scenario::Warm, ["warm slot, `true`: overhead", ""]),
    (Scenario::TenThousand, ["10,000 inputs, 0.1 % changed: overhead", ""]),
    (Scenario::Toolchains, ["rootfs of 3,200 files, Nix-like closure of 300 paths: overhead", ""]),
    (Scenario::Throughput, ["throughput of `true`, 16 in flight, 2 slots", ""]),
    (Scenario::Chain, ["Bazel 4.2.3, chain of 40 genrules, cold", "Bazel 4.2.3, chain of 40 genrules, all hits"]),
    (Scenario::Stdout, ["memory: 1 GB of stdout", ""]),
    (Scenario::Inkwell, ["Bazel 4.2.3, example project, cold", "Bazel 4.2.3, example project, warm"]),
    (Scenario::GoogleTest, ["Bazel 4.2.3, GoogleTest, cold", "Bazel 4.2.3, GoogleTest, warm"]),
    (Scenario::Memory, ["memory: idle", "memory: growth over 20,000 actions"]),
];

/// The rows, or those whose name has `part`.
///
/// # Errors
/// There is no such row, or nothing can run at all.
pub async fn exec(part: Option<&str>, report: &mut Report) -> Result<()> {
    let wanted = |names: &[&str; 2]| part.is_none_or(|part| names.iter().any(|name| name.contains(part)));
    let chosen: Vec<_> = SCENARIOS.into_iter().filter(|(_, names)| wanted(names)).collect();
    ensure!(!chosen.is_empty(), "no row has `{}` in its name", part.unwrap_or_default());
    let mut stage = Stage { world: World::start().await?, bwrap: Bubblewrap::find()?, builder: None };
    for (scenario, names) in chosen {
        match scenario.run(names, &mut stage).await {
            Ok(rows) => rows.into_iter().for_each(|row| report.row(row)),
            Err(error) => report.broken(names[0], &error),
        }
    }
    Ok(())
}

impl Scenario {
    async fn run(self, names: [&str; 2], stage: &mut Stage) -> Result<Vec<Row>> {
        let [name, second] = names;
        match self {
            Self::Trivial => trivial::fresh(name, stage).await.map(one),
            Self::Thousand => inputs::thousand(name, stage).await.map(one),
            Self::Warm => trivial::warm(name, stage).await.map(one),
            Self::TenThousand => inputs::ten_thousand(name, stage).await.map(one),
            Self::Toolchains => toolchains::larger(name, stage).await.map(one),
            Self::Throughput => throughput::throughput(name, stage).await.map(one),
            Self::Stdout => memory::stdout(name).await.map(one),
            Self::Memory => memory::growth(name, second).await.map(Vec::from),
            Self::Chain => stage.builder()?.chain(name, second).map(Vec::from),
            Self::Inkwell => stage.builder()?.inkwell(names).map(Vec::from),
            Self::GoogleTest => stage.builder()?.googletest(names).map(Vec::from),
        }
    }
}

fn one(row: Row) -> Vec<Row> {
    vec![row]
}

impl Stage {
    fn builder(&mut self) -> Result<&mut bazel::Builder> {
        if self.builder.is_none() {
            self.builder = Some(bazel::Builder::new()?);
        }
        Ok(self.builder.as_mut().expect("just made"))
    }
}
