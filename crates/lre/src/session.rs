//! A server for the length of one command: the one that runs, else one of our own on the same store.
use crate::client::{ActionProber, Client};
use crate::commands::{Context, serve};
use crate::exit::{OrProblem, Problem};
use crate::instance::Instance;
use crate::machine;
use lre_server::compose::{self, Server};
use lre_toolchain::Toolchain;
use std::path::PathBuf;

/// See the module.
pub struct Session {
    /// A connection to the server.
    pub client: Client,
    own: Option<Own>,
}

struct Own {
    server: Server,
    store: PathBuf,
    // The socket is in it.
    _directory: tempfile::TempDir,
}

impl Session {
    /// Connects, or starts a server.
    ///
    /// # Errors
    /// Neither works.
    pub async fn open(context: &Context) -> Result<Self, Problem> {
        let store = &context.config.store;
        if context.config.server.is_some() || Instance::running(store).is_some() {
            return Ok(Self { client: context.connect().await?, own: None });
        }
        machine::sandbox_level()?;
        // In /tmp, because the path of a socket must be short.
        let directory = tempfile::Builder::new().prefix("lre-").tempdir().or_problem("cannot make a directory")?;
        let socket = Some(directory.path().join("re.sock"));
        // It is gone before anybody could use the default toolchain.
        let options = compose::Options { tcp: None, socket, default_toolchain: None, ..serve::options(context)? };
        let server = Server::start(options).await.map_err(serve::refused)?;
        let instance = Instance { socket: server.socket().map(ToOwned::to_owned), ..Instance::of_this_process() };
        instance.write(store)?;
        let own = Some(Own { server, store: store.clone(), _directory: directory });
        Ok(Self { client: context.connect().await?, own })
    }

    /// Ends a server of our own in order.
    pub async fn close(self) {
        if let Some(own) = self.own {
            Instance::remove(&own.store);
            own.server.shutdown().await;
        }
    }

    /// Runs commands with a toolchain and nothing else.
    #[must_use]
    pub fn prober(&self, toolchain: &Toolchain) -> ActionProber<'_> {
        ActionProber::new(&self.client, toolchain)
    }
}
