//! What is added to an initramfs beside what whit itself needs.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use std::os::unix::ffi::OsStrExt;

use super::{Error, manifest};
use crate::initramfs::tree::{Owner, Tree};

/// More files; those that come later replace what has the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Of the host.
    Files(Addition),
    /// As a manifest in the form of the kernel's `gen_init_cpio` says.
    Manifest(PathBuf),
    /// An archive that stands before all others, as it is.
    Before(PathBuf),
    /// An archive that stands behind all others, as it is.
    Behind(PathBuf),
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
            Self::Behind(path) => tree.append(path)?,
        }
        Ok(())
    }
}

/// A file or directory of the host, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The file on the host.
    pub source: PathBuf,
    /// Its name in the initramfs.
    pub destination: Vec<u8>,
    /// Who owns it there.
    pub owner: Owner,
}

impl FromStr for Addition {
    type Err = String;

    /// `SRC[:DEST[:UID:GID|:keep]]`. DEST begins with `/`; what ends with `/` is the directory that SRC goes into under its
    /// own name, but for `/` alone, which a directory's files go right into. Without DEST, SRC goes into `/` under its own
    /// name.
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
            let name =
                source.file_name().ok_or_else(|| format!("\"{text}\" has no name of its own; write SRC:/DEST"))?;
            destination.extend(name.as_bytes());
        }
        Ok(Self { source: source.to_owned(), destination, owner })
    }
}

/// Takes the owner off a destination.
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

/// Reads the number of a user or group.
pub(super) fn parse_id(text: &str) -> Result<u32, String> {
    // The largest is (uid_t) -1, which chown(2) takes for "as it is".
    let id = text.parse().ok().filter(|id| *id != u32::MAX);
    id.ok_or_else(|| format!("\"{text}\" is no number of a user or group, from 0 to 4294967294"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_name_source_destination_and_owner() {
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
