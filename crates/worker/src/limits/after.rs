//! What can be told of limits when an execution is over.
use super::{Breach, Bytes, ExecutionLimits, Limited};
use lre_sandbox::How;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Ends whoever makes a file too large and does not ask about it. The same number on every machine that has
/// namespaces.
const SIGXFSZ: i32 = 25;
/// A shell's exit code for it.
const EXIT_XFSZ: i32 = 128 + SIGXFSZ;
/// So much of the end of stderr is read to explain a failure: a compiler's last words are its reason.
const STDERR_TAIL_BYTES: u64 = 64 * 1024;
/// What the C library says, and so nearly everybody.
const NO_SPACE: &str = "No space left on device";

/// What an execution took too much of that ended before anybody saw it, or that the kernel ended.
pub(crate) fn too_much(how: &How, limits: &ExecutionLimits, stdout: &Path, stderr: &Path) -> Option<Breach> {
    for (what, file) in [(Limited::Stdout, stdout), (Limited::Stderr, stderr)] {
        let seen = std::fs::metadata(file).map_or(0, |file| file.len());
        if seen > limits.output_bytes_max {
            return Some(Breach { what, limit: limits.output_bytes_max, seen });
        }
    }
    let limit = limits.file_bytes_max();
    (*how == How::Signaled(SIGXFSZ)).then_some(Breach { what: Limited::Disk, limit, seen: limit })
}

/// Cuts what is kept of an output to what there may be of it.
pub(crate) fn cut(output: &Path, bytes_max: u64) -> io::Result<()> {
    match std::fs::metadata(output) {
        Ok(file) if file.len() > bytes_max => OpenOptions::new().write(true).open(output)?.set_len(bytes_max),
        _ => Ok(()),
    }
}

/// Why a command may have failed, where a limit of ours may be the reason and its own words do not say so.
pub(crate) fn explain(how: &How, limits: &ExecutionLimits, stderr: &Path) -> Option<String> {
    match how {
        How::Exited(EXIT_XFSZ) => Some(format!(
            "exit code {EXIT_XFSZ} is what a shell says of SIGXFSZ: no file of this action may be larger than {}",
            Bytes(limits.file_bytes_max())
        )),
        How::Exited(0) => None,
        How::Exited(_) if tail(stderr).is_ok_and(|text| text.contains(NO_SPACE)) => Some(format!(
            "“{NO_SPACE}”: /tmp of this action takes at most {}, its /dev/shm {}",
            Bytes(crate::plan::TMP_BYTES_MAX.min(limits.memory_bytes_max)),
            Bytes(crate::plan::SHARED_MEMORY_BYTES_MAX.min(limits.memory_bytes_max)),
        )),
        _ => None,
    }
}

fn tail(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(STDERR_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(STDERR_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (short, long, none) = (file("short", "12345"), file("long", "1234567"), dir.path().join("none"));
        let full = file("full", "cc1: error writing to /tmp/x.s: No space left on device\n");
        let limits =
            ExecutionLimits { output_bytes_max: 5, disk_bytes_max: 3 << 20, ..ExecutionLimits::of_machine(1 << 30) };
        let breach = |how: How, stdout, stderr| too_much(&how, &limits, stdout, stderr);
        assert_eq!(breach(How::Exited(0), &short, &none), None);
        let expected = Breach { what: Limited::Stderr, limit: 5, seen: 7 };
        assert_eq!(breach(How::Exited(0), &short, &long), Some(expected));
        let expected = Breach { what: Limited::Disk, limit: 3 << 20, seen: 3 << 20 };
        assert_eq!(breach(How::Signaled(25), &none, &none), Some(expected));
        let why = |how: How, stderr| explain(&how, &limits, stderr).unwrap_or_default();
        assert!(why(How::Exited(153), &none).contains("larger than 3 MiB"));
        assert!(why(How::Exited(1), &full).contains("/tmp of this action takes at most 768 MiB, its /dev/shm 64 MiB"));
        assert_eq!(why(How::Exited(0), &full), "");
        assert_eq!(why(How::Exited(1), &short), "");
        cut(&long, 5).unwrap();
        cut(&short, 5).unwrap();
        cut(&none, 5).unwrap();
        assert_eq!(std::fs::read_to_string(long).unwrap(), "12345");
    }
}
