//! `lre run`: any command as a cached, hermetic action.
use crate::args::RunArgs;
use crate::client::{
    ActionSpec, Client, ClientError, Executed, Inputs, Limits, Options, Prepared, Stage, split_hint, stream_digests,
};
use crate::commands::{Context, Done, block_on};
use crate::config::Written;
use crate::exit::{Exit, OrProblem, Problem};
use crate::{pinned, ui};
use lre_model::{ActionDigest, ActionResult, Network, Platform, Policy, ReadResource, RelPath, Terms};
use lre_proto::{protobuf, re};
use lre_store::StoreError;
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the current directory may hold when nobody named inputs.
const UNASKED: Limits = Limits { entries_max: 10_000, bytes_max: 1024 * 1024 * 1024 };
/// Never an input unless named: it changes without the sources changing.
const VERSION_CONTROL: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// Runs `lre run`.
///
/// # Errors
/// Whatever is not the command's own failure; 125 unless it has a code of its own.
pub fn run(args: &RunArgs, flags: &Written) -> Done {
    let ours = |problem: Problem| match problem.exit() {
        Exit::Error | Exit::Finding => problem.exiting(Exit::Run),
        _ => problem,
    };
    let context = Context::load(flags).map_err(ours)?;
    block_on(act(args, &context)).map_err(ours)
}

async fn act(args: &RunArgs, context: &Context) -> Done {
    if let Some(action) = &args.action {
        return again(args, context, action).await;
    }
    let here = std::env::current_dir().or_problem("the current directory cannot be found")?;
    let begin = Instant::now();
    let spec = spec(args, context, &here)?;
    let client = context.connect().await?;
    let prepared = client.prepare(spec).await?;
    let mut executed = execute(&client, &prepared, options(args)).await?;
    match client.download(&executed.result, &here).await {
        // The result was whole when we asked, and has lost an output since: it is made again.
        Err(ClientError::Store(StoreError::Missing(_))) if executed.cached => {
            executed = execute(&client, &prepared, Options { skip_cache_lookup: true, ..options(args) }).await?;
            client.download(&executed.result, &here).await?;
        }
        downloaded => drop(downloaded?),
    }
    let missing = missing_outputs(args, &executed.result);
    conclude(args, &client, &prepared, executed, &missing, begin).await
}

/// An action that the server has: somebody's build has failed, and its user wants to see how.
async fn again(args: &RunArgs, context: &Context, action: &str) -> Done {
    let begin = Instant::now();
    let named = ReadResource::parse(&format!("blobs/{action}")).map_err(|_| {
        Problem::usage(format!("`{action}` is not the digest of an action"))
            .hint("HASH/SIZE, as the message of a failure names it")
    })?;
    let client = context.connect().await?;
    let prepared = match client.known(ActionDigest(named.digest)).await {
        Err(ClientError::Store(StoreError::Missing(_))) => {
            return Err(Problem::error(format!("the server does not have the action {action}"))
                .why("what nobody has used for a while is dropped; another server never had it")
                .hint("build once more, the client sends it again; `--server WHERE` names another server"));
        }
        prepared => prepared?,
    };
    let executed = execute(&client, &prepared, Options { skip_cache_lookup: true, ..options(args) }).await?;
    conclude(args, &client, &prepared, executed, &[], begin).await
}

/// Tells what came of it.
async fn conclude(
    args: &RunArgs,
    client: &Client,
    prepared: &Prepared,
    executed: Executed,
    missing: &[String],
    begin: Instant,
) -> Done {
    let took = begin.elapsed();
    streams(client, &executed.result, args.json).await?;
    match args.json {
        true => say!("{}", report(prepared, &executed, missing, took)),
        false => eprintln!("{}", summary(prepared, &executed, took)),
    }
    // Beside a failure it is told with it.
    if executed.failure.is_none() && !executed.message.is_empty() && !args.json {
        eprintln!("{}", executed.message);
    }
    if let Some(failure) = executed.failure {
        return Err(failed(&failure, &executed.message));
    }
    match executed.result.exit_code() {
        0 if missing.is_empty() => Ok(None),
        0 => Err(Problem::error(format!("the command did not leave: {}", missing.join(", ")))
            .why("it ended with exit code 0 all the same")
            .hint("outputs are relative to the current directory, as the command sees it")),
        code => Ok(Some(Exit::Command(u8::try_from(code & 0xff).unwrap_or(u8::MAX).max(1)))),
    }
}

/// The command ran and has no exit code of its own: too slow, cancelled.
fn failed(status: &tonic::Status, message: &str) -> Problem {
    let (said, hint) = split_hint(message);
    let problem = Problem::new(Exit::Run, status.message());
    let problem = if said.is_empty() || said == status.message() { problem } else { problem.why(said) };
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

fn spec(args: &RunArgs, context: &Context, here: &Path) -> Result<ActionSpec, Problem> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Problem::usage(format!("`{text}` is not NAME=VALUE"))),
    };
    let toolchain = pinned::choose(context, here, args.toolchain.as_deref())?;
    // What the toolchain wants to have: of a closure of Nix, the PATH, which nobody else could know.
    let mut environment = toolchain.as_ref().map(|toolchain| toolchain.environment.clone()).unwrap_or_default();
    environment.extend(args.environment.iter().map(pair).collect::<Result<BTreeMap<_, _>, _>>()?);
    let mut properties = args.properties.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let pinned = pinned::lock(here)?.map(|(_, lock)| lock.policy());
    properties.extend(terms(args, pinned, &properties)?);
    properties.extend(toolchain.map(|toolchain| toolchain.property()));
    Ok(ActionSpec {
        arguments: args.command.clone(),
        environment,
        inputs: inputs(args, here, &context.config.store)?,
        outputs: args.outputs.iter().map(|path| relative(path, here)).collect::<Result<_, _>>()?,
        platform: Platform::new(properties),
        timeout: args.timeout.map(Duration::from_secs),
        ..ActionSpec::default()
    })
}

/// What the flags ask of the sandbox. The policy is always said, as in the files that are generated for others: a
/// server that knows nothing of policies refuses the action instead of running it under rules of its own.
fn terms(args: &RunArgs, pinned: Option<Policy>, more: &[(String, String)]) -> Result<Vec<(String, String)>, Problem> {
    let said = more.iter().any(|(name, _)| name == Terms::POLICY);
    // Two that differ are for the server to refuse, as it does with every other property.
    let policy = args.policy.or(if said { None } else { Some(pinned.unwrap_or_default()) });
    let host = args.network.as_deref() == Some(Network::Host.name());
    if host && policy == Some(Policy::Strict1) {
        return Err(Problem::usage("nothing is reachable under the determinism policy strict-1")
            .why("what comes from a network is in no digest, so its result could be found by those who would get another")
            .hint(format!("lre run --policy {} --network {}", Policy::Standard1, Network::Host)));
    }
    let policy = policy.map(|policy| (Terms::POLICY.to_owned(), policy.to_string()));
    let network = args.network.clone().map(|network| (Terms::NETWORK.to_owned(), network));
    Ok(policy.into_iter().chain(network).collect())
}

/// `path` as seen from the current directory, which becomes the input root.
fn relative(path: &str, here: &Path) -> Result<String, Problem> {
    let below = here.join(path);
    let text = below.strip_prefix(here).ok().and_then(Path::to_str);
    let path = text.and_then(|text| RelPath::parse(text).ok());
    path.map(|path| path.to_string()).ok_or_else(|| {
        Problem::usage(format!("`{}` is not below the current directory", below.display()))
            .why("the command sees the current directory as its input root, and nothing above it")
            .hint("cd to a directory that holds all inputs and outputs")
    })
}

fn inputs(args: &RunArgs, here: &Path, store: &Path) -> Result<Inputs, Problem> {
    let mut inputs = Inputs::default();
    if args.no_in {
        return Ok(inputs);
    }
    // An output of the last run is not an input of this one: it would be another action each time. What is
    // named in so many words is taken all the same.
    let outputs = args.outputs.iter().map(|path| relative(path, here)).collect::<Result<Vec<_>, _>>()?;
    let left_out = |path: &RelPath| {
        let name = path.segments().last().map_or("", String::as_str);
        let is_store = || store.strip_prefix(here).is_ok_and(|store| store == Path::new(&path.to_string()));
        VERSION_CONTROL.contains(&name) || outputs.contains(&path.to_string()) || is_store()
    };
    if args.inputs.is_empty() {
        inputs.add_tree("", here, UNASKED, &left_out)?;
    }
    for named in &args.inputs {
        let named = relative(named, here)?;
        let skip = |path: &RelPath| path.to_string() != named && left_out(path);
        inputs.add_tree(&named, &here.join(&named), Limits::NONE, &skip)?;
    }
    Ok(inputs)
}

fn options(args: &RunArgs) -> Options {
    // What is explained is run, so no known result is looked for.
    Options { skip_cache_lookup: args.no_cache || args.explain, explain: args.explain, ..Options::default() }
}

async fn execute(client: &Client, prepared: &Prepared, options: Options) -> Result<Executed, Problem> {
    let progress = ui::Progress::default();
    if !options.skip_cache_lookup {
        // A hit needs no upload: this look costs one round trip and saves all others.
        if let Some(result) = client.cached(prepared.action).await? {
            return Ok(Executed { result, cached: true, message: String::new(), failure: None });
        }
    }
    progress.show(&format!("sending {} files, {}", prepared.files, ui::bytes(prepared.bytes)));
    client.upload(prepared).await?;
    let watch = |stage: Stage| match stage {
        Stage::CacheCheck => {}
        Stage::Queued => progress.show("waiting for a slot"),
        Stage::Executing => progress.show("running"),
    };
    Ok(client.execute(prepared, &options, &watch).await?)
}

async fn streams(client: &Client, result: &Arc<ActionResult>, json: bool) -> Result<(), Problem> {
    let (stdout, stderr) = stream_digests(result)?;
    let wire = result.wire();
    let told = match json {
        true => client.copy_stream(&wire.stdout_raw, stdout, &mut io::stderr()).await,
        false => client.copy_stream(&wire.stdout_raw, stdout, &mut io::stdout()).await,
    };
    told?;
    Ok(client.copy_stream(&wire.stderr_raw, stderr, &mut io::stderr()).await?)
}

/// Outputs that were asked for and are not in the result. REAPI leaves them out without a word; here
/// somebody is waiting for them.
fn missing_outputs(args: &RunArgs, result: &ActionResult) -> Vec<String> {
    let wire = result.wire();
    let files = wire.output_files.iter().map(|f| &f.path);
    let directories = wire.output_directories.iter().map(|d| &d.path);
    let present: Vec<_> = files.chain(directories).chain(wire.output_symlinks.iter().map(|s| &s.path)).collect();
    let same = |path: &str, output: &str| PathBuf::from(path).components().eq(PathBuf::from(output).components());
    let here = std::env::current_dir().unwrap_or_default();
    let wanted = args.outputs.iter().map(|output| relative(output, &here).unwrap_or_else(|_| output.clone()));
    wanted.filter(|output| !present.iter().any(|path| same(path, output))).collect()
}

/// `ran 0.31s  (staged 214 files 4ms, exec 0.29s, stored 12ms)   action 5be1.../139`
fn summary(prepared: &Prepared, executed: &Executed, took: Duration) -> String {
    let paint = ui::stderr_paint();
    let action = paint.dim(&format!("action {}", ui::short(prepared.action.0)));
    let code = executed.result.exit_code();
    let word = match (executed.cached, code, &executed.failure) {
        (true, ..) => paint.good("hit"),
        (false, 0, None) => paint.good("ran"),
        (false, ..) => paint.bad("failed"),
    };
    let times = if executed.cached { String::new() } else { times(executed.result.wire(), prepared.files) };
    let code = if code == 0 { String::new() } else { format!("  exit {code}") };
    format!("{word} {}{times}{code}   {action}", ui::span(took))
}

fn times(result: &re::ActionResult, files: usize) -> String {
    let Some(m) = &result.execution_metadata else { return String::new() };
    let stage = |name: &str, start: &Option<protobuf::Timestamp>, end: &Option<protobuf::Timestamp>| {
        Some(format!("{name} {}", ui::span(between(start.as_ref()?, end.as_ref()?)?)))
    };
    let parts = [
        stage(&format!("staged {files} files"), &m.input_fetch_start_timestamp, &m.input_fetch_completed_timestamp),
        stage("exec", &m.execution_start_timestamp, &m.execution_completed_timestamp),
        stage("stored", &m.output_upload_start_timestamp, &m.output_upload_completed_timestamp),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("  ({})", parts.join(", ")) }
}

fn between(start: &protobuf::Timestamp, end: &protobuf::Timestamp) -> Option<Duration> {
    let nanos = |t: &protobuf::Timestamp| i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanos);
    u64::try_from(nanos(end) - nanos(start)).ok().map(Duration::from_nanos)
}

fn report(prepared: &Prepared, executed: &Executed, missing: &[String], took: Duration) -> serde_json::Value {
    json!({
        "schema_version": 1,
        "action": prepared.action.0,
        "command": prepared.command,
        "input_root": prepared.input_root.0,
        "cached": executed.cached,
        "exit_code": executed.result.exit_code(),
        "message": executed.message,
        "failure": executed.failure.as_ref().map(|status| status.message()),
        "input_files": prepared.files,
        "input_bytes": prepared.bytes,
        "missing_outputs": missing,
        "seconds": took.as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::DigestFunction;

    fn args(words: &[&str]) -> RunArgs {
        use clap::Parser;
        let words = ["lre", "run"].iter().chain(words).chain(&["--", "true"]);
        match crate::args::Cli::parse_from(words).command {
            Some(crate::args::Command::Run(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_stay_below_the_current_directory() {
        let here = Path::new("/w/here");
        for (path, expected) in [("a", "a"), ("./a//b", "a/b"), ("/w/here/c", "c"), ("a/../b", "b")] {
            assert_eq!(relative(path, here).unwrap(), expected);
        }
        for bad in ["../x", "/etc/passwd", "a/../../x"] {
            assert_eq!(relative(bad, here).unwrap_err().exit(), Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn the_policy_is_said_once_and_the_flag_comes_first() {
        let asked = |words: &[&str], pinned| {
            let args = args(words);
            let more: Vec<_> = args.properties.iter().filter_map(|p| p.split_once('=')).collect();
            let more: Vec<_> = more.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            let terms = terms(&args, pinned, &more)?;
            Ok::<_, Problem>(Platform::new(terms.into_iter().chain(more)).to_string())
        };
        let (compat, property) = (Some(Policy::Compat1), ["--property", "lre-policy=compat-1"]);
        for (words, pinned, expected) in [
            (&[][..], None, "lre-policy=strict-1"),
            (&[], compat, "lre-policy=compat-1"),
            (&["--policy", "standard-1"], compat, "lre-policy=standard-1"),
            (&property, None, "lre-policy=compat-1"),
            (&["--network", "host"], compat, "lre-network=host lre-policy=compat-1"),
            (&["--network", "loopback"], None, "lre-network=loopback lre-policy=strict-1"),
        ] {
            assert_eq!(asked(words, pinned).unwrap(), expected, "{words:?}");
        }
        let refused = asked(&["--network", "host"], None).unwrap_err();
        assert_eq!(refused.exit(), Exit::Usage);
        assert!(refused.to_string().contains("strict-1"), "{refused}");
        assert!(asked(&["--network", "host", "--policy", "strict-1"], compat).is_err());
        assert!(asked(&["--network", "host", property[0], property[1]], None).is_ok());
    }

    #[test]
    fn outputs_and_version_control_are_no_inputs() {
        let dir = tempfile::tempdir().unwrap();
        let with = |names: &[&str]| {
            for name in names {
                std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
                std::fs::write(dir.path().join(name), name).unwrap();
            }
            let inputs =
                inputs(&args(&["--out", "./a.o", "--out", "gen"]), dir.path(), &dir.path().join("s/lre")).unwrap();
            inputs.merkle(DigestFunction::Sha256).unwrap().root
        };
        let before = with(&["a.c", "lib/a.h"]);
        assert_eq!(with(&["a.o", "gen/x", ".git/HEAD", "s/lre/blob"]), with(&[]));
        std::fs::remove_dir_all(dir.path().join("s")).unwrap();
        assert_eq!(with(&[]), before);
        assert_ne!(with(&["b.c"]), before);
    }

    #[test]
    fn named_inputs_are_all_there_is() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.c", "b.c"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let files = |words: &[&str]| {
            inputs(&args(words), dir.path(), Path::new("/s")).unwrap().merkle(DigestFunction::Sha256).unwrap().files
        };
        assert_eq!((files(&["--in", "a.c"]), files(&["--no-in"]), files(&[])), (1, 0, 2));
        let output_named_too = ["--in", "a.c", "--in", "b.c", "--out", "b.c"];
        assert_eq!((files(&["--in", ".", "--out", "b.c"]), files(&output_named_too)), (1, 2));
        assert!(inputs(&args(&["--in", "c.c"]), dir.path(), Path::new("/s")).is_err());
    }

    #[test]
    fn what_was_promised_and_is_not_there_is_named() {
        let file = |path: &str| re::OutputFile {
            path: path.into(),
            digest: Some(lre_model::Digest::empty(DigestFunction::Sha256).to_wire()),
            ..Default::default()
        };
        let wire = re::ActionResult { output_files: vec![file("a"), file("d/b")], ..Default::default() };
        let result = ActionResult::from_wire(DigestFunction::Sha256, wire).unwrap();
        assert_eq!(missing_outputs(&args(&["--out", "./a", "--out", "d//b", "--out", "c"]), &result), ["c"]);
    }

    #[test]
    fn times_come_from_the_worker() {
        let at = |nanos| Some(protobuf::Timestamp { seconds: 1, nanos });
        let metadata = re::ExecutedActionMetadata {
            input_fetch_start_timestamp: at(0),
            input_fetch_completed_timestamp: at(4_000_000),
            execution_start_timestamp: at(4_000_000),
            execution_completed_timestamp: at(294_000_000),
            ..Default::default()
        };
        let result = re::ActionResult { execution_metadata: Some(metadata), ..Default::default() };
        assert_eq!(times(&result, 214), "  (staged 214 files 4ms, exec 0.29s)");
        assert_eq!(times(&re::ActionResult::default(), 1), "");
    }
}
