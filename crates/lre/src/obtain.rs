//! Makes sure that a toolchain that a lock file pins can be used.
use crate::commands::{Context, toolchain};
use crate::exit::{Exit, OrProblem, Problem};
use crate::holdings;
use crate::workshop::Workshop;
use lre_toolchain::{Access, Locked, Obtained, Source, ToolchainError, load_tree, obtain};
use std::sync::Arc;

/// Makes sure that it is installed here, or that the server that the user named has it: then nothing is needed here.
///
/// # Errors
/// It cannot be had, or what can be had is something else.
pub async fn have(context: &Context, locked: &Locked) -> Result<(), Problem> {
    if context.config.server.is_some() && served(context, locked).await? {
        return Ok(());
    }
    let registry = holdings::registry(context)?;
    let installed = registry.all().or_problem("cannot list the toolchains")?;
    if installed.iter().any(|t| t.digest == locked.digest && t.kind == locked.kind) {
        return Ok(());
    }
    install(context, locked, &holdings::access(context)?).await.map(drop)
}

/// Brings it into the store, from wherever it can be had, and registers it.
///
/// # Errors
/// As [`have`].
pub async fn install(context: &Context, locked: &Locked, access: &Access) -> Result<Obtained, Problem> {
    let built = locked.sources.iter().any(|source| source.parse::<Source>().is_ok_and(|source| source.is_built()));
    let workshop = Workshop::open(context, access.clone(), built).await?;
    let progress = Arc::new(toolchain::Shown::default());
    let obtained = obtain(&*workshop.store, locked, &workshop.access, progress.clone()).await;
    progress.clear();
    workshop.close().await;
    let obtained = obtained.map_err(|e| refused(locked, e))?;
    let registered = holdings::registry(context)?.put(&locked.toolchain());
    registered.or_problem("cannot register the toolchain")?;
    Ok(obtained)
}

async fn served(context: &Context, locked: &Locked) -> Result<bool, Problem> {
    match load_tree(&**context.connect().await?.store(), locked.digest).await {
        Ok(_) => Ok(true),
        Err(ToolchainError::Missing { .. }) => Ok(false),
        Err(e) => Err(refused(locked, e)),
    }
}

fn refused(locked: &Locked, e: ToolchainError) -> Problem {
    let what = format!("lre.lock pins the toolchain `{}`, {}, which is not installed here", locked.name, locked.digest);
    Problem::new(Exit::Toolchain, what).because(Box::new(e) as Box<dyn std::error::Error>).hint(format!(
        "get it from a machine that has it: lre toolchain fetch {0} --from ADDRESS, or lre toolchain import FILE; or pin \
         another: lre init --toolchain {0}={1}",
        locked.name,
        locked.toolchain().source
    ))
}
