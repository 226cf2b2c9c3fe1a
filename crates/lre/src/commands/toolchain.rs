//! `lre toolchain`: what actions are run with.
use crate::args::{ToolchainAddArgs, ToolchainArgs, ToolchainCommand};
use crate::commands::{Context, Done, block_on};
use crate::exit::{Exit, OrProblem, Problem};
use crate::{holdings, pinned, ui};
use lre_model::{Digest, DigestFunction};
use lre_store::{Blob, BlobStore, StoreError};
use lre_toolchain::{
    Access, Added, Kind, LockFile, Locked, Progress, Source, Stage, Toolchain, ToolchainError, Wanted, load_tree,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs `lre toolchain`.
///
/// # Errors
/// What the sub-command says.
pub fn run(args: &ToolchainArgs, context: &Context) -> Done {
    match &args.what {
        ToolchainCommand::Add(args) => add(args, context),
        ToolchainCommand::List(args) => list(context, args.json),
        ToolchainCommand::Show { name, json } => show(context, name, *json),
        ToolchainCommand::Verify { name, json } => block_on(verify(context, name.as_deref(), *json)),
        ToolchainCommand::Remove { name } => remove(context, name),
    }
}

fn add(args: &ToolchainAddArgs, context: &Context) -> Done {
    let here = std::env::current_dir().or_problem("the current directory cannot be found")?;
    let source: Source = args.from.parse().map_err(|e: ToolchainError| source_problem(&e))?;
    let wanted = Wanted {
        name: args.name.clone(),
        kind: kind(args.kind.as_deref(), &source),
        source,
        expected: None,
        also: args.also.iter().map(PathBuf::from).collect(),
    };
    let added = block_on(install(context, &wanted))?;
    let pinned = pin(&here, &added.toolchain, args.lock)?;
    let (toolchain, imported) = (&added.toolchain, &added.imported);
    if args.json {
        let warnings: Vec<_> = imported.warnings.iter().map(ToString::to_string).collect();
        let report = json!({
            "schema_version": 1, "toolchain": toolchain, "files": imported.files, "bytes": imported.bytes,
            "warnings": warnings, "pinned_in": pinned,
        });
        say!("{report:#}");
        return Ok(None);
    }
    say!("{} {}", toolchain.name, toolchain.digest);
    let label = wanted.source.label();
    eprintln!("{} files, {}; {label}", imported.files, ui::bytes(imported.bytes));
    if let Some(pinned) = pinned {
        eprintln!("pinned in {}", pinned.display());
    }
    Ok(None)
}

/// Brings a toolchain into the store and registers it. Progress and warnings go to stderr.
///
/// # Errors
/// A source that cannot be had, or a store that cannot be written.
pub async fn install(context: &Context, wanted: &Wanted) -> Result<Added, Problem> {
    let added = import(&*holdings::open(context).await?, wanted, &holdings::access(context)).await?;
    holdings::registry(context)?.put(&added.toolchain).or_problem("cannot register the toolchain")?;
    Ok(added)
}

/// Brings a toolchain into the store; nobody is told of it yet.
///
/// # Errors
/// A source that cannot be had, or a store that cannot be written.
pub async fn import(store: &dyn BlobStore, wanted: &Wanted, access: &Access) -> Result<Added, Problem> {
    let progress = Arc::new(Shown::default());
    let added = lre_toolchain::add(store, DigestFunction::default(), wanted, access, progress.clone()).await;
    progress.0.clear();
    let added = added.map_err(|e| {
        let problem = Problem::error(format!("cannot add the toolchain `{}` from {}", wanted.name, wanted.source));
        problem.because(Box::new(e) as Box<dyn std::error::Error>)
    })?;
    warn(&added.imported.warnings);
    Ok(added)
}

/// A few of the warnings: some trees have hundreds, all of one kind.
fn warn(warnings: &[lre_toolchain::Warning]) {
    const SHOWN_MAX: usize = 3;
    let head = ui::stderr_paint().odd("warning:");
    warnings.iter().take(SHOWN_MAX).for_each(|warning| eprintln!("{head} {warning}"));
    if let Some(more @ 1..) = warnings.len().checked_sub(SHOWN_MAX) {
        eprintln!("{head} and {more} more like these (--json lists all)");
    }
}

/// The kind that was asked for, else what the source gives as a rule.
fn kind(asked: Option<&str>, source: &Source) -> Kind {
    let named = asked.and_then(|asked| Kind::ALL.into_iter().find(|kind| kind.to_string() == asked));
    named.unwrap_or(source.kinds()[0])
}

fn source_problem(e: &ToolchainError) -> Problem {
    Problem::usage(e).hint(format!("--from {}", Source::DEFAULT))
}

/// Writes the digest into the lock file of the workspace; without one only where asked.
fn pin(here: &Path, toolchain: &Toolchain, ask: bool) -> Result<Option<PathBuf>, Problem> {
    let (path, mut lock) = match (pinned::lock(here)?, ask) {
        (Some(found), _) => found,
        (None, true) => {
            let workspace = crate::paths::workspace(here).unwrap_or_else(|| here.to_owned());
            (workspace.join(pinned::LOCK), LockFile::default())
        }
        (None, false) => return Ok(None),
    };
    // What was found out about it still holds if it is the same tree.
    let known = lock.get(&toolchain.name).filter(|old| old.digest == toolchain.digest);
    let facts = known.map(|old| old.facts.clone()).unwrap_or_default();
    lock.put(Locked::new(toolchain, facts));
    lock.write(&path).or_problem("the toolchain is installed, but not pinned")?;
    Ok(Some(path))
}

/// Progress of an import, as one line.
#[derive(Default)]
struct Shown(ui::Progress);

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

fn list(context: &Context, json: bool) -> Done {
    let all = pinned::installed(context)?;
    if json {
        say!("{:#}", json!({ "schema_version": 1, "toolchains": all }));
        return Ok(None);
    }
    for t in &all {
        say!("{:12} {:7} {}  {}", t.name, t.kind.to_string(), t.digest, t.source);
    }
    if all.is_empty() {
        eprintln!("no toolchain is installed\n hint: lre toolchain add cc --from {}", Source::DEFAULT);
    }
    Ok(None)
}

fn show(context: &Context, name: &str, json: bool) -> Done {
    let toolchain = pinned::choose_installed(context, name)?;
    let (property, value) = toolchain.property();
    if json {
        let mount = toolchain.mount();
        say!("{:#}", json!({ "schema_version": 1, "toolchain": toolchain, "property": property, "mount": mount }));
        return Ok(None);
    }
    say!("name      {}\nkind      {}\nsource    {}", toolchain.name, toolchain.kind, toolchain.source);
    say!("platform  {property}={value}\nmount     {}", toolchain.mount());
    for (head, map) in [("tool", &toolchain.tools), ("env", &toolchain.environment)] {
        map.iter().for_each(|(name, value)| say!("{head:9} {name}={value}"));
    }
    Ok(None)
}

fn remove(context: &Context, name: &str) -> Done {
    let toolchain = pinned::choose_installed(context, name)?;
    holdings::registry(context)?.remove(&toolchain.name).or_problem("cannot remove the toolchain")?;
    eprintln!("removed {name}; its blobs go when the store wants the room");
    Ok(None)
}

/// What became of one toolchain.
struct Verified {
    name: String,
    files: usize,
    bytes: u64,
    /// Missing or wrong blobs, with what is wrong.
    bad: Vec<(Digest, String)>,
}

async fn verify(context: &Context, name: Option<&str>, json: bool) -> Done {
    let chosen = match name {
        Some(name) => vec![pinned::choose_installed(context, name)?],
        None => pinned::installed(context)?,
    };
    let store = holdings::open(context).await?;
    let mut verified = Vec::new();
    for toolchain in &chosen {
        verified.push(verify_one(&*store, toolchain).await?);
    }
    match json {
        true => say!("{:#}", verified_json(&verified)),
        false => verified.iter().for_each(tell),
    }
    Ok(verified.iter().any(|v| !v.bad.is_empty()).then_some(Exit::Finding))
}

fn verified_json(verified: &[Verified]) -> Value {
    let one = |v: &Verified| {
        let bad: Vec<_> = v.bad.iter().map(|(digest, why)| json!({ "digest": digest, "problem": why })).collect();
        json!({ "name": v.name, "files": v.files, "bytes": v.bytes, "bad": bad })
    };
    json!({ "schema_version": 1, "toolchains": verified.iter().map(one).collect::<Vec<_>>() })
}

fn tell(verified: &Verified) {
    let paint = ui::stdout_paint();
    let Verified { name, files, bytes, bad } = verified;
    match bad.as_slice() {
        [] => say!("{}    {name}: {files} files, {}", paint.good("ok"), ui::bytes(*bytes)),
        bad => {
            say!("{}  {name}: {} blobs are missing or wrong", paint.bad("FAIL"), bad.len());
            bad.iter().take(10).for_each(|(digest, why)| say!("      {digest}: {why}"));
        }
    }
}

/// Reads every blob of a toolchain and hashes it again.
async fn verify_one(store: &dyn BlobStore, toolchain: &Toolchain) -> Result<Verified, Problem> {
    let mut verified = Verified { name: toolchain.name.clone(), files: 0, bytes: 0, bad: Vec::new() };
    let files = match load_tree(store, toolchain.digest).await {
        Ok((tree, _hold)) => tree.files(),
        Err(ToolchainError::Missing { missing, .. }) => {
            verified.bad.extend(missing.into_iter().map(|digest| (digest, "missing".to_owned())));
            return Ok(verified);
        }
        Err(e) => return Err(e).or_problem(format!("cannot read the toolchain `{}`", toolchain.name)),
    };
    let progress = ui::Progress::default();
    for (i, digest) in files.iter().enumerate() {
        progress.show(&format!("{}: {i} of {} files", toolchain.name, files.len()));
        match rehash(store, *digest).await {
            Ok(()) => {
                verified.files += 1;
                verified.bytes += digest.size_bytes();
            }
            Err(e @ (StoreError::Missing(_) | StoreError::Corrupt { .. })) => {
                verified.bad.push((*digest, e.to_string()));
            }
            Err(e) => return Err(e).or_problem(format!("cannot read {digest}")),
        }
    }
    Ok(verified)
}

/// Reads a blob and compares; blobs of any size in bounded memory.
async fn rehash(store: &dyn BlobStore, digest: Digest) -> Result<(), StoreError> {
    let blob = store.read(digest).await?;
    let hash = move || hash_blob(&blob, digest);
    let actual = tokio::task::spawn_blocking(hash).await.map_err(std::io::Error::other)??;
    if actual == digest { Ok(()) } else { Err(StoreError::Corrupt { expected: digest, actual }) }
}

fn hash_blob(blob: &Blob, digest: Digest) -> std::io::Result<Digest> {
    const CHUNK_BYTES: usize = 1024 * 1024;
    let mut hasher = lre_model::Hasher::new(digest.function());
    let mut offset = 0;
    loop {
        let chunk = blob.read_at(offset, CHUNK_BYTES)?;
        if chunk.is_empty() {
            return Ok(hasher.finish());
        }
        hasher.update(&chunk);
        offset += chunk.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use lre_model::{Directory, Node};
    use lre_store::MemoryStore;

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

    #[tokio::test]
    async fn a_toolchain_that_is_not_whole_is_found() {
        let store = MemoryStore::default();
        let file = Digest::of(F, b"ld");
        let mut root = Directory::default();
        root.insert("ld", Node::File { digest: file, executable: true }).unwrap();
        let root = Bytes::from(root.encode());
        let digest = Digest::of(F, &root);
        store.write(digest, root.into()).await.unwrap();
        let verified = verify_one(&store, &toolchain(digest)).await.unwrap();
        assert_eq!(verified.bad, [(file, "missing".to_owned())]);
        store.write(file, Bytes::from_static(b"ld").into()).await.unwrap();
        let verified = verify_one(&store, &toolchain(digest)).await.unwrap();
        assert_eq!((verified.bad.len(), verified.files, verified.bytes), (0, 1, 2));
    }

    #[test]
    fn a_toolchain_is_pinned_where_there_is_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        let toolchain = toolchain(Digest::of(F, b"1"));
        assert_eq!(pin(dir.path(), &toolchain, false).unwrap(), None);
        let path = pin(dir.path(), &toolchain, true).unwrap().unwrap();
        assert_eq!(path, dir.path().join("lre.lock"));
        let newer = Toolchain { digest: Digest::of(F, b"2"), ..toolchain };
        assert_eq!(pin(dir.path(), &newer, false).unwrap(), Some(path.clone()));
        assert_eq!(LockFile::read(&path).unwrap().unwrap().get("cc").unwrap().digest, newer.digest);
    }
}
