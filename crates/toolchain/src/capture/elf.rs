//! What a program says about the libraries it loads: the few fields of an ELF file that the dynamic
//! loader reads.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Most bytes of one table that are read. Real ones are a few KiB; a broken file must not ask for more.
const TABLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;

/// A program or shared library of this machine's word size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Elf {
    /// The processor it is for (`e_machine`).
    pub machine: u16,
    /// The dynamic loader, for programs.
    pub interpreter: Option<String>,
    /// Names of the libraries it loads.
    pub needed: Vec<String>,
    /// Where to look for them and for those of the libraries; ignored where `runpath` is set.
    pub rpath: Option<String>,
    /// Where to look for them, but not for those of the libraries.
    pub runpath: Option<String>,
}

/// Reads a file; nothing where it is no 64-bit little-endian program or shared library.
///
/// # Errors
/// The file cannot be read, or ends before its own tables do.
pub(crate) fn read(path: &Path) -> io::Result<Option<Elf>> {
    let file = File::open(path)?;
    let mut header = [0; 64];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    // Magic, 64 bits, little-endian.
    if !header.starts_with(b"\x7fELF\x02\x01") || ![ET_EXEC, ET_DYN].contains(&u16_at(&header, 16)) {
        return Ok(None);
    }
    let mut elf = Elf { machine: u16_at(&header, 18), ..Elf::default() };
    let segments = Segments::read(&file, &header)?;
    if let Some(interpreter) = segments.first(PT_INTERP) {
        elf.interpreter = Some(text(&table(&file, interpreter.offset, interpreter.size_bytes)?, 0)?);
    }
    if let Some(dynamic) = segments.first(PT_DYNAMIC) {
        let dynamic = table(&file, dynamic.offset, dynamic.size_bytes)?;
        elf.read_dynamic(&file, &segments, &dynamic)?;
    }
    Ok(Some(elf))
}

impl Elf {
    fn read_dynamic(&mut self, file: &File, segments: &Segments, dynamic: &[u8]) -> io::Result<()> {
        let entries: Vec<_> = dynamic.chunks_exact(16).map(|e| (u64_at(e, 0), u64_at(e, 8))).collect();
        let value = |tag| entries.iter().find(|(t, _)| *t == tag).map(|(_, v)| *v);
        let (Some(address), Some(size)) = (value(DT_STRTAB), value(DT_STRSZ)) else { return Ok(()) };
        let strings = table(file, segments.offset_of(address)?, size)?;
        for (tag, at) in entries.iter().take_while(|(tag, _)| *tag != 0) {
            match *tag {
                DT_NEEDED => self.needed.push(text(&strings, *at)?),
                DT_RPATH => self.rpath = Some(text(&strings, *at)?),
                DT_RUNPATH => self.runpath = Some(text(&strings, *at)?),
                _ => {}
            }
        }
        Ok(())
    }
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size_bytes: u64,
}

struct Segments(Vec<Segment>);

impl Segments {
    fn read(file: &File, header: &[u8]) -> io::Result<Self> {
        let (offset, size, count) = (u64_at(header, 32), u16_at(header, 54), u16_at(header, 56));
        if size < 56 {
            return if count == 0 { Ok(Self(Vec::new())) } else { Err(broken("its program headers are too short")) };
        }
        let raw = table(file, offset, u64::from(size) * u64::from(count))?;
        let segment = |p: &[u8]| Segment {
            kind: u32_at(p, 0),
            offset: u64_at(p, 8),
            address: u64_at(p, 16),
            size_bytes: u64_at(p, 32),
        };
        Ok(Self(raw.chunks_exact(usize::from(size)).map(segment).collect()))
    }

    fn first(&self, kind: u32) -> Option<&Segment> {
        self.0.iter().find(|s| s.kind == kind)
    }

    /// Where in the file the byte is that is loaded at `address`.
    fn offset_of(&self, address: u64) -> io::Result<u64> {
        let loaded = |s: &&Segment| s.kind == PT_LOAD && s.address <= address && address - s.address < s.size_bytes;
        let segment = self.0.iter().find(loaded).ok_or_else(|| broken("its string table is not loaded"))?;
        segment.offset.checked_add(address - segment.address).ok_or_else(|| broken("an offset is too large"))
    }
}

fn table(file: &File, offset: u64, size_bytes: u64) -> io::Result<Vec<u8>> {
    if size_bytes > TABLE_BYTES_MAX {
        return Err(broken("one of its tables is too large"));
    }
    let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn text(strings: &[u8], at: u64) -> io::Result<String> {
    let from = usize::try_from(at).ok().and_then(|at| strings.get(at..));
    let until_nul = from.and_then(|s| s.split(|b| *b == 0).next());
    let text = until_nul.and_then(|s| std::str::from_utf8(s).ok());
    text.map(str::to_owned).ok_or_else(|| broken("a name in it is not text"))
}

fn broken(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a proper ELF file: {problem}"))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    // The callers pass whole records, checked by `chunks_exact` or by their fixed length.
    bytes[at..at + N].try_into().expect("N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    /// The test program itself is a dynamic program that loads the C library.
    #[test]
    fn this_program_loads_the_c_library() {
        let elf = read(&std::env::current_exe().unwrap()).unwrap().expect("an ELF file");
        assert!(elf.interpreter.is_some_and(|i| Path::new(&i).exists()));
        assert!(elf.needed.iter().any(|n| n.starts_with("libc.")), "{:?}", elf.needed);
    }

    #[test]
    fn what_is_no_program_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [("empty", &b""[..]), ("script", b"#!/bin/sh\n"), ("elf32", b"\x7fELF\x01\x01")] {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            assert_eq!(read(&path).unwrap(), None, "{name}");
        }
    }

    proptest! {
        /// Whatever is broken in it, reading answers and does not panic or take much memory.
        #[test]
        fn a_broken_program_is_an_error(flips in prop::collection::vec((0usize..1024, any::<u8>()), 1..8), cut in 64usize..4096) {
            let mut content = fs::read("/proc/self/exe").unwrap();
            content.truncate(cut.max(1024));
            for (at, byte) in flips {
                content[at] = byte;
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), &content).unwrap();
            let _ = read(file.path());
        }
    }
}
