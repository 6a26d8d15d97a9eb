//! OCI image layouts (image specification, "Image Layout", "Image Index", "Image Manifest"): `index.json` refers to
//! manifests, and these to configurations and layers, each named by its digest. Docker's older media types are equivalent. The
//! folders of skopeo's `dir:` have the same documents under other names.

use serde_json::Value;

use super::choice::{Candidate, Platform};
use super::digest::Digest;
use super::docker::parse_json;
use super::store::Store;
use super::{Check, Error, Found, Layer};

/// The most nested indexes: docker writes one for an image with several platforms.
const MAX_DEPTH: u32 = 4;

/// A reference to a part: `descriptor` of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    media_type: String,
    digest: Digest,
}

impl Descriptor {
    fn parse(document: &Value, name: &str) -> Result<Self, Error> {
        let digest = document.get("digest").and_then(Value::as_str).unwrap_or_default();
        let media_type = document.get("mediaType").and_then(Value::as_str).unwrap_or_default().to_owned();
        match Digest::parse(digest) {
            Some(digest) => Ok(Self { media_type, digest }),
            None => Err(Error::Document { name: name.to_owned(), problem: "it has an invalid digest" }),
        }
    }

    fn is_index(&self) -> bool {
        self.media_type.ends_with(".image.index.v1+json") || self.media_type.ends_with(".manifest.list.v2+json")
    }

    fn is_manifest(&self) -> bool {
        self.media_type.ends_with(".image.manifest.v1+json") || self.media_type.ends_with(".manifest.v2+json")
    }

    fn is_config(&self) -> bool {
        self.media_type.ends_with(".image.config.v1+json") || self.media_type.ends_with(".container.image.v1+json")
    }
}

/// Returns all images in the index `name`, or the one whose manifest it is.
pub(super) fn candidates(store: &Store, name: &str) -> Result<Vec<Candidate<Descriptor>>, Error> {
    let mut candidates = Vec::new();
    let bytes = store.document(name)?;
    let digest = Digest::of(&bytes);
    let document = parse_json(bytes, name)?;
    if document.get("manifests").is_none() && document.get("layers").is_some() {
        let image = Descriptor { media_type: String::new(), digest };
        let platform = configured_platform(store, &image)?;
        return Ok(vec![Candidate { names: Vec::new(), platform, is_present: true, image }]);
    }
    visit(store, &document, name, &[], 0, &mut candidates)?;
    Ok(candidates)
}

fn visit(
    store: &Store,
    index: &Value,
    index_name: &str,
    inherited: &[String],
    depth: u32,
    candidates: &mut Vec<Candidate<Descriptor>>,
) -> Result<(), Error> {
    let problem = |problem| Error::Document { name: index_name.to_owned(), problem };
    let manifests = index.get("manifests").and_then(Value::as_array).ok_or_else(|| problem("it has no manifests"))?;
    for entry in manifests {
        let descriptor = Descriptor::parse(entry, index_name)?;
        let own = names(entry);
        let names = if own.is_empty() { inherited.to_vec() } else { own };
        let blob = store.blob(&descriptor.digest);
        if descriptor.is_index() {
            if depth == MAX_DEPTH {
                return Err(problem("indexes are nested too deeply"));
            }
            // An index may be missing from the archive, as a manifest may.
            if store.has(&blob) {
                let inner = document(store, &descriptor)?;
                visit(store, &inner, &blob, &names, depth + 1, candidates)?;
            }
        } else if descriptor.is_manifest() && !is_attestation(entry) {
            let is_present = store.has(&blob);
            let platform = match entry.get("platform").and_then(Platform::of) {
                None if is_present => configured_platform(store, &descriptor)?,
                stated => stated,
            };
            candidates.push(Candidate { names, platform, is_present, image: descriptor });
        }
    }
    Ok(())
}

/// Returns the image's name. `docker save` and containerd write the full name, other programs the reference name.
fn names(entry: &Value) -> Vec<String> {
    const KEYS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
    let annotation = |key: &&str| entry.get("annotations")?.get(key)?.as_str().map(str::to_owned);
    KEYS.iter().find_map(annotation).into_iter().collect()
}

/// Returns whether an entry describes another image: provenance, a list of packages, a signature.
fn is_attestation(entry: &Value) -> bool {
    let annotations = entry.get("annotations");
    let has_reference = annotations.and_then(|all| all.get("vnd.docker.reference.type")).is_some();
    let is_unknown = entry.get("platform").and_then(Platform::of).is_some_and(|platform| platform.is_unknown());
    has_reference || is_unknown
}

/// Returns the platform in an image's configuration; `None` if the entry is not an image.
fn configured_platform(store: &Store, manifest: &Descriptor) -> Result<Option<Platform>, Error> {
    let config = config_of(&document(store, manifest)?, manifest)?;
    let is_readable = config.is_config() && store.has(&store.blob(&config.digest));
    if is_readable { Ok(Platform::of(&document(store, &config)?)) } else { Ok(None) }
}

fn config_of(manifest: &Value, descriptor: &Descriptor) -> Result<Descriptor, Error> {
    Descriptor::parse(manifest.get("config").unwrap_or(&Value::Null), &descriptor.digest.to_string())
}

/// Reads an image's manifest and configuration.
pub(super) fn find(store: &Store, manifest: &Descriptor) -> Result<Found, Error> {
    let name = store.blob(&manifest.digest);
    let problem = |problem| Error::Document { name: name.clone(), problem };
    let content = document(store, manifest)?;
    let config = config_of(&content, manifest)?;
    if !config.is_config() {
        return Err(Error::NoContainer(config.media_type));
    }
    let layers = content.get("layers").and_then(Value::as_array).ok_or_else(|| problem("it has no layers"))?;
    let layer = |entry: &Value| {
        let descriptor = Descriptor::parse(entry, &name)?;
        if descriptor.media_type.contains("encrypted") {
            return Err(Error::Encrypted(descriptor.digest.to_string()));
        }
        Ok(Layer { name: store.blob(&descriptor.digest), check: Check::Stored(descriptor.digest) })
    };
    let layers = layers.iter().map(layer).collect::<Result<_, _>>()?;
    Ok(Found {
        config: checked(store, &config)?,
        config_name: store.blob(&config.digest),
        layers,
        id: manifest.digest.short(),
    })
}

fn document(store: &Store, descriptor: &Descriptor) -> Result<Value, Error> {
    parse_json(checked(store, descriptor)?, &store.blob(&descriptor.digest))
}

fn checked(store: &Store, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
    let name = store.blob(&descriptor.digest);
    let bytes = store.document(&name)?;
    match descriptor.digest.check(&bytes) {
        Ok(()) => Ok(bytes),
        Err(mismatch) => Err(Error::Digest { name, mismatch: mismatch.to_string() }),
    }
}
