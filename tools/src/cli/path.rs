//! Paths out of archives, for messages: any bytes, of any length, on one line.

/// Of a longer path, the start and the end are shown.
const MAX_SHOWN: usize = 240;

/// The path, escaped, and cut in the middle when it is long.
#[must_use]
pub fn shown(path: &[u8]) -> String {
    if path.len() <= MAX_SHOWN {
        return path.escape_ascii().to_string();
    }
    let (start, end) = (&path[..MAX_SHOWN / 2], &path[path.len() - MAX_SHOWN / 2..]);
    format!("{}…{} ({} bytes)", start.escape_ascii(), end.escape_ascii(), path.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_stays_a_line() {
        assert_eq!(shown(b"a\nb"), "a\\nb");
        let long = shown(&b"d/".repeat(200_000));
        assert!(long.starts_with("d/d/") && long.ends_with("d/ (400000 bytes)") && long.len() < 300, "{long}");
    }
}
