//! Payloads compressed at rest.
use std::io;

/// Smaller ones are hardly made smaller.
const BYTES_MIN: usize = 256;

/// What a payload may become when it is unpacked. It is our own; a length that is damaged is found by the checksum.
const BYTES_MAX: usize = 1 << 30;

/// The payload compressed; `None` where less than an eighth is gained.
pub(super) fn packed(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() < BYTES_MIN {
        return None;
    }
    let packed = zstd::bulk::compress(payload, zstd::DEFAULT_COMPRESSION_LEVEL).ok()?;
    (packed.len() <= payload.len() / 8 * 7).then_some(packed)
}

/// What was packed.
pub(super) fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let length = zstd::zstd_safe::get_frame_content_size(packed).ok()??;
    let length = usize::try_from(length).ok().filter(|length| *length <= BYTES_MAX)?;
    let unpacked: io::Result<Vec<u8>> = zstd::bulk::decompress(packed, length);
    unpacked.ok().filter(|bytes| bytes.len() == length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let text = b"src/main.rs:17: warning: unused variable\n".repeat(50);
        let small = packed(&text).unwrap();
        assert!(small.len() < text.len() / 4);
        assert_eq!(unpacked(&small), Some(text.clone()));
        assert_eq!(unpacked(&small[..small.len() - 1]), None);
        assert_eq!(unpacked(b"no frame"), None);
        assert_eq!(packed(&text[..100]), None, "too small");
    }
}
