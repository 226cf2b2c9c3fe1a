//! Which toolchain a workspace gets, and what it is like.
use crate::commands::{Context, toolchain};
use crate::exit::{Exit, OrProblem, Problem};
use crate::session::Session;
use crate::{holdings, pinned, ui};
use lre_toolchain::{
    LockFile, Locked, Source, Toolchain, ToolchainError, Wanted, first_difference, introspect, load_tree,
};

/// A lock file in which the toolchain is pinned with everything that clients want to know.
pub struct Pinned {
    /// The whole of it.
    pub lock: LockFile,
    /// The toolchain that the client's files are for, where it was chosen by name.
    pub name: Option<String>,
}

/// The name of a toolchain that nobody named.
const DEFAULT_NAME: &str = "cc";

/// Pins what `asked` says: a source, or the name of an installed toolchain; without it, what is pinned
/// already, else the only one that is installed, else this machine's compiler.
///
/// # Errors
/// It cannot be had, is not what the lock says, or has no compiler that works.
pub async fn pin(context: &Context, mut lock: LockFile, asked: Option<&str>) -> Result<Pinned, Problem> {
    let (toolchain, name) = match asked {
        Some(text) => match text.parse::<Source>() {
            Ok(source) => (capture(context, name_for(&lock), source).await?, None),
            Err(_) => (named(context, text)?, Some(text.to_owned())),
        },
        None => match lock.toolchains() {
            [] => (installed_or_captured(context).await?, None),
            [one] => (have(context, one).await?, None),
            several => return all(context, several.to_vec(), lock.clone()).await,
        },
    };
    add(context, &mut lock, toolchain).await?;
    Ok(Pinned { lock, name })
}

/// Several are pinned: all must be there.
async fn all(context: &Context, locked: Vec<Locked>, mut lock: LockFile) -> Result<Pinned, Problem> {
    for locked in &locked {
        let toolchain = have(context, locked).await?;
        if toolchain.tools.contains_key("cc") {
            add(context, &mut lock, toolchain).await?;
        }
    }
    Ok(Pinned { lock, name: None })
}

fn name_for(lock: &LockFile) -> String {
    match lock.toolchains() {
        [one] => one.name.clone(),
        _ => DEFAULT_NAME.to_owned(),
    }
}

fn named(context: &Context, name: &str) -> Result<Toolchain, Problem> {
    pinned::choose_installed(context, name)
        .map_err(|problem| problem.why(format!("`{name}` is not a source either, such as {}", Source::DEFAULT)))
}

async fn installed_or_captured(context: &Context) -> Result<Toolchain, Problem> {
    let installed = pinned::installed(context)?;
    match installed.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            let default = Source::DEFAULT.parse().or_problem("the default source")?;
            capture(context, DEFAULT_NAME.to_owned(), default).await
        }
        several => {
            let names: Vec<_> = several.iter().map(|t| t.name.as_str()).collect();
            Err(Problem::new(Exit::Toolchain, format!("several toolchains are installed: {}", names.join(", ")))
                .hint(format!("lre init --toolchain {}", names[0])))
        }
    }
}

async fn capture(context: &Context, name: String, source: Source) -> Result<Toolchain, Problem> {
    let wanted = Wanted { name, kind: source.kinds()[0], source, also: Vec::new(), expected: None };
    Ok(toolchain::install(context, &wanted).await?.toolchain)
}

/// Makes sure that a pinned toolchain is installed here: it is, or its tree is in the store, or its
/// source still gives the same.
async fn have(context: &Context, locked: &Locked) -> Result<Toolchain, Problem> {
    let pinned = locked.toolchain();
    if context.config.server.is_some() && served(context, locked).await? {
        return Ok(pinned);
    }
    let registry = holdings::registry(context)?;
    let installed = registry.all().or_problem("cannot list the toolchains")?;
    if installed.iter().any(|t| t.digest == locked.digest && t.kind == locked.kind) {
        return Ok(pinned);
    }
    let store = holdings::open(context).await?;
    match load_tree(&*store, locked.digest).await {
        Ok((_tree, _hold)) => {}
        Err(ToolchainError::Missing { .. }) => {
            let source = pinned.pinned_source().map_err(|e| toolchain_problem(locked, &e))?;
            let expected = Some(locked.digest);
            let wanted = Wanted { name: locked.name.clone(), kind: locked.kind, source, also: Vec::new(), expected };
            let added = toolchain::import(&*store, &wanted, &holdings::access(context)).await?;
            let found = added.toolchain.digest;
            // Of the pinned tree the root may be here, though not all of it; then the path can be told.
            let path = first_difference(&*store, locked.digest, found).await.ok().flatten();
            locked.check(found, path).map_err(|e| toolchain_problem(locked, &e))?;
        }
        Err(e) => return Err(toolchain_problem(locked, &e)),
    }
    registry.put(&pinned).or_problem("cannot register the toolchain")?;
    Ok(pinned)
}

/// Whether the server that the user named has it: then nothing is needed here.
async fn served(context: &Context, locked: &Locked) -> Result<bool, Problem> {
    match load_tree(&**context.connect().await?.store(), locked.digest).await {
        Ok(_) => Ok(true),
        Err(ToolchainError::Missing { .. }) => Ok(false),
        Err(e) => Err(toolchain_problem(locked, &e)),
    }
}

fn toolchain_problem(locked: &Locked, e: &ToolchainError) -> Problem {
    Problem::new(Exit::Toolchain, format!("lre.lock pins the toolchain `{}`, which is not installed here", locked.name))
        .why(e)
        .hint(format!(
            "get it from a machine that has it; or pin this machine's: lre init --toolchain {}",
            locked.toolchain().source
        ))
}

/// Puts the toolchain into the lock with what is known of its compiler; asked in the sandbox, once.
async fn add(context: &Context, lock: &mut LockFile, toolchain: Toolchain) -> Result<(), Problem> {
    let known = lock.get(&toolchain.name).filter(|old| old.digest == toolchain.digest && !old.facts.is_empty());
    if known.is_some() {
        return Ok(());
    }
    let progress = ui::Progress::default();
    progress.show(&format!("asking the compiler of {} what it is like", toolchain.name));
    let session = Session::open(context).await?;
    let facts = introspect(&session.prober(&toolchain), &toolchain).await;
    session.close().await;
    progress.clear();
    let facts = facts.map_err(|e| {
        let problem = Problem::new(Exit::Toolchain, format!("the compiler of `{}` cannot be used", toolchain.name));
        match e {
            ToolchainError::NotFound { what, hint } => problem.why(format!("{what} was not found")).hint(hint),
            ToolchainError::Unfit(unfit) => problem.why(&unfit).hint(unfit.hint.clone()),
            e => problem.because(Box::new(e) as Box<dyn std::error::Error>),
        }
    })?;
    lock.put(Locked::new(&toolchain, facts));
    Ok(())
}
