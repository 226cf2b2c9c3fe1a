//! What follows `archive:`.
use super::super::http::{Failure, Sha256, parse, without_secrets};
use std::fmt;
use std::str::FromStr;

/// An archive: a file of this machine or an address, `#sha256=HEX` that pins it, and `top=PATH` where only what is
/// below a directory of it is meant (`top=.` for all of it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// A path, or an address that begins with `https://` or `http://`.
    pub(super) place: String,
    pub(super) sha256: Option<Sha256>,
    /// The directory inside that becomes the tree; absent: the only one at the top, if there is only one.
    pub(super) top: Option<String>,
}

impl Archive {
    pub(super) fn is_url(&self) -> bool {
        self.place.contains("://")
    }

    /// As it is named in errors.
    pub(super) fn shown(&self) -> String {
        without_secrets(&self.place)
    }
}

impl FromStr for Archive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, rest) = text.rsplit_once('#').unwrap_or((text, ""));
        if place.is_empty() {
            return Err("it names no file".to_owned());
        }
        let mut archive = Self { place: place.to_owned(), sha256: None, top: None };
        for part in rest.split(',').filter(|part| !part.is_empty()) {
            match part.split_once(['=', ':']) {
                Some(("sha256", hex)) => archive.sha256 = Some(hex.parse()?),
                Some(("top", top)) if !top.is_empty() => archive.top = Some(top.to_owned()),
                None => archive.sha256 = Some(part.parse()?),
                Some((other, _)) => {
                    return Err(format!(
                        "`{other}` is not known; after `#` comes `sha256=HEX`, and then may come `,top=PATH`"
                    ));
                }
            }
        }
        match parse(place) {
            Err(Failure::Passing(problem) | Failure::Final(problem)) if archive.is_url() => Err(problem),
            _ => Ok(archive),
        }
    }
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, sha256, top } = self;
        let sha256 = sha256.map(|sha256| format!("sha256={sha256}"));
        let top = top.as_ref().map(|top| format!("top={top}"));
        let parts: Vec<_> = sha256.into_iter().chain(top).collect();
        match parts.is_empty() {
            true if place.contains('#') => write!(f, "{place}#"),
            true => f.write_str(place),
            false => write!(f, "{place}#{}", parts.join(",")),
        }
    }
}
