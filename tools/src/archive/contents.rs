//! What an archive or a folder is, by its whole table of contents: the files of a root, or an image in layers.
//!
//! Writers add members of their own (`._x` of macOS, containerd's `ingest/`, a README) and use any order, so that no single
//! name decides. The forms are OCI's layout (`oci-layout`, `index.json`, `blobs/`), docker's (`manifest.json` and the parts
//! that it lists) and the `dir:` folder of skopeo (a manifest as `manifest.json`, blobs by their digits). Everything else is a
//! root, except a form that is recognised and incomplete.

use serde_json::Value;

/// The longest manifest or configuration: those of images with 127 layers have about 100 KiB.
pub(crate) const MAX_DOCUMENT: u64 = 16 << 20;
const INDEX: &str = "index.json";
const MANIFEST: &str = "manifest.json";

/// A form of image, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// The files of a root.
    Root,
    /// An OCI layout; its marker `oci-layout` may be missing.
    Layout,
    /// An archive of `docker save`.
    Saved,
    /// A folder as skopeo's `dir:` makes it.
    Directory,
}

/// An image in layers that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    /// A layout without an index.
    #[error(
        "has the blobs of an OCI layout, but no index.json that lists an image; copy it again, as `docker save` or skopeo does"
    )]
    NoIndex,
    /// Layers without a manifest.
    #[error(
        "has layers as docker saves them, but no manifest.json, which docker before 1.10 did not write; save the image again"
    )]
    NoManifest,
    /// A manifest of docker's first version, in a folder of skopeo's `dir:`.
    #[error(
        "has a manifest.json of docker's schema 1, which is no longer made; convert it, as `skopeo copy --format oci` does"
    )]
    Schema1,
    /// An image in a folder of its own.
    #[error("has an image in layers in its folder {0}; give the content of that folder")]
    Below(String),
}

/// Access to the parts of what is surveyed. Names are relative, without `.` and doubled slashes.
pub(crate) trait Parts {
    /// Returns whether a file exists.
    fn has(&mut self, name: &str) -> bool;
    /// Returns a document's content, if it can be read and has at most [`MAX_DOCUMENT`] bytes.
    fn document(&mut self, name: &str) -> Option<Vec<u8>>;
}

/// Collects the names of a table of contents.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    top: Marks,
    /// The first directory at the top, and the marks in it.
    below: Option<(Vec<u8>, Marks)>,
    /// There is more at the top than that directory.
    has_more: bool,
    /// A directory at the top that no form of image has; archives have many names in one.
    other: Vec<u8>,
}

/// The names that the forms of images have.
#[derive(Debug, Default)]
struct Marks {
    has_marker: bool,
    has_index: bool,
    has_manifest: bool,
    /// `blobs/ALGORITHM/DIGITS`.
    has_blob: bool,
    /// `DIGITS/layer.tar`, or `DIGITS.tar` with or without a compression.
    has_layer: bool,
    /// A directory that no form has.
    has_tree: bool,
}

impl Survey {
    /// Adds a name.
    pub(crate) fn see(&mut self, path: &[u8], is_directory: bool) {
        let is_inside =
            |path: &[u8]| path.strip_prefix(self.other.as_slice()).is_some_and(|rest| rest.first() == Some(&b'/'));
        if self.has_more && !self.other.is_empty() && is_inside(path) {
            return;
        }
        let mut parts = components(path);
        let Some(first) = parts.next() else { return };
        if self.top.has_tree && self.has_more && !is_part(first) && path.starts_with(first) {
            self.other.clear();
            self.other.extend_from_slice(first);
        }
        self.top.see(first, parts.clone(), is_directory);
        // Once there are several names at the top, no image is in the only folder.
        if self.has_more || first.starts_with(b"._") {
            return;
        }
        let second = parts.next();
        let (name, marks) = self.below.get_or_insert_with(|| (first.to_vec(), Marks::default()));
        if name != first || second.is_none() && !is_directory {
            self.has_more = true;
        } else if let Some(second) = second {
            marks.see(second, parts, is_directory);
        }
    }

    /// Returns whether a directory was seen that no form of image has.
    pub(crate) fn has_tree(&self) -> bool {
        self.top.has_tree
    }

    /// Returns whether `name` is the only directory seen at the top, and nothing else.
    pub(crate) fn is_only(&self, name: &str) -> bool {
        !self.has_more && self.below.as_ref().is_some_and(|(only, _)| only == name.as_bytes())
    }

    /// Returns whether a directory's names can be those of an image's parts.
    pub(crate) fn may_have_parts(name: &str) -> bool {
        matches!(name, "blobs" | "sha256" | "sha512") || is_digits(name.as_bytes())
    }

    /// Returns whether the content of a file is needed to decide: `index.json` or `manifest.json`, at the top or one below.
    pub(crate) fn needs(path: &[u8]) -> Option<String> {
        if !path.ends_with(b".json") {
            return None;
        }
        let parts: Vec<&[u8]> = components(path).collect();
        let last = *parts.last()?;
        let is_document = parts.len() <= 2 && (last == INDEX.as_bytes() || last == MANIFEST.as_bytes());
        is_document.then(|| String::from_utf8(parts.join(&b'/')).ok())?
    }

    /// Decides what it is.
    pub(crate) fn decide(&self, parts: &mut dyn Parts) -> Result<Contents, Incomplete> {
        let found = self.top.decide("", parts)?;
        let Some((name, marks)) = self.below.as_ref().filter(|_| found == Contents::Root && !self.has_more) else {
            return Ok(found);
        };
        let shown = String::from_utf8_lossy(name);
        match marks.decide(&format!("{shown}/"), parts) {
            Ok(Contents::Root) => Ok(Contents::Root),
            _ => Err(Incomplete::Below(shown.escape_debug().to_string())),
        }
    }
}

impl Marks {
    /// Adds a name: its first component, and the others.
    fn see<'a>(&mut self, first: &[u8], mut rest: impl Iterator<Item = &'a [u8]>, is_directory: bool) {
        let (second, third) = (rest.next(), rest.next());
        match (first, second) {
            (b"oci-layout", None) => self.has_marker = !is_directory,
            (b"index.json", None) => self.has_index = !is_directory,
            (b"manifest.json", None) => self.has_manifest = !is_directory,
            (b"blobs", second) => {
                let is_algorithm = matches!(second, Some(b"sha256" | b"sha512"));
                self.has_blob |= is_algorithm && third.is_some_and(is_digits);
            }
            (b"ingest" | b"__MACOSX", _) => {}
            (first, Some(second)) if is_digits(first) => self.has_layer |= second == b"layer.tar",
            (first, None) if !is_directory => {
                let (digits, end) = first.split_at(first.iter().position(|byte| *byte == b'.').unwrap_or(first.len()));
                self.has_layer |=
                    is_digits(digits.strip_prefix(b"sha256:").unwrap_or(digits)) && end.starts_with(b".tar");
            }
            (first, _) => self.has_tree |= !is_digits(first),
        }
    }

    fn decide(&self, prefix: &str, parts: &mut dyn Parts) -> Result<Contents, Incomplete> {
        let document =
            |parts: &mut dyn Parts, name: &str| parse_json(&parts.document(&format!("{prefix}{name}"))?).ok();
        // A program of the root may have files of these names, with another content.
        if self.has_marker
            && self.has_index
            && (!self.has_tree || document(parts, INDEX).is_some_and(|index| is_index(&index)))
        {
            return Ok(Contents::Layout);
        }
        if self.has_manifest
            && let Some(manifest) = document(parts, MANIFEST)
        {
            if let Some(names) = saved_parts(&manifest)
                && (!self.has_tree || names.iter().any(|name| parts.has(&format!("{prefix}{}", plain(name)))))
            {
                return Ok(Contents::Saved);
            }
            let digits = digests(&manifest).into_iter().filter_map(|digest| digest.split_once(':'));
            let is_here = |digits: &str, end: &str| format!("{prefix}{digits}{end}");
            for (_, digits) in digits.filter(|(_, digits)| is_digits(digits.as_bytes())) {
                if parts.has(&is_here(digits, "")) || parts.has(&is_here(digits, ".manifest.json")) {
                    return Ok(Contents::Directory);
                }
            }
            let is_here = |digest: &str| {
                let (_, digits) = digest.split_once(':').unwrap_or_default();
                is_digits(digits.as_bytes()) && parts.has(&format!("{prefix}{digits}"))
            };
            if blob_sums(&manifest).into_iter().any(is_here) {
                return Err(Incomplete::Schema1);
            }
        }
        if self.has_index
            && let Some(index) = document(parts, INDEX)
            && digests(&index)
                .iter()
                .any(|digest| parts.has(&format!("{prefix}blobs/{}", digest.replacen(':', "/", 1))))
        {
            return Ok(Contents::Layout);
        }
        let is_layout = self.has_marker || self.has_index || self.has_manifest;
        if self.has_blob && (is_layout || !self.has_tree) {
            return Err(Incomplete::NoIndex);
        }
        if self.has_layer && !self.has_tree {
            return Err(Incomplete::NoManifest);
        }
        Ok(Contents::Root)
    }
}

/// Returns whether a first name is found in images in layers: a quick guess, before the whole table of contents is known.
pub(crate) fn is_telling(path: &[u8]) -> bool {
    let mut parts = components(path);
    let Some(first) = parts.next() else { return false };
    let digits = first.strip_prefix(b"sha256:").unwrap_or(first);
    let digits = digits.split(|byte| *byte == b'.').next().unwrap_or(digits);
    is_digits(digits) || matches!(first, b"oci-layout" | b"index.json" | b"manifest.json" | b"repositories" | b"blobs")
}

/// Returns whether a name at the top is one that [`Marks`] look for.
fn is_part(name: &[u8]) -> bool {
    let is_document = matches!(name, b"oci-layout" | b"index.json" | b"manifest.json" | b"blobs" | b"." | b"..");
    is_document || name.len() >= 64 || name.starts_with(b"sha256:")
}

/// Parses JSON, with or without the byte order mark that some editors add.
pub(crate) fn parse_json(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
}

/// Returns the parts that docker's `manifest.json` lists; `None` if it is another document.
fn saved_parts(document: &Value) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    let elements = document.as_array().filter(|elements| !elements.is_empty())?;
    for element in elements {
        let (config, layers) = (element.get("Config")?, element.get("Layers")?);
        names.extend(config.as_str());
        names.extend(layers.as_array().into_iter().flatten().filter_map(Value::as_str));
    }
    Some(names)
}

/// Returns whether a document has a field that OCI's index must have.
fn is_index(document: &Value) -> bool {
    ["schemaVersion", "manifests"].iter().any(|key| document.get(key).is_some())
}

/// Returns the digests in an index, or in a manifest of version 2.
fn digests(document: &Value) -> Vec<&str> {
    let listed = ["manifests", "layers"].iter().filter_map(|key| document.get(key)?.as_array()).flatten();
    listed.chain(document.get("config")).filter_map(|entry| entry.get("digest")?.as_str()).collect()
}

/// Returns the digests in a manifest of version 1.
fn blob_sums(document: &Value) -> Vec<&str> {
    let layers = document.get("fsLayers").and_then(Value::as_array).into_iter().flatten();
    layers.filter_map(|layer| layer.get("blobSum")?.as_str()).collect()
}

/// Returns a relative name without `./` before it.
fn plain(name: &str) -> &str {
    name.trim_start_matches("./").trim_start_matches('/')
}

/// Returns whether this is a digest's hexadecimal digits.
fn is_digits(name: &[u8]) -> bool {
    matches!(name.len(), 64 | 128) && name.iter().all(u8::is_ascii_hexdigit)
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    impl Parts for BTreeMap<String, String> {
        fn has(&mut self, name: &str) -> bool {
            self.contains_key(name)
        }

        fn document(&mut self, name: &str) -> Option<Vec<u8>> {
            self.get(name).map(|text| text.clone().into_bytes())
        }
    }

    fn decided(files: &[(&str, &str)]) -> Result<Contents, Incomplete> {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let filled = |text: &str| text.replace("AAA", &a).replace("BBB", &b);
        let mut parts: BTreeMap<String, String> =
            files.iter().map(|(name, text)| (plain(&filled(name)).to_owned(), filled(text))).collect();
        let mut orders = [Survey::default(), Survey::default()];
        for (name, _) in files {
            orders[0].see(filled(name).as_bytes(), name.ends_with('/'));
        }
        for (name, _) in files.iter().rev() {
            orders[1].see(filled(name).as_bytes(), name.ends_with('/'));
        }
        let [first, second] = orders.map(|survey| survey.decide(&mut parts));
        assert_eq!(first, second, "{files:?}");
        first
    }

    const LISTED: &str = r#"{"manifests": [{"digest": "sha256:AAA"}]}"#;
    const SAVED: &str = r#"[{"Config": "config.json", "Layers": ["BBB.tar.gz"]}]"#;
    const FIRST: &str = r#"{"schemaVersion": 1, "fsLayers": [{"blobSum": "sha256:BBB"}, {"blobSum": "sha256:AAA"}]}"#;
    const IMAGE: &str =
        r#"{"schemaVersion": 2, "config": {"digest": "sha256:AAA"}, "layers": [{"digest": "sha256:BBB"}]}"#;

    #[test]
    fn images_are_recognised_beside_other_members() {
        use Contents::{Directory, Layout, Saved};
        let layout = [("./oci-layout", "{}"), ("./index.json", LISTED), ("./blobs/sha256/AAA", "")];
        let unmarked = &layout[1..];
        let saved = [("config.json", "{}"), ("BBB.tar.gz", ""), ("manifest.json", SAVED)];
        let directory = [("version", ""), ("manifest.json", IMAGE), ("AAA", ""), ("BBB", "")];
        let directory_of_several = [("manifest.json", LISTED), ("AAA.manifest.json", "")];
        for (files, expected) in [
            (&layout[..], Layout),
            (unmarked, Layout),
            (&saved, Saved),
            (&directory, Directory),
            (&directory_of_several, Directory),
        ] {
            assert_eq!(decided(files), Ok(expected), "{files:?}");
            for other in
                ["./", "README", "._index.json", "ingest/", "__MACOSX/._x", "etc/passwd", "usr/", "index.json.lock"]
            {
                assert_eq!(decided(&[files, &[(other, "")]].concat()), Ok(expected), "{files:?} {other}");
            }
        }
    }

    #[test]
    fn other_files_of_these_names_are_a_root() {
        for files in [
            &[][..],
            &[("bin/sh", "")],
            &[("manifest.json", "[]"), ("bin/sh", "")],
            &[("manifest.json", "{}"), ("index.json", "[1]")],
            &[("manifest.json", SAVED), ("bin/sh", "")],
            &[("manifest.json", IMAGE), ("bin/sh", "")],
            &[("manifest.json", FIRST), ("bin/sh", "")],
            &[("index.json", LISTED), ("bin/sh", "")],
            &[("oci-layout", "{}")],
            &[("index.json/", ""), ("oci-layout", "{}")],
            &[("index.json", r#"{"x": 1}"#), ("oci-layout", "text"), ("etc/passwd", "")],
            &[("index.json", "text"), ("oci-layout", "text"), ("etc/passwd", "")],
            &[("AAA", ""), ("BBB/", "")],
            &[("bin/", ""), ("blobs/sha256/AAA", "")],
            &[("AAA/layer.tar", ""), ("bin/", "")],
            &[("usr/oci-layout", ""), ("usr/index.json", LISTED), ("bin/", "")],
            &[("only/bin/sh", "")],
        ] {
            assert_eq!(decided(files), Ok(Contents::Root), "{files:?}");
        }
    }

    #[test]
    fn incomplete_images_are_refused_by_name() {
        for (files, expected) in [
            (&[("blobs/sha256/AAA", "")][..], Incomplete::NoIndex),
            (&[("blobs/sha256/AAA", ""), ("oci-layout", "")], Incomplete::NoIndex),
            (&[("blobs/sha256/AAA", ""), ("README", "")], Incomplete::NoIndex),
            (&[("blobs/sha256/AAA", ""), ("index.json", "{}"), ("bin/", "")], Incomplete::NoIndex),
            (
                &[("blobs/sha256/AAA", ""), ("index.json", "{}"), ("oci-layout", "{}"), ("bin/", "")],
                Incomplete::NoIndex,
            ),
            (&[("AAA/layer.tar", ""), ("app", "")], Incomplete::NoManifest),
            (&[("AAA/layer.tar", ""), ("AAA/json", ""), ("repositories", "")], Incomplete::NoManifest),
            (&[("sha256:AAA", ""), ("BBB.tar.gz", "")], Incomplete::NoManifest),
            (&[("version", ""), ("manifest.json", FIRST), ("AAA", ""), ("BBB", "")], Incomplete::Schema1),
            (&[("saved/oci-layout", "{}"), ("saved/index.json", LISTED)], Incomplete::Below("saved".to_owned())),
            (&[("x/manifest.json", SAVED), ("x/BBB.tar.gz", ""), ("._x", "")], Incomplete::Below("x".to_owned())),
            (&[("x/blobs/sha256/AAA", ""), ("x/", "")], Incomplete::Below("x".to_owned())),
        ] {
            assert_eq!(decided(files), Err(expected), "{files:?}");
        }
    }
}
