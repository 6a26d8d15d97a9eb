//! Selects one of several images in an archive.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde_json::Value;

use super::Error;

/// The default platform for an image with several: that of the init.
const DEFAULT_PLATFORM: &str = "linux/amd64";

/// The requested image.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The image's name, or its tag alone.
    pub tag: Option<String>,
    /// The platform.
    pub platform: Option<Platform>,
}

/// An operating system and a processor, as `linux/arm64/v8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// One image of an archive.
#[derive(Clone, Debug)]
pub(super) struct Candidate<I> {
    /// Its names: none, one, or several.
    pub(super) names: Vec<String>,
    pub(super) platform: Option<Platform>,
    /// Whether its manifest is in the archive. An image for several platforms is often saved for one.
    pub(super) is_present: bool,
    /// The reference to its parts.
    pub(super) image: I,
}

impl Choice {
    /// Returns whether a name or a platform is requested.
    pub(in crate::disk::image) fn is_made(&self) -> bool {
        self.tag.is_some() || self.platform.is_some()
    }
}

impl Platform {
    /// Parses the fields of a descriptor's `platform`, or of a configuration.
    pub(super) fn of(document: &Value) -> Option<Self> {
        let field = |key: &str| document.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Some(Self { os: field("os")?, architecture: field("architecture")?, variant: field("variant") })
    }

    /// Returns whether this is the platform of an attestation, as `docker buildx` adds them.
    pub(super) fn is_unknown(&self) -> bool {
        self.os == "unknown"
    }

    /// Returns whether the operating system is Linux.
    pub(super) fn is_linux(&self) -> bool {
        self.os == "linux"
    }

    /// Returns whether this matches `requested`; without a requested variant, any variant matches.
    fn matches(&self, requested: &Self) -> bool {
        let has_variant = requested.variant.is_none() || requested.variant == self.variant;
        self.os == requested.os && self.architecture == requested.architecture && has_variant
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [architecture] => ("linux", *architecture, None),
            [os, architecture] => (*os, *architecture, None),
            [os, architecture, variant] => (*os, *architecture, Some((*variant).to_owned())),
            _ => ("", "", None),
        };
        if os.is_empty() || architecture.is_empty() {
            return Err(format!("{text:?} is not a platform; write linux/amd64 or linux/arm/v7"));
        }
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant })
    }
}

impl Display for Platform {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(formatter, "/{variant}"))
    }
}

impl<I> Display for Candidate<I> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let name = self.names.first().map_or("an image without a name", String::as_str);
        match &self.platform {
            Some(platform) => write!(formatter, "{name} ({platform})"),
            None => formatter.write_str(name),
        }
    }
}

/// Selects one of the candidates.
pub(super) fn choose<I: PartialEq>(candidates: Vec<Candidate<I>>, choice: &Choice) -> Result<Candidate<I>, Error> {
    let list = |candidates: &[Candidate<I>]| candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if candidates.is_empty() {
        return Err(Error::NoImage);
    }
    let all = list(&candidates);
    let mut left = candidates;
    if let Some(tag) = &choice.tag {
        left.retain(|candidate| candidate.names.iter().any(|name| matches_name(name, tag)));
        if left.is_empty() {
            return Err(Error::NoTag { tag: tag.clone(), list: all });
        }
    }
    if let Some(platform) = &choice.platform {
        let tagged = list(&left);
        left.retain(|candidate| candidate.platform.as_ref().is_some_and(|own| own.matches(platform)));
        if left.is_empty() {
            return Err(Error::NoPlatform { platform: platform.clone(), list: tagged });
        }
    }
    let named = list(&left);
    left.retain(|candidate| candidate.is_present);
    if left.is_empty() {
        return Err(Error::Absent { list: named });
    }
    let is_default =
        |candidate: &Candidate<I>| candidate.platform.as_ref().is_some_and(|own| own.to_string() == DEFAULT_PLATFORM);
    if left.len() > 1 && left.iter().any(is_default) {
        left.retain(is_default);
    }
    // One image under several names is one image.
    let is_one = left.windows(2).all(|pair| pair[0].image == pair[1].image);
    match left.pop() {
        Some(candidate) if is_one => Ok(candidate),
        last => Err(Error::Several { list: list(&left.into_iter().chain(last).collect::<Vec<_>>()) }),
    }
}

/// Returns whether `requested` is this name: in full, as docker shortens it, or its tag alone.
fn matches_name(name: &str, requested: &str) -> bool {
    full(name) == full(requested) || tag(name) == Some(requested)
}

/// Normalizes a name: `nginx` is docker.io/library/nginx:latest.
fn full(name: &str) -> String {
    let short = ["index.docker.io/", "docker.io/"].iter().find_map(|host| name.strip_prefix(host)).unwrap_or(name);
    let short = short.strip_prefix("library/").unwrap_or(short);
    if tag(short).is_some() || short.contains('@') { short.to_owned() } else { format!("{short}:latest") }
}

/// Returns the text after the colon in the last component; a colon in an earlier one precedes a port.
fn tag(name: &str) -> Option<&str> {
    name.rsplit('/').next()?.split_once(':').map(|(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, platform: &str, image: u32) -> Candidate<u32> {
        let names = if name.is_empty() { vec![] } else { vec![name.to_owned()] };
        Candidate { names, platform: platform.parse().ok(), is_present: true, image }
    }

    fn chosen(candidates: &[Candidate<u32>], tag: &str, platform: &str) -> Result<u32, String> {
        let tag = Some(tag.to_owned()).filter(|tag| !tag.is_empty());
        let choice = Choice { tag, platform: platform.parse().ok() };
        choose(candidates.to_vec(), &choice).map(|candidate| candidate.image).map_err(|error| error.to_string())
    }

    #[test]
    fn the_only_image_is_selected() {
        for candidate in [candidate("web:1", "linux/amd64", 1), candidate("", "linux/arm64", 1), candidate("a", "", 1)]
        {
            assert_eq!(chosen(&[candidate], "", ""), Ok(1));
        }
        assert!(chosen(&[], "", "").unwrap_err().starts_with("contains no image"));
    }

    #[test]
    fn names_are_found_as_docker_writes_them() {
        let candidates = [
            candidate("docker.io/library/nginx:1.27", "linux/amd64", 1),
            candidate("docker.io/library/nginx:latest", "linux/amd64", 2),
            candidate("localhost:5000/me/web:v1", "linux/amd64", 3),
        ];
        for (tag, expected) in [
            ("nginx:1.27", 1),
            ("1.27", 1),
            ("docker.io/library/nginx:1.27", 1),
            ("library/nginx:1.27", 1),
            ("nginx", 2),
            ("latest", 2),
            ("localhost:5000/me/web:v1", 3),
            ("v1", 3),
        ] {
            assert_eq!(chosen(&candidates, tag, ""), Ok(expected), "{tag}");
        }
        for tag in ["nginx:1", "web", "me/web:v1", "5000/me/web:v1", "x"] {
            let error = chosen(&candidates, tag, "").unwrap_err();
            assert!(error.contains(tag) && error.contains("docker.io/library/nginx:1.27 (linux/amd64), "), "{error}");
        }
        let error = chosen(&candidates, "", "").unwrap_err();
        assert!(error.contains("localhost:5000/me/web:v1 (linux/amd64)") && error.contains("--tag"), "{error}");
    }

    #[test]
    fn the_requested_or_the_default_platform_is_selected() {
        let candidates = [
            candidate("web:1", "linux/arm/v6", 1),
            candidate("web:1", "linux/arm/v7", 2),
            candidate("web:1", "linux/amd64", 3),
            candidate("web:1", "linux/arm64/v8", 4),
        ];
        for (platform, expected) in [("", 3), ("linux/arm/v7", 2), ("linux/arm64", 4), ("arm64", 4), ("amd64", 3)] {
            assert_eq!(chosen(&candidates, "", platform), Ok(expected), "{platform}");
        }
        assert!(
            chosen(&candidates, "", "linux/arm").unwrap_err().contains("web:1 (linux/arm/v6), web:1 (linux/arm/v7)")
        );
        assert!(chosen(&candidates, "", "windows/amd64").unwrap_err().contains("windows/amd64"));
        assert!(chosen(&candidates[..2], "", "").unwrap_err().contains("--platform"));
    }

    #[test]
    fn an_image_without_a_manifest_is_not_selected() {
        let absent = Candidate { is_present: false, ..candidate("web:1", "linux/amd64", 1) };
        let candidates = [absent, candidate("web:1", "linux/arm64", 2)];
        assert_eq!(chosen(&candidates, "", ""), Ok(2));
        assert!(chosen(&candidates, "", "linux/amd64").unwrap_err().contains("web:1 (linux/amd64)"));
    }

    #[test]
    fn one_image_with_two_names_is_unambiguous() {
        let candidates = [candidate("web:1", "linux/amd64", 7), candidate("web:latest", "linux/amd64", 7)];
        assert_eq!(chosen(&candidates, "", ""), Ok(7));
    }

    #[test]
    fn an_invalid_platform_is_refused() {
        for text in ["", "/", "linux/", "a/b/c/d"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
