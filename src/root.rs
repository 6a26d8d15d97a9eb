//! `root=`: which device is the root.

use crate::text::{parts, strip_prefix};

/// Where the root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootSpec<'a> {
    /// A block device by its path below /dev.
    Device(&'a [u8]),
}

/// Reads the value of `root=`; `None` when it has a form that is not known here.
pub fn parse(value: &[u8]) -> Option<RootSpec<'_>> {
    let name = strip_prefix(value, b"/dev/")?;
    let plain = !name.is_empty() && parts(name, b'/').all(|part| part != b"" && part != b"." && part != b"..");
    plain.then_some(RootSpec::Device(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_a_path_below_dev() {
        assert_eq!(parse(b"/dev/vda"), Some(RootSpec::Device(b"/dev/vda")));
        assert_eq!(parse(b"/dev/mapper/root"), Some(RootSpec::Device(b"/dev/mapper/root")));
        for other in [&b""[..], b"vda", b"/dev/", b"/dev/../etc/passwd", b"/dev//vda", b"/dev/./vda", b"UUID=1"] {
            assert_eq!(parse(other), None, "{}", other.escape_ascii());
        }
    }
}
