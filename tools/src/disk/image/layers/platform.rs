//! Platforms of images, compared as containerd compares them (containerd/platforms: `Normalize`, `Only`): a processor takes
//! programs for its older variants too, in a fixed order.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde_json::Value;

use crate::machine::Machine;

/// An operating system and a processor, as `linux/arm/v7`, in their usual names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
    /// Empty for the oldest variant of amd64 and arm64.
    variant: String,
}

impl Platform {
    /// Creates a platform from its parts, in any of their names.
    fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let [os, architecture, variant] = [os, architecture, variant].map(str::to_ascii_lowercase);
        let os = if os == "macos" { "darwin".to_owned() } else { os };
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            other => other,
        };
        Self { os, architecture: architecture.to_owned(), variant: variant.to_owned() }
    }

    /// Returns the platform of a machine that runs Linux.
    #[must_use]
    pub fn of(machine: Machine) -> Self {
        Self::new("linux", machine.image(), "")
    }

    /// Returns the machine that runs it, if there is an init for it.
    #[must_use]
    pub fn machine(&self) -> Option<Machine> {
        Machine::named(&self.architecture).filter(|_| self.is_linux())
    }

    /// Parses the fields of a descriptor's `platform`, or of a configuration.
    pub(super) fn described(document: &Value) -> Option<Self> {
        let field = |key: &str| document.get(key)?.as_str().filter(|text| !text.is_empty());
        Some(Self::new(field("os")?, field("architecture")?, field("variant").unwrap_or_default()))
    }

    /// Returns whether this is the platform of an attestation, as `docker buildx` adds them.
    pub(super) fn is_unknown(&self) -> bool {
        self.os == "unknown"
    }

    /// Returns whether the operating system is Linux.
    pub(super) fn is_linux(&self) -> bool {
        self.os == "linux"
    }

    /// Returns how well an image for `other` suits this platform: 0 is its own; `None` if it does not run.
    pub(super) fn rank(&self, other: &Self) -> Option<usize> {
        self.accepted().iter().position(|accepted| accepted == other)
    }

    /// Returns the platforms whose programs run on this one: itself, then others, the best first.
    fn accepted(&self) -> Vec<Self> {
        let of = |architecture: &str, variant: String| Self::new(&self.os, architecture, &variant);
        let number =
            |text: &str| text.strip_prefix('v').unwrap_or(text).parse::<u32>().ok().filter(|number| *number < 100);
        let mut accepted = vec![self.clone()];
        match self.architecture.as_str() {
            "amd64" => {
                let level = number(&self.variant).unwrap_or(1);
                accepted.extend((1..level).rev().map(|level| of("amd64", format!("v{level}"))));
                accepted.push(of("386", String::new()));
            }
            "arm" => {
                let version = number(&self.variant).unwrap_or_default();
                accepted.extend((5..version).rev().map(|version| of("arm", format!("v{version}"))));
            }
            "arm64" => {
                let variant = if self.variant.is_empty() { "v8" } else { &self.variant };
                let (major, minor) = variant.split_once('.').unwrap_or((variant, "0"));
                let (major, minor) = (number(major).unwrap_or_default(), number(minor).unwrap_or_default());
                let versions = |major: u32, minors: u32| {
                    let text = move |minor| if minor == 0 { format!("v{major}") } else { format!("v{major}.{minor}") };
                    (0..minors).rev().map(move |minor| of("arm64", text(minor)))
                };
                match major {
                    // ARMv9.0 has all of ARMv8.5.
                    9 => accepted.extend(versions(9, minor).chain(versions(8, minor + 6))),
                    8 => accepted.extend(versions(8, minor)),
                    _ => return accepted,
                }
                accepted.extend(of("arm", "v8".to_owned()).accepted());
            }
            _ => {}
        }
        accepted
    }
}

impl Default for Platform {
    /// Returns the platform of this host.
    fn default() -> Self {
        Self::of(Machine::HOST)
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os] if os.eq_ignore_ascii_case("linux") => (*os, std::env::consts::ARCH, ""),
            [architecture] => ("linux", *architecture, ""),
            [architecture, variant] if has_variants(architecture) && !variant.is_empty() => {
                ("linux", *architecture, *variant)
            }
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] if !variant.is_empty() => (*os, *architecture, *variant),
            _ => ("", "", ""),
        };
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if os.is_empty() || architecture.is_empty() || !parts.iter().all(|part| is_name(part)) {
            return Err(format!("{text:?} is not a platform; write linux/amd64 or linux/arm/v7"));
        }
        Ok(Self::new(os, architecture, variant))
    }
}

/// Returns whether this is an architecture with variants. No operating system has such a name; containerd takes it for one.
fn has_variants(name: &str) -> bool {
    ["amd64", "x86_64", "arm", "arm64", "aarch64"].iter().any(|architecture| name.eq_ignore_ascii_case(architecture))
}

impl Display for Platform {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(formatter, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn a_machine_runs_linux_alone() {
        assert_eq!(platform("linux/amd64").machine(), Some(Machine::X86_64));
        assert_eq!(platform("arm64").machine(), Some(Machine::Aarch64));
        for text in ["windows/amd64", "macos/arm64", "linux/386"] {
            assert_eq!(platform(text).machine(), None, "{text}");
        }
    }

    #[test]
    fn names_are_normalized() {
        for (text, expected) in [
            ("amd64", "linux/amd64"),
            ("Linux/X86_64", "linux/amd64"),
            ("linux/x86-64/v1", "linux/amd64"),
            ("linux/amd64/V3", "linux/amd64/v3"),
            ("i386", "linux/386"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/ARM64/8", "linux/arm64"),
            ("arm64/v8", "linux/arm64"),
            ("Arm/v6", "linux/arm/v6"),
            ("amd64/v3", "linux/amd64/v3"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("macos/arm64", "darwin/arm64"),
            ("riscv64", "linux/riscv64"),
        ] {
            assert_eq!(platform(text).to_string(), expected, "{text}");
        }
        assert_eq!(platform("linux"), Platform::of(Machine::HOST));
        for text in ["", "/", "linux/", "a/b/c/d", "linux/arm/", "arm/", "linux/amd 64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn older_variants_run_on_newer_ones() {
        // Each takes those after it, in this order.
        for order in [
            &["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"][..],
            &["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"],
            &["linux/arm64/v9.1", "linux/arm64/v9", "linux/arm64/v8.5", "linux/arm64", "linux/arm/v7"],
            &["linux/arm64/v8.2", "linux/arm64/v8.1", "linux/arm64/v8", "linux/arm/v8"],
            &["linux/riscv64"],
        ] {
            for (at, one) in order.iter().enumerate() {
                let ranks: Vec<_> = order.iter().map(|other| platform(one).rank(&platform(other))).collect();
                assert!(ranks[..at].iter().all(Option::is_none), "{one}: {ranks:?}");
                assert!(ranks[at..].is_sorted() && ranks[at..].iter().all(Option::is_some), "{one}: {ranks:?}");
            }
        }
        for (one, other) in
            [("linux/amd64", "windows/amd64"), ("linux/amd64", "linux/arm64"), ("linux/386", "linux/amd64")]
        {
            assert_eq!(platform(one).rank(&platform(other)), None);
        }
    }
}
