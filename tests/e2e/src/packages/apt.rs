//! apt, with state of its own: it needs no root and changes nothing on the machine.
use super::{Lock, Pinned};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// apt's view of this machine's mirrors, kept in a folder of ours.
pub struct Apt {
    directory: PathBuf,
}

/// A version that the index has.
type Index = BTreeMap<String, Vec<Pinned>>;

impl Apt {
    /// Without a look at the mirrors: what the last [`Apt::updated`] found.
    pub fn at(directory: &Path) -> Result<Self> {
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(folder))?;
        }
        // An empty status means that nothing is installed, so a closure is whole wherever it is resolved.
        fs::write(directory.join("state/status"), "")?;
        let apt = Self { directory: directory.to_owned() };
        fs::write(apt.configuration(), apt.settings()?)?;
        Ok(apt)
    }

    /// With the indexes that the mirrors have now.
    pub fn updated(directory: &Path) -> Result<Self> {
        let apt = Self::at(directory)?;
        eprintln!("packages: reading the package indexes");
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
        names.iter().map(|name| newest_in(&index, name).cloned()).collect()
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
            let newest = newest_in(&index, &pinned.name)?;
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

    fn configuration(&self) -> PathBuf {
        self.directory.join("apt.conf")
    }

    /// The machine's way to its mirrors (proxies and the like), and nothing else of its configuration: a hook such as
    /// "empty /var/cache after every update" would fail for an ordinary user.
    fn settings(&self) -> Result<String> {
        let machine =
            finished("apt-config", Command::new("apt-config").arg("dump").output().context("apt is needed")?)?;
        let kept = machine.lines().filter(|line| line.starts_with("Acquire::"));
        let directory = self.directory.to_str().context("the cache's path is not UTF-8")?;
        let mut lines: Vec<String> = kept.map(str::to_owned).collect();
        lines.extend([
            format!("Dir::State \"{directory}/state\";"),
            format!("Dir::State::status \"{directory}/state/status\";"),
            format!("Dir::Cache \"{directory}/cache\";"),
            "Dir::Etc::Parts \"/dev/null\";".to_owned(),
            "Dir::Etc::Main \"/dev/null\";".to_owned(),
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

/// apt-cache lists the newest first.
fn newest_in<'a>(index: &'a Index, name: &str) -> Result<&'a Pinned> {
    index.get(name).and_then(|versions| versions.first()).with_context(|| {
        format!("no mirror of this machine has the package `{name}`\nhint: the tests want the packages of Debian 12")
    })
}

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
