//! The drivers of a device: matching of the patterns of modules.alias(5), and the index that mkcpio builds from them.
//!
//! The index is a text. Its first line is the directory of the modules. Then follows, for each driver, a line with the modules to
//! load in this order, with tabs between them, as `drivers/virtio/virtio.ko` and `drivers/virtio/virtio_pci.ko`, and a line for each
//! of its patterns, which begins with a space, as ` pci:v00001AF4*`. In the index for an init with the feature `modules`, the parameters
//! of a module follow it after a space, and an empty line begins the second part: drivers that are loaded while the boot goes on.

use crate::text::split_once;

/// The longest line of the index, and the longest modalias of a device, in bytes. Longer patterns are omitted.
pub const MAX_LINE: usize = 1024;
/// Modules of the index.
pub const MAX_DRIVERS: usize = 2048;

/// Whether a pattern matches the modalias of a device. `*` matches any text, `?` any byte, `[0-9a]` any of these bytes. `-` and
/// `_` are alike, as in the names of modules.
#[inline(never)]
pub fn matches<'a>(mut pattern: &'a [u8], mut device: &'a [u8]) -> bool {
    // The pattern after the last star, and the offset where it was tried. After a mismatch the star takes one more byte.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            (pattern, retry) = (rest, Some((rest, device)));
        } else if let Some(rests) = first(pattern, device) {
            (pattern, device) = rests;
        } else if pattern.is_empty() && device.is_empty() {
            return true;
        } else {
            let Some((rest, [_, shorter @ ..])) = retry else { return false };
            (pattern, device, retry) = (rest, shorter, Some((rest, shorter)));
        }
    }
}

/// Returns the rests of both if the first element of the pattern matches the first byte of the device.
#[inline(always)] // Its one caller is a loop.
fn first<'a>(pattern: &'a [u8], device: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let ((wanted, mut pattern), (byte, device)) = (pattern.split_first()?, device.split_first()?);
    let fits = match wanted {
        b'?' => true,
        b'[' => {
            let (mut set, after) = split_once(pattern, b']')?;
            pattern = after;
            let mut fits = false;
            while let [low, rest @ ..] = set {
                let (high, rest) = if let [b'-', high, rest @ ..] = rest { (high, rest) } else { (low, rest) };
                fits |= low <= byte && byte <= high;
                set = rest;
            }
            fits
        }
        _ => plain(*wanted) == plain(*byte),
    };
    fits.then_some((pattern, device))
}

/// Replaces `-` by `_`.
fn plain(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_matched_as_kmod_does() {
        const E1000: &str = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00";
        for (pattern, device, expected) in [
            ("pci:v00008086d0000100Esv*sd*bc*sc*i*", E1000, true),
            ("pci:v00008086d0000100E*", E1000, true),
            ("pci:v00008086d0000100Fsv*sd*bc*sc*i*", E1000, false),
            ("pci:v*d*sv*sd*bc02sc00i*", E1000, true),
            ("pci:v*d*sv*sd*bc01sc06i01*", E1000, false),
            ("pci:v00008086d0000100E", E1000, false),
            ("usb:v0421p0019d000[2-9]dc*", "usb:v0421p0019d0005dc00", true),
            ("usb:v0421p0019d000[2-9]dc*", "usb:v0421p0019d0001dc00", false),
            ("usb:v*p*d00[0-1][0-9a-f]dc*", "usb:v1p2d001cdc00", true),
            ("platform:i2c-gpio", "platform:i2c_gpio", true),
            ("acpi*:PNP0C0C:*", "acpi:PNP0C0C:", true),
            ("acpi*:PNP0C0C:*", "acpi:LNXPWRBN:", false),
            ("virtio:d0000000?v*", "virtio:d00000001v00001AF4", true),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("x", "", false),
            ("*a*b*c", "aabbcc", true),
            ("*a*b*c", "aabbccd", false),
            ("a[", "a[", false),
            ("a[x", "ax", false),
            ("[]a", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), device.as_bytes()), expected, "{pattern} {device}");
        }
    }

    #[test]
    fn many_stars_terminate() {
        let pattern = [b"*a".repeat(200).as_slice(), b"b"].concat();
        assert!(!matches(&pattern, &[b'a'; 2000]));
    }

    extern crate std;
    use std::vec::Vec;

    #[test]
    fn every_short_pattern_matches_as_in_a_recursive_search() {
        // All patterns and texts of up to four bytes from a small alphabet.
        let words = |alphabet: &[u8]| -> Vec<Vec<u8>> {
            let mut words = std::vec![Vec::new()];
            let mut last = words.clone();
            for _ in 0..4 {
                last =
                    last.iter().flat_map(|word| alphabet.iter().map(|byte| [&word[..], &[*byte]].concat())).collect();
                words.extend(last.clone());
            }
            words
        };
        fn recursive_search(pattern: &[u8], text: &[u8]) -> bool {
            match pattern {
                [] => text.is_empty(),
                [b'*', rest @ ..] => (0..=text.len()).any(|start| recursive_search(rest, &text[start..])),
                [byte, rest @ ..] => text
                    .first()
                    .is_some_and(|first| (*byte == b'?' || byte == first) && recursive_search(rest, &text[1..])),
            }
        }
        for pattern in words(b"ab*?") {
            for text in words(b"ab") {
                assert_eq!(matches(&pattern, &text), recursive_search(&pattern, &text));
            }
        }
    }
}
