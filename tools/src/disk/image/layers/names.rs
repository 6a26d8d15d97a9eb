//! Paths in an archive of layers, and whiteout names in a layer.

/// The meaning of an entry of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark<'a> {
    /// An ordinary entry.
    None,
    /// `.wh.NAME` in a directory: the name is hidden.
    Hidden { directory: &'a [u8], name: &'a [u8] },
    /// `.wh..wh..opq` in a directory: all its entries of lower layers are hidden.
    Opaque { directory: &'a [u8] },
    /// Data of a storage driver, which is skipped.
    DriverData,
}

/// The directory in which aufs kept files with several names; their hard links refer to it.
pub(super) const AUFS_LINKS: &[u8] = b".wh..wh.plnk";

/// Parses the mark in a name. The entry may have any type: some builders write hard links.
pub(super) fn mark(path: &[u8]) -> Mark<'_> {
    const PREFIX: &[u8] = b".wh.";
    const DRIVER_DATA: &[u8] = b".wh..wh.";
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let directory = directory(path);
    let name = &path[directory.len()..];
    let name = name.strip_prefix(b"/").unwrap_or(name);
    let is_in = |prefix: &[u8]| path.split(|byte| *byte == b'/').any(|component| component.starts_with(prefix));
    if name == b".wh..wh..opq" {
        Mark::Opaque { directory }
    } else if is_in(AUFS_LINKS) {
        Mark::None
    } else if is_in(DRIVER_DATA) {
        Mark::DriverData
    } else if let Some(name) = name.strip_prefix(PREFIX) {
        Mark::Hidden { directory, name }
    } else {
        Mark::None
    }
}

/// Returns the part before the last slash.
pub(super) fn directory(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |slash| &path[..slash])
}

/// Returns a path from the archive's root, without `.`, `..` and doubled slashes; a relative one starts at `base`.
pub(super) fn normalize(base: &[u8], path: &[u8]) -> Vec<u8> {
    let base = if path.starts_with(b"/") { &[][..] } else { base };
    let mut components: Vec<&[u8]> = Vec::new();
    for component in base.split(|byte| *byte == b'/').chain(path.split(|byte| *byte == b'/')) {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    components.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_any_directory() {
        let hidden = |directory: &'static str, name: &'static str| Mark::Hidden {
            directory: directory.as_bytes(),
            name: name.as_bytes(),
        };
        for (path, expected) in [
            ("etc/passwd", Mark::None),
            ("etc/.wh.passwd", hidden("etc", "passwd")),
            (".wh.etc", hidden("", "etc")),
            ("./a/.wh.b/", hidden("./a", "b")),
            ("a/.wh..wh..opq", Mark::Opaque { directory: b"a" }),
            (".wh..wh..opq", Mark::Opaque { directory: b"" }),
            (".wh..wh.aufs", Mark::DriverData),
            (".wh..wh.orph/12.34", Mark::DriverData),
            (".wh..wh.plnk/12.34", Mark::None),
            ("a/.what", Mark::None),
            (".wh/x", Mark::None),
        ] {
            assert_eq!(mark(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn names_stay_within_the_archive() {
        for (base, path, expected) in
            [("", "./a//b/", "a/b"), ("a", "../b/c", "b/c"), ("a", "../../../b", "b"), ("a", "/b", "b"), ("", "..", "")]
        {
            assert_eq!(normalize(base.as_bytes(), path.as_bytes()), expected.as_bytes());
        }
    }
}
