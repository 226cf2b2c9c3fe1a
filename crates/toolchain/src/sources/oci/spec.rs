//! What follows `oci:`.
use super::super::http::Sha256;
use std::fmt;
use std::str::FromStr;

/// An image: a path of this machine (an OCI layout as a directory or tar, or what `docker save` writes), with `#NAME`
/// where it holds several; or a reference, `HOST/NAME@sha256:HEX`, whose host is that of the registry itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oci {
    pub(super) place: Place,
    /// Of the manifest or index; of the configuration, where there is no manifest (`docker save`).
    pub(super) digest: Option<Sha256>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Path { path: String, name: Option<String> },
    Registry(Reference),
}

/// Where a registry has an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) host: String,
    pub(super) name: String,
    pub(super) tag: Option<String>,
}

/// How a digest begins.
pub(super) const SHA256: &str = "sha256:";

impl FromStr for Oci {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(format!("no address with `{scheme}://` is meant, but `oci:{rest}` or a path"));
        }
        let (rest, digest) = match text.rsplit_once('@') {
            Some((rest, digest)) if digest.contains(':') => (rest, Some(parse_digest(digest)?)),
            _ => (text, None),
        };
        let first = rest.split('/').next().unwrap_or_default();
        // As everywhere: a first part with a dot or a port is a host, unless the user says that it is a path.
        let host = first.contains(['.', ':']) || first == "localhost";
        let place = if host && rest.contains('/') && !rest.starts_with('.') {
            Place::Registry(rest.parse()?)
        } else {
            let (path, name) = rest.rsplit_once('#').map_or((rest, None), |(path, name)| (path, Some(name.to_owned())));
            if path.is_empty() {
                return Err("it names no image".to_owned());
            }
            Place::Path { path: path.to_owned(), name: name.filter(|name| !name.is_empty()) }
        };
        Ok(Self { place, digest })
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a reference: it is HOST/NAME@sha256:HEX, the name in lower case");
        let (host, rest) = text.split_once('/').ok_or_else(bad)?;
        let (name, tag) = rest.split_once(':').map_or((rest, None), |(name, tag)| (name, Some(tag)));
        let part = |part: &str, others: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || others.contains(c))
        };
        let tag_is_one = |tag: &str| part(&tag.to_ascii_lowercase(), "._-") && tag.len() <= 128;
        if !name.split('/').all(|p| part(p, "._-") && !p.starts_with('.')) || !tag.is_none_or(tag_is_one) {
            return Err(bad());
        }
        if !part(&host.to_ascii_lowercase(), ".-:[]") {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), name: name.to_owned(), tag: tag.map(str::to_owned) })
    }
}

/// A digest as images write it.
pub(super) fn parse_digest(text: &str) -> Result<Sha256, String> {
    match text.strip_prefix(SHA256) {
        Some(hex) => hex.parse(),
        None => Err(format!("`{text}` is not a digest that is known here: they begin with `{SHA256}`")),
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, name, tag } = self;
        write!(f, "{host}/{name}")?;
        tag.iter().try_for_each(|tag| write!(f, ":{tag}"))
    }
}

impl fmt::Display for Oci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Path { path, name: Some(name) } => write!(f, "{path}#{name}")?,
            Place::Path { path, name: None } => f.write_str(path)?,
            Place::Registry(reference) => reference.fmt(f)?,
        }
        self.digest.iter().try_for_each(|digest| write!(f, "@{SHA256}{digest}"))
    }
}
