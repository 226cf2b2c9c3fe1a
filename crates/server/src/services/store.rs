//! `lre.v1.Store`: what the store takes, eviction and verification on demand (docs/reference/admin.md).
//!
//! One process owns a store, so the command line asks the server that does. Without a server it owns the store itself, and asks
//! this service in its own process: there is one way for both.
use crate::status::{self, Refusal};
use futures::stream::BoxStream;
use lre_model::Digest;
use lre_proto::admin::{self, store_server};
use lre_store::{Amount, DiskStore, StoreError, Told};
use lre_toolchain::Registry;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Progress is told this often at most: a terminal does not show more.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Messages that wait for a client that reads slowly; then the work waits.
const MESSAGES_WAITING: usize = 16;

/// The service.
pub struct StoreAdmin {
    disk: Arc<DiskStore>,
    registry: Arc<Registry>,
    stop: CancellationToken,
    /// One long work at a time: a second one would read the same disk at the same time.
    one: Arc<Semaphore>,
}

impl StoreAdmin {
    /// A service over a store, and the toolchains in it.
    #[must_use]
    pub fn new(disk: Arc<DiskStore>, registry: Arc<Registry>) -> Self {
        Self { disk, registry, stop: CancellationToken::new(), one: Arc::new(Semaphore::new(1)) }
    }

    /// The same; what it does ends when `stop` says so.
    #[must_use]
    pub fn until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    fn begin<T: Send + 'static>(&self) -> Result<(Telling<T>, Messages<T>), Status> {
        let permit = Arc::clone(&self.one).try_acquire_owned();
        let busy = Refusal::Busy { what: "collections and verifications of the store", at_most: 1 };
        let permit = permit.map_err(|_| status::of(busy))?;
        let (to, from) = mpsc::channel(MESSAGES_WAITING);
        let telling = Telling { to, stop: self.stop.clone(), told: Mutex::default(), _permit: permit };
        Ok((telling, Box::pin(ReceiverStream::new(from))))
    }
}

/// The answer of a call that takes long.
type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// Who waits for what is done.
struct Telling<T> {
    to: mpsc::Sender<Result<T, Status>>,
    stop: CancellationToken,
    /// When progress was told last.
    told: Mutex<Option<Instant>>,
    _permit: OwnedSemaphorePermit,
}

impl<T: Send + 'static> Telling<T> {
    /// Whether nobody waits any more.
    fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.to.is_closed()
    }

    /// Tells something now and then, unless there is something to read already.
    fn now_and_then(&self, message: impl FnOnce() -> T) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= PROGRESS_INTERVAL) {
            *told = Some(Instant::now());
            let _ = self.to.try_send(Ok(message()));
        }
    }

    /// Tells something, and waits until there is room for it.
    fn tell(&self, message: Result<T, Status>) {
        // Whoever has gone is noticed by is_over.
        let _ = self.to.blocking_send(message);
    }
}

fn part(name: &str, amount: Amount) -> admin::Part {
    admin::Part { name: name.to_owned(), count: amount.count, bytes: amount.bytes }
}

/// What the store takes, as a message. Blocks.
fn usage(disk: &DiskStore, registry: &Registry) -> Result<admin::UsageResponse, StoreError> {
    let mut roots: Vec<(String, Digest)> = Vec::new();
    for toolchain in registry.all()? {
        // Of one name, the current one comes first.
        let older = roots.iter().any(|(name, _)| *name == toolchain.name);
        let name = if older { format!("{} (before)", toolchain.name) } else { toolchain.name };
        roots.push((name, toolchain.digest));
    }
    let usage = disk.usage(&roots)?;
    let parts =
        |parts: Vec<(&'static str, Amount)>| parts.into_iter().map(|(name, amount)| part(name, amount)).collect();
    let invocation = |i: lre_store::InvocationUsage| admin::InvocationUsage {
        name: i.name,
        tool: i.tool,
        began: i.began,
        last: i.last,
        count: i.amount.count,
        bytes: i.amount.bytes,
    };
    let toolchain = |t: lre_store::ToolchainUsage| admin::ToolchainUsage {
        name: t.name,
        digest: t.digest.to_string(),
        count: t.amount.count,
        bytes: t.amount.bytes,
        shared_bytes: t.shared_bytes,
        missing: t.missing,
    };
    Ok(admin::UsageResponse {
        total_bytes: usage.total_bytes,
        counted_bytes: usage.counted_bytes,
        budget_bytes: usage.budget_bytes,
        held_bytes: usage.held_bytes,
        holder: usage.holder,
        kinds: parts(usage.kinds),
        ages: parts(usage.ages),
        invocations: usage.invocations.into_iter().map(invocation).collect(),
        toolchains: usage.toolchains.into_iter().map(toolchain).collect(),
    })
}

/// Evicts, and tells of it. Blocks.
fn collect(disk: &DiskStore, request: admin::CollectRequest, telling: &Telling<admin::CollectResponse>) {
    let event = |event| admin::CollectResponse { event: Some(event) };
    let collected = disk.gc(request.to_bytes, request.dry_run, |progress| {
        let (bytes, of_bytes) = (progress.freed_bytes, progress.goal_bytes);
        let stage = stage(progress.step).to_owned();
        telling.now_and_then(|| event(admin::CollectEvent::Progress(admin::Progress { stage, bytes, of_bytes })));
        if telling.is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let done = |c: lre_store::Collected| admin::Collected {
        freed: vec![
            part("results", c.results),
            part("names", c.names),
            part("directories", c.directories),
            part("blobs", c.blobs),
            part("copies", c.copies),
        ],
        before_bytes: c.before_bytes,
        after_bytes: c.after_bytes,
        to_bytes: c.target_bytes,
        oldest: c.oldest.unwrap_or_default(),
        youngest: c.youngest.unwrap_or_default(),
        held_bytes: c.held_bytes,
        holder: c.holder.unwrap_or_default(),
        interrupted: c.stopped,
    };
    telling.tell(collected.map(|c| event(admin::CollectEvent::Done(done(c)))).map_err(status::of));
}

fn stage(step: lre_store::Step) -> &'static str {
    match step {
        lre_store::Step::Counting => "counting",
        lre_store::Step::Lifting => "looking what is needed by what",
        lre_store::Step::Evicting => "evicting",
        lre_store::Step::Compacting => "moving the log together",
    }
}

/// Verifies, and tells of it. Blocks.
fn verify(disk: &DiskStore, telling: &Telling<admin::VerifyResponse>) {
    let event = |event| admin::VerifyResponse { event: Some(event) };
    let cancel = AtomicBool::new(false);
    let told = |told: Told| {
        match told {
            Told::Progress { stage, bytes, of_bytes } => telling.now_and_then(|| {
                let stage = stage.to_owned();
                event(admin::VerifyEvent::Progress(admin::Progress { stage, bytes, of_bytes }))
            }),
            Told::Damage(d) => {
                let kind = d.what.name().to_owned();
                let (subject, problem, done) = (d.subject, d.problem, d.done);
                telling.tell(Ok(event(admin::VerifyEvent::Problem(admin::Problem { kind, subject, problem, done }))));
            }
        }
        if telling.is_over() {
            cancel.store(true, Ordering::SeqCst);
        }
    };
    let scrubbed = disk.verify(&told, &cancel).map_err(StoreError::from);
    let done = |s: lre_store::Scrubbed| admin::Verified {
        checked: s.checked.into_iter().map(|(what, amount)| part(what.name(), amount)).collect(),
        problems: s.problems,
        millis: u64::try_from(s.time.as_millis()).unwrap_or(u64::MAX),
        interrupted: s.interrupted,
    };
    telling.tell(scrubbed.map(|s| event(admin::VerifyEvent::Done(done(s)))).map_err(status::of));
}

#[tonic::async_trait]
impl store_server::Store for StoreAdmin {
    type CollectStream = Messages<admin::CollectResponse>;
    type VerifyStream = Messages<admin::VerifyResponse>;

    async fn usage(&self, _: Request<admin::UsageRequest>) -> Result<Response<admin::UsageResponse>, Status> {
        let (disk, registry) = (Arc::clone(&self.disk), Arc::clone(&self.registry));
        let counted = tokio::task::spawn_blocking(move || usage(&disk, &registry)).await;
        let counted = counted.map_err(std::io::Error::other).map_err(StoreError::Io).flatten();
        Ok(Response::new(counted.map_err(status::of)?))
    }

    async fn collect(&self, request: Request<admin::CollectRequest>) -> Result<Response<Self::CollectStream>, Status> {
        let (telling, messages) = self.begin()?;
        let (disk, request) = (Arc::clone(&self.disk), request.into_inner());
        tokio::task::spawn_blocking(move || collect(&disk, request, &telling));
        Ok(Response::new(messages))
    }

    async fn verify(&self, _: Request<admin::VerifyRequest>) -> Result<Response<Self::VerifyStream>, Status> {
        let (telling, messages) = self.begin()?;
        let disk = Arc::clone(&self.disk);
        tokio::task::spawn_blocking(move || verify(&disk, &telling));
        Ok(Response::new(messages))
    }
}
