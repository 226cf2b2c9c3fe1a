//! A toolchain that a lock file pins, from wherever it can be had (TOOLCHAINS 3): the store of this machine, a peer
//! by digest, then the sources of the lock in order of trial. Whoever gives it, it is what is pinned or it is refused.
use crate::access::Access;
use crate::copy::copy_tree;
use crate::difference::first_difference;
use crate::error::{ToolchainError, Tried};
use crate::import::Imported;
use crate::lock::Locked;
use crate::materialise::load_tree;
use crate::progress::Progress;
use crate::scratch::Scratch;
use crate::sources::{Cas, Source, Wanted, add};
use lre_store::BlobStore;
use std::fmt;
use std::sync::Arc;

/// A pinned toolchain that is in the store. Register [`Locked::toolchain`] while `imported.hold` lives.
#[derive(Debug)]
pub struct Obtained {
    /// Who had it.
    pub place: Place,
    /// The tree.
    pub imported: Imported,
    /// Who was asked before, and why they could not help.
    pub tried: Vec<Tried>,
}

/// Where a toolchain was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// It was in the store already.
    Store,
    /// A peer of [`Access::peers`].
    Peer(String),
    /// A source of the lock file.
    Source(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("the store"),
            Self::Peer(name) | Self::Source(name) => f.write_str(name),
        }
    }
}

/// Brings a pinned toolchain into the store.
///
/// # Errors
/// [`ToolchainError::Nowhere`] with everything that was tried; [`ToolchainError::Store`] where the store itself fails,
/// which ends the trying.
pub async fn obtain(
    store: &dyn BlobStore,
    locked: &Locked,
    access: &Access,
    progress: Arc<dyn Progress>,
) -> Result<Obtained, ToolchainError> {
    match load_tree(store, locked.digest).await {
        Ok((tree, hold)) => {
            let imported = Imported::of_tree(&tree, Vec::new(), hold);
            return Ok(Obtained { place: Place::Store, imported, tried: Vec::new() });
        }
        Err(ToolchainError::Missing { .. }) => {}
        Err(e) => return Err(e),
    }
    let peers = access.peers.iter().cloned().map(Place::Peer);
    let places = peers.chain(locked.sources.iter().cloned().map(Place::Source));
    let mut tried = Vec::new();
    for place in places {
        let imported = match &place {
            Place::Peer(address) => from_peer(store, locked, address, access, &*progress).await,
            Place::Source(text) => from_source(store, locked, text, access, progress.clone()).await,
            Place::Store => continue,
        };
        match imported {
            Ok(imported) => return Ok(Obtained { place, imported, tried }),
            // A disk that is full is full for all of them.
            Err(e @ ToolchainError::Store(_)) => return Err(e),
            Err(e) => tried.push(Tried { source: place.to_string(), problem: Box::new(e) }),
        }
    }
    Err(ToolchainError::Nowhere { name: locked.name.clone(), digest: locked.digest, tried })
}

async fn from_peer(
    store: &dyn BlobStore,
    locked: &Locked,
    address: &str,
    access: &Access,
    progress: &dyn Progress,
) -> Result<Imported, ToolchainError> {
    let refused = |problem| ToolchainError::Source { text: address.to_owned(), problem: Some(problem) };
    let peer: Cas = address.parse().map_err(refused)?;
    let scratch = Scratch::new(&access.directory)?;
    let upstream = peer.connect(access).await?.with_staging(scratch.staging.clone());
    copy_tree(&upstream, store, locked.digest, progress).await
}

async fn from_source(
    store: &dyn BlobStore,
    locked: &Locked,
    text: &str,
    access: &Access,
    progress: Arc<dyn Progress>,
) -> Result<Imported, ToolchainError> {
    let source = text.parse::<Source>()?.with_recipe(&locked.recipe)?;
    let wanted = Wanted {
        name: locked.name.clone(),
        kind: locked.kind,
        source,
        also: Vec::new(),
        expected: Some(locked.digest),
    };
    let added = add(store, locked.digest.function(), &wanted, access, progress).await?;
    let found = added.toolchain.digest;
    if found != locked.digest {
        // While what was found is held. Of the pinned tree some of the directories may be here.
        let path = first_difference(store, locked.digest, found).await.ok().flatten();
        locked.check(found, path)?;
    }
    Ok(added.imported)
}
