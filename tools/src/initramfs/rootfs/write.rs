//! The image's files as entries of an archive.

use std::io::Write;

use whit::contract::{ROOTFS, ROOTFS_END, ROOTFS_NEEDS};

use super::Rootfs;
use super::names::Data;
use crate::archive::newc::{Kind, Meta, Refused, Writer};

/// The end's target: `./` so often that the link needs a page of its own, and the first file.
const END_STEPS: usize = 100;

impl Rootfs {
    /// Writes all files below `rootfs`, in the order of their names, and the link that says that all are there.
    ///
    /// # Errors
    /// What cpio cannot hold; those of reading the archive and of writing.
    pub(crate) fn write<W: Write>(&self, writer: &mut Writer<W>) -> Result<(), Refused> {
        let mut links: Vec<Vec<Vec<u8>>> = Vec::new();
        for (name, number) in self.names.iter() {
            links.resize(links.len().max(number + 1), Vec::new());
            links[number].push(inside(name));
        }
        for (name, number) in self.names.iter() {
            let inode = self.names.inode(number);
            let names = &links[number];
            // With the last name, all of the directories that the names stand in are there.
            if names.last() != Some(&inside(name)) {
                continue;
            }
            match &inode.data {
                Data::Special(kind) => writer.nodes(names, inode.meta, kind)?,
                Data::Stored(content) => {
                    writer.file_of(names, inode.meta, content.size(), || Ok(content.read(&self.tar)))?;
                }
                Data::Bytes(bytes) => writer.file(names, inode.meta, bytes.len() as u64, bytes.as_slice())?,
            }
        }
        let first = name_of(ROOTFS_NEEDS);
        let target = [&b"./".repeat(END_STEPS)[..], first].concat();
        writer.node(name_of(ROOTFS_END), Meta::root(0o777), &Kind::Symlink(target))
    }
}

/// A path of the init's as a name of the archive.
pub(crate) fn name_of(path: &std::ffi::CStr) -> &[u8] {
    let path = path.to_bytes();
    path.strip_prefix(b"/").unwrap_or(path)
}

/// The name in the archive of what is `path` in the image.
pub(super) fn inside(path: &[u8]) -> Vec<u8> {
    let root = name_of(ROOTFS);
    if path.is_empty() { root.to_vec() } else { [root, b"/", path].concat() }
}
