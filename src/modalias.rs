//! The modules that drive a device: the patterns of modules.alias(5), and the index that mkcpio makes of them.
//!
//! The index is lines, each module's followed by those of its patterns, after a space: `drivers/virtio/virtio.ko
//! drivers/virtio/virtio_pci.ko` (what is to be loaded, in this order) and ` pci:v00001AF4*`. The first line is the directory that
//! the files are in.

use crate::text::split_once;

/// The most bytes of a line of it, and of a device's modalias; a longer pattern is left out.
pub const MAX_LINE: usize = 1024;

/// Whether a pattern is that of a device: `*` stands for any text, `?` for any byte, `[0-9a]` for one of those; `-` and `_` are
/// alike, as they are in modules' names.
#[inline(never)]
pub fn matches<'a>(mut pattern: &'a [u8], mut device: &'a [u8]) -> bool {
    // What follows the last star, and where it was tried: it takes a byte more each time that the rest does not fit.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            (pattern, retry) = (rest, Some((rest, device)));
        } else if let Some(behind) = first(pattern, device) {
            (pattern, device) = behind;
        } else if pattern.is_empty() && device.is_empty() {
            return true;
        } else {
            let Some((rest, [_, shorter @ ..])) = retry else { return false };
            (pattern, device, retry) = (rest, shorter, Some((rest, shorter)));
        }
    }
}

/// The rests after the first byte of each, when these match.
#[inline(always)] // Its one caller is a loop.
fn first<'a>(pattern: &'a [u8], device: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let ((wanted, mut pattern), (byte, device)) = (pattern.split_first()?, device.split_first()?);
    let fits = match wanted {
        b'?' => true,
        b'[' => {
            let (mut set, behind) = split_once(pattern, b']')?;
            pattern = behind;
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
    fn stars_that_do_not_fit_end() {
        let pattern = [b"*a".repeat(200).as_slice(), b"b"].concat();
        assert!(!matches(&pattern, &[b'a'; 2000]));
    }

    extern crate std;
    use std::vec::Vec;

    #[test]
    fn every_short_pattern_is_as_a_plain_search_says() {
        // All patterns and texts of up to four bytes out of few.
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
        fn plain_search(pattern: &[u8], text: &[u8]) -> bool {
            match pattern {
                [] => text.is_empty(),
                [b'*', rest @ ..] => (0..=text.len()).any(|start| plain_search(rest, &text[start..])),
                [byte, rest @ ..] => {
                    text.first().is_some_and(|first| (*byte == b'?' || byte == first) && plain_search(rest, &text[1..]))
                }
            }
        }
        for pattern in words(b"ab*?") {
            for text in words(b"ab") {
                assert_eq!(matches(&pattern, &text), plain_search(&pattern, &text));
            }
        }
    }
}
