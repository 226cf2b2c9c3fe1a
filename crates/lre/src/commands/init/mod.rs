//! `lre init`: from a toolchain to a workspace whose build clients use it.
mod drift;
mod next;
mod pin;
mod plan;

use crate::args::{InitArgs, ToolchainGenerateArgs};
use crate::client::split_hint;
use crate::commands::{Context, Done, block_on};
use crate::exit::{Exit, OrProblem, Problem};
use crate::instance::Instance;
use crate::{paths, pinned, token, ui};
use lre_clientgen::{Addresses, Client, Options, Unsuitable, bazel};
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
    let options = Options { prefix: prefix(args.prefix.as_deref(), context, &workspace)?, ..Options::default() };
    let clients = chosen_clients(&args.client, &workspace);
    if args.check {
        return check(&workspace, lock, &clients, &options, context, args.json);
    }
    let mut lock = lock.unwrap_or_default();
    lock.set_policy(args.policy.unwrap_or(lock.policy()));
    let chosen = block_on(pin::pin(context, lock, &args.toolchain, !args.yes))?;
    let options = Options { toolchain: chosen.name, ..options };
    let mut plan = committed(&workspace, &chosen.lock, &clients, &options)?;
    local(&mut plan, args, &clients, context, &options)?;
    let changed: Vec<_> = plan.changed().iter().map(|file| file.path.clone()).collect();
    if !changed.is_empty() {
        agree(args, &plan)?;
        plan.write()?;
    }
    report(args, context, &workspace, &changed, &clients, &options)
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
    let options = Options { prefix: prefix(args.prefix.as_deref(), context, &workspace)?, ..Options::default() };
    let plan = committed(&workspace, &lock, &chosen_clients(&[], &workspace), &options)?;
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
fn check(
    workspace: &Path,
    lock: Option<LockFile>,
    clients: &[Client],
    options: &Options,
    context: &Context,
    json: bool,
) -> Done {
    let lock = lock.ok_or_else(|| {
        Problem::new(Exit::Finding, format!("there is no lre.lock in {}", workspace.display())).hint("lre init")
    })?;
    let plan = committed(workspace, &lock, clients, options)?;
    let drifted: Vec<_> = plan.changed().iter().map(|file| file.path.clone()).collect();
    let server = drift::of_server(&lock, &plan, clients, context)?;
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

/// The clients that the user names, else those whose files are there, else Bazel.
fn chosen_clients(asked: &[Client], workspace: &Path) -> Vec<Client> {
    let there = |client: &Client| workspace.join(client.mark()).exists();
    let mut clients: Vec<_> = match asked {
        [] => Client::ALL.into_iter().filter(there).collect(),
        asked => asked.to_vec(),
    };
    if clients.is_empty() {
        clients.push(Client::Bazel);
    }
    clients.sort_unstable();
    clients.dedup();
    clients
}

/// What belongs into version control.
fn committed(workspace: &Path, lock: &LockFile, clients: &[Client], options: &Options) -> Result<Plan, Problem> {
    let mut plan = Plan::new(workspace);
    plan.file(pinned::LOCK, lock.to_text(), false)?;
    for client in clients {
        plan.files(client.files(lock, options).map_err(unsuitable)?)?;
        if let Some(import) = client.import() {
            let does = |line: &str| !line.trim_start().starts_with('#') && line.contains(import.known_by);
            plan.line(import.file, import.line, does)?;
        }
    }
    Ok(plan)
}

fn unsuitable(e: Unsuitable) -> Problem {
    let exit = match e {
        Unsuitable::Nowhere | Unsuitable::NoTcp(_) => Exit::Usage,
        _ => Exit::Toolchain,
    };
    let (why, hint) = split_hint(&e.to_string());
    Problem::new(exit, why).hint(hint.unwrap_or_else(|| "lre init --toolchain capture:/usr/bin/cc".to_owned()))
}

/// What is of this user and machine.
fn local(
    plan: &mut Plan,
    args: &InitArgs,
    clients: &[Client],
    context: &Context,
    options: &Options,
) -> Result<(), Problem> {
    let mut addresses = addresses(plan.workspace(), context);
    for client in clients {
        let Some(path) = client.local_file() else { continue };
        let present = plan.present(path)?.unwrap_or_default();
        // Who asked for the token once need not ask again.
        let wanted = args.token || present.contains("Bearer ");
        addresses.token = match (wanted, context.config.is_default("token_file")) {
            (false, _) => None,
            (true, true) => Some(token::own(&context.config.token_file)?),
            (true, false) => Some(token::read(&context.config.token_file)?),
        };
        let text = client.local(&addresses, options).map_err(unsuitable)?;
        plan.file(path, text, addresses.token.is_some())?;
        if plan.present(".git/HEAD")?.is_some() {
            plan.line(".gitignore", &format!("/{path}"), |line| line.trim().trim_start_matches('/') == path)?;
        }
    }
    Ok(())
}

/// Where the server is: the one that runs, else as it is configured.
fn addresses(workspace: &Path, context: &Context) -> Addresses {
    let config = &context.config;
    let mut addresses = Addresses { workspace: workspace.display().to_string(), ..Addresses::default() };
    match &config.server {
        Some(crate::config::Endpoint::Tcp(authority)) => addresses.tcp = Some(authority.clone()),
        Some(crate::config::Endpoint::Unix(path)) => addresses.unix = Some(path.display().to_string()),
        None => {
            let tcp = Instance::running(&config.store).and_then(|instance| instance.tcp).or(config.listen);
            addresses.tcp = tcp.map(|address| address.to_string());
            addresses.unix = config.socket.as_ref().map(|socket| socket.display().to_string());
        }
    }
    addresses
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

fn report(
    args: &InitArgs,
    context: &Context,
    workspace: &Path,
    changed: &[String],
    clients: &[Client],
    options: &Options,
) -> Done {
    if args.json {
        let clients: Vec<_> = clients.iter().map(|client| client.name()).collect();
        let report = json!({
            "schema_version": 1,
            "workspace": workspace,
            "clients": clients,
            "written": changed,
            "prefix": options.prefix,
        });
        say!("{report:#}");
        return Ok(None);
    }
    match changed {
        [] => eprintln!("all files are as they should be"),
        changed => eprintln!("wrote {} in {}", changed.join(", "), workspace.display()),
    }
    let up = Instance::running(&context.config.store).is_none().then(|| "lre up".to_owned());
    for step in up.into_iter().chain(next::steps(clients, workspace, options)) {
        eprintln!(" next: {}", step.trim_end().replace('\n', "\n       "));
    }
    Ok(None)
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
    fn clients_are_those_named_else_those_there_else_bazel() {
        let dir = tempfile::tempdir().unwrap();
        let asked = [Client::Recc, Client::Bazel, Client::Recc];
        assert_eq!(chosen_clients(&asked, dir.path()), [Client::Bazel, Client::Recc]);
        assert_eq!(chosen_clients(&[], dir.path()), [Client::Bazel]);
        let mark = dir.path().join(Client::Recc.mark());
        std::fs::create_dir_all(mark.parent().unwrap()).unwrap();
        std::fs::write(mark, "").unwrap();
        assert_eq!(chosen_clients(&[], dir.path()), [Client::Recc]);
    }
}
