//! Checks the structures of a finished disk that the kernel relies on to mount it and to write to it: the superblock and its
//! copies, group descriptors, bitmaps, checksums, the journal. It is a check of this writer's disks, not an e2fsck: it knows
//! only the features that they have. Each block and inode is visited once.

use super::hash::hash;
use super::read::{Damage, Descriptor, Entries, Entry, Error, Extent, FileSystem, Inode, holds_copy, number};

/// Inodes below this one are reserved, and in use.
const FIRST_INODE: u32 = 11;
const JOURNAL: u32 = 8;
const BLOCK: u64 = 4096;
const BLOCK_BYTES: usize = 4096;
/// Offsets in a superblock: the group of a copy, the checksum.
const GROUP_FIELD: std::ops::Range<usize> = 0x5a..0x5c;
const SUM_FIELD: std::ops::Range<usize> = 0x3fc..0x400;
const INODE_UNINIT: u64 = 1;
const BLOCK_UNINIT: u64 = 2;
/// Bytes of inode tables that are read at once.
const TABLE_PIECE: u64 = 64 << 10;

/// The structures of one disk, as far as they were visited.
pub(super) struct Check<'c, 'f> {
    disk: &'c FileSystem<'f>,
    descriptors: Vec<Descriptor>,
    seed: u32,
    /// A bit for each block in use.
    blocks: Bits,
    /// A bit for each inode in use; inode 1 is bit 0.
    inodes: Bits,
    /// Directories of each group.
    directories: Vec<u32>,
    table: Table,
}

/// A piece of an inode table.
#[derive(Default)]
struct Table {
    first: u32,
    bytes: Vec<u8>,
}

/// A list of bits.
struct Bits(Vec<u8>);

impl Bits {
    fn new(count: u64) -> Self {
        Self(vec![0; count.div_ceil(8) as usize]) // at most 512 MiB
    }

    /// Sets a bit; false if it was set, or does not exist.
    fn set(&mut self, index: u64) -> bool {
        let mask = 1 << (index % 8);
        let Some(byte) = usize::try_from(index / 8).ok().and_then(|index| self.0.get_mut(index)) else { return false };
        let is_new = *byte & mask == 0;
        *byte |= mask;
        is_new
    }

    /// Returns the bits of a group, in the bytes of its bitmap; those that do not exist are ones.
    fn bitmap(&self, first: u64, count: u32) -> ([u8; BLOCK_BYTES], u32) {
        let mut bitmap = [0; BLOCK_BYTES];
        let bytes = self.0.get(usize::try_from(first / 8).unwrap_or(usize::MAX)..).unwrap_or_default();
        let length = bytes.len().min(BLOCK_BYTES).min(count.div_ceil(8) as usize);
        bitmap[..length].copy_from_slice(&bytes[..length]);
        let used = bitmap.iter().map(|byte| byte.count_ones()).sum();
        for bit in count as usize..BLOCK_BYTES * 8 {
            bitmap[bit / 8] |= 1 << (bit % 8);
        }
        (bitmap, used)
    }
}

/// CRC-32C without inversions, as the kernel's ext4_chksum().
fn crc(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// Returns the lowest hashes and the blocks that a node of a hash tree points to; the first hash is not stored.
fn pointers(node: &[u8], at: usize) -> Option<Vec<(u32, u32)>> {
    let count = number(node, at + 2, 2) as usize;
    let entries = node.get(at..at + count * 8)?.chunks_exact(8);
    let mut pointers: Vec<(u32, u32)> =
        entries.map(|entry| (number(entry, 0, 4) as u32, number(entry, 4, 4) as u32)).collect();
    pointers.first_mut()?.0 = 0;
    Some(pointers)
}

fn require(is_right: bool, damage: Damage) -> Result<(), Error> {
    if is_right { Ok(()) } else { Err(Error::Damaged(damage)) }
}

impl<'c, 'f> Check<'c, 'f> {
    /// Checks superblocks and descriptors, with all their copies.
    pub(super) fn new(disk: &'c FileSystem<'f>) -> Result<Self, Error> {
        let superblock = disk.superblock();
        require(superblock.block_size == BLOCK && superblock.descriptor_size == 32, Damage::Superblock)?;
        let groups = superblock.groups();
        let mut check = Self {
            disk,
            descriptors: disk.descriptors()?,
            seed: crc(u32::MAX, &superblock.uuid),
            blocks: Bits::new(superblock.blocks),
            inodes: Bits::new(superblock.inodes.into()),
            directories: vec![0; groups as usize],
            table: Table::default(),
        };
        check.superblocks()?;
        check.descriptor_copies()?;
        check.claim_metadata()?;
        for inode in 1..FIRST_INODE {
            check.inodes.set(u64::from(inode) - 1);
        }
        Ok(check)
    }

    fn superblocks(&self) -> Result<(), Error> {
        let superblock = self.disk.superblock();
        let mut first = [0; 1024];
        self.disk.read_at(1024, &mut first)?;
        let sum = |bytes: &[u8]| crc(u32::MAX, &bytes[..SUM_FIELD.start]) == number(bytes, SUM_FIELD.start, 4) as u32;
        let is_clean = number(&first, 0x3a, 2) == 1 && !superblock.needs_recovery();
        require(sum(&first) && is_clean, Damage::Superblock)?;
        require(self.disk.length()? >= superblock.blocks * BLOCK, Damage::Length)?;
        let free = |field: fn(&Descriptor) -> u64| self.descriptors.iter().map(field).sum::<u64>();
        let are_counts_right = superblock.free_blocks == free(|descriptor| descriptor.free_blocks)
            && u64::from(superblock.free_inodes) == free(|descriptor| descriptor.free_inodes)
            && u64::from(superblock.inodes) == superblock.groups() * u64::from(superblock.inodes_per_group);
        require(are_counts_right, Damage::Superblock)?;
        let mut copy = [0; 1024];
        for group in (1..superblock.groups()).filter(|group| holds_copy(*group)) {
            self.disk.read_at(self.start(group) * BLOCK, &mut copy)?;
            let is_right = sum(&copy) && number(&copy, GROUP_FIELD.start, 2) == group & 0xffff;
            for field in [GROUP_FIELD, SUM_FIELD] {
                copy[field.clone()].copy_from_slice(&first[field]);
            }
            require(is_right && copy == first, Damage::SuperblockCopy(group))?;
        }
        Ok(())
    }

    fn descriptor_copies(&self) -> Result<(), Error> {
        for (group, descriptor) in (0_u32..).zip(&self.descriptors) {
            let mut bytes = descriptor.bytes;
            let stored = number(&bytes, 0x1e, 2);
            bytes[0x1e..].fill(0);
            let sum = crc(crc(crc(self.seed, &group.to_le_bytes()), &bytes[..0x1e]), &[0; 2]);
            require(stored == u64::from(sum as u16), Damage::Descriptor(group))?; // the low half
        }
        let per_block = BLOCK / 32;
        let mut block = vec![0; BLOCK_BYTES];
        for group in (0..self.disk.superblock().groups()).filter(|group| self.holds_descriptors(*group)) {
            let index = if self.disk.superblock().has_meta_bg() { group / per_block } else { 0 };
            self.disk.read_at((self.start(group) + u64::from(holds_copy(group))) * BLOCK, &mut block)?;
            let own = self.descriptors.iter().skip((index * per_block) as usize).take(per_block as usize);
            let is_same = own.zip(block.chunks_exact(32)).all(|(descriptor, bytes)| descriptor.bytes == bytes);
            require(is_same, Damage::Descriptor((index * per_block) as u32))?; // fewer than 2^32 groups
        }
        Ok(())
    }

    /// Returns whether a group has a block of descriptors (`ext4_bg_num_gdb`).
    fn holds_descriptors(&self, group: u64) -> bool {
        let per_block = BLOCK / 32;
        if self.disk.superblock().has_meta_bg() && group >= per_block {
            return matches!(group % per_block, 0 | 1) || group % per_block == per_block - 1;
        }
        holds_copy(group)
    }

    fn start(&self, group: u64) -> u64 {
        group * u64::from(self.disk.superblock().blocks_per_group)
    }

    /// Claims the blocks of superblocks, descriptors, bitmaps and inode tables.
    fn claim_metadata(&mut self) -> Result<(), Error> {
        let superblock = self.disk.superblock();
        let table = u64::from(superblock.inodes_per_group) * superblock.inode_size / BLOCK;
        for group in 0..superblock.groups() {
            let reserved = u64::from(holds_copy(group)) + u64::from(self.holds_descriptors(group));
            self.claim(self.start(group), reserved)?;
            let Descriptor { block_bitmap, inode_bitmap, inode_table, .. } = self.descriptors[group as usize];
            self.claim(block_bitmap, 1)?;
            self.claim(inode_bitmap, 1)?;
            self.claim(inode_table, table)?;
        }
        Ok(())
    }

    /// Marks blocks as used; each has one use.
    fn claim(&mut self, start: u64, count: u64) -> Result<(), Error> {
        let blocks = self.disk.superblock().blocks;
        (start..start.saturating_add(count))
            .try_for_each(|block| require(block < blocks && self.blocks.set(block), Damage::Block(block)))
    }

    /// Reads an inode. Ascending numbers are read in large pieces.
    pub(super) fn read_inode(&mut self, inode: u32) -> Result<(Inode, Vec<u8>), Error> {
        let size = self.disk.superblock().inode_size;
        let index = inode.wrapping_sub(self.table.first) as usize * size as usize;
        if self.table.bytes.get(index..index + size as usize).is_none() {
            let per_group = self.disk.superblock().inodes_per_group;
            let left = u64::from(per_group - (inode - 1) % per_group) * size;
            self.table.bytes.resize(TABLE_PIECE.min(left) as usize, 0); // at most TABLE_PIECE
            self.disk.read_at(self.disk.inode_offset(inode)?, &mut self.table.bytes)?;
            self.table.first = inode;
        }
        let index = (inode - self.table.first) as usize * size as usize;
        let bytes = self.table.bytes[index..index + size as usize].to_vec();
        Ok((Inode::parse(inode, &bytes), bytes))
    }

    /// Checks an inode in use, and claims its blocks. Returns its extents.
    pub(super) fn inode(&mut self, inode: &Inode, bytes: &[u8]) -> Result<Vec<Extent>, Error> {
        let damage = Damage::Inode(inode.number);
        let seed = self.inode_seed(inode.number);
        let mut whole = bytes.to_vec();
        let stored = number(&whole, 0x7c, 2) | number(&whole, 0x82, 2) << 16;
        whole[0x7c..0x7e].fill(0);
        whole[0x82..0x84].fill(0);
        require(stored == u64::from(crc(seed, &whole)), damage)?;
        let group = (inode.number - 1) / self.disk.superblock().inodes_per_group;
        let is_new = self.inodes.set(u64::from(inode.number) - 1) || inode.number < FIRST_INODE;
        require(is_new, damage)?;
        self.directories[group as usize] += u32::from(inode.is_directory());
        let mut tree = Vec::new();
        let mut are_sums_right = true;
        let extents = self.disk.extents(inode, &mut |block, bytes| {
            tree.push(block);
            let (covered, sum) = bytes.split_at(BLOCK_BYTES - 4);
            are_sums_right &= u64::from(crc(seed, covered)) == number(sum, 0, 4);
        })?;
        require(are_sums_right, Damage::Extents(inode.number))?;
        let mut blocks = tree.len() as u64;
        tree.into_iter().try_for_each(|block| self.claim(block, 1))?;
        let mut end = 0;
        for extent in &extents {
            require(extent.logical >= end, Damage::Extents(inode.number))?;
            end = extent.logical + extent.length;
            blocks += extent.length;
            self.claim(extent.physical, extent.length)?;
        }
        // Blocks after the end of the content are lost to the file.
        require(end <= inode.size.div_ceil(BLOCK), Damage::Extents(inode.number))?;
        if inode.attribute_block != 0 {
            blocks += 1;
            self.attributes(inode)?;
        }
        let sectors = number(bytes, 0x1c, 4) | number(bytes, 0x74, 2) << 32;
        require(sectors == blocks * (BLOCK / 512), damage)?;
        Ok(extents)
    }

    fn attributes(&mut self, inode: &Inode) -> Result<(), Error> {
        let mut block = vec![0; BLOCK_BYTES];
        self.disk.read_at(inode.attribute_block.saturating_mul(BLOCK), &mut block)?;
        let stored = number(&block, 16, 4);
        block[16..20].fill(0);
        let sum = crc(crc(self.seed, &inode.attribute_block.to_le_bytes()), &block);
        require(stored == u64::from(sum), Damage::Attributes(inode.number))?;
        self.claim(inode.attribute_block, 1)
    }

    /// Checks the blocks of a directory: their checksums, and its own entries.
    pub(super) fn directory(&self, inode: &Inode, parent: u32, blocks: &[u8]) -> Result<(), Error> {
        const INDEX_FL: u32 = 0x1000;
        let damage = Damage::Directory(inode.number);
        let seed = self.inode_seed(inode.number);
        require(blocks.len() as u64 == inode.size && !blocks.is_empty(), damage)?;
        for (index, block) in blocks.chunks(BLOCK_BYTES).enumerate() {
            require(block.len() == BLOCK_BYTES, damage)?;
            // A leaf ends in a tail that looks like an empty entry; everything else is a node of the tree.
            let is_leaf = number(block, BLOCK_BYTES - 12, 4) == 0 && number(block, BLOCK_BYTES - 8, 4) == 0xde00_000c;
            let sum = if is_leaf {
                crc(seed, &block[..BLOCK_BYTES - 12])
            } else {
                require(inode.flags & INDEX_FL != 0, damage)?;
                let count_at = if index == 0 { 32 } else { 8 };
                let used = count_at + number(block, count_at + 2, 2) as usize * 8;
                crc(crc(seed, block.get(..used).unwrap_or_default()), &[0; 8])
            };
            require(u64::from(sum) == number(block, BLOCK_BYTES - 4, 4), damage)?;
        }
        let own: Vec<(u32, &[u8])> =
            Entries::new(&blocks[..BLOCK_BYTES]).take(2).flatten().map(|entry| (entry.inode, entry.name)).collect();
        require(own == [(inode.number, &b"."[..]), (parent, b"..")], damage)?;
        if inode.flags & INDEX_FL == 0 {
            return Ok(());
        }
        require(self.is_tree_right(blocks) == Some(true), damage)
    }

    /// Returns whether the hash tree of a directory leads to each of its names (`dx_probe`), and each block is in it.
    fn is_tree_right(&self, blocks: &[u8]) -> Option<bool> {
        let hash_seed = &self.disk.superblock().hash_seed;
        let block = |index: u32| blocks.get(index as usize * BLOCK_BYTES..)?.get(..BLOCK_BYTES);
        // struct dx_root_info: indirect_levels.
        let (levels, mut pointers) = (blocks.get(30)?, pointers(block(0)?, 32)?);
        let mut visited = 1 + pointers.len();
        if *levels == 1 {
            let mut below = Vec::new();
            for (low, index) in pointers {
                let mut inner = self::pointers(block(index)?, 8)?;
                inner.first_mut()?.0 = low;
                below.extend(inner);
            }
            visited += below.len();
            pointers = below;
        }
        for (at, (low, index)) in pointers.iter().enumerate() {
            // The lowest bit marks a block that continues the hash of the one before it.
            let next = pointers.get(at + 1).map_or(u64::MAX, |(next, _)| u64::from(next & !1) + u64::from(next & 1));
            for entry in Entries::new(block(*index)?) {
                let Entry { inode, name, .. } = entry?;
                let major = u64::from(hash(hash_seed, name).0);
                if inode != 0 && !(u64::from(low & !1)..next).contains(&major) {
                    return Some(false);
                }
            }
        }
        Some(visited * BLOCK_BYTES == blocks.len() && *levels <= 1 && pointers.is_sorted())
    }

    fn inode_seed(&self, inode: u32) -> u32 {
        crc(crc(self.seed, &inode.to_le_bytes()), &[0; 4])
    }

    /// Checks the journal, and that it is empty.
    fn journal(&mut self) -> Result<(), Error> {
        const REGULAR_FILE: u16 = 0o100_600;
        let (inode, bytes) = self.read_inode(JOURNAL)?;
        let extents = self.inode(&inode, &bytes)?;
        let blocks: u64 = extents.iter().map(|extent| extent.length).sum();
        let is_whole = inode.mode == REGULAR_FILE && inode.links == 1 && blocks * BLOCK == inode.size && blocks >= 1024;
        require(is_whole, Damage::Journal)?;
        let mut log = [0; 1024];
        self.disk.read_at(extents[0].physical * BLOCK, &mut log)?;
        let mut expected = [0; 1024];
        // h_magic, h_blocktype, s_blocksize, s_maxlen, s_first, s_sequence, s_nr_users; s_start is 0: the log is empty.
        for (at, value) in [
            (0x00, 0xc03b_3998),
            (0x04, 4),
            (0x0c, BLOCK as u32),
            (0x10, blocks as u32), // at most 2^32 blocks
            (0x14, 1),
            (0x18, 1),
            (0x40, 1),
        ] {
            expected[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        expected[0x30..0x40].copy_from_slice(&self.disk.superblock().uuid);
        let backup = self.disk.superblock().journal_backup;
        require(log == expected && backup[..60] == bytes[0x28..0x64], Damage::Journal)
    }

    /// Compares the bitmaps and counts with all that was visited.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        if self.disk.superblock().has_journal() {
            self.journal()?;
        }
        let superblock = self.disk.superblock();
        let (per_group, inodes_per_group) = (superblock.blocks_per_group, superblock.inodes_per_group);
        let mut stored = [0; BLOCK_BYTES];
        for (group, descriptor) in (0_u32..).zip(&self.descriptors) {
            let first = u64::from(group) * u64::from(per_group);
            let count = (superblock.blocks - first).min(u64::from(per_group)) as u32; // at most a group's
            let (expected, used) = self.blocks.bitmap(first, count);
            require(descriptor.free_blocks == u64::from(count - used), Damage::BlockBitmap(group))?;
            if descriptor.flags & BLOCK_UNINIT == 0 {
                self.disk.read_at(descriptor.block_bitmap * BLOCK, &mut stored)?;
                let sum = crc(self.seed, &stored) as u16; // the low half
                let is_right = stored == expected && descriptor.block_bitmap_sum == sum;
                require(is_right, Damage::BlockBitmap(group))?;
            } else {
                let reserved = u32::from(holds_copy(group.into())) + u32::from(self.holds_descriptors(group.into()));
                require(used == reserved, Damage::BlockBitmap(group))?;
            }
            let damage = Damage::InodeBitmap(group);
            let (expected, used) = self.inodes.bitmap(u64::from(group) * u64::from(inodes_per_group), inodes_per_group);
            let last_used = (0..inodes_per_group).rev().find(|bit| expected[*bit as usize / 8] >> (bit % 8) & 1 == 1);
            let unused = last_used.map_or(inodes_per_group, |bit| inodes_per_group - 1 - bit);
            let are_counts_right = descriptor.free_inodes == u64::from(inodes_per_group - used)
                && descriptor.directories == u64::from(self.directories[group as usize])
                && descriptor.unused_inodes <= u64::from(unused);
            require(are_counts_right, damage)?;
            if descriptor.flags & INODE_UNINIT == 0 {
                self.disk.read_at(descriptor.inode_bitmap * BLOCK, &mut stored)?;
                let sum = crc(self.seed, &stored[..inodes_per_group as usize / 8]) as u16; // the low half
                require(stored == expected && descriptor.inode_bitmap_sum == sum, damage)?;
            } else {
                require(used == 0, damage)?;
            }
        }
        Ok(())
    }
}
