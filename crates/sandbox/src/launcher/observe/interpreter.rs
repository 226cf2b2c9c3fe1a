//! What a program needs before its first instruction: the interpreter of a script, the loader of an
//! executable. The kernel opens them by itself, and says of the program that it does not exist.

/// Bytes of a program that are looked at: the kernel itself looks for `#!` in 256, and linkers put
/// the program headers and the loader's name at the start.
pub(super) const HEAD_BYTES: usize = 4096;

/// ELF's `PT_INTERP`.
const LOADER: u32 = 3;

/// The path of what runs the program that starts with these bytes.
pub(super) fn interpreter(head: &[u8]) -> Option<&[u8]> {
    match head.strip_prefix(b"#!") {
        Some(line) => {
            let line = line.split(|b| *b == b'\n').next()?.trim_ascii();
            line.split(u8::is_ascii_whitespace).next().filter(|word| !word.is_empty())
        }
        None => loader(head),
    }
}

/// Of a 64-bit little-endian ELF file.
fn loader(head: &[u8]) -> Option<&[u8]> {
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(head.get(at..at.checked_add(bytes)?)?);
        usize::try_from(u64::from_le_bytes(value)).ok()
    };
    let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let headers = (0..count).map(|i| start.checked_add(i.checked_mul(size)?));
    for header in headers {
        let header = header?;
        if number(header, 4)? == LOADER as usize {
            let (offset, length) = (number(header.checked_add(8)?, 8)?, number(header.checked_add(32)?, 8)?);
            return head.get(offset..offset.checked_add(length)?)?.strip_suffix(b"\0");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_executables_name_what_runs_them() {
        assert_eq!(interpreter(b"#! /usr/bin/env  python3\nx"), Some(&b"/usr/bin/env"[..]));
        assert_eq!(interpreter(b"#!/bin/sh"), Some(&b"/bin/sh"[..]));
        for none in [&b"#!\n/bin/sh"[..], b"", b"text", b"\x7fELF\x02\x01 cut short"] {
            assert_eq!(interpreter(none), None);
        }
        // The program of this very test is linked by the usual linker.
        let own = std::fs::read("/proc/self/exe").expect("own program");
        let loader = interpreter(&own[..HEAD_BYTES]).expect("tests are linked dynamically");
        assert!(loader.starts_with(b"/") && std::fs::exists(String::from_utf8_lossy(loader).as_ref()).expect("path"));
    }

    /// Whatever stands there, it is only bytes.
    #[test]
    fn headers_that_lie_are_no_harm() {
        let mut head = vec![0xff; HEAD_BYTES];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(interpreter(&head), None);
        for start in 0..64_u64 {
            head[32..40].copy_from_slice(&start.to_le_bytes());
            head[54] = 1;
            head[55] = 0;
            head[start as usize] = 3;
            let _any = interpreter(&head);
        }
    }
}
