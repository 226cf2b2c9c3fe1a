//! Compressed streams, told apart by how they begin: what a file is called is not believed.
use std::io::{self, BufReader, Cursor, Read};

/// Bytes that tell the formats apart.
const MAGIC_BYTES: usize = 6;
/// What a decompressor may use, in bytes: `xz -9` needs 65 MiB, and nobody's toolchain asks for more than this.
const MEMORY_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Compressed bytes read at once.
const BUFFER_BYTES: usize = 128 * 1024;

/// What `reader` has, decompressed where it is gzip, xz or zstd, several members in a row included; anything
/// else as it is. A stream that ends before its end is an error of kind [`io::ErrorKind::UnexpectedEof`].
///
/// # Errors
/// It cannot be read, or is compressed in a way that is not known here.
pub(crate) fn decompressed(mut reader: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut start = Vec::with_capacity(MAGIC_BYTES);
    reader.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut start)?;
    let format = Format::of(&start);
    let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(start).chain(reader));
    Ok(match format {
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Format::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(MEMORY_BYTES_MAX, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(whole, stream))
        }
        // The library's own limit is a window of 128 MiB.
        Format::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
        Format::Plain => Box::new(whole),
        Format::Unknown(name) => {
            let problem = format!("it is compressed with {name}, which is not read here: gzip, xz and zstd are");
            return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
        }
    })
}

enum Format {
    Gzip,
    Xz,
    Zstd,
    Plain,
    Unknown(&'static str),
}

impl Format {
    fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Xz,
            // A frame, or one that is skipped, which may come first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Unknown("bzip2"),
            [0x5d, 0, 0, ..] => Self::Unknown("lzma"),
            [b'L', b'Z', b'I', b'P', ..] => Self::Unknown("lzip"),
            _ => Self::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        to.write_all(bytes).unwrap();
        to.finish().unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut to = liblzma::write::XzEncoder::new(Vec::new(), 0);
        to.write_all(bytes).unwrap();
        to.finish().unwrap()
    }

    fn zst(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        decompressed(Cursor::new(bytes))?.read_to_end(&mut read)?;
        Ok(read)
    }

    #[test]
    fn formats_are_told_by_their_bytes_and_members_follow_each_other() {
        let bytes: Vec<u8> = (0..300_000_u32).flat_map(|n| (n % 251).to_le_bytes()).collect();
        for compress in [gzip, xz, zst, <[u8]>::to_vec] {
            assert_eq!(read(compress(&bytes)).unwrap(), bytes);
            let (a, b) = bytes.split_at(100_000);
            assert_eq!(read([compress(a), compress(b)].concat()).unwrap(), bytes);
            assert_eq!(read(compress(b"")).unwrap(), b"");
        }
        for short in ["", "x", "\u{1f}"] {
            assert_eq!(read(short.into()).unwrap(), short.as_bytes());
        }
    }

    #[test]
    fn what_is_cut_off_is_an_error_wherever_it_is_cut() {
        let bytes: Vec<u8> = (0..5_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for compress in [gzip, xz, zst] {
            let whole = compress(&bytes);
            for at in [8, 13, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
                let cut = read(whole[..at].to_vec());
                assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{at} of {}", whole.len());
            }
        }
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (start, name) in [(&b"BZh91AY&SY"[..], "bzip2"), (b"LZIP\x01", "lzip"), (&[0x5d, 0, 0, 0x80, 0], "lzma")] {
            assert!(read(start.to_vec()).unwrap_err().to_string().contains(name));
        }
    }
}
