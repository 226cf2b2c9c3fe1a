//! Real builds: Debian's Bazel 4.2.3 through `lre`, with its linux-sandbox, and without any.
//!
//! One Bazel, one output base and one set of flags for all modes, `bazel clean` before each build. It
//! runs on a machine (an unpacked root) that has the packages of the toolchain at the same paths, so that the same
//! compiler with the same command lines runs in every mode. Its server stays between the builds, and
//! the time is what it says itself ("Elapsed time"): the start of Java is in none of them.
use crate::report::Row;
use crate::stats::Samples;
use anyhow::{Context, Result, ensure};
use lre_e2e::bazel::{Bazel, Build, Version};
use lre_e2e::packages::Packages;
use lre_e2e::projects;
use lre_e2e::world::{World, install_everything};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// All modes. A test's XML is made by the test's own action: else an action has the seconds that the test took in its
/// command line and is another one each time.
const ALWAYS: [&str; 4] = ["--config=lre", "--config=lre-bazel4", "--jobs=2", "--noexperimental_split_xml_generation"];
const ALONE: [&str; 2] = ["--remote_executor=", "--remote_cache="];
const SANDBOXED: &str = "--spawn_strategy=linux-sandbox";
const UNSANDBOXED: &str = "--spawn_strategy=local";

/// Links of the chain.
const CHAIN: usize = 40;
const CHAIN_ROUNDS: usize = 5;
/// Odd, so that there is a median; and few, as they take the most of the whole run.
const INKWELL_ROUNDS: usize = 3;
const GOOGLETEST_ROUNDS: usize = 1;
/// Every project has more than this many actions.
const ACTIONS_MIN: usize = CHAIN;

/// The toolchain that `lre init` writes.
const WORKSPACE: &str = "local_repository(name = 'local-remote-execution', path = 'local-remote-execution')\n";

/// A server with the toolchain.
pub struct Builder {
    world: World,
}

/// Who builds one project. Bazel's server ends with it.
struct Project {
    bazel: Bazel,
    command: &'static str,
    round: usize,
}

impl Drop for Project {
    fn drop(&mut self) {
        // Where it cannot be told, it ends by itself when it has been idle.
        let _ = self.bazel.shutdown();
    }
}

impl Builder {
    /// Brings the toolchain; it is laid out when its compiler has been asked what it is like.
    pub fn new() -> Result<Self> {
        Ok(Self { world: World::bare(Version::V4, install_everything)? })
    }

    fn project(&mut self, name: &str, command: &'static str, make: impl Fn(&Path) -> Result<()>) -> Result<Project> {
        self.world.workspace = self.world.home().work().join(name);
        make(&self.world.workspace)?;
        self.world.lre(&["init", "--client", "bazel", "--yes"])?;
        let root = Packages::of_this_checkout("workstation").ready()?;
        let bazel = Bazel { resident: true, ..self.world.at_home_in(root)? };
        Ok(Project { bazel, command, round: 0 })
    }

    /// 40 genrules, each of which needs the one before.
    pub fn chain(&mut self, cold_name: &str, warm_name: &str) -> Result<[Row; 2]> {
        let mut project = self.project("chain", "build", chain)?;
        let cache = format!("--disk_cache={}", project.bazel.home.join("disk-cache").display());
        let with_cache = [&ALONE[..], &[SANDBOXED, &cache]].concat();
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        let (mut warm, mut cached) = (Samples::default(), Samples::default());
        for round in 0..=CHAIN_ROUNDS {
            project.new_round()?;
            let cold = project.build(&[], "remote")?;
            let hits = project.build(&[], "remote cache hit")?;
            let sandboxed = project.build(&[&ALONE[..], &[SANDBOXED]].concat(), "linux-sandbox")?;
            project.build(&with_cache, "linux-sandbox")?;
            // Bazel counts hits of its disk cache by this name, too.
            let from_disk = project.build(&with_cache, "remote cache hit")?;
            if round > 0 {
                ours.add(cold);
                warm.add(hits);
                theirs.add(sandboxed);
                cached.add(from_disk);
            }
        }
        Ok([
            Row::of(cold_name, &ours).at_most_of(1.0, "the same Bazel's linux-sandbox", theirs.p50()),
            Row::of(warm_name, &warm).at_most_of(1.2, "the same Bazel's --disk_cache", cached.p50()),
        ])
    }

    /// The example of this repository.
    pub fn inkwell(&mut self, names: [&str; 2]) -> Result<[Row; 2]> {
        let project = self.project("inkwell", "test", projects::inkwell)?;
        measured(project, names, INKWELL_ROUNDS)
    }

    /// GoogleTest with its tests.
    pub fn googletest(&mut self, names: [&str; 2]) -> Result<[Row; 2]> {
        // Its sources are a package of this set.
        let root = Version::V4.packages().ready()?;
        let project = self.project("googletest", "test", |into| projects::googletest(&root, into))?;
        measured(project, names, GOOGLETEST_ROUNDS)
    }
}

/// Cold in all modes, and warm after `bazel clean`.
fn measured(mut project: Project, [cold_name, warm_name]: [&str; 2], rounds: usize) -> Result<[Row; 2]> {
    let mut cold = [Samples::default(), Samples::default(), Samples::default()];
    let mut warm = Samples::default();
    let modes: [(&[&str], &str); 3] = [
        (&[], "remote"),
        (&[ALONE[0], ALONE[1], SANDBOXED], "linux-sandbox"),
        (&[ALONE[0], ALONE[1], UNSANDBOXED], "local"),
    ];
    for round in 0..rounds {
        project.new_round()?;
        // Who is first changes, as the machine does.
        for i in 0..modes.len() {
            let at = (i + round) % modes.len();
            let (flags, way) = modes[at];
            cold[at].add(project.build(flags, way)?);
            if at == 0 {
                warm.add(project.build(flags, "remote cache hit")?);
            }
        }
    }
    let [ours, sandboxed, local] = cold;
    Ok([
        Row::of(cold_name, &ours).at_most_of(1.0, "the same Bazel's linux-sandbox", sandboxed.p50()).at_most_of(
            1.05,
            "its unsandboxed local strategy",
            local.p50(),
        ),
        Row::of(warm_name, &warm).at_most_of(0.2, "cold", ours.p50()),
    ])
}

impl Project {
    /// From now on nothing is known: every action has another environment and another input.
    fn new_round(&mut self) -> Result<()> {
        self.round += 1;
        fs::write(self.bazel.workspace.join("seed.txt"), format!("round {}\n", self.round))?;
        Ok(())
    }

    /// From clean; all actions must have been done in this one way.
    fn build(&self, flags: &[&str], way: &str) -> Result<Duration> {
        self.bazel.clean()?;
        let round = ["--action_env", "--test_env"].map(|flag| format!("{flag}=ROUND={}", self.round));
        let round: Vec<&str> = round.iter().map(String::as_str).collect();
        let build: Build = self.bazel.all_targets(self.command, &[&ALWAYS[..], &round, flags].concat())?;
        let (others, done) = (build.other_than(way), build.count(way));
        ensure!(
            others.is_empty() && done >= ACTIONS_MIN,
            "not all is `{way}`: {:?}\n{}",
            build.processes,
            build.output
        );
        build.elapsed().context("Bazel does not say how long it took")
    }
}

fn chain(into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let mut text = String::new();
    for i in 0..CHAIN {
        let from = if i == 0 { "seed.txt".to_owned() } else { format!("link{}.txt", i - 1) };
        let command = format!("cat $< > $@; echo link {i} >> $@");
        writeln!(text, "genrule(name='link{i}', srcs=['{from}'], outs=['link{i}.txt'], cmd='{command}')")?;
    }
    fs::write(into.join("BUILD"), text)?;
    fs::write(into.join(".bazelrc"), "try-import %workspace%/lre.bazelrc\n")?;
    fs::write(into.join("seed.txt"), "")?;
    fs::write(into.join("WORKSPACE"), WORKSPACE)?;
    Ok(())
}
