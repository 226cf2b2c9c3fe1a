//! How much memory this machine has, and how much is left.
use std::path::Path;

/// What the kernel says of the whole machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// All of its memory; of a container, what the container may have.
    pub memory_bytes: u64,
    /// What programs can still get without swapping.
    pub available_bytes: u64,
}

impl Machine {
    /// Looks.
    ///
    /// # Errors
    /// /proc is not mounted or says nothing of memory.
    pub fn look() -> std::io::Result<Self> {
        let mut machine = Self::available()?;
        if let Some(bound) =
            container_bound(Path::new("/sys/fs/cgroup"), &std::fs::read_to_string("/proc/self/cgroup")?)
        {
            machine.memory_bytes = machine.memory_bytes.min(bound);
        }
        Ok(machine)
    }

    /// Looks at the machine alone, not at the container: one small file.
    pub(super) fn available() -> std::io::Result<Self> {
        parse(&std::fs::read_to_string("/proc/meminfo")?)
            .ok_or_else(|| std::io::Error::other("/proc/meminfo does not say how much memory there is"))
    }
}

fn parse(meminfo: &str) -> Option<Machine> {
    Some(Machine {
        memory_bytes: kibibytes(meminfo, "MemTotal:")?,
        available_bytes: kibibytes(meminfo, "MemAvailable:")?,
    })
}

/// The bytes of a line `name   123 kB`.
pub(super) fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// The lowest bound that the cgroups above this process set: in a container of 4 GiB on a machine of 64,
/// a limit of three quarters of the machine would be none.
fn container_bound(mount: &Path, own: &str) -> Option<u64> {
    let mut bounds = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (top, file) = match controllers {
            "" => (mount.to_owned(), "memory.max"),
            v1 if v1.split(',').any(|name| name == "memory") => (mount.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        // In a container whose cgroup namespace is the host's, the path is not there, but its end is the mount.
        for place in Path::new(path.trim_start_matches('/')).ancestors() {
            let text = std::fs::read_to_string(top.join(place).join(file));
            bounds.extend(text.ok().and_then(|text| text.trim().parse::<u64>().ok()));
        }
    }
    bounds.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        let machine = Machine::look().unwrap();
        assert!(machine.memory_bytes > 0 && machine.available_bytes > 0, "{machine:?}");
    }

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal:       24683712 kB\nMemFree:        1 kB\nMemAvailable:   24138960 kB\n";
        let expected = Machine { memory_bytes: 24_683_712 << 10, available_bytes: 24_138_960 << 10 };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("MemTotal: x kB"), None);
    }

    /// Version 2, version 1, both, none; the lowest of all that stand above counts.
    #[test]
    fn the_container_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("a/memory.max", "4096\n");
        write("a/b/memory.max", "max\n");
        write("memory/c/memory.limit_in_bytes", "1024\n");
        let bound = |own| container_bound(dir.path(), own);
        assert_eq!(bound("0::/a/b\n"), Some(4096));
        assert_eq!(bound("4:memory:/c\n0::/a\n"), Some(1024));
        assert_eq!(bound("4:cpu,memory:/c/not-there\n"), Some(1024));
        assert_eq!(bound("1:cpu:/a\n"), None);
        assert_eq!(bound(""), None);
    }
}
