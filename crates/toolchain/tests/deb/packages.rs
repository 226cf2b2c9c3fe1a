//! The packages of an embedded recipe, fetched once and kept by digest outside of the target directory, where the
//! other tests of this workspace keep theirs.
use lre_toolchain::{Access, Progress, Source, Stage, ToolchainError, deb};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The packages of one recipe.
pub struct Packages {
    /// The recipe, as a source.
    pub source: Source,
    recipe: deb::Recipe,
}

impl Packages {
    /// Of the embedded recipe of this name.
    ///
    /// An archive drops old versions, so what is embedded cannot be fetched for ever. Where it is gone the packages of
    /// today stand in, said loudly: these tests are about what becomes of packages. With `LRE_PACKAGES_LOCKED=1` it is
    /// an error.
    pub async fn of(name: &str) -> Self {
        let embedded = deb::Embedded::named(name).unwrap();
        let recipe = match fetched(&embedded.recipe()).await {
            Ok(()) => embedded.recipe(),
            Err(gone @ ToolchainError::Gone(_)) if std::env::var_os("LRE_PACKAGES_LOCKED").is_none() => {
                eprintln!(
                    "WARNING: {gone}\nhint: cargo run -p lre-toolchain --example deb_lock; commit the lock files"
                );
                let folder = tempfile::tempdir().unwrap();
                let names: Vec<String> = embedded.wanted.iter().map(|name| (*name).to_owned()).collect();
                let recipe = deb::resolve(&names, &Access::at(folder.path()), Arc::new(())).await.unwrap();
                fetched(&recipe).await.unwrap();
                recipe
            }
            Err(e) => panic!("{e}"),
        };
        let source: Source = format!("deb:{name}#{}", recipe.digest()).parse().unwrap();
        Self { source: source.with_recipe(&recipe.lines()).unwrap(), recipe }
    }

    /// As if they had just been fetched.
    pub fn lay_out(&self, access: &Access) {
        let folder = access.directory.join("packages");
        fs::create_dir_all(&folder).unwrap();
        for pinned in self.recipe.packages() {
            link(&kept(pinned), &folder.join(format!("{}.deb", pinned.sha256)));
        }
    }

    /// How many are there.
    pub fn kept(&self, access: &Access) -> usize {
        let files = fs::read_dir(access.directory.join("packages")).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "deb")).count()
    }
}

/// Fetches what the cache does not have.
async fn fetched(recipe: &deb::Recipe) -> Result<(), ToolchainError> {
    let cache = cache();
    fs::create_dir_all(&cache).unwrap();
    if recipe.packages().iter().all(|pinned| kept(pinned).exists()) {
        return Ok(());
    }
    let folder = tempfile::Builder::new().prefix("fetch-").tempdir_in(&cache).unwrap();
    let access = Access::at(folder.path());
    fs::create_dir_all(folder.path().join("packages")).unwrap();
    for pinned in recipe.packages().iter().filter(|pinned| kept(pinned).exists()) {
        link(&kept(pinned), &folder.path().join(format!("packages/{}.deb", pinned.sha256)));
    }
    for (pinned, file) in recipe.packages().iter().zip(deb::download(recipe, &access, Arc::new(Shown)).await?) {
        if !kept(pinned).exists() {
            fs::rename(file, kept(pinned)).unwrap();
        }
    }
    Ok(())
}

struct Shown;

impl Progress for Shown {
    fn update(&self, stage: Stage, done: u64, total: u64) {
        assert!(done <= total, "{stage:?} {done} of {total}");
    }
}

fn kept(pinned: &deb::Pinned) -> PathBuf {
    cache().join(format!("{}.deb", pinned.sha256))
}

fn cache() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let folder = of("LRE_TEST_CACHE")
        .or_else(|| of("XDG_CACHE_HOME").map(|cache| cache.join("lre-tests")))
        .unwrap_or_else(|| of("HOME").unwrap_or_else(|| "/tmp".into()).join(".cache/lre-tests"));
    folder.join("packages")
}

/// One more name of a file, or a copy where that cannot be.
fn link(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap();
    }
}
