//! Selects one of several images in an archive.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};

use super::Error;
use super::platform::Platform;
use crate::machine::Machine;

/// The requested image.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The image's name, or its tag alone.
    pub tag: Option<String>,
    /// The platform.
    pub platform: Option<Platform>,
    /// The machine whose image is preferred without a platform.
    pub machine: Machine,
}

/// The contents of an archive.
#[derive(Clone, Debug)]
pub(super) struct Candidates<I> {
    pub(super) images: Vec<Candidate<I>>,
    /// What else is there, for an error.
    pub(super) others: Vec<String>,
}

impl<I> Default for Candidates<I> {
    fn default() -> Self {
        Self { images: Vec::new(), others: Vec::new() }
    }
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

impl<I> Display for Candidate<I> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let name = self.names.first().map_or("an image without a name", String::as_str);
        match &self.platform {
            Some(platform) => write!(formatter, "{name} ({platform})"),
            None => formatter.write_str(name),
        }
    }
}

/// The most elements of a list in an error.
const MAX_LISTED: usize = 32;

/// Selects one of the candidates: by the requested name and platform, else by the platform of this host.
pub(super) fn choose<I: PartialEq>(candidates: Candidates<I>, choice: &Choice) -> Result<Candidate<I>, Error> {
    let Candidates { images, others } = candidates;
    if images.is_empty() {
        return Err(if others.is_empty() { Error::NoImage } else { Error::NoImageBut(list(&others)) });
    }
    let all = list(&images);
    let mut left = images;
    if let Some(tag) = &choice.tag {
        left.retain(|candidate| candidate.names.iter().any(|name| matches_name(name, tag)));
        if left.is_empty() {
            return Err(Error::NoTag { tag: tag.clone(), list: all });
        }
    }
    if let Some(platform) = &choice.platform {
        let tagged = list(&left);
        left = best(left, platform);
        if left.is_empty() {
            return Err(Error::NoPlatform { platform: platform.clone(), list: tagged });
        }
    }
    let named = list(&left);
    left.retain(|candidate| candidate.is_present);
    if left.is_empty() {
        return Err(Error::Absent { list: named });
    }
    let host = Platform::of(choice.machine);
    if choice.platform.is_none() && left.len() > 1 && left.iter().any(|candidate| rank(candidate, &host).is_some()) {
        left = best(left, &host);
    }
    // One image under several names is one image.
    let is_one = left.windows(2).all(|pair| pair[0].image == pair[1].image);
    match left.pop() {
        Some(candidate) if is_one => Ok(candidate),
        last => Err(Error::Several { list: list(&left.into_iter().chain(last).collect::<Vec<_>>()) }),
    }
}

/// Returns the candidates that suit a platform best, of each name.
fn best<I>(candidates: Vec<Candidate<I>>, platform: &Platform) -> Vec<Candidate<I>> {
    let mut ranks: HashMap<Vec<String>, usize> = HashMap::new();
    for candidate in &candidates {
        if let Some(rank) = rank(candidate, platform) {
            let best = ranks.entry(candidate.names.clone()).or_insert(rank);
            *best = rank.min(*best);
        }
    }
    let is_best = |candidate: &Candidate<I>| {
        rank(candidate, platform).is_some_and(|rank| ranks.get(&candidate.names) == Some(&rank))
    };
    candidates.into_iter().filter(is_best).collect()
}

fn rank<I>(candidate: &Candidate<I>, platform: &Platform) -> Option<usize> {
    platform.rank(candidate.platform.as_ref()?)
}

fn list(elements: &[impl Display]) -> String {
    let mut shown: Vec<String> = elements.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    if elements.len() > MAX_LISTED {
        shown.push(format!("and {} more", elements.len() - MAX_LISTED));
    }
    shown.join(", ")
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
        let choice = Choice { tag, platform: platform.parse().ok(), ..Choice::default() };
        choose(Candidates { images: candidates.to_vec(), others: Vec::new() }, &choice)
            .map(|candidate| candidate.image)
            .map_err(|error| error.to_string())
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
        for (platform, expected) in [
            ("", 3),
            ("linux/arm/v7", 2),
            ("linux/arm", 2),
            ("linux/arm/v8", 2),
            ("linux/arm/v6", 1),
            ("linux/arm64", 4),
            ("Linux/AArch64", 4),
            ("arm64", 4),
            ("amd64", 3),
            ("x86_64", 3),
            ("linux/amd64/v3", 3),
        ] {
            assert_eq!(chosen(&candidates, "", platform), Ok(expected), "{platform}");
        }
        assert_eq!(chosen(&candidates[..2], "", "arm64"), Ok(2));
        assert_eq!(chosen(&candidates[..1], "", "linux/arm/v7"), Ok(1));
        let error = chosen(&candidates, "", "linux/arm/v5").unwrap_err();
        assert!(error.contains("web:1 (linux/arm/v6), web:1 (linux/arm/v7)"), "{error}");
        assert!(chosen(&candidates, "", "windows/amd64").unwrap_err().contains("windows/amd64"));
        assert!(chosen(&candidates[..2], "", "").unwrap_err().contains("--platform"));
    }

    #[test]
    fn the_level_of_amd64_decides_within_a_name_and_not_between_names() {
        let [v1, v2, v4] = [("linux/amd64", 1), ("linux/amd64/v2", 2), ("linux/amd64/v4", 4)]
            .map(|(platform, image)| candidate("web:1", platform, image));
        let all = [v1.clone(), v2.clone(), v4.clone()];
        for (platform, expected) in
            [("", 1), ("amd64", 1), ("linux/amd64/v2", 2), ("linux/amd64/v3", 2), ("linux/amd64/v4", 4)]
        {
            assert_eq!(chosen(&all, "", platform), Ok(expected), "{platform}");
        }
        assert!(chosen(&[v2.clone(), v4], "", "amd64").unwrap_err().contains("web:1 (linux/amd64/v2)"));
        let other = Candidate { names: vec!["db:1".to_owned()], ..v1 };
        assert!(chosen(&[v2, other], "", "linux/amd64/v3").unwrap_err().starts_with("contains several images"));
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
}
