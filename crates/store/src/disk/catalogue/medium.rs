//! What the log asks of the disk. A trait, because a power cut cannot be had from a real disk in a test: the tests have a
//! disk that forgets, tears and reorders what was not synced.
use super::unpoisoned;
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Segments that are open at a time. A log of 100 GB has 800, and a process often has no more than 1,024 handles.
const OPEN_MAX: usize = 128;

/// One folder of files.
pub(super) trait Medium: Send + Sync {
    /// All names in it, and whether each is a regular file.
    fn list(&self) -> io::Result<Vec<(String, bool)>>;
    /// A new file; there must be none of this name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn Handle>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn Handle>>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Brings to the disk which names there are.
    fn sync(&self) -> io::Result<()>;
}

/// One open file.
pub(super) trait Handle: Send + Sync {
    /// Reads until `bytes` is full or the file ends.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all. After an error any part of it may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Brings all bytes to the disk.
    fn sync(&self) -> io::Result<()>;
    fn length(&self) -> io::Result<u64>;
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// A real directory.
pub(super) struct Folder(pub PathBuf);

impl Folder {
    fn options() -> OpenOptions {
        // A symlink or a pipe under the name of a segment is nobody's log, and must not hold us up.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags.cast_signed());
        options
    }

    fn path(&self, name: &str) -> PathBuf {
        let path: &Path = &self.0;
        path.join(name)
    }
}

impl Medium for Folder {
    fn list(&self) -> io::Result<Vec<(String, bool)>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            names.push((entry.file_name().to_string_lossy().into_owned(), entry.file_type()?.is_file()));
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Handle>> {
        let create = || Self::options().create_new(true).mode(0o600).open(self.path(name));
        let file = match create() {
            // Somebody has removed the folder.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.0)?;
                create()?
            }
            file => file?,
        };
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Handle>> {
        Ok(Arc::new(Self::options().open(self.path(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl Handle for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match FileExt::read_at(self, &mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// The segments that are open for reading: no more than [`OPEN_MAX`], those that were used last.
pub(super) struct Handles {
    medium: Arc<dyn Medium>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    by_number: HashMap<u32, (Arc<dyn Handle>, u64)>,
    uses: u64,
}

impl Handles {
    pub(super) fn new(medium: Arc<dyn Medium>) -> Self {
        Self { medium, open: Mutex::default() }
    }

    /// The segment with this number.
    pub(super) fn get(&self, number: u32) -> io::Result<Arc<dyn Handle>> {
        let mut open = unpoisoned(self.open.lock());
        open.uses += 1;
        let uses = open.uses;
        if let Some((handle, used)) = open.by_number.get_mut(&number) {
            *used = uses;
            return Ok(Arc::clone(handle));
        }
        let handle = self.medium.open(&segment_name(number))?;
        open.add(number, Arc::clone(&handle));
        Ok(handle)
    }

    /// A segment that has just been made.
    pub(super) fn add(&self, number: u32, handle: Arc<dyn Handle>) {
        unpoisoned(self.open.lock()).add(number, handle);
    }

    /// Closes a segment that is gone.
    pub(super) fn close(&self, number: u32) {
        unpoisoned(self.open.lock()).by_number.remove(&number);
    }

    /// Closes all.
    pub(super) fn close_all(&self) {
        unpoisoned(self.open.lock()).by_number.clear();
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        unpoisoned(self.open.lock()).by_number.len()
    }
}

impl Open {
    fn add(&mut self, number: u32, handle: Arc<dyn Handle>) {
        if self.by_number.len() >= OPEN_MAX
            && let Some(oldest) = self.by_number.iter().min_by_key(|(_, (_, used))| *used).map(|(number, _)| *number)
        {
            self.by_number.remove(&oldest);
        }
        self.by_number.insert(number, (handle, self.uses));
    }
}

/// The name of a segment.
pub(super) fn segment_name(number: u32) -> String {
    format!("{number:08x}.seg")
}

/// The number of the segment with this name.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name.strip_suffix(".seg")?, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}
