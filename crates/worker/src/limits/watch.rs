//! Watches executions: one thread for all of them, asleep while nothing runs.
//!
//! A thread and not a task, because it reads files that may take long; one and not many, because only
//! who sees all executions can tell which of them fills the machine.
use super::disk::Free;
pub(crate) use super::look::Subject;
use super::look::{Progress, Round};
use super::{Breach, Limited, Machine};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Who ends within this is never looked at. Most actions of a build do, and on two cores nobody fills a
/// machine in this time.
pub(crate) const GRACE: Duration = Duration::from_millis(100);
/// Of the watching thread's time at most this part is spent looking: a million files, or four thousand
/// processes, must not cost others a core.
const BUSY_PART: u32 = 10;
/// Longest pause that follows from it.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Who has less than this is not ended when the machine is short of something: it would help nobody.
const VICTIM_BYTES_MIN: u64 = 64 << 20;
/// How long nobody else is ended after one was: it takes a while until what it had is free.
const VICTIM_PAUSE: Duration = Duration::from_secs(10);

/// What must be left on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reserves {
    /// Available memory. Below it the kernel begins to kill, and does not ask whom this server could
    /// best do without.
    pub memory_bytes: u64,
    /// Free disk where the store is. Without it nobody's outputs could be stored.
    pub disk_bytes: u64,
    /// Free inodes there.
    pub inodes: u64,
}

impl Reserves {
    /// 1/64 of the memory and at most 512 MiB; 256 MiB of disk, half of what `lre doctor` calls too little;
    /// 10,000 inodes.
    pub(crate) fn of_machine(memory_bytes: u64) -> Self {
        Self { memory_bytes: (memory_bytes / 64).min(512 << 20), disk_bytes: 256 << 20, inodes: 10_000 }
    }
}

/// Watches all executions of a worker.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
}

struct Shared {
    /// On the file system that executions write to.
    directory: PathBuf,
    reserves: Reserves,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    watched: BTreeMap<u64, Watched>,
    next: u64,
    /// The thread waits without end for somebody to be watched.
    asleep: bool,
    stopped: bool,
}

#[derive(Clone)]
struct Watched {
    subject: Arc<Subject>,
    since: Instant,
    told: Arc<Mutex<Option<oneshot::Sender<Breach>>>>,
}

/// An execution is watched while this lives.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    id: u64,
    breach: oneshot::Receiver<Breach>,
}

impl Watcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(crate) fn start(directory: &Path, reserves: Reserves) -> io::Result<Self> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { directory: directory.to_owned(), reserves, state, changed });
        let thread = Arc::clone(&shared);
        std::thread::Builder::new().name("lre-limits".to_owned()).spawn(move || Rounds::new(&thread).run())?;
        Ok(Self { shared })
    }

    /// From now on `subject` is watched. Costs no system call unless the thread sleeps.
    pub(crate) fn watch(&self, subject: Subject) -> Watch {
        let (told, breach) = oneshot::channel();
        let told = Arc::new(Mutex::new(Some(told)));
        let watched = Watched { subject: Arc::new(subject), since: Instant::now(), told };
        let mut state = lock(&self.shared.state);
        let id = state.next;
        state.next += 1;
        state.watched.insert(id, watched);
        if std::mem::take(&mut state.asleep) {
            self.shared.changed.notify_one();
        }
        drop(state);
        Watch { shared: Arc::clone(&self.shared), id, breach }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        lock(&self.shared.state).stopped = true;
        self.shared.changed.notify_one();
    }
}

impl Watch {
    /// Ends when the execution has taken too much; else never.
    pub(crate) async fn breach(&mut self) -> Breach {
        match (&mut self.breach).await {
            Ok(breach) => breach,
            // Told already, or nobody is there to tell.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.shared.state).watched.remove(&self.id);
    }
}

impl Shared {
    /// Those who are to be looked at, after a pause; none when the worker is gone.
    fn wait(&self, pause: Duration) -> Option<BTreeMap<u64, Watched>> {
        let mut state = lock(&self.state);
        if !state.watched.is_empty() && !state.stopped {
            let waiting = self.changed.wait_timeout_while(state, pause, |state| !state.stopped);
            state = waiting.unwrap_or_else(PoisonError::into_inner).0;
        }
        while state.watched.is_empty() && !state.stopped {
            state.asleep = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (!state.stopped).then(|| state.watched.clone())
    }
}

impl Watched {
    fn tell(&self, breach: Breach) {
        if let Some(told) = lock(&self.told).take() {
            // The execution may have ended meanwhile, and nobody waits.
            let _ended = told.send(breach);
        }
    }

    /// Killed already, and not gone yet.
    fn condemned(&self) -> bool {
        lock(&self.told).is_none()
    }
}

/// What the thread does.
struct Rounds<'a> {
    shared: &'a Shared,
    progress: BTreeMap<u64, Progress>,
    free: Option<Free>,
    /// Not before then is one ended for the sake of all.
    victims_from: Instant,
}

impl<'a> Rounds<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, progress: BTreeMap::new(), free: None, victims_from: Instant::now() }
    }

    fn run(mut self) {
        let mut pause = GRACE;
        while let Some(watched) = self.shared.wait(pause) {
            let started = Instant::now();
            self.progress.retain(|id, _| watched.contains_key(id));
            let due = |(_, one): &(&u64, &Watched)| started >= one.since + GRACE && !one.condemned();
            let old: Vec<_> = watched.iter().filter(due).collect();
            if !old.is_empty() {
                self.round(started, &old);
            }
            let next = self.progress.values().map(|progress| progress.next).min();
            let until = next.map_or(GRACE, |next| next.saturating_duration_since(Instant::now()));
            pause = until.min(GRACE).max((started.elapsed() * BUSY_PART).min(PAUSE_MAX));
        }
    }

    fn round(&mut self, now: Instant, old: &[(&u64, &Watched)]) {
        let lack = self.look_at_machine();
        let round = Round { now, short: lack.is_some() };
        for (id, one) in old {
            let progress = self.progress.entry(**id).or_insert_with(|| Progress::new(now));
            if (progress.next <= now || round.short)
                && let Err(breach) = progress.look(&one.subject, &round)
            {
                one.tell(breach);
            }
        }
        if let Some(lack) = lack.filter(|_| now >= self.victims_from) {
            self.end_the_largest(now, old, lack);
        }
    }

    /// What the machine is short of: what, how much there has to be, how to weigh.
    fn look_at_machine(&mut self) -> Option<(Limited, u64)> {
        let Reserves { memory_bytes, disk_bytes, inodes } = self.shared.reserves;
        let free = Free::on(&self.shared.directory).ok();
        if let (Some(before), Some(free)) = (self.free, free) {
            let written = free.written_since(before);
            self.progress.values_mut().for_each(|progress| progress.somebody_wrote(written));
        }
        self.free = free.or(self.free);
        if free.is_some_and(|free| free.bytes < disk_bytes || free.inodes.is_some_and(|left| left < inodes)) {
            return Some((Limited::MachineDisk, disk_bytes));
        }
        let machine = Machine::available().ok();
        let short = machine.is_some_and(|machine| machine.available_bytes < memory_bytes);
        short.then_some((Limited::MachineMemory, memory_bytes))
    }

    /// Better one ends with words than all with an error that is nobody's.
    fn end_the_largest(&mut self, now: Instant, old: &[(&u64, &Watched)], (what, limit): (Limited, u64)) {
        let weigh = |id: &u64| {
            self.progress.get(id).map_or(0, |progress| match what {
                Limited::MachineMemory => progress.memory_bytes,
                _ => progress.disk_bytes,
            })
        };
        let largest = old.iter().filter(|(_, one)| !one.condemned()).max_by_key(|(id, _)| weigh(id));
        let Some((id, one)) = largest else { return };
        let seen = weigh(id);
        if seen < VICTIM_BYTES_MIN {
            tracing::warn!(?what, "the machine is nearly full, and no action of ours is to blame");
        } else {
            one.tell(Breach { what, limit, seen });
        }
        self.victims_from = now + VICTIM_PAUSE;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is a single call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ExecutionLimits;
    use crate::limits::tasks::Members;

    const NOTHING_RESERVED: Reserves = Reserves { memory_bytes: 0, disk_bytes: 0, inodes: 0 };
    const LIMITS: ExecutionLimits = ExecutionLimits {
        memory_bytes_max: 1 << 40,
        processes_max: 1 << 20,
        disk_bytes_max: 1 << 40,
        output_bytes_max: 1 << 40,
    };
    /// Only so long that a machine that stands still is told from one that works.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn subject(directory: &Path, name: &str, limits: ExecutionLimits) -> Subject {
        let file = |part| directory.join(name).join(part);
        std::fs::create_dir_all(file("upper")).unwrap();
        let members = Members(std::sync::Arc::default());
        Subject { limits, stdout: file("stdout"), stderr: file("stderr"), upper: file("upper"), members }
    }

    /// Only who takes too much is told, whenever it does; others beside it and after it are not.
    #[tokio::test]
    async fn who_takes_too_much_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let watcher = Watcher::start(dir.path(), NOTHING_RESERVED).unwrap();
        let limits = ExecutionLimits { output_bytes_max: 10, ..LIMITS };
        let mut good = watcher.watch(subject(dir.path(), "good", limits));
        for name in ["first", "second"] {
            let bad = subject(dir.path(), name, limits);
            let stdout = bad.stdout.clone();
            let mut bad = watcher.watch(bad);
            std::fs::write(stdout, "too much of it").unwrap();
            let told = tokio::select! {
                breach = bad.breach() => breach,
                breach = good.breach() => panic!("{breach}"),
                () = tokio::time::sleep(DEADLINE) => panic!("nobody was told"),
            };
            assert_eq!(told, Breach { what: Limited::Stdout, limit: 10, seen: 14 });
        }
    }

    /// On a machine that is full the largest is ended, one and not all; who has nearly nothing never is.
    #[tokio::test]
    async fn one_is_ended_for_the_sake_of_all() {
        let dir = tempfile::tempdir().unwrap();
        let reserves = Reserves { disk_bytes: u64::MAX, ..NOTHING_RESERVED };
        let write = |subject: &Subject, bytes: usize| {
            std::fs::write(subject.upper.join("output"), vec![1; bytes]).unwrap();
        };
        let (small, large, middle) = ("small", "large", "middle");
        let [small, large, middle] = [small, large, middle].map(|name| subject(dir.path(), name, LIMITS));
        write(&small, 1 << 20);
        write(&large, 80 << 20);
        write(&middle, 70 << 20);
        let watcher = Watcher::start(dir.path(), reserves).unwrap();
        let [mut small, mut large, mut middle] = [small, large, middle].map(|one| watcher.watch(one));
        let told = tokio::select! {
            breach = large.breach() => breach,
            breach = middle.breach() => panic!("{breach}"),
            breach = small.breach() => panic!("{breach}"),
            () = tokio::time::sleep(DEADLINE) => panic!("nobody was told"),
        };
        assert!(told.what == Limited::MachineDisk && told.seen >= 80 << 20, "{told:?}");
        assert!(told.to_string().ends_with("was killed"), "{told}");
    }

    /// Nothing is left of it, neither in the table nor as a thread.
    #[test]
    fn nobody_is_watched_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let watcher = Watcher::start(dir.path(), NOTHING_RESERVED).unwrap();
        let shared = Arc::downgrade(&watcher.shared);
        for _ in 0..1000 {
            drop(watcher.watch(subject(dir.path(), "x", LIMITS)));
        }
        assert!(lock(&watcher.shared.state).watched.is_empty());
        drop(watcher);
        let deadline = Instant::now() + DEADLINE;
        while shared.strong_count() != 0 {
            assert!(Instant::now() < deadline, "the thread does not end");
            std::thread::yield_now();
        }
    }
}
