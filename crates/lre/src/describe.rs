//! What a toolchain is like: asked in the sandbox, once, and kept in the lock file.
use crate::commands::Context;
use crate::exit::{Exit, Problem};
use crate::session::Session;
use crate::ui;
use lre_toolchain::{Facts, Manifest, Toolchain, ToolchainError, introspect, introspect_described};

/// Asks the tools of `toolchain`; with a manifest, also whether it is as that says.
///
/// # Errors
/// They do not work, or the sandbox does not.
pub async fn facts(context: &Context, toolchain: &Toolchain, manifest: Option<&Manifest>) -> Result<Facts, Problem> {
    let progress = ui::Progress::default();
    progress.show(&format!("asking the tools of {} what they are like", toolchain.name));
    let session = Session::open(context).await?;
    let prober = session.prober(toolchain);
    let facts = match manifest {
        Some(manifest) => introspect_described(&prober, toolchain, manifest).await,
        None => introspect(&prober, toolchain).await,
    };
    drop(prober);
    session.close().await;
    progress.clear();
    facts.map_err(|e| {
        let problem = Problem::new(Exit::Toolchain, format!("the toolchain `{}` cannot be used", toolchain.name));
        match e {
            ToolchainError::NotFound { what, hint } => problem.why(format!("{what} was not found")).hint(hint),
            ToolchainError::Unfit(unfit) => problem.why(&unfit).hint(unfit.hint.clone()),
            e => problem.because(Box::new(e) as Box<dyn std::error::Error>),
        }
    })
}
