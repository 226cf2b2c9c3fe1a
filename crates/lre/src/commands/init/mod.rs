//! `lre init`: from a toolchain to a workspace whose build client uses it.
mod drift;
mod pin;
mod plan;

use crate::args::{InitArgs, ToolchainGenerateArgs};
use crate::client::split_hint;
use crate::commands::{Context, Done, block_on, doctor};
use crate::exit::{Exit, OrProblem, Problem};
use crate::instance::Instance;
use crate::{paths, pinned, token, ui};
use lre_clientgen::{Unsuitable, bazel};
use lre_toolchain::LockFile;
use plan::Plan;
use serde_json::json;
use std::path::Path;

/// Runs `lre init`.
///
/// # Errors
/// A toolchain that cannot be had or is not what the lock says; files that cannot be written.
pub fn run(args: &InitArgs, context: &Context) -> Done {
    let here = std::env::current_dir().or_problem("the current directory cannot be found")?;
    let workspace = paths::workspace(&here).unwrap_or(here);
    let lock = LockFile::read(&workspace.join(pinned::LOCK));
    let lock = lock.map_err(|e| Problem::new(Exit::Toolchain, "the lock file cannot be used").why(e))?;
    let options =
        bazel::Options { prefix: prefix(args.prefix.as_deref(), context, &workspace)?, ..bazel::Options::default() };
    if args.check {
        return check(&workspace, lock, &options, context, args.json);
    }
    let mut lock = lock.unwrap_or_default();
    lock.set_policy(args.policy.unwrap_or(lock.policy()));
    let chosen = block_on(pin::pin(context, lock, &args.toolchain, !args.yes))?;
    let options = bazel::Options { toolchain: chosen.name, ..options };
    let mut plan = committed(&workspace, &chosen.lock, &options)?;
    local(&mut plan, args, context, &options)?;
    let changed: Vec<_> = plan.changed().iter().map(|file| file.path.clone()).collect();
    if !changed.is_empty() {
        agree(args, &plan)?;
        plan.write()?;
    }
    report(args, context, &workspace, &changed, &options)
}

/// `lre toolchain generate`: what is committed, from the lock file alone.
///
/// # Errors
/// No lock file, or one without a compiler; files that cannot be written.
pub fn generate(args: &ToolchainGenerateArgs, context: &Context) -> Done {
    let here = std::env::current_dir().or_problem("the current directory cannot be found")?;
    let workspace = paths::workspace(&here).unwrap_or(here);
    let lock = LockFile::read(&workspace.join(pinned::LOCK));
    let lock = lock.map_err(|e| Problem::new(Exit::Toolchain, "the lock file cannot be used").why(e))?;
    let lock = lock.ok_or_else(|| {
        Problem::new(Exit::Toolchain, format!("there is no lre.lock in {}", workspace.display())).hint("lre init")
    })?;
    let options =
        bazel::Options { prefix: prefix(args.prefix.as_deref(), context, &workspace)?, ..bazel::Options::default() };
    let plan = committed(&workspace, &lock, &options)?;
    let changed: Vec<_> = plan.changed().iter().map(|file| file.path.clone()).collect();
    plan.write()?;
    match (args.json, changed.as_slice()) {
        (true, _) => say!("{:#}", json!({ "schema_version": 1, "workspace": workspace, "written": changed })),
        (false, []) => eprintln!("all files are as lre.lock says"),
        (false, changed) => changed.iter().for_each(|file| say!("{file}")),
    }
    Ok(None)
}

/// `--check`: needs no server and no toolchain, so that any machine can do it; a server that runs is compared too.
fn check(workspace: &Path, lock: Option<LockFile>, options: &bazel::Options, context: &Context, json: bool) -> Done {
    let lock = lock.ok_or_else(|| {
        Problem::new(Exit::Finding, format!("there is no lre.lock in {}", workspace.display())).hint("lre init")
    })?;
    let plan = committed(workspace, &lock, options)?;
    let drifted: Vec<_> = plan.changed().iter().map(|file| file.path.clone()).collect();
    let server = drift::of_server(&lock, &plan, context)?;
    match json {
        true => say!("{:#}", json!({ "schema_version": 1, "drifted": drifted, "server": server.json() })),
        false => ui::out(format_args!("{}", plan.diff(ui::stdout_paint()))),
    }
    if let drift::Server::Absent = server {
        eprintln!("no server runs here, so none was compared");
    }
    let mut problems = Vec::new();
    if !drifted.is_empty() {
        problems.push(format!("drifted from lre.lock: {}", drifted.join(", ")));
    }
    problems.extend(server.problems());
    if problems.is_empty() {
        eprintln!("all files are as lre.lock says");
        return Ok(None);
    }
    let hint = if drifted.is_empty() { "lre toolchain fetch" } else { "lre init" };
    Err(Problem::new(Exit::Finding, problems.join("; ")).hint(hint))
}

/// What belongs into version control.
fn committed(workspace: &Path, lock: &LockFile, options: &bazel::Options) -> Result<Plan, Problem> {
    let mut plan = Plan::new(workspace);
    let files = bazel::files(lock, options).map_err(|e: Unsuitable| {
        let (why, hint) = split_hint(&e.to_string());
        let problem = Problem::new(Exit::Toolchain, why);
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem.hint("lre init --toolchain capture:/usr/bin/cc"),
        }
    })?;
    plan.file(pinned::LOCK, lock.to_text(), false)?;
    plan.files(files)?;
    plan.line(".bazelrc", bazel::IMPORT_LINE, |line| line.contains("import") && line.contains(bazel::RC))?;
    Ok(plan)
}

/// What is of this user and machine.
fn local(plan: &mut Plan, args: &InitArgs, context: &Context, options: &bazel::Options) -> Result<(), Problem> {
    let config = &context.config;
    let tcp = Instance::running(&config.store).and_then(|instance| instance.tcp).or(config.listen);
    let unix = config.socket.as_ref().map(|socket| format!("unix:{}", socket.display()));
    let endpoint = match &config.server {
        Some(crate::config::Endpoint::Tcp(authority)) => Some(authority.clone()),
        Some(unix) => Some(unix.to_string()),
        // TCP first: not every Bazel has a Unix transport.
        None => tcp.map(|address| address.to_string()).or(unix),
    };
    let endpoint = endpoint.ok_or_else(|| Problem::usage("neither `listen` nor `socket` is set"))?;
    let present = plan.present(bazel::LOCAL_RC)?.unwrap_or_default();
    // Who asked for the token once need not ask again.
    let wanted = args.token || present.contains("authorization=");
    let token = match (wanted, config.is_default("token_file")) {
        (false, _) => None,
        (true, true) => Some(token::own(&config.token_file)?),
        (true, false) => Some(token::read(&config.token_file)?),
    };
    let private = token.is_some();
    let text = bazel::local_rc(&bazel::Address { endpoint, token }, options.prefix.as_deref());
    plan.file(bazel::LOCAL_RC, text, private)?;
    if plan.present(".git/HEAD")?.is_some() {
        let line = format!("/{}", bazel::LOCAL_RC);
        plan.line(".gitignore", &line, |line| line.trim().trim_start_matches('/') == bazel::LOCAL_RC)?;
    }
    Ok(())
}

/// The name of the Bazel configuration: of the flag, else of the configuration where it was written,
/// else of the files that are there.
fn prefix(asked: Option<&str>, context: &Context, workspace: &Path) -> Result<Option<String>, Problem> {
    match asked {
        Some("none") => return Ok(None),
        Some(prefix) => return Ok(Some(prefix.to_owned())),
        None => {}
    }
    let present = std::fs::read_to_string(workspace.join(bazel::RC)).unwrap_or_default();
    let written = present.lines().find_map(written_prefix);
    match written {
        Some(prefix) if context.config.is_default("bazel_prefix") => Ok(prefix),
        _ => Ok(context.config.bazel_prefix.clone()),
    }
}

/// `Some(prefix)` of a line such as `build:lre --flag` or `build --flag`.
fn written_prefix(line: &str) -> Option<Option<String>> {
    let command = line.split_whitespace().next()?;
    match command.split_once(':') {
        Some(("build", prefix)) => Some(Some(prefix.to_owned())),
        None if command == "build" => Some(None),
        _ => None,
    }
}

fn agree(args: &InitArgs, plan: &Plan) -> Result<(), Problem> {
    eprint!("{}", plan.diff(ui::stderr_paint()));
    if args.yes {
        return Ok(());
    }
    match ui::ask("Write these?") {
        Some(true) => Ok(()),
        Some(false) => Err(Problem::error("nothing was written")),
        None => Err(Problem::error("nothing was written").why("there is no terminal to ask on").hint("lre init --yes")),
    }
}

fn report(args: &InitArgs, context: &Context, workspace: &Path, changed: &[String], options: &bazel::Options) -> Done {
    if args.json {
        let report =
            json!({ "schema_version": 1, "workspace": workspace, "written": changed, "prefix": options.prefix });
        say!("{report:#}");
        return Ok(None);
    }
    match changed {
        [] => eprintln!("all files are as they should be"),
        changed => eprintln!("wrote {} in {}", changed.join(", "), workspace.display()),
    }
    let mut next = missing_lines(workspace);
    if Instance::running(&context.config.store).is_none() {
        next.push("lre up".to_owned());
    }
    let flag = options.prefix.as_ref().map(|prefix| format!("--config={prefix} ")).unwrap_or_default();
    match doctor::bazel_program() {
        Some(bazel) => next.push(format!("{} build {flag}//...", bazel.file_name().unwrap_or_default().display())),
        None => next.push(format!("install Bazel; then: bazel build {flag}//...")),
    }
    for step in &next {
        eprintln!(" next: {}", step.trim_end().replace('\n', "\n       "));
    }
    Ok(None)
}

/// What the user's own files still need so that the module is found.
fn missing_lines(workspace: &Path) -> Vec<String> {
    let wanted = [
        ("MODULE.bazel", bazel::MODULE_LINES),
        ("WORKSPACE.bazel", bazel::WORKSPACE_LINES),
        ("WORKSPACE", bazel::WORKSPACE_LINES),
    ];
    let present = wanted.iter().filter_map(|(name, lines)| {
        let text = std::fs::read_to_string(workspace.join(name)).ok()?;
        Some((*name, *lines, text))
    });
    let present: Vec<_> = present.collect();
    if present.is_empty() {
        return vec![format!("make a MODULE.bazel with:\n{}", bazel::MODULE_LINES)];
    }
    let lacking = present.into_iter().filter(|(_, _, text)| !text.contains(bazel::MODULE));
    lacking.map(|(name, lines, _)| format!("add to {name}:\n{lines}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_remembered_by_the_files() {
        assert_eq!(written_prefix("build:lre --x"), Some(Some("lre".into())));
        assert_eq!(written_prefix("build --x"), Some(None));
        assert_eq!(written_prefix("# build:x"), None);
        assert_eq!(written_prefix(""), None);
    }

    #[test]
    fn the_lines_of_the_module_are_asked_for_where_they_are_missing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(missing_lines(dir.path())[0].starts_with("make a MODULE.bazel"));
        std::fs::write(dir.path().join("WORKSPACE"), "").unwrap();
        assert!(missing_lines(dir.path())[0].starts_with("add to WORKSPACE:\n"));
        std::fs::write(dir.path().join("WORKSPACE"), bazel::WORKSPACE_LINES).unwrap();
        assert!(missing_lines(dir.path()).is_empty());
    }
}
