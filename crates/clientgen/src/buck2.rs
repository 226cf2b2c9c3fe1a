//! Files for Buck2: an execution platform, a toolchain for C and C++ whose every step runs remotely, and configuration that
//! names them.
//!
//! `system_cxx_toolchain` of Buck2's prelude takes compilers of this machine and links and archives on it, whatever the
//! platform says. So the toolchain is a rule of ours, written for the prelude's providers as they were in 2024 and 2025;
//! a prelude that has changed them says which field it misses.
use crate::choice::Choice;
use crate::starlark::text as quoted;
use crate::starlark::{dict, list};
use crate::{Unsuitable, head};
use lre_toolchain::{CcFacts, Family};
use std::collections::BTreeMap;

/// The committed configuration, in the workspace.
pub const CONFIG: &str = "lre.buckconfig";
/// That of one user, in the workspace; never committed.
pub const LOCAL: &str = "lre.local.buckconfig";
/// What a project's `.buckconfig` needs.
pub const IMPORT_LINE: &str = "<file:lre.buckconfig>";

/// The package with platform and toolchain.
const PACKAGE: &str = "lre-buck2";
/// The rules; the values are in `BUCK`.
const RULES: &str = include_str!("buck2/defs.bzl");

/// All files to be committed.
pub(crate) fn files(choice: &Choice<'_>) -> Result<BTreeMap<String, String>, Unsuitable> {
    let people = [
        "A project's toolchains//:cxx is an alias of //lre-buck2:cxx; its .buckconfig ends with the line",
        IMPORT_LINE,
    ];
    let head = head::committed(&choice.main, &people);
    let config = format!(
        "{head}\n[buck2]\n# Else everything is named by SHA-1.\n  digest_algorithms = SHA256\n\n\
         [build]\n  execution_platforms = root//{PACKAGE}:platforms\n\n<?file:{LOCAL}>\n"
    );
    Ok(BTreeMap::from([
        (CONFIG.to_owned(), config),
        (format!("{PACKAGE}/BUCK"), format!("{head}\n{}", package(choice)?)),
        (format!("{PACKAGE}/defs.bzl"), format!("{head}\n{RULES}")),
    ]))
}

fn package(choice: &Choice<'_>) -> Result<String, Unsuitable> {
    let cc = choice.cc.as_ref().ok_or(Unsuitable::NoCompiler)?;
    let properties = choice.properties(&choice.main);
    let properties = dict(properties.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut text = format!(
        "load(\":defs.bzl\", \"lre_cxx_toolchain\", \"lre_platforms\")\n\n\
         lre_platforms(\n    name = \"platforms\",\n    properties = {properties},\n    visibility = [\"PUBLIC\"],\n)\n\n"
    );
    let tool = |role: &str| choice.tool(role).map_or_else(|| "None".to_owned(), quoted);
    let facts = cc.facts;
    text += &format!("lre_cxx_toolchain(\n    name = \"cxx\",\n    compiler_type = {},\n", quoted(family(facts)));
    for (attribute, role) in
        [("archiver", "ar"), ("c_compiler", "cc"), ("cxx_compiler", "c++"), ("nm", "nm"), ("objcopy", "objcopy")]
    {
        text += &format!("    {attribute} = {},\n", tool(role));
    }
    for (attribute, role) in [("objdump", "objdump"), ("ranlib", "ranlib"), ("strip", "strip")] {
        text += &format!("    {attribute} = {},\n", tool(role));
    }
    let cxx_flags = [facts.compile_flags.as_slice(), &facts.cxx_flags].concat();
    let link = [facts.link_flags.as_slice(), &facts.cxx_link_libraries].concat();
    for (attribute, flags) in [("c_flags", &facts.compile_flags), ("cxx_flags", &cxx_flags), ("link_flags", &link)] {
        text += &format!("    {attribute} = {},\n", list(flags));
    }
    Ok(text + "    visibility = [\"PUBLIC\"],\n)\n")
}

fn family(facts: &CcFacts) -> &'static str {
    match facts.family {
        Family::Clang => "clang",
        Family::Gcc => "gcc",
    }
}

/// The user's own file. Buck2 takes no `unix:` scheme, and TLS unless it is told otherwise.
pub(crate) fn local(tcp: &str, token: Option<&str>) -> String {
    let mut file = format!("{}\n[buck2_re_client]\n", head::LOCAL);
    for service in ["engine", "action_cache", "cas"] {
        file += &format!("  {service}_address = grpc://{tcp}\n");
    }
    file += "  tls = false\n  capabilities = true\n";
    if let Some(token) = token {
        file += &format!("  http_headers = authorization: Bearer {token}\n");
    }
    file
}
