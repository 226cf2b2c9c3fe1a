//! The programs that the tests run: a copy of the launcher that every user can read, and small
//! C programs that try things.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Stands in the arguments of every program of a test that must be found, or not found, among the
/// processes of the host.
pub const MARK: &str = "lre-kernel-mark";

/// The folder with them, as long as a world uses it.
static READY: Mutex<Weak<tempfile::TempDir>> = Mutex::new(Weak::new());

/// The folder with them, made where no world has it yet; removed with the last that has.
///
/// All tests wait for it before they start anything: a file that is executed while another thread
/// has just forked with the file open for writing gives ETXTBSY.
pub(crate) fn directory(launcher: &Path) -> Arc<tempfile::TempDir> {
    let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
    ready.upgrade().unwrap_or_else(|| {
        let made = Arc::new(make(launcher));
        *ready = Arc::downgrade(&made);
        made
    })
}

fn make(launcher: &Path) -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("lre-kernel-programs-").tempdir().expect("temporary directory");
    let path = directory.path();
    // The build's own folder may lie where other users cannot go.
    fs::copy(launcher, path.join("launcher")).expect("copying the launcher");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode");
    let tools = path.join("tools");
    fs::create_dir(&tools).expect("folder");
    for (name, content) in [("try", include_str!("try.c")), ("wants", include_str!("wants.c"))] {
        let source = path.join(name).with_extension("c");
        fs::write(&source, content).expect("source");
        compile(&source, &tools.join(name));
    }
    fs::write(tools.join("text"), "no program\n").expect("text");
    fs::write(tools.join("orphan"), "#!/no/such/interpreter\n").expect("script");
    fs::set_permissions(tools.join("orphan"), fs::Permissions::from_mode(0o755)).expect("mode");
    directory
}

/// Static where this machine has what that needs, so that nothing else must be mounted.
fn compile(source: &Path, program: &Path) {
    let compile = |linkage: &[&str]| {
        let mut cc = Command::new("cc");
        cc.args(linkage).args(["-O1", "-Wall", "-pthread", "-o"]).arg(program).arg(source);
        cc.output().expect("a C compiler `cc` is needed (README)")
    };
    if !compile(&["-static"]).status.success() {
        let compiled = compile(&[]);
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    }
}

/// The processes of the host that have [`MARK`] and `tag` among their arguments.
#[must_use]
pub fn living(tag: &str) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let has = |path: &PathBuf| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|b| *b == 0).collect();
        words.contains(&MARK.as_bytes()) && words.contains(&tag.as_bytes())
    };
    processes.filter(has).collect()
}
