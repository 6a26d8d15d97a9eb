//! UUIDs as text (RFC 9562 §4).

use std::fs::File;
use std::io::Read;

/// Parses 32 hexadecimal digits in the groups 8-4-4-4-12, or generates a UUID for `random`.
///
/// # Errors
/// A message for the user.
pub fn parse(text: &str) -> Result<[u8; 16], String> {
    if text == "random" {
        return random();
    }
    let refused = || format!("{text:?} is not a UUID; write 8-4-4-4-12 hexadecimal digits, or random");
    let groups: Vec<&str> = text.split('-').collect();
    let digits = groups.concat();
    let fits = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]);
    if !fits || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(refused());
    }
    u128::from_str_radix(&digits, 16).map(u128::to_be_bytes).map_err(|_| refused())
}

/// Formats a UUID.
pub fn text(uuid: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(uuid));
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// Generates a version 4 UUID.
fn random() -> Result<[u8; 16], String> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| format!("/dev/urandom: {error}"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_standard_form_is_parsed() {
        let bytes = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes();
        assert_eq!(parse("01234567-89ab-cdef-0123-456789ABCDEF"), Ok(bytes));
        assert_eq!(parse(&text(bytes)), Ok(bytes));
        for text in [
            "",
            "0123456789abcdef0123456789abcdef",
            "01234567-89ab-cdef-0123-456789abcde",
            "+1234567-89ab-cdef-0123-456789abcdef",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn random_uuids_differ_and_are_version_4() {
        let (one, other) = (parse("random").unwrap(), parse("random").unwrap());
        assert_ne!(one, other);
        assert_eq!((one[6] >> 4, one[8] >> 6), (4, 2));
    }
}
