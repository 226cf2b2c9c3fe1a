//! One look at one execution, and what is remembered of it until the next.
use super::disk::Walk;
use super::open_files;
use super::tasks::{Members, shared_once};
use super::{Breach, ExecutionLimits, Limited};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Shortest time between two looks at an execution: one look takes about 0.1 ms for each process.
const INTERVAL_MIN: Duration = Duration::from_millis(20);
/// Longest: a user should not wait longer to be told, and other executions not suffer longer.
const INTERVAL_MAX: Duration = Duration::from_millis(500);
/// Faster than this nobody fills memory, in bytes a second: what two cores write when they do nothing
/// else. From it follows how far the next look may be.
const MEMORY_BYTES_PER_SECOND: u64 = 4 << 30;
/// Faster than this nobody writes files, in bytes a second: page cache of one process.
const WRITTEN_BYTES_PER_SECOND: u64 = 2 << 30;
/// How often the upper layer is walked through although the disk has not become fuller: somebody else may have
/// freed as much.
const THOROUGH_INTERVAL: Duration = Duration::from_secs(10);
/// Entries of the upper layer that are looked at in one go, some 40 ms.
const WALK_ENTRIES: usize = 20_000;

/// Where a sandbox has file systems in memory, of which each is bounded and all together count.
const PLACES_IN_MEMORY: [&str; 3] = ["tmp", "dev/shm", "home/lre"];
/// The root of the sandbox and its init.
const OUR_TASKS: u64 = 2;

/// What is watched.
#[derive(Debug)]
pub(crate) struct Subject {
    /// What it may have.
    pub limits: ExecutionLimits,
    /// The file that takes its stdout.
    pub stdout: PathBuf,
    /// The file that takes its stderr.
    pub stderr: PathBuf,
    /// The directory that takes what it writes.
    pub upper: PathBuf,
    /// Its processes.
    pub members: Members,
}

/// When a look is made, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub now: Instant,
    /// Whether memory or disk of the machine is so short that every look has to be thorough.
    pub short: bool,
}

/// What is known of an execution.
pub(super) struct Progress {
    /// When to look again.
    pub next: Instant,
    /// Memory at the last look; exact where it matters, else too much rather than too little.
    pub memory_bytes: u64,
    /// Written at the last look, too little rather than too much; where the command has forbidden us to
    /// look, what all together have written since it began.
    pub disk_bytes: u64,
    /// What all together have written since it began.
    everybody_bytes: u64,
    thorough: Instant,
    /// What the last whole walk found.
    walked_bytes: u64,
    /// What somebody has written since the last whole walk began: so much more it can be.
    unseen_bytes: u64,
    walk: Option<Walk>,
}

impl Progress {
    /// Of an execution that nobody has looked at.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next: now,
            memory_bytes: 0,
            disk_bytes: 0,
            everybody_bytes: 0,
            thorough: now,
            walked_bytes: 0,
            unseen_bytes: 0,
            walk: None,
        }
    }

    /// The disk has become fuller, whoever it was.
    pub(super) fn somebody_wrote(&mut self, bytes: u64) {
        self.unseen_bytes = self.unseen_bytes.saturating_add(bytes);
        self.everybody_bytes = self.everybody_bytes.saturating_add(bytes);
    }

    /// Looks.
    ///
    /// # Errors
    /// What there is too much of.
    pub(super) fn look(&mut self, subject: &Subject, round: &Round) -> Result<(), Breach> {
        let thorough = round.short || round.now >= self.thorough;
        if thorough {
            self.thorough = round.now + THOROUGH_INTERVAL;
        }
        let mut next = INTERVAL_MAX;
        for (file, what) in [(&subject.stdout, Limited::Stdout), (&subject.stderr, Limited::Stderr)] {
            let seen = std::fs::metadata(file).map_or(0, |file| file.len());
            let room = room(what, subject.limits.output_bytes_max, seen)?;
            next = next.min(time_for(room, WRITTEN_BYTES_PER_SECOND));
        }
        let processes = subject.members.look();
        room(Limited::Processes, subject.limits.processes_max, processes.tasks.saturating_sub(OUR_TASKS))?;
        let nameless = open_files::nameless(&processes.processes);
        let files = open_files::in_memory(&processes.processes, &PLACES_IN_MEMORY) + nameless.memory_bytes;
        self.memory_bytes = processes.memory_bytes + files;
        if self.memory_bytes > subject.limits.memory_bytes_max || round.short {
            let exact = shared_once(&processes.processes);
            // What is mapped of a file in memory is in both.
            self.memory_bytes = exact.anonymous_bytes + exact.mapped_bytes.max(files);
        }
        let memory = room(Limited::Memory, subject.limits.memory_bytes_max, self.memory_bytes)?;
        let disk = self.look_at_disk(subject, thorough, nameless.disk_bytes)?;
        next = next.min(time_for(memory, MEMORY_BYTES_PER_SECOND)).min(time_for(disk, WRITTEN_BYTES_PER_SECOND));
        self.next = round.now + next.max(INTERVAL_MIN);
        Ok(())
    }

    /// How many bytes it may still write, at least.
    fn look_at_disk(&mut self, subject: &Subject, thorough: bool, nameless_bytes: u64) -> Result<u64, Breach> {
        let limit = subject.limits.disk_bytes_max;
        let at_most = self.walked_bytes.saturating_add(self.unseen_bytes);
        room(Limited::Disk, limit, nameless_bytes)?;
        let at_most = at_most.max(nameless_bytes);
        if self.walk.is_none() && !thorough && at_most <= limit {
            return Ok(limit - at_most);
        }
        let unseen = &mut self.unseen_bytes;
        let walk = self.walk.get_or_insert_with(|| {
            *unseen = 0;
            Walk::new(&subject.upper)
        });
        let whole = walk.go_on(WALK_ENTRIES);
        let found = walk.bytes.saturating_add(nameless_bytes);
        let blind = if walk.blind { self.everybody_bytes } else { 0 };
        self.disk_bytes = self.disk_bytes.max(found);
        if whole {
            self.disk_bytes = found.max(blind);
            self.walked_bytes = walk.bytes;
            self.walk = None;
        }
        room(Limited::Disk, limit, found)
    }
}

/// What is left of a limit.
fn room(what: Limited, limit: u64, seen: u64) -> Result<u64, Breach> {
    limit.checked_sub(seen).ok_or(Breach { what, limit, seen })
}

/// When to look again so that no more than half of the room can have been used.
fn time_for(room: u64, per_second: u64) -> Duration {
    Duration::from_millis(room.saturating_mul(500) / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn round(now: Instant) -> Round {
        Round { now, short: false }
    }

    fn subject(directory: &Path, limits: ExecutionLimits) -> Subject {
        let file = |name| directory.join(name);
        std::fs::create_dir_all(file("upper")).unwrap();
        let members = Members(std::sync::Arc::default());
        Subject { limits, stdout: file("stdout"), stderr: file("stderr"), upper: file("upper"), members }
    }

    const LIMITS: ExecutionLimits = ExecutionLimits {
        memory_bytes_max: 1 << 40,
        processes_max: 1 << 20,
        disk_bytes_max: 1 << 40,
        output_bytes_max: 1 << 40,
    };

    #[test]
    fn output_is_weighed() {
        let dir = tempfile::tempdir().unwrap();
        let limits = ExecutionLimits { output_bytes_max: 1000, ..LIMITS };
        let subject = subject(dir.path(), limits);
        let now = Instant::now();
        let mut progress = Progress::new(now);
        progress.look(&subject, &round(now)).unwrap();
        assert_eq!(progress.next, now + INTERVAL_MIN, "there is little room: look again soon");
        std::fs::write(&subject.stderr, vec![b'x'; 1000]).unwrap();
        progress.look(&subject, &round(now)).unwrap();
        std::fs::write(&subject.stdout, vec![b'x'; 1001]).unwrap();
        let breach = progress.look(&subject, &round(now)).unwrap_err();
        assert_eq!(breach, Breach { what: Limited::Stdout, limit: 1000, seen: 1001 });
    }

    /// The upper layer is walked through when somebody has written so much that it may be too full, and not
    /// before; who has not written it himself is not blamed.
    #[test]
    fn the_disk_is_weighed_when_it_has_become_fuller() {
        let dir = tempfile::tempdir().unwrap();
        let limits = ExecutionLimits { disk_bytes_max: 1 << 20, ..LIMITS };
        let subject = subject(dir.path(), limits);
        let now = Instant::now();
        let mut progress = Progress::new(now);
        progress.look(&subject, &round(now)).unwrap();
        progress.somebody_wrote(2 << 20);
        progress.look(&subject, &round(now)).unwrap();
        assert_eq!(progress.disk_bytes, 0);
        std::fs::write(subject.upper.join("large"), vec![1; 2 << 20]).unwrap();
        progress.look(&subject, &round(now)).unwrap();
        progress.somebody_wrote(2 << 20);
        let breach = progress.look(&subject, &round(now)).unwrap_err();
        assert!(breach.what == Limited::Disk && breach.seen >= 2 << 20, "{breach:?}");
        // Nobody said that the disk has become fuller; it is noticed a little later.
        let mut progress = Progress::new(now + THOROUGH_INTERVAL);
        progress.thorough = now + THOROUGH_INTERVAL;
        progress.look(&subject, &round(now)).unwrap();
        progress.look(&subject, &round(now + THOROUGH_INTERVAL)).unwrap_err();
    }

    #[test]
    fn processes_and_memory_are_weighed() {
        let dir = tempfile::tempdir().unwrap();
        let own = Members(std::sync::Arc::new(std::process::id().into()));
        let judge = |limits| {
            let subject = Subject { members: own.clone(), ..subject(dir.path(), limits) };
            Progress::new(Instant::now()).look(&subject, &round(Instant::now()))
        };
        judge(LIMITS).unwrap();
        // More of us than the root and the init that every execution has; they wait for the end of the test.
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
        for _ in 0..=OUR_TASKS {
            let wait = std::sync::Arc::clone(&wait);
            std::thread::spawn(move || wait.lock().map(|wait| wait.recv()).is_ok());
        }
        let breach = judge(ExecutionLimits { processes_max: 0, ..LIMITS }).unwrap_err();
        assert_eq!((breach.what, breach.limit), (Limited::Processes, 0));
        let breach = judge(ExecutionLimits { memory_bytes_max: 4096, ..LIMITS }).unwrap_err();
        assert!(breach.what == Limited::Memory && breach.seen > 4096, "{breach:?}");
        drop(end);
    }
}
