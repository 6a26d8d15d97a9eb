//! Reads everything that the writer writes: attributes, devices, link counts, times before 1970, file systems beyond
//! 16 GiB. It shares no code with the writer.
//!
//! Not supported: a journal that must be replayed, files without extents, data within inodes.

mod attributes;
mod superblock;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub use superblock::Superblock;

/// Inode of the root directory.
pub(super) const ROOT: u32 = 2;
/// The deepest extent tree (`EXT4_MAX_EXTENT_DEPTH`).
const MAX_DEPTH: u16 = 5;

/// Why a file system or file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Not an ext4 file system.
    #[error("has no ext4 file system")]
    NoFileSystem,
    /// An unsupported feature.
    #[error("has an unsupported feature among {0}")]
    Features(String),
    /// An invalid structure.
    #[error("is damaged: {0}; e2fsck -f reports details")]
    Damaged(Damage),
    /// No such file.
    #[error("no such file on the disk")]
    NotFound,
}

/// A damaged structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The superblock.
    #[error("the superblock has invalid values")]
    Superblock,
    /// An inode number.
    #[error("inode {0} does not exist")]
    InodeNumber(u32),
    /// An extent tree.
    #[error("the extents of inode {0} are malformed")]
    Extents(u32),
    /// A directory.
    #[error("the directory of inode {0} is malformed")]
    Directory(u32),
    /// Attributes.
    #[error("the attributes of inode {0} are malformed")]
    Attributes(u32),
    /// A copy of the superblock.
    #[error("the copy of the superblock in group {0} is wrong")]
    SuperblockCopy(u64),
    /// A group descriptor, or a copy of it.
    #[error("the descriptor of group {0} is wrong, or a copy of it")]
    Descriptor(u32),
    /// A block bitmap, or the count of free blocks.
    #[error("the block bitmap of group {0} is wrong")]
    BlockBitmap(u32),
    /// An inode bitmap, or the counts of inodes.
    #[error("the inode bitmap of group {0} is wrong")]
    InodeBitmap(u32),
    /// The checksum of an inode, or its count of blocks.
    #[error("inode {0} is wrong")]
    Inode(u32),
    /// The journal.
    #[error("the journal is wrong")]
    Journal,
    /// A block with two uses, or outside of the file system.
    #[error("block {0} has two uses, or does not exist")]
    Block(u64),
    /// The file is shorter than its file system.
    #[error("it is too short")]
    Length,
    /// The hash tree of dm-verity, or its superblock.
    #[error("the hash tree is wrong")]
    HashTree,
    /// The partition table, or its copy.
    #[error("the partition table is wrong")]
    PartitionTable,
}

/// A file system in a file.
pub struct FileSystem<'f> {
    file: &'f File,
    base: u64,
    superblock: Superblock,
}

/// An inode.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Its number.
    pub number: u32,
    /// Type and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content, or of the target.
    pub size: u64,
    /// The number of hard links.
    pub links: u16,
    /// Modification time, in seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds after `seconds`.
    pub nanoseconds: u32,
    pub(super) flags: u32,
    block: [u8; 60],
    pub(super) attribute_block: u64,
    /// The bytes after the fields.
    tail: Vec<u8>,
}

/// Blocks of the disk with a part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) logical: u64,
    pub(super) physical: u64,
    pub(super) length: u64,
    is_written: bool,
}

/// A group descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    pub(super) free_blocks: u64,
    pub(super) free_inodes: u64,
    pub(super) directories: u64,
    pub(super) flags: u64,
    pub(super) block_bitmap_sum: u16,
    pub(super) inode_bitmap_sum: u16,
    pub(super) unused_inodes: u64,
    /// Its first 32 bytes.
    pub(super) bytes: [u8; 32],
}

/// An entry of a directory.
pub(super) struct Entry<'b> {
    pub(super) inode: u32,
    pub(super) name: &'b [u8],
    pub(super) file_type: u8,
}

/// The entries of one block of a directory, or `None` for a malformed one. A node of a hash tree looks like a block of entries
/// without inodes, except the root, which begins with `.` and `..`.
pub(super) struct Entries<'b>(&'b [u8]);

impl<'b> Entries<'b> {
    pub(super) fn new(block: &'b [u8]) -> Self {
        Self(block)
    }
}

impl<'b> Iterator for Entries<'b> {
    type Item = Option<Entry<'b>>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        if rest.len() < 8 {
            return None;
        }
        let (inode, length) = (number(rest, 0, 4) as u32, number(rest, 4, 2) as usize);
        let name = rest.get(8..8 + usize::from(rest[6]));
        let after = rest.get(length..).filter(|_| length >= 8);
        Some(name.zip(after).map(|(name, after)| {
            self.0 = after;
            Entry { inode, name, file_type: rest[7] }
        }))
    }
}

/// Returns a little-endian number of up to 8 bytes.
pub(super) fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

impl<'f> FileSystem<'f> {
    /// Opens the file system at byte `base`.
    ///
    /// # Errors
    /// A file without a valid superblock; errors of reading.
    pub fn open(file: &'f File, base: u64) -> Result<Self, Error> {
        let superblock = Superblock::read(|offset, target| Ok(file.read_exact_at(target, base + offset)?));
        Ok(Self { file, base, superblock: superblock? })
    }

    /// Returns the superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Checks that all features needed for reading are supported.
    ///
    /// # Errors
    /// [`Error::Features`].
    pub fn check_features(&self) -> Result<(), Error> {
        if self.superblock.is_readable() { Ok(()) } else { Err(Error::Features(self.superblock.features().join(" "))) }
    }

    /// Reads an inode.
    ///
    /// # Errors
    /// An invalid number; errors of reading.
    pub fn inode(&self, inode: u32) -> Result<Inode, Error> {
        let mut bytes = vec![0; self.superblock.inode_size as usize]; // at most a block
        self.read_at(self.inode_offset(inode)?, &mut bytes)?;
        Ok(Inode::parse(inode, &bytes))
    }

    /// Returns the length of the file system's file, from its start on.
    pub(super) fn length(&self) -> Result<u64, Error> {
        Ok(self.file.metadata()?.len().saturating_sub(self.base))
    }

    /// Reads all group descriptors.
    pub(super) fn descriptors(&self) -> Result<Vec<Descriptor>, Error> {
        (0..self.superblock.groups()).map(|group| self.descriptor(group)).collect()
    }

    /// Returns the offset of an inode.
    pub(super) fn inode_offset(&self, inode: u32) -> Result<u64, Error> {
        let superblock = &self.superblock;
        if inode == 0 || inode > superblock.inodes {
            return Err(Error::Damaged(Damage::InodeNumber(inode)));
        }
        let (group, index) = ((inode - 1) / superblock.inodes_per_group, (inode - 1) % superblock.inodes_per_group);
        let table = self.descriptor(group.into())?.inode_table;
        Ok(table * superblock.block_size + u64::from(index) * superblock.inode_size)
    }

    /// Reads the descriptor of a group.
    fn descriptor(&self, group: u64) -> Result<Descriptor, Error> {
        let superblock = &self.superblock;
        let per_block = superblock.block_size / superblock.descriptor_size;
        let index = group / per_block;
        let block = if superblock.has_meta_bg() && index >= superblock.first_meta_bg {
            // The block is in the first group that it describes, after a copy of the superblock if there is one.
            let first = index * per_block;
            let start = superblock.first_data_block + first * u64::from(superblock.blocks_per_group);
            start + u64::from(holds_copy(first))
        } else {
            superblock.first_data_block + 1 + index
        };
        let mut bytes = vec![0; superblock.descriptor_size as usize]; // at most a block
        self.read_at(block * superblock.block_size + group % per_block * superblock.descriptor_size, &mut bytes)?;
        let b = bytes.as_slice();
        let wide =
            |low: usize, high: usize| number(b, low, 4) | if b.len() >= 64 { number(b, high, 4) << 32 } else { 0 };
        Ok(Descriptor {
            block_bitmap: wide(0x00, 0x20),
            inode_bitmap: wide(0x04, 0x24),
            inode_table: wide(0x08, 0x28),
            free_blocks: number(b, 0x0c, 2),
            free_inodes: number(b, 0x0e, 2),
            directories: number(b, 0x10, 2),
            flags: number(b, 0x12, 2),
            block_bitmap_sum: number(b, 0x18, 2) as u16,
            inode_bitmap_sum: number(b, 0x1a, 2) as u16,
            unused_inodes: number(b, 0x1c, 2),
            bytes: std::array::from_fn(|index| b[index]),
        })
    }

    /// Resolves a path from the root, without following symbolic links.
    ///
    /// # Errors
    /// [`Error::NotFound`], damage, or failing reads.
    pub fn find(&self, path: &[u8]) -> Result<Inode, Error> {
        let mut at = self.inode(ROOT)?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            if !at.is_directory() {
                return Err(Error::NotFound);
            }
            let names = self.names(&at)?;
            let (_, inode) = names.iter().find(|(entry, _)| entry == name).ok_or(Error::NotFound)?;
            at = self.inode(*inode)?;
        }
        Ok(at)
    }

    /// Returns the names in a directory and their inodes, except `.` and `..`.
    ///
    /// # Errors
    /// Damage, or failing reads.
    pub fn names(&self, directory: &Inode) -> Result<Vec<(Vec<u8>, u32)>, Error> {
        let mut blocks = Vec::new();
        self.read(directory, &mut |_, piece| blocks.extend_from_slice(piece))?;
        let mut names = Vec::new();
        for block in blocks.chunks_exact(self.superblock.block_size as usize) {
            for entry in Entries::new(block) {
                let Entry { inode, name, .. } = entry.ok_or(Error::Damaged(Damage::Directory(directory.number)))?;
                if inode != 0 && name != b"." && name != b".." {
                    names.push((name.to_vec(), inode));
                }
            }
        }
        Ok(names)
    }

    /// Calls `take` with the content of a file in pieces, with their offsets; holes are left out.
    ///
    /// # Errors
    /// Damage, or failing reads.
    pub fn read(&self, inode: &Inode, take: &mut dyn FnMut(u64, &[u8])) -> Result<(), Error> {
        let extents = self.extents(inode, &mut |_, _| {})?;
        self.read_extents(inode.size, &extents, &mut Vec::new(), take)
    }

    /// Returns the extents of a file; `visit` gets the number and the content of each block of its tree.
    pub(super) fn extents(&self, inode: &Inode, visit: &mut dyn FnMut(u64, &[u8])) -> Result<Vec<Extent>, Error> {
        let mut extents = Vec::new();
        if inode.flags & super::spec::EXTENTS_FL != 0 {
            self.collect(inode.number, &inode.block, MAX_DEPTH, &mut extents, visit)?;
        }
        Ok(extents)
    }

    /// Calls `take` with the content in pieces, as [`FileSystem::read`] does; `buffer` can be used again.
    pub(super) fn read_extents(
        &self,
        size: u64,
        extents: &[Extent],
        buffer: &mut Vec<u8>,
        take: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), Error> {
        const PIECE: u64 = 1 << 20;
        let block_size = self.superblock.block_size;
        for extent in extents.iter().filter(|extent| extent.is_written) {
            let start = extent.logical * block_size;
            let length = (extent.length * block_size).min(size.saturating_sub(start));
            for done in (0..length).step_by(PIECE as usize) {
                buffer.resize((length - done).min(PIECE) as usize, 0); // at most PIECE
                self.read_at(extent.physical * block_size + done, buffer)?;
                take(start + done, buffer);
            }
        }
        Ok(())
    }

    fn collect(
        &self,
        inode: u32,
        node: &[u8],
        depth_left: u16,
        extents: &mut Vec<Extent>,
        visit: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), Error> {
        const MAGIC: u64 = 0xf30a;
        const INITIALIZED: u64 = 1 << 15;
        let damaged = || Error::Damaged(Damage::Extents(inode));
        let (entries, depth) = (number(node, 2, 2) as usize, number(node, 6, 2) as u16);
        if number(node, 0, 2) != MAGIC || depth > depth_left || 12 + entries * 12 > node.len() {
            return Err(damaged());
        }
        for entry in node[12..].chunks_exact(12).take(entries) {
            let logical = number(entry, 0, 4);
            if depth == 0 {
                let length = number(entry, 4, 2);
                let is_written = length <= INITIALIZED;
                let length = if is_written { length } else { length - INITIALIZED };
                let physical = number(entry, 8, 4) | number(entry, 6, 2) << 32;
                extents.push(Extent { logical, physical, length, is_written });
            } else {
                let child = number(entry, 4, 4) | number(entry, 8, 2) << 32;
                let mut block = vec![0; self.superblock.block_size as usize]; // at most 64 KiB
                self.read_at(child * self.superblock.block_size, &mut block)?;
                visit(child, &block);
                self.collect(inode, &block, depth - 1, extents, visit)?;
            }
        }
        Ok(())
    }

    /// Returns the target of a symbolic link.
    ///
    /// # Errors
    /// Damage, or failing reads.
    pub fn target(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        if inode.flags & super::spec::EXTENTS_FL == 0 {
            let length = usize::try_from(inode.size).unwrap_or(usize::MAX).min(inode.block.len());
            return Ok(inode.block[..length].to_vec());
        }
        let mut target = Vec::new();
        self.read(inode, &mut |_, piece| target.extend_from_slice(piece))?;
        Ok(target)
    }

    pub(super) fn read_at(&self, offset: u64, target: &mut [u8]) -> Result<(), Error> {
        Ok(self.file.read_exact_at(target, self.base + offset)?)
    }
}

impl Inode {
    /// Parses an inode of at least 128 bytes.
    pub(super) fn parse(inode: u32, b: &[u8]) -> Self {
        let extra = if b.len() > 128 { number(b, 0x80, 2) as usize } else { 0 };
        let (seconds, wide) = (number(b, 0x10, 4) as u32 as i32, if extra >= 12 { number(b, 0x88, 4) } else { 0 });
        Self {
            number: inode,
            mode: number(b, 0x00, 2) as u16,
            uid: (number(b, 0x02, 2) | number(b, 0x78, 2) << 16) as u32,
            gid: (number(b, 0x18, 2) | number(b, 0x7a, 2) << 16) as u32,
            size: number(b, 0x04, 4) | number(b, 0x6c, 4) << 32,
            links: number(b, 0x1a, 2) as u16,
            seconds: i64::from(seconds) + ((wide as i64 & 3) << 32),
            nanoseconds: (wide >> 2) as u32,
            flags: number(b, 0x20, 4) as u32,
            block: std::array::from_fn(|index| b[0x28 + index]),
            attribute_block: number(b, 0x68, 4) | number(b, 0x76, 2) << 32,
            tail: b.get(128 + extra..).unwrap_or_default().to_vec(),
        }
    }

    /// Returns the file type bits, as in `st_mode`.
    pub fn kind(&self) -> u16 {
        self.mode & super::mode::TYPE
    }

    /// Returns whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind() == super::mode::DIRECTORY
    }

    /// Returns the major and minor number of a device (`old_decode_dev`, `new_decode_dev`).
    pub fn device(&self) -> (u32, u32) {
        let (old, new) = (number(&self.block, 0, 4) as u32, number(&self.block, 4, 4) as u32);
        if old != 0 { (old >> 8 & 0xff, old & 0xff) } else { (new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xf_ff00) }
    }
}

/// Returns whether a group starts with a copy of the superblock.
pub(super) fn holds_copy(group: u64) -> bool {
    let is_power = |base: u64| {
        std::iter::successors(Some(base), |power| power.checked_mul(base))
            .take_while(|power| *power <= group)
            .any(|power| power == group)
    };
    group <= 1 || is_power(3) || is_power(5) || is_power(7)
}
