//! A toolchain that an action names and this server has not got: its tree may be in the store all the same, because a
//! client uploaded it, or at a peer. It is fetched by digest, once for all actions that wait for it, and registered.
//!
//! Nobody waits for ever (PROTOCOL, 63): without peers the answer comes at once, a peer that does not answer costs
//! seconds, once, and the whole has a limit.
use crate::limits::{PEER_ANSWER_TIME_MAX, PEER_DOWN_TIME, TOOLCHAIN_FETCH_TIME_MAX};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use lre_model::Digest;
use lre_store::{BlobStore, Invoker, Staging};
use lre_toolchain::{Access, Cas, Imported, Kind, Registry, Toolchain, ToolchainError, copy_tree, in_full, load_tree};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Fetches toolchains.
pub struct Fetcher {
    store: Arc<dyn BlobStore>,
    registry: Arc<Registry>,
    staging: Staging,
    peers: Vec<Peer>,
    access: Access,
    stop: CancellationToken,
    flights: Mutex<HashMap<(Kind, Digest), Flight>>,
}

/// One fetch, that many may wait for. It goes on when they have gone: the next action wants the toolchain too.
type Flight = Shared<BoxFuture<'static, Result<(), NotHere>>>;

/// Why a toolchain is not here, after all that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotHere {
    /// The client's turn: ask again, somebody will be there.
    Stopping,
    /// The user's turn: what was tried, for people.
    Tried(Arc<str>),
}

/// Somebody else's server.
struct Peer {
    address: Cas,
    /// Why it is not asked, and until when.
    down: Mutex<Option<(Instant, String)>>,
}

impl Fetcher {
    /// Fetches from `peers`, in this order, into `store`. The token is what they want to be shown.
    #[must_use]
    pub fn new(
        store: Arc<dyn BlobStore>,
        registry: Arc<Registry>,
        staging: Staging,
        peers: Vec<Cas>,
        token: Option<String>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let names = peers.iter().map(ToString::to_string).collect();
        let access = Access { peers: names, peer_token: token, ..Access::default() };
        let peers = peers.into_iter().map(|address| Peer { address, down: Mutex::default() }).collect();
        Arc::new(Self { store, registry, staging, peers, access, stop, flights: Mutex::default() })
    }

    /// Brings the toolchain here and registers it.
    ///
    /// # Errors
    /// See [`NotHere`].
    pub async fn fetch(self: &Arc<Self>, kind: Kind, digest: Digest) -> Result<(), NotHere> {
        let flight = match self.flights().entry((kind, digest)) {
            Entry::Occupied(flying) => flying.get().clone(),
            Entry::Vacant(place) => place.insert(self.start(kind, digest)).clone(),
        };
        flight.await
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<(Kind, Digest), Flight>> {
        // Every critical section is one call of a map.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, kind: Kind, digest: Digest) -> Flight {
        let me = Arc::clone(self);
        // Of those that will wait for it, whoever asked first.
        let flying = tokio::spawn(Invoker::current().scope(async move {
            let bring = tokio::time::timeout(TOOLCHAIN_FETCH_TIME_MAX, me.bring(kind, digest));
            let brought = tokio::select! {
                brought = bring => brought.unwrap_or_else(|_| Err(late())).map_err(|tried| NotHere::Tried(tried.into())),
                () = me.stop.cancelled() => Err(NotHere::Stopping),
            };
            // Whoever asks from now on sees it in the registry, or tries again.
            me.flights().remove(&(kind, digest));
            if let Err(why) = &brought {
                tracing::info!(%kind, %digest, ?why, "a toolchain cannot be fetched");
            }
            brought
        }));
        let broken = |e| Err(NotHere::Tried(format!("fetching it broke: {e}").into()));
        flying.map(move |ended| ended.unwrap_or_else(broken)).boxed().shared()
    }

    /// The store, then the peers.
    async fn bring(&self, kind: Kind, digest: Digest) -> Result<(), String> {
        let mut tried = match load_tree(&*self.store, digest).await {
            Ok((_tree, hold)) => {
                let source = format!("store:{digest}");
                return self.register(kind, digest, source, hold).await;
            }
            Err(ToolchainError::Missing { missing, .. }) if missing.contains(&digest) => {
                vec!["the store of this server does not have it".to_owned()]
            }
            Err(ToolchainError::Missing { missing, .. }) => {
                vec![format!("the store of this server lacks {} of its blobs", missing.len())]
            }
            Err(e) => vec![format!("the store of this server: {}", in_full(&e))],
        };
        for peer in &self.peers {
            match self.bring_from(peer, digest).await {
                Ok(imported) => {
                    let source = format!("cas:{}", peer.address.of(digest));
                    let (files, bytes) = (imported.files, imported.bytes);
                    tracing::info!(%kind, %digest, peer = %peer.address, files, bytes, "a toolchain was fetched");
                    return self.register(kind, digest, source, imported.hold).await;
                }
                Err(why) => tried.push(format!("the peer {}: {why}", peer.address)),
            }
        }
        Err(tried.join("; "))
    }

    async fn bring_from(&self, peer: &Peer, digest: Digest) -> Result<Imported, String> {
        if let Some((until, why)) = peer.down()
            && Instant::now() < until
        {
            return Err(format!("{why} (asked a moment ago)"));
        }
        let answer = async {
            let upstream = peer.address.connect(&self.access).await.map_err(|e| in_full(&e))?;
            let upstream = upstream.with_staging(self.staging.clone());
            let (_kept, missing) = upstream.hold(&[digest]).await.map_err(|e| in_full(&e))?;
            Ok((upstream, missing))
        };
        let late = |_| Err(format!("it did not answer within {} s", PEER_ANSWER_TIME_MAX.as_secs()));
        let answer = tokio::time::timeout(PEER_ANSWER_TIME_MAX, answer).await.unwrap_or_else(late);
        peer.remember(answer.as_ref().err());
        let (upstream, missing) = answer?;
        if !missing.is_empty() {
            return Err("it does not have it".to_owned());
        }
        copy_tree(&upstream, &*self.store, digest, &()).await.map_err(|e| in_full(&e))
    }

    /// While the tree is held.
    async fn register(&self, kind: Kind, digest: Digest, source: String, hold: lre_store::Hold) -> Result<(), String> {
        let hash = digest.hash_text();
        let toolchain = Toolchain {
            // Both, as one tree may be asked for in two ways.
            name: format!("fetched-{kind}-{}", &hash[..12]),
            kind,
            digest,
            environment: Default::default(),
            tools: Default::default(),
            source,
            recipe: Vec::new(),
        };
        let registry = Arc::clone(&self.registry);
        let written = tokio::task::spawn_blocking(move || registry.put(&toolchain)).await;
        drop(hold);
        let written = written.map_err(std::io::Error::other).and_then(|written| written);
        written.map_err(|e| format!("it is here, but cannot be registered: {e}"))
    }
}

impl Peer {
    fn down(&self) -> Option<(Instant, String)> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, failure: Option<&String>) {
        let down = failure.map(|why| (Instant::now() + PEER_DOWN_TIME, why.clone()));
        *self.down.lock().unwrap_or_else(PoisonError::into_inner) = down;
    }
}

fn late() -> String {
    format!("it was not here after {} s", TOOLCHAIN_FETCH_TIME_MAX.as_secs())
}
