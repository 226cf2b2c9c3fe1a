//! Buffers for pieces of large files, used again and again.
//!
//! The memory allocator gives so large a buffer back to the kernel at once, which then makes fresh pages for the next one, a
//! page fault for each 4 KiB that is sent. With these the second download of a large blob takes no fault at all.
use bytes::Bytes;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Of each buffer, in bytes; also the most that a piece may have. What the server reads and sends at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// Pieces below this are cheap as they are.
const SMALL_BYTES: usize = 64 * 1024;

/// Buffers that wait: 2 MiB. Two downloads at full speed have some six under way.
const WAITING_MAX: usize = 8;

static WAITING: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A filled buffer, which goes back when the last of its readers is done.
struct Piece {
    buffer: Box<[u8]>,
    length: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX {
            waiting.push(buffer);
        }
    }
}

/// Up to `length` bytes, from whatever fills a buffer and says how much of it.
pub(crate) fn filled(length: usize, fill: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Bytes> {
    if !(SMALL_BYTES..=PIECE_BYTES).contains(&length) {
        let mut buffer = vec![0; length];
        let filled = fill(&mut buffer)?;
        buffer.truncate(filled);
        return Ok(buffer.into());
    }
    let known = WAITING.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut buffer = known.unwrap_or_else(|| vec![0; PIECE_BYTES].into());
    let length = fill(&mut buffer[..length])?;
    Ok(Bytes::from_owner(Piece { buffer, length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was in a buffer before is in no piece after.
    #[test]
    fn a_piece_is_what_was_filled_in() {
        for (byte, length) in [(1, PIECE_BYTES), (2, SMALL_BYTES), (3, 10), (4, PIECE_BYTES + 1), (5, SMALL_BYTES)] {
            let piece = filled(length, |buffer| {
                assert_eq!(buffer.len(), length);
                buffer[..length / 2].fill(byte);
                Ok(length / 2)
            });
            assert!(piece.unwrap() == vec![byte; length / 2]);
        }
        assert!(filled(PIECE_BYTES, |_| Err(io::Error::other("gone"))).is_err());
        assert!(WAITING.lock().unwrap().len() <= WAITING_MAX);
    }
}
