//! The two walks for which local remote execution has its name, with a real Bazel: what was built remotely is found by a
//! local build, and what was built locally is found by a remote one.
use lre_e2e::bazel::{Bazel, Build, Version};
use lre_e2e::packages::Packages;
use lre_e2e::projects;
use lre_e2e::world::{World, all_hits, install_everything};

/// Bazel 4 chooses Java by flags of its own.
const LRE: [&str; 2] = ["--config=lre", "--config=lre-bazel4"];
/// The cache stays, the executor goes: what is not in the cache runs here.
const LOCALLY: [&str; 4] =
    ["--remote_executor=", "--spawn_strategy=local", "--remote_upload_local_results", "--remote_local_fallback"];
/// Makes other actions of most of the same project, which the server does not know.
const ANEW: [&str; 2] = ["--action_env=WALK=second", "--test_env=WALK=second"];

fn test(bazel: &Bazel, further: &[&str]) -> Build {
    // By default Bazel makes a test's XML in an action of its own, whose command line has the seconds that the test took:
    // where a test runs for one second here and for none there, that action is another.
    bazel.test(&[&LRE[..], &["--noexperimental_split_xml_generation"], further].concat()).unwrap()
}

#[test]
fn what_was_built_remotely_is_found_locally_and_the_other_way_round() {
    let world = World::with(Version::V4, projects::trilogue, install_everything).unwrap();
    remote_then_local(&world.first_person().unwrap());
    local_then_remote(&world.at_home_in(Packages::of_this_checkout("workstation").ready().unwrap()).unwrap());
}

/// `bazel test` with the executor; `bazel clean`; the same command without it. There is no compiler where Bazel runs,
/// so a miss would fail.
fn remote_then_local(me: &Bazel) {
    let remote = test(me, &[]);
    assert!(remote.count("remote") > 30, "{:?}\n{}", remote.processes, remote.output);
    assert!(remote.other_than("remote").is_empty(), "{:?}", remote.processes);
    me.clean().unwrap();
    let local = test(me, &LOCALLY);
    all_hits("without the executor", &local, &remote);
}

/// The same machine, were it set up by hand: what the toolchain has is installed, at the same paths. It builds with
/// that, and uploads. Then the executor is asked, and has nothing to do.
fn local_then_remote(me: &Bazel) {
    let local = test(me, &[&LOCALLY[..], &ANEW].concat());
    // Some actions take no environment, and so are those of the other walk: the same bits were found.
    let hits = local.count("remote cache hit");
    assert!(local.count("local") > 20, "{:?}\n{}", local.processes, local.output);
    let processes = local.count("local") + hits + local.count("internal");
    assert_eq!(processes, local.processes.values().sum::<usize>(), "{:?}", local.processes);
    assert!(!local.actions.contains_key("Execute"), "nobody was asked to execute: {:?}", local.actions);
    me.clean().unwrap();
    let remote = test(me, &ANEW);
    let others = remote.other_than("remote cache hit");
    assert!(others.is_empty(), "all are hits: {:?}\n{}", remote.processes, remote.output);
    assert_eq!(remote.count("remote cache hit"), local.count("local") + hits, "the same number of actions");
    assert_eq!(remote.digests(), local.digests(), "the same actions");
}
