//! apt, with state of its own: it needs no root and changes nothing on the machine.
use super::fetch::Wanted;
use super::{BASE, Pinned, Recipe};
use crate::access::Access;
use crate::error::{ToolchainError, io_at};
use crate::progress::{Progress, Stage};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Fetches files as apt does: its proxies, its transports, its retries. It is no command for people, so it is in no PATH.
const HELPER: &str = "/usr/lib/apt/apt-helper";
/// Where Debian and Ubuntu have the keys of their archives.
const KEYRINGS: &[&str] = &[
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
];
/// Releases that have a name besides their own.
const MOVING: &[&str] = &["stable", "oldstable", "testing", "unstable", "sid"];

/// This machine, as Debian calls it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        other => other,
    }
}

/// The newest version that the machine's mirrors have of each of `names`, of [`BASE`], and of all that they need.
pub(super) fn resolve(names: &[String], access: &Access, progress: &dyn Progress) -> Result<Recipe, ToolchainError> {
    let what = format!("deb:{}", names.join(","));
    if access.offline {
        let problem = "resolving packages asks Debian's mirrors, and no network is to be used; lre.lock pins what was resolved before";
        return Err(ToolchainError::unusable(what, problem));
    }
    fs::create_dir_all(&access.directory).map_err(io_at("make the directory", &access.directory))?;
    // Indexes are as large as the packages, and stale when they would be needed again.
    let folder = tempfile::Builder::new().prefix("apt-").tempdir_in(&access.directory);
    let folder = folder.map_err(io_at("make a directory in it", &access.directory))?;
    progress.update(Stage::Finding, 0, 0);
    let apt = Apt::at(folder.path())?;
    apt.run("apt-get", &["-q", "update"])?;
    let mut wanted: Vec<&str> = names.iter().map(String::as_str).chain(BASE.iter().copied()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let closure = apt.closure(&wanted)?;
    progress.update(Stage::Finding, closure.len() as u64, closure.len() as u64);
    let packages = apt.pinned(&closure)?;
    Recipe::new(packages).map_err(|problem| ToolchainError::unusable(what, problem))
}

/// apt's view of this machine's mirrors, in a folder of ours.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn at(folder: &Path) -> Result<Self, ToolchainError> {
        let apt = Self { folder: folder.to_owned() };
        let write = || {
            for name in ["state/lists/partial", "cache/archives/partial"] {
                fs::create_dir_all(folder.join(name))?;
            }
            // An empty status means that nothing is installed, so that a closure is whole wherever it is resolved.
            fs::write(folder.join("state/status"), "")
        };
        write().map_err(io_at("prepare the directory", folder))?;
        let lines = [("sources.list", own_archives()?), ("apt.conf", apt.settings()?)];
        for (name, text) in lines {
            let path = folder.join(name);
            fs::write(&path, text).map_err(io_at("write the file", &path))?;
        }
        Ok(apt)
    }

    /// The machine's way to its mirrors (proxies and the like), and nothing else of its configuration: a hook such
    /// as "empty /var/cache after every update" would fail for an ordinary user.
    fn settings(&self) -> Result<String, ToolchainError> {
        let machine = run(Command::new("apt-config").arg("dump"))?;
        // The archive's icons and translations are larger than its index.
        let more = |line: &&str| line.starts_with("Acquire::IndexTargets") || line.starts_with("Acquire::Languages");
        let kept = machine.lines().filter(|line| line.starts_with("Acquire::") && !more(line));
        let folder = self.folder.to_str().ok_or_else(|| ToolchainError::NotUtf8(self.folder.clone()))?;
        let mut lines: Vec<String> = kept.map(str::to_owned).collect();
        lines.extend([
            format!("Dir::State \"{folder}/state\";"),
            format!("Dir::State::status \"{folder}/state/status\";"),
            format!("Dir::Cache \"{folder}/cache\";"),
            "Dir::Etc::Parts \"/dev/null\";".to_owned(),
            "Dir::Etc::Main \"/dev/null\";".to_owned(),
            format!("Dir::Etc::SourceList \"{folder}/sources.list\";"),
            "Dir::Etc::SourceParts \"/dev/null\";".to_owned(),
            // What the administrator prefers is not what the project pins.
            "Dir::Etc::Preferences \"/dev/null\";".to_owned(),
            "Dir::Etc::PreferencesParts \"/dev/null\";".to_owned(),
            "Acquire::Languages \"none\";".to_owned(),
            "APT::Install-Recommends \"false\";".to_owned(),
            // As root apt would become a user who cannot write into our folder.
            "APT::Sandbox::User \"\";".to_owned(),
            "Acquire::Retries \"3\";".to_owned(),
            // A mirror that answers with an error is an error, not an index of yesterday.
            "APT::Update::Error-Mode \"any\";".to_owned(),
            "Debug::NoLocking \"true\";".to_owned(),
        ]);
        Ok(lines.join("\n") + "\n")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, ToolchainError> {
        run(Command::new(program).env("APT_CONFIG", self.folder.join("apt.conf")).args(arguments))
    }

    /// `name=version` of everything that apt would install.
    fn closure(&self, wanted: &[&str]) -> Result<Vec<String>, ToolchainError> {
        let mut arguments = vec!["--simulate", "install"];
        arguments.extend(wanted);
        Ok(installed_by(&self.run("apt-get", &arguments)?))
    }

    /// What the signed index says of each.
    fn pinned(&self, closure: &[String]) -> Result<Vec<Pinned>, ToolchainError> {
        let mut arguments = vec!["show"];
        arguments.extend(closure.iter().map(String::as_str));
        let shown = self.run("apt-cache", &arguments)?;
        let stanzas: Vec<Pinned> = shown.split("\n\n").filter_map(pinned_by).collect();
        let find = |package: &String| {
            let same = |pinned: &&Pinned| *package == format!("{}={}", pinned.name, pinned.version);
            let found = stanzas.iter().find(same).cloned();
            found.ok_or_else(|| ToolchainError::unusable(package, "apt's index has no SHA-256 for it"))
        };
        closure.iter().map(find).collect()
    }
}

/// `Inst gcc (4:12.2.0-3 Debian:12.11/stable [amd64])`
fn installed_by(simulated: &str) -> Vec<String> {
    let package = |line: &str| {
        let mut words = line.strip_prefix("Inst ")?.split_whitespace();
        let (name, version) = (words.next()?, words.find_map(|word| word.strip_prefix('('))?);
        Some(format!("{name}={version}"))
    };
    simulated.lines().filter_map(package).collect()
}

fn pinned_by(stanza: &str) -> Option<Pinned> {
    let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Some(Pinned {
        sha256: field("SHA256")?.to_owned(),
        size_bytes: field("Size")?.parse().ok()?,
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        architecture: field("Architecture")?.to_owned(),
        path: field("Filename")?.trim_start_matches("./").to_owned(),
    })
}

/// Runs one of apt's programs.
fn run(command: &mut Command) -> Result<String, ToolchainError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let name: Vec<_> = command.get_args().take(3).map(|a| a.to_string_lossy().into_owned()).collect();
    let command = command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let output = command.output().map_err(|e| no_apt(&program, e))?;
    finished(&format!("{program} {}", name.join(" ")), output)
}

fn no_apt(program: &str, e: io::Error) -> ToolchainError {
    if e.kind() != io::ErrorKind::NotFound {
        return io_at("run it", Path::new(program))(e);
    }
    ToolchainError::NotFound {
        what: program.to_owned(),
        hint: "packages are resolved by apt, which this machine does not have; a recipe that comes with lre \
               (`deb:cc-debian12`) needs no apt, only the address of a mirror: `debian_mirror` in lre.json5"
            .to_owned(),
    }
}

fn finished(what: &str, output: Output) -> Result<String, ToolchainError> {
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        // apt warns of much; what ended it begins with `E:`.
        let errors: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("E: ")).take(8).collect();
        let problem = if errors.is_empty() { said.trim().to_owned() } else { errors.join("; ") };
        return Err(ToolchainError::unusable(what, format!("it failed ({}): {problem}", output.status)));
    }
    String::from_utf8(output.stdout).map_err(|_| ToolchainError::unusable(what, "what it says is not UTF-8"))
}

/// Lines for a `sources.list` with the machine's own release, wherever it has it from.
fn own_archives() -> Result<String, ToolchainError> {
    let options = signed_by(&keyrings());
    let lines: Vec<_> = targets()?.iter().map(|target| target.line(&options)).collect();
    if lines.is_empty() {
        return Err(ToolchainError::unusable("apt", "it knows no mirror with the packages of this machine's release"));
    }
    Ok(lines.concat())
}

/// An index that apt would fetch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    archive: String,
    release: String,
    component: String,
}

impl Target {
    fn line(&self, options: &str) -> String {
        let Self { archive, release, component } = self;
        format!("deb {options}{archive} {release} {component}\n")
    }
}

/// The keys that this machine believes for every archive, and those that its distribution's package of keys leaves
/// where only some archives are said to use them: which do, apt does not tell.
fn keyrings() -> Vec<String> {
    let everywhere = fs::read_dir("/etc/apt/trusted.gpg.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let everywhere = everywhere.filter(|path| path.extension().is_some_and(|e| e == "gpg" || e == "asc"));
    let own = KEYRINGS.iter().map(PathBuf::from).filter(|path| path.exists());
    let mut paths: Vec<String> = everywhere.chain(own).filter_map(|path| path.to_str().map(str::to_owned)).collect();
    paths.sort();
    paths
}

fn signed_by(keyrings: &[String]) -> String {
    if keyrings.is_empty() { String::new() } else { format!("[signed-by={}] ", keyrings.join(",")) }
}

fn targets() -> Result<BTreeSet<Target>, ToolchainError> {
    let format = "$(CREATED_BY)\t$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)";
    let listed = run(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let own = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or("stable");
    Ok(of_release(&listed, own))
}

/// Those of the release `own`: somebody else's archive of other programs has no say in what a toolchain is.
fn of_release(listed: &str, own: &str) -> BTreeSet<Target> {
    let target = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let ["Packages", archive, release, component] = fields[..] else { return None };
        let (name, _) = release.split_once(['-', '/']).unwrap_or((release, ""));
        (name == own || MOVING.contains(&name)).then(|| Target {
            archive: archive.to_owned(),
            release: release.to_owned(),
            component: component.to_owned(),
        })
    };
    listed.lines().filter_map(target).collect()
}

/// The tops of the archives that this machine has its release from; none where it has no apt.
pub(super) fn archives() -> Vec<String> {
    let targets = if fetches() { targets().unwrap_or_default() } else { BTreeSet::new() };
    targets.into_iter().map(|target| target.archive).collect()
}

/// Whether this machine's apt can fetch for us.
pub(super) fn fetches() -> bool {
    Path::new(HELPER).exists()
}

/// Fetches each address into its file, going on where an earlier run has left off. That one cannot be had does not
/// keep the others from being fetched; what apt says of those is returned, by address.
pub(super) fn fetch(wanted: &[&Wanted<'_>], begins: &dyn Fn(&str)) -> Result<BTreeMap<String, String>, ToolchainError> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut command = Command::new(HELPER);
    // As root apt would become a user who cannot write into our folder.
    command.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "-q", "download-file"]);
    for (address, file, pinned) in wanted {
        command.arg(address).arg(file).arg(format!("SHA256:{}", pinned.sha256));
    }
    let command = command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| no_apt(HELPER, e))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let said = std::thread::scope(|scope| {
        let said = scope.spawn(move || {
            let mut said = String::new();
            stderr.map_or(Ok(0), |mut stderr| stderr.read_to_string(&mut said)).map(|_| said)
        });
        for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()).map_while(Result::ok) {
            // `Get:7 ADDRESS [421 kB]`
            let mut words = line.split_whitespace();
            if let (Some(word), Some(address)) = (words.next(), words.next())
                && word.starts_with("Get:")
            {
                begins(address);
            }
        }
        said.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    child.wait().map_err(io_at("wait for it", Path::new(HELPER)))?;
    Ok(failed(&said.map_err(io_at("hear it", Path::new(HELPER)))?))
}

/// `E: Failed to fetch ADDRESS  404  Not Found [IP: ...]`
fn failed(said: &str) -> BTreeMap<String, String> {
    let failure = |line: &str| {
        let (address, why) = line.strip_prefix("E: Failed to fetch ")?.split_once(' ')?;
        Some((address.to_owned(), why.trim().to_owned()))
    };
    said.lines().filter_map(failure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_says_is_read() {
        let simulated = "NOTE: This is only a simulation!\nInst gcc-12-base (12.2.0-14+deb12u1 Debian:12/stable [amd64])\n\
            Inst libc6 [2.36] (2.36-9+deb12u14 Debian:12/stable, Debian-Security:12 [amd64]) []\nConf libc6 (2.36)\n";
        assert_eq!(installed_by(simulated), ["gcc-12-base=12.2.0-14+deb12u1", "libc6=2.36-9+deb12u14"]);
        let stanza = "Package: bash\nVersion: 5\nArchitecture: amd64\nFilename: ./pool/b.deb\nSize: 7\nSHA256: ab\n";
        let pinned = pinned_by(stanza).unwrap();
        assert_eq!(pinned.to_string(), "ab 7 bash=5 amd64 pool/b.deb");
        assert_eq!(pinned_by("Package: virtual\n"), None);
        let said = "W: x\nE: Failed to fetch http://one.example/a_1.deb  404  Not Found [IP: 192.0.2.1 80]\nE: Download Failed\n";
        let failed = failed(said);
        assert_eq!(failed["http://one.example/a_1.deb"], "404  Not Found [IP: 192.0.2.1 80]");
        assert_eq!(failed.len(), 1);
    }

    #[test]
    fn the_archives_are_those_of_the_machines_release() {
        let listed = "\
Packages\thttps://one.example/debian/\tbookworm\tmain
DEP-11\thttps://one.example/debian/\tbookworm\tmain
Packages\thttps://one.example/debian/\tbookworm-updates\tmain
Packages\thttps://one.example/debian-security/\tbookworm-security\tmain
Packages\thttps://other.example/tools/\tnodistro\tmain
Packages\thttps://other.example/tools/\ttools-bookworm\tmain
";
        let lines: Vec<_> = of_release(listed, "bookworm").iter().map(|target| target.line("")).collect();
        let expected = [
            "deb https://one.example/debian-security/ bookworm-security main\n",
            "deb https://one.example/debian/ bookworm main\n",
            "deb https://one.example/debian/ bookworm-updates main\n",
        ];
        assert_eq!(lines, expected);
        assert!(of_release(listed, "noble").is_empty());
        assert_eq!(signed_by(&["/a".to_owned(), "/b".to_owned()]), "[signed-by=/a,/b] ");
    }
}
