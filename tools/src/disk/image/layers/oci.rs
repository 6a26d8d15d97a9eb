//! OCI image layouts (image specification, "Image Layout", "Image Index", "Image Manifest"): `index.json` refers to
//! manifests, and these to configurations and layers, each named by its digest. Docker's older media types are equivalent. The
//! folders of skopeo's `dir:` have the same documents under other names.
//!
//! Other things than images are in layouts too: attestations, signatures, lists of packages, charts. They are no candidates;
//! an error lists them.

use std::collections::HashSet;

use serde_json::Value;

use super::choice::{Candidate, Candidates};
use super::digest::Digest;
use super::docker::{parse_json, strings};
use super::platform::Platform;
use super::store::Store;
use super::{Error, Found, Layer};

/// The most nested indexes: docker writes one for an image with several platforms.
const MAX_DEPTH: u32 = 4;
/// The most entries of all indexes.
const MAX_ENTRIES: u32 = 100_000;

/// A reference to a part: `descriptor` of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// Empty if it is not stated.
    media_type: String,
    digest: Digest,
    /// The length of the content; 0 if it is not stated, as for containerd.
    size: u64,
}

/// The meaning of a media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Index,
    Manifest,
    Config,
    /// It is not stated.
    Missing,
    Other,
}

impl Descriptor {
    fn parse(document: &Value, name: &str) -> Result<Self, Error> {
        let problem = |problem| Error::Document { name: name.to_owned(), problem };
        let digest = document.get("digest").and_then(Value::as_str).unwrap_or_default();
        let digest = Digest::parse(digest).ok_or_else(|| problem("it has an invalid digest"))?;
        let size = match document.get("size") {
            None | Some(Value::Null) => 0,
            Some(size) => size.as_u64().ok_or_else(|| problem("it has an invalid size"))?,
        };
        Ok(Self { media_type: text(document, "mediaType").to_owned(), digest, size })
    }

    /// Compares the length of the content with the size.
    fn check_size(&self, name: &str, length: u64) -> Result<(), Error> {
        if self.size == 0 || self.size == length {
            return Ok(());
        }
        Err(Error::Size { name: name.to_owned(), length, size: self.size })
    }

    fn kind(&self) -> Type {
        // Parameters may follow, as in an HTTP header.
        let essence = self.media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let ends = |one: &str, other: &str| essence.ends_with(one) || essence.ends_with(other);
        match () {
            () if essence.is_empty() => Type::Missing,
            () if ends(".image.index.v1+json", ".manifest.list.v2+json") => Type::Index,
            () if ends(".image.manifest.v1+json", ".distribution.manifest.v2+json") => Type::Manifest,
            () if ends(".image.config.v1+json", ".container.image.v1+json") => Type::Config,
            () => Type::Other,
        }
    }
}

/// Returns all images in the index `name`, or the one whose manifest it is.
pub(super) fn candidates(store: &Store, name: &str) -> Result<Candidates<Descriptor>, Error> {
    let bytes = store.document(name)?;
    let digest = Digest::of(&bytes);
    let document = parse_json(bytes, name)?;
    let mut search = Search { store, candidates: Candidates::default(), seen: HashSet::new(), left: MAX_ENTRIES };
    if document.get("manifests").is_none() && document.get("layers").is_some() {
        search.manifest(&Value::Null, Descriptor { media_type: String::new(), digest, size: 0 }, Vec::new())?;
    } else {
        search.index(&document, name, &[], 0)?;
    }
    Ok(search.candidates)
}

/// A walk through indexes.
struct Search<'s> {
    store: &'s Store,
    candidates: Candidates<Descriptor>,
    /// What was visited, with the names that it has there.
    seen: HashSet<(Digest, Vec<String>)>,
    /// The number of entries that may still be visited.
    left: u32,
}

impl Search<'_> {
    fn index(&mut self, index: &Value, index_name: &str, inherited: &[String], depth: u32) -> Result<(), Error> {
        let problem = |problem| Error::Document { name: index_name.to_owned(), problem };
        let manifests = index.get("manifests").filter(|manifests| manifests.is_array() || manifests.is_null());
        let manifests = manifests.ok_or_else(|| problem("it has no manifests"))?;
        for entry in manifests.as_array().into_iter().flatten() {
            self.left =
                self.left.checked_sub(1).ok_or_else(|| problem("the indexes have more than 100,000 entries"))?;
            let descriptor = Descriptor::parse(entry, index_name)?;
            let own = names(entry);
            let names = if own.is_empty() { inherited.to_vec() } else { own };
            if !self.seen.insert((descriptor.digest.clone(), names.clone())) {
                continue;
            }
            let blob = self.store.blob(&descriptor.digest);
            let is_present = self.store.has(&blob);
            let kind = match descriptor.kind() {
                Type::Missing if is_present => {
                    let document = document(self.store, &descriptor)?;
                    if document.get("manifests").is_some() { Type::Index } else { Type::Manifest }
                }
                kind => kind,
            };
            match kind {
                Type::Index if depth == MAX_DEPTH => return Err(problem("indexes are nested too deeply")),
                // An index may be missing from the archive, as a manifest may.
                Type::Index if is_present => {
                    let inner = document(self.store, &descriptor)?;
                    self.index(&inner, &blob, &names, depth + 1)?;
                }
                Type::Index => {}
                Type::Manifest | Type::Missing => self.manifest(entry, descriptor, names)?,
                Type::Config | Type::Other => self.other(&names, &descriptor.media_type),
            }
        }
        Ok(())
    }

    /// Adds an image, or what else the manifest describes.
    fn manifest(&mut self, entry: &Value, descriptor: Descriptor, names: Vec<String>) -> Result<(), Error> {
        let stated = entry.get("platform").and_then(Platform::described);
        if is_attestation(entry, stated.as_ref()) {
            self.other(&names, "an attestation");
            return Ok(());
        }
        let is_present = self.store.has(&self.store.blob(&descriptor.digest));
        let platform = if is_present {
            let manifest = document(self.store, &descriptor)?;
            if let Some(other) = other_type(&manifest) {
                self.other(&names, &other);
                return Ok(());
            }
            match stated {
                None => configured_platform(self.store, &manifest, &descriptor)?,
                stated => stated,
            }
        } else {
            stated
        };
        self.candidates.images.push(Candidate { names, platform, is_present, image: descriptor });
        Ok(())
    }

    fn other(&mut self, names: &[String], what: &str) {
        let what = if what.is_empty() { "something without a type" } else { what };
        let name = names.first().map(|name| format!("{name}: ")).unwrap_or_default();
        self.candidates.others.push(format!("{name}{what}"));
    }
}

/// Returns the image's name. `docker save` and containerd write the full name, other programs the reference name.
fn names(entry: &Value) -> Vec<String> {
    const KEYS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
    let annotation = |key: &&str| entry.get("annotations")?.get(key)?.as_str().map(str::to_owned);
    KEYS.iter().find_map(annotation).into_iter().collect()
}

/// Returns whether an entry describes another image: provenance, or a list of packages.
fn is_attestation(entry: &Value, platform: Option<&Platform>) -> bool {
    let annotations = entry.get("annotations");
    let has_reference = annotations.and_then(|all| all.get("vnd.docker.reference.type")).is_some();
    has_reference || platform.is_some_and(Platform::is_unknown)
}

/// Returns the type of what a manifest describes, if it is no image: its configuration is of another type, or no layer is a
/// tar (cosign's signatures have the configuration of an image).
fn other_type(manifest: &Value) -> Option<String> {
    let config = manifest.get("config").unwrap_or(&Value::Null);
    let kind = Descriptor { media_type: text(config, "mediaType").to_owned(), digest: Digest::of(b""), size: 0 };
    if manifest.get("layers").is_none() && text(manifest, "mediaType").is_empty() && config.is_null() {
        return Some("something that is no manifest of version 2".to_owned());
    }
    if !matches!(kind.kind(), Type::Config | Type::Missing) {
        let artifact = text(manifest, "artifactType");
        return Some(if artifact.is_empty() { kind.media_type } else { artifact.to_owned() });
    }
    let layers = manifest.get("layers").and_then(Value::as_array)?;
    let types: Vec<&str> = layers.iter().map(|layer| text(layer, "mediaType")).collect();
    let first = types.iter().find(|media_type| !is_tar(media_type))?;
    let is_image = types.iter().any(|media_type| is_tar(media_type) || media_type.contains("encrypted"));
    (!is_image).then(|| (*first).to_owned())
}

/// Returns whether a layer's media type is that of a tar, or missing.
fn is_tar(media_type: &str) -> bool {
    let lower = media_type.to_ascii_lowercase();
    let is_format = |part: &str| matches!(part.split('+').next(), Some("tar" | "x-tar"));
    lower.is_empty() || lower.split(['.', '/']).any(is_format)
}

/// Returns the platform in an image's configuration; `None` if it is absent.
fn configured_platform(store: &Store, manifest: &Value, descriptor: &Descriptor) -> Result<Option<Platform>, Error> {
    let config = config_of(manifest, descriptor)?;
    if store.has(&store.blob(&config.digest)) { Ok(Platform::described(&document(store, &config)?)) } else { Ok(None) }
}

fn config_of(manifest: &Value, descriptor: &Descriptor) -> Result<Descriptor, Error> {
    Descriptor::parse(manifest.get("config").unwrap_or(&Value::Null), &descriptor.digest.to_string())
}

/// Reads an image's manifest and configuration.
pub(super) fn find(store: &Store, manifest: &Descriptor) -> Result<Found, Error> {
    let name = store.blob(&manifest.digest);
    let problem = |name: &str, problem| Error::Document { name: name.to_owned(), problem };
    let content = document(store, manifest)?;
    let config = config_of(&content, manifest)?;
    let config_name = store.blob(&config.digest);
    let config = checked(store, &config)?;
    let layers = content.get("layers").filter(|layers| layers.is_array() || layers.is_null());
    let layers = layers.ok_or_else(|| problem(&name, "it has no layers"))?.as_array().map_or(&[][..], Vec::as_slice);
    let mut layers = layers.iter().map(|entry| layer(store, entry, &name)).collect::<Result<Vec<_>, _>>()?;
    // The configuration of an image made by hand may leave out the digests of the contents.
    let document = parse_json(config.clone(), &config_name)?;
    if let Some(digests) = document.get("rootfs").and_then(|rootfs| strings(rootfs, "diff_ids")) {
        if digests.len() != layers.len() {
            return Err(problem(&config_name, "its number of layers differs from the manifest's"));
        }
        for (layer, digest) in layers.iter_mut().zip(&digests) {
            let digest = Digest::parse(digest).ok_or_else(|| problem(&config_name, "it has an invalid digest"))?;
            layer.content = Some(digest).filter(|digest| layer.stored.as_ref() != Some(digest));
        }
    }
    Ok(Found { config, config_name, layers, id: manifest.digest.short() })
}

fn layer(store: &Store, entry: &Value, manifest_name: &str) -> Result<Layer, Error> {
    let descriptor = Descriptor::parse(entry, manifest_name)?;
    let Descriptor { digest, media_type, .. } = descriptor.clone();
    if media_type.contains("encrypted") {
        return Err(Error::Encrypted(digest.to_string()));
    }
    if !is_tar(&media_type) {
        return Err(Error::LayerType { digest: digest.to_string(), media_type });
    }
    let name = store.blob(&digest);
    let is_foreign = media_type.contains("nondistributable") || media_type.contains(".foreign.");
    let urls = strings(entry, "urls").unwrap_or_default();
    if (is_foreign || !urls.is_empty()) && !store.has(&name) {
        let from = if urls.is_empty() { "its publisher".to_owned() } else { urls.join(" or ") };
        return Err(Error::Foreign { name, from });
    }
    // A layer that is missing is reported when it is read.
    if let Ok(part) = store.open(&name) {
        descriptor.check_size(&name, part.left())?;
    }
    Ok(Layer { name, stored: Some(digest), content: None })
}

fn document(store: &Store, descriptor: &Descriptor) -> Result<Value, Error> {
    parse_json(checked(store, descriptor)?, &store.blob(&descriptor.digest))
}

fn checked(store: &Store, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
    let name = store.blob(&descriptor.digest);
    let bytes = store.document(&name)?;
    if let Err(mismatch) = descriptor.digest.check(&bytes) {
        return Err(Error::Digest { name, mismatch: mismatch.to_string() });
    }
    descriptor.check_size(&name, bytes.len() as u64)?;
    Ok(bytes)
}

fn text<'v>(document: &'v Value, key: &str) -> &'v str {
    document.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_of_tars_are_known() {
        for media_type in [
            "",
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/x-tar",
            "application/tar+gzip",
        ] {
            assert!(is_tar(media_type), "{media_type}");
        }
        for media_type in [
            "application/vnd.in-toto+json",
            "application/vnd.oci.image.layer.v1.squashfs",
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "text/spdx+json",
            "application/vnd.wasm.content.layer.v1+wasm",
        ] {
            assert!(!is_tar(media_type), "{media_type}");
        }
    }
}
