//! Writes the image's files as entries of an archive.

use std::collections::HashMap;
use std::io::Write;

use whit::contract::{ROOTFS, ROOTFS_END, ROOTFS_NEEDS};

use super::Rootfs;
use super::nodes::{Data, NameId, NodeId};
use crate::archive::newc::{Kind, Meta, Names, Refused, Writer};

/// The number of `./` in the target of the end link: enough that the link needs its own page.
const END_STEPS: usize = 100;

impl Rootfs {
    /// Writes all files below `rootfs`, sorted by name, and the link that marks the end.
    ///
    /// # Errors
    /// Files that cpio cannot store; errors of reading the archive and of writing.
    pub(crate) fn write<W: Write>(&self, writer: &mut Writer<W>) -> Result<(), Refused> {
        let nodes = self.names.nodes();
        let mut links: HashMap<NodeId, Vec<NameId>> = HashMap::new();
        nodes.visit(|path, name, node| {
            let (meta, data) = nodes.file(node);
            if nodes.links(node) == 1 {
                return self.write_file(writer, [inside(path)].iter(), meta, &data);
            }
            let names = links.entry(node).or_default();
            names.push(name);
            // At the last name, the directories of all names are written.
            if names.len() < nodes.links(node) as usize {
                return Ok(());
            }
            let names = links.remove(&node).unwrap_or_default();
            self.write_file(writer, names.iter().map(|name| inside(&nodes.path(*name))), meta, &data)
        })?;
        let first = name_of(ROOTFS_NEEDS);
        let target = [&b"./".repeat(END_STEPS)[..], first].concat();
        writer.node(name_of(ROOTFS_END), Meta::root(0o777), &Kind::Symlink(target))
    }

    fn write_file<W: Write>(
        &self,
        writer: &mut Writer<W>,
        names: impl Names,
        meta: Meta,
        data: &Data,
    ) -> Result<(), Refused> {
        match data {
            Data::Special(kind) => writer.nodes(names, meta, kind),
            Data::Stored(content) => writer.file_of(names, meta, content.size(), || Ok(content.read(&self.tar))),
            Data::Bytes(bytes) => writer.file(names, meta, bytes.len() as u64, bytes.as_slice()),
        }
    }
}

/// Returns a path of the init as a name in the archive.
pub(crate) fn name_of(path: &std::ffi::CStr) -> &[u8] {
    let path = path.to_bytes();
    path.strip_prefix(b"/").unwrap_or(path)
}

/// Returns the name in the archive of the image's file `path`.
pub(super) fn inside(path: &[u8]) -> Vec<u8> {
    let root = name_of(ROOTFS);
    if path.is_empty() { root.to_vec() } else { [root, b"/", path].concat() }
}
