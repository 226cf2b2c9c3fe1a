//! Who has the store open: the server, or this process where there is none. Both are asked the same.
use crate::client::{Client, ClientError};
use crate::commands::Context;
use crate::exit::{Exit, OrProblem, Problem};
use crate::holdings;
use crate::instance::Instance;
use futures::stream::{BoxStream, StreamExt};
use lre_proto::admin::{
    CollectRequest, CollectResponse, UsageRequest, UsageResponse, VerifyRequest, VerifyResponse, store_client,
    store_server::Store,
};
use lre_server::services::store::StoreAdmin;
use lre_store::{Budget, DiskStore};
use std::sync::Arc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// See the module.
pub(super) enum Owner {
    /// A server runs.
    Server(store_client::StoreClient<Channel>),
    /// None does.
    Here {
        /// The service that a server would have.
        admin: StoreAdmin,
        /// What it serves.
        store: Arc<DiskStore>,
        /// What a server would be given.
        budget: Budget,
    },
}

fn budget(context: &Context) -> Budget {
    context.config.store_bytes_max.map_or(Budget::Share, Budget::Bytes)
}

/// What is told while something long is done.
pub(super) type Telling<T> = BoxStream<'static, Result<T, Status>>;

impl Owner {
    /// # Errors
    /// The server does not answer, or the directory cannot be used.
    pub(super) async fn of(context: &Context) -> Result<Self, Problem> {
        if let Some(endpoint) = Instance::running(&context.config.store).and_then(|instance| instance.endpoint()) {
            return Ok(Self::Server(Client::connect(&endpoint, None).await?.admin()));
        }
        let store = Arc::new(holdings::open_here(context)?);
        let registry = Arc::new(holdings::registry(context)?);
        let toolchains = Arc::clone(&registry);
        store.set_roots(move || Ok(toolchains.all()?.into_iter().map(|toolchain| toolchain.digest).collect()));
        Ok(Self::Here { admin: StoreAdmin::new(Arc::clone(&store), registry), store, budget: budget(context) })
    }

    /// Whether it is a server, which goes on.
    pub(super) fn is_server(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    pub(super) async fn usage(&mut self) -> Result<UsageResponse, Problem> {
        match self {
            Self::Server(client) => Ok(client.usage(UsageRequest {}).await.map_err(refused)?.into_inner()),
            Self::Here { admin, store, budget } => {
                let usage = admin.usage(Request::new(UsageRequest {})).await.map_err(refused)?.into_inner();
                // It is not given the budget: then it would begin to evict.
                let (bytes, _) = store.bytes_of(*budget).or_problem("the disk cannot be looked at")?;
                Ok(UsageResponse { budget_bytes: Some(bytes), ..usage })
            }
        }
    }

    pub(super) async fn collect(&mut self, request: CollectRequest) -> Result<Telling<CollectResponse>, Problem> {
        Ok(match self {
            Self::Server(client) => client.collect(request).await.map_err(refused)?.into_inner().boxed(),
            Self::Here { admin, store, budget } => {
                let to_bytes = match request.to_bytes {
                    Some(bytes) => bytes,
                    None => store.bytes_of(*budget).or_problem("the disk cannot be looked at")?.1,
                };
                let request = CollectRequest { to_bytes: Some(to_bytes), ..request };
                admin.collect(Request::new(request)).await.map_err(refused)?.into_inner()
            }
        })
    }

    pub(super) async fn verify(&mut self) -> Result<Telling<VerifyResponse>, Problem> {
        Ok(match self {
            Self::Server(client) => client.verify(VerifyRequest {}).await.map_err(refused)?.into_inner().boxed(),
            Self::Here { admin, .. } => {
                admin.verify(Request::new(VerifyRequest {})).await.map_err(refused)?.into_inner()
            }
        })
    }
}

/// What a status of this service means to a person.
pub(super) fn refused(status: Status) -> Problem {
    match status.code() {
        Code::Unimplemented => Problem::new(Exit::Version, "the server that runs is older than this command")
            .hint("lre down && lre up; or lre down, and again without a server"),
        Code::ResourceExhausted => {
            Problem::error("the store is being collected or verified already").hint("try again when that has ended")
        }
        _ => Problem::from(ClientError::from(status)),
    }
}

/// The next thing that is told; `None` at the end, and at Ctrl-C, which ends the work as well.
///
/// # Errors
/// The server went away, or the work failed.
pub(super) async fn next<T>(telling: &mut Telling<T>) -> Result<Option<T>, Problem> {
    tokio::select! {
        told = telling.next() => told.transpose().map_err(refused),
        _ = tokio::signal::ctrl_c() => Err(Problem::new(Exit::Command(130), "interrupted: what was done by now is done")),
    }
}
