//! What processes cost, as the kernel counts it.
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Resident memory of a process, in bytes: now, and the most since [`forget_peak`].
pub fn resident(pid: u32) -> Result<(u64, u64)> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).context(path)?;
    let kib = |name: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        Ok(line.trim_start_matches(':').trim_end_matches("kB").trim().parse::<u64>()?)
    };
    Ok((kib("VmRSS")? * 1024, kib("VmHWM")? * 1024))
}

/// Begins to look for the most resident memory anew.
pub fn forget_peak(pid: u32) -> Result<()> {
    // 5: "reset the peak resident set size to the process's current value" (proc_pid_clear_refs(5)).
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").context(path)
}

/// The server, and everything that it has started, at one moment.
pub struct Family {
    server: u32,
    members: BTreeMap<u32, Member>,
    machine: Duration,
}

struct Member {
    parent: u32,
    own: Time,
    /// Of children that have ended and been waited for, with theirs.
    ended: Time,
}

/// Processor time of processes.
#[derive(Default, Clone, Copy)]
pub struct Time {
    user: Duration,
    system: Duration,
}

/// Processor time between two moments, by who spent it.
#[derive(Default)]
pub struct Spent {
    /// This process: the client.
    pub client: Time,
    /// The server itself.
    pub server: Time,
    /// What the server has started and still runs.
    pub helpers: Time,
    /// What these have started and waited for: sandboxes and commands.
    pub ended: Time,
    /// The whole machine, the kernel's own threads included.
    pub machine: Duration,
}

impl Family {
    /// As it is now.
    pub fn of(server: u32) -> Result<Self> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that has ended meanwhile is none.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            if let Some(member) = stat.ok().as_deref().and_then(Member::parse) {
                all.insert(pid, member);
            }
        }
        let me = std::process::id();
        let is_of = |mut pid: u32| loop {
            match all.get(&pid) {
                _ if pid == server => return true,
                Some(member) if member.parent != 0 => pid = member.parent,
                _ => return false,
            }
        };
        let ours: Vec<u32> = all.keys().copied().filter(|pid| *pid == me || is_of(*pid)).collect();
        let members = ours.into_iter().filter_map(|pid| all.remove(&pid).map(|member| (pid, member))).collect();
        Ok(Self { server, members, machine: machine()? })
    }

    /// What was spent since `before`.
    pub fn since(&self, before: &Self) -> Spent {
        let mut spent = Spent { machine: self.machine.saturating_sub(before.machine), ..Spent::default() };
        for (pid, member) in &self.members {
            let (own, ended) = before.members.get(pid).map_or_else(Default::default, |m| (m.own, m.ended));
            let whose = match *pid {
                pid if pid == std::process::id() => &mut spent.client,
                pid if pid == self.server => &mut spent.server,
                _ => &mut spent.helpers,
            };
            whose.add(member.own.since(own));
            // What this process itself has started is none of the server's.
            if *pid != std::process::id() {
                spent.ended.add(member.ended.since(ended));
            }
        }
        spent
    }

    /// How many processes there are of the server, itself included.
    pub fn size(&self) -> usize {
        self.members.keys().filter(|pid| **pid != std::process::id()).count()
    }
}

impl Spent {
    /// Each part, in microseconds for each of `count` actions; of it in the kernel.
    pub fn each(&self, count: usize) -> String {
        let one = |spent: Duration| spent.as_micros() / count.max(1) as u128;
        let parts = [
            ("client", self.client),
            ("server", self.server),
            ("its launchers", self.helpers),
            ("sandboxes and commands", self.ended),
        ];
        let each = parts.map(|(who, time)| format!("{who} {} (kernel {})", one(time.sum()), one(time.system)));
        let known: Duration = parts.iter().map(|(_, time)| time.sum()).sum();
        let (rest, all) = (one(self.machine.saturating_sub(known)), one(self.machine));
        format!("processor time for each, us: {}, the rest of the machine {rest}; all {all}", each.join(", "))
    }
}

impl Time {
    fn sum(self) -> Duration {
        self.user + self.system
    }

    fn add(&mut self, other: Self) {
        self.user += other.user;
        self.system += other.system;
    }

    fn since(self, before: Self) -> Self {
        let (user, system) = (self.user.saturating_sub(before.user), self.system.saturating_sub(before.system));
        Self { user, system }
    }
}

impl Member {
    /// A line of `/proc/PID/stat`: the name in parentheses may hold anything, so what counts comes after the last one.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let time = |first: usize| -> Option<Time> {
            let [user, system] = [first, first + 1].map(|i| fields.get(i)?.parse().ok().map(ticks));
            Some(Time { user: user?, system: system? })
        };
        // Fields 4, and 14 to 17, counted from 1 with the process's id and name.
        Some(Self { parent: fields.get(1)?.parse().ok()?, own: time(11)?, ended: time(13)? })
    }
}

/// What all processors have spent on anything: user, nice, system, irq and softirq of the first line of `/proc/stat`.
fn machine() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    Ok(ticks([0, 1, 2, 5, 6].iter().filter_map(|i| fields.get(*i)).sum()))
}

fn ticks(count: u64) -> Duration {
    Duration::from_micros(count * 1_000_000 / rustix::param::clock_ticks_per_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) b (c)) S 3 7 7 0 -1 0 0 0 0 0 100 200 300 400 20 0 1 0 5 0 0";
        let member = Member::parse(stat).unwrap();
        assert_eq!(member.parent, 3);
        assert_eq!(member.own.sum(), ticks(300));
        assert_eq!((member.ended.user, member.ended.system), (ticks(300), ticks(400)));
    }

    #[test]
    fn this_process_is_resident() {
        let (now, peak) = resident(std::process::id()).unwrap();
        assert!(now > 0 && peak >= now, "{now} of {peak}");
    }
}
