//! `lre demo`: the main job with nothing installed, on a private server in a temporary directory.
mod build;
mod leaks;
mod project;
mod second;

use crate::args::DemoArgs;
use crate::client::{Client, Options};
use crate::commands::Done;
use crate::config::Endpoint;
use crate::exit::{OrProblem, Problem};
use crate::ui::{self, Progress, span};
use build::{Builder, Built};
use lre_model::DigestFunction;
use lre_server::compose::Server;
use lre_toolchain::{Access, Added, Kind, Registry, Source, Stage, Wanted};
use project::Project;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the demo saw.
struct Seen {
    added: Added,
    capture: Duration,
    cold: Built,
    warm: Built,
    elsewhere: Built,
    attempts: Vec<leaks::Attempt>,
    again: Again,
}

/// One action, executed once more although its result is known.
struct Again {
    name: String,
    identical: bool,
    elapsed: Duration,
}

/// Runs the demo.
///
/// # Errors
/// Anything that does not go as promised: a demo that only looks good is worth nothing.
pub fn run(args: &DemoArgs) -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.or_problem("the event loop cannot be started")?;
    runtime.block_on(async { if args.as_second_person { second::be().await } else { all().await } })?;
    Ok(None)
}

async fn all() -> Result<(), Problem> {
    let progress = Arc::new(Progress::default());
    let start = Instant::now();
    let directory = tempfile::Builder::new().prefix("lre-demo-").tempdir().or_problem("no temporary directory")?;
    let socket = directory.path().join("run/re.sock");
    progress.show("starting a private server");
    let server = start_server(directory.path(), &socket).await?;
    let seen = see(&progress, directory.path(), &socket).await;
    server.shutdown().await;
    progress.clear();
    let seen = seen?;
    print!("{}", table(&seen, start.elapsed()));
    verdict(&seen)
}

async fn see(progress: &Arc<Progress>, directory: &Path, socket: &Path) -> Result<Seen, Problem> {
    let client = Client::connect(&Endpoint::Unix(socket.to_owned()), None).await?;
    let project = Project::embedded()?;
    let first = directory.join("first/project");
    Project::unpack(&first)?;

    let start = Instant::now();
    let added = capture(&client, progress, directory).await?;
    let (capture, toolchain) = (start.elapsed(), added.toolchain.clone());
    progress.done(&format!("toolchain  {} files captured in {}", added.imported.files, span(capture)));

    let builder = Builder { client: &client, project: &project, directory: &first, toolchain: &toolchain, progress };
    let cold = builder.build("cold").await?;
    let (actions, units) = (cold.steps.len(), project.units());
    progress.done(&format!("cold       {actions} actions, {units} of them compiles, in {}", span(cold.elapsed)));
    let warm = builder.build("warm").await?;
    progress.done(&format!("warm       {} hits in {}", warm.hits(), span(warm.elapsed)));

    progress.show("second home");
    let home = directory.join("second home");
    let elsewhere = {
        let (socket, toolchain) = (socket.to_owned(), toolchain.clone());
        let work = move || second::build_elsewhere(&home, &socket, &toolchain);
        tokio::task::spawn_blocking(work).await.or_problem("the second person's build")??
    };
    progress.done(&format!("elsewhere  {} hits in {}", elsewhere.hits(), span(elsewhere.elapsed)));

    progress.show("trying to get out");
    let attempts = leaks::probe(&client, &toolchain, directory, socket).await?;
    progress.show("executing one action again");
    let again = again(&builder, &cold).await?;
    Ok(Seen { added, capture, cold, warm, elsewhere, attempts, again })
}

async fn start_server(directory: &Path, socket: &Path) -> Result<Server, Problem> {
    std::fs::create_dir(directory.join("run")).or_problem("no temporary directory")?;
    let program = crate::machine::this_program()?;
    let options = lre_server::compose::Options {
        store: directory.join("store"),
        store_bytes_max: None,
        slots: std::thread::available_parallelism().map_or(2, usize::from),
        tcp: None,
        socket: Some(socket.to_owned()),
        token: None,
        default_toolchain: None,
        accepted_properties: Vec::new(),
        toolchain_peers: Vec::new(),
        peer_token: None,
        launcher: lre_worker::LauncherProgram { program, arguments: vec!["launcher".to_owned()] },
        action_timeout_default: Duration::from_secs(300),
        action_timeout_max: Duration::from_secs(300),
        action_limits: lre_worker::ExecutionLimits::of_this_machine().or_problem("how much memory is there?")?,
        cgroup: None,
    };
    Server::start(options).await.or_problem("the private server does not start")
}

/// Freezes this machine's C++ compiler into the private store.
async fn capture(client: &Client, progress: &Arc<Progress>, directory: &Path) -> Result<Added, Problem> {
    let wanted = Wanted {
        name: "cc".to_owned(),
        kind: Kind::Rootfs,
        source: Source::DEFAULT.parse().or_problem("the default source")?,
        also: Vec::new(),
        expected: None,
    };
    let access = Access::at(directory.join("incoming"));
    let heard = Arc::new(Shown(Arc::clone(progress)));
    let added = lre_toolchain::add(client.store().as_ref(), DigestFunction::Sha256, &wanted, &access, heard)
        .await
        .or_problem("this machine's compiler cannot be captured")
        .map_err(|problem| problem.hint("the demo needs a C++ compiler as /usr/bin/cc (on Debian: apt install g++)"))?;
    let registry = Registry::open(directory.join("store/toolchains/registry")).or_problem("no registry")?;
    registry.put(&added.toolchain).or_problem("the toolchain cannot be registered")?;
    Ok(added)
}

/// Shows how far capturing has come.
struct Shown(Arc<Progress>);

impl lre_toolchain::Progress for Shown {
    fn update(&self, stage: Stage, done: u64, total: u64) {
        self.0.show(&match stage {
            Stage::Finding => format!("capturing this machine's compiler: {done} files"),
            Stage::Hashing => format!("hashing: {} of {}", ui::bytes(done), ui::bytes(total)),
            Stage::Storing => format!("storing: {} of {}", ui::bytes(done), ui::bytes(total)),
            Stage::Fetching | Stage::Unpacking => format!("fetching: {}", ui::bytes(done)),
            Stage::Materialising => format!("laying out: {done} of {total} files"),
        });
    }
}

/// Executes the slowest compile once more, past the cache, and compares what it leaves.
async fn again(builder: &Builder<'_>, cold: &Built) -> Result<Again, Problem> {
    let [compiles, ..] = builder.project.stages(builder.toolchain)?;
    let step = compiles.last().ok_or_else(|| Problem::error("the example has no translation unit"))?;
    let start = Instant::now();
    let prepared = builder.prepare(step, &std::collections::BTreeMap::new()).await?;
    let options = Options { skip_cache_lookup: true, ..Options::default() };
    let executed = builder.client.run(&prepared, &options).await?;
    if executed.cached {
        return Err(Problem::error("an action that was to be executed again came from the cache"));
    }
    let done = build::done(builder.client, step, &prepared, &executed).await?;
    let identical = cold.steps.get(&step.name).is_some_and(|first| first.output == done.output);
    Ok(Again { name: step.name.clone(), identical, elapsed: start.elapsed() })
}

fn table(seen: &Seen, total: Duration) -> String {
    let actions = seen.cold.steps.len();
    let row = |what: &str, time: &str, said: String| format!("  {what:<22} {time:>8}   {said}\n");
    let build = |built: &Built| format!("{} executed, {} hits", actions - built.hits(), built.hits());
    let elsewhere = &seen.elsewhere;
    let mut text = format!(
        "\n{} {}\n",
        ui::stdout_paint().bold("toolchain"),
        format_args!("{} captured, not rebuilt: {}", seen.added.toolchain.name, seen.added.toolchain.digest)
    );
    let files = format!("{} files, {}", seen.added.imported.files, ui::bytes(seen.added.imported.bytes));
    text += &row("capture", &span(seen.capture), files);
    text += &row("cold", &span(seen.cold.elapsed), build(&seen.cold));
    text += &row("warm", &span(seen.warm.elapsed), build(&seen.warm));
    text += &row(
        "second home",
        &span(elsewhere.elapsed),
        format!("{}, {} of {actions} action digests differ", build(elsewhere), seen.cold.differences(elsewhere)),
    );
    let same = if seen.again.identical { "bit for bit the same" } else { "DIFFERENT" };
    text += &row("executed again", &span(seen.again.elapsed), format!("{}: {same}", seen.again.name));
    let blocked = seen.attempts.iter().filter(|attempt| attempt.blocked).count();
    text += &row("attempts to get out", "", format!("{blocked} of {} blocked", seen.attempts.len()));
    for attempt in &seen.attempts {
        text += &format!("      {:<10} {}\n", if attempt.blocked { "blocked" } else { "OPEN" }, attempt.what);
    }
    text += &row("all", &span(total), "nothing was installed, nothing is left".to_owned());
    text
}

/// Exit code 0 is a promise too.
fn verdict(seen: &Seen) -> Result<(), Problem> {
    let actions = seen.cold.steps.len();
    let broken = [
        (seen.cold.hits() == 0, "the cold build hit a cache that should have been empty"),
        (seen.warm.hits() == actions, "the warm build was not all hits"),
        (seen.elsewhere.hits() == actions, "the second person's build was not all hits"),
        (seen.cold.differences(&seen.elsewhere) == 0, "action digests differ between two homes"),
        (seen.attempts.iter().all(|attempt| attempt.blocked), "something got out of the sandbox"),
        (seen.again.identical, "the same action gave another output"),
    ];
    match broken.iter().find(|(kept, _)| !kept) {
        None => Ok(()),
        Some((_, what)) => Err(Problem::error(what)),
    }
}
