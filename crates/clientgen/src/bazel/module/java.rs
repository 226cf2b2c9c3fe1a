//! Java: the runtime that programs are started with, and the compiler, both of one development kit.
//!
//! Nothing is downloaded. Bazel's own compiler driver comes from an archive that it fetches (`remote_java_tools`),
//! with programs in it that were linked on another machine. What Bazel asks of such a driver is little, so the module
//! brings it as one Java file that the pinned compiler itself compiles: the only thing that runs in an action is the
//! pinned development kit. It has no Error Prone and does not check for strict dependencies; who wants those registers
//! a toolchain made by `default_java_toolchain` of `rules_java` before ours.
use super::platform;
use super::{File, build, fixed, head_of};
use crate::choice::{Choice, Role};
use crate::starlark::{call, list, text};
use lre_toolchain::JavaFacts;

/// Builds and merges jars.
const TOOLS: &str = include_str!("../static/JavaTools.java");
/// Compiles it.
const RULES: &str = include_str!("../static/java_tools.bzl");

/// The rule of Bazel's that says where the runtime is.
const RUNTIME: &str = include_str!("../static/java_runtime.bzl");

const RUNTIME_TYPE: &str = "@bazel_tools//tools/jdk:runtime_toolchain_type";
const COMPILER_TYPE: &str = "@bazel_tools//tools/jdk:toolchain_type";

/// The packages `generated-java/java` and `generated-java/config`.
pub(super) fn files<'a>(choice: &Choice<'a>, role: &Role<'a, JavaFacts>) -> Vec<File> {
    let head = head_of(role);
    let mut files = vec![
        ("generated-java/config/BUILD".to_owned(), build(&head, &[], &config(choice, role))),
        ("generated-java/java/BUILD".to_owned(), java(choice, role, &head)),
        fixed("generated-java/java/runtime.bzl", RUNTIME),
    ];
    if compiles(role.facts) {
        files.push(fixed("generated-java/java/JavaTools.java", TOOLS));
        files.push(fixed("generated-java/java/java_tools.bzl", RULES));
    }
    files
}

/// The tools are compiled by a compiler that runs its input at once, as those from 11 on do.
pub(in crate::bazel) fn compiles(facts: &JavaFacts) -> bool {
    facts.compiles && facts.feature >= 11
}

fn java<'a>(choice: &Choice<'a>, role: &Role<'a, JavaFacts>, head: &str) -> String {
    let facts = role.facts;
    // An absolute home says that the runtime is not among the inputs: it is in the sandbox.
    let runtime = call(
        "java_runtime",
        [("name", text("runtime")), ("java_home", text(&facts.home)), ("tags", list(&["manual"]))],
    );
    if !compiles(facts) {
        return build(
            head,
            &["load(\"@local-remote-execution//generated-java/java:runtime.bzl\", \"java_runtime\")"],
            &[runtime],
        );
    }
    let loads = [
        "load(\"@local-remote-execution//generated-java/java:java_tools.bzl\", \"java_tools_toolchain\")",
        "load(\"@local-remote-execution//generated-java/java:runtime.bzl\", \"java_runtime\")",
    ];
    let mut toolchain = vec![
        ("name", text("toolchain")),
        ("java_home", text(&facts.home)),
        ("runtime", text(":runtime")),
        ("shell", text(choice.shell(role))),
        ("src", text("JavaTools.java")),
        ("version", text(&facts.feature.to_string())),
    ];
    if role.apart {
        toolchain.push(("compatible_with", list(&["//generated-java/config:java"])));
    }
    build(head, &loads, &[runtime, call("java_tools_toolchain", toolchain)])
}

fn config<'a>(choice: &Choice<'a>, role: &Role<'a, JavaFacts>) -> Vec<String> {
    let constraints = list(&platform::where_it_runs(choice, role));
    let mut targets = vec![platform::of_role(choice, role)];
    if compiles(role.facts) {
        targets.push(call(
            "toolchain",
            [
                ("name", text("java-toolchain")),
                ("exec_compatible_with", constraints),
                ("tags", list(&["manual"])),
                ("toolchain", text("//generated-java/java:toolchain")),
                ("toolchain_type", text(COMPILER_TYPE)),
            ],
        ));
    }
    // A runtime is chosen for where a program will run, which says nothing of where it is built.
    targets.push(call(
        "toolchain",
        [
            ("name", text("java-runtime-toolchain")),
            ("tags", list(&["manual"])),
            ("toolchain", text("//generated-java/java:runtime")),
            ("toolchain_type", text(RUNTIME_TYPE)),
        ],
    ));
    targets
}
