//! `deb:`: Debian's packages, without dpkg and without their scripts.
//!
//! `deb:gcc,g++` is resolved by apt against the machine's own mirrors, as if nothing were installed ([`apt`]);
//! `deb:cc-debian12` comes with this program ([`embedded`]). Either gives a [`Recipe`], a line with a SHA-256 for each
//! package, and from there on the recipe is all that counts: it stands in `lre.lock`, what is fetched ([`fetch`]) is
//! checked against it, and the tree ([`unpack`], [`rules`]) is a function of it.
mod apt;
mod ar;
mod embedded;
mod fetch;
mod recipe;
mod rules;
#[cfg(test)]
mod tests;
mod unpack;

use super::{Finding, Found, SEARCHED, Tree, tools_in};
use crate::access::Access;
use crate::error::ToolchainError;
use crate::import::blocking;
use crate::intake::take_in;
use crate::progress::Progress;
use fetch::Downloads;
use recipe::is_name;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

pub use embedded::{CHOICE, EMBEDDED, Embedded};
pub use recipe::{Pinned, Recipe};

/// What every tree has besides the packages that are named. Packages do not say that they need these: Debian calls
/// them essential and has them on every machine (Debian Policy 3.8), so without them a closure is none.
///
/// Of the essential packages these are missing, as nothing in a sandbox uses them: those that manage packages, users,
/// terminals and file systems, and `perl-base`, which is as large as the rest together; a build that runs Perl names it.
pub const BASE: &[&str] = &[
    "base-files",
    "bash",
    "coreutils",
    "dash",
    "debianutils",
    "diffutils",
    "findutils",
    "grep",
    "gzip",
    // C.UTF-8, getconf, ldd.
    "libc-bin",
    "mawk",
    "sed",
    "tar",
    // Half of what is unpacked in a build is `.tar.xz`.
    "xz-utils",
];

/// What follows `deb:`: names of packages with commas between them, or the name of an embedded recipe; then,
/// where it is pinned, `#` and the digest of the recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deb {
    what: What,
    /// Of the recipe.
    digest: Option<String>,
    /// From a lock file.
    recipe: Option<Recipe>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Embedded(&'static Embedded),
    Packages(Vec<String>),
}

impl FromStr for Deb {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (what, digest) = match text.split_once('#') {
            None => (text, None),
            Some((what, digest)) => (what, Some(digest)),
        };
        let is_hash =
            |digest: &str| digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if let Some(digest) = digest.filter(|digest| !is_hash(digest)) {
            return Err(format!("`{digest}` is not the SHA-256 of a recipe: leave out `#{digest}` to resolve it anew"));
        }
        let what = match Embedded::named(what) {
            Some(embedded) => What::Embedded(embedded),
            None => What::Packages(packages(what)?),
        };
        Ok(Self { what, digest: digest.map(str::to_owned), recipe: None })
    }
}

fn packages(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    let Some(wrong) = names.iter().find(|name| !is_name(name)) else { return Ok(names) };
    Err(format!(
        "`{wrong}` cannot name a Debian package; write packages with commas between them, `deb:gcc,g++,make`, or one \
         of {}",
        embedded_names()
    ))
}

fn embedded_names() -> String {
    let names: Vec<_> = EMBEDDED.iter().map(|embedded| format!("`deb:{}`", embedded.name)).collect();
    names.join(", ")
}

impl fmt::Display for Deb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "#{digest}"))
    }
}

impl Deb {
    fn what(&self) -> String {
        match &self.what {
            What::Embedded(embedded) => embedded.name.to_owned(),
            What::Packages(names) => names.join(","),
        }
    }

    /// What gives the packages that the mirrors have today.
    fn anew(&self) -> String {
        match &self.what {
            What::Embedded(embedded) => format!("deb:{}", embedded.wanted.join(",")),
            What::Packages(names) => format!("deb:{}", names.join(",")),
        }
    }

    /// With the recipe of a lock file.
    ///
    /// # Errors
    /// It makes no sense, or is not the one whose digest is named.
    pub(super) fn with_recipe(self, lines: &[String]) -> Result<Self, String> {
        let recipe = Recipe::parse(lines.iter().map(String::as_str)).map_err(|e| format!("its recipe: {e}"))?;
        match &self.digest {
            Some(digest) if *digest == recipe.digest() => Ok(Self { recipe: Some(recipe), ..self }),
            Some(digest) => Err(format!("its recipe has the digest {}, not {digest}", recipe.digest())),
            None => Err(format!("there is a recipe for it, so it must end in `#{}`", recipe.digest())),
        }
    }

    /// What gives the same tree every time; nothing where it is not pinned.
    pub(super) fn pinned(&self) -> Option<String> {
        let recipe = || match &self.what {
            What::Embedded(embedded) => Some(embedded.recipe().digest()),
            What::Packages(_) => None,
        };
        self.digest.clone().or_else(recipe).map(|digest| format!("deb {digest}"))
    }

    /// What is to be fetched: from the lock file, from this program, or resolved now.
    ///
    /// # Errors
    /// The pinned recipe is nowhere to be had, apt is not there or finds no such package.
    pub(super) async fn recipe(&self, access: &Access, progress: Arc<dyn Progress>) -> Result<Recipe, ToolchainError> {
        if let Some(recipe) = &self.recipe {
            return Ok(recipe.clone());
        }
        let recipe = match (&self.what, &self.digest) {
            (What::Embedded(embedded), _) => embedded.recipe(),
            (What::Packages(names), None) => resolve(names, access, progress).await?,
            (What::Packages(_), Some(digest)) => return Err(self.unknown(digest)),
        };
        match &self.digest {
            Some(digest) if *digest != recipe.digest() => Err(self.unknown(digest)),
            _ => self.runs_here(recipe),
        }
    }

    fn unknown(&self, digest: &str) -> ToolchainError {
        ToolchainError::NotFound {
            what: format!("the recipe {digest} of `deb:{}`", self.what()),
            hint: format!(
                "it is in the lre.lock that pins it; for the packages of today write `deb:{}` without the digest",
                self.what()
            ),
        }
    }

    fn runs_here(&self, recipe: Recipe) -> Result<Recipe, ToolchainError> {
        let here = apt::architecture();
        match (&self.what, recipe.architecture()) {
            (What::Embedded(embedded), Some(there)) if there != here => Err(ToolchainError::unusable(
                format!("deb:{}", embedded.name),
                format!(
                    "its programs are for {there}, this machine is {here}; for the packages of your mirror write `{}`",
                    self.anew()
                ),
            )),
            _ => Ok(recipe),
        }
    }

    pub(super) async fn find(&self, finding: &Finding<'_>) -> Result<Found, ToolchainError> {
        let recipe = self.recipe(finding.access, finding.progress.clone()).await?;
        let (name, pinned) = (format!("deb:{}", self.what()), format!("deb:{}#{}", self.what(), recipe.digest()));
        let lines = recipe.lines();
        let downloads = fetched(&name, &self.anew(), &recipe, finding.access, finding.progress.clone()).await?;
        let (kept, progress) = (downloads.clone(), finding.progress.clone());
        let unpack = move |intake: &_| unpack::unpack(&recipe, &kept, intake).map(|unpacked| (unpacked, recipe));
        let ((unpacked, recipe), hold) =
            take_in(finding.store, finding.function, finding.access, progress, unpack).await?;
        // The store has all that was in them, and a lock pins how to have them again.
        blocking(move || downloads.remove(&recipe)).await?;
        Ok(Found {
            tools: tools_in(&unpacked.layout, &SEARCHED),
            tree: Tree::Streamed(unpacked.layout, hold),
            warnings: unpacked.warnings,
            environment: Default::default(),
            source: pinned,
            recipe: lines,
        })
    }
}

/// Resolves packages, with all that they need and with [`BASE`], against the machine's own mirrors.
///
/// # Errors
/// apt is not there, finds no such package, or cannot reach its mirrors.
pub async fn resolve(names: &[String], access: &Access, progress: Arc<dyn Progress>) -> Result<Recipe, ToolchainError> {
    let (names, access) = (names.to_vec(), access.clone());
    blocking(move || apt::resolve(&names, &access, &*progress)).await
}

/// Fetches what a recipe names into `access.directory`, and says where each package is. What is there already is not
/// fetched again; an import takes what it finds there, and removes it.
///
/// # Errors
/// Packages that are gone are all named.
pub async fn download(
    recipe: &Recipe,
    access: &Access,
    progress: Arc<dyn Progress>,
) -> Result<Vec<PathBuf>, ToolchainError> {
    let downloads = fetched("the recipe", "deb:PACKAGES", recipe, access, progress).await?;
    Ok(recipe.packages().iter().map(|pinned| downloads.file(pinned)).collect())
}

async fn fetched(
    name: &str,
    anew: &str,
    recipe: &Recipe,
    access: &Access,
    progress: Arc<dyn Progress>,
) -> Result<Downloads, ToolchainError> {
    let (name, anew, recipe, access) = (name.to_owned(), anew.to_owned(), recipe.clone(), access.clone());
    blocking(move || {
        let downloads = Downloads::open(&access)?;
        downloads.fetch(&name, &anew, &recipe, &access, &*progress)?;
        Ok(downloads)
    })
    .await
}
