//! The module `local-remote-execution`.
use super::MODULE;
use crate::starlark::{boolean, dict, list, text};
use lre_toolchain::{CcFacts, Family, Locked};
use std::collections::BTreeMap;

/// The same for every toolchain.
const CONFIG_RULE: &str = include_str!("cc_toolchain_config.bzl");

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

/// All files of the module, by path in the workspace.
pub(super) fn files(locked: &Locked, facts: &CcFacts) -> BTreeMap<String, String> {
    let head = format!(
        "# Generated from lre.lock: toolchain `{}`, {},\n# {}. Do not edit.\n",
        locked.name, facts.version, locked.digest
    );
    [
        ("BUILD", format!("{head}# The packages are below.\n")),
        ("WORKSPACE", format!("{head}workspace(name = \"{MODULE}\")\n")),
        (
            "MODULE.bazel",
            format!("{head}module(name = \"{MODULE}\", version = \"0\")\n\nbazel_dep(name = \"platforms\", version = \"0.0.10\")\n"),
        ),
        ("generated-cc/cc/BUILD", format!("{head}{}", cc(locked, facts))),
        ("generated-cc/cc/cc_toolchain_config.bzl", CONFIG_RULE.to_owned()),
        ("generated-cc/config/BUILD", format!("{head}{}", config(locked, facts))),
    ]
    .into_iter()
    .map(|(path, content)| (format!("{MODULE}/{path}"), content))
    .collect()
}

fn cc(locked: &Locked, facts: &CcFacts) -> String {
    let tools: BTreeMap<_, _> =
        TOOLS.into_iter().map(|(name, role)| (name, locked.tools.get(role).map_or(NO_TOOL, String::as_str))).collect();
    let mut include_directories = facts.cxx_include_directories.clone();
    let more = facts.c_include_directories.iter().filter(|d| !facts.cxx_include_directories.contains(d));
    include_directories.extend(more.cloned());
    let coverage: &[&str] = match facts.family {
        Family::Gcc => &["--coverage"],
        Family::Clang => &["-fprofile-instr-generate", "-fcoverage-mapping"],
    };
    let identifier = format!("lre-{}", locked.name);
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
    let empty: String = empty.iter().map(|name| format!("    {name} = \":empty\",\n")).collect();
    let attributes = [
        ("compile_flags", list(&facts.compile_flags)),
        ("compiler", text(facts.family.name())),
        ("coverage_flags", list(coverage)),
        ("cpu", text(cpu(&facts.triple).bazel)),
        ("cxx_flags", list(&facts.cxx_flags)),
        ("cxx_link_libraries", list(&facts.cxx_link_libraries)),
        ("dbg_compile_flags", list(&["-g"])),
        ("identifier", text(&identifier)),
        ("include_directories", list(&include_directories)),
        ("libc", text(&facts.libc)),
        ("link_flags", list(&facts.link_flags)),
        ("opt_compile_flags", list(&OPT_COMPILE_FLAGS)),
        ("opt_link_flags", list(&["-Wl,--gc-sections"])),
        ("start_end_lib", boolean(facts.start_end_lib).to_owned()),
        ("tags", list(&["manual"])),
        ("tools", dict(tools)),
        ("triple", text(&facts.triple)),
        ("unfiltered_compile_flags", list(&REDACTED)),
    ];
    let attributes: String = attributes.iter().map(|(name, value)| format!("    {name} = {value},\n")).collect();
    format!(
        "load(\":cc_toolchain_config.bzl\", \"cc_toolchain_config\")\n\n\
         package(default_visibility = [\"//visibility:public\"])\n\n\
         filegroup(\n    name = \"empty\",\n    srcs = [],\n)\n\n\
         cc_toolchain(\n    name = \"cc-compiler\",\n{empty}    supports_param_files = 1,\n    \
         tags = [\"manual\"],\n    toolchain_config = \":config\",\n    toolchain_identifier = {identifier},\n)\n\n\
         cc_toolchain_config(\n    name = \"config\",\n{attributes})\n",
        identifier = text(&identifier),
    )
}

fn config(locked: &Locked, facts: &CcFacts) -> String {
    let constraints = format!(
        "[\n        \"@platforms//cpu:{}\",\n        \"@platforms//os:linux\",\n    ]",
        cpu(&facts.triple).constraint
    );
    let (property, value) = locked.toolchain().property();
    // No parent: a host's platform would bring in what Bazel found on this machine.
    format!(
        "package(default_visibility = [\"//visibility:public\"])\n\n\
         platform(\n    name = \"platform\",\n    constraint_values = {constraints},\n    exec_properties = {},\n)\n\n\
         toolchain(\n    name = \"cc-toolchain\",\n    exec_compatible_with = {constraints},\n    tags = [\"manual\"],\n    \
         target_compatible_with = {constraints},\n    toolchain = \"//generated-cc/cc:cc-compiler\",\n    \
         toolchain_type = \"@bazel_tools//tools/cpp:toolchain_type\",\n)\n",
        dict([("OSFamily", "linux"), (&property, &value)])
    )
}

struct Cpu {
    /// In `--cpu` and `cc_toolchain`.
    bazel: &'static str,
    /// Below `@platforms//cpu`.
    constraint: &'static str,
}

fn cpu(triple: &str) -> Cpu {
    if triple.starts_with("aarch64") {
        Cpu { bazel: "aarch64", constraint: "aarch64" }
    } else {
        Cpu { bazel: "k8", constraint: "x86_64" }
    }
}
