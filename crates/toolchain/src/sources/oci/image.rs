//! The documents of an image: index, manifest, configuration. Only what is needed of them is read.
use super::super::http::Sha256;
use super::spec::parse_digest;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The largest document, in bytes: registries take no larger ones.
pub(super) const DOCUMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What is asked for.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";
/// Annotations that name an image: of the specification, and of containerd.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

/// Names a blob.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    digest: String,
    pub(super) size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    /// Where foreign layers are.
    #[serde(default)]
    pub(super) urls: Vec<String>,
}

impl Descriptor {
    pub(super) fn sha256(&self) -> Result<Sha256, String> {
        parse_digest(&self.digest)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        NAMES.iter().filter_map(|name| self.annotations.get(*name)).map(String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
    variant: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: u32,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// A document that says what an image is made of, or which images there are.
#[derive(Debug)]
pub(super) enum Described {
    Index(Vec<Descriptor>),
    Manifest { config: Descriptor, layers: Vec<Descriptor> },
}

impl Described {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|e| format!("its manifest is not valid: {e}"))?;
        if document.schema_version != 2 {
            return Err(format!("its manifest is of version {}, which is not read here", document.schema_version));
        }
        match (document.manifests, document.config, document.layers) {
            (Some(manifests), None, None) => Ok(Self::Index(manifests)),
            (None, Some(config), Some(layers)) => Ok(Self::Manifest { config, layers }),
            // One that is both would be another image elsewhere.
            _ => Err("its manifest is neither that of an image nor an index of images".to_owned()),
        }
    }
}

/// What the image says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    config: Option<Runtime>,
    rootfs: Rootfs,
}

#[derive(Debug, Default, Deserialize)]
struct Runtime {
    #[serde(rename = "Env")]
    env: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Rootfs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

impl Config {
    /// The configuration of an image for this machine.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let config: Self = serde_json::from_slice(bytes)
            .map_err(|e| format!("its configuration is not that of an image of a file system: {e}"))?;
        let (os, architecture) = ours();
        if (&*config.os, &*config.architecture) != (os, architecture) {
            let Self { os: theirs, architecture: its, .. } = &config;
            return Err(format!("it is for {theirs}/{its}, and this machine runs {os}/{architecture}"));
        }
        Ok(config)
    }

    /// The digests of its layers, unpacked, from the lowest up.
    pub(super) fn diff_ids(&self) -> Result<Vec<Sha256>, String> {
        self.rootfs.diff_ids.iter().map(|digest| parse_digest(digest)).collect()
    }

    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let env = self.config.as_ref().and_then(|config| config.env.as_deref()).unwrap_or_default();
        let pairs = env.iter().filter_map(|line| line.split_once('=')).filter(|(name, _)| !name.is_empty());
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// Operating system and architecture of this machine, as images name them.
fn ours() -> (&'static str, &'static str) {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    };
    ("linux", architecture)
}

/// The image of an index that is for this machine, and has this name where one is given. An index within an image
/// (`one`) has one image for each platform; at the top of a layout each entry may be another image.
pub(super) fn choose<'a>(all: &'a [Descriptor], name: Option<&str>, one: bool) -> Result<&'a Descriptor, String> {
    let named: Vec<_> = all.iter().filter(|d| name.is_none_or(|name| d.names().any(|n| n == name))).collect();
    if let (Some(name), []) = (name, &named[..]) {
        return Err(format!("it has no image `{name}`{}", names(all)));
    }
    let (os, architecture) = ours();
    let fits = |d: &&&Descriptor| d.platform.as_ref().is_none_or(|p| (&*p.os, &*p.architecture) == (os, architecture));
    let mut fitting: Vec<_> = named.iter().filter(fits).copied().collect();
    // What runs on all machines of an architecture comes before what is for some.
    let special = |d: &Descriptor| d.platform.as_ref().and_then(|p| p.variant.as_deref()).is_some_and(|v| v != "v8");
    fitting.sort_by_key(|d| special(d));
    let digests: BTreeSet<_> = fitting.iter().map(|d| &d.digest).collect();
    match fitting.first() {
        None => Err(format!("it has no image for {os}/{architecture}{}", platforms(all))),
        Some(_) if digests.len() > 1 && !one => {
            Err(format!("it has several images; hint: name one with #NAME{}", names(all)))
        }
        Some(first) => Ok(first),
    }
}

fn names(all: &[Descriptor]) -> String {
    listed("it has", all.iter().flat_map(Descriptor::names).map(str::to_owned))
}

fn platforms(all: &[Descriptor]) -> String {
    let platforms = all.iter().filter_map(|d| d.platform.as_ref());
    listed("it is for", platforms.map(|p| format!("{}/{}", p.os, p.architecture)))
}

fn listed(what: &str, names: impl Iterator<Item = String>) -> String {
    let names: BTreeSet<_> = names.collect();
    if names.is_empty() { String::new() } else { format!("; {what} {}", Vec::from_iter(names).join(", ")) }
}

/// One image of what `docker save` writes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Saved {
    /// The name of its configuration in the archive.
    pub(super) config: String,
    repo_tags: Option<Vec<String>>,
    /// Names of its layers.
    pub(super) layers: Vec<String>,
}

impl Saved {
    /// The one that is meant.
    pub(super) fn choose(bytes: &[u8], name: Option<&str>) -> Result<Self, String> {
        let all: Vec<Self> =
            serde_json::from_slice(bytes).map_err(|e| format!("its manifest.json is not valid: {e}"))?;
        let tags: Vec<String> = all.iter().flat_map(|saved| saved.repo_tags.iter().flatten().cloned()).collect();
        let meant = |saved: &Self| name.is_none_or(|name| saved.repo_tags.iter().flatten().any(|tag| tag == name));
        let mut meant: Vec<_> = all.into_iter().filter(meant).collect();
        match (meant.pop(), meant.is_empty()) {
            (Some(saved), true) => Ok(saved),
            (Some(_), false) => {
                Err(format!("it has several images; hint: name one with #NAME{}", listed("it has", tags.into_iter())))
            }
            (None, _) => Err(format!("it has no such image{}", listed("it has", tags.into_iter()))),
        }
    }
}
