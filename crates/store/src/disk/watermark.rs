//! What has reached the disk, and what must be doubted after the machine went down.
//!
//! Nothing is synced when it is written: an fsync for each blob costs twenty times the write. A
//! `kill -9` loses nothing by that, the page cache belongs to the kernel. Only where the kernel went
//! down too can a file have its name and not its bytes. So the file `synced` says which boot of the
//! kernel last used the store and up to which moment everything is known to be on the disk; a
//! periodic `syncfs` moves that moment. Another boot finds what is younger in doubt: each such blob
//! is hashed before it is used for the first time, and all of them in the background; only when that
//! is done does `synced` name the new boot. There is no mark for a clean stop, because none is
//! needed: at most one period's writes are hashed after any reboot.
use super::lock::write_atomic;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How far a clock may have been set back between a sync and a write, in seconds, before a blob
/// in doubt is taken for an older one.
const CLOCK_STEP_SECONDS: i64 = 600;

/// Nothing is in doubt.
pub(super) const NO_DOUBT: i64 = i64::MAX;

/// The content of the file `synced`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watermark {
    /// The boot of the kernel under which this was written; `None` never equals any.
    pub(super) boot: Option<String>,
    /// Everything changed before this moment is on the disk, in seconds since 1970.
    pub(super) until: i64,
}

impl Watermark {
    /// Reads it; a file that is not there or cannot be understood means that nothing is known to
    /// be on the disk.
    pub(super) fn read(path: &Path) -> Self {
        fs::read_to_string(path).ok().and_then(|text| Self::parse(&text)).unwrap_or(Self { boot: None, until: 0 })
    }

    /// Reads it. Where the clock has gone back behind the mark (a machine without a battery for it),
    /// the mark goes back too: what is written now would look older than the mark.
    pub(super) fn read_before(path: &Path, now: i64) -> io::Result<Self> {
        let mut mark = Self::read(path);
        if mark.until > now {
            mark.until = now;
            mark.write(path)?;
        }
        Ok(mark)
    }

    fn parse(text: &str) -> Option<Self> {
        let (boot, until) = text.strip_prefix("boot ")?.split_once("\nuntil ")?;
        let until = until.strip_suffix('\n')?.parse().ok()?;
        Some(Self { boot: (boot != "unknown").then(|| boot.to_owned()), until })
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let boot = self.boot.as_deref().unwrap_or("unknown");
        write_atomic(path, format!("boot {boot}\nuntil {}\n", self.until).as_bytes())
    }

    /// Files changed at or after this moment are in doubt under the boot `now`.
    pub(super) fn doubt_since(&self, now: Option<&str>) -> i64 {
        match (&self.boot, now) {
            (Some(then), Some(now)) if then == now => NO_DOUBT,
            _ => self.until.saturating_sub(CLOCK_STEP_SECONDS),
        }
    }
}

/// Names this boot of the kernel; `None` where the kernel does not say.
#[must_use]
pub fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = text.trim();
    (!id.is_empty() && !id.contains('\n')).then(|| id.to_owned())
}

/// Seconds since 1970, rounded down.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_boot_brings_doubt() {
        let mark = Watermark { boot: Some("a".into()), until: 10_000 };
        assert_eq!(mark.doubt_since(Some("a")), NO_DOUBT);
        assert_eq!(mark.doubt_since(Some("b")), 10_000 - CLOCK_STEP_SECONDS);
        assert_eq!(mark.doubt_since(None), 10_000 - CLOCK_STEP_SECONDS);
        let unknown = Watermark { boot: None, until: 10_000 };
        assert_eq!(unknown.doubt_since(None), 10_000 - CLOCK_STEP_SECONDS, "two unknown boots are not the same");
    }

    #[test]
    fn a_clock_that_went_back_takes_the_mark_along() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("synced");
        Watermark { boot: Some("a".into()), until: 10_000 }.write(&path).unwrap();
        assert_eq!(Watermark::read_before(&path, 20_000).unwrap().until, 10_000);
        assert_eq!(Watermark::read_before(&path, 50).unwrap().until, 50);
        assert_eq!(Watermark::read(&path), Watermark { boot: Some("a".into()), until: 50 });
    }

    #[test]
    fn the_file_round_trips_and_garbage_means_nothing_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("synced");
        assert_eq!(Watermark::read(&path).until, 0);
        for boot in [None, Some("x-y".to_owned())] {
            let mark = Watermark { boot, until: 77 };
            mark.write(&path).unwrap();
            assert_eq!(Watermark::read(&path), mark);
        }
        fs::write(&path, "boot x\nuntil 9").unwrap();
        assert_eq!(Watermark::read(&path), Watermark { boot: None, until: 0 });
    }
}
