//! From unpacked packages to a root: what maintainer scripts would have done, as rules with reasons. These are
//! the rules 1 that the first line of every recipe names: whoever changes what they make gives them a new number, and
//! keeps the old ones, since the digests of trees depend on them.
use crate::error::ToolchainError;
use crate::import::Warning;
use crate::layout::{Entry, Layout};
use lre_model::{BadPath, RelPath};

/// Directories that are the same as those in `usr` on every Debian since 12; a script of `usrmerge` or of the installer
/// makes the links, and packages of Debian 12 still name files by either path.
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Directories at the top that hold what a running machine has, or what the sandbox has of its own.
const NOT_OF_TOOLS: &[&str] =
    &["boot", "dev", "home", "media", "mnt", "proc", "root", "run", "srv", "sys", "tmp", "var"];

/// In `/etc`: what only a service manager, a login or a package manager reads. The rest stays: `/etc/java-17-openjdk`,
/// `/etc/fonts`, `/etc/ssl/openssl.cnf` are parts of how tools behave. What tools look for to know where they are,
/// such as `os-release`, stays as well.
const NOT_OF_TOOLS_IN_ETC: &[&str] = &[
    "X11",
    "apparmor.d",
    "apt",
    "bash_completion.d",
    "cron.d",
    "cron.daily",
    "cron.hourly",
    "cron.monthly",
    "cron.weekly",
    "default",
    "dpkg",
    "init.d",
    "issue",
    "issue.net",
    "kernel",
    "logcheck",
    "logrotate.d",
    "modprobe.d",
    "motd",
    "pam.d",
    "profile.d",
    "rc.local",
    "security",
    "skel",
    "sysctl.d",
    "systemd",
    "udev",
    "ufw",
    "update-motd.d",
];

/// In `/usr/share`: what people read. With their translations they are a third of all files.
const FOR_PEOPLE: &[&str] = &["bash-completion", "bug", "doc", "doc-base", "info", "lintian", "locale", "man", "menu"];

/// Links in `/usr/bin` that `update-alternatives` would have made, each to the first that is there. Debian gives them
/// priorities, which are this order. `-*` stands for the newest version.
const ALTERNATIVES: &[(&str, &[&str])] = &[
    // Not by update-alternatives: `dash` has it in its package, and without `dash` nothing would be `sh`.
    ("sh", &["dash", "bash"]),
    ("awk", &["gawk", "mawk", "original-awk"]),
    ("nawk", &["gawk", "mawk", "original-awk"]),
    ("which", &["which.gnu", "which.debianutils"]),
    ("cc", &["gcc", "clang", "gcc-*", "clang-*"]),
    ("c++", &["g++", "clang++", "g++-*", "clang++-*"]),
    ("c89", &["c89-gcc"]),
    ("c99", &["c99-gcc"]),
    ("f77", &["gfortran", "gfortran-*"]),
    ("f95", &["gfortran", "gfortran-*"]),
    ("yacc", &["bison.yacc", "byacc"]),
];

/// Where Debian puts Java's homes.
const JAVA_HOMES: &str = "usr/lib/jvm";
/// The keystore that a script of `ca-certificates-java` makes of all authorities' certificates, with Java.
const JAVA_AUTHORITIES: &str = "etc/ssl/certs/java/cacerts";

/// Whether what a package has at `path` is part of the tree at all.
pub(super) fn is_wanted(path: &RelPath) -> bool {
    let names: Vec<&str> = path.segments().iter().map(String::as_str).collect();
    match names[..] {
        [] => false,
        [top] if MERGED.contains(&top) => false,
        [top, ..] if NOT_OF_TOOLS.contains(&top) => false,
        ["etc", name, ..] => !NOT_OF_TOOLS_IN_ETC.contains(&name),
        ["usr", "share", name, ..] => !FOR_PEOPLE.contains(&name),
        _ => true,
    }
}

/// Where an entry of a package stands in the tree; nothing for what is left out.
pub(super) fn place(path: &RelPath, entry: &Entry) -> Result<Option<(RelPath, Entry)>, BadPath> {
    if !is_wanted(path) {
        return Ok(None);
    }
    let to = merged(path)?;
    let Entry::Symlink { target } = entry else { return Ok(Some((to, entry.clone()))) };
    if points_to(path, target).is_some_and(|points| merged(&points).is_ok_and(|points| points == to)) {
        // `/bin/x -> /usr/bin/x` of a package that knew both: they are one now, and that is the file.
        return Ok(None);
    }
    // What climbs to the top has one more step to climb from `usr`.
    let climbs = target.split('/').take_while(|part| *part == "..").count();
    let moved = to != *path && climbs > 0 && climbs + 1 >= path.segments().len();
    let target = if moved { format!("../{target}") } else { target.clone() };
    Ok(Some((to, Entry::Symlink { target })))
}

fn merged(path: &RelPath) -> Result<RelPath, BadPath> {
    match path.segments().first() {
        Some(top) if MERGED.contains(&top.as_str()) => RelPath::parse(&format!("usr/{path}")),
        _ => Ok(path.clone()),
    }
}

/// What a symlink names, by its letters alone.
fn points_to(link: &RelPath, target: &str) -> Option<RelPath> {
    let mut at = if target.starts_with('/') { RelPath::root() } else { link.parent()? };
    for part in target.split('/') {
        at = match part {
            "" | "." => at,
            ".." => at.parent().unwrap_or_default(),
            part => at.join(part).ok()?,
        };
    }
    Some(at)
}

/// What is to be done when all packages stand in their places.
pub(super) fn finish(layout: &mut Layout, warnings: &mut Vec<Warning>) -> Result<(), ToolchainError> {
    for top in MERGED {
        let merged = format!("usr/{top}");
        if layout.below(&RelPath::parse(&merged)?).next().is_some() {
            layout.insert(RelPath::parse(top)?, Entry::Symlink { target: merged });
        }
    }
    for (name, candidates) in ALTERNATIVES {
        if let Some(target) = candidates.iter().find_map(|candidate| program(layout, candidate)) {
            link(layout, name, target)?;
        }
    }
    for (name, target) in java_programs(layout)? {
        link(layout, &name, target)?;
    }
    let authorities = RelPath::parse(JAVA_AUTHORITIES)?;
    let wants = |(path, entry): (&RelPath, &Entry)| match entry {
        Entry::Symlink { target } => points_to(path, target).is_some_and(|points| points == authorities),
        _ => false,
    };
    if layout.get(&authorities).is_none() && layout.iter().any(wants) {
        let note = format!(
            "Java trusts no authority here: /{JAVA_AUTHORITIES} is made by a script, and no script was run; this \
             matters to programs that speak TLS"
        );
        warnings.push(Warning::Note(note));
    }
    Ok(())
}

/// A link in `/usr/bin`, where no package has anything of this name.
fn link(layout: &mut Layout, name: &str, target: String) -> Result<(), ToolchainError> {
    let path = RelPath::parse("usr/bin")?.join(name)?;
    if layout.get(&path).is_none() {
        layout.insert(path, Entry::Symlink { target });
    }
    Ok(())
}

/// The name in `/usr/bin` of what `candidate` stands for.
fn program(layout: &Layout, candidate: &str) -> Option<String> {
    let directory = RelPath::parse("usr/bin").ok()?;
    let Some(stem) = candidate.strip_suffix('*') else {
        let path = directory.join(candidate).ok()?;
        return layout.get(&path).map(|_| candidate.to_owned());
    };
    let names = layout.below(&directory).filter_map(|(path, _)| path.segments().get(2));
    let versions = names.filter_map(|name| name.strip_prefix(stem)?.parse::<u32>().ok());
    versions.max().map(|version| format!("{stem}{version}"))
}

/// The programs of the newest Java: name, and target of a link in `/usr/bin`.
fn java_programs(layout: &Layout) -> Result<Vec<(String, String)>, ToolchainError> {
    let homes = RelPath::parse(JAVA_HOMES)?;
    let programs = layout.below(&homes).filter_map(|(path, entry)| match path.segments() {
        [.., home, bin, name] if path.segments().len() == 6 && bin == "bin" && *entry != Entry::Directory => {
            // `java-17-openjdk-amd64`
            let feature = home.split('-').find_map(|part| part.parse::<u32>().ok()).unwrap_or_default();
            Some(((feature, home.clone()), name.clone()))
        }
        _ => None,
    });
    let programs: Vec<_> = programs.collect();
    let newest = programs.iter().map(|(home, _)| home).max().cloned();
    let of_newest = programs.into_iter().filter(|(home, _)| Some(home) == newest.as_ref());
    Ok(of_newest.map(|((_, home), name)| (name.clone(), format!("../lib/jvm/{home}/bin/{name}"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    fn file() -> Entry {
        Entry::Bytes { content: Bytes::from_static(b"x"), executable: true }
    }

    fn placed(text: &str, target: Option<&str>) -> Option<String> {
        let entry = target.map_or_else(file, |target| Entry::Symlink { target: target.to_owned() });
        place(&path(text), &entry).unwrap().map(|(path, entry)| match entry {
            Entry::Symlink { target } => format!("{path} -> {target}"),
            _ => path.to_string(),
        })
    }

    #[test]
    fn names_are_merged_and_what_no_tool_reads_is_left_out() {
        for (from, to) in [
            ("bin/sh", Some("usr/bin/sh")),
            ("lib64/ld.so", Some("usr/lib64/ld.so")),
            ("usr/bin/sh", Some("usr/bin/sh")),
            ("lib", None),
            ("libexec/x", Some("libexec/x")),
            ("opt/x/bin/x", Some("opt/x/bin/x")),
            ("usr/share/doc/x/copyright", None),
            ("usr/share/doc", None),
            ("usr/share/docs", Some("usr/share/docs")),
            ("usr/share/zoneinfo/UTC", Some("usr/share/zoneinfo/UTC")),
            ("var/lib/x", None),
            ("etc/init.d/x", None),
            ("etc/java-17-openjdk/security/java.policy", Some("etc/java-17-openjdk/security/java.policy")),
        ] {
            assert_eq!(placed(from, None).as_deref(), to, "{from}");
        }
    }

    #[test]
    fn links_point_where_they_did_and_never_to_themselves() {
        for (from, target, to) in [
            ("bin/sh", "dash", Some("usr/bin/sh -> dash")),
            ("bin/x", "../usr/lib/x", Some("usr/bin/x -> ../../usr/lib/x")),
            ("lib/x86_64/x", "../y/x", Some("usr/lib/x86_64/x -> ../y/x")),
            ("lib/x86_64/x", "../../etc/x", Some("usr/lib/x86_64/x -> ../../../etc/x")),
            ("usr/lib/x", "../../lib/y", Some("usr/lib/x -> ../../lib/y")),
            ("lib64/ld.so", "/lib/x86_64/ld.so", Some("usr/lib64/ld.so -> /lib/x86_64/ld.so")),
            ("bin/x", "/usr/bin/x", None),
            ("bin/x", "../usr/bin/x", None),
            ("usr/bin/x", "../../bin/x", None),
        ] {
            assert_eq!(placed(from, Some(target)).as_deref(), to, "{from} -> {target}");
        }
    }

    fn finished(paths: &[&str]) -> (Layout, Vec<Warning>) {
        let (mut layout, mut warnings) = (Layout::default(), Vec::new());
        for text in paths {
            let (text, entry) = match text.split_once(" -> ") {
                Some((text, target)) => (text, Entry::Symlink { target: target.to_owned() }),
                None => (*text, file()),
            };
            layout.insert(path(text), entry);
        }
        finish(&mut layout, &mut warnings).unwrap();
        (layout, warnings)
    }

    fn links(layout: &Layout) -> Vec<String> {
        let link = |(path, entry): (&RelPath, &Entry)| match entry {
            Entry::Symlink { target } => Some(format!("{path} -> {target}")),
            _ => None,
        };
        layout.iter().filter_map(link).collect()
    }

    #[test]
    fn links_are_made_to_what_is_there() {
        let (layout, _) =
            finished(&["usr/bin/gcc-9", "usr/bin/gcc-12", "usr/bin/gcc-ar-13", "usr/bin/mawk", "usr/lib/x"]);
        let expected =
            ["bin -> usr/bin", "lib -> usr/lib", "usr/bin/awk -> mawk", "usr/bin/cc -> gcc-12", "usr/bin/nawk -> mawk"];
        assert_eq!(links(&layout), expected);
        let (layout, _) =
            finished(&["usr/bin/bash", "usr/bin/dash", "usr/bin/sh -> bash", "usr/bin/gawk", "usr/bin/gcc"]);
        let links = links(&layout);
        for link in ["usr/bin/sh -> bash", "usr/bin/awk -> gawk", "usr/bin/cc -> gcc"] {
            assert!(links.iter().any(|l| l == link), "{links:?}");
        }
    }

    #[test]
    fn the_newest_java_is_linked_and_what_it_lacks_is_said() {
        let home = |n: u32| format!("usr/lib/jvm/java-{n}-openjdk-amd64");
        let cacerts = format!("{}/lib/security/cacerts -> /etc/ssl/certs/java/cacerts", home(17));
        let paths = [
            format!("{}/bin/java", home(8)),
            format!("{}/bin/java", home(17)),
            format!("{}/bin/javac", home(17)),
            format!("{}/lib/bin/x", home(17)),
            "usr/lib/jvm/java-1.17.0-openjdk-amd64 -> java-17-openjdk-amd64".to_owned(),
            cacerts,
        ];
        let (layout, warnings) = finished(&paths.each_ref().map(String::as_str));
        let links = links(&layout);
        for name in ["java", "javac"] {
            assert!(
                links.contains(&format!("usr/bin/{name} -> ../lib/jvm/java-17-openjdk-amd64/bin/{name}")),
                "{links:?}"
            );
        }
        assert!(matches!(&warnings[..], [Warning::Note(note)] if note.contains("TLS")), "{warnings:?}");
    }
}
