//! The processes of an execution as the host sees them, and what they hold of its memory.
//!
//! All processes of a slot descend from one, in a PID namespace whose init takes every orphan: so who
//! descends from it is who belongs to it, and nobody can leave.
use super::machine::kibibytes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The processes of an execution: all below this one, and itself; 0 as long as there is none.
#[derive(Debug, Clone)]
pub(crate) struct Members(pub Arc<AtomicU32>);

/// What was found at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub processes: Vec<u32>,
    /// Threads of all of them, of which each has one at least.
    pub tasks: u64,
    /// Memory that no file stands behind, shared pages counted once for each who shares them: an upper
    /// bound.
    pub memory_bytes: u64,
}

impl Members {
    /// Looks at each. Who ends meanwhile is not counted.
    pub(super) fn look(&self) -> Seen {
        let mut seen = Seen { processes: self.processes(), ..Seen::default() };
        for pid in &seen.processes {
            let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            seen.tasks += number(&status, "Threads:").unwrap_or(0);
            seen.memory_bytes += anonymous(&status);
        }
        seen
    }

    fn processes(&self) -> Vec<u32> {
        match self.0.load(Ordering::Relaxed) {
            0 => Vec::new(),
            root => descendants(root),
        }
    }
}

/// What is only there in memory or in swap. What is mapped from files the kernel can drop, and a
/// compiler's own text is in the memory of every compiler.
fn anonymous(status: &str) -> u64 {
    ["RssAnon:", "RssShmem:", "VmSwap:"].iter().filter_map(|name| kibibytes(status, name)).sum()
}

/// Memory with every shared page counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// Of no file at all.
    pub anonymous_bytes: u64,
    /// Of files in memory, as far as they are mapped.
    pub mapped_bytes: u64,
}

/// Looks at each page of each process: some milliseconds for each GiB, only worth it where the bound of
/// [`Seen`] is too high. After a fork both sides count all that was there before, and a build that forks
/// workers after loading its data must not be killed for it.
pub(super) fn shared_once(processes: &[u32]) -> Shared {
    let mut sum = Shared::default();
    for pid in processes {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
        // One that may not be looked into (our own init, say) counts in full.
        let full = || std::fs::read_to_string(format!("/proc/{pid}/status")).map_or(0, |status| anonymous(&status));
        let one = rollup.as_deref().and_then(proportional);
        let one = one.unwrap_or_else(|| Shared { anonymous_bytes: full(), mapped_bytes: 0 });
        sum.anonymous_bytes += one.anonymous_bytes;
        sum.mapped_bytes += one.mapped_bytes;
    }
    sum
}

fn proportional(rollup: &str) -> Option<Shared> {
    let swapped = kibibytes(rollup, "SwapPss:").unwrap_or(0);
    Some(Shared {
        anonymous_bytes: kibibytes(rollup, "Pss_Anon:")? + swapped,
        mapped_bytes: kibibytes(rollup, "Pss_Shmem:").unwrap_or(0),
    })
}

/// All processes below `root`, and itself.
fn descendants(root: u32) -> Vec<u32> {
    if !Path::new(&format!("/proc/{root}/task/{root}/children")).exists() {
        return descendants_by_parent(root);
    }
    let mut found = vec![root];
    let mut known = BTreeSet::from([root]);
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        next += 1;
        // A child belongs to the thread that made it.
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            // One that is seen twice has moved to the init meanwhile.
            found.extend(numbers(&children).into_iter().filter(|child| known.insert(*child)));
        }
    }
    found
}

/// The same on a kernel without `children` files: all processes of the machine are asked for their parent.
fn descendants_by_parent(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        next += 1;
        found.extend(children.remove(pid).unwrap_or_default());
    }
    found
}

/// The fourth field of `stat`. The second, in brackets, is a name that may itself hold brackets and spaces.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn number(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    /// A shell with what it starts; it has started all when it says so.
    struct Tree(Child);

    impl Tree {
        fn of(script: &str) -> Self {
            let mut shell = Command::new("sh");
            let mut child =
                shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            Self(child)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            // Those below wait for this end of the pipe.
            drop(self.0.stdin.take());
            self.0.wait().unwrap();
        }
    }

    /// Children, and children of children; both ways find the same.
    #[test]
    fn descendants_are_found() {
        let tree = Tree::of("exec 3<&0; (cat <&3 & cat <&3 & wait) & cat <&3 & sh -c 'echo ready'; cat <&3; wait");
        let root = tree.0.id();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let sorted = |of: fn(u32) -> Vec<u32>| {
            let mut found = of(root);
            found.sort_unstable();
            found
        };
        // The shell has said so before the last of them was there, and one was another before.
        loop {
            let (found, again) = (sorted(descendants), sorted(descendants_by_parent));
            if found.len() == 6 && found == again {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{found:?} {again:?}");
            std::thread::yield_now();
        }
        let seen = Members(Arc::new(root.into())).look();
        assert_eq!((seen.processes.len(), seen.tasks), (6, 6));
        let once = shared_once(&seen.processes);
        assert!(once.anonymous_bytes > 0 && once.anonymous_bytes <= seen.memory_bytes, "{seen:?} {once:?}");
    }

    #[test]
    fn who_is_not_there_takes_nothing() {
        let gone = {
            let mut child = Command::new("true").spawn().unwrap();
            child.wait().unwrap();
            child.id()
        };
        let seen = Members(Arc::new(gone.into())).look();
        assert_eq!((seen.tasks, seen.memory_bytes, shared_once(&[gone])), (0, 0, Shared::default()));
        assert_eq!(Members(Arc::default()).look(), Seen::default());
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let status = "Name:\tx\nVmRSS:\t  900 kB\nRssAnon:\t     100 kB\nRssFile:\t 700 kB\nRssShmem:\t 10 kB\nVmSwap:\t 1 kB\nThreads:\t7\n";
        assert_eq!((anonymous(status), number(status, "Threads:")), (111 << 10, Some(7)));
        let rollup = "Rss: 9 kB\nPss: 8 kB\nPss_Anon: 4 kB\nPss_File: 1 kB\nPss_Shmem: 2 kB\nSwapPss: 1 kB\n";
        let expected = Shared { anonymous_bytes: 5 << 10, mapped_bytes: 2 << 10 };
        assert_eq!(proportional(rollup), Some(expected));
        assert_eq!(proportional(""), None, "a process that is ending");
        assert_eq!(parent("12 (a) b (c)) S 7 12"), Some(7));
        assert_eq!(parent(""), None);
        assert_eq!(numbers("1 22 \n333\n"), [1, 22, 333]);
    }
}
