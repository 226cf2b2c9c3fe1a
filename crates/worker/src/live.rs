//! What a command says while it still runs (PROTOCOL, 66).
//!
//! stdout and stderr of an execution are files of its run directory. Whoever wants to read along opens them himself
//! and looks whether they have grown; an execution that nobody reads pays for two paths and no system call.
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Bytes that are read at once. A page cache gives this many in some 20 us, less than a change of threads costs.
const PIECE_BYTES: usize = 64 * 1024;

/// How long a reader who has all that there is waits until it looks again. A look is one `pread`; notifications of the
/// kernel (inotify) are no cheaper, and their number is limited for each user of the machine.
const PAUSE: Duration = Duration::from_millis(40);

/// One of the two streams of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// stdout and stderr of one execution, for as long as it lives; shared by all who wait for it.
#[derive(Debug)]
pub struct Live {
    now: watch::Sender<Now>,
}

#[derive(Clone, Debug)]
enum Now {
    /// The command has not started.
    Waiting,
    /// It writes to these.
    Running { stdout: Arc<Path>, stderr: Arc<Path> },
    /// The files belong to somebody else now, or are gone: what they held is in the outcome.
    Over,
}

impl Default for Live {
    fn default() -> Self {
        Self { now: watch::Sender::new(Now::Waiting) }
    }
}

impl Live {
    /// The command starts and will write to these files, which may be made a moment later.
    pub fn begin(&self, stdout: PathBuf, stderr: PathBuf) {
        let _before = self.now.send_replace(Now::Running { stdout: stdout.into(), stderr: stderr.into() });
    }

    /// The file of stdout belongs to somebody else from now on. To be called before that is so: a reader hands out
    /// nothing that it has read after this. Of a file that is not the present one nothing is changed.
    pub fn end(&self, stdout: &Path) {
        self.now.send_if_modified(|now| {
            let ends = matches!(now, Now::Running { stdout: present, .. } if **present == *stdout);
            if ends {
                *now = Now::Over;
            }
            ends
        });
    }

    /// Reads along, from this byte.
    #[must_use]
    pub fn follow(&self, stream: Stream, offset: u64) -> Follow {
        Follow { now: self.now.subscribe(), stream, offset, file: None }
    }
}

/// Somebody who reads along.
#[derive(Debug)]
pub struct Follow {
    now: watch::Receiver<Now>,
    stream: Stream,
    offset: u64,
    file: Option<(Arc<Path>, File)>,
}

impl Follow {
    /// The first byte that was not handed out yet.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes, as soon as there are some; nothing when the execution is over, and then the rest is in its
    /// outcome. Can be dropped and called again.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            let path = match &*self.now.borrow_and_update() {
                Now::Waiting => None,
                Now::Running { stdout, stderr } => Some(Arc::clone(match self.stream {
                    Stream::Stdout => stdout,
                    Stream::Stderr => stderr,
                })),
                Now::Over => return None,
            };
            let Some(path) = path else {
                // Fails where the execution is gone without ever having started.
                self.now.changed().await.ok()?;
                continue;
            };
            // Not readable: not made yet, or the command has taken its owner's right to read away. Then it is waited
            // for, and its end brings everything.
            let bytes = self.read(&path).unwrap_or_default();
            if self.now.has_changed().unwrap_or(true) {
                // The file may have been another execution's when it was read.
                self.file = None;
                if self.now.has_changed().is_err() {
                    return None;
                }
            } else if bytes.is_empty() {
                let _changed = tokio::time::timeout(PAUSE, self.now.changed()).await;
            } else {
                self.offset += bytes.len() as u64;
                return Some(bytes);
            }
        }
    }

    fn read(&mut self, path: &Arc<Path>) -> io::Result<Bytes> {
        let (_, file) = match self.file.take() {
            Some((of, file)) if Arc::ptr_eq(&of, path) => self.file.insert((of, file)),
            _ => self.file.insert((Arc::clone(path), File::open(path)?)),
        };
        let mut piece = vec![0; PIECE_BYTES];
        let length = file.read_at(&mut piece, self.offset)?;
        piece.truncate(length);
        Ok(piece.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path) -> (PathBuf, PathBuf) {
        (directory.join("stdout"), directory.join("stderr"))
    }

    #[tokio::test]
    async fn what_is_written_is_read_while_it_is_written() {
        use std::io::Write;
        let directory = tempfile::tempdir().unwrap();
        let (stdout, stderr) = files(directory.path());
        let live = Live::default();
        let mut late = live.follow(Stream::Stdout, 3);
        let mut follow = live.follow(Stream::Stdout, 0);
        live.begin(stdout.clone(), stderr);
        let mut file = File::create(&stdout).unwrap();
        file.write_all(b"one").unwrap();
        assert_eq!(follow.next().await.unwrap(), "one");
        let (said, ()) = tokio::join!(follow.next(), async { file.write_all(b"two").unwrap() });
        assert_eq!((said.unwrap(), follow.offset()), ("two".into(), 6));
        assert_eq!(late.next().await.unwrap(), "two");
        live.end(&stdout);
        assert!(follow.next().await.is_none() && late.next().await.is_none());
    }

    /// A folder is used again by the next execution: nothing that is written to it then is handed out.
    #[tokio::test]
    async fn nothing_is_read_of_a_file_that_belongs_to_another_execution() {
        let directory = tempfile::tempdir().unwrap();
        let (stdout, stderr) = files(directory.path());
        std::fs::write(&stdout, "").unwrap();
        let live = Live::default();
        let mut follow = live.follow(Stream::Stdout, 0);
        live.begin(stdout.clone(), stderr);
        assert!(tokio::time::timeout(PAUSE / 2, follow.next()).await.is_err(), "nothing is there yet");
        live.end(&stdout);
        std::fs::write(&stdout, "a secret of somebody else").unwrap();
        assert!(follow.next().await.is_none());
    }

    /// An execution is made once more in another folder: the end of the first folder is not its end.
    #[tokio::test]
    async fn the_end_of_an_older_folder_is_no_end() {
        let directory = tempfile::tempdir().unwrap();
        let (stdout, stderr) = files(directory.path());
        let live = Live::default();
        live.begin(directory.path().join("older"), stderr.clone());
        let mut follow = live.follow(Stream::Stderr, 0);
        live.begin(stdout.clone(), stderr.clone());
        live.end(&directory.path().join("older"));
        std::fs::write(&stderr, "said").unwrap();
        assert_eq!(follow.next().await.unwrap(), "said");
        drop(live);
        assert!(follow.next().await.is_none(), "whoever has made it is gone");
    }
}
