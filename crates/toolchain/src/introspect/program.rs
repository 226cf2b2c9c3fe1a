//! What the first bytes of a file say of how it is started.

/// How a file is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// A script: the program after `#!`.
    Script(String),
    /// An ELF program.
    Elf {
        /// The processor it is for (`e_machine`).
        machine: u16,
        /// The dynamic loader, where it wants one.
        loader: Option<String>,
    },
}

const PT_INTERP: u64 = 3;

/// Reads the first page of a file; nothing where it is no program, or one of 32 bits or big-endian.
pub(super) fn program(head: &[u8]) -> Option<Program> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = String::from_utf8_lossy(line.split(|b| *b == b'\n').next()?).into_owned();
        return line.split_whitespace().next().map(|i| Program::Script(i.to_owned()));
    }
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (offset, size, count) = (number(head, 32, 8)?, number(head, 54, 2)?, number(head, 56, 2)?);
    let machine = u16::try_from(number(head, 18, 2)?).ok()?;
    let loader = (0..count).find_map(|i| {
        let at = offset.checked_add(i * size)?;
        (number(head, at, 4)? == PT_INTERP).then(|| name(head, number(head, at.checked_add(8)?, 8)?))?
    });
    Some(Program::Elf { machine, loader })
}

/// Whether programs for this processor run here.
pub(super) fn runs_here(machine: u16) -> bool {
    // EM_X86_64 and EM_AARCH64 of the ELF specification.
    machine == if cfg!(target_arch = "aarch64") { 183 } else { 62 }
}

fn number(bytes: &[u8], at: u64, length: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn name(bytes: &[u8], at: u64) -> Option<String> {
    let name = bytes.get(usize::try_from(at).ok()?..)?.split(|b| *b == 0).next()?;
    String::from_utf8(name.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    fn own_head() -> Vec<u8> {
        let mut head = vec![0; 4096];
        std::fs::File::open("/proc/self/exe").unwrap().read_exact(&mut head).unwrap();
        head
    }

    #[test]
    fn programs_are_told_apart() {
        match program(&own_head()) {
            Some(Program::Elf { machine, loader: Some(loader) }) => {
                assert!(runs_here(machine) && std::path::Path::new(&loader).exists(), "{loader}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(program(b"#! /bin/sh -e\nexit\n"), Some(Program::Script("/bin/sh".to_owned())));
        for nothing in [&b""[..], b"#!", b"text", b"\x7fELF\x02\x01", b"\x7fELF\x01\x01aaaa"] {
            assert_eq!(program(nothing), None);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_broken_is_answered(flips in prop::collection::vec((0usize..1024, any::<u8>()), 1..8), cut in 0usize..4096) {
            let mut head = own_head();
            for (at, byte) in flips {
                head[at] = byte;
            }
            let _ = program(&head[..cut]);
        }
    }
}
