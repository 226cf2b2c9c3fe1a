//! One invocation of a compiler, from its command line to its exit code.
use super::closure::Closure;
use super::deliver::Seen;
use super::record::Record;
use super::role::{Kind, Pinned};
use super::roots::{Roots, lexical};
use super::words::{Line, Mode, Word};
use super::{depfile, environment, questions, response, whole};
use crate::client::{ActionSpec, Client, ClientError, Executed, Inputs, Options, Prepared, split_hint};
use crate::commands::{Context, Done};
use crate::exit::{Exit, OrProblem, Problem};
use lre_model::ActionResult;
use lre_store::StoreError;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// How often the scan is shown more files before everything is: each time it has gone one header deeper.
const SCANS_MAX: usize = 200;

/// What the user asks for.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The compiler, by its name or path.
    pub compiler: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The lock file, where it is not the one above the working directory.
    pub lock: Option<PathBuf>,
    /// The workspace, and further directories whose files may be inputs.
    pub roots: Vec<PathBuf>,
    /// Of several toolchains this one.
    pub toolchain: Option<String>,
    /// Say on stderr what was done.
    pub verbose: bool,
}

/// What every action of one invocation needs.
pub struct Job<'a> {
    /// To the server.
    pub client: &'a Client,
    /// With what.
    pub pinned: &'a Pinned,
    /// The program in the sandbox.
    pub program: String,
    /// Where.
    pub roots: Roots,
}

/// What an action gave.
pub struct Given {
    /// How it went.
    pub executed: Executed,
    /// Its digest.
    pub action: String,
}

/// Runs `launch`.
///
/// # Errors
/// Whatever is not the compiler's own failure.
pub async fn run(launch: &Launch, context: &Context) -> Done {
    let begin = Instant::now();
    let mut record = Record { what: "compile".to_owned(), ..Record::default() };
    let done = go(launch, context, &mut record).await;
    record.milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    match &done {
        Ok(exit) => record.exit_code = exit.map_or(0, |exit| i32::from(exit.code())),
        Err(problem) => {
            (record.what, record.outcome) = ("refused".to_owned(), "failed".to_owned());
            record.reason = Some(problem.to_string());
            record.exit_code = i32::from(problem.exit().code());
        }
    }
    record.keep(context, launch.verbose);
    done
}

async fn go(launch: &Launch, context: &Context, record: &mut Record) -> Done {
    let here = std::env::current_dir().or_problem("the current directory cannot be found")?;
    let expanded = response::expand(launch.arguments.clone(), &here);
    let arguments = expanded.or_problem("a response file cannot be used")?;
    let line = Line::parse(&arguments);
    let more = environment::words(&launch.compiler, &line, |name| std::env::var(name).ok());
    let line = if more.is_empty() { line } else { Line::parse(&[&arguments[..], &more].concat()) };
    record.file = line.sources.first().or(line.output.as_ref()).unwrap_or(&launch.compiler).clone();
    let mut roots = Roots::find(&here, &launch.roots, line.sources.first().map(String::as_str));
    let (workspace, lock) = (roots.outside("src"), launch.lock.as_deref());
    let pinned = Pinned::find(context, &here, workspace.as_deref(), lock, launch.toolchain.as_deref())?;
    let client = context.connect().await?;
    let (program, kind) = pinned.program(&client, &launch.compiler).await?;
    for named in line.sources.iter().chain(&line.output).chain(line.dep.iter().filter_map(|dep| dep.file.as_ref())) {
        bring(&mut roots, named);
    }
    let job = Job { client: &client, pinned: &pinned, program, roots };
    if let Kind::Tool(tool) = kind {
        return whole::tool(&job, tool, &arguments, record).await;
    }
    if let Some((option, why)) = &line.refused {
        return Err(Problem::new(Exit::Run, format!("`{option}` cannot be used with lre cc"))
            .why(why)
            .hint("leave it out"));
    }
    match whole::reason(&line) {
        None => compile(&job, &line, record).await,
        Some(reason) => whole::driver(&job, &line, &reason, record).await,
    }
}

/// The directory of what was named on the command line and lies elsewhere: the user said it, so it is meant.
fn bring(roots: &mut Roots, named: &str) {
    let host = lexical(&roots.directory().join(named));
    if let Some(parent) = host.parent().filter(|parent| parent.parent().is_some() && !parent.starts_with("/dev")) {
        roots.also(parent);
    }
}

async fn compile(job: &Job<'_>, line: &Line, record: &mut Record) -> Done {
    let mut closure = Closure::of(line, &job.roots)?;
    if closure.has_directories() {
        closure.answer(&questions::of_toolchain(job).await?)?;
    }
    let mut needed = None;
    if closure.unknowable {
        record.reason = Some("what it reads is known to the compiler alone: it sees all directories".to_owned());
    } else {
        needed = scan(job, line, &mut closure, record).await?;
    }
    let read: Option<BTreeSet<String>> =
        needed.map(|paths| paths.iter().filter_map(|path| super::files::tidy(&closure.seen(path))).collect());
    let wanted =
        |path: &str, file: &super::files::Read| file.unlisted || read.as_ref().is_none_or(|read| read.contains(path));
    let inputs = closure.files.inputs(wanted)?;
    let mut seen = Seen::new(&job.roots);
    outputs(line, &mut seen);
    let given = job.act(&line.words, inputs, &seen, false).await?;
    finish(job, &seen, &closure.foreign, given, record).await
}

/// What the pinned compiler says that it reads. `None` where it cannot say: then the compile tells why.
async fn scan(
    job: &Job<'_>,
    line: &Line,
    closure: &mut Closure<'_>,
    record: &mut Record,
) -> Result<Option<Vec<String>>, Problem> {
    let words = line.scanning();
    record.scan = Some("hit".to_owned());
    for _ in 0..SCANS_MAX {
        let inputs = closure.files.inputs(|_, _| true)?;
        let given = job.act(&words, inputs, &Seen::new(&job.roots), false).await?;
        if !given.executed.cached {
            record.scan = Some("ran".to_owned());
        }
        if given.executed.failure.is_some() || given.executed.result.exit_code() != 0 {
            return Ok(None);
        }
        let (stdout, _) = job.client.streams(&given.executed.result).await?;
        let rules = depfile::parse(&String::from_utf8_lossy(&stdout));
        let read: Vec<_> = rules.into_iter().flat_map(|rule| rule.prerequisites).collect();
        if !closure.compare(&read)? {
            return Ok(Some(read));
        }
    }
    Ok(None)
}

/// What a compile writes: the object first.
fn outputs(line: &Line, seen: &mut Seen<'_>) {
    let source = line.sources.first().map_or("", String::as_str);
    let object = match (&line.output, line.mode) {
        (Some(output), _) => Some(output.clone()),
        (None, Mode::Check) => None,
        (None, mode) => Some(object_of(source, mode)),
    };
    let Some(object) = object else { return };
    seen.writes(&object, false);
    if let Some(dep) = &line.dep {
        seen.writes(&dep.file.clone().unwrap_or_else(|| with_suffix(&object, "d")), true);
    }
    for suffix in &line.beside {
        seen.writes(&with_suffix(&object, suffix), false);
    }
    for word in line.words.iter().filter(|word| word.part == super::words::Part::Output) {
        seen.writes(&word.value, false);
    }
}

/// Where a driver puts it that is not told: into the working directory; a precompiled header beside the header.
pub fn object_of(source: &str, mode: Mode) -> String {
    let name = source.rsplit('/').next().unwrap_or(source);
    let header = name.rsplit_once('.').is_some_and(|(_, e)| e.to_lowercase().starts_with('h') || e == "tcc");
    match mode {
        _ if header => format!("{source}.gch"),
        Mode::Assembly => with_suffix(name, "s"),
        _ => with_suffix(name, "o"),
    }
}

/// `path` with `suffix` in place of the last one of its name.
pub fn with_suffix(path: &str, suffix: &str) -> String {
    let (directory, name) = path.rsplit_once('/').map_or((None, path), |(directory, name)| (Some(directory), name));
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let name = format!("{stem}.{suffix}");
    directory.map_or(name.clone(), |directory| format!("{directory}/{name}"))
}

impl Job<'_> {
    /// Runs the program with these words, or finds what it gave.
    ///
    /// # Errors
    /// The server refuses, or stays away.
    pub async fn act(
        &self,
        words: &[Word],
        inputs: Inputs,
        seen: &Seen<'_>,
        do_not_cache: bool,
    ) -> Result<Given, Problem> {
        let mut arguments = vec![self.program.clone()];
        arguments.extend(seen.words(words));
        self.act_with(arguments, inputs, seen, do_not_cache).await
    }

    /// The same with a finished command.
    ///
    /// # Errors
    /// As [`Job::act`].
    pub async fn act_with(
        &self,
        arguments: Vec<String>,
        inputs: Inputs,
        seen: &Seen<'_>,
        do_not_cache: bool,
    ) -> Result<Given, Problem> {
        let directory = self.roots.working_directory().map_err(|outside| self.nowhere(&outside.0))?;
        self.act_in(&directory, arguments, inputs, seen, do_not_cache).await
    }

    /// The same in another working directory.
    ///
    /// # Errors
    /// As [`Job::act`].
    pub async fn act_in(
        &self,
        directory: &str,
        arguments: Vec<String>,
        inputs: Inputs,
        seen: &Seen<'_>,
        do_not_cache: bool,
    ) -> Result<Given, Problem> {
        let mut environment = self.pinned.toolchain.environment.clone();
        // Whoever sets it means the program; all else that compilers read from the environment is not theirs to see.
        environment
            .extend(std::env::var("SOURCE_DATE_EPOCH").ok().map(|epoch| ("SOURCE_DATE_EPOCH".to_owned(), epoch)));
        let spec = ActionSpec {
            arguments,
            environment,
            inputs,
            outputs: seen.outputs.iter().map(|output| output.requested.clone()).collect(),
            platform: self.pinned.platform(),
            working_directory: directory.to_owned(),
            do_not_cache,
            ..ActionSpec::default()
        };
        let prepared = spec.prepare()?;
        let action = prepared.action.0.to_string();
        let executed = known_or_run(self.client, &prepared, do_not_cache).await?;
        let executed = self.whole(&prepared, executed, seen).await?;
        Ok(Given { executed, action })
    }

    fn nowhere(&self, path: &Path) -> Problem {
        Problem::new(Exit::Run, format!("{} is in no directory of the workspace", path.display()))
            .why(format!("these are: {}", self.roots))
            .hint("lre cc --root DIR, or LRE_CC_ROOT=DIR")
    }

    /// What was whole when we asked may have lost an output since: then it is made again.
    async fn whole(&self, prepared: &Prepared, executed: Executed, seen: &Seen<'_>) -> Result<Executed, Problem> {
        match seen.deliver(self.client, &executed.result, self.pinned.lock.as_deref()).await {
            Err(ClientError::Store(StoreError::Missing(_))) if executed.cached => {
                let again = Options { skip_cache_lookup: true, ..Options::default() };
                self.client.upload(prepared).await?;
                let executed = self.client.execute(prepared, &again, &|_| {}).await?;
                seen.deliver(self.client, &executed.result, self.pinned.lock.as_deref()).await?;
                Ok(executed)
            }
            delivered => Ok(delivered.map(|()| executed)?),
        }
    }
}

async fn known_or_run(client: &Client, prepared: &Prepared, do_not_cache: bool) -> Result<Executed, Problem> {
    if !do_not_cache && let Some(result) = client.cached(prepared.action).await? {
        return Ok(Executed { result, cached: true, message: String::new(), failure: None });
    }
    Ok(client.run(prepared, &Options::default()).await?)
}

/// Tells what the command said, and how it ended.
///
/// # Errors
/// It has no exit code of its own: it was too slow, for example.
pub async fn finish(job: &Job<'_>, seen: &Seen<'_>, foreign: &[PathBuf], given: Given, record: &mut Record) -> Done {
    let Given { executed, action } = given;
    record.action = action;
    let code = executed.result.exit_code();
    record.outcome = match (executed.cached, code, &executed.failure) {
        (true, ..) => "hit",
        (false, 0, None) => "ran",
        (false, ..) => "failed",
    }
    .to_owned();
    let said = tell(job, &executed.result).await?;
    if let Some(failure) = &executed.failure {
        let (why, hint) = split_hint(&executed.message);
        let problem = Problem::new(Exit::Run, failure.message()).why(why);
        return Err(hint.map_or(Problem::new(Exit::Run, failure.message()), |hint| problem.hint(hint)));
    }
    if code == 0 {
        return Ok(None);
    }
    seen.withdraw();
    match on_this_machine(&said, foreign) {
        Some(path) => foreign_header(job, &path).print(),
        None if !executed.message.is_empty() => eprintln!("{}", executed.message),
        None => {}
    }
    Ok(Some(Exit::Command(u8::try_from(code & 0xff).unwrap_or(u8::MAX).max(1))))
}

/// Both streams, as the command wrote them, with this machine's paths; what was on stderr.
async fn tell(job: &Job<'_>, result: &Arc<ActionResult>) -> Result<String, Problem> {
    let (stdout, stderr) = job.client.streams(result).await?;
    let closed = "what the compiler said cannot be passed on";
    std::io::stdout().write_all(&job.roots.told(&stdout)).or_problem(closed)?;
    std::io::stdout().flush().or_problem(closed)?;
    std::io::stderr().write_all(&job.roots.told(&stderr)).or_problem(closed)?;
    Ok(String::from_utf8_lossy(&stderr).into_owned())
}

/// The header that the compiler misses, where this machine has it outside of the workspace.
fn on_this_machine(said: &str, foreign: &[PathBuf]) -> Option<PathBuf> {
    let gcc = |line: &str| {
        let (before, _) = line.split_once(": No such file or directory")?;
        Some(before.rsplit_once("fatal error: ")?.1.to_owned())
    };
    let clang = |line: &str| {
        let (before, _) = line.split_once("' file not found")?;
        Some(before.rsplit_once("fatal error: '")?.1.to_owned())
    };
    let name = said.lines().find_map(|line| gcc(line).or_else(|| clang(line)))?;
    let usual = ["/usr/include", "/usr/local/include"].map(PathBuf::from);
    foreign.iter().chain(&usual).map(|directory| directory.join(&name)).find(|path| path.is_file())
}

fn foreign_header(job: &Job<'_>, path: &Path) -> Problem {
    let toolchain = &job.pinned.toolchain.name;
    Problem::error(format!("{} is a header of this machine, which another does not have", path.display()))
        .why(format!("it is neither in the workspace ({}) nor in the toolchain `{toolchain}`", job.roots))
        .hint(format!(
            "pin a toolchain that has it: lre toolchain add {toolchain} --from deb:gcc,g++,PACKAGE --lock\nor say that its \
             directory belongs to the workspace: LRE_CC_ROOT=WORKSPACE:DIRECTORY"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_drivers() {
        assert_eq!(object_of("x/a.b.cc", Mode::Compile), "a.b.o");
        assert_eq!(object_of("x/a.c", Mode::Assembly), "a.s");
        assert_eq!(object_of("x/a.hpp", Mode::Compile), "x/a.hpp.gch");
        assert_eq!(with_suffix("d.e/a.cc.o", "d"), "d.e/a.cc.d");
        assert_eq!(with_suffix("d.e/a", "d"), "d.e/a.d");
    }

    #[test]
    fn a_missing_header_that_is_here_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("q.h"), "").unwrap();
        let foreign = [dir.path().to_owned()];
        let expected = Some(dir.path().join("q.h"));
        assert_eq!(on_this_machine("a.c:1:10: fatal error: q.h: No such file or directory\n", &foreign), expected);
        assert_eq!(on_this_machine("a.c:1:10: fatal error: 'q.h' file not found\n", &foreign), expected);
        assert_eq!(on_this_machine("a.c:1:10: fatal error: r.h: No such file or directory\n", &foreign), None);
    }
}
