//! apt, with state of its own: it needs no root and changes nothing on the machine.
//!
//! It reads the index of one release of Debian, which need not be the machine's: where the machine's own sources have
//! its release, ours have the other. apt checks the index with the archive's keys that the machine has; those of a
//! later release come with security updates. What is fetched is checked against the lock in any case.
use super::{Lock, Pinned};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// apt's view of this machine's mirrors, kept in a folder of ours.
pub struct Apt {
    directory: PathBuf,
    suite: String,
}

/// The archive's keys, where Debian's package of them leaves them.
const KEYRINGS: &[&str] =
    &["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

/// A version that the index has.
type Index = BTreeMap<String, Vec<Pinned>>;

impl Apt {
    /// Without a look at the mirrors: what the last [`Apt::updated`] found.
    pub fn at(directory: &Path, suite: &str) -> Result<Self> {
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(folder))?;
        }
        // An empty status means that nothing is installed, so a closure is whole wherever it is resolved.
        fs::write(directory.join("state/status"), "")?;
        let apt = Self { directory: directory.to_owned(), suite: suite.to_owned() };
        fs::write(apt.directory.join("sources.list"), sources(suite)?)?;
        fs::write(apt.configuration(), apt.settings()?)?;
        Ok(apt)
    }

    /// With the indexes that the mirrors have now.
    pub fn updated(directory: &Path, suite: &str) -> Result<Self> {
        let apt = Self::at(directory, suite)?;
        eprintln!("packages: reading the package indexes of {suite}");
        apt.run("apt-get", &["-q", "update"])?;
        Ok(apt)
    }

    /// The names of all packages that `wanted` need, themselves included.
    pub fn closure(&self, wanted: &[&str]) -> Result<Vec<String>> {
        let mut arguments = vec!["--simulate", "install"];
        arguments.extend(wanted);
        let listed = self.run("apt-get", &arguments)?;
        let names = listed.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next());
        Ok(names.map(str::to_owned).collect())
    }

    /// The newest version of each, as the index has it.
    pub fn newest(&self, names: &[String]) -> Result<Vec<Pinned>> {
        let index = self.index(names)?;
        names.iter().map(|name| self.newest_in(&index, name).cloned()).collect()
    }

    /// `lock` with every package replaced by the index's newest that is neither `kept` nor in the index any more,
    /// and a line for each that was.
    pub fn settle(&self, lock: &Lock, kept: impl Fn(&Pinned) -> bool) -> Result<(Lock, Vec<String>)> {
        let names: Vec<String> = lock.packages().iter().map(|pinned| pinned.name.clone()).collect();
        let index = self.index(&names)?;
        let (mut packages, mut replaced) = (Vec::new(), Vec::new());
        for pinned in lock.packages() {
            let there = index.get(&pinned.name).is_some_and(|versions| versions.contains(pinned));
            if there || kept(pinned) {
                packages.push(pinned.clone());
                continue;
            }
            let newest = self.newest_in(&index, &pinned.name)?;
            replaced.push(format!("{} {} -> {}", pinned.name, pinned.version, newest.version));
            packages.push(newest.clone());
        }
        Ok((Lock::new(packages), replaced))
    }

    /// Leaves the `.deb` of each in `into`.
    pub fn download(&self, packages: &[&Pinned], into: &Path) -> Result<()> {
        let names: Vec<String> = packages.iter().map(|pinned| format!("{}={}", pinned.name, pinned.version)).collect();
        let mut command = self.command("apt-get");
        command.current_dir(into).args(["-q", "download"]).args(&names);
        finished("apt-get download", command.output()?).map(drop)
    }

    fn index(&self, names: &[String]) -> Result<Index> {
        let mut arguments = vec!["show"];
        arguments.extend(names.iter().map(String::as_str));
        let mut index = Index::new();
        for stanza in self.run("apt-cache", &arguments)?.split("\n\n") {
            if let Some(pinned) = pinned_by(stanza) {
                index.entry(pinned.name.clone()).or_default().push(pinned);
            }
        }
        Ok(index)
    }

    /// apt-cache lists the newest first.
    fn newest_in<'a>(&self, index: &'a Index, name: &str) -> Result<&'a Pinned> {
        index.get(name).and_then(|versions| versions.first()).with_context(|| {
            let suite = &self.suite;
            format!("{suite} of this machine's archive has no package `{name}`\nhint: the tests want Debian's packages")
        })
    }

    fn configuration(&self) -> PathBuf {
        self.directory.join("apt.conf")
    }

    /// The machine's way to its mirrors (proxies and the like), and nothing else of its configuration: a hook such as
    /// "empty /var/cache after every update" would fail for an ordinary user.
    fn settings(&self) -> Result<String> {
        let machine =
            finished("apt-config", Command::new("apt-config").arg("dump").output().context("apt is needed")?)?;
        // The archive's icons, translations and contents are larger than its index.
        let more = |line: &&str| line.starts_with("Acquire::IndexTargets") || line.starts_with("Acquire::Languages");
        let kept = machine.lines().filter(|line| line.starts_with("Acquire::") && !more(line));
        let directory = self.directory.to_str().context("the cache's path is not UTF-8")?;
        let mut lines: Vec<String> = kept.map(str::to_owned).collect();
        lines.extend([
            format!("Dir::State \"{directory}/state\";"),
            format!("Dir::State::status \"{directory}/state/status\";"),
            format!("Dir::Cache \"{directory}/cache\";"),
            "Dir::Etc::Parts \"/dev/null\";".to_owned(),
            "Dir::Etc::Main \"/dev/null\";".to_owned(),
            format!("Dir::Etc::SourceList \"{directory}/sources.list\";"),
            "Dir::Etc::SourceParts \"/dev/null\";".to_owned(),
            "Acquire::Languages \"none\";".to_owned(),
            "APT::Install-Recommends \"false\";".to_owned(),
            // As root apt would become a user who cannot write into our folder.
            "APT::Sandbox::User \"\";".to_owned(),
            "Acquire::Retries \"3\";".to_owned(),
            "Debug::NoLocking \"true\";".to_owned(),
        ]);
        Ok(lines.join("\n") + "\n")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.configuration()).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(program).args(arguments).output().with_context(|| format!("{program} is needed"))?;
        finished(&format!("{program} {}", arguments[..arguments.len().min(3)].join(" ")), output)
    }
}

fn finished(what: &str, output: Output) -> Result<String> {
    if !output.status.success() {
        bail!("{what} failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Lines for a `sources.list` with the archive that this machine uses, at another release.
fn sources(suite: &str) -> Result<String> {
    let mut command = Command::new("apt-get");
    let listed = command.args(["--print-uris", "update"]).env("LC_ALL", "C").output().context("apt is needed")?;
    let listed = finished("apt-get --print-uris update", listed)?;
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let own = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or("stable");
    let keys = KEYRINGS.iter().find(|path| Path::new(path).exists());
    let options = keys.map_or_else(String::new, |path| format!("[signed-by={path}] "));
    let lines: BTreeSet<String> = archives(&listed, own, suite)
        .into_iter()
        .map(|(archive, suite)| format!("deb {options}{archive} {suite} main\n"))
        .collect();
    if lines.is_empty() {
        bail!("apt of this machine knows no Debian archive\nhint: the tests want Debian's packages");
    }
    Ok(lines.into_iter().collect())
}

/// The archives among what `apt-get --print-uris update` prints, each with its release: `own` replaced by `wanted`.
///
/// Only a stable release has updates and security updates apart from itself.
fn archives(listed: &str, own: &str, wanted: &str) -> Vec<(String, String)> {
    let uris = listed.lines().filter_map(|line| line.strip_prefix('\'')?.split_once('\''));
    let releases = uris.filter_map(|(uri, _)| uri.strip_suffix("/InRelease")?.split_once("/dists/"));
    let names = [own, "stable"];
    releases
        .filter_map(|(archive, release)| {
            let rest = names.iter().find_map(|name| release.strip_prefix(name))?;
            let stable = STABLE.contains(&wanted);
            (rest.is_empty() || stable && ["-updates", "-security"].contains(&rest))
                .then(|| (archive.to_owned(), format!("{wanted}{rest}")))
        })
        .collect()
}

/// Releases that get no new versions of anything but as updates.
const STABLE: &[&str] = &["bookworm", "trixie"];

fn pinned_by(stanza: &str) -> Option<Pinned> {
    let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Some(Pinned {
        sha256: field("SHA256")?.to_owned(),
        size_bytes: field("Size")?.parse().ok()?,
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        architecture: field("Architecture")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "\
'https://one.example/debian/dists/bookworm/InRelease' one.example_debian_dists_bookworm_InRelease 0
'https://one.example/debian/dists/bookworm-updates/InRelease' one.example_debian_dists_bookworm-updates_InRelease 0
'https://one.example/debian-security/dists/bookworm-security/InRelease' one.example_x 0
'https://one.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' one.example_y 0
'https://other.example/tools/dists/nodistro/InRelease' other.example_z 0
";

    #[test]
    fn the_archive_is_the_machines_and_the_release_the_tests() {
        let found = |wanted| archives(LISTED, "bookworm", wanted);
        let pair = |archive: &str, suite: &str| (format!("https://one.example/{archive}"), suite.to_owned());
        assert_eq!(found("forky"), [pair("debian", "forky")]);
        let trixie =
            [pair("debian", "trixie"), pair("debian", "trixie-updates"), pair("debian-security", "trixie-security")];
        assert_eq!(found("trixie"), trixie);
        assert_eq!(archives(LISTED, "noble", "forky"), []);
    }
}
