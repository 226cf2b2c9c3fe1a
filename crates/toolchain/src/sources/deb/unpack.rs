//! Packages into one layout, without dpkg: several are decompressed at once, and where two have the same path it is
//! their order in the recipe and what they say of each other that decides, never which was read first.
use super::ar::{self, Member};
use super::fetch::Downloads;
use super::rules;
use super::{Pinned, Recipe};
use crate::error::ToolchainError;
use crate::import::Warning;
use crate::intake::Intake;
use crate::layout::{Entry, Layout};
use crate::sources::compressed::decompressed;
use crate::sources::tar::{Whiteouts, read_tar_of};
use lre_model::RelPath;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Packages decompressed at once, at most: `xz` takes some 10 MiB for each.
const PARALLEL_PACKAGES: usize = 8;
/// What a package says of itself, in bytes; the largest in Debian's archive has some 100 KiB.
const CONTROL_BYTES_MAX: u64 = 4 << 20;

/// All packages in their places.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub layout: Layout,
    pub warnings: Vec<Warning>,
}

/// One package, unpacked.
#[derive(Debug, Default)]
struct Package {
    name: String,
    /// Packages whose files this one may overwrite.
    replaces: Vec<String>,
    layout: Layout,
    warnings: Vec<Warning>,
}

pub(super) fn unpack(recipe: &Recipe, downloads: &Downloads, intake: &Intake) -> Result<Unpacked, ToolchainError> {
    let packages = all(recipe.packages(), |pinned| {
        let what = format!("{}={}", pinned.name, pinned.version);
        let package = package(&downloads.file(pinned), &what, intake)?;
        Ok(Package { name: pinned.name.clone(), ..package })
    })?;
    let mut unpacked = merge(packages)?;
    rules::finish(&mut unpacked.layout, &mut unpacked.warnings)?;
    Ok(unpacked)
}

/// Calls `read` for each, on as many threads as there are processors; the results are in the order of `packages`, and
/// of several errors the one of the first package is returned.
fn all<T: Send>(
    packages: &[Pinned],
    read: impl Fn(&Pinned) -> Result<T, ToolchainError> + Sync,
) -> Result<Vec<T>, ToolchainError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(PARALLEL_PACKAGES);
    // The largest first: it takes as long as many others.
    let mut order: Vec<usize> = (0..packages.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(packages[*index].size_bytes));
    let (next, results) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = read(&packages[*index]);
                    if result.is_err() {
                        next.store(order.len(), Ordering::Relaxed);
                    }
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(*index, result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn package(file: &Path, what: &str, intake: &Intake) -> Result<Package, ToolchainError> {
    let broken = |e: io::Error| ToolchainError::unusable(what, format!("it is no Debian package: {e}"));
    let members = ar::members(file).map_err(broken)?;
    let member = |name: &str| {
        let found = members.iter().find(|m| m.name == name || m.name.strip_prefix(name).is_some_and(is_suffix));
        found.ok_or_else(|| ToolchainError::unusable(what, format!("it is no Debian package: it has no `{name}`")))
    };
    let mut version = String::new();
    let read = member("debian-binary")?.open(file).and_then(|mut member| member.read_to_string(&mut version));
    read.map_err(broken)?;
    if !version.starts_with("2.") {
        let problem = format!("it is a package of format {}, and 2 is what is known", version.trim());
        return Err(ToolchainError::unusable(what, problem));
    }
    let replaces = replaces(member("control.tar")?, file).map_err(broken)?;
    let data = member("data.tar")?.open(file).and_then(decompressed).map_err(broken)?;
    let (mut layout, mut warnings) = (Layout::default(), Vec::new());
    // A tenth of the bytes and a third of the files are for people.
    read_tar_of(data, what, intake, &mut layout, &mut warnings, Whiteouts::Plain, &rules::is_wanted)?;
    Ok(Package { replaces, layout, warnings, ..Package::default() })
}

/// `.xz`; `decompressed` sees by itself what it is.
fn is_suffix(rest: &str) -> bool {
    rest.starts_with('.')
}

/// The names in `Replaces:`; their versions do not matter, as apt has chosen packages that go together.
fn replaces(control: &Member, file: &Path) -> io::Result<Vec<String>> {
    let mut archive = tar::Archive::new(decompressed(control.open(file)?)?.take(CONTROL_BYTES_MAX));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path_bytes().strip_prefix(b"./").unwrap_or(&entry.path_bytes()) != b"control" {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        return Ok(replaced_by(&text));
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it has no `control`"))
}

fn replaced_by(control: &str) -> Vec<String> {
    // Lines that begin with a space continue the field above.
    let unfolded = control.replace("\n ", " ");
    let field = unfolded.lines().find_map(|line| line.strip_prefix("Replaces:")).unwrap_or_default();
    let names = field.split(',').filter_map(|item| item.split([' ', '(', ':']).find(|word| !word.is_empty()));
    names.map(str::to_owned).collect()
}

/// Puts all packages into one layout, in order.
fn merge(packages: Vec<Package>) -> Result<Unpacked, ToolchainError> {
    let mut placed: BTreeMap<RelPath, (usize, Entry)> = BTreeMap::new();
    for (index, package) in packages.iter().enumerate() {
        for (path, entry) in package.layout.iter() {
            let Some((path, entry)) = rules::place(path, entry)? else { continue };
            match placed.get(&path) {
                Some((_, before)) if *before == entry => {}
                Some((other, before)) if !overwrites(&packages[*other], before, package, &entry, &path)? => {}
                _ => drop(placed.insert(path, (index, entry))),
            }
        }
    }
    let mut layout = Layout::default();
    placed.into_iter().for_each(|(path, (_, entry))| layout.insert(path, entry));
    let warnings = packages.into_iter().flat_map(|package| package.warnings).collect();
    Ok(Unpacked { layout, warnings })
}

/// Whether what `second` has at `path` stands there rather than what `first` has. As with dpkg: one of them must say
/// that it replaces the other.
fn overwrites(
    first: &Package,
    before: &Entry,
    second: &Package,
    after: &Entry,
    path: &RelPath,
) -> Result<bool, ToolchainError> {
    let says = |one: &Package, other: &Package| one.replaces.contains(&other.name);
    let directory = [before, after].contains(&&Entry::Directory);
    match (says(first, second), says(second, first)) {
        (_, true) if !directory => Ok(true),
        (true, false) if !directory => Ok(false),
        _ => {
            let (one, other) = (&first.name, &second.name);
            let problem = format!("both `{one}` and `{other}` have it, and neither says that it replaces the other's");
            Err(ToolchainError::unusable(format!("/{path}"), problem))
        }
    }
}
