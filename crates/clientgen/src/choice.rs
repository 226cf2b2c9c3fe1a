//! Which toolchain of the lock file is for which language, and which of them share one sandbox.
//!
//! # Which one
//! For C and C++, Java and Rust each, the first rule that decides:
//! 1. the one that [`Options`] name: for this language, else for whatever it is able to do;
//! 2. one that is called like the language: `cc`, `java`, `rust`;
//! 3. for Java and Rust, the toolchain for C and C++ itself, where it has that language too (one root file system
//!    with everything);
//! 4. the only one that has the language. Several are an error that names them.
//!
//! A language that no toolchain has is left out. Every toolchain that a manifest describes is used.
//!
//! # Which share a sandbox
//! One action sees at most one toolchain that is mounted as `/`; all others have paths of their own and compose with
//! anything. So the *main platform* is made of all chosen toolchains that are mounted elsewhere and of the first
//! chosen one that is mounted as `/`, in the order C and C++, Java, Rust, then those with a manifest by name. A
//! further one that would be mounted as `/` is *apart*: it gets a platform of its own, made of it and of everything
//! that composes, with a constraint value of ours (`//generated-java/config:java`) that its Bazel toolchain asks for,
//! so that Bazel's toolchain resolution sends the actions of that language there and all others to the main platform.
use crate::{Options, Unsuitable};
use lre_model::{Policy, Terms};
use lre_toolchain::{CcFacts, CustomFacts, Facts, JavaFacts, Kind, LockFile, Locked, RustFacts};
use std::collections::BTreeMap;

/// Languages whose packages have fixed names.
const LANGUAGES: [&str; 3] = ["cc", "java", "rust"];

/// A toolchain in one of its languages.
#[derive(Debug, Clone)]
pub(crate) struct Role<'a, F> {
    pub locked: &'a Locked,
    pub facts: &'a F,
    /// What follows `generated-` in the name of its package.
    pub name: String,
    /// It shares no sandbox with the main platform.
    pub apart: bool,
}

impl<F> Role<'_, F> {
    /// What the constraint value is called that only a platform of its own has. Other names may be those of targets.
    pub fn constraint(&self) -> &str {
        if LANGUAGES.contains(&self.name.as_str()) { &self.name } else { "custom" }
    }
}

/// What is generated for.
#[derive(Debug, Clone)]
pub(crate) struct Choice<'a> {
    pub cc: Option<Role<'a, CcFacts>>,
    pub java: Option<Role<'a, JavaFacts>>,
    pub rust: Option<Role<'a, RustFacts>>,
    pub custom: Vec<Role<'a, CustomFacts>>,
    /// The toolchains of the main platform, in the order in which they are mounted.
    pub main: Vec<&'a Locked>,
    /// The determinism policy of all platforms.
    pub policy: Policy,
}

impl<'a> Choice<'a> {
    /// Chooses; see the head of this file.
    pub fn new(lock: &'a LockFile, options: &'a Options) -> Result<Self, Unsuitable> {
        let rather = options.toolchain.as_deref();
        if let Some(name) = rather.filter(|name| lock.get(name).is_none_or(|locked| locked.facts.is_empty())) {
            return Err(Unsuitable::NoSuch { name: name.to_owned(), language: "any language" });
        }
        let first = [rather, Some("cc")];
        let cc = choose(lock, "cc", None, first.into_iter().flatten(), |f| f.cc.as_ref())?;
        let with = cc.as_ref().map(|role| role.locked.name.as_str());
        let first = [rather, Some("java"), with];
        let java = choose(lock, "java", options.java.as_deref(), first.into_iter().flatten(), |f| f.java.as_ref())?;
        let first = [rather, Some("rust"), with];
        let rust = choose(lock, "rust", options.rust.as_deref(), first.into_iter().flatten(), |f| f.rust.as_ref())?;
        let mut choice = Self { cc, java, rust, custom: custom(lock)?, main: Vec::new(), policy: lock.policy() };
        if choice.members().is_empty() {
            return Err(Unsuitable::NoCompiler);
        }
        choice.compose();
        Ok(choice)
    }

    /// All chosen toolchains, in the order in which they may claim `/`. One may be there twice.
    fn members(&self) -> Vec<&'a Locked> {
        let named = [
            self.cc.as_ref().map(|r| r.locked),
            self.java.as_ref().map(|r| r.locked),
            self.rust.as_ref().map(|r| r.locked),
        ];
        named.into_iter().flatten().chain(self.custom.iter().map(|r| r.locked)).collect()
    }

    fn compose(&mut self) {
        let members = self.members();
        let root = members.iter().find(|locked| locked.kind == Kind::Rootfs).map(|locked| locked.digest);
        let composes = |locked: &Locked| locked.kind != Kind::Rootfs || Some(locked.digest) == root;
        self.main = mounted(members.into_iter().filter(|locked| composes(locked)));
        let (cc, java, rust) = (self.cc.iter_mut(), self.java.iter_mut(), self.rust.iter_mut());
        cc.for_each(|role| role.apart = !composes(role.locked));
        java.for_each(|role| role.apart = !composes(role.locked));
        rust.for_each(|role| role.apart = !composes(role.locked));
        self.custom.iter_mut().for_each(|role| role.apart = !composes(role.locked));
    }

    /// The toolchains of the platform on which the actions of this role run.
    pub fn platform<F>(&self, role: &Role<'a, F>) -> Vec<&'a Locked> {
        if !role.apart {
            return self.main.clone();
        }
        let composing = self.main.iter().copied().filter(|locked| locked.kind != Kind::Rootfs);
        mounted(composing.chain([role.locked]))
    }

    /// Names of the roles that have platforms of their own.
    pub fn apart(&self) -> Vec<&str> {
        let languages = [
            self.java.as_ref().map(|r| (r.name.as_str(), r.apart)),
            self.rust.as_ref().map(|r| (r.name.as_str(), r.apart)),
        ];
        let custom = self.custom.iter().map(|r| (r.name.as_str(), r.apart));
        languages.into_iter().flatten().chain(custom).filter(|(_, apart)| *apart).map(|(name, _)| name).collect()
    }

    /// Every chosen toolchain once, those of the main platform first, in the order in which they are mounted.
    pub fn toolchains(&self) -> Vec<&'a Locked> {
        let mut all = self.main.clone();
        all.extend(mounted(self.members()).into_iter().filter(|locked| !self.main.contains(locked)));
        all
    }

    /// What commands on the main platform should have. Of `PATH`s all, those of root file systems last, as a sandbox
    /// has it; of other variables that of the toolchain that is mounted first. Flags cannot tell platforms apart, so
    /// what a toolchain apart wants is added.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        let mut folders: Vec<String> = Vec::new();
        let (roots, others): (Vec<_>, Vec<_>) = self.toolchains().into_iter().partition(|t| t.kind == Kind::Rootfs);
        for path in others.iter().chain(&roots).filter_map(|locked| locked.toolchain().path()) {
            let more: Vec<_> = path.split(':').filter(|folder| !folders.iter().any(|f| f == folder)).collect();
            folders.extend(more.into_iter().map(str::to_owned));
        }
        for (name, value) in self.toolchains().into_iter().flat_map(|locked| &locked.environment) {
            environment.entry(name.clone()).or_insert_with(|| value.clone());
        }
        if !folders.is_empty() {
            environment.insert("PATH".to_owned(), folders.join(":"));
        }
        environment
    }

    /// What the platform of these toolchains asks of the server. Several toolchains of one kind are one value.
    ///
    /// The policy is said even where it is what an absent property means: a server that knows nothing of policies
    /// refuses the action instead of running it under rules of its own, and people see what they have.
    pub fn properties(&self, toolchains: &[&Locked]) -> Vec<(String, String)> {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in toolchains.iter().map(|locked| locked.toolchain().property()) {
            values.entry(name).or_default().push(value);
        }
        let always = [("OSFamily", "linux"), (Terms::POLICY, self.policy.name())];
        let always = always.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        always.chain(values.into_iter().map(|(name, values)| (name, values.join(",")))).collect()
    }

    /// Which instruction set the platforms have, from the triples of their compilers; unknown where none is there.
    pub fn triple(&self) -> Option<&'a str> {
        let cc = self.cc.as_ref().map(|role| role.facts.triple.as_str());
        cc.or_else(|| self.rust.as_ref().map(|role| role.facts.host.as_str()))
    }

    /// The path of a tool on the main platform: of the toolchain for C and C++ rather than of another.
    pub fn tool(&self, role: &str) -> Option<&'a str> {
        let first = self.cc.as_ref().map(|r| r.locked);
        first.into_iter().chain(self.main.iter().copied()).find_map(|t| t.tools.get(role)).map(String::as_str)
    }
}

impl<'a> Choice<'a> {
    /// What runs a script where the actions of this role run.
    pub fn shell<F>(&self, role: &Role<'a, F>) -> &'a str {
        let there = self.platform(role);
        let named = ["sh", "bash"].into_iter().find_map(|name| there.iter().find_map(|t| t.tools.get(name)));
        named.map_or("/bin/sh", String::as_str)
    }
}

/// `named` must be it, the first of `first` that is able is it, and otherwise it must be clear.
fn choose<'a, F>(
    lock: &'a LockFile,
    language: &'static str,
    named: Option<&str>,
    first: impl IntoIterator<Item = &'a str>,
    facts: impl Fn(&'a Facts) -> Option<&'a F>,
) -> Result<Option<Role<'a, F>>, Unsuitable> {
    let able: Vec<_> = lock.toolchains().iter().filter_map(|t| Some((t, facts(&t.facts)?))).collect();
    let of = |name: &str| able.iter().find(|(locked, _)| locked.name == name).copied();
    let role = |(locked, facts)| Role { locked, facts, name: language.to_owned(), apart: false };
    if let Some(name) = named {
        let found = of(name).ok_or_else(|| Unsuitable::NoSuch { name: name.to_owned(), language })?;
        return Ok(Some(role(found)));
    }
    if let Some(found) = first.into_iter().find_map(of) {
        return Ok(Some(role(found)));
    }
    match &able[..] {
        [] => Ok(None),
        [one] => Ok(Some(role(*one))),
        many => Err(Unsuitable::Several { language, names: many.iter().map(|(t, _)| t.name.clone()).collect() }),
    }
}

fn custom(lock: &LockFile) -> Result<Vec<Role<'_, CustomFacts>>, Unsuitable> {
    let able = lock.toolchains().iter().filter_map(|t| Some((t, t.facts.custom.as_ref()?)));
    let roles: Vec<_> =
        able.map(|(locked, facts)| Role { locked, facts, name: package(&locked.name), apart: false }).collect();
    match roles.iter().find(|role| roles.iter().filter(|other| other.name == role.name).count() > 1) {
        Some(role) => Err(Unsuitable::Clash(format!("generated-{}", role.name))),
        None => Ok(roles),
    }
}

/// The packages of languages keep their names, whatever else a toolchain of that name has to offer.
fn package(name: &str) -> String {
    if LANGUAGES.contains(&name) { format!("{name}-tools") } else { name.to_owned() }
}

/// Once each, in the order in which a sandbox mounts them, which is that of the server: by kind, then as properties
/// are sorted.
fn mounted<'a>(toolchains: impl IntoIterator<Item = &'a Locked>) -> Vec<&'a Locked> {
    let by_place: BTreeMap<_, _> =
        toolchains.into_iter().map(|locked| ((locked.kind, locked.digest.to_string()), locked)).collect();
    by_place.into_values().collect()
}
