//! Bytes that are hashed on their way, and that come from another thread.
use super::http::Sha256;
use lre_model::{DigestFunction, Hasher};
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that threads hand on at once; below the size from which each allocation costs page faults.
const PIECE_BYTES: usize = 96 * 1024;
/// Pieces that wait for the reader.
const WAITING_PIECES: usize = 16;

/// A reader whose bytes are hashed.
pub(crate) struct Checked<R>(Arc<Mutex<State<R>>>);

/// The end of a [`Checked`] reader that stays here.
pub(crate) struct Check<R>(Arc<Mutex<State<R>>>);

struct State<R> {
    reader: R,
    hasher: Hasher,
}

/// Both ends of a reader whose bytes are hashed.
pub(crate) fn checked<R: Read>(reader: R) -> (Checked<R>, Check<R>) {
    let state = Arc::new(Mutex::new(State { reader, hasher: Hasher::new(DigestFunction::Sha256) }));
    (Checked(state.clone()), Check(state))
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let State { reader, hasher } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = reader.read(into)?;
        hasher.update(&into[..read]);
        Ok(read)
    }
}

impl<R: Read> Check<R> {
    /// What all bytes are, those included that nobody has read: how many, and their SHA-256.
    pub(crate) fn finish(self) -> io::Result<(u64, Sha256)> {
        io::copy(&mut Checked(self.0.clone()), &mut io::sink())?;
        let digest = self.0.lock().unwrap_or_else(PoisonError::into_inner).hasher.clone().finish();
        Ok((digest.size_bytes(), Sha256::from(digest)))
    }
}

/// The bytes of a reader that another thread reads ahead: to decompress and hash takes as long as to store.
pub(crate) struct Piped {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

/// Lets another thread read `reader`. It ends when the reader does, or nobody listens any more.
pub(crate) fn piped(mut reader: impl Read + Send + 'static) -> Piped {
    let (sender, pieces) = sync_channel(WAITING_PIECES);
    std::thread::spawn(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let read = reader.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece);
            let ended = matches!(read, Ok(0) | Err(_));
            // What came before an error is handed on first.
            if !piece.is_empty() && sender.send(Ok(piece)).is_err() {
                return;
            }
            if let Err(e) = read {
                let _nobody_listens = sender.send(Err(e));
            }
            if ended {
                return;
            }
        }
    });
    Piped { pieces, piece: Vec::new(), at: 0 }
}

impl Read for Piped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                Err(_) => return Ok(0),
            }
        }
        let n = into.len().min(self.piece.len() - self.at);
        into[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_counted_whoever_reads_them() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        for read in [0, 1, PIECE_BYTES, 300_000, bytes.len()] {
            let (reader, check) = checked(io::Cursor::new(bytes.clone()));
            let mut some = Vec::new();
            piped(reader).take(read as u64).read_to_end(&mut some).unwrap();
            assert_eq!(some, bytes[..read]);
            assert_eq!(check.finish().unwrap(), (bytes.len() as u64, Sha256::of(&bytes)));
        }
    }

    #[test]
    fn an_error_comes_after_what_was_read_before_it() {
        struct Breaks(usize);
        impl Read for Breaks {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
                into[0] = 7;
                Ok(1)
            }
        }
        let mut read = Vec::new();
        let ended = piped(Breaks(5)).read_to_end(&mut read);
        assert_eq!((read.len(), ended.unwrap_err().kind()), (5, io::ErrorKind::BrokenPipe));
    }
}
