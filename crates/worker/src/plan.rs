//! From an execution to a sandbox plan. Pure.
use crate::ready::ReadyToolchain;
use lre_model::Command;
use lre_sandbox::{Exec, SandboxPlan, Step};
use std::collections::BTreeMap;
use std::ffi::{CString, NulError};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Where every command finds its inputs, on every machine (TOOLCHAINS 6).
pub const EXEC_ROOT: &str = "/lre/exec";

/// Most bytes that an action may keep in /tmp. It is memory, and `-pipe`-less compilers put their
/// assembler files there; a link-time optimisation of a large program stays below 2 GiB.
const TMP_BYTES_MAX: u64 = 4 << 30;

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

/// The host paths of one execution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    /// Shows the inputs.
    pub lower: &'a Path,
    /// Takes what the command writes.
    pub upper: &'a Path,
    /// For the kernel's own use.
    pub work: &'a Path,
    /// Takes stdout.
    pub stdout: &'a Path,
    /// Takes stderr.
    pub stderr: &'a Path,
}

/// Writes the plan.
///
/// # Errors
/// NUL in a path of the host.
pub(crate) fn plan(
    toolchains: &[&ReadyToolchain],
    command: &Command,
    path: Option<&str>,
    places: Places<'_>,
    timeout: Duration,
) -> Result<SandboxPlan, NulError> {
    let mut steps: Vec<Step> = toolchains.iter().flat_map(|t| t.steps.iter().cloned()).collect();
    for (name, content) in ETC {
        steps.push(Step::File { inside: CString::new(format!("/etc/{name}"))?, content: content.into() });
    }
    steps.push(Step::Tmpfs { inside: CString::new("/tmp")?, bytes_max: TMP_BYTES_MAX });
    steps.push(Step::Dev);
    steps.push(Step::Proc);
    steps.push(Step::Overlay {
        lower: host(places.lower)?,
        upper: host(places.upper)?,
        work: host(places.work)?,
        inside: CString::new(EXEC_ROOT)?,
    });
    let arguments = command.arguments.iter().map(|a| CString::new(a.as_str())).collect::<Result<_, _>>()?;
    let variables = environment(command, path);
    let variables = variables.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
    let exec = Exec {
        arguments,
        environment: variables.collect::<Result<_, _>>()?,
        directory: CString::new(inside(&command.working_directory.to_string()))?,
    };
    Ok(SandboxPlan { steps, exec, stdout: host(places.stdout)?, stderr: host(places.stderr)?, timeout })
}

/// REAPI: exactly the variables of the Command, "plus documented defaults" (PROTOCOL, 67 and 68).
fn environment(command: &Command, path: Option<&str>) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<_, _> = POLICY.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
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
        let places = Places {
            lower: Path::new("/store/slots/0/tree"),
            upper: Path::new("/store/slots/0/run/upper"),
            work: Path::new("/store/slots/0/run/work"),
            stdout: Path::new("/store/slots/0/run/stdout"),
            stderr: Path::new("/store/slots/0/run/stderr"),
        };
        let plan = plan(&[&toolchain], &command, Some("/usr/bin"), places, Duration::from_secs(60)).unwrap();
        assert_eq!(
            plan.to_string(),
            "ro /store/t/usr -> /usr\n\
             link /bin -> usr/bin\n\
             file /etc/group (39 bytes)\n\
             file /etc/hosts (34 bytes)\n\
             file /etc/nsswitch.conf (40 bytes)\n\
             file /etc/passwd (127 bytes)\n\
             tmpfs /tmp at most 4294967296 bytes\n\
             dev /dev\n\
             proc /proc\n\
             overlay /store/slots/0/run/upper over /store/slots/0/tree -> /lre/exec\n\
             env HOME=/nonexistent\n\
             env LC_ALL=C\n\
             env PATH=/usr/bin\n\
             env SOURCE_DATE_EPOCH=315532800\n\
             env TMPDIR=/tmp\n\
             env TZ=Asia/Tokyo\n\
             timeout 60000 ms\n\
             exec cc -c a.c in /lre/exec/src\n"
        );
    }
}
