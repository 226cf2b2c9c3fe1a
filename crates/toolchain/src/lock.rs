//! `lre.lock`: the one place where a project's toolchains are pinned (TOOLCHAINS 3). Committed with
//! the project; everything that clients are given is generated from it.
use crate::error::{Mismatch, ToolchainError, io_at};
use crate::registry::check_name;
use crate::{Facts, Kind, Toolchain};
use lre_model::{Digest, Policy, nearest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Of the file. A newer one is refused, never guessed at.
const SCHEMA_VERSION: u32 = 1;

/// The pinned toolchains of a project, and the determinism policy under which they run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockFile {
    policy: Policy,
    /// By name, sorted.
    toolchains: Vec<Locked>,
}

/// A pinned toolchain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// What people call it.
    pub name: String,
    /// How it is mounted.
    pub kind: Kind,
    /// The root of its tree.
    pub digest: Digest,
    /// Where it is mounted; follows from kind and digest, and is there for people.
    pub mounts: Vec<String>,
    /// Role to absolute path inside the sandbox.
    pub tools: BTreeMap<String, String>,
    /// What a command gets where it does not set it itself.
    pub environment: BTreeMap<String, String>,
    /// Where it can be had, in order of trial.
    pub sources: Vec<String>,
    /// What the first source fetches, with digests, where it is a list (`deb:`): one line for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipe: Vec<String>,
    /// What was found out about it.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub facts: Facts,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema_version: u32,
    /// Left out where it is the default, whose meaning never changes: a file written before there were policies
    /// is the same as one written now, and an older lre refuses only what it could not keep.
    #[serde(default, skip_serializing_if = "is_default")]
    policy: Policy,
    toolchains: Vec<Locked>,
}

fn is_default(policy: &Policy) -> bool {
    *policy == Policy::default()
}

impl Locked {
    /// Pins a toolchain.
    #[must_use]
    pub fn new(toolchain: &Toolchain, facts: Facts) -> Self {
        Self {
            name: toolchain.name.clone(),
            kind: toolchain.kind,
            digest: toolchain.digest,
            mounts: vec![toolchain.mount()],
            tools: toolchain.tools.clone(),
            environment: toolchain.environment.clone(),
            sources: vec![toolchain.source.clone()],
            recipe: toolchain.recipe.clone(),
            facts,
        }
    }

    /// What is pinned, as the registry keeps it.
    #[must_use]
    pub fn toolchain(&self) -> Toolchain {
        Toolchain {
            name: self.name.clone(),
            kind: self.kind,
            digest: self.digest,
            environment: self.environment.clone(),
            tools: self.tools.clone(),
            source: self.sources.first().cloned().unwrap_or_default(),
            recipe: self.recipe.clone(),
        }
    }

    /// Whether `found`, which some source gave, is what is pinned.
    ///
    /// # Errors
    /// [`ToolchainError::Mismatch`] with both digests; `path` is the first difference, where the caller knows it.
    pub fn check(&self, found: Digest, path: Option<String>) -> Result<(), ToolchainError> {
        if found == self.digest {
            return Ok(());
        }
        Err(ToolchainError::Mismatch(Box::new(Mismatch { name: self.name.clone(), locked: self.digest, found, path })))
    }

    pub(crate) fn validate(&self) -> Result<(), String> {
        check_name(&self.name)?;
        let says = |what: &str| format!("toolchain `{}`: {what}", self.name);
        let mount = self.toolchain().mount();
        if self.mounts != [mount.clone()] {
            return Err(says(&format!("its mounts must be [\"{mount}\"], as it is of kind {}", self.kind)));
        }
        if let Some((role, path)) = self.tools.iter().find(|(_, path)| !path.starts_with('/')) {
            return Err(says(&format!("the path of its {role}, `{path}`, is not absolute")));
        }
        let plain = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
        if let Some(name) = self.environment.keys().find(|name| !plain(name)) {
            return Err(says(&format!("`{name}` cannot name a variable")));
        }
        if self.sources.is_empty() {
            return Err(says("it has no source"));
        }
        Ok(())
    }
}

impl LockFile {
    /// The determinism policy of all actions of the project that ask for no other.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Chooses another determinism policy.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// All toolchains, by name.
    #[must_use]
    pub fn toolchains(&self) -> &[Locked] {
        &self.toolchains
    }

    /// The toolchain of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Locked> {
        self.toolchains.iter().find(|t| t.name == name)
    }

    /// Pins a toolchain, in place of one of the same name.
    pub fn put(&mut self, locked: Locked) {
        self.toolchains.retain(|t| t.name != locked.name);
        self.toolchains.push(locked);
        self.toolchains.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Reads the text of a lock file; `file` is what errors call it.
    ///
    /// # Errors
    /// [`ToolchainError::Lock`]: not JSON, unknown or missing keys, a newer version, values that make no sense.
    pub fn parse(text: &str, file: &str) -> Result<Self, ToolchainError> {
        let refused = |problem: String| ToolchainError::Lock { file: file.to_owned(), problem };
        // The version first: what a newer one means by its keys is not known here.
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let version: Version = serde_json::from_str(text).map_err(|e| refused(explained(&e)))?;
        if version.schema_version != SCHEMA_VERSION {
            let version = version.schema_version;
            return Err(refused(format!(
                "it has schema_version {version}, this lre knows {SCHEMA_VERSION}: update lre"
            )));
        }
        let written: Written = serde_json::from_str(text).map_err(|e| refused(explained(&e)))?;
        let mut names = BTreeSet::new();
        let mut lock = Self { policy: written.policy, ..Self::default() };
        for locked in written.toolchains {
            locked.validate().map_err(refused)?;
            if !names.insert(locked.name.clone()) {
                return Err(refused(format!("the toolchain `{}` is there twice", locked.name)));
            }
            lock.put(locked);
        }
        Ok(lock)
    }

    /// The text, the same for the same toolchains and policy on every machine.
    #[must_use]
    pub fn to_text(&self) -> String {
        let (policy, toolchains) = (self.policy, self.toolchains.clone());
        let written = Written { schema_version: SCHEMA_VERSION, policy, toolchains };
        // Maps with text keys and plain values: there is nothing that JSON cannot say.
        let mut text = serde_json::to_string_pretty(&written).expect("the lock file is JSON");
        text.push('\n');
        text
    }

    /// Reads a lock file; nothing where there is none.
    ///
    /// # Errors
    /// As [`LockFile::parse`], and what the disk says.
    pub fn read(path: &Path) -> Result<Option<Self>, ToolchainError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_at("read the lock file", path)(source)),
        }
    }

    /// Writes a lock file, which appears whole.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, path: &Path) -> Result<(), ToolchainError> {
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || {
            let mut file = tempfile::Builder::new()
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
                .tempfile_in(directory)?;
            file.write_all(self.to_text().as_bytes())?;
            file.persist(path).map(drop).map_err(|e| e.error)
        };
        write().map_err(io_at("write the lock file", path))
    }
}

/// Adds the nearest known key to "unknown field `x`, expected one of `a`, `b` at line 3 column 5".
fn explained(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let mut quoted = text.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(unknown) if text.starts_with("unknown field") => match nearest(unknown, quoted.map(str::to_owned)) {
            Some(close) => format!("{text}; did you mean `{close}`?"),
            None => text,
        },
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::DigestFunction;

    fn locked(name: &str, kind: Kind) -> Locked {
        let toolchain = Toolchain {
            name: name.to_owned(),
            kind,
            digest: Digest::of(DigestFunction::Sha256, name.as_bytes()),
            environment: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
            tools: [("cc".to_owned(), "/usr/bin/cc".to_owned()), ("ar".to_owned(), "/usr/bin/ar".to_owned())].into(),
            source: "capture:/usr/bin/cc".to_owned(),
            recipe: Vec::new(),
        };
        Locked::new(&toolchain, Facts::default())
    }

    fn lock() -> LockFile {
        let mut lock = LockFile::default();
        lock.put(locked("z", Kind::Tree));
        lock.put(locked("cc", Kind::Rootfs));
        lock
    }

    #[test]
    fn what_is_written_is_read_and_looks_the_same_in_any_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lre.lock");
        assert_eq!(LockFile::read(&path).unwrap(), None);
        let lock = lock();
        lock.write(&path).unwrap();
        let read = LockFile::read(&path).unwrap().unwrap();
        assert_eq!((&read, read.to_text()), (&lock, lock.to_text()));
        let mut other = LockFile::default();
        other.put(locked("cc", Kind::Rootfs));
        other.put(locked("z", Kind::Tree));
        other.put(locked("z", Kind::Tree));
        assert_eq!(other.to_text(), lock.to_text());
        assert_eq!(read.get("z").unwrap().toolchain().kind, Kind::Tree);
    }

    #[test]
    fn a_recipe_is_kept_and_where_there_is_none_nothing_is_said() {
        assert!(!lock().to_text().contains("recipe"));
        let mut lock = lock();
        let recipe = vec!["rules 1".to_owned(), "a line".to_owned()];
        lock.put(Locked { recipe: recipe.clone(), ..locked("packages", Kind::Rootfs) });
        let read = LockFile::parse(&lock.to_text(), "lre.lock").unwrap();
        assert_eq!(read, lock);
        assert_eq!(Locked::new(&read.get("packages").unwrap().toolchain(), Facts::default()).recipe, recipe);
    }

    #[test]
    fn a_policy_is_kept_and_the_default_is_not_said() {
        let mut lock = lock();
        assert!(!lock.to_text().contains("policy"), "as it was written before there were policies");
        assert_eq!(LockFile::parse(&lock.to_text(), "lre.lock").unwrap().policy(), Policy::Strict1);
        lock.set_policy(Policy::Standard1);
        let text = lock.to_text();
        assert!(text.starts_with("{\n  \"schema_version\": 1,\n  \"policy\": \"standard-1\",\n"), "{text}");
        assert_eq!(LockFile::parse(&text, "lre.lock").unwrap(), lock);
        let said = text.replace("standard-1", "strict-1");
        assert_eq!(LockFile::parse(&said, "lre.lock").unwrap().policy(), Policy::Strict1, "to say it is no mistake");
        for (written, says) in [("standard", "did you mean `standard-1`?"), ("strict-9", "needs a newer lre")] {
            let refused = LockFile::parse(&text.replace("standard-1", written), "lre.lock").unwrap_err().to_string();
            assert!(refused.starts_with("lre.lock: ") && refused.contains(says), "{refused}");
            assert!(refused.contains("at line 3"), "{refused}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_place_and_hint() {
        let text = lock().to_text();
        for (from, to, says) in [
            ("\"tools\"", "\"tool\"", "did you mean `tools`?"),
            ("\"schema_version\": 1", "\"schema_version\": 2", "update lre"),
            ("\"rootfs\"", "\"rootfS\"", "unknown variant `rootfS`"),
            ("\"z\"", "\"cc\"", "twice"),
            ("\"/\"", "\"/usr\"", "mounts must be [\"/\"]"),
            ("\"/usr/bin/ar\"", "\"ar\"", "not absolute"),
            ("\"name\": \"cc\"", "\"name\": \"../cc\"", "cannot name a toolchain"),
            ("/2\"", "\"", "is not a digest"),
            ("}", "", "at line "),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            let refused = LockFile::parse(&text.replacen(from, to, 1), "lre.lock").unwrap_err().to_string();
            assert!(refused.starts_with("lre.lock: ") && refused.contains(says), "{refused}");
        }
        let refused = LockFile::parse(&text.replacen("\"tools\"", "\"tool\"", 1), "lre.lock").unwrap_err().to_string();
        assert!(refused.contains("at line "), "{refused}");
    }

    #[test]
    fn another_digest_is_refused_with_both() {
        let locked = locked("cc", Kind::Rootfs);
        locked.check(locked.digest, None).unwrap();
        let other = Digest::of(DigestFunction::Sha256, b"other");
        let refused = locked.check(other, Some("usr/bin/ld".to_owned())).unwrap_err().to_string();
        for text in [&locked.digest.to_string(), &other.to_string(), "usr/bin/ld", "cc"] {
            assert!(refused.contains(text), "{refused}");
        }
    }
}
