//! From an execution to the plans of its root and of itself. Pure.
use crate::limits::ExecutionLimits;
use crate::ready::ReadyToolchain;
use lre_model::{Command, Network, Policy, Terms};
use lre_sandbox::{Exec, Inputs, RootPlan, SandboxPlan, Step};
use std::collections::BTreeMap;
use std::ffi::{CString, NulError};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Where every command finds its inputs, on every machine (TOOLCHAINS 6).
pub const EXEC_ROOT: &str = "/lre/exec";

/// Most bytes that an action may keep in /tmp. It is memory, and `-pipe`-less compilers put their
/// assembler files there; a link-time optimisation of a large program stays below 2 GiB.
pub(crate) const TMP_BYTES_MAX: u64 = 4 << 30;
/// Most bytes of /dev/shm: what container engines give.
pub(crate) const SHARED_MEMORY_BYTES_MAX: u64 = 64 << 20;
/// The home that can be written, of the policies that have one.
const HOME: &str = "/home/lre";

/// What every command gets that does not set it itself: the determinism policy.
const POLICY: [(&str, &str); 6] = [
    ("HOME", "/nonexistent"),
    ("LC_ALL", "C"),
    ("PATH", "/usr/bin:/bin"),
    ("SOURCE_DATE_EPOCH", "315532800"),
    ("TMPDIR", "/tmp"),
    ("TZ", "UTC"),
];

const PASSWD: &str = "root:x:0:0:root:/nonexistent:/bin/sh\n\
    lre:x:1000:1000:lre:/nonexistent:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n";
const GROUP: &str = "root:x:0:\nlre:x:1000:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files\n";

/// The files of /etc that are the same in every sandbox; a toolchain cannot bring its own.
pub(crate) const ETC: [(&str, &str); 4] =
    [("group", GROUP), ("hosts", HOSTS), ("nsswitch.conf", NSSWITCH), ("passwd", PASSWD)];

/// What the host says about its network, for the executions that may use it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostNetwork {
    /// Its /etc/hosts.
    pub hosts: Vec<u8>,
    /// Its /etc/resolv.conf.
    pub resolv_conf: Vec<u8>,
}

/// The root that executions with these toolchains and terms share. Which slot it belongs to is left
/// open.
///
/// # Errors
/// NUL in a path of the host.
pub(crate) fn root(
    toolchains: &[&ReadyToolchain],
    terms: &Terms,
    limits: &ExecutionLimits,
    host: Option<&HostNetwork>,
) -> Result<RootPlan, NulError> {
    let mut kept: Vec<Step> = toolchains.iter().flat_map(|t| t.steps.iter().cloned()).collect();
    for (name, content) in etc(terms.policy, host) {
        kept.push(Step::File { inside: CString::new(format!("/etc/{name}"))?, content });
    }
    kept.push(Step::Dev);
    let memory = limits.memory_bytes_max;
    let tmpfs = |inside: &str, mode, bytes_max: u64| -> Result<Step, NulError> {
        Ok(Step::Tmpfs { inside: CString::new(inside)?, mode, bytes_max: bytes_max.min(memory) })
    };
    let mut fresh = vec![Step::Proc { whole: terms.policy == Policy::Compat1 }];
    fresh.push(tmpfs("/tmp", 0o1777, TMP_BYTES_MAX)?);
    fresh.push(tmpfs("/dev/shm", 0o1777, SHARED_MEMORY_BYTES_MAX)?);
    if terms.policy != Policy::Strict1 {
        fresh.push(tmpfs(HOME, 0o755, TMP_BYTES_MAX)?);
    }
    Ok(RootPlan {
        kept,
        fresh,
        slot: CString::default(),
        run: String::new(),
        exec_root: CString::new(EXEC_ROOT)?,
        inputs: if terms.mutates_inputs { Inputs::Overlay } else { Inputs::ReadOnly },
        network: match terms.network {
            Network::Loopback => lre_sandbox::Network::Loopback,
            Network::Host => lre_sandbox::Network::Host,
        },
        fixed_addresses: terms.policy != Policy::Compat1,
        warm: terms.warm.clone(),
        processes_max: limits.processes_held(),
        cgroup: None,
    })
}

/// The files of /etc that are ours. With the host's network, names are found as on the host.
fn etc(policy: Policy, host: Option<&HostNetwork>) -> Vec<(&'static str, Vec<u8>)> {
    let mut files: BTreeMap<_, _> = ETC.iter().map(|(name, content)| (*name, content.as_bytes().to_vec())).collect();
    if policy != Policy::Strict1 {
        // A JVM takes its home from here, not from the environment.
        files.insert("passwd", PASSWD.replace("lre:/nonexistent", &format!("lre:{HOME}")).into_bytes());
    }
    if let Some(host) = host {
        files.insert("hosts", host.hosts.clone());
        files.insert("resolv.conf", host.resolv_conf.clone());
        files.insert("nsswitch.conf", NSSWITCH.replace("hosts: files", "hosts: files dns").into_bytes());
    }
    files.into_iter().collect()
}

/// One execution in such a root. `path` is the PATH of its toolchains, `directories` are made for it.
///
/// # Errors
/// NUL in an argument or a variable.
pub(crate) fn execution(
    command: &Command,
    policy: Policy,
    path: Option<&str>,
    directories: Vec<CString>,
    timeout: Duration,
    limits: &ExecutionLimits,
) -> Result<SandboxPlan, NulError> {
    let arguments = command.arguments.iter().map(|a| CString::new(a.as_str())).collect::<Result<_, _>>()?;
    let variables = environment(command, policy, path);
    let variables = variables.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
    let exec = Exec {
        arguments,
        environment: variables.collect::<Result<_, _>>()?,
        directory: CString::new(inside(&command.working_directory.to_string()))?,
    };
    Ok(SandboxPlan { directories, exec, timeout, file_bytes_max: Some(limits.file_bytes_max()), observe: false })
}

/// REAPI: exactly the variables of the Command, "plus documented defaults" (PROTOCOL, 67 and 68).
fn environment(command: &Command, policy: Policy, path: Option<&str>) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<_, _> = POLICY.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    if policy != Policy::Strict1 {
        environment.insert("HOME".to_owned(), HOME.to_owned());
    }
    if let Some(path) = path {
        environment.insert("PATH".to_owned(), path.to_owned());
    }
    environment.extend(command.environment.clone());
    environment
}

fn inside(relative: &str) -> String {
    if relative.is_empty() { EXEC_ROOT.to_owned() } else { format!("{EXEC_ROOT}/{relative}") }
}

pub(crate) fn host(path: &Path) -> Result<CString, NulError> {
    CString::new(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::{Outputs, Platform, RelPath};

    #[test]
    fn a_plain_compile_sees_its_toolchain_and_nothing_else() {
        let toolchain = ReadyToolchain {
            steps: vec![
                Step::BindReadOnly { host: c"/store/t/usr".into(), inside: c"/usr".into() },
                Step::Symlink { target: c"usr/bin".into(), inside: c"/bin".into() },
            ],
        };
        let command = Command {
            arguments: vec!["cc".into(), "-c".into(), "a.c".into()],
            environment: BTreeMap::from([("TZ".into(), "Asia/Tokyo".into())]),
            working_directory: RelPath::parse("src").unwrap(),
            outputs: Outputs::Paths(vec![]),
            platform: Platform::default(),
            directory_format: lre_model::DirectoryFormat::Tree,
            output_properties: vec![],
        };
        let limits = ExecutionLimits::of_machine(4 << 30);
        let root = root(&[&toolchain], &Terms::default(), &limits, None).unwrap();
        assert_eq!(
            root.to_string(),
            "ro /store/t/usr -> /usr\n\
             link /bin -> usr/bin\n\
             file /etc/group (39 bytes)\n\
             file /etc/hosts (34 bytes)\n\
             file /etc/nsswitch.conf (40 bytes)\n\
             file /etc/passwd (127 bytes)\n\
             dev /dev\n\
             each time proc /proc\n\
             each time tmpfs /tmp mode 1777 at most 3221225472 bytes\n\
             each time tmpfs /dev/shm mode 1777 at most 67108864 bytes\n\
             each time overlay /N/upper over /tree -> /lre/exec\n\
             network loopback\n\
             at most 4608 processes\n"
        );
        let plan = execution(
            &command,
            Policy::Strict1,
            Some("/usr/bin"),
            vec![c"src/out".into()],
            Duration::from_secs(60),
            &limits,
        );
        assert_eq!(
            plan.unwrap().to_string(),
            "dir src/out\n\
             env HOME=/nonexistent\n\
             env LC_ALL=C\n\
             env PATH=/usr/bin\n\
             env SOURCE_DATE_EPOCH=315532800\n\
             env TMPDIR=/tmp\n\
             env TZ=Asia/Tokyo\n\
             timeout 60000 ms\n\
             files at most 68719476736 bytes\n\
             exec cc -c a.c in /lre/exec/src\n"
        );
    }

    /// Each policy differs from the one before in what its page says, and in nothing else.
    #[test]
    fn policies_differ_in_what_they_say() {
        let limits = ExecutionLimits::of_machine(16 << 30);
        let of = |policy, network, host: Option<&HostNetwork>| {
            let terms = Terms { policy, network, ..Terms::default() };
            root(&[], &terms, &limits, host).unwrap().to_string()
        };
        let strict = of(Policy::Strict1, Network::Loopback, None);
        let standard = of(Policy::Standard1, Network::Loopback, None);
        let compat = of(Policy::Compat1, Network::Loopback, None);
        let home = "each time tmpfs /home/lre mode 755 at most 4294967296 bytes\n";
        assert_eq!(standard.replace(home, "").replace("passwd (124 bytes)", "passwd (127 bytes)"), strict);
        let expected = standard.replace("each time proc", "each time whole proc") + "random addresses\n";
        assert_eq!(compat, expected);
        let host = HostNetwork { hosts: b"1.2.3.4 build\n".to_vec(), resolv_conf: b"nameserver 1.2.3.4\n".to_vec() };
        let online = of(Policy::Compat1, Network::Host, Some(&host));
        for line in ["network of the host", "file /etc/resolv.conf (19 bytes)", "file /etc/hosts (14 bytes)"] {
            assert!(online.contains(line), "{online}");
        }
    }
}
