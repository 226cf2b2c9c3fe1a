//! Rust: rules of our own, small and with nothing to download, and a package for who uses `rules_rust`.
//!
//! One toolchain for each triple that a standard library is there for. The flags register the one of the host's
//! triple, `rust-toolchain`; a project that builds for another one registers that, `rust-toolchain-<triple>`: which of
//! two that fit one platform (glibc and musl) is wanted is not in the lock file.
use super::platform;
use super::{File, build, fixed, head_of};
use crate::Unsuitable;
use crate::choice::{Choice, Role};
use crate::starlark::{call, list, text};
use lre_toolchain::RustFacts;

/// What a project loads.
const RULES: &str = include_str!("../static/rust_defs.bzl");
/// What the rules ask for.
const TOOLCHAIN: &str = include_str!("../static/rust_toolchain.bzl");
/// What a project that uses `rules_rust` calls.
const RULES_RUST: &str = include_str!("../static/rules_rust.bzl");
/// A compiler for `rules_rust`, which wants a file.
const WRAPPER: &str = include_str!("../static/rustc.sh");

/// Instruction sets of triples, below `@platforms//cpu`.
const CPUS: [(&str, &str); 7] = [
    ("aarch64", "aarch64"),
    ("armv7", "armv7"),
    ("i686", "x86_32"),
    ("riscv64gc", "riscv64"),
    ("s390x", "s390x"),
    ("wasm32", "wasm32"),
    ("x86_64", "x86_64"),
];

/// The packages below `generated-rust`.
pub(super) fn files<'a>(choice: &Choice<'a>, role: &Role<'a, RustFacts>) -> Result<Vec<File>, Unsuitable> {
    let head = head_of(role);
    let linker = linker(choice, role)?;
    let rustc = role.locked.tools.get("rustc").map_or("/usr/bin/rustc", String::as_str);
    let rules_rust = format!("{}\n{}", head.trim_end(), WRAPPER.replace("RUSTC", rustc));
    Ok(vec![
        (
            "generated-rust/BUILD".to_owned(),
            build(&head, &[], &[call("toolchain_type", [("name", text("toolchain_type"))])]),
        ),
        fixed("generated-rust/defs.bzl", RULES),
        fixed("generated-rust/toolchain.bzl", TOOLCHAIN),
        ("generated-rust/rust/BUILD".to_owned(), rust(choice, role, &head, rustc, &linker)),
        ("generated-rust/config/BUILD".to_owned(), build(&head, &[], &config(choice, role))),
        (
            "generated-rust/rules_rust/BUILD".to_owned(),
            build(&head, &[], &[call("exports_files", [("srcs", list(&["rustc.sh"]))])]),
        ),
        ("generated-rust/rules_rust/toolchains.bzl".to_owned(), for_rules_rust(choice, role, &head)),
        ("generated-rust/rules_rust/rustc.sh".to_owned(), format!("#!{}\n{rules_rust}", choice.shell(role))),
    ])
}

/// What links: a C driver, and the flags with which that one links deterministically.
struct Linker {
    path: String,
    flags: Vec<String>,
}

fn linker<'a>(choice: &Choice<'a>, role: &Role<'a, RustFacts>) -> Result<Linker, Unsuitable> {
    let shares = |cc: &&Role<'_, _>| choice.platform(role).contains(&cc.locked);
    let cc = choice.cc.as_ref().filter(shares);
    let path = role.facts.linker.clone().or_else(|| cc.and_then(|cc| cc.locked.tools.get("cc").cloned()));
    let path = path.ok_or_else(|| Unsuitable::NoLinker(role.locked.name.clone()))?;
    let flags = cc.filter(|cc| cc.locked.tools.get("cc") == Some(&path)).map(|cc| cc.facts.link_flags.clone());
    Ok(Linker { path, flags: flags.unwrap_or_default() })
}

/// The host's triple first, then the others.
fn targets(facts: &RustFacts) -> Vec<&str> {
    let others = facts.targets.iter().map(String::as_str).filter(|target| *target != facts.host);
    [facts.host.as_str()].into_iter().chain(others).collect()
}

fn rust<'a>(choice: &Choice<'a>, role: &Role<'a, RustFacts>, head: &str, rustc: &str, linker: &Linker) -> String {
    let facts = role.facts;
    let toolchains = targets(facts).into_iter().map(|target| {
        let native = target == facts.host;
        call(
            "rust_toolchain",
            [
                ("name", text(&format!("toolchain-{target}"))),
                ("edition", text(&facts.edition)),
                ("link_args", list(if native { &linker.flags[..] } else { &[] })),
                ("linker", text(&linker.path)),
                ("rustc", text(rustc)),
                ("shell", text(choice.shell(role))),
                ("sysroot", text(&facts.sysroot)),
                ("tags", list(&["manual"])),
                ("target", text(target)),
                ("version", text(&facts.version)),
            ],
        )
    });
    build(
        head,
        &["load(\"@local-remote-execution//generated-rust:toolchain.bzl\", \"rust_toolchain\")"],
        &toolchains.collect::<Vec<_>>(),
    )
}

fn config<'a>(choice: &Choice<'a>, role: &Role<'a, RustFacts>) -> Vec<String> {
    let execution = list(&platform::where_it_runs(choice, role));
    let toolchain = |target: &str| {
        let native = target == role.facts.host;
        let name = if native { "rust-toolchain".to_owned() } else { format!("rust-toolchain-{target}") };
        call(
            "toolchain",
            [
                ("name", text(&name)),
                ("exec_compatible_with", execution.clone()),
                ("tags", list(&["manual"])),
                ("target_compatible_with", list(&target_constraints(target))),
                ("toolchain", text(&format!("//generated-rust/rust:toolchain-{target}"))),
                ("toolchain_type", text("//generated-rust:toolchain_type")),
            ],
        )
    };
    let toolchains = targets(role.facts).into_iter().map(toolchain);
    [platform::of_role(choice, role)].into_iter().chain(toolchains).collect()
}

/// Constraint values of what a triple is about. A part that has none is left out.
fn target_constraints(triple: &str) -> Vec<String> {
    let first = triple.split('-').next().unwrap_or_default();
    let cpu = CPUS.iter().find(|(name, _)| *name == first).map(|(_, cpu)| format!("@platforms//cpu:{cpu}"));
    let os = if triple.contains("linux") { Some("@platforms//os:linux".to_owned()) } else { None };
    cpu.into_iter().chain(os).collect()
}

/// For a project that uses `rules_rust`, which is not visible from here: the project hands its rules over.
fn for_rules_rust<'a>(choice: &Choice<'a>, role: &Role<'a, RustFacts>, head: &str) -> String {
    let execution = list(&platform::where_it_runs(choice, role));
    let targets = targets(role.facts).into_iter().map(|target| (target.to_owned(), target_constraints(target)));
    let targets: String = targets.map(|(name, at)| format!("    {}: {},\n", text(&name), list(&at))).collect();
    let facts = role.facts;
    format!(
        "{head}{RULES_RUST}\n_EDITION = {}\n\n_EXECUTION = {execution}\n\n_HOST = {}\n\n_TARGETS = {{\n{targets}}}\n",
        text(&facts.edition),
        text(&facts.host),
    )
}
