//! From what a client asks for to what is mounted. Pure, and answered at once: a wrong platform is
//! never queued (PROTOCOL, 63).
use crate::{Closure, Kind, Toolchain};
use lre_model::{Digest, Platform, Terms, nearest};

/// Properties beyond ours that the configuration declares as accepted; they choose nothing.
pub type Accepted = Vec<String>;

/// The only operating system that actions run on here.
const OS_FAMILY: (&str, &str) = ("OSFamily", "linux");
/// The instruction set that actions run on here, in the words of the API's platform lexicon.
const ISA: (&str, &str) = ("ISA", if cfg!(target_arch = "aarch64") { "arm-a64" } else { "x86-64" });

/// What an action runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The toolchains.
    pub closure: Closure,
    /// Set where the action named no toolchain and the default one was taken: its result is keyed
    /// by this digest as well, and never shared.
    pub default: Option<Digest>,
}

/// Why a platform cannot be had. The user's turn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Refused {
    /// The property at fault; the subject of the PLATFORM violation.
    pub property: String,
    /// What is wrong, what is installed, the nearest match, and the command that fixes it.
    pub problem: String,
}

impl Refused {
    fn new(property: &str, problem: impl Into<String>) -> Self {
        Self { property: property.to_owned(), problem: problem.into() }
    }
}

/// What `platform` names by a digest that is installed under no kind, as it would be if it were here. Such a toolchain
/// may be had from elsewhere; all other mistakes are for people.
#[must_use]
pub fn absent(platform: &Platform, installed: &[Toolchain]) -> Vec<Toolchain> {
    let mut absent: Vec<Toolchain> = Vec::new();
    for (name, values) in platform.iter() {
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.property() == name) else { continue };
        for digest in values.split(',').filter_map(|value| Digest::from_text(value).ok()) {
            let known = installed.iter().any(|t| t.digest == digest);
            if known || absent.iter().any(|t| t.kind == kind && t.digest == digest) {
                continue;
            }
            absent.push(Toolchain {
                name: format!("absent-{kind}-{}", digest.hash_text()),
                kind,
                digest,
                environment: Default::default(),
                tools: Default::default(),
                source: String::new(),
                recipe: Vec::new(),
            });
        }
    }
    absent
}

/// Finds what `platform` asks for among `installed`.
///
/// # Errors
/// Unknown properties, unknown values, unknown toolchains, more than one rootfs, and no toolchain
/// where there is no default.
pub fn resolve(
    platform: &Platform,
    installed: &[Toolchain],
    accepted: &Accepted,
    default: Option<&Toolchain>,
) -> Result<Resolved, Refused> {
    let mut named: Vec<&Toolchain> = Vec::new();
    for (name, value) in platform.iter() {
        match Kind::ALL.into_iter().find(|kind| kind.property() == name) {
            // Bazel's `exec_properties` is a dictionary: a client that can say a property only once names several
            // with commas between them, which no digest contains.
            Some(kind) => {
                for value in value.split(',') {
                    named.push(installed_as(kind, value, installed)?);
                }
            }
            None => check(name, value, accepted)?,
        }
    }
    // `Kind` puts the rootfs first, as it must be mounted before anything below it; the sort is
    // stable, so that trees stay in the order of the platform, which is sorted itself.
    named.sort_by_key(|t| t.kind);
    if let [first, second, ..] = &named[..]
        && second.kind == Kind::Rootfs
    {
        let problem = format!(
            "only one toolchain can be mounted as `/`, but two are asked for: `{}` and `{}`; \
             leave one `{}` out of exec_properties",
            first.name,
            second.name,
            Kind::Rootfs.property()
        );
        return Err(Refused::new(Kind::Rootfs.property(), problem));
    }
    match default {
        _ if !named.is_empty() => {
            Ok(Resolved { closure: Closure { toolchains: named.into_iter().cloned().collect() }, default: None })
        }
        Some(default) => {
            Ok(Resolved { closure: Closure { toolchains: vec![default.clone()] }, default: Some(default.digest) })
        }
        None => Err(no_toolchain(installed)),
    }
}

fn installed_as<'a>(kind: Kind, value: &str, installed: &'a [Toolchain]) -> Result<&'a Toolchain, Refused> {
    let refused = |problem: String| Err(Refused::new(kind.property(), problem));
    if let Some(found) = installed.iter().find(|t| t.kind == kind && t.digest.to_string() == value) {
        return Ok(found);
    }
    // The three mistakes that people make with a toolchain that is there.
    if let Some(other) = installed.iter().find(|t| t.digest.to_string() == value) {
        return refused(format!(
            "`{}` is a {} toolchain: write `{}` instead of `{}` in exec_properties",
            other.name,
            other.kind,
            other.kind.property(),
            kind.property()
        ));
    }
    if let Some(named) = installed.iter().find(|t| t.name == value) {
        let (property, value) = named.property();
        return refused(format!("toolchains are named by digest: write `{property}` = `{value}` for `{}`", named.name));
    }
    let of_kind: Vec<_> = installed.iter().filter(|t| t.kind == kind).collect();
    let close = nearest(value, of_kind.iter().map(|t| t.digest.to_string()));
    let hint = match close {
        Some(close) => format!("did you mean `{close}`? "),
        None => String::new(),
    };
    refused(format!(
        "no toolchain `{value}` is installed; {hint}{}; to add one: {}",
        list_installed(installed),
        add_command(kind)
    ))
}

/// A property that names no toolchain chooses nothing, so it may only say what is true anyway.
fn check(name: &str, value: &str, accepted: &Accepted) -> Result<(), Refused> {
    for (known, only) in [OS_FAMILY, ISA] {
        if name == known && value != only {
            return Err(Refused::new(name, format!("this machine has `{known}` = `{only}`, not `{value}`")));
        }
        if name == known {
            return Ok(());
        }
    }
    // What they mean was read before (`Terms::from_platform`); they choose no toolchain.
    if Terms::PROPERTIES.contains(&name) || accepted.iter().any(|a| a == name) {
        return Ok(());
    }
    let known: Vec<_> =
        Kind::ALL.into_iter().map(Kind::property).chain([OS_FAMILY.0, ISA.0]).chain(Terms::PROPERTIES).collect();
    let known: Vec<_> = known.into_iter().map(str::to_owned).chain(accepted.iter().cloned()).collect();
    let hint = match nearest(name, known.iter().cloned()) {
        Some(close) => format!("did you mean `{close}`? "),
        None => String::new(),
    };
    Err(Refused::new(
        name,
        format!(
            "the platform property `{name}` is not known here; {hint}known: {}; to accept it without effect: \
             add \"{name}\" to `accepted_properties` in lre.json5",
            known.join(", ")
        ),
    ))
}

fn no_toolchain(installed: &[Toolchain]) -> Refused {
    let fix = match installed {
        [] => add_command(Kind::Rootfs),
        [only] => format!("lre serve --default-toolchain {}", only.name),
        _ => "lre serve --default-toolchain NAME".to_owned(),
    };
    let property = Kind::Rootfs.property();
    Refused::new(
        property,
        format!(
            "the action names no toolchain (`{}`), and the server has no default one; {}; to fix it: {fix}",
            Kind::ALL.map(Kind::property).join("` or `"),
            list_installed(installed)
        ),
    )
}

fn list_installed(installed: &[Toolchain]) -> String {
    if installed.is_empty() {
        return "nothing is installed".to_owned();
    }
    let each: Vec<_> = installed.iter().map(|t| format!("{} ({} = {})", t.name, t.kind.property(), t.digest)).collect();
    format!("installed: {}", each.join(", "))
}

fn add_command(kind: Kind) -> String {
    match kind {
        Kind::Rootfs => "lre toolchain add NAME --from capture:/usr/bin/cc".to_owned(),
        Kind::Tree => "lre toolchain add NAME --from dir:PATH --kind tree".to_owned(),
        Kind::Nix => "lre toolchain add NAME --from nix:/nix/store/HASH-NAME".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::DigestFunction;

    fn toolchain(name: &str, kind: Kind) -> Toolchain {
        Toolchain {
            name: name.to_owned(),
            kind,
            digest: Digest::of(DigestFunction::Sha256, name.as_bytes()),
            environment: Default::default(),
            tools: Default::default(),
            source: format!("dir:/{name}"),
            recipe: Vec::new(),
        }
    }

    fn asked(
        pairs: &[(&str, &str)],
        installed: &[Toolchain],
        default: Option<&Toolchain>,
    ) -> Result<Resolved, Refused> {
        resolve(&Platform::new(pairs.iter().copied()), installed, &vec!["Pool".to_owned()], default)
    }

    #[track_caller]
    fn refused(pairs: &[(&str, &str)], installed: &[Toolchain], property: &str, says: &[&str]) {
        let refused = asked(pairs, installed, None).unwrap_err();
        assert_eq!(refused.property, property);
        for text in says {
            assert!(refused.problem.contains(text), "`{text}` is not in: {}", refused.problem);
        }
    }

    #[test]
    fn a_toolchain_is_found_by_digest_and_the_rootfs_comes_first() {
        let (root, a, b) = (toolchain("r", Kind::Rootfs), toolchain("a", Kind::Tree), toolchain("b", Kind::Tree));
        let installed = [b.clone(), a.clone(), root.clone()];
        let mut pairs = vec![("OSFamily", "linux"), ("ISA", ISA.1), ("Pool", "anything")];
        let values = installed.each_ref().map(Toolchain::property);
        pairs.extend(values.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let found = asked(&pairs, &installed, Some(&a)).unwrap();
        assert_eq!(found.default, None, "the action named its toolchains");
        let mut trees = [a, b];
        trees.sort_by_key(|t| t.digest.to_string());
        assert_eq!(found.closure.toolchains, [root.clone(), trees[0].clone(), trees[1].clone()]);
        let both = format!("{},{}", trees[0].digest, trees[1].digest);
        let once = [("lre-rootfs", root.digest.to_string()), ("lre-toolchain", both)];
        let once: Vec<_> = once.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(asked(&once, &installed, None).unwrap(), found, "a property may name several");
    }

    #[test]
    fn the_default_is_taken_only_where_none_is_named_and_says_so() {
        let root = toolchain("r", Kind::Rootfs);
        let found = asked(&[("OSFamily", "linux")], &[], Some(&root)).unwrap();
        assert_eq!((found.default, found.closure.toolchains), (Some(root.digest), vec![root.clone()]));
        refused(&[], &[], "lre-rootfs", &["nothing is installed", "lre toolchain add NAME --from capture:/usr/bin/cc"]);
        refused(&[], &[root], "lre-rootfs", &["lre serve --default-toolchain r"]);
    }

    /// A default must not stand in for a toolchain that was named and is not there: the results would
    /// be keyed as if it had been.
    #[test]
    fn the_default_never_replaces_one_that_is_missing() {
        let root = toolchain("r", Kind::Rootfs);
        let gone = toolchain("gone", Kind::Rootfs).property();
        assert!(asked(&[(&gone.0, &gone.1)], std::slice::from_ref(&root), Some(&root)).is_err());
    }

    #[test]
    fn wrong_values_and_names_are_refused_with_what_is_right() {
        let root = toolchain("r", Kind::Rootfs);
        let tree = toolchain("t", Kind::Tree);
        let other = toolchain("other", Kind::Rootfs);
        let installed = [root.clone(), tree.clone(), other.clone()];
        refused(&[("OSFamily", "windows")], &installed, "OSFamily", &["`linux`", "`windows`"]);
        refused(&[("ISA", "mips")], &installed, "ISA", &[ISA.1, "`mips`"]);
        refused(&[("OSFamly", "linux")], &installed, "OSFamly", &["did you mean `OSFamily`", "lre.json5"]);
        refused(
            &[("container-image", "x")],
            &installed,
            "container-image",
            &["known: lre-rootfs, lre-toolchain, lre-nix"],
        );
        let mut typo = root.digest.to_string();
        typo.replace_range(3..4, if &typo[3..4] == "0" { "1" } else { "0" });
        let near = format!("did you mean `{}`", root.digest);
        refused(&[("lre-rootfs", &typo)], &installed, "lre-rootfs", &[&near, "lre toolchain add"]);
        refused(&[("lre-rootfs", &tree.digest.to_string())], &installed, "lre-rootfs", &["`lre-toolchain`"]);
        refused(&[("lre-rootfs", "r")], &installed, "lre-rootfs", &["by digest", &root.digest.to_string()]);
        let two = [root.digest.to_string(), other.digest.to_string()];
        let two: Vec<_> = two.iter().map(|v| ("lre-rootfs", v.as_str())).collect();
        refused(&two, &installed, "lre-rootfs", &["`r`", "`other`", "only one"]);
    }
}
