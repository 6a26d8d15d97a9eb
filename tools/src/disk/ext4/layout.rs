//! The layout of the disk: pure geometry, without bytes or files.
//!
//! Block groups are 128 MiB. Some start with a copy of the superblock and a block of group descriptors; these places are
//! known in advance. A [`Cursor`] allocates all other blocks in ascending order: first to file contents as they arrive, at
//! the end to directories, journal, bitmaps and inode tables, whose sizes are known only then. Feature `flex_bg` allows a
//! group's bitmaps and inode table at any place.
//!
//! One block of descriptors covers 128 groups, 16 GiB. For larger disks, `meta_bg` with `s_first_meta_bg` 1 puts each
//! further block of descriptors at the start of groups that it describes, which is also known in advance.

use super::spec::{BLOCK_SIZE, BLOCKS_PER_GROUP, DESCRIPTORS_PER_BLOCK, INODES_PER_BLOCK};

/// The number of bits in one block of bitmap.
const MAX_INODES_PER_GROUP: u32 = BLOCKS_PER_GROUP;
/// One inode for 16 KiB, as in mke2fs: a disk that grows later gets inodes in this proportion.
const USUAL_INODES_PER_GROUP: u32 = BLOCKS_PER_GROUP / 4;
/// The smallest last group (mke2fs: its own metadata and 50 blocks).
const MIN_LAST_GROUP: u32 = 64;

/// Consecutive blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    pub(super) start: u32,
    pub(super) length: u32,
}

/// Sorts runs that do not overlap, and joins neighbours.
pub(super) fn joined(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_unstable();
    runs.dedup_by(|next, run| {
        let is_neighbour = run.start + run.length == next.start;
        if is_neighbour {
            run.length += next.length;
        }
        is_neighbour
    });
    runs
}

/// Returns whether a group starts with a copy of the superblock: 0, 1 and the powers of 3, 5 and 7 (`sparse_super`).
pub(super) fn holds_superblock(group: u32) -> bool {
    let is_power = |base: u32| {
        let mut power = base;
        while power < group {
            power = power.saturating_mul(base);
        }
        power == group
    };
    group <= 1 || is_power(3) || is_power(5) || is_power(7)
}

/// Returns whether a group has a block of descriptors: with the superblock in the first 128 groups; in the first, second and
/// last of every further 128 (`ext4_bg_num_gdb`).
pub(super) fn holds_descriptors(group: u32) -> bool {
    if group < DESCRIPTORS_PER_BLOCK {
        holds_superblock(group)
    } else {
        matches!(group % DESCRIPTORS_PER_BLOCK, 0 | 1) || group % DESCRIPTORS_PER_BLOCK == DESCRIPTORS_PER_BLOCK - 1
    }
}

/// Returns the number of blocks at the start of a group for superblock and descriptors.
pub(super) fn reserved_blocks(group: u32) -> u32 {
    u32::from(holds_superblock(group)) + u32::from(holds_descriptors(group))
}

/// Allocates blocks in ascending order and skips reserved ones.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    next: u64,
}

impl Cursor {
    /// Creates a cursor after the first group's superblock and descriptors.
    pub(super) fn new() -> Self {
        Self { next: u64::from(reserved_blocks(0)) }
    }

    /// Returns the next block to be allocated.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Allocates up to `wanted` consecutive blocks, at least one; `None` when block numbers run out (16 TiB).
    pub(super) fn take(&mut self, wanted: u32) -> Option<Run> {
        let run = Run { start: u32::try_from(self.next).ok()?, length: wanted.min(self.available(wanted)) };
        self.advance(run.length);
        u32::try_from(self.next).ok().map(|_| run)
    }

    /// Allocates exactly `wanted` consecutive blocks. Skipped blocks are added to `gaps`.
    pub(super) fn take_together(&mut self, wanted: u32, gaps: &mut Vec<Run>) -> Option<Run> {
        while self.available(wanted) < wanted {
            gaps.push(self.take(wanted)?);
        }
        self.take(wanted)
    }

    /// Returns the number of blocks up to the next reserved one; counting stops at `enough`.
    fn available(&self, enough: u32) -> u32 {
        let per_group = u64::from(BLOCKS_PER_GROUP);
        let mut group = self.next / per_group + 1;
        while group * per_group - self.next < u64::from(enough) && reserved_blocks(group as u32) == 0 {
            group += 1;
        }
        u32::try_from(group * per_group - self.next).unwrap_or(u32::MAX)
    }

    fn advance(&mut self, count: u32) {
        self.next += u64::from(count);
        let per_group = u64::from(BLOCKS_PER_GROUP);
        let group = self.next / per_group;
        self.next = self.next.max(group * per_group + u64::from(reserved_blocks(group as u32)));
    }
}

/// The requested size of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// The content, and a fifth of it free, at least 64 MiB.
    #[default]
    Auto,
    /// The content alone: no free blocks or inodes, except by rounding.
    Min,
    /// The content, and this many free bytes.
    Free(u64),
    /// The content, and this percentage of it free.
    Percent(u32),
    /// Exactly this many bytes.
    Exact(u64),
}

/// The requirements of a file system.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    pub(super) size: Size,
    /// Inodes 1 to this one are in use.
    pub(super) inodes_used: u32,
    /// The requested number of inodes, if any.
    pub(super) inodes: Option<u32>,
    /// Blocks before the cursor that are free again.
    pub(super) free_blocks: u64,
    /// The number of blocks becomes a multiple of this, unless the size is exact.
    pub(super) multiple: u32,
}

/// Numbers of blocks, groups and inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) blocks: u32,
    pub(super) groups: u32,
    pub(super) inodes_per_group: u32,
}

/// A geometry, and the places of the groups' metadata.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) geometry: Geometry,
    pub(super) block_bitmaps: Vec<u32>,
    pub(super) inode_bitmaps: Vec<u32>,
    pub(super) inode_tables: Vec<u32>,
    /// Free blocks below `end`, skipped so that an inode table is contiguous.
    pub(super) gaps: Vec<Run>,
    /// From here on, all blocks except the reserved ones are free.
    pub(super) end: u64,
}

/// Why a plan is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlan {
    /// The requested size is too small; with the minimum in bytes.
    TooSmall(u64),
    /// More than 16 TiB.
    TooLarge,
    /// Fewer inodes are requested than are in use; with the minimum.
    Inodes(u32),
}

impl Geometry {
    /// Returns the blocks of a group; the last may have fewer.
    pub(super) fn blocks_in(&self, group: u32) -> u32 {
        (self.blocks - group * BLOCKS_PER_GROUP).min(BLOCKS_PER_GROUP)
    }

    /// Returns the inodes of all groups.
    pub(super) fn inodes(&self) -> u32 {
        self.groups * self.inodes_per_group
    }

    /// Returns the blocks of one inode table.
    pub(super) fn inode_table_blocks(&self) -> u32 {
        self.inodes_per_group.div_ceil(INODES_PER_BLOCK)
    }
}

/// The number of unused inodes.
#[derive(Clone, Copy)]
enum Spare {
    /// As many as mke2fs makes, and at least a quarter of those in use plus 1,024.
    Usual,
    /// A quarter of those in use plus 1,024.
    Some,
    /// Only those that fill the last block of a table.
    None,
}

impl Demand {
    /// Returns the minimum number of inodes in total, and in each group.
    fn inodes(&self, spare: Spare) -> (u64, u32) {
        let used = u64::from(self.inodes_used);
        match (self.inodes, spare) {
            (Some(all), _) => (u64::from(all), 0),
            (None, Spare::Usual) => (used + used / 4 + 1024, USUAL_INODES_PER_GROUP),
            (None, Spare::Some) => (used + used / 4 + 1024, 0),
            (None, Spare::None) => (used, 0),
        }
    }

    /// Returns the number of free blocks to add after the metadata, if `used` blocks are in use.
    fn free(&self, used: u64) -> u64 {
        let free = match self.size {
            Size::Auto => blocks(64 << 20).max(used / 5),
            Size::Free(bytes) => blocks(bytes),
            Size::Percent(percent) => used.saturating_mul(u64::from(percent)) / 100,
            Size::Min | Size::Exact(_) => 0,
        };
        free.saturating_sub(self.free_blocks)
    }
}

/// Lays out the groups' metadata after the blocks that `cursor` has allocated.
pub(super) fn plan(cursor: &Cursor, demand: &Demand) -> Result<Plan, NoPlan> {
    if demand.inodes.is_some_and(|inodes| inodes < demand.inodes_used) {
        return Err(NoPlan::Inodes(demand.inodes_used));
    }
    match demand.size {
        Size::Exact(bytes) => plan_exact(cursor, demand, bytes),
        Size::Min => plan_growing(cursor, demand, Spare::None),
        Size::Auto | Size::Free(_) | Size::Percent(_) => plan_growing(cursor, demand, Spare::Usual),
    }
}

/// Finds the smallest number of groups for the content and the free blocks: more groups need more metadata.
fn plan_growing(cursor: &Cursor, demand: &Demand, spare: Spare) -> Result<Plan, NoPlan> {
    let (inodes, usual) = demand.inodes(spare);
    let mut groups = inodes.div_ceil(u64::from(MAX_INODES_PER_GROUP)).max(1);
    loop {
        let group_count = u32::try_from(groups).map_err(|_| NoPlan::TooLarge)?;
        let inodes_per_group = inodes_per_group(group_count, inodes, usual);
        let mut plan = place(cursor.clone(), group_count, inodes_per_group).ok_or(NoPlan::TooLarge)?;
        let total = plan.end + demand.free(plan.end);
        let needed = total.div_ceil(u64::from(BLOCKS_PER_GROUP));
        if needed <= groups {
            let least = (groups - 1) * u64::from(BLOCKS_PER_GROUP) + u64::from(MIN_LAST_GROUP);
            // The size of a group is itself a multiple, so rounding does not add a group.
            let total = total.max(least).next_multiple_of(u64::from(demand.multiple.max(1)));
            plan.geometry.blocks = u32::try_from(total).map_err(|_| NoPlan::TooLarge)?;
            return Ok(plan);
        }
        groups = needed;
    }
}

fn plan_exact(cursor: &Cursor, demand: &Demand, bytes: u64) -> Result<Plan, NoPlan> {
    let mut blocks = u32::try_from(bytes / BLOCK_SIZE as u64).map_err(|_| NoPlan::TooLarge)?;
    if blocks > BLOCKS_PER_GROUP && blocks % BLOCKS_PER_GROUP < MIN_LAST_GROUP {
        blocks -= blocks % BLOCKS_PER_GROUP;
    }
    let groups = blocks.div_ceil(BLOCKS_PER_GROUP).max(1);
    // Without room for the usual number of inodes, fewer are made.
    for spare in [Spare::Usual, Spare::Some, Spare::None] {
        let (inodes, usual) = demand.inodes(spare);
        let inodes_per_group = inodes_per_group(groups, inodes, usual.min(blocks / groups / 4));
        let mut plan = place(cursor.clone(), groups, inodes_per_group).ok_or(NoPlan::TooLarge)?;
        if plan.end <= u64::from(blocks) && u64::from(plan.geometry.inodes()) >= inodes {
            plan.geometry.blocks = blocks;
            return Ok(plan);
        }
    }
    let least = plan_growing(cursor, &Demand { multiple: 1, ..*demand }, Spare::None)?;
    Err(NoPlan::TooSmall(u64::from(least.geometry.blocks) * BLOCK_SIZE as u64))
}

/// Returns the inodes of each group, rounded up to whole blocks of its table.
fn inodes_per_group(groups: u32, inodes: u64, usual: u32) -> u32 {
    let needed = u32::try_from(inodes.div_ceil(u64::from(groups))).unwrap_or(MAX_INODES_PER_GROUP);
    needed.max(usual).next_multiple_of(INODES_PER_BLOCK).min(MAX_INODES_PER_GROUP)
}

fn place(mut cursor: Cursor, groups: u32, inodes_per_group: u32) -> Option<Plan> {
    let geometry = Geometry { blocks: 0, groups, inodes_per_group };
    let mut gaps = Vec::new();
    let mut table = |blocks: u32| -> Option<Vec<u32>> {
        (0..groups).map(|_| cursor.take_together(blocks, &mut gaps).map(|run| run.start)).collect()
    };
    let (block_bitmaps, inode_bitmaps) = (table(1)?, table(1)?);
    let inode_tables = table(geometry.inode_table_blocks())?;
    Some(Plan { geometry, block_bitmaps, inode_bitmaps, inode_tables, gaps, end: cursor.next() })
}

fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_SIZE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor_at(next: u64) -> Cursor {
        let mut cursor = Cursor { next };
        cursor.advance(0);
        cursor
    }

    #[test]
    fn neighbouring_runs_are_joined() {
        let runs = [(9, 1), (2, 3), (7, 2), (20, 5), (5, 1)].map(|(start, length)| Run { start, length });
        let found: Vec<_> = joined(runs.to_vec()).iter().map(|run| (run.start, run.length)).collect();
        assert_eq!(found, [(2, 4), (7, 3), (20, 5)]);
        assert_eq!(joined(Vec::new()), []);
    }

    #[test]
    fn superblock_copies_are_at_the_places_of_mke2fs() {
        // mke2fs -n of 16 GiB: "Superblock backups stored on blocks: 32768, 98304, 163840, …, 2654208, 4096000".
        let groups: Vec<u32> = (0..128).filter(|group| holds_superblock(*group)).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
        let beyond: Vec<u32> = (128..400).filter(|group| reserved_blocks(*group) > 0).collect();
        assert_eq!(beyond, [128, 129, 243, 255, 256, 257, 343, 383, 384, 385]);
    }

    #[test]
    fn the_cursor_skips_only_reserved_blocks() {
        let mut cursor = Cursor::new();
        assert_eq!(cursor.take(40_000), Some(Run { start: 2, length: 32_766 }));
        assert_eq!(cursor.take(1), Some(Run { start: 32_770, length: 1 }));
        // Group 2 has no reserved blocks, group 3 has.
        assert_eq!(cursor.take(100_000), Some(Run { start: 32_771, length: 65_533 }));
        assert_eq!(cursor.next(), 98_306);
    }

    #[test]
    fn a_contiguous_table_leaves_a_gap_before_a_superblock_copy() {
        let mut cursor = cursor_at(32_760);
        let mut gaps = Vec::new();
        assert_eq!(cursor.take_together(512, &mut gaps), Some(Run { start: 32_770, length: 512 }));
        assert_eq!(gaps, [Run { start: 32_760, length: 8 }]);
    }

    #[test]
    fn block_numbers_end_at_16_tib() {
        let mut cursor = cursor_at(u64::from(u32::MAX) - 5);
        assert_eq!(cursor.take(10), None);
    }

    #[test]
    fn every_plan_meets_its_requirements() {
        const SIZES: [Size; 7] = [
            Size::Auto,
            Size::Min,
            Size::Free(0),
            Size::Free(1 << 30),
            Size::Percent(0),
            Size::Percent(150),
            Size::Exact(40 << 30),
        ];
        for next in [2, 1000, 32_700, 32_770, 98_000, 1_000_000, 4_100_000, 4_194_300, 9_000_000] {
            for inodes_used in [11, 9_000, 40_000, 3_000_000] {
                for size in SIZES {
                    for (inodes, multiple) in [(None, 1), (Some(inodes_used + 5_000), 1), (None, 256)] {
                        let demand = Demand { size, inodes_used, inodes, free_blocks: 0, multiple };
                        let plan = plan(&cursor_at(next), &demand).unwrap();
                        check(&plan, next, inodes.unwrap_or(inodes_used));
                        check_size(&plan, size, multiple);
                    }
                }
            }
        }
    }

    fn check_size(plan: &Plan, size: Size, multiple: u32) {
        let free = u64::from(plan.geometry.blocks) - plan.end;
        match size {
            Size::Exact(bytes) => return assert_eq!(u64::from(plan.geometry.blocks) * 4096, bytes),
            Size::Free(bytes) => assert!(free * 4096 >= bytes),
            Size::Auto => assert!(free * 4096 >= 64 << 20),
            Size::Percent(percent) => assert!(free >= plan.end * u64::from(percent) / 100),
            Size::Min => {}
        }
        assert_eq!(plan.geometry.blocks % multiple, 0);
    }

    #[test]
    fn blocks_that_are_already_free_count_as_free() {
        let plan = |free_blocks| {
            let demand = Demand { size: Size::Free(100 << 20), inodes_used: 100, free_blocks, ..Demand::default() };
            plan(&cursor_at(50_000), &demand).unwrap()
        };
        let (none, some, more) = (plan(0), plan(10_000), plan(1_000_000));
        assert_eq!(none.geometry.blocks - some.geometry.blocks, 10_000);
        assert!(u64::from(more.geometry.blocks) < more.end + 2 * u64::from(MIN_LAST_GROUP));
    }

    #[test]
    fn the_requested_number_of_inodes_is_met_or_refused() {
        let with = |inodes| plan(&cursor_at(1000), &Demand { inodes_used: 500, inodes, ..Demand::default() });
        assert_eq!(with(Some(500)).unwrap().geometry.inodes(), 512);
        assert_eq!(with(Some(100_000)).unwrap().geometry.inodes(), 100_032); // three groups' whole blocks
        assert_eq!(with(Some(499)).unwrap_err(), NoPlan::Inodes(500));
    }

    fn check(plan: &Plan, next: u64, inodes: u32) {
        let geometry = plan.geometry;
        assert!(geometry.inodes() >= inodes);
        assert_eq!(geometry.groups, geometry.blocks.div_ceil(BLOCKS_PER_GROUP));
        assert!(geometry.blocks_in(geometry.groups - 1) >= MIN_LAST_GROUP);
        assert!(plan.end <= u64::from(geometry.blocks));
        let tables = plan.inode_tables.iter().map(|start| (*start, geometry.inode_table_blocks()));
        let bitmaps = plan.block_bitmaps.iter().chain(&plan.inode_bitmaps).map(|start| (*start, 1));
        let gaps = plan.gaps.iter().map(|gap| (gap.start, gap.length));
        let mut runs: Vec<(u32, u32)> = tables.chain(bitmaps).chain(gaps).collect();
        for group in 0..geometry.groups {
            let start = group * BLOCKS_PER_GROUP;
            if u64::from(start) >= next && u64::from(start) < plan.end && reserved_blocks(group) > 0 {
                runs.push((start, reserved_blocks(group)));
            }
        }
        runs.sort_unstable();
        let mut expected = cursor_at(next).next();
        for (start, length) in runs {
            assert_eq!(u64::from(start), expected, "a gap or an overlap");
            expected += u64::from(length);
        }
        assert_eq!(cursor_at(expected).next(), plan.end);
    }

    #[test]
    fn a_size_that_is_too_small_is_refused_with_the_minimum() {
        let with = |size| plan(&cursor_at(50_000), &Demand { size, inodes_used: 500, ..Demand::default() });
        let Err(NoPlan::TooSmall(bytes)) = with(Size::Exact(100 << 20)) else { panic!("it fits") };
        assert_eq!(u64::from(with(Size::Exact(bytes)).unwrap().geometry.blocks) * 4096, bytes);
        assert_eq!(u64::from(with(Size::Min).unwrap().geometry.blocks) * 4096, bytes);
        for bytes in [bytes - 4096, 50_000 * 4096, 0] {
            assert!(matches!(with(Size::Exact(bytes)), Err(NoPlan::TooSmall(_))));
        }
    }
}
