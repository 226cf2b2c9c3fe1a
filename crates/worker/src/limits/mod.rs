//! What one execution may take of the machine: memory, processes, disk, output.
//!
//! The server has limits, an action may lower them. What the kernel holds by itself (a cgroup's memory
//! and processes, the size of one file, the pids of a PID namespace) it is asked to hold; the rest is
//! watched while an execution runs ([`watch`]), and whoever takes more is killed and told which limit
//! it was. An execution that ends within [`watch::GRACE`] pays for none of this.
mod after;
mod disk;
mod look;
mod machine;
mod open_files;
mod tasks;
mod watch;

pub(crate) use after::{cut, explain, too_much};
pub use machine::Machine;
pub(crate) use tasks::Members;
pub(crate) use watch::{Reserves, Subject, Watcher};

use std::fmt;

/// Memory of an execution, as a part of the machine's: the rest is for the server, the page cache that
/// makes inputs fast, and the desktop of whoever builds here. A single link-time optimisation may need
/// most of a small machine.
const MEMORY_PART: (u64, u64) = (3, 4);
/// Processes and threads of an execution: far more than a build needs, few enough that the machine
/// survives a program that forks without end.
pub const PROCESSES_MAX: u64 = 4096;
/// Bytes on disk of what an execution writes: a debug build of a browser is some 40 GiB, and that is
/// many actions.
pub const DISK_BYTES_MAX: u64 = 64 << 30;
/// Bytes of stdout, and as many of stderr: one less than 2 GiB is what a client in Java can hold in an
/// array or count in an `int`.
pub const OUTPUT_BYTES_MAX: u64 = (2 << 30) - 1;

/// The limits that are in force for an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExecutionLimits {
    /// Memory of all its processes together, and of its /tmp.
    pub memory_bytes_max: u64,
    /// Processes and threads at the same time.
    pub processes_max: u64,
    /// What it writes to its input root and its outputs, on disk.
    pub disk_bytes_max: u64,
    /// Of stdout, and as many of stderr.
    pub output_bytes_max: u64,
}

impl ExecutionLimits {
    /// What holds on a machine with so much memory where nobody says anything else.
    #[must_use]
    pub const fn of_machine(memory_bytes: u64) -> Self {
        Self {
            memory_bytes_max: memory_bytes / MEMORY_PART.1 * MEMORY_PART.0,
            processes_max: PROCESSES_MAX,
            disk_bytes_max: DISK_BYTES_MAX,
            output_bytes_max: OUTPUT_BYTES_MAX,
        }
    }

    /// What holds on this one.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn of_this_machine() -> std::io::Result<Self> {
        Ok(Self::of_machine(Machine::look()?.memory_bytes))
    }

    /// How many processes and threads the kernel is asked for: some more than there may be, so that who has
    /// too many is seen to have them, and told. Half a thousand, because a PID namespace gives the first 300
    /// numbers only once.
    #[must_use]
    pub fn processes_held(&self) -> u32 {
        u32::try_from(self.processes_max).unwrap_or(u32::MAX).saturating_add(512)
    }

    /// The size of one file, which the kernel holds. It cannot tell stdout from others.
    #[must_use]
    pub fn file_bytes_max(&self) -> u64 {
        self.disk_bytes_max.max(self.output_bytes_max)
    }

    /// These, and where the other says less, that.
    #[must_use]
    pub fn lowered(self, asked: &lre_model::Limits) -> Self {
        let lower = |ours: u64, asked: Option<u64>| asked.map_or(ours, |asked| ours.min(asked));
        Self {
            memory_bytes_max: lower(self.memory_bytes_max, asked.memory_bytes_max),
            processes_max: lower(self.processes_max, asked.processes_max),
            disk_bytes_max: lower(self.disk_bytes_max, asked.disk_bytes_max),
            output_bytes_max: lower(self.output_bytes_max, asked.output_bytes_max),
        }
    }
}

/// What an execution took too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Memory, more than its limit.
    Memory,
    /// Processes and threads.
    Processes,
    /// Disk, more than its limit.
    Disk,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The machine's memory: nearly nothing was left, and this one had the most.
    MachineMemory,
    /// The disk of the store: nearly nothing was left, and this one had written the most.
    MachineDisk,
}

impl Limited {
    /// What the violation is called in `QuotaFailure.subject`: the property that lowers the limit, or
    /// what there is too little of.
    #[must_use]
    pub const fn subject(self) -> &'static str {
        match self {
            Self::Memory => "lre-memory-bytes-max",
            Self::Processes => "lre-processes-max",
            Self::Disk => "lre-disk-bytes-max",
            Self::Stdout | Self::Stderr => "lre-output-bytes-max",
            Self::MachineMemory => "memory",
            Self::MachineDisk => "disk",
        }
    }
}

/// An execution was killed because it took too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breach {
    /// Of what.
    pub what: Limited,
    /// How much there may be: bytes, or processes. Of the machine's memory or disk: how much must be
    /// left.
    pub limit: u64,
    /// How much was seen.
    pub seen: u64,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, seen, subject) = (Bytes(self.limit), Bytes(self.seen), self.what.subject());
        match self.what {
            Limited::Memory => write!(f, "the command used more than {limit} of memory ({subject})")?,
            Limited::Processes => {
                write!(f, "the command had more than {} processes and threads ({subject})", self.limit)?;
            }
            Limited::Disk => write!(f, "the command wrote more than {limit} of files ({subject})")?,
            Limited::Stdout => write!(f, "the command wrote more than {limit} to stdout ({subject})")?,
            Limited::Stderr => write!(f, "the command wrote more than {limit} to stderr ({subject})")?,
            Limited::MachineMemory => {
                write!(f, "less than {limit} of the machine's memory were left, and the command, which used {seen},")?;
            }
            Limited::MachineDisk => {
                write!(f, "less than {limit} of the disk were left, and the command, which had written {seen},")?;
            }
        }
        write!(
            f,
            "{} was killed",
            if matches!(self.what, Limited::MachineMemory | Limited::MachineDisk) { "" } else { " and" }
        )
    }
}

/// A number of bytes for people: exact where it is round, else to a tenth.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let Some((shift, unit)) = UNITS.into_iter().find(|(shift, _)| self.0 >> shift != 0) else {
            return write!(f, "{} bytes", self.0);
        };
        let tenths = (u128::from(self.0) * 10) >> shift;
        if u128::from(self.0) * 10 == tenths << shift && tenths % 10 == 0 {
            write!(f, "{} {unit}", tenths / 10)
        } else {
            write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An action lowers limits and never raises them.
    #[test]
    fn limits_are_lowered() {
        let ours = ExecutionLimits::of_machine(16 << 30);
        assert_eq!(ours.memory_bytes_max, 12 << 30);
        assert_eq!(ours.lowered(&lre_model::Limits::default()), ours);
        let asked = lre_model::Limits {
            memory_bytes_max: Some(1 << 20),
            processes_max: Some(u64::MAX),
            disk_bytes_max: Some(7),
            output_bytes_max: None,
        };
        let expected = ExecutionLimits { memory_bytes_max: 1 << 20, disk_bytes_max: 7, ..ours };
        assert_eq!(ours.lowered(&asked), expected);
    }

    /// What users read: which limit, how much, and the property that lowered it.
    #[test]
    fn breaches_in_words() {
        let text = |what, limit, seen| Breach { what, limit, seen }.to_string();
        assert_eq!(
            text(Limited::Memory, 512 << 20, 600 << 20),
            "the command used more than 512 MiB of memory (lre-memory-bytes-max) and was killed"
        );
        assert_eq!(
            text(Limited::Processes, 64, 65),
            "the command had more than 64 processes and threads (lre-processes-max) and was killed"
        );
        assert_eq!(
            text(Limited::Stdout, 1_500_000, 0),
            "the command wrote more than 1.4 MiB to stdout (lre-output-bytes-max) and was killed"
        );
        assert_eq!(
            text(Limited::MachineDisk, 256 << 20, 40 << 30),
            "less than 256 MiB of the disk were left, and the command, which had written 40 GiB, was killed"
        );
        assert_eq!(Bytes(0).to_string(), "0 bytes");
        assert_eq!(Bytes(u64::MAX).to_string(), "17179869183.9 GiB");
    }
}
