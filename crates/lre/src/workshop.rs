//! Where toolchains are brought in: the store, the way to the outside world, and a sandbox for sources that must build
//! something once.
use crate::builder::ActionBuilder;
use crate::commands::Context;
use crate::exit::Problem;
use crate::holdings;
use crate::session::Session;
use lre_store::BlobStore;
use lre_toolchain::Access;
use std::sync::Arc;

/// See the module. Close it in order.
pub struct Workshop {
    /// Where the tree goes.
    pub store: Arc<dyn BlobStore>,
    /// How it is fetched.
    pub access: Access,
    /// It has the store then: one process at a time may.
    session: Option<Session>,
}

impl Workshop {
    /// With a sandbox only where `build` says so: a server is started for it if none runs.
    ///
    /// # Errors
    /// The store cannot be used, or there is no sandbox.
    pub async fn open(context: &Context, access: Access, build: bool) -> Result<Self, Problem> {
        if !build {
            return Ok(Self { store: holdings::open(context).await?, access, session: None });
        }
        let session = Session::open(context).await?;
        let builder = Arc::new(ActionBuilder::new(context).await?);
        let store: Arc<dyn BlobStore> = session.client.store().clone();
        Ok(Self { store, access: Access { builder: Some(builder), ..access }, session: Some(session) })
    }

    /// Ends a server of its own in order.
    pub async fn close(self) {
        if let Some(session) = self.session {
            session.close().await;
        }
    }
}
