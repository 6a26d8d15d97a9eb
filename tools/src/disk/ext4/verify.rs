//! Reads the finished disk back: its structures by `super::check`, and every file, which is compared with the input.
//!
//! `super::read` shares no code with the writer. Inodes are visited in the order of their tables, so that the time is in
//! proportion to their number and their contents.

use std::collections::HashMap;
use std::hash::Hasher as _;

use rustix::fs::{Advice, fadvise};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::check::Check;
use super::disk::is_zero;
use super::finish::Numbering;
use super::inodes::{MAX_DIRECTORY_LINKS, file_type};
use super::read::{self, Entries, Entry, FileSystem, Inode};
use super::spec::{BLOCK_SIZE, decode_nanoseconds, decode_seconds};
use super::tree::{Content, Name, NodeId, mode};
use super::{Builder, Error, path};

/// A difference between the input and the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// The content of a file, or the target of a link.
    #[error("content")]
    Content,
    /// Type or permissions.
    #[error("mode")]
    Mode,
    /// Owner or group.
    #[error("owner")]
    Owner,
    /// The number of hard links.
    #[error("link count")]
    Links,
    /// Its modification time.
    #[error("time")]
    Time,
    /// Its extended attributes.
    #[error("attributes")]
    Attributes,
    /// The number of a device.
    #[error("device number")]
    Device,
    /// The entries of a directory.
    #[error("directory entries")]
    Names,
}

/// A hash of content: of all blocks that are not zeros, with their positions.
pub(super) struct ContentHash(SipHasher13);

impl ContentHash {
    pub(super) fn new() -> Self {
        Self(SipHasher13::new())
    }

    /// Hashes bytes from `position`, a multiple of a block.
    pub(super) fn update(&mut self, position: u64, bytes: &[u8]) {
        for (block, at) in bytes.chunks(BLOCK_SIZE).zip((position..).step_by(BLOCK_SIZE)) {
            if !is_zero(block) {
                self.0.write_u64(at.to_le());
                self.0.write(block);
            }
        }
    }

    pub(super) fn finish(&self) -> u128 {
        self.0.finish128().as_u128()
    }
}

impl Builder<'_> {
    /// Records hashes of all contents from now on, for [`super::Finish::is_verified`].
    pub fn record_contents(&mut self) {
        self.hashes = Some(HashMap::new());
    }

    /// Compares all files of the finished disk with the input.
    pub(super) fn verify(&self, numbers: &Numbering) -> Result<(), Error> {
        let (file, base) = self.disk.place();
        // Drops the page cache, so that reads come from the storage. The kernel may ignore it.
        file.sync_data()?;
        let _ = fadvise(file, 0, None, Advice::DontNeed);
        let disk = FileSystem::open(file, base).map_err(Error::ReadBack)?;
        disk.check_features().map_err(Error::ReadBack)?;
        let mut names: Vec<Name> = self.tree.names().copied().collect();
        names.sort_by_key(|name| name.parent.0);
        self.compare(&disk, numbers, &names).map_err(|fault| match fault {
            Fault::Damage(error) => Error::ReadBack(error),
            Fault::Difference(id, difference) => Error::Differs { path: self.path_of(id, &names), difference },
        })
    }

    fn compare(&self, disk: &FileSystem, numbers: &Numbering, names: &[Name]) -> Result<(), Fault> {
        let mut check = Check::new(disk)?;
        let directories = names.iter().filter(|name| self.tree.node(name.node).is_directory());
        let parents: HashMap<NodeId, NodeId> = directories.map(|name| (name.node, name.parent)).collect();
        let mut rest = names;
        let mut buffer = Vec::new();
        for id in &numbers.order {
            let (inode, bytes) = check.read_inode(numbers.by_node[id.0 as usize])?;
            let differs = |difference| Fault::Difference(*id, difference);
            if let Some(difference) = self.compare_inode(*id, &inode, disk)? {
                return Err(differs(difference));
            }
            let extents = check.inode(&inode, &bytes)?;
            match self.tree.node(*id).kind() {
                mode::DIRECTORY => {
                    let (own, others) = rest.split_at(rest.partition_point(|name| name.parent.0 <= id.0));
                    rest = others;
                    let mut blocks = Vec::new();
                    let extend = &mut |_, piece: &[u8]| blocks.extend_from_slice(piece);
                    disk.read_extents(inode.size, &extents, &mut buffer, extend)?;
                    if !self.has_names(own, &blocks, numbers) {
                        return Err(differs(Difference::Names));
                    }
                    let parent = parents.get(id).copied().unwrap_or(NodeId::ROOT);
                    check.directory(&inode, numbers.by_node[parent.0 as usize], &blocks)?;
                }
                mode::FILE => {
                    let Some(expected) = self.hashes.as_ref().and_then(|hashes| hashes.get(id)) else { continue };
                    let mut hash = ContentHash::new();
                    let update = &mut |position, piece: &[u8]| hash.update(position, piece);
                    disk.read_extents(inode.size, &extents, &mut buffer, update)?;
                    if hash.finish() != *expected {
                        return Err(differs(Difference::Content));
                    }
                }
                _ => {}
            }
        }
        Ok(check.finish()?)
    }

    /// Returns the difference of an inode, except in files' contents and directories' entries.
    fn compare_inode(&self, id: NodeId, inode: &Inode, disk: &FileSystem) -> Result<Option<Difference>, read::Error> {
        let node = self.tree.node(id);
        let links = if node.is_directory() && node.links > MAX_DIRECTORY_LINKS { 1 } else { node.links };
        let time = (decode_seconds(node.time), decode_nanoseconds(node.time));
        let mut attributes = disk.raw_attributes(inode)?;
        attributes.sort_unstable();
        let mut expected: Vec<_> = self.sets.get(node.attributes).iter().map(|stored| stored.parts()).collect();
        expected.sort_unstable();
        let has_same_attributes =
            attributes.iter().map(|(index, name, value)| (*index, &name[..], &value[..])).eq(expected);
        let device = match node.content {
            Content::Device { major, minor } => Some((major, minor)),
            _ => None,
        };
        let target = match node.kind() {
            mode::SYMLINK => Some(disk.target(inode)?),
            _ => None,
        };
        Ok(match () {
            () if inode.mode != node.mode => Some(Difference::Mode),
            () if (inode.uid, inode.gid) != (node.uid, node.gid) => Some(Difference::Owner),
            () if u32::from(inode.links) != links => Some(Difference::Links),
            () if (inode.seconds, inode.nanoseconds) != time => Some(Difference::Time),
            () if !has_same_attributes => Some(Difference::Attributes),
            () if device.is_some_and(|device| device != inode.device()) => Some(Difference::Device),
            () if target.is_some_and(|target| target != path::target(&self.tree, &self.long_targets, id)) => {
                Some(Difference::Content)
            }
            () if inode.size != node.size => Some(Difference::Content),
            () => None,
        })
    }

    /// Returns whether the blocks of a directory have these names, with their inodes and types.
    fn has_names(&self, own: &[Name], blocks: &[u8], numbers: &Numbering) -> bool {
        let mut found = Vec::with_capacity(own.len());
        for entry in blocks.chunks(BLOCK_SIZE).flat_map(Entries::new) {
            let Some(Entry { inode, name, file_type }) = entry else { return false };
            if inode != 0 && name != b"." && name != b".." {
                found.push((name, inode, file_type));
            }
        }
        found.sort_unstable();
        let expected = |name: &Name| {
            let kind = file_type(self.tree.node(name.node)) as u8;
            (self.tree.text(name), numbers.by_node[name.node.0 as usize], kind)
        };
        let mut expected: Vec<(&[u8], u32, u8)> = own.iter().map(expected).collect();
        expected.sort_unstable();
        found == expected
    }

    /// Returns one of the paths of a node; `names` are sorted by directory.
    fn path_of(&self, id: NodeId, names: &[Name]) -> Vec<u8> {
        let firsts: HashMap<NodeId, &Name> = names.iter().rev().map(|name| (name.node, name)).collect();
        let mut components = Vec::new();
        let mut at = id;
        while let Some(name) = firsts.get(&at).filter(|_| at != NodeId::ROOT) {
            components.push(self.tree.text(name));
            at = name.parent;
        }
        components.reverse();
        [b"/", components.join(&b'/').as_slice()].concat()
    }
}

/// Why a disk is not as it should be.
enum Fault {
    Damage(read::Error),
    /// Of this file.
    Difference(NodeId, Difference),
}

impl From<read::Error> for Fault {
    fn from(error: read::Error) -> Self {
        Self::Damage(error)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use rustix::fs::{SeekFrom, seek};

    use super::super::{Finish, Metadata, Size};
    use super::*;

    /// Bytes that the test searches for on the disk.
    const CONTENT: &[u8] = b"the content of a file";
    const TARGET: &[u8] = b"the target of a link";
    const VALUE: &[u8] = b"the value of an attribute";

    fn build(file: &File, base: u64) -> (Builder<'_>, Numbering) {
        build_as(file, base, &Finish::default())
    }

    fn build_as<'f>(file: &'f File, base: u64, finish: &Finish) -> (Builder<'f>, Numbering) {
        let mut builder = Builder::new_at(file, base, 0).unwrap();
        builder.record_contents();
        let attributes = [(b"user.name".to_vec(), VALUE.to_vec())];
        let metadata =
            Metadata { mode: 0o640, uid: 70_000, seconds: -5, attributes: &attributes, ..Metadata::default() };
        builder.directory(b"d", Metadata { seconds: 7, ..Metadata::default() }).unwrap();
        for (path, length) in [(&b"d/file"[..], CONTENT.len()), (b"long", 200_000), (b"old", CONTENT.len())] {
            let metadata = if path == b"old" { metadata } else { Metadata::default() };
            let mut writer = builder.file(path, metadata, length as u64).unwrap();
            loop {
                let room = writer.room().unwrap();
                if room.is_empty() {
                    break;
                }
                room.fill(3);
                let start = room.len().min(CONTENT.len());
                room[..start].copy_from_slice(&CONTENT[..start]);
                writer.keep().unwrap();
            }
            writer.close().unwrap();
        }
        builder.hard_link(b"again", b"d/file").unwrap();
        builder.symlink(b"link", Metadata::default(), TARGET).unwrap();
        builder.symlink(b"long link", Metadata::default(), &[b't'; 300]).unwrap();
        builder.device(b"null", Metadata::default(), false, (1, 3)).unwrap();
        builder.device(b"disk", Metadata::default(), true, (259, 0x12345)).unwrap();
        for number in 0..60 {
            let name = format!("d/{number:0200}");
            builder.symlink(name.as_bytes(), Metadata::default(), b"target").unwrap();
        }
        // More extents than fit into the inode, and attributes that do not fit either.
        let attributes = [(b"user.long".to_vec(), vec![b'v'; 1000])];
        let metadata = Metadata { attributes: &attributes, ..Metadata::default() };
        let mut writer = builder.file(b"sparse", metadata, 20 << 16).unwrap();
        for piece in 0..20 {
            writer.room().unwrap().fill(piece % 2 + 2 * (piece % 2));
            writer.keep().unwrap();
        }
        writer.close().unwrap();
        let (_, numbers) = builder.write_metadata(finish).unwrap();
        (builder, numbers)
    }

    /// Returns the blocks of a file that are not zeros.
    fn blocks(file: &File) -> Vec<(u64, Vec<u8>)> {
        let (mut found, mut at) = (Vec::new(), 0);
        let length = file.metadata().unwrap().len();
        while let Ok(data) = seek(file, SeekFrom::Data(at)) {
            let end = seek(file, SeekFrom::Hole(data)).unwrap().min(length);
            for offset in (data..end).step_by(BLOCK_SIZE) {
                let mut block = vec![0; BLOCK_SIZE];
                file.read_exact_at(&mut block, offset).unwrap();
                if !is_zero(&block) {
                    found.push((offset, block));
                }
            }
            at = end;
        }
        found
    }

    #[test]
    fn each_lost_or_changed_block_is_found() {
        // One group; several, with copies of the superblock; more than one block of descriptors (meta_bg).
        for (size, has_journal) in [(Size::Auto, true), (Size::Exact(600 << 20), false), (Size::Exact(20 << 30), true)]
        {
            let file = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()).unwrap();
            let (builder, numbers) = build_as(&file, 0, &Finish { size, has_journal, ..Finish::default() });
            builder.verify(&numbers).unwrap();
            let all = blocks(&file);
            assert!(all.len() > 100, "{}", all.len());
            for (offset, block) in all {
                let last = block.iter().rposition(|byte| *byte != 0).unwrap();
                let mut changed = block.clone();
                changed[last] ^= 0x10;
                for other in [vec![0; BLOCK_SIZE], changed] {
                    file.write_all_at(&other, offset).unwrap();
                    assert!(builder.verify(&numbers).is_err(), "{size:?} {has_journal}: block {}", offset / 4096);
                }
                file.write_all_at(&block, offset).unwrap();
            }
            builder.verify(&numbers).unwrap();
        }
    }

    #[test]
    fn an_undamaged_disk_is_verified() {
        for base in [0, 1 << 20] {
            let file = tempfile::tempfile().unwrap();
            let (builder, numbers) = build(&file, base);
            builder.verify(&numbers).unwrap();
        }
    }

    #[test]
    fn each_damage_has_its_difference() {
        let file = tempfile::tempfile().unwrap();
        let (builder, numbers) = build(&file, 0);
        let length = file.metadata().unwrap().len() as usize;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let find = |wanted: &[u8], nth: usize| {
            bytes.windows(wanted.len()).enumerate().filter(|(_, w)| *w == wanted).nth(nth).unwrap().0
        };
        let own = FileSystem::open(&file, 0).unwrap();
        let inode = |path: &str| own.inode_offset(own.find(path.as_bytes()).unwrap().number).unwrap() as usize;
        let named = |path: &str| [b"/", path.as_bytes()].concat();
        let field = |path: &str, at: usize| (inode(path) + at, named(path));
        for ((place, path), difference) in [
            ((find(CONTENT, 0), named("again")), Difference::Content),
            ((find(CONTENT, 5), named("old")), Difference::Content),
            ((find(TARGET, 0), named("link")), Difference::Content),
            ((find(&[b't'; 300], 0), named("long link")), Difference::Content),
            ((find(VALUE, 0), named("old")), Difference::Attributes),
            ((find(b"again", 0), named("")), Difference::Names),
            (field("d", 0x00), Difference::Mode),
            (field("again", 0x02), Difference::Owner),
            (field("again", 0x78), Difference::Owner),
            (field("again", 0x1a), Difference::Links),
            (field("old", 0x10), Difference::Time),
            (field("old", 0x88), Difference::Time),
            (field("null", 0x28), Difference::Device),
            (field("disk", 0x2c), Difference::Device),
            (field("again", 0x04), Difference::Content),
        ] {
            file.write_all_at(&[bytes[place] ^ 1], place as u64).unwrap();
            match builder.verify(&numbers) {
                Err(Error::Differs { path: found, difference: other }) => {
                    assert_eq!(
                        (found.escape_ascii().to_string(), other),
                        (path.escape_ascii().to_string(), difference)
                    );
                }
                other => panic!("{}: {other:?}", path.escape_ascii()),
            }
            file.write_all_at(&bytes[place..=place], place as u64).unwrap();
        }
        builder.verify(&numbers).unwrap();
    }
}
