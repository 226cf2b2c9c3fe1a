//! C and C++, and the main platform, whose label the flags of the seed design name.
use super::platform::{self, cpu};
use super::{File, build, fixed, head, head_of};
use crate::choice::{Choice, Role};
use crate::starlark::{boolean, call, dict, list, text};
use lre_toolchain::{CcFacts, Family};
use std::collections::BTreeMap;

/// Which package a Bazel takes.
const WHICH: &str = include_str!("../static/which.bzl");
/// The rule that describes a compiler to Bazel, without the names that Bazel has built in up to 8 and not from 9 on.
const CONFIG: &str = include_str!("../static/config.bzl");
/// The same for every toolchain, with what is built in.
const BUILT_IN_RULE: &str = include_str!("../static/cc_toolchain_config.bzl");
/// The same with what is loaded.
const LOADED_RULE: &str = include_str!("../static/cc_toolchain_config_loaded.bzl");
/// Makes a repository of it.
const LOADED: &str = include_str!("../static/loaded.bzl");

/// Bazel's names of tools, and the roles that we know them by.
const TOOLS: [(&str, &str); 13] = [
    ("ar", "ar"),
    ("cpp", "cpp"),
    ("dwp", "dwp"),
    // The driver for everything, C++ and linking included.
    ("gcc", "cc"),
    ("gcov", "gcov"),
    ("ld", "ld"),
    ("llvm-cov", "llvm-cov"),
    ("llvm-profdata", "llvm-profdata"),
    ("nm", "nm"),
    ("objcopy", "objcopy"),
    ("objdump", "objdump"),
    ("ranlib", "ranlib"),
    ("strip", "strip"),
];
/// Stands for a tool that the toolchain does not have: Bazel wants a path for each.
const NO_TOOL: &str = "/bin/false";

const OPT_COMPILE_FLAGS: [&str; 6] =
    ["-g0", "-O2", "-D_FORTIFY_SOURCE=1", "-DNDEBUG", "-ffunction-sections", "-fdata-sections"];
/// The time of the build would make every build different.
const REDACTED: [&str; 3] = ["-D__DATE__=\"redacted\"", "-D__TIME__=\"redacted\"", "-D__TIMESTAMP__=\"redacted\""];

/// The packages `generated-cc/config`, and `generated-cc/cc` where a toolchain compiles C.
///
/// What a Bazel loads that has no rules of C++ built in is no package here, but a repository that [`MODULE_LINES`]
/// declare: a package would be loaded by `//...` wherever the folder is part of the project, by every Bazel.
pub(super) fn files(choice: &Choice<'_>) -> Vec<File> {
    let Some(role) = &choice.cc else {
        return vec![(
            CONFIG_BUILD.to_owned(),
            build(&head(choice.main.iter().copied()), &[], &[platform::main(choice)]),
        )];
    };
    let head = head_of(role);
    let rule = "load(\":cc_toolchain_config.bzl\", \"cc_toolchain_config\")";
    let loaded = "load(\"@rules_cc//cc/toolchains:cc_toolchain.bzl\", \"cc_toolchain\")";
    let targets = compiler(role);
    vec![
        ("generated-cc/cc/BUILD".to_owned(), build(&head, &[rule], &targets)),
        fixed("generated-cc/cc/cc_toolchain_config.bzl", BUILT_IN_RULE),
        fixed("generated-cc/cc/config.bzl", CONFIG),
        ("generated-cc/cc/loaded.BUILD".to_owned(), build(&head, &[loaded, rule], &targets)),
        fixed("generated-cc/cc/loaded_config.bzl", LOADED_RULE),
        fixed("generated-cc/loaded.bzl", LOADED),
        ("generated-cc/BUILD".to_owned(), format!("{head}# The packages are below.\n")),
        fixed("generated-cc/config/which.bzl", WHICH),
        (CONFIG_BUILD.to_owned(), config(choice, role)),
    ]
}

/// What `MODULE.bazel` says of it. Nothing is fetched before it is asked for.
pub(super) const MODULE_LINES: &str = "\nloaded = use_repo_rule(\"//generated-cc:loaded.bzl\", \"loaded\")\n\n\
    loaded(name = \"local_remote_execution_cc\")\n";

const CONFIG_BUILD: &str = "generated-cc/config/BUILD";

/// The targets of a package that describes the compiler.
fn compiler(role: &Role<'_, CcFacts>) -> Vec<String> {
    let empty = [
        "all_files",
        "ar_files",
        "as_files",
        "compiler_files",
        "dwp_files",
        "linker_files",
        "objcopy_files",
        "strip_files",
    ];
    // The files of the toolchain are in the sandbox, not among the inputs of actions.
    let empty = empty.map(|name| (name, text(":empty")));
    let toolchain = [("name", text("cc-compiler"))].into_iter().chain(empty).chain([
        ("supports_param_files", "1".to_owned()),
        ("tags", list(&["manual"])),
        ("toolchain_config", text(":config")),
        ("toolchain_identifier", text(&identifier(role))),
    ]);
    let filegroup = [("name", text("empty")), ("srcs", list::<&str>(&[]))];
    let config = [("name", text("config"))].into_iter().chain(attributes(role));
    vec![call("filegroup", filegroup), call("cc_toolchain", toolchain), call("cc_toolchain_config", config)]
}

fn identifier(role: &Role<'_, CcFacts>) -> String {
    format!("lre-{}", role.locked.name)
}

fn attributes(role: &Role<'_, CcFacts>) -> Vec<(&'static str, String)> {
    let facts = role.facts;
    let path = |tool: &str| role.locked.tools.get(tool).map_or(NO_TOOL, String::as_str);
    let tools: BTreeMap<_, _> = TOOLS.into_iter().map(|(name, tool)| (name, path(tool))).collect();
    let mut include_directories = facts.cxx_include_directories.clone();
    let more = facts.c_include_directories.iter().filter(|d| !facts.cxx_include_directories.contains(d));
    include_directories.extend(more.cloned());
    let coverage: &[&str] = match facts.family {
        Family::Gcc => &["--coverage"],
        Family::Clang => &["-fprofile-instr-generate", "-fcoverage-mapping"],
    };
    vec![
        ("compile_flags", list(&facts.compile_flags)),
        ("compiler", text(facts.family.name())),
        ("coverage_flags", list(coverage)),
        ("cpu", text(cpu(&facts.triple).bazel)),
        ("cxx_flags", list(&facts.cxx_flags)),
        ("cxx_link_libraries", list(&facts.cxx_link_libraries)),
        ("dbg_compile_flags", list(&["-g"])),
        ("identifier", text(&identifier(role))),
        ("include_directories", list(&include_directories)),
        ("libc", text(&facts.libc)),
        ("link_flags", list(&facts.link_flags)),
        ("opt_compile_flags", list(&OPT_COMPILE_FLAGS)),
        ("opt_link_flags", list(&["-Wl,--gc-sections"])),
        ("shared_libraries", boolean(!facts.static_only).to_owned()),
        ("start_end_lib", boolean(facts.start_end_lib).to_owned()),
        ("tags", list(&["manual"])),
        ("tools", dict(tools)),
        ("triple", text(&facts.triple)),
        ("unfiltered_compile_flags", list(&REDACTED)),
    ]
}

/// The main platform and the toolchain. Without a constraint of ours, even where another language is apart: rules of
/// that language may want to know a C compiler too, though their actions do not run it.
fn config(choice: &Choice<'_>, role: &Role<'_, CcFacts>) -> String {
    let constraints = list(&platform::constraints(choice.triple()));
    let toolchain = call(
        "toolchain",
        [
            ("name", text("cc-toolchain")),
            ("exec_compatible_with", constraints.clone()),
            ("tags", list(&["manual"])),
            ("target_compatible_with", constraints),
            ("toolchain", "COMPILER".to_owned()),
            ("toolchain_type", text("@bazel_tools//tools/cpp:toolchain_type")),
        ],
    );
    let mut head = head(choice.main.iter().copied());
    if !choice.main.contains(&role.locked) {
        head += &head_of(role);
    }
    build(&head, &["load(\":which.bzl\", \"COMPILER\")"], &[platform::main(choice), toolchain])
}
