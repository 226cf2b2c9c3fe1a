//! What the services of one test program share: the program, the attacks, and a store with a toolchain for each user.
use crate::{ORDINARY, Who};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The sources of the attack, with the names that they include each other by.
const SOURCES: &[(&str, &str)] = &[
    ("attack.h", include_str!("attacks/attack.h")),
    ("main.c", include_str!("attacks/main.c")),
    ("files.c", include_str!("attacks/files.c")),
    ("tamper.c", include_str!("attacks/tamper.c")),
    ("reach.c", include_str!("attacks/reach.c")),
    ("processes.c", include_str!("attacks/processes.c")),
    ("privileges.c", include_str!("attacks/privileges.c")),
    ("between.c", include_str!("attacks/between.c")),
    ("linger.c", include_str!("attacks/linger.c")),
];
/// Programs of this machine that the toolchain has too.
const PROGRAMS: [&str; 6] = ["sh", "cat", "ls", "mkdir", "ln", "chmod"];

/// The folder with them.
pub struct Kit {
    directory: tempfile::TempDir,
    /// Of the user who runs the tests, and of the ordinary one.
    properties: [Option<(String, String)>; 2],
}

/// Lives as long as a service uses it.
static READY: Mutex<Weak<Kit>> = Mutex::new(Weak::new());

/// The kit, made where no service has it yet.
pub(super) fn ready(program: &Path) -> Arc<Kit> {
    let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
    ready.upgrade().unwrap_or_else(|| {
        let made = Arc::new(Kit::make(program));
        *ready = Arc::downgrade(&made);
        made
    })
}

/// A home's environment, and nothing else.
pub(super) fn at_home(command: &mut Command, home: &Path) {
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home.join("home")).current_dir(home);
    for name in ["CACHE", "STATE", "CONFIG"] {
        command.env(format!("XDG_{name}_HOME"), home.join(name.to_lowercase()));
    }
    command.env("LRE_STORE", home.join("store")).env("LRE_LOG", "info");
}

/// Mounts a small file system over the store of the home that it is started in, with what is in the store, and
/// becomes the user, `$1`. The mount is in a namespace of its own.
const ON_A_SMALL_DISK: &str = r#"
user=$1; shift
cp -a store disk
mount -n -t tmpfs -o size=64m,mode=0700 none store
cp -a disk/. store
if [ "$user" = - ]; then exec "$@"; fi
chown "$user:$user" store
exec setpriv "--reuid=$user" "--regid=$user" --clear-groups -- "$@"
"#;

/// `program` on a disk that is full soon. An ordinary user of the tests is root of a namespace for it.
pub(super) fn on_a_small_disk(who: Who, program: &Path) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let user = if who == Who::Ordinary { ORDINARY.to_string() } else { "-".to_owned() };
    command.args(["--mount", "--", "/bin/sh", "-ec", ON_A_SMALL_DISK, "disk", &user]).arg(program);
    command
}

impl Kit {
    fn make(program: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("lre-kit-").tempdir_in("/tmp").expect("a folder in /tmp");
        let path = directory.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode");
        // The build's own folder may lie where other users cannot go.
        if fs::hard_link(program, path.join("lre")).is_err() {
            fs::copy(program, path.join("lre")).expect("copying the program");
        }
        let tree = path.join("tree");
        fs::create_dir_all(tree.join("usr/bin")).expect("folder");
        compile(&path.join("source"), &tree.join("usr/bin/attack"));
        fs::copy(tree.join("usr/bin/attack"), path.join("attack")).expect("copy");
        PROGRAMS.iter().for_each(|name| copy_program(&Path::new("/bin").join(name), &tree));
        compile_clock(path);
        let mut kit = Self { directory, properties: [None, None] };
        kit.properties[0] = Some(kit.template(Who::Same));
        if rustix::process::geteuid().is_root() {
            kit.properties[1] = Some(kit.template(Who::Ordinary));
        }
        kit
    }

    /// A home whose store has the toolchain; the property that names it.
    fn template(&self, who: Who) -> (String, String) {
        let home = self.home(who);
        fs::create_dir(&home).expect("folder");
        for name in ["home", "run", "state"] {
            fs::create_dir(home.join(name)).expect("folder");
        }
        fs::set_permissions(home.join("run"), fs::Permissions::from_mode(0o700)).expect("mode");
        if who == Who::Ordinary {
            crate::give(&home, ORDINARY);
        }
        let lre = |arguments: &[&str]| {
            let mut command = Command::new(self.program());
            at_home(command.args(arguments), &home);
            if who == Who::Ordinary {
                command.uid(ORDINARY).gid(ORDINARY);
            }
            let output = command.output().expect("lre");
            assert!(output.status.success(), "lre {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        };
        lre(&["toolchain", "add", "tools", "--from", &format!("dir:{}", self.path().join("tree").display())]);
        let shown = lre(&["toolchain", "show", "tools", "--json"]);
        let field = |name: &str| {
            let (_, rest) = shown.split_once(&format!("\"{name}\": \"")).expect("the field");
            rest.split('"').next().expect("a value").to_owned()
        };
        (field("property"), field("digest"))
    }

    fn home(&self, who: Who) -> PathBuf {
        self.path().join(if who == Who::Same { "same" } else { "ordinary" })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `lre`.
    pub(super) fn program(&self) -> PathBuf {
        self.path().join("lre")
    }

    /// What is loaded into a server whose calendar is to be set.
    pub(super) fn clock(&self) -> PathBuf {
        self.path().join("clock.so")
    }

    pub(super) fn property(&self, who: Who) -> (String, String) {
        self.properties[usize::from(who == Who::Ordinary)].clone().expect("a toolchain for each user")
    }

    /// Lays out a home as the template has it.
    pub(super) fn furnish(&self, who: Who, home: &Path) {
        let copied = Command::new("cp").args(["-a", "--"]).arg(self.home(who).join(".")).arg(home).status();
        assert!(copied.expect("cp").success(), "the template cannot be copied");
        if who == Who::Ordinary {
            chown(home, Some(ORDINARY), Some(ORDINARY)).expect("owner");
        }
    }
}

/// The attack, on the host, as that user.
pub(super) fn attack_command(kit: &Kit, who: Who, arguments: &[&str]) -> Command {
    let mut command = Command::new(kit.path().join("attack"));
    command.args(arguments).env_clear().current_dir("/");
    if who == Who::Ordinary {
        command.uid(ORDINARY).gid(ORDINARY);
    }
    command
}

/// What the attack prints when that user runs it on the host.
#[must_use]
pub fn attack_on_the_host(kit: &Kit, who: Who, arguments: &[&str]) -> String {
    let output = attack_command(kit, who, arguments).output().expect("the attack");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Static: nothing else is needed where it runs.
fn compile(sources: &Path, program: &Path) {
    fs::create_dir(sources).expect("folder");
    for (name, text) in SOURCES {
        fs::write(sources.join(name), text).expect("source");
    }
    let mut cc = Command::new("cc");
    cc.args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(program);
    cc.args(
        SOURCES.iter().map(|(name, _)| sources.join(name)).filter(|path| path.extension().is_some_and(|e| e == "c")),
    );
    let output = cc.output().expect("a C compiler `cc` is needed (README)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn compile_clock(kit: &Path) {
    let source = kit.join("clock.c");
    fs::write(&source, include_str!("clock.c")).expect("source");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(kit.join("clock.so")).arg(&source);
    let output = cc.output().expect("a C compiler `cc` is needed (README)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Copies a program and the libraries that the loader says it needs.
fn copy_program(program: &Path, tree: &Path) {
    let copy = |from: &Path| {
        let to = tree.join(from.strip_prefix("/").expect("absolute"));
        fs::create_dir_all(to.parent().expect("in a folder")).expect("folder");
        fs::copy(from, to).expect("copying a program");
    };
    copy(program);
    let output = Command::new("ldd").arg(program).output().expect("ldd");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new).for_each(copy);
}
