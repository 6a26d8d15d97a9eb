//! Parses and formats sizes in bytes.

/// Powers of 1024.
const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

/// Parses a whole number of bytes, KiB, MiB, GiB or TiB: `4096`, `64K`, `512M`, `4G`, but not `1.5T`.
///
/// # Errors
/// A message for the user.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let short = upper.strip_suffix("IB").unwrap_or(&upper);
    let unit = UNITS.iter().find_map(|(unit, shift)| Some((short.strip_suffix(*unit)?, *shift)));
    let (digits, shift) = unit.unwrap_or((short, 0));
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let value = is_number.then(|| digits.parse::<u64>().ok()).flatten();
    value
        .and_then(|value| value.checked_mul(1 << shift))
        .filter(|value| i64::try_from(*value).is_ok())
        .ok_or_else(|| format!("{text:?} is not a size; write bytes, or a whole number with K, M, G or T"))
}

/// Formats a number of bytes with one decimal place and a unit.
pub fn show(bytes: u64) -> String {
    match UNITS.iter().rev().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => format!("{:.1} {unit}iB", bytes as f64 / f64::from(*shift).exp2()),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("64K", 65_536), ("512m", 512 << 20), ("4GiB", 4 << 30), ("1T", 1 << 40)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "1.5G", "-1", "+1", "4GB", "16777216T", "99999999999999999999", "9223372036854775808"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_formatted_with_a_unit() {
        for (bytes, text) in
            [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (278 << 20, "278.0 MiB"), (40 << 30, "40.0 GiB")]
        {
            assert_eq!(show(bytes), text);
        }
    }
}
