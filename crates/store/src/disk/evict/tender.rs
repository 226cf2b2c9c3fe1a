//! The thread that keeps a store within its budget.
use super::super::{Inner, unpoisoned};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two looks when nobody rings: the disk may have been filled by others, holds may have ended.
const PERIOD: Duration = Duration::from_secs(60);

/// The shortest time between two passes while there is nothing more to take away: each refused write rings.
const PAUSE: Duration = Duration::from_millis(250);

/// Wakes the thread.
#[derive(Default)]
pub(super) struct Bell {
    stop: AtomicBool,
    rung: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Bell {
    /// Something is to be done. Costs a load while that is known already.
    pub(super) fn ring(&self) {
        if !self.rung.load(Ordering::Relaxed) && !self.rung.swap(true, Ordering::SeqCst) {
            self.call();
        }
    }

    fn call(&self) {
        // Whoever is about to wait has the lock, and has looked before.
        drop(unpoisoned(self.lock.lock()));
        self.wake.notify_all();
    }

    /// Waits until it is rung or the time is over; not at all once it is to stop.
    fn wait(&self, time: Duration, rung_too: bool) {
        let guard = unpoisoned(self.lock.lock());
        let quiet = |_: &mut ()| !(self.stop.load(Ordering::SeqCst) || rung_too && self.rung.load(Ordering::SeqCst));
        drop(self.wake.wait_timeout_while(guard, time, quiet).unwrap_or_else(PoisonError::into_inner));
    }
}

/// The thread; it ends with this value.
pub(in crate::disk) struct Tender {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Tender {
    pub(super) fn start(inner: Arc<Inner>, bell: Arc<Bell>) -> io::Result<Self> {
        let mine = Arc::clone(&bell);
        let thread = std::thread::Builder::new().name("store-eviction".into()).spawn(move || run(&inner, &mine))?;
        Ok(Self { bell, thread: Some(thread) })
    }
}

impl Drop for Tender {
    fn drop(&mut self) {
        self.bell.stop.store(true, Ordering::SeqCst);
        self.bell.call();
        // A panic of the thread has been printed by itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(inner: &Inner, bell: &Bell) {
    loop {
        bell.wait(PERIOD, true);
        if bell.stop.load(Ordering::SeqCst) {
            return;
        }
        // Before the work: what is rung from now on is for the next time.
        let rung = bell.rung.swap(false, Ordering::SeqCst);
        inner.tend(rung, &bell.stop);
        if inner.evict.admission.is_stuck() {
            bell.wait(PAUSE, false);
        }
    }
}
