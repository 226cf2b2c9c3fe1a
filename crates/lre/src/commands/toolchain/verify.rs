//! `lre toolchain verify`: every blob, read and hashed again.
use crate::commands::{Context, Done};
use crate::exit::{Exit, OrProblem, Problem};
use crate::{holdings, pinned, ui};
use lre_model::Digest;
use lre_store::{Blob, BlobStore, StoreError};
use lre_toolchain::{Toolchain, ToolchainError, load_tree};
use serde_json::{Value, json};

/// What became of one toolchain.
struct Verified {
    name: String,
    files: usize,
    bytes: u64,
    /// Missing or wrong blobs, with what is wrong.
    bad: Vec<(Digest, String)>,
}

pub(super) async fn run(context: &Context, name: Option<&str>, json: bool) -> Done {
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
    use lre_model::DigestFunction;
    use lre_model::{Directory, Node};
    use lre_store::MemoryStore;
    use lre_toolchain::Kind;

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
}
