//! Reads the finished disk back and compares it with the input.
//!
//! ext4-view, which shares no code with the writer, reads the contents. `super::read` reads what ext4-view does not support:
//! attributes, devices, link counts, times before 1970, more than 16 GiB, large holes.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hasher as _;
use std::os::unix::fs::FileExt;

use ext4_view::{Ext4, Ext4Read};
use rustix::fs::{Advice, fadvise};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::disk::is_zero;
use super::finish::Numbering;
use super::inodes::MAX_DIRECTORY_LINKS;
use super::read::{FileSystem, Inode};
use super::spec::{BLOCK_SIZE, decode_nanoseconds, decode_seconds};
use super::tree::{Content, Name, NodeId, mode};
use super::{BLOCK_BYTES, Builder, Error};

/// The most bytes of holes in a file that ext4-view reads: it returns them as zeros.
const MAX_ZEROS: u64 = 16 << 20;

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

/// The file system, for ext4-view.
struct Part {
    file: File,
    base: u64,
}

impl Ext4Read for Part {
    fn read(&mut self, start: u64, target: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.file.read_exact_at(target, self.base + start)?)
    }
}

/// The two readers of one disk.
struct Readers<'f> {
    own: FileSystem<'f>,
    other: Option<Ext4>,
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
        let own = FileSystem::open(file, base).map_err(Error::ReadBack)?;
        own.check_features().map_err(Error::ReadBack)?;
        let part = Part { file: file.try_clone()?, base };
        let readers = Readers { own, other: Ext4::load(Box::new(part)).ok() };
        let mut names: Vec<Name> = self.tree.names().copied().collect();
        names.sort_by_key(|name| name.parent.0);
        let firsts: HashMap<NodeId, &Name> = names.iter().rev().map(|name| (name.node, name)).collect();
        for id in &numbers.order {
            let path = || self.path_of(*id, &firsts);
            let differs = |difference| Error::Differs { path: path(), difference };
            let inode = readers.own.inode(numbers.by_node[id.0 as usize]).map_err(Error::ReadBack)?;
            let node = self.tree.node(*id);
            self.compare_inode(*id, &inode, &readers)
                .map_err(Error::ReadBack)?
                .map_or(Ok(()), |difference| Err(differs(difference)))?;
            let is_same = match node.kind() {
                mode::DIRECTORY => {
                    let from = names.partition_point(|name| name.parent.0 < id.0);
                    let own = names[from..].iter().take_while(|name| name.parent == *id);
                    self.compare_names(own, &inode, &readers, numbers).map_err(Error::ReadBack)?
                }
                mode::FILE => self.compare_content(*id, &inode, &readers, &path())?,
                _ => true,
            };
            if !is_same {
                let difference = if node.is_directory() { Difference::Names } else { Difference::Content };
                return Err(differs(difference));
            }
        }
        Ok(())
    }

    /// Returns the difference of an inode, except in files' contents and directories' entries.
    fn compare_inode(
        &self,
        id: NodeId,
        inode: &Inode,
        readers: &Readers,
    ) -> Result<Option<Difference>, super::read::Error> {
        let node = self.tree.node(id);
        let links = if node.is_directory() && node.links > MAX_DIRECTORY_LINKS { 1 } else { node.links };
        let time = (decode_seconds(node.time), decode_nanoseconds(node.time));
        let mut attributes = readers.own.raw_attributes(inode)?;
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
            mode::SYMLINK => Some(readers.own.target(inode)?),
            _ => None,
        };
        Ok(match () {
            () if inode.mode != node.mode => Some(Difference::Mode),
            () if (inode.uid, inode.gid) != (node.uid, node.gid) => Some(Difference::Owner),
            () if u32::from(inode.links) != links => Some(Difference::Links),
            () if (inode.seconds, inode.nanoseconds) != time => Some(Difference::Time),
            () if !has_same_attributes => Some(Difference::Attributes),
            () if device.is_some_and(|device| device != inode.device()) => Some(Difference::Device),
            () if target.is_some_and(|target| target != self.resolver.target(&self.tree, id)) => {
                Some(Difference::Content)
            }
            () if inode.size != node.size => Some(Difference::Content),
            () => None,
        })
    }

    fn compare_names<'n>(
        &self,
        own: impl Iterator<Item = &'n Name>,
        inode: &Inode,
        readers: &Readers,
        numbers: &Numbering,
    ) -> Result<bool, super::read::Error> {
        let mut found = readers.own.names(inode)?;
        found.sort_unstable();
        let mut expected: Vec<(&[u8], u32)> =
            own.map(|name| (self.tree.text(name), numbers.by_node[name.node.0 as usize])).collect();
        expected.sort_unstable();
        Ok(found.iter().map(|(name, number)| (name.as_slice(), *number)).eq(expected))
    }

    fn compare_content(&self, id: NodeId, inode: &Inode, readers: &Readers, path: &[u8]) -> Result<bool, Error> {
        let Some(expected) = self.hashes.as_ref().and_then(|hashes| hashes.get(&id)) else { return Ok(true) };
        let stored: u64 = match self.tree.node(id).content {
            Content::Extents { first, count } => {
                let extents = &self.extents[first as usize..][..count as usize];
                extents.iter().map(|extent| u64::from(extent.run.length) * BLOCK_BYTES).sum()
            }
            _ => 0,
        };
        let is_dense = inode.size.saturating_sub(stored) <= MAX_ZEROS;
        let other = readers.other.as_ref().filter(|_| is_dense).and_then(|other| hash_by_view(other, path));
        let found = match other {
            Some(hash) => hash,
            None => {
                let mut hash = ContentHash::new();
                readers
                    .own
                    .read(inode, &mut |position, piece| hash.update(position, piece))
                    .map_err(Error::ReadBack)?;
                hash.finish()
            }
        };
        Ok(found == *expected)
    }

    /// Returns one of the paths of a node.
    fn path_of(&self, id: NodeId, firsts: &HashMap<NodeId, &Name>) -> Vec<u8> {
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

/// Returns the hash of a file as ext4-view reads it; `None` if it cannot.
fn hash_by_view(view: &Ext4, path: &[u8]) -> Option<u128> {
    const PIECE: usize = 64 << 10;
    let mut file = view.open(ext4_view::Path::try_from(path).ok()?).ok()?;
    let mut hash = ContentHash::new();
    let mut buffer = vec![0; PIECE];
    let mut position = 0;
    loop {
        let mut filled = 0;
        while filled < PIECE {
            match file.read_bytes(&mut buffer[filled..]).ok()? {
                0 => break,
                count => filled += count,
            }
        }
        hash.update(position, &buffer[..filled]);
        position += filled as u64;
        if filled < PIECE {
            return Some(hash.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Finish, Metadata, Size};
    use super::*;

    /// Bytes that the test searches for on the disk.
    const CONTENT: &[u8] = b"the content of a file";
    const TARGET: &[u8] = b"the target of a link";
    const VALUE: &[u8] = b"the value of an attribute";

    fn build(file: &File, base: u64) -> (Builder<'_>, Numbering) {
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
        let (_, numbers) = builder.write_metadata(&Finish::default()).unwrap();
        (builder, numbers)
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
            // Read by super::read, because its time is before 1970.
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

    #[test]
    fn a_disk_that_ext4_view_does_not_support_is_verified() {
        let file = tempfile::tempfile().unwrap();
        let mut builder = Builder::new(&file, 0).unwrap();
        builder.record_contents();
        let mut writer = builder.file(b"file", Metadata::default(), 5).unwrap();
        writer.room().unwrap().copy_from_slice(b"bytes");
        writer.keep().unwrap();
        writer.close().unwrap();
        // 20 GiB have meta_bg.
        let (_, numbers) =
            builder.write_metadata(&Finish { size: Size::Exact(20 << 30), ..Finish::default() }).unwrap();
        builder.verify(&numbers).unwrap();
        file.write_all_at(b"Bytes", 2 * BLOCK_BYTES).unwrap();
        let result = builder.verify(&numbers);
        assert!(matches!(result, Err(Error::Differs { difference: Difference::Content, .. })), "{result:?}");
    }
}
