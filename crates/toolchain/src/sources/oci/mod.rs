//! `oci:`: container images. There is no daemon, nothing to build and nothing is unpacked to disk: the tree of the
//! image is the toolchain, and its variables seed the introspection.
mod auth;
mod blobs;
mod image;
mod layers;
mod packed;
mod registry;
mod spec;

use super::archive::leaving;
use super::http::{Http, Sha256};
use super::unpack::real_directory;
use super::{Finding, Found, SEARCHED, Tree, tools_in};
use crate::access::Access;
use crate::error::ToolchainError;
use crate::import::{Warning, blocking};
use crate::intake::{Intake, take_in};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::{Kind, Source};
use blobs::Blobs;
use image::{Config, Described, Descriptor, Saved, choose};
use layers::{Layer, read_layers};
use registry::Registry;
use spec::{Place, SHA256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub use spec::Oci;

/// Indexes in indexes. Two is what is seen.
const INDEXES_MAX: usize = 4;

/// What an image is made of, ready to be read.
struct Image {
    blobs: Blobs,
    config: Config,
    layers: Vec<Layer<LayerPlace>>,
}

enum LayerPlace {
    Blob(Descriptor, Sha256),
    /// A name in what `docker save` writes.
    File(String),
}

impl Oci {
    /// What gives the same tree every time; nothing where it is not pinned.
    pub(super) fn pinned(&self) -> Option<String> {
        Some(format!("oci {}", self.digest?))
    }

    /// This image, with the digest that it has now.
    ///
    /// # Errors
    /// The path cannot be read or holds several images; and for a reference that is not pinned: what to write.
    pub(super) async fn pin(&self, access: &Access, progress: Arc<dyn Progress>) -> Result<Self, ToolchainError> {
        if self.digest.is_some() {
            return Ok(self.clone());
        }
        let (unpinned, access) = (self.clone(), access.clone());
        blocking(move || unpinned.pin_now(&access, progress)).await
    }

    fn pin_now(self, access: &Access, progress: Arc<dyn Progress>) -> Result<Self, ToolchainError> {
        let http = Http::new(access, progress);
        match &self.place {
            Place::Path { path, name } => {
                let blobs = Blobs::open(Path::new(path), &access.directory, http)?;
                let digest = match index(&blobs, name.as_deref())? {
                    Top::Layout(digest) => digest,
                    Top::Saved(saved) => Sha256::of(&saved_config(&blobs, &saved)?),
                };
                Ok(Self { place: Place::Path { path: path.clone(), name: None }, digest: Some(digest) })
            }
            Place::Registry(reference) => {
                let digest = Registry::new(http, reference.clone()).digest_now()?;
                let pinned = Self { digest: Some(digest), ..self.clone() };
                let problem =
                    format!("its tag may mean another image tomorrow; hint: what it means now is `oci:{pinned}`");
                Err(ToolchainError::Source { text: format!("oci:{self}"), problem: Some(problem) })
            }
        }
    }

    pub(super) async fn find(&self, finding: &Finding<'_>) -> Result<Found, ToolchainError> {
        let pinned = self.pin(finding.access, finding.progress.clone()).await?;
        let (meant, access, progress) = (pinned.clone(), finding.access.clone(), finding.progress.clone());
        let kind = finding.wanted.kind;
        let reading =
            take_in(finding.store, finding.function, finding.access, finding.progress.clone(), move |intake| {
                let image = meant.image(&access, progress)?;
                let (layout, warnings) = image.read(intake)?;
                Ok((image.config.environment(), layout, warnings))
            });
        let ((environment, layout, mut warnings), hold) = reading.await?;
        let tools = tools(&layout, environment.get("PATH"));
        let environment =
            if kind == Kind::Rootfs { environment } else { as_tree(&environment, &layout, &mut warnings) };
        Ok(Found {
            tree: Tree::Streamed(layout, hold),
            warnings,
            environment,
            tools,
            source: Source::Oci(pinned).to_string(),
            recipe: Vec::new(),
        })
    }

    fn image(&self, access: &Access, progress: Arc<dyn Progress>) -> Result<Image, ToolchainError> {
        let http = Http::new(access, progress);
        let digest = self.digest.ok_or_else(|| ToolchainError::unusable(self.to_string(), "it is not pinned"))?;
        let blobs = match &self.place {
            Place::Path { path, .. } => Blobs::open(Path::new(path), &access.directory, http)?,
            Place::Registry(reference) => Blobs::Registry(Registry::new(http, reference.clone())),
        };
        if let (Place::Path { .. }, false) = (&self.place, is_layout(&blobs)?) {
            return saved_image(blobs, digest);
        }
        described_image(blobs, digest)
    }
}

/// What stands at the top of a path.
enum Top {
    /// An OCI layout, and the image in it that is meant.
    Layout(Sha256),
    /// What `docker save` writes, and the image in it that is meant.
    Saved(Saved),
}

fn is_layout(blobs: &Blobs) -> Result<bool, ToolchainError> {
    Ok(blobs.named("index.json")?.is_some() && blobs.named("oci-layout")?.is_some())
}

fn index(blobs: &Blobs, name: Option<&str>) -> Result<Top, ToolchainError> {
    let refused = |problem: String| ToolchainError::unusable(blobs.shown(), problem);
    if is_layout(blobs)? {
        let bytes = blobs.file("index.json")?.unwrap_or_default();
        return match Described::parse(&bytes).map_err(refused)? {
            Described::Index(all) => {
                Ok(Top::Layout(choose(&all, name, false).and_then(Descriptor::sha256).map_err(refused)?))
            }
            Described::Manifest { .. } => Err(refused("its index.json is no index".to_owned())),
        };
    }
    match blobs.file("manifest.json")? {
        Some(bytes) => Ok(Top::Saved(Saved::choose(&bytes, name).map_err(refused)?)),
        None => Err(refused(
            "it is neither an OCI layout (oci-layout, index.json) nor what `docker save` writes (manifest.json); hint: \
             a file system in a tar archive is `archive:`"
                .to_owned(),
        )),
    }
}

/// An image by its manifest.
fn described_image(blobs: Blobs, digest: Sha256) -> Result<Image, ToolchainError> {
    let refused = |problem: String| ToolchainError::unusable(format!("{}@{SHA256}{digest}", blobs.shown()), problem);
    let mut digest = digest;
    for _ in 0..INDEXES_MAX {
        match Described::parse(&blobs.manifest(digest)?).map_err(refused)? {
            Described::Index(all) => digest = choose(&all, None, true).and_then(Descriptor::sha256).map_err(refused)?,
            Described::Manifest { config, layers } => {
                let config = Config::parse(&blobs.config(config.sha256().map_err(refused)?)?).map_err(refused)?;
                let places = layers.into_iter().map(|layer| {
                    let digest = layer.sha256()?;
                    if layer.media_type.ends_with("+encrypted") {
                        return Err(format!("its layer {SHA256}{digest} is encrypted"));
                    }
                    Ok(LayerPlace::Blob(layer, digest))
                });
                let places = places.collect::<Result<Vec<_>, String>>().map_err(refused)?;
                let layers = layered(&blobs, &config, places).map_err(refused)?;
                return Ok(Image { blobs, config, layers });
            }
        }
    }
    Err(refused(format!("more than {INDEXES_MAX} indexes lead to it")))
}

/// An image of what `docker save` writes. It is known by its configuration, which pins the layers.
fn saved_image(blobs: Blobs, digest: Sha256) -> Result<Image, ToolchainError> {
    let refused = |problem: String| ToolchainError::unusable(blobs.shown(), problem);
    let all: Vec<Saved> = match blobs.file("manifest.json")? {
        Some(bytes) => {
            serde_json::from_slice(&bytes).map_err(|e| refused(format!("its manifest.json is not valid: {e}")))?
        }
        None => return Err(refused("it is no image any more".to_owned())),
    };
    let mut found = Vec::new();
    for saved in all {
        let bytes = saved_config(&blobs, &saved)?;
        let its = Sha256::of(&bytes);
        if its == digest {
            let config = Config::parse(&bytes).map_err(refused)?;
            let places = saved.layers.into_iter().map(LayerPlace::File).collect();
            let layers = layered(&blobs, &config, places).map_err(refused)?;
            return Ok(Image { blobs, config, layers });
        }
        found.push(format!("{SHA256}{its}"));
    }
    Err(refused(format!("it has no image {SHA256}{digest}; it has {}", found.join(", "))))
}

fn saved_config(blobs: &Blobs, saved: &Saved) -> Result<Vec<u8>, ToolchainError> {
    let missing = || ToolchainError::unusable(blobs.shown(), format!("its `{}` is missing", saved.config));
    blobs.file(&saved.config)?.ok_or_else(missing)
}

/// The layers and what the configuration says of them.
fn layered(blobs: &Blobs, config: &Config, places: Vec<LayerPlace>) -> Result<Vec<Layer<LayerPlace>>, String> {
    let diff_ids = config.diff_ids()?;
    let (count, named) = (places.len(), diff_ids.len());
    if count != named || count == 0 {
        return Err(format!(
            "it has {count} layers, but its configuration names {named}: it is not the image of a file system"
        ));
    }
    let layer = |(n, (place, diff_id)): (usize, (LayerPlace, Sha256))| {
        let (name, packed) = match &place {
            LayerPlace::Blob(descriptor, digest) => (format!("{SHA256}{digest}"), Some((descriptor.size, *digest))),
            LayerPlace::File(name) => (name.clone(), None),
        };
        Layer { shown: format!("{}, layer {} of {count}, {name}", blobs.shown(), n + 1), packed, diff_id, place }
    };
    Ok(places.into_iter().zip(diff_ids).enumerate().map(layer).collect())
}

impl Image {
    fn read(&self, intake: &Intake) -> Result<(Layout, Vec<Warning>), ToolchainError> {
        let open = |layer: &Layer<LayerPlace>| match &layer.place {
            LayerPlace::Blob(descriptor, digest) => self.blobs.layer(descriptor, *digest),
            LayerPlace::File(name) => match self.blobs.named(name)? {
                Some(bytes) => Ok(layers::Opened { bytes, download: None }),
                None => Err(ToolchainError::unusable(&layer.shown, "it is missing")),
            },
        };
        read_layers(&self.layers, open, intake)
    }
}

/// The tools along the image's own `PATH`, wherever symlinks lead it.
fn tools(layout: &Layout, path: Option<&String>) -> BTreeMap<String, String> {
    let searched: Vec<_> = match path {
        Some(path) => path.split(':').collect(),
        None => SEARCHED.to_vec(),
    };
    let directories: Vec<_> = searched.iter().filter_map(|directory| real_directory(layout, directory)).collect();
    let directories: Vec<_> = directories.iter().map(String::as_str).collect();
    tools_in(layout, &directories)
}

/// What is lost where an image that is made to be `/` is mounted elsewhere.
fn as_tree(
    environment: &BTreeMap<String, String>,
    layout: &Layout,
    warnings: &mut Vec<Warning>,
) -> BTreeMap<String, String> {
    warnings.extend(leaving(layout));
    if !environment.is_empty() {
        let names: Vec<_> = environment.keys().map(String::as_str).collect();
        let note = format!("variables of the image speak of its own root and are not taken over: {}", names.join(", "));
        warnings.push(Warning::Note(note));
    }
    BTreeMap::new()
}

#[cfg(test)]
mod tests;
