//! The store of this machine, for commands that look into it or add to it: through the server where one
//! runs, else directly. One process at a time may have a store open.
use crate::client::Client;
use crate::commands::Context;
use crate::exit::{OrProblem, Problem};
use crate::instance::Instance;
use crate::token;
use lre_store::{BlobStore, DiskStore, OpenError};
use lre_toolchain::{Access, Registry};
use std::sync::Arc;

/// Opens the store of the configuration.
///
/// # Errors
/// The server does not answer, or the directory cannot be used.
pub async fn open(context: &Context) -> Result<Arc<dyn BlobStore>, Problem> {
    let store = &context.config.store;
    if let Some(endpoint) = Instance::running(store).and_then(|instance| instance.endpoint()) {
        return Ok(Client::connect(&endpoint, None).await?.store().clone());
    }
    Ok(Arc::new(open_here(context)?))
}

/// Opens the store of the configuration in this process.
///
/// # Errors
/// The directory cannot be used, as a rule because another process has it.
pub fn open_here(context: &Context) -> Result<DiskStore, Problem> {
    let store = &context.config.store;
    match DiskStore::open(store) {
        Ok(store) => Ok(store),
        Err(e) => {
            let hint = match &e {
                OpenError::InUse { .. } => "another command works on it: try again when it has ended",
                OpenError::Newer { .. } => "update lre, or choose another --store",
                OpenError::Foreign { .. } | OpenError::Io { .. } => "choose another --store",
            };
            let problem = Problem::error(format!("the store {} cannot be opened", store.display()));
            Err(problem.because(Box::new(e) as Box<dyn std::error::Error>).hint(hint))
        }
    }
}

/// The registry beside the store; made where it is not there.
///
/// # Errors
/// The directory cannot be made.
pub fn registry(context: &Context) -> Result<Registry, Problem> {
    let directory = context.config.store.join("toolchains/registry");
    Registry::open(&directory).or_problem(format!("cannot use {}", directory.display()))
}

/// How toolchains are fetched, as the configuration says. What waits for the store waits on its file system.
///
/// # Errors
/// There is a token for the peers, and it cannot be read.
pub fn access(context: &Context) -> Result<Access, Problem> {
    let config = &context.config;
    Ok(Access {
        debian_mirror: config.debian_mirror.clone(),
        nix_caches: config.nix_caches.clone(),
        nix_keys: config.nix_keys.clone(),
        peers: config.toolchain_peers.clone(),
        peer_token: peer_token(context)?,
        ..Access::at(config.store.join("toolchains/incoming"))
    })
}

/// What `toolchain_peers` want to be shown.
///
/// # Errors
/// The file cannot be read, or holds no token.
pub fn peer_token(context: &Context) -> Result<Option<String>, Problem> {
    context.config.toolchain_peer_token_file.as_deref().map(token::read).transpose()
}
