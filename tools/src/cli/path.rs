//! Formats a path of an archive (any bytes, any length) on one line for a message.

/// The most bytes that are shown; of a longer path, the start and the end.
const MAX_SHOWN: usize = 240;

/// Escapes a path, and shortens a long one in the middle.
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
    fn a_long_path_is_shown_on_one_line() {
        assert_eq!(shown(b"a\nb"), "a\\nb");
        let long = shown(&b"d/".repeat(200_000));
        assert!(long.starts_with("d/d/") && long.ends_with("d/ (400000 bytes)") && long.len() < 300, "{long}");
    }
}
