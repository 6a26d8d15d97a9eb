//! Writes the groups' bitmaps and descriptors, and the superblock with its copies.

use std::io;

use super::checksum::{self, FileSystemSeed};
use super::disk::Disk;
use super::finish::Finish;
use super::identity::Identity;
use super::inodes::Journal;
use super::layout::{Geometry, Plan, Run, holds_descriptors, holds_superblock, reserved_blocks};
use super::offset;
use super::spec::{
    BLOCK_SIZE, BLOCK_UNINIT, BLOCKS_PER_GROUP, DESCRIPTOR_SIZE, DESCRIPTORS_PER_BLOCK, GroupDescriptor, INODE_SIZE,
    INODE_UNINIT, INODE_ZEROED, Superblock,
};

/// Offset of the first superblock; its copies are at the start of their blocks.
const SUPERBLOCK_OFFSET: u64 = 1024;

/// The descriptors of all groups, under construction.
pub(super) struct Groups<'p> {
    plan: &'p Plan,
    geometry: Geometry,
    inodes_used: u32,
    seed: FileSystemSeed,
    descriptors: Vec<GroupDescriptor>,
}

impl<'p> Groups<'p> {
    /// Creates the descriptors; inodes 1 to `inodes_used` are in use.
    pub(super) fn new(plan: &'p Plan, inodes_used: u32, seed: FileSystemSeed) -> Self {
        let descriptor = |group: usize| GroupDescriptor {
            block_bitmap: plan.block_bitmaps[group],
            inode_bitmap: plan.inode_bitmaps[group],
            inode_table: plan.inode_tables[group],
            flags: INODE_ZEROED,
            ..GroupDescriptor::default()
        };
        let descriptors = (0..plan.inode_tables.len()).map(descriptor).collect();
        Self { plan, geometry: plan.geometry, inodes_used, seed, descriptors }
    }

    /// Returns the offset of an inode on the disk.
    pub(super) fn inode_offset(&self, number: u32) -> u64 {
        let (group, index) = self.place(number);
        offset(self.descriptors[group].inode_table) + u64::from(index) * INODE_SIZE as u64
    }

    /// Counts a directory in its group.
    pub(super) fn count_directory(&mut self, number: u32) {
        let (group, _) = self.place(number);
        self.descriptors[group].used_dirs_count += 1; // at most the inodes of a group
    }

    /// Writes the block bitmaps of groups with blocks in use; `free` are free blocks below the end, sorted.
    pub(super) fn write_block_bitmaps(&mut self, disk: &mut Disk, free: &[Run]) -> io::Result<()> {
        let last = self.geometry.groups - 1;
        for (group, descriptor) in (0..).zip(&mut self.descriptors) {
            let start = u64::from(group) * u64::from(BLOCKS_PER_GROUP);
            let blocks = self.geometry.blocks_in(group);
            // The last group's bitmap must mark the blocks that do not exist, so it is always written.
            if start >= self.plan.end && group != last {
                descriptor.flags |= BLOCK_UNINIT;
                descriptor.free_blocks_count = (blocks - reserved_blocks(group)) as u16; // at most a group's
                continue;
            }
            let mut bitmap = [0; BLOCK_SIZE];
            let used = self.plan.end.saturating_sub(start).min(u64::from(blocks)) as u32;
            set(&mut bitmap, 0, used.max(reserved_blocks(group)));
            for run in free_within(free, start, u64::from(used)) {
                clear(&mut bitmap, run);
            }
            descriptor.free_blocks_count = (blocks - count(&bitmap)) as u16; // at most a group's
            set(&mut bitmap, blocks, BLOCKS_PER_GROUP);
            descriptor.block_bitmap_csum = self.seed.bitmap(&bitmap);
            disk.write(offset(descriptor.block_bitmap), &bitmap)?;
        }
        Ok(())
    }

    /// Writes the inode bitmaps of groups with inodes in use.
    pub(super) fn write_inode_bitmaps(&mut self, disk: &mut Disk) -> io::Result<()> {
        let per_group = self.geometry.inodes_per_group;
        for (group, descriptor) in (0..).zip(&mut self.descriptors) {
            let used = self.inodes_used.saturating_sub(group * per_group).min(per_group);
            descriptor.free_inodes_count = (per_group - used) as u16; // at most a block's bits
            descriptor.itable_unused = descriptor.free_inodes_count;
            if used == 0 {
                descriptor.flags |= INODE_UNINIT;
                continue;
            }
            let mut bitmap = [0; BLOCK_SIZE];
            set(&mut bitmap, 0, used);
            // The bits after the last inode are ones (e2fsck 1.47: "Padding at end of inode bitmap is not set").
            set(&mut bitmap, per_group, BLOCKS_PER_GROUP);
            descriptor.inode_bitmap_csum = self.seed.bitmap(&bitmap[..per_group as usize / 8]);
            disk.write(offset(descriptor.inode_bitmap), &bitmap)?;
        }
        Ok(())
    }

    /// Writes the descriptors and all their copies.
    pub(super) fn write_descriptors(&self, disk: &mut Disk) -> io::Result<()> {
        let mut blocks = Vec::new();
        for (group, descriptor) in (0..).zip(&self.descriptors) {
            let mut bytes: [u8; DESCRIPTOR_SIZE] = descriptor.encode();
            self.seed.seal_descriptor(group, &mut bytes);
            blocks.extend_from_slice(&bytes);
        }
        blocks.resize(blocks.len().next_multiple_of(BLOCK_SIZE), 0);
        for group in (0..self.geometry.groups).filter(|group| holds_descriptors(*group)) {
            let block = group * BLOCKS_PER_GROUP + u32::from(holds_superblock(group));
            let index = (group / DESCRIPTORS_PER_BLOCK) as usize;
            disk.write(offset(block), &blocks[index * BLOCK_SIZE..][..BLOCK_SIZE])?;
        }
        Ok(())
    }

    /// Writes the superblock and its copies. This is last, so that an unfinished file is not a valid file system.
    pub(super) fn write_superblocks(
        &self,
        disk: &mut Disk,
        identity: Identity,
        finish: &Finish,
        journal: Option<&Journal>,
    ) -> io::Result<()> {
        let superblock = Superblock {
            inodes_count: self.geometry.inodes(),
            blocks_count: self.geometry.blocks,
            free_blocks_count: self.sum(|descriptor| descriptor.free_blocks_count),
            free_inodes_count: self.sum(|descriptor| descriptor.free_inodes_count),
            inodes_per_group: self.geometry.inodes_per_group,
            overhead_clusters: self.overhead() + journal.map_or(0, |journal| journal.blocks),
            meta_bg: self.geometry.groups > DESCRIPTORS_PER_BLOCK,
            time: finish.time,
            uuid: identity.uuid,
            hash_seed: identity.hash_seed,
            volume_name: finish.label,
            journal: journal.map(|journal| (journal.block, journal.size())),
        };
        for group in (0..self.geometry.groups).filter(|group| holds_superblock(*group)).rev() {
            let mut bytes = superblock.encode(group);
            checksum::seal_superblock(&mut bytes);
            let place = if group == 0 { SUPERBLOCK_OFFSET } else { offset(group * BLOCKS_PER_GROUP) };
            disk.write(place, &bytes)?;
        }
        Ok(())
    }

    /// Returns the number of blocks for metadata: superblocks, descriptors, bitmaps, inode tables (`ext4_calculate_overhead`).
    fn overhead(&self) -> u32 {
        let reserved: u32 = (0..self.geometry.groups).map(reserved_blocks).sum();
        reserved + self.geometry.groups * (2 + self.geometry.inode_table_blocks())
    }

    fn sum(&self, field: impl Fn(&GroupDescriptor) -> u16) -> u32 {
        self.descriptors.iter().map(|descriptor| u32::from(field(descriptor))).sum()
    }

    fn place(&self, number: u32) -> (usize, u32) {
        let index = number - 1;
        ((index / self.geometry.inodes_per_group) as usize, index % self.geometry.inodes_per_group)
    }
}

/// Returns the parts of sorted `runs` within the `length` blocks from `start` on, relative to `start`.
fn free_within(runs: &[Run], start: u64, length: u64) -> impl Iterator<Item = Run> {
    let end = start + length;
    let from = runs.partition_point(|run| u64::from(run.start) + u64::from(run.length) <= start);
    runs[from..].iter().take_while(move |run| u64::from(run.start) < end).map(move |run| {
        let first = u64::from(run.start).max(start);
        let after = (u64::from(run.start) + u64::from(run.length)).min(end);
        Run { start: (first - start) as u32, length: (after - first) as u32 } // within a group
    })
}

/// Sets the bits from `start` to `end`, exclusive.
fn set(bitmap: &mut [u8; BLOCK_SIZE], start: u32, end: u32) {
    each_byte(start, end, |index, mask| bitmap[index] |= mask);
}

fn clear(bitmap: &mut [u8; BLOCK_SIZE], run: Run) {
    each_byte(run.start, run.start + run.length, |index, mask| bitmap[index] &= !mask);
}

fn each_byte(start: u32, end: u32, mut apply: impl FnMut(usize, u8)) {
    let mut at = start;
    while at < end {
        let bits = (8 - at % 8).min(end - at);
        apply((at / 8) as usize, (((1_u16 << bits) - 1) << (at % 8)) as u8); // at most eight bits, within the byte
        at += bits;
    }
}

fn count(bitmap: &[u8; BLOCK_SIZE]) -> u32 {
    bitmap.iter().map(|byte| byte.count_ones()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_bits_are_set_and_cleared() {
        for (start, end) in [(0, 0), (0, 1), (3, 5), (5, 8), (7, 9), (0, 32_768), (32_767, 32_768), (100, 1000)] {
            let mut bitmap = [0; BLOCK_SIZE];
            set(&mut bitmap, start, end);
            assert_eq!(count(&bitmap), end - start);
            for bit in 0..BLOCKS_PER_GROUP {
                let is_set = bitmap[bit as usize / 8] >> (bit % 8) & 1 == 1;
                assert_eq!(is_set, (start..end).contains(&bit), "bit {bit} of {start}..{end}");
            }
            clear(&mut bitmap, Run { start, length: end - start });
            assert_eq!(count(&bitmap), 0);
        }
    }

    #[test]
    fn runs_are_clipped_to_the_group() {
        let runs = [(10, 5), (90, 20), (150, 10), (195, 100)].map(|(start, length)| Run { start, length });
        let cut: Vec<_> = free_within(&runs, 100, 100).map(|run| (run.start, run.length)).collect();
        assert_eq!(cut, [(0, 10), (50, 10), (95, 5)]);
    }
}
