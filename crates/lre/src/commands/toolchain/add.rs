//! `lre toolchain add`: from a source into the store, the registry and the lock file.
use crate::args::ToolchainAddArgs;
use crate::commands::{Context, Done, block_on};
use crate::exit::{Exit, OrProblem, Problem};
use crate::workshop::Workshop;
use crate::{describe, holdings, pinned, ui};
use lre_model::DigestFunction;
use lre_store::BlobStore;
use lre_toolchain::{
    Access, Added, Facts, Kind, LockFile, Locked, Manifest, Progress, Source, Stage, Toolchain, ToolchainError, Wanted,
};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs it.
pub(super) fn run(args: &ToolchainAddArgs, context: &Context) -> Done {
    let here = std::env::current_dir().or_problem("the current directory cannot be found")?;
    let source: Source = args.from.parse().map_err(|e: ToolchainError| source_problem(&e))?;
    let manifest = args.manifest.as_deref().map(manifest).transpose()?;
    let kind = kind(args.kind.as_deref(), manifest.as_ref(), &source);
    let also = args.also.iter().map(PathBuf::from).collect();
    let wanted = Wanted { name: args.name.clone(), kind, source, also, expected: None };
    let lock = Pinning::of(&here, args.lock)?;
    if manifest.is_some() && lock.is_none() {
        let problem = Problem::usage("what a manifest says is kept in lre.lock, and there is none here");
        return Err(problem.hint("--lock makes one"));
    }
    let (added, facts) = block_on(async {
        let added = install(context, &wanted).await?;
        let facts = match &manifest {
            Some(manifest) => Some(describe::facts(context, &added.toolchain, Some(manifest)).await?),
            None => None,
        };
        Ok((added, facts))
    })?;
    let pinned = lock.map(|lock| lock.pin(&added.toolchain, facts)).transpose()?;
    tell(&added, wanted.source.label(), pinned.as_deref(), args.json);
    Ok(None)
}

/// What was added, on stdout and stderr.
pub(super) fn tell(added: &Added, label: &str, pinned: Option<&Path>, json: bool) {
    let (toolchain, imported) = (&added.toolchain, &added.imported);
    if json {
        let warnings: Vec<_> = imported.warnings.iter().map(ToString::to_string).collect();
        let report = json!({
            "schema_version": 1, "toolchain": toolchain, "files": imported.files, "bytes": imported.bytes,
            "warnings": warnings, "pinned_in": pinned,
        });
        say!("{report:#}");
        return;
    }
    say!("{} {}", toolchain.name, toolchain.digest);
    eprintln!("{} files, {}; {label}", imported.files, ui::bytes(imported.bytes));
    if let Some(pinned) = pinned {
        eprintln!("pinned in {}", pinned.display());
    }
}

/// Brings a toolchain into the store and registers it. Progress and warnings go to stderr.
///
/// # Errors
/// A source that cannot be had, or a store that cannot be written.
pub async fn install(context: &Context, wanted: &Wanted) -> Result<Added, Problem> {
    let workshop = Workshop::open(context, holdings::access(context)?, wanted.source.is_built()).await?;
    let added = import(&*workshop.store, wanted, &workshop.access).await;
    workshop.close().await;
    let added = added?;
    holdings::registry(context)?.put(&added.toolchain).or_problem("cannot register the toolchain")?;
    Ok(added)
}

/// Brings a toolchain into the store; nobody is told of it yet.
///
/// # Errors
/// A source that cannot be had, or a store that cannot be written.
async fn import(store: &dyn BlobStore, wanted: &Wanted, access: &Access) -> Result<Added, Problem> {
    let progress = Arc::new(Shown::default());
    let added = lre_toolchain::add(store, DigestFunction::default(), wanted, access, progress.clone()).await;
    progress.clear();
    let added = added.map_err(|e| {
        let what = format!("cannot add the toolchain `{}` from {}", wanted.name, wanted.source);
        // Nobody there is something else than something wrong.
        let exit = if matches!(e, ToolchainError::Fetch { .. }) { Exit::Upstream } else { Exit::Error };
        Problem::new(exit, what).because(Box::new(e) as Box<dyn std::error::Error>)
    })?;
    warn(&added.imported.warnings);
    Ok(added)
}

/// A few of the warnings: some trees have hundreds, all of one kind.
pub(super) fn warn(warnings: &[lre_toolchain::Warning]) {
    const SHOWN_MAX: usize = 3;
    let head = ui::stderr_paint().odd("warning:");
    warnings.iter().take(SHOWN_MAX).for_each(|warning| eprintln!("{head} {warning}"));
    if let Some(more @ 1..) = warnings.len().checked_sub(SHOWN_MAX) {
        eprintln!("{head} and {more} more like these (--json lists all)");
    }
}

/// The kind that was asked for, else the manifest's, else what the source gives as a rule.
fn kind(asked: Option<&str>, manifest: Option<&Manifest>, source: &Source) -> Kind {
    let named = asked.and_then(|asked| Kind::ALL.into_iter().find(|kind| kind.to_string() == asked));
    named.or(manifest.and_then(|manifest| manifest.kind)).unwrap_or(source.kinds()[0])
}

fn manifest(path: &Path) -> Result<Manifest, Problem> {
    let text = std::fs::read_to_string(path).or_problem(format!("cannot read {}", path.display()))?;
    Manifest::parse(&text, &path.display().to_string()).map_err(Problem::usage)
}

fn source_problem(e: &ToolchainError) -> Problem {
    Problem::usage(e).hint(format!("--from {}", Source::DEFAULT))
}

/// The lock file that a toolchain is pinned in.
pub(super) struct Pinning {
    path: PathBuf,
    lock: LockFile,
}

impl Pinning {
    /// That of the workspace; without one only where asked.
    pub(super) fn of(here: &Path, ask: bool) -> Result<Option<Self>, Problem> {
        Ok(match (pinned::lock(here)?, ask) {
            (Some((path, lock)), _) => Some(Self { path, lock }),
            (None, true) => {
                let workspace = crate::paths::workspace(here).unwrap_or_else(|| here.to_owned());
                Some(Self { path: workspace.join(pinned::LOCK), lock: LockFile::default() })
            }
            (None, false) => None,
        })
    }

    /// Writes the digest into it, with what is known of the toolchain.
    pub(super) fn pin(self, toolchain: &Toolchain, facts: Option<Facts>) -> Result<PathBuf, Problem> {
        // What was found out about it still holds if it is the same tree.
        let known = self.lock.get(&toolchain.name).filter(|old| old.digest == toolchain.digest);
        let facts = facts.or_else(|| known.map(|old| old.facts.clone())).unwrap_or_default();
        self.put(Locked::new(toolchain, facts))
    }

    /// Writes it as it is.
    pub(super) fn put(mut self, locked: Locked) -> Result<PathBuf, Problem> {
        self.lock.put(locked);
        self.lock.write(&self.path).or_problem("the toolchain is installed, but not pinned")?;
        Ok(self.path)
    }
}

/// Progress of long work on toolchains, as one line.
#[derive(Default)]
pub struct Shown(ui::Progress);

impl Shown {
    /// Takes the line away.
    pub fn clear(&self) {
        self.0.clear();
    }
}

impl Progress for Shown {
    fn update(&self, stage: Stage, done: u64, total: u64) {
        let line = match (stage, total) {
            (Stage::Finding, _) => format!("finding files: {done}"),
            (Stage::Fetching, 0) => format!("fetching {}", ui::bytes(done)),
            (Stage::Fetching, total) => format!("fetching {} of {}", ui::bytes(done), ui::bytes(total)),
            (Stage::Unpacking, _) => format!("unpacking {}", ui::bytes(done)),
            (Stage::Hashing, 0) => format!("hashing {}", ui::bytes(done)),
            (Stage::Hashing, total) => format!("hashing {} of {}", ui::bytes(done), ui::bytes(total)),
            (Stage::Storing, total) => format!("storing {} of {}", ui::bytes(done), ui::bytes(total)),
            (Stage::Materialising, total) => format!("laying out {done} of {total} files"),
        };
        self.0.show(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::Digest;

    const F: DigestFunction = DigestFunction::Sha256;

    fn toolchain(digest: Digest) -> Toolchain {
        Toolchain {
            name: "cc".to_owned(),
            kind: Kind::Rootfs,
            digest,
            environment: Default::default(),
            tools: Default::default(),
            source: "dir:/x".to_owned(),
            recipe: Vec::new(),
        }
    }

    #[test]
    fn a_toolchain_is_pinned_where_there_is_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        let toolchain = toolchain(Digest::of(F, b"1"));
        assert!(Pinning::of(dir.path(), false).unwrap().is_none());
        let pin = |ask: bool| Pinning::of(dir.path(), ask).unwrap().unwrap();
        let path = pin(true).pin(&toolchain, None).unwrap();
        assert_eq!(path, dir.path().join("lre.lock"));
        let newer = Toolchain { digest: Digest::of(F, b"2"), ..toolchain };
        assert_eq!(pin(false).pin(&newer, None).unwrap(), path);
        assert_eq!(LockFile::read(&path).unwrap().unwrap().get("cc").unwrap().digest, newer.digest);
    }
}
