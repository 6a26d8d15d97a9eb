//! Debian's kernel packages: `linux-image-6.1.0-56-cloud-amd64`, `linux-image-6.12.117+deb12-amd64`.

use std::path::Path;

use super::apt::Apt;
use super::{Error, Flavour, Kernel, first_of};
use crate::machine::Machine;

const PREFIX: &str = "linux-image-";

/// Returns the name and version of the newest kernel package that apt offers.
pub(super) fn newest(apt: &Apt, flavour: Flavour, series: Option<&str>) -> Result<(String, String), Error> {
    let (names, machine) = (apt.names(PREFIX)?, apt.machine());
    let wanted: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| is_wanted(name, machine, flavour, series)).collect();
    let candidates = if wanted.is_empty() { Vec::new() } else { apt.candidates(&wanted)? };
    let newest = candidates.into_iter().max_by_key(|(name, _)| release(name, machine, flavour).map(numbers));
    newest.ok_or_else(|| {
        let series = series.unwrap_or("*");
        Error::NotOffered(format!("{PREFIX}{series}.*-{}", suffix(machine, flavour)))
    })
}

/// Returns the oldest series of kernels that apt offers: `6.1`.
pub(super) fn oldest_series(apt: &Apt, flavour: Flavour) -> Result<String, Error> {
    let (names, machine) = (apt.names(PREFIX)?, apt.machine());
    let wanted: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| is_wanted(name, machine, flavour, None)).collect();
    let candidates = if wanted.is_empty() { Vec::new() } else { apt.candidates(&wanted)? };
    let oldest = candidates.iter().filter_map(|(name, _)| release(name, machine, flavour).map(numbers)).min();
    match oldest.as_deref() {
        Some([major, minor, ..]) => Ok(format!("{major}.{minor}")),
        _ => Err(Error::NotOffered(format!("{PREFIX}*-{}", suffix(machine, flavour)))),
    }
}

/// Returns the newest kernel among unpacked packages, which are folders named `NAME_VERSION`.
pub(super) fn newest_kept(folder: &Path, packages: &[String], machine: Machine, flavour: Flavour) -> Option<Kernel> {
    let split = packages.iter().filter_map(|package| Some((package.split_once('_')?.0, package)));
    let kept = split.filter_map(|(name, package)| Some((numbers(release(name, machine, flavour)?), name, package)));
    let (_, name, package) = kept.max()?;
    in_package(&folder.join(package), name).ok()
}

/// Finds the kernel in the folder of its unpacked package.
pub(super) fn in_package(package: &Path, name: &str) -> Result<Kernel, Error> {
    let release = name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let vmlinuz = first_of(package, &[&format!("boot/vmlinuz-{release}")])?;
    let places = [format!("usr/lib/modules/{release}"), format!("lib/modules/{release}")]; // since Debian 13, before
    let modules = first_of(package, &[&places[0], &places[1]])?;
    Ok(Kernel { release, vmlinuz, modules })
}

fn suffix(machine: Machine, flavour: Flavour) -> String {
    match flavour {
        Flavour::Cloud => format!("cloud-{}", machine.image()),
        Flavour::Generic => machine.image().to_owned(),
    }
}

fn is_wanted(name: &str, machine: Machine, flavour: Flavour, series: Option<&str>) -> bool {
    let Some(release) = release(name, machine, flavour) else { return false };
    series.is_none_or(|series| release.strip_prefix(series).is_some_and(|rest| rest.starts_with('.')))
}

/// Returns `6.1.0-56` for `linux-image-6.1.0-56-cloud-amd64`; `None` for other flavours, metapackages and debug symbols.
fn release(name: &str, machine: Machine, flavour: Flavour) -> Option<&str> {
    let release = name.strip_prefix(PREFIX)?.strip_suffix(suffix(machine, flavour).as_str())?.strip_suffix('-')?;
    // A metapackage has two numbers or none: linux-image-6.12-cloud-amd64, linux-image-cloud-amd64.
    let is_whole = release.starts_with(|first: char| first.is_ascii_digit()) && numbers(release).len() >= 3;
    // Other flavours also have the generic suffix: 6.1.0-56-cloud, 6.1.0-56-rt. Debian's versions may have +bpo or ~deb.
    let is_plain = !release.contains("-cloud") && !release.contains("-rt");
    (is_whole && is_plain).then_some(release)
}

/// Returns the numbers of a release, in order: `6.12.117+deb12` is newer than `6.12.9+deb12`.
fn numbers(release: &str) -> Vec<u32> {
    let digits = release.split(|character: char| !character.is_ascii_digit());
    digits.filter(|digits| !digits.is_empty()).map(|digits| digits.parse().unwrap_or(u32::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flavour_matches_only_its_own_packages() {
        for (name, cloud, generic) in [
            ("linux-image-6.1.0-56-cloud-amd64", Some("6.1.0-56"), None),
            ("linux-image-6.1.0-56-amd64", None, Some("6.1.0-56")),
            ("linux-image-6.1.0-56-rt-amd64", None, None),
            ("linux-image-6.12.117+deb12-cloud-amd64", Some("6.12.117+deb12"), None),
            ("linux-image-6.12.57+bpo-amd64", None, Some("6.12.57+bpo")),
            ("linux-image-6.12-cloud-amd64", None, None),
            ("linux-image-cloud-amd64", None, None),
            ("linux-image-amd64", None, None),
            ("linux-image-6.1.0-56-cloud-amd64-dbg", None, None),
            ("linux-image-6.1.0-56-cloud-amd64-unsigned", None, None),
            ("linux-image-6.12-amd64-signed-template", None, None),
            ("linux-headers-6.1.0-56-cloud-amd64", None, None),
        ] {
            assert_eq!(release(name, Machine::X86_64, Flavour::Cloud), cloud, "{name}");
            assert_eq!(release(name, Machine::X86_64, Flavour::Generic), generic, "{name}");
            let arm = name.replace("amd64", "arm64");
            assert_eq!(release(&arm, Machine::Aarch64, Flavour::Cloud), cloud, "{arm}");
            assert_eq!(release(&arm, Machine::X86_64, Flavour::Cloud), None, "{arm}");
        }
    }

    #[test]
    fn a_series_is_its_first_two_numbers() {
        let name = "linux-image-6.12.117+deb12-cloud-amd64";
        assert!(is_wanted(name, Machine::X86_64, Flavour::Cloud, None));
        assert!(is_wanted(name, Machine::X86_64, Flavour::Cloud, Some("6.12")));
        assert!(!is_wanted(name, Machine::X86_64, Flavour::Cloud, Some("6.1")));
        assert!(!is_wanted(name, Machine::X86_64, Flavour::Generic, Some("6.12")));
    }

    #[test]
    fn releases_are_ordered_by_number() {
        let ascending = ["5.10.0-30", "6.1.0-9", "6.1.0-56", "6.12.9+deb12", "6.12.100+deb12", "6.12.117+deb12"];
        assert!(ascending.is_sorted_by_key(|release| numbers(release)));
        assert_eq!(numbers("6.12.117+deb12"), [6, 12, 117, 12]);
    }
}
