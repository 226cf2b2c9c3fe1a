//! The generated pages of docs/reference, compared with what the code says. `UPDATE=1` rewrites them.
use crate::args::Cli;
use crate::config::keys;
use crate::exit::Exit;
use clap::CommandFactory;
use lre_model::{Network, Policy, Terms};
use std::fmt::Write;
use std::path::Path;

/// The exit codes of [`Exit`], for people.
const TABLE: &[(&str, &str)] = &[
    ("0", "it worked"),
    ("1", "an error"),
    ("2", "the command line or a configuration file is wrong"),
    (
        "10",
        "a finding: drift (`lre init --check`), a problem (`lre doctor`), a toolchain that is not whole, damage that was \
         repaired (`lre cache verify`), less freed than was asked for (`lre cache gc`)",
    ),
    ("20", "no server answers"),
    ("21", "the server is of another version"),
    ("30", "this machine cannot make the sandbox"),
    ("31", "a toolchain is missing, or is not what `lre.lock` says"),
    ("40", "somebody else's service (a mirror, a registry, a peer) does not answer"),
    ("125", "`lre run`: `lre` itself failed, not the command"),
    ("126, 127", "`lre run`: the command cannot be executed, or was not found"),
    ("128 + n", "`lre run`: the command was ended by signal n"),
    ("other", "`lre run`: the command's own"),
];

/// The help of every command, as it is printed on a terminal of 100 columns.
fn cli() -> String {
    let mut page = String::from(
        "# Command line\n\nThis page is what `--help` prints, for every command. stdout carries data, stderr progress \
         and errors; `--json`\ngives reports a `schema_version`. Colours obey `NO_COLOR` and `CLICOLOR_FORCE`. An error \
         says what happened, why, and\n`hint:` the next command.\n\n## Exit codes\n\n| code | meaning |\n|---|---|\n",
    );
    for (code, meaning) in TABLE {
        let _ = writeln!(page, "| {code} | {meaning} |");
    }
    let mut root = Cli::command().term_width(100);
    root.build();
    section(&mut page, &mut root, "lre");
    page
}

fn section(page: &mut String, command: &mut clap::Command, name: &str) {
    let help = command.render_long_help().to_string();
    let lines: Vec<_> = help.trim_end().lines().map(str::trim_end).collect();
    let _ = write!(page, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n"));
    let shown = |c: &&mut clap::Command| !c.is_hide_set();
    for sub in command.get_subcommands_mut().filter(shown) {
        let name = format!("{name} {}", sub.get_name());
        section(page, sub, &name);
    }
}

/// Compares `text` with the file of the repository.
fn golden(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    let diff = similar::TextDiff::from_lines(present.as_str(), text);
    let diff = diff.unified_diff().to_string();
    assert!(present == text, "{} has drifted; UPDATE=1 rewrites it\n{diff}", path.display());
}

#[test]
fn the_reference_pages_say_what_the_code_does() {
    golden("docs/reference/config.md", &keys::reference());
    golden("docs/reference/lre.schema.json", &format!("{:#}\n", keys::schema()));
    golden("docs/reference/cli.md", &cli());
}

/// Whoever adds a property, a policy or a network says what it costs.
#[test]
fn every_property_has_its_place_in_the_reference() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/platform.md");
    let page = std::fs::read_to_string(page).unwrap();
    let row = |name: &str| page.lines().any(|line| line.starts_with("| ") && line.contains(&format!("`{name}`")));
    let values = Policy::ALL.map(Policy::name).into_iter().chain(Network::ALL.map(Network::name));
    for name in Terms::PROPERTIES.into_iter().chain(values) {
        assert!(row(name), "docs/reference/platform.md has no row for `{name}`");
    }
    for property in &Terms::PROPERTIES[..4] {
        assert!(page.contains(&format!("\n## {property}\n")), "docs/reference/platform.md has no section {property}");
    }
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn codes_are_those_of_the_reference() {
    for exit in [Exit::Error, Exit::Usage, Exit::Finding, Exit::Unreachable, Exit::Version, Exit::Sandbox] {
        assert!(TABLE.iter().any(|(code, _)| *code == exit.code().to_string()), "{exit:?}");
    }
}
