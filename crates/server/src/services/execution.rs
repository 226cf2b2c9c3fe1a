//! `Execution` (PROTOCOL, G): the hall, and the way through the rooms up to the queue (HOUSE 5).
use crate::drive::{Driver, Order, Presence};
use crate::fetch::{Fetcher, NotHere};
use crate::limits::{CACHE_CHECK_SILENT, TRAILER_DETAILS_BYTES_MAX};
use crate::metadata::{Caller, wants_explanation};
use crate::operation::{self, Answer, Operation, Operations, State};
use crate::services::action_cache::Inline;
use crate::status::{self, Refusal};
use futures::stream::{self, BoxStream, StreamExt};
use lre_model::{Action, ActionDigest, ActionResult, Command, Digest, DigestFunction, Invalid, Platform, Terms};
use lre_proto::{longrunning, re};
use lre_scheduler::Sharing;
use lre_store::{ActionCache, BlobStore, Invoker, StoreError};
use lre_toolchain::{Accepted, Refused, Registry, Resolved, Toolchain, absent, resolve};
use lre_worker::{LoadError, Loaded, Reader};
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tonic::{Request, Response, Status};

/// MISSING violations in one answer. Each is some 120 bytes and a message is at most 4 MiB; who
/// misses more uploads these, asks again, and is told of the rest.
const MISSING_TOLD_MAX: usize = 20_000;

/// The tool room: what this server runs actions with.
pub struct Tools {
    /// What is installed; read at each look, because other processes write there.
    pub registry: Arc<Registry>,
    /// For those that are not installed.
    pub fetcher: Arc<Fetcher>,
    /// For actions that name no toolchain.
    pub default: Option<String>,
    /// Further properties that are accepted.
    pub accepted: Accepted,
}

/// How long commands may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Where the action says nothing.
    pub default: Duration,
    /// An action that asks for more is refused (PROTOCOL, 57).
    pub max: Duration,
}

/// The service.
#[derive(Clone)]
pub struct Execution {
    rooms: Arc<Rooms>,
}

/// What an `Execute` walks through.
pub struct Rooms {
    /// Inputs and outputs.
    pub blobs: Arc<dyn BlobStore>,
    /// The reading room.
    pub reader: Reader,
    /// Answers only with complete results (see `lre_store::Complete`).
    pub actions: Arc<dyn ActionCache>,
    /// Toolchains.
    pub tools: Tools,
    /// Limits of commands.
    pub timeouts: Timeouts,
    /// Who asked.
    pub operations: Arc<Operations>,
    /// The queue and what runs.
    pub driver: Arc<Driver>,
}

/// An `Execute` as it leaves the hall.
struct Asked {
    action: ActionDigest,
    skip_cache_lookup: bool,
    /// Only for this request, so it runs, and with nobody who asked for less.
    explain: bool,
    priority: i32,
    inline: Inline,
    caller: Caller,
    at: SystemTime,
    /// Made before its turn, because its client was to be told something.
    operation: OnceLock<Arc<Operation>>,
}

/// Where an `Execute` is when its rooms before the queue are behind it.
enum Way {
    /// Straight to the exit.
    Exit(Answer),
    /// In the queue, or running.
    Queue(Presence),
}

/// The messages of one operation.
pub type OperationStream = BoxStream<'static, Result<longrunning::Operation, Status>>;

impl Execution {
    /// A service over its rooms.
    #[must_use]
    pub fn new(rooms: Arc<Rooms>) -> Self {
        Self { rooms }
    }
}

impl Asked {
    /// The hall: the only protobuf on the way in.
    fn decode(request: Request<re::ExecuteRequest>) -> Result<Self, Status> {
        let caller = Caller::of(request.metadata());
        let explain = wants_explanation(request.metadata());
        let request = request.into_inner();
        let function = DigestFunction::from_wire(request.digest_function).map_err(status::of)?;
        let digest = Digest::from_wire(function, request.action_digest.as_ref())
            .map_err(|e| status::of(Invalid::new("action_digest", e)))?;
        Ok(Self {
            action: ActionDigest(digest),
            skip_cache_lookup: request.skip_cache_lookup || explain,
            explain,
            priority: request.execution_policy.unwrap_or_default().priority,
            inline: Inline {
                stdout: request.inline_stdout,
                stderr: request.inline_stderr,
                files: request.inline_output_files,
            },
            caller,
            at: SystemTime::now(),
            operation: OnceLock::new(),
        })
    }

    fn sharing(&self, loaded: &Loaded) -> Sharing {
        match (loaded.action.do_not_cache || self.explain, self.skip_cache_lookup) {
            (true, _) => Sharing::Nobody,
            (false, true) => Sharing::Later,
            (false, false) => Sharing::Any,
        }
    }
}

/// What the result of an action that names no toolchain is remembered under: with another default
/// it is another result, and under its own digest it would be shared with servers and clients that
/// know nothing of ours.
#[must_use]
pub fn key_with_default(action: ActionDigest, toolchain: Digest) -> ActionDigest {
    let text = format!("lre: an action with the default toolchain\n{action}\n{toolchain}\n");
    ActionDigest(Digest::of(action.0.function(), text.as_bytes()))
}

/// PROTOCOL, 51: all of them, each once.
fn missing_inputs(mut missing: Vec<Digest>) -> Status {
    let mut seen = HashSet::new();
    missing.retain(|digest| seen.insert(*digest));
    missing.truncate(MISSING_TOLD_MAX);
    status::of(Refusal::Missing(missing))
}

/// REAPI 2.2: the platform of the action, where set, else that of the command.
fn platform<'a>(action: &'a Action, command: &'a Command) -> &'a Platform {
    action.platform.as_ref().unwrap_or(&command.platform)
}

impl Rooms {
    /// Rooms 3 to 7. What is found wrong here is found while the operation is made, so it is the
    /// status of the call (HOUSE 6).
    async fn enter(self: Arc<Self>, asked: Arc<Asked>) -> Result<Way, Status> {
        if !asked.skip_cache_lookup
            && let Some(result) = self.look_up(asked.action).await?
        {
            tracing::debug!(action = %asked.action, "hit");
            return Ok(Way::Exit(Answer::cached(result)));
        }
        let loaded = self.reader.load(asked.action).await.map_err(|error| match error {
            LoadError::Missing(missing) => missing_inputs(missing),
            error => status::of(error),
        })?;
        let timeout = self.timeout(&loaded)?;
        let terms = Terms::from_platform(platform(&loaded.action, &loaded.command)).map_err(status::of)?;
        let (hold, missing) = loaded.hold(&*self.blobs).await.map_err(status::of)?;
        if !missing.is_empty() {
            return Err(missing_inputs(missing));
        }
        let resolved = self.tools(&loaded).await?;
        let key = resolved.default.map_or(asked.action, |default| key_with_default(asked.action, default));
        // Only the action itself says whether the default toolchain is meant, so this is the one
        // look for such actions: nothing of ours is ever found under the plain digest.
        if key != asked.action
            && asked.sharing(&loaded) == Sharing::Any
            && let Some(result) = self.look_up(key).await?
        {
            return Ok(Way::Exit(Answer::cached(result)));
        }
        let order = Order {
            sharing: asked.sharing(&loaded),
            loaded: Arc::new(loaded),
            closure: resolved.closure,
            terms,
            hold: Arc::new(hold),
            invoker: Invoker::current(),
            timeout,
            key,
            explain: asked.explain,
            priority: asked.priority,
            queued: asked.at,
            caller: asked.caller.clone(),
        };
        let operation = match asked.operation.get() {
            Some(operation) => Arc::clone(operation),
            None => {
                let made = self.operations.create(asked.action, asked.inline.clone(), State::Queued);
                made.map_err(status::of)?
            }
        };
        self.driver.submit(operation, order).map(Way::Queue).map_err(status::of)
    }

    /// The rooms before the queue take their time: an upstream is asked, a toolchain fetched. The client is told so, and
    /// by what name it finds the operation again. What is found wrong from now on is in the operation.
    fn enter_slowly(
        self: &Arc<Self>,
        asked: &Asked,
        entering: impl Future<Output = Result<Way, Status>> + Send + 'static,
    ) -> Result<OperationStream, Status> {
        let made = self.operations.create(asked.action, asked.inline.clone(), State::CacheCheck).map_err(status::of)?;
        let operation = Arc::clone(asked.operation.get_or_init(|| made));
        let (rooms, presence) = (Arc::clone(self), self.driver.watch(Arc::clone(&operation)));
        tokio::spawn(Invoker::current().scope(async move {
            let answer = match entering.await {
                // Only the client's own presence counts from here on.
                Ok(Way::Queue(presence)) => return drop(presence),
                Ok(Way::Exit(answer)) => answer,
                Err(status) => Answer::refused(&status),
            };
            rooms.operations.finish(&operation, Arc::new(answer));
        }));
        Ok(self.stream(presence))
    }

    /// The result of an action that names no toolchain, where it was made with the default one. Only the action itself
    /// says whether that is meant; where it cannot be read, or could not be run here, nothing is known of it.
    ///
    /// # Errors
    /// What the action cache says.
    pub async fn known_with_default(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        if self.tools.default.is_none() {
            return Ok(None);
        }
        let Ok(Some((read, command))) = self.reader.glance(action).await else { return Ok(None) };
        let Ok(installed) = self.installed() else { return Ok(None) };
        match self.resolve(platform(&read, &command), &installed) {
            Ok(Resolved { default: Some(default), .. }) => self.actions.get(key_with_default(action, default)).await,
            _ => Ok(None),
        }
    }

    /// The ledger. An upstream that does not answer never fails an action by itself (HOUSE 6).
    async fn look_up(&self, key: ActionDigest) -> Result<Option<Arc<ActionResult>>, Status> {
        match self.actions.get(key).await {
            Ok(found) => Ok(found),
            Err(error @ StoreError::Upstream(_)) => {
                tracing::warn!(action = %key, %error, "the action cache could not be asked; executing");
                Ok(None)
            }
            Err(error) => Err(status::of(error)),
        }
    }

    /// REAPI: zero is what clients send that always fill the field; it means nothing was asked for.
    fn timeout(&self, loaded: &Loaded) -> Result<Duration, Status> {
        let asked = loaded.action.timeout.filter(|t| !t.is_zero());
        match asked {
            None => Ok(self.timeouts.default),
            Some(asked) if asked <= self.timeouts.max => Ok(asked),
            Some(asked) => {
                let problem = format!(
                    "{} s is longer than the {} s that this server allows; hint: ask for less, or raise \
                     action_timeout_seconds_max in lre.json5",
                    asked.as_secs_f64(),
                    self.timeouts.max.as_secs_f64()
                );
                Err(status::of(Invalid::new("action.timeout", problem)))
            }
        }
    }

    /// The tool room.
    async fn tools(&self, loaded: &Loaded) -> Result<Resolved, Status> {
        let platform = platform(&loaded.action, &loaded.command);
        let installed = self.installed()?;
        let absent = absent(platform, &installed);
        if !absent.is_empty() {
            // Whatever else is wrong with the platform is said before anything is fetched.
            let with: Vec<_> = installed.iter().cloned().chain(absent.iter().cloned()).collect();
            self.resolve(platform, &with).map_err(status::of)?;
        }
        let mut tried = Vec::new();
        for toolchain in &absent {
            match self.tools.fetcher.fetch(toolchain.kind, toolchain.digest).await {
                Ok(()) => {}
                Err(NotHere::Stopping) => return Err(status::of(Refusal::Stopping)),
                Err(NotHere::Tried(what)) => tried.push(what),
            }
        }
        let installed = if absent.is_empty() { installed } else { self.installed()? };
        self.resolve(platform, &installed).map_err(|mut refused| {
            if !tried.is_empty() {
                refused.problem = format!("{}; it was looked for: {}", refused.problem, tried.join("; "));
            }
            status::of(refused)
        })
    }

    fn resolve(&self, platform: &Platform, installed: &[Toolchain]) -> Result<Resolved, Refused> {
        let default = self.tools.default.as_ref().and_then(|name| installed.iter().find(|t| t.name == *name));
        resolve(platform, installed, &self.tools.accepted, default)
    }

    /// A look is a `stat` for each toolchain; to change threads would cost more.
    fn installed(&self) -> Result<Arc<Vec<Toolchain>>, Status> {
        self.tools.registry.current().map_err(|error| {
            let problem = format!("the registry of toolchains cannot be read: {error}");
            status::of(Refusal::Broken { reason: "REGISTRY", problem })
        })
    }

    /// Streams an operation until its end.
    fn stream(&self, presence: Presence) -> OperationStream {
        let mut states = presence.operation.subscribe();
        // The first message goes at once, whatever the state (PROTOCOL, 54).
        states.mark_changed();
        let blobs = Arc::clone(&self.blobs);
        stream::unfold(Some((presence, states, blobs)), |at| async {
            let (presence, mut states, blobs) = at?;
            // Fails only when the operation is gone, and `presence` keeps it.
            states.changed().await.ok()?;
            let state = states.borrow_and_update().clone();
            let message = presence.operation.to_wire(&state, &*blobs).await;
            // PROTOCOL, 53: `done`, then the end of the stream.
            let next = (!message.done).then_some((presence, states, blobs));
            Some((Ok(message), next))
        })
        .boxed()
    }

    fn once(message: longrunning::Operation) -> OperationStream {
        stream::once(async { Ok(message) }).boxed()
    }

    async fn exit(&self, asked: &Asked, answer: &Answer) -> longrunning::Operation {
        operation::finished(asked.action, answer, &asked.inline, &*self.blobs).await
    }
}

#[tonic::async_trait]
impl re::execution_server::Execution for Execution {
    type ExecuteStream = OperationStream;
    type WaitExecutionStream = OperationStream;

    async fn execute(&self, request: Request<re::ExecuteRequest>) -> Result<Response<OperationStream>, Status> {
        let asked = Arc::new(Asked::decode(request)?);
        let mut entering = Box::pin(Arc::clone(&self.rooms).enter(Arc::clone(&asked)));
        let stream = match tokio::time::timeout(CACHE_CHECK_SILENT, &mut entering).await {
            Ok(Ok(Way::Queue(presence))) => self.rooms.stream(presence),
            Ok(Ok(Way::Exit(answer))) => Rooms::once(self.rooms.exit(&asked, &answer).await),
            // Hundreds of missing inputs do not fit the trailers of a call, but a message.
            Ok(Err(status)) if status.details().len() > TRAILER_DETAILS_BYTES_MAX => {
                Rooms::once(self.rooms.exit(&asked, &Answer::refused(&status)).await)
            }
            Ok(Err(status)) => return Err(status),
            Err(_slow) => self.rooms.enter_slowly(&asked, entering)?,
        };
        Ok(Response::new(stream))
    }

    async fn wait_execution(
        &self,
        request: Request<re::WaitExecutionRequest>,
    ) -> Result<Response<OperationStream>, Status> {
        let operation = self.rooms.operations.named(&request.into_inner().name).map_err(status::of)?;
        Ok(Response::new(self.rooms.stream(self.rooms.driver.watch(operation))))
    }
}
