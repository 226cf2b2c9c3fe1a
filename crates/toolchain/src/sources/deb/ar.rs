//! The outermost wrapping of a `.deb`: an `ar` archive of three members (deb(5)).
use std::fs::File;
use std::io::{self, Error, ErrorKind, Read, Seek, SeekFrom, Take};
use std::path::Path;

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER_BYTES: u64 = 60;
/// A package has three; some have a signature as well.
const MEMBERS_MAX: usize = 16;

/// Where the content of one member is in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub name: String,
    at: u64,
    bytes: u64,
}

impl Member {
    /// Its content.
    pub fn open(&self, archive: &Path) -> io::Result<Take<File>> {
        let mut file = File::open(archive)?;
        file.seek(SeekFrom::Start(self.at))?;
        Ok(file.take(self.bytes))
    }
}

/// All members, in order; every one is there to its last byte.
pub(super) fn members(archive: &Path) -> io::Result<Vec<Member>> {
    let mut file = File::open(archive)?;
    let whole = file.metadata()?.len();
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(bad("it does not begin as an `ar` archive"));
    }
    let (mut members, mut at) = (Vec::new(), MAGIC.len() as u64);
    while at < whole {
        let mut header = [0; HEADER_BYTES as usize];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header)?;
        let (name, bytes) = parsed(&header)?;
        at += HEADER_BYTES;
        if whole - at < bytes {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        members.push(Member { name, at, bytes });
        if members.len() > MEMBERS_MAX {
            return Err(bad("it has more members than a package has"));
        }
        // Headers begin at even places.
        at += bytes + bytes % 2;
    }
    Ok(members)
}

fn parsed(header: &[u8]) -> io::Result<(String, u64)> {
    let text = std::str::from_utf8(header).ok().filter(|text| text.is_ascii() && text.ends_with("`\n"));
    let text = text.ok_or_else(|| bad("a header of its `ar` archive makes no sense"))?;
    // Some write `name/`, to allow for names that end in spaces.
    let name = text[..16].trim_end().trim_end_matches('/');
    let bytes = text[48..58].trim_end().parse::<u32>().map_err(|_| bad("a size in its `ar` archive makes no sense"))?;
    Ok((name.to_owned(), bytes.into()))
}

fn bad(problem: &str) -> Error {
    Error::new(ErrorKind::InvalidData, problem)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An archive with these members.
    pub(in crate::sources::deb) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, content) in members {
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).bytes());
            bytes.extend(*content);
            bytes.extend(std::iter::repeat_n(b'\n', content.len() % 2));
        }
        bytes
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), bytes)?;
        let read = |member: Member| {
            let mut content = Vec::new();
            member.open(file.path())?.read_to_end(&mut content)?;
            Ok((member.name, content))
        };
        members(file.path())?.into_iter().map(read).collect()
    }

    #[test]
    fn members_are_found_at_even_places() {
        let bytes = archive(&[("a/", b"odd"), ("empty", b""), ("b", b"even")]);
        let found = read(&bytes).unwrap();
        let names: Vec<_> = found.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
        assert_eq!(names, [("a", &b"odd"[..]), ("empty", b""), ("b", b"even")]);
    }

    #[test]
    fn what_ends_too_early_is_refused_wherever_it_ends() {
        let bytes = archive(&[("a", b"odd"), ("b", b"even")]);
        // It may end after a member, with or without what follows an odd one.
        let whole = [8, 8 + 60 + 3, 8 + 60 + 4, bytes.len()];
        for end in 0..=bytes.len() {
            assert_eq!(read(&bytes[..end]).is_ok(), whole.contains(&end), "{end}");
        }
        for (at, with) in [(0, b'?'), (8 + 58, b'?'), (8 + 48, b'?'), (8, 0xff)] {
            let mut bytes = bytes.clone();
            bytes[at] = with;
            assert!(read(&bytes).is_err(), "{at}");
        }
        assert!(read(&archive(&[("x", &b""[..]); MEMBERS_MAX + 1])).is_err());
    }
}
