//! The user's additions to an initramfs.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use std::os::unix::ffi::OsStrExt;

use super::{Error, manifest};
use crate::initramfs::tree::{Owner, Tree};

/// An addition; a later one replaces files of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Files of the host.
    Files(Addition),
    /// A manifest in the form of the kernel's `gen_init_cpio`.
    Manifest(PathBuf),
    /// An archive that is copied to the start.
    Before(PathBuf),
    /// An archive that is copied to the end.
    After(PathBuf),
}

impl Input {
    pub(super) fn add_to(&self, tree: &mut Tree) -> Result<(), Error> {
        match self {
            Self::Files(Addition { source, destination, owner }) => {
                tree.origin(format!("add {}", source.display()));
                tree.add(destination, source, *owner)?;
            }
            Self::Manifest(path) => {
                tree.origin(format!("manifest {}", path.display()));
                manifest::add(tree, path)?;
            }
            Self::Before(path) => tree.prepend(path)?,
            Self::After(path) => tree.append(path)?,
        }
        Ok(())
    }
}

/// A file or directory of the host, and its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The file on the host.
    pub source: PathBuf,
    /// Its name in the initramfs.
    pub destination: Vec<u8>,
    /// Its owner in the initramfs.
    pub owner: Owner,
}

impl FromStr for Addition {
    type Err = String;

    /// Parses `SRC[:DEST[:UID:GID|:keep]]`. DEST begins with `/`. If it ends with `/`, SRC is added to this directory under
    /// its own name, except for `/` alone: the files of a directory are added to it directly. Without DEST, SRC is added to
    /// `/` under its own name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (source, destination, owner) = match text.rfind(":/") {
            Some(colon) => {
                let (destination, owner) = split_owner(&text[colon + 1..])?;
                (Path::new(&text[..colon]), destination, owner)
            }
            None => (Path::new(text), "", Owner::Root),
        };
        let mut destination = destination.as_bytes().to_owned();
        if destination != b"/" && matches!(destination.last(), None | Some(b'/')) {
            let name = source.file_name().ok_or_else(|| format!("\"{text}\" has no file name; write SRC:/DEST"))?;
            destination.extend(name.as_bytes());
        }
        Ok(Self { source: source.to_owned(), destination, owner })
    }
}

/// Splits the owner from a destination.
fn split_owner(text: &str) -> Result<(&str, Owner), String> {
    if let Some(destination) = text.strip_suffix(":keep") {
        return Ok((destination, Owner::Kept));
    }
    let mut parts = text.rsplitn(3, ':');
    let (group, user, destination) = (parts.next(), parts.next(), parts.next());
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match (destination, user.filter(|part| is_number(part)), group.filter(|part| is_number(part))) {
        (Some(destination), Some(user), Some(group)) => Ok((destination, Owner::Of(parse_id(user)?, parse_id(group)?))),
        _ => Ok((text, Owner::Root)),
    }
}

/// Parses a numeric user or group id.
pub(super) fn parse_id(text: &str) -> Result<u32, String> {
    // The largest is (uid_t) -1, which chown(2) treats as "no change".
    let id = text.parse().ok().filter(|id| *id != u32::MAX);
    id.ok_or_else(|| format!("\"{text}\" is not a user or group id, from 0 to 4294967294"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_have_source_destination_and_owner() {
        for (text, source, destination, owner) in [
            ("file", "file", "file", Owner::Root),
            ("a/b/file", "a/b/file", "file", Owner::Root),
            ("file:/etc/name", "file", "/etc/name", Owner::Root),
            ("a/file:/etc/", "a/file", "/etc/file", Owner::Root),
            ("tree:/", "tree", "/", Owner::Root),
            ("a:b:/c", "a:b", "/c", Owner::Root),
            ("a:b", "a:b", "a:b", Owner::Root),
            ("tree:/srv:1000:33", "tree", "/srv", Owner::Of(1000, 33)),
            ("a/file:/etc/:0:8", "a/file", "/etc/file", Owner::Of(0, 8)),
            ("tree:/:keep", "tree", "/", Owner::Kept),
            ("tree:/a:1", "tree", "/a:1", Owner::Root),
            ("tree:/a:x:1", "tree", "/a:x:1", Owner::Root),
        ] {
            let expected = Addition { source: source.into(), destination: destination.into(), owner };
            assert_eq!(text.parse::<Addition>(), Ok(expected), "{text}");
        }
        assert!("..".parse::<Addition>().unwrap_err().contains("SRC:/DEST"));
        assert!("a:/b:4294967295:0".parse::<Addition>().unwrap_err().contains("4294967294"));
    }
}
