//! The older form of `docker save`, before OCI layouts, which podman and builders still write: `manifest.json` lists images
//! with their configuration and layers.

use serde_json::Value;

use super::choice::{Candidate, Candidates};
use super::digest::{Digest, Mismatch};
use super::platform::Platform;
use super::store::Store;
use super::{Error, Found, Layer};
use crate::archive::contents;

const MANIFEST: &str = "manifest.json";

/// One element of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    config: String,
    layers: Vec<String>,
}

/// Returns all images of the list.
pub(super) fn candidates(store: &Store) -> Result<Candidates<Saved>, Error> {
    let manifest = parse_json(store.document(MANIFEST)?, MANIFEST)?;
    let problem = |problem| Error::Document { name: MANIFEST.to_owned(), problem };
    let elements = manifest.as_array().ok_or_else(|| problem("it is not a list"))?;
    let candidate = |element: &Value| {
        let config = element.get("Config").and_then(Value::as_str).ok_or_else(|| problem("an image has no Config"))?;
        let layers = strings(element, "Layers").ok_or_else(|| problem("an image has no Layers"))?;
        let names = strings(element, "RepoTags").unwrap_or_default();
        let platform = Platform::described(&parse_json(configuration(store, config)?, config)?);
        Ok(Candidate { names, platform, is_present: true, image: Saved { config: config.to_owned(), layers } })
    };
    let images = elements.iter().map(candidate).collect::<Result<_, Error>>()?;
    Ok(Candidates { images, others: Vec::new() })
}

/// Reads an image's configuration, which has the digests of its uncompressed layers.
pub(super) fn find(store: &Store, saved: &Saved) -> Result<Found, Error> {
    let config = configuration(store, &saved.config)?;
    let document = parse_json(config.clone(), &saved.config)?;
    let problem = |problem| Error::Document { name: saved.config.clone(), problem };
    let digests = document.get("rootfs").and_then(|rootfs| strings(rootfs, "diff_ids"));
    let digests = digests.ok_or_else(|| problem("it has no digests of layers (rootfs.diff_ids)"))?;
    if digests.len() != saved.layers.len() {
        return Err(problem("its number of layers differs from manifest.json"));
    }
    let layer = |(name, digest): (&String, &String)| {
        let digest = Digest::parse(digest).ok_or_else(|| problem("it has an invalid digest"))?;
        Ok(Layer { name: name.clone(), stored: None, content: Some(digest) })
    };
    let layers = saved.layers.iter().zip(&digests).map(layer).collect::<Result<_, Error>>()?;
    let id = named_digest(&saved.config).map_or_else(|| saved.config.clone(), |digest| digest.short());
    Ok(Found { config, config_name: saved.config.clone(), layers, id })
}

/// Reads a configuration, and checks its digest if its name is one.
fn configuration(store: &Store, name: &str) -> Result<Vec<u8>, Error> {
    let bytes = store.document(name)?;
    if let Some(digest) = named_digest(name) {
        let mismatch = |error: Mismatch| Error::Digest { name: name.to_owned(), mismatch: error.to_string() };
        digest.check(&bytes).map_err(mismatch)?;
    }
    Ok(bytes)
}

/// Returns the digest in a configuration's name: `HASH.json`, or `sha256:HASH`.
fn named_digest(name: &str) -> Option<Digest> {
    let name = name.strip_suffix(".json").unwrap_or(name);
    let name = name.strip_prefix("sha256:").or_else(|| name.strip_prefix("blobs/sha256/")).unwrap_or(name);
    Digest::parse(&format!("sha256:{name}"))
}

/// Parses JSON.
pub(super) fn parse_json(bytes: Vec<u8>, name: &str) -> Result<Value, Error> {
    contents::parse_json(&bytes).map_err(|error| Error::Json { name: name.to_owned(), error })
}

/// Returns a list of texts; `null`, as Go writes an empty list, is one.
pub(super) fn strings(document: &Value, key: &str) -> Option<Vec<String>> {
    let list = document.get(key)?;
    if list.is_null() {
        return Some(Vec::new());
    }
    list.as_array()?.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}
