//! The generated pages of docs/reference, compared with what the code says. `UPDATE=1` rewrites them.
use crate::args::Cli;
use crate::config::keys;
use crate::exit;
use clap::CommandFactory;
use std::fmt::Write;
use std::path::Path;

/// The help of every command, as it is printed on a terminal of 100 columns.
fn cli() -> String {
    let mut page = String::from(
        "# Command line\n\nThis page is what `--help` prints, for every command. stdout carries data, stderr progress \
         and errors; `--json`\ngives reports a `schema_version`. Colours obey `NO_COLOR` and `CLICOLOR_FORCE`. An error \
         says what happened, why, and\n`hint:` the next command.\n\n## Exit codes\n\n| code | meaning |\n|---|---|\n",
    );
    for (code, meaning) in exit::TABLE {
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

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}
