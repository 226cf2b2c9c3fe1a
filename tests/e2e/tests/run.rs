//! `lre run`: any command as a cached, hermetic action.
use lre_e2e::serve::{Home, Serve, said};
use std::fs;
use std::process::Output;

/// A home with a server and a shell for a toolchain.
struct World {
    // Ends before its home goes.
    server: Serve,
    home: Home,
}

impl World {
    /// One for each kind of user.
    fn every() -> Vec<Self> {
        Home::every().into_iter().map(Self::new).collect()
    }

    fn new(home: Home) -> Self {
        let server = home.serve().unwrap();
        let tools = home.path().join("tools");
        lre_e2e::tools::few(&tools).unwrap();
        home.must(&["toolchain", "add", "tools", "--from", &format!("dir:{}", tools.display())]).unwrap();
        Self { server, home }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["run"];
        all.extend(arguments);
        self.home.lre(&all).output().unwrap()
    }

    /// What a shell script prints that must end with 0.
    fn script(&self, script: &str) -> String {
        let output = self.run(&["--no-in", "--", "sh", "-c", script]);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// What `--json` reports of a run.
fn report(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

#[test]
fn the_second_time_is_a_hit_with_the_same_output() {
    World::every().iter().for_each(the_second_time_is_a_hit_with_the_same_output_in);
}

fn the_second_time_is_a_hit_with_the_same_output_in(world: &World) {
    world.home.write("in", "one\n").unwrap();
    let command = ["--in", "in", "--out", "out", "--", "sh", "-c", "cat in >out; echo said; echo complained >&2"];
    let first = world.run(&command);
    assert_eq!(first.stdout, b"said\n", "{}", said(&first));
    assert!(said(&first).contains("complained") && said(&first).contains("ran "), "{}", said(&first));
    fs::remove_file(world.home.work().join("out")).unwrap();

    let second = world.run(&command);
    assert_eq!(second.stdout, b"said\n");
    assert!(said(&second).contains("complained") && said(&second).contains("hit "), "{}", said(&second));
    assert_eq!(fs::read_to_string(world.home.work().join("out")).unwrap(), "one\n");

    world.home.write("in", "two\n").unwrap();
    let third = world.run(&command);
    assert!(said(&third).contains("ran "), "another input is another action: {}", said(&third));
    assert_eq!(fs::read_to_string(world.home.work().join("out")).unwrap(), "two\n");
}

#[test]
fn home_place_and_environment_do_not_matter() {
    World::every().iter().for_each(home_place_and_environment_do_not_matter_in);
}

fn home_place_and_environment_do_not_matter_in(world: &World) {
    let command = ["run", "--json", "--in", "in", "--out", "out", "--", "sh", "-c", "cat in >out; env"];
    world.home.write("in", "same\n").unwrap();
    let first = report(&world.home.lre(&command).output().unwrap());

    let elsewhere = world.home.write("some/where/else/in", "same\n").unwrap();
    let elsewhere = elsewhere.parent().unwrap();
    let mut second = world.home.lre(&command);
    second.current_dir(elsewhere).env("HOME", elsewhere).env("USER", "somebody").env("TZ", "Asia/Tokyo");
    second.env("LANG", "de_DE.UTF-8").env("LC_ALL", "tr_TR.UTF-8").env("SECRET", "x").env("PATH", "/bin:/opt/bin");
    let second = report(&second.output().unwrap());
    assert_eq!(first["action"], second["action"]);
    assert_eq!((&first["cached"], &second["cached"]), (&false.into(), &true.into()));
    assert_eq!(fs::read_to_string(elsewhere.join("out")).unwrap(), "same\n");
}

#[test]
fn an_action_sees_its_inputs_and_its_toolchain_only() {
    World::every().iter().for_each(an_action_sees_its_inputs_and_its_toolchain_only_in);
}

fn an_action_sees_its_inputs_and_its_toolchain_only_in(world: &World) {
    world.home.write("secret", "x").unwrap();
    assert_eq!(world.script("ls /lre/exec"), "", "no input, no file");
    assert_eq!(world.script("ls /").split_whitespace().collect::<Vec<_>>(), SEEN);
    assert_eq!(world.script("cat /etc/passwd").lines().count(), 3, "an invented passwd");
    let environment = world.script("env");
    let mut names: Vec<&str> = environment.lines().filter_map(|line| line.split_once('=')).map(|pair| pair.0).collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LC_ALL", "PATH", "PWD", "SOURCE_DATE_EPOCH", "TMPDIR", "TZ"]);
    let others = world.script("for p in /proc/[0-9]*; do cat $p/comm; done");
    assert!(others.lines().count() <= 4, "its own processes only: {others}");
    let here = world.home.path().display();
    let outside = world.run(&["--no-in", "--", "sh", "-c", &format!("ls {here}")]);
    assert!(!outside.status.success(), "the host is not there: {}", said(&outside));
}

/// The root of the sandbox.
const SEEN: [&str; 8] = ["bin", "dev", "etc", "lib", "lib64", "lre", "proc", "tmp"];

#[test]
fn an_action_cannot_change_its_inputs_for_others() {
    World::every().iter().for_each(an_action_cannot_change_its_inputs_for_others_in);
}

fn an_action_cannot_change_its_inputs_for_others_in(world: &World) {
    world.home.write("in", "kept\n").unwrap();
    let change = world.run(&["--in", "in", "--", "sh", "-c", "rm in; echo changed >in; cat in"]);
    assert_eq!(change.stdout, b"changed\n", "{}", said(&change));
    let look = world.run(&["--in", "in", "--", "cat", "in"]);
    assert_eq!(look.stdout, b"kept\n", "{}", said(&look));
    assert_eq!(fs::read_to_string(world.home.work().join("in")).unwrap(), "kept\n");
}

#[test]
fn the_exit_code_is_the_commands() {
    World::every().iter().for_each(the_exit_code_is_the_commands_in);
}

fn the_exit_code_is_the_commands_in(world: &World) {
    let code = |arguments: &[&str]| world.run(arguments).status.code();
    assert_eq!(code(&["--no-in", "--", "sh", "-c", "exit 3"]), Some(3));
    assert_eq!(code(&["--no-in", "--", "sh", "-c", "kill -9 $$"]), Some(128 + 9));
    assert_eq!(code(&["--no-in", "--", "no-such-program"]), Some(127));
    world.home.write("plain", "not a program").unwrap();
    assert_eq!(code(&["--in", "plain", "--", "./plain"]), Some(126));
}

#[test]
fn what_an_action_wanted_in_vain_is_told() {
    World::every().iter().for_each(what_an_action_wanted_in_vain_is_told_in);
}

fn what_an_action_wanted_in_vain_is_told_in(world: &World) {
    let outside = world.home.write("kept/back", "here\n").unwrap();
    let wanted = format!("wanted {}, which is on this machine but not an input", outside.display());
    let fails = ["--no-in", "--", "sh", "-c", &format!("cat {}", outside.display())];
    let output = world.run(&fails);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains(&wanted) && text.matches("No such file").count() == 1, "once, though it ran twice: {text}");
    let output = world.run(&["--json", fails[0], "--", "sh", "-c", fails[4]]);
    assert_eq!(report(&output)["message"], wanted.as_str());

    // A command that gets along without is told of only where somebody asks, known or not.
    let goes_on = ["--no-in", "--", "sh", "-c", &format!("cat {} 2>/dev/null; echo done", outside.display())];
    assert!(!said(&world.run(&goes_on)).contains("wanted"));
    let asked: Vec<_> = ["--explain"].iter().chain(&goes_on).copied().collect();
    let output = world.run(&asked);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"done\n"[..]));
    assert!(said(&output).contains(&wanted) && said(&output).contains("ran "), "{}", said(&output));
    assert!(said(&world.run(&goes_on)).contains("hit "), "what is explained is the same action");
}

#[test]
fn a_failure_is_not_remembered() {
    World::every().iter().for_each(a_failure_is_not_remembered_in);
}

fn a_failure_is_not_remembered_in(world: &World) {
    let command = ["--json", "--no-in", "--", "sh", "-c", "exit 1"];
    assert_eq!(report(&world.run(&command))["cached"], false);
    assert_eq!(report(&world.run(&command))["cached"], false);
}

#[test]
fn a_timeout_ends_the_whole_tree_and_keeps_what_was_said() {
    World::every().iter().for_each(a_timeout_ends_the_whole_tree_and_keeps_what_was_said_in);
}

fn a_timeout_ends_the_whole_tree_and_keeps_what_was_said_in(world: &World) {
    let output = world.run(&["--no-in", "--timeout", "1", "--", "sh", "-c", "echo so far; sleep 1000 & sleep 1000"]);
    assert!(!output.status.success());
    let said = said(&output);
    assert!(said.contains("so far"), "{said}");
}

#[test]
fn an_unknown_platform_is_answered_at_once() {
    World::every().iter().for_each(an_unknown_platform_is_answered_at_once_in);
}

fn an_unknown_platform_is_answered_at_once_in(world: &World) {
    for property in ["container-image=docker://x", "lre-rootfs=abc", &format!("lre-rootfs={}/7", "0".repeat(64))] {
        let output = world.run(&["--no-in", "--property", property, "--", "sh", "-c", ":"]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(31), "{property}: {said}");
        assert!(said.contains("hint:") || said.contains("lre.json5"), "{property}: what now? {said}");
    }
    for property in ["lre-policy=strict", "lre-policy=strict-2", "lre-mutates-inputs=no", "lre-processes-max=many"] {
        let output = world.run(&["--no-in", "--property", property, "--", "sh", "-c", ":"]);
        let said = said(&output);
        let name = property.split('=').next().unwrap();
        assert_eq!(output.status.code(), Some(2), "{property}: {said}");
        assert!(said.contains(name) && said.contains("platform.md"), "{property}: what now? {said}");
    }
    let status = world.home.must(&["status", "--json"]).unwrap();
    assert!(status.contains(&world.server.tcp().to_string()), "{status}");
}

/// PROTOCOL 65: an action that failed is run again by the digest that its message names, whoever sent it; one that the
/// server does not have, and what is no digest, is told.
#[test]
fn an_action_is_run_again_by_its_digest() {
    for world in World::every() {
        let first = world.run(&["--no-in", "--json", "--", "sh", "-c", "echo said; exit 3"]);
        let action = report(&first)["action"].as_str().unwrap().to_owned();
        let again = world.run(&["--action", &action]);
        assert_eq!((again.status.code(), &again.stdout[..]), (Some(3), &b"said\n"[..]), "{}", said(&again));
        let nobodys = format!("{}/7", "0".repeat(64));
        for (action, words) in
            [(nobodys.as_str(), "does not have the action"), ("x/y", "is not the digest of an action")]
        {
            let refused = world.run(&["--action", action]);
            assert!(!refused.status.success() && said(&refused).contains(words), "{}", said(&refused));
        }
    }
}
