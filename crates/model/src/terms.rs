//! What an action may ask of its sandbox beside toolchains.
//!
//! All of it comes from the platform, and so is part of the action's digest: two machines that run
//! an action under one digest run it under the same terms, and a result is never found under others.
use crate::Platform;
use crate::nearest::nearest;
use std::fmt;
use std::str::FromStr;

/// What is the same for all actions that run under it, on whatever machine.
///
/// Name and version are one: what a version means is never changed, a change is a new version. So a
/// result remembered under `strict-1` is what `strict-1` gives today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Whatever the sandbox can fix is fixed: no home, `/proc` with processes only, addresses that
    /// do not change from run to run. What an absent property means, for ever.
    #[default]
    Strict1,
    /// Strict, and a home that the action may write and that ends with it.
    Standard1,
    /// Standard, and the whole `/proc` of its namespaces, and random addresses: for programs that
    /// fail without them. What they read there may differ between two machines.
    Compat1,
}

impl Policy {
    /// All, the strictest first.
    pub const ALL: [Self; 3] = [Self::Strict1, Self::Standard1, Self::Compat1];

    /// The value of the property.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict1 => "strict-1",
            Self::Standard1 => "standard-1",
            Self::Compat1 => "compat-1",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL.into_iter().find(|policy| policy.name() == text).ok_or_else(|| UnknownPolicy(text.to_owned()))
    }
}

impl serde::Serialize for Policy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Policy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A policy, or a version of one, that this version does not have. The user's turn.
///
/// Never replaced by a policy that is known: the result would be keyed as if it had been made under
/// the other one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownPolicy(pub String);

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Policy::ALL.map(Policy::name);
        write!(f, "the determinism policy `{}` is not known here; ", self.0)?;
        if let Some(close) = nearest(&self.0, known.map(str::to_owned)) {
            write!(f, "did you mean `{close}`? ")?;
        }
        let known = known.join(", ");
        write!(f, "known: {known}; a policy has a name and a version, and a newer one needs a newer lre")
    }
}

/// What the action can reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// A loopback of its own: its processes reach each other, and nothing else.
    #[default]
    Loopback,
    /// What the machine reaches, its loopback included. What comes from there is in no digest.
    Host,
}

impl Network {
    /// All, the default first.
    pub const ALL: [Self; 2] = [Self::Loopback, Self::Host];

    /// The value of the property.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Host => "host",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Limits below those of the server. `None`: not asked for.
///
/// They can only lower: an action that asks for more than the server gives gets what it gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limits {
    /// Memory of all its processes together.
    pub memory_bytes_max: Option<u64>,
    /// Processes and threads at one time.
    pub processes_max: Option<u64>,
    /// Bytes written to its file system.
    pub disk_bytes_max: Option<u64>,
    /// Bytes of each of stdout and stderr.
    pub output_bytes_max: Option<u64>,
}

/// What an action asks of its sandbox. The default is what an action without any of the properties
/// asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Terms {
    /// What is fixed.
    pub policy: Policy,
    /// What can be reached.
    pub network: Network,
    /// The trust domain, where it may run in a sandbox that others of the same domain have used.
    pub warm: Option<String>,
    /// Whether it may write to its inputs (its own copies of them; never what is stored).
    pub mutates_inputs: bool,
    /// What it may use up.
    pub limits: Limits,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            network: Network::default(),
            warm: None,
            mutates_inputs: true,
            limits: Limits::default(),
        }
    }
}

/// Why there are no such terms. The user's turn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct TermsError {
    /// The property at fault; the subject of the PLATFORM violation.
    pub property: &'static str,
    /// What is wrong, what is known, and what to write instead.
    pub problem: String,
}

impl Terms {
    /// Names the determinism policy.
    pub const POLICY: &'static str = "lre-policy";
    /// Says what can be reached.
    pub const NETWORK: &'static str = "lre-network";
    /// Names the trust domain of a warm slot.
    pub const WARM: &'static str = "lre-warm";
    /// `0`: the inputs are read-only.
    pub const MUTATES_INPUTS: &'static str = "lre-mutates-inputs";
    /// Lowers the memory of all processes together.
    pub const MEMORY_BYTES_MAX: &'static str = "lre-memory-bytes-max";
    /// Lowers the number of processes and threads.
    pub const PROCESSES_MAX: &'static str = "lre-processes-max";
    /// Lowers what may be written.
    pub const DISK_BYTES_MAX: &'static str = "lre-disk-bytes-max";
    /// Lowers what may be said on stdout, and on stderr.
    pub const OUTPUT_BYTES_MAX: &'static str = "lre-output-bytes-max";

    /// The names of all properties that mean something here. Whoever refuses unknown properties
    /// lets these pass, and the reference page has a section for each.
    pub const PROPERTIES: [&'static str; 8] = [
        Self::POLICY,
        Self::NETWORK,
        Self::WARM,
        Self::MUTATES_INPUTS,
        Self::MEMORY_BYTES_MAX,
        Self::PROCESSES_MAX,
        Self::DISK_BYTES_MAX,
        Self::OUTPUT_BYTES_MAX,
    ];

    /// Characters of a trust domain's name.
    pub const WARM_CHARS_MAX: usize = 64;

    /// What `platform` asks for; properties that mean nothing here are left to others.
    ///
    /// # Errors
    /// Values that mean nothing, properties said twice with different values, and terms that
    /// contradict each other. Nothing is ever taken for something near it.
    pub fn from_platform(platform: &Platform) -> Result<Self, TermsError> {
        let terms = Self {
            policy: read(platform, Self::POLICY, policy)?.unwrap_or_default(),
            network: read(platform, Self::NETWORK, network)?.unwrap_or_default(),
            warm: read(platform, Self::WARM, warm)?,
            mutates_inputs: read(platform, Self::MUTATES_INPUTS, yes_or_no)?.unwrap_or(true),
            limits: Limits {
                memory_bytes_max: read(platform, Self::MEMORY_BYTES_MAX, positive)?,
                processes_max: read(platform, Self::PROCESSES_MAX, positive)?,
                disk_bytes_max: read(platform, Self::DISK_BYTES_MAX, positive)?,
                output_bytes_max: read(platform, Self::OUTPUT_BYTES_MAX, positive)?,
            },
        };
        if (terms.policy, terms.network) == (Policy::Strict1, Network::Host) {
            let problem = format!(
                "`{}` = `{}` is refused with the policy {}, under which nothing is reachable; hint: leave it out, \
                 or add `{}` = `{}` to exec_properties of what needs the network",
                Self::NETWORK,
                Network::Host,
                Policy::Strict1,
                Self::POLICY,
                Policy::Standard1
            );
            return Err(TermsError { property: Self::NETWORK, problem });
        }
        Ok(terms)
    }
}

/// The one value of a property. Several are allowed by the API, but of these properties no two can
/// be true, and to choose one would be a guess.
fn read<T>(
    platform: &Platform,
    property: &'static str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, TermsError> {
    let refused = |problem| TermsError { property, problem };
    let mut values = platform.values(property);
    let Some(value) = values.next() else { return Ok(None) };
    if let Some(other) = values.next() {
        let problem = format!("`{property}` is said twice, as `{value}` and as `{other}`; leave one of them out");
        return Err(refused(problem));
    }
    parse(value).map(Some).map_err(|problem| refused(format!("`{property}` = `{value}`: {problem}")))
}

fn policy(value: &str) -> Result<Policy, String> {
    value.parse().map_err(|unknown: UnknownPolicy| unknown.to_string())
}

fn network(value: &str) -> Result<Network, String> {
    Network::ALL.into_iter().find(|network| network.name() == value).ok_or_else(|| {
        let known = Network::ALL.map(Network::name);
        let hint = nearest(value, known.map(str::to_owned)).map(|close| format!("did you mean `{close}`? "));
        format!("there is no such network; {}known: {}", hint.unwrap_or_default(), known.join(", "))
    })
}

fn warm(value: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if value.is_empty() || value.len() > Terms::WARM_CHARS_MAX || !value.chars().all(fits) {
        let most = Terms::WARM_CHARS_MAX;
        return Err(format!(
            "a trust domain's name is 1 to {most} characters out of lower-case letters, digits, `.`, `_` and `-`"
        ));
    }
    Ok(value.to_owned())
}

fn yes_or_no(value: &str) -> Result<bool, String> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err("it is `1` (the action may write to its inputs; the default) or `0` (they are read-only)".to_owned()),
    }
}

/// One way to write a number, as each way is another action digest: digits, without a sign, a unit
/// or a leading zero.
fn positive(value: &str) -> Result<u64, String> {
    let digits = value.bytes().all(|b| b.is_ascii_digit()) && !value.starts_with('0');
    match value.parse() {
        Ok(number) if digits => Ok(number),
        _ => Err(format!("a limit is a decimal number from 1 to {}, without a unit", u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(pairs: &[(&str, &str)]) -> Result<Terms, TermsError> {
        Terms::from_platform(&Platform::new(pairs.iter().copied()))
    }

    #[track_caller]
    fn refused(pairs: &[(&str, &str)], property: &str, says: &[&str]) {
        let error = terms(pairs).unwrap_err();
        assert_eq!(error.property, property);
        for text in says {
            assert!(error.problem.contains(text), "`{text}` is not in: {}", error.problem);
        }
    }

    #[test]
    fn what_is_not_said_is_the_default_and_the_default_is_strict() {
        let nothing = terms(&[("OSFamily", "linux"), ("lre-rootfs", "x"), ("lre-rootfs", "y")]).unwrap();
        assert_eq!(nothing, Terms::default());
        let said = [("lre-policy", "strict-1"), ("lre-network", "loopback"), ("lre-mutates-inputs", "1")];
        assert_eq!(terms(&said).unwrap(), Terms::default(), "to say the default changes nothing");
        assert!(Terms::default().mutates_inputs, "clients expect to write anywhere (REAPI, Action.input_root_digest)");
    }

    #[test]
    fn each_property_is_read() {
        let all = [
            ("lre-policy", "compat-1"),
            ("lre-network", "host"),
            ("lre-warm", "team.a_b-1"),
            ("lre-mutates-inputs", "0"),
            ("lre-memory-bytes-max", "1073741824"),
            ("lre-processes-max", "1"),
            ("lre-disk-bytes-max", "18446744073709551615"),
            ("lre-output-bytes-max", "10"),
        ];
        assert_eq!(all.map(|(name, _)| name), Terms::PROPERTIES, "the list is whole");
        let limits = Limits {
            memory_bytes_max: Some(1 << 30),
            processes_max: Some(1),
            disk_bytes_max: Some(u64::MAX),
            output_bytes_max: Some(10),
        };
        let expected = Terms {
            policy: Policy::Compat1,
            network: Network::Host,
            warm: Some("team.a_b-1".to_owned()),
            mutates_inputs: false,
            limits,
        };
        assert_eq!(terms(&all).unwrap(), expected);
    }

    #[test]
    fn policies_have_names_and_versions() {
        for policy in Policy::ALL {
            assert_eq!(terms(&[("lre-policy", policy.name())]).unwrap().policy, policy);
        }
        let known = "known: strict-1, standard-1, compat-1";
        for (written, meant) in [
            ("strict", "strict-1"),
            ("standard", "standard-1"),
            ("compat", "compat-1"),
            ("strict-2", "strict-1"),
            ("Strict-1", "strict-1"),
            ("compact-1", "compat-1"),
        ] {
            let hint = format!("did you mean `{meant}`?");
            refused(&[("lre-policy", written)], "lre-policy", &[&hint, known, written, "needs a newer lre"]);
        }
        for far in ["", "1", "hermetic", "strict-1,compat-1"] {
            refused(&[("lre-policy", far)], "lre-policy", &["is not known here; known", known]);
        }
    }

    #[test]
    fn the_network_of_the_host_is_for_those_who_gave_up_strictness() {
        let host = ("lre-network", "host");
        let says = ["refused with the policy strict-1", "`lre-policy` = `standard-1`"];
        refused(&[host], "lre-network", &says);
        refused(&[host, ("lre-policy", "strict-1")], "lre-network", &says);
        for policy in ["standard-1", "compat-1"] {
            assert_eq!(terms(&[host, ("lre-policy", policy)]).unwrap().network, Network::Host);
        }
        refused(&[("lre-network", "loopbck")], "lre-network", &["did you mean `loopback`?", "known: loopback, host"]);
        refused(&[("lre-network", "none")], "lre-network", &["no such network; known"]);
    }

    #[test]
    fn a_property_has_one_value() {
        refused(
            &[("lre-policy", "compat-1"), ("lre-policy", "strict-1")],
            "lre-policy",
            &["said twice", "`compat-1`", "`strict-1`"],
        );
        refused(&[("lre-processes-max", "1"), ("lre-processes-max", "2")], "lre-processes-max", &["said twice"]);
        let same = [("lre-warm", "a"), ("lre-warm", "a")];
        assert_eq!(terms(&same).unwrap().warm.as_deref(), Some("a"), "the same said twice is said once");
    }

    #[test]
    fn malformed_values_are_refused_with_the_form() {
        for number in ["", "0", "-1", "+1", "01", "1.5", "1k", "1e3", " 1", "18446744073709551616", "١"] {
            for property in &Terms::PROPERTIES[4..] {
                refused(&[(property, number)], property, &["decimal number from 1", "without a unit"]);
            }
        }
        let long = "a".repeat(65);
        for name in ["", "A", "a b", "a/b", "ä", &long] {
            refused(&[("lre-warm", name)], "lre-warm", &["1 to 64 characters"]);
        }
        assert!(terms(&[("lre-warm", &long[..64])]).is_ok());
        for value in ["", "true", "no", "2"] {
            refused(&[("lre-mutates-inputs", value)], "lre-mutates-inputs", &["`1`", "`0`", "read-only"]);
        }
    }
}
