//! The last step: writes all metadata that is known only after the last file.

use std::collections::HashMap;

use super::attributes;
use super::checksum::FileSystemSeed;
use super::directory::{self, Child, Identity as DirectoryIdentity};
use super::error::entry;
use super::extents::{self, encode_tree};
use super::groups::Groups;
use super::identity::{self, Identity};
use super::inodes::{Journal, Outside, file_type};
use super::layout::{Demand, NoPlan, joined, plan};
use super::spec::{BLOCK_SIZE, FIRST_INODE, FileType, JOURNAL_INODE, ROOT_INODE, encode_journal_superblock};
use super::tree::{Content, Name, NodeId, mode};
use super::{Builder, Error, Problem, Size, offset};

/// The kernel's minimum (`JBD2_MIN_JOURNAL_BLOCKS`), 4 MiB, which is enough for a machine's root.
const JOURNAL_BLOCKS: u32 = 1024;

/// The options of the file system.
#[derive(Clone, Copy, Debug)]
pub struct Finish {
    /// Its size.
    pub size: Size,
    /// The number of blocks becomes a multiple of this, unless the size is exact.
    pub multiple: u32,
    /// The number of inodes; by default more than are in use.
    pub inodes: Option<u32>,
    /// Whether it has a journal.
    pub has_journal: bool,
    /// Its UUID; derived from the metadata if none.
    pub uuid: Option<[u8; 16]>,
    /// Its label, padded with NULs.
    pub label: [u8; 16],
    /// Its creation time, in seconds since 1970.
    pub time: u32,
    /// Whether it is read back and compared with the input. Contents are compared only if
    /// [`Builder::record_contents`] was called before they were added.
    pub is_verified: bool,
}

impl Default for Finish {
    fn default() -> Self {
        Self {
            size: Size::Auto,
            multiple: 1,
            inodes: None,
            has_journal: true,
            uuid: None,
            label: [0; 16],
            time: 0,
            is_verified: false,
        }
    }
}

/// Counts of the finished file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Directories, with the root and lost+found.
    pub directories: u64,
    /// Everything else.
    pub others: u64,
    /// Bytes of the files' content, holes included.
    pub content_bytes: u64,
    /// Length of the disk in bytes.
    pub image_bytes: u64,
    /// Extended attributes that ext4 cannot store.
    pub attributes_left_out: u64,
    /// Times before 1901-12-13 or after 2446-05-10, which were clamped to these days.
    pub times_clamped: u64,
    /// The file system's UUID.
    pub uuid: [u8; 16],
}

/// Inode numbers by node (0 for removed ones), and nodes by number: root, lost+found, then the order of creation.
pub(super) struct Numbering {
    pub(super) by_node: Vec<u32>,
    pub(super) order: Vec<NodeId>,
}

impl Numbering {
    /// Returns the highest inode number in use.
    fn last(&self) -> u32 {
        FIRST_INODE + self.order.len() as u32 - 2 // the root has a reserved number; nodes are counted by u32
    }

    fn node(&self, number: u32) -> Option<NodeId> {
        match number {
            ROOT_INODE => Some(NodeId::ROOT),
            _ => self.order.get(number.checked_sub(FIRST_INODE)? as usize + 1).copied(),
        }
    }
}

impl Builder<'_> {
    /// Writes all metadata and sets the file's length.
    ///
    /// # Errors
    /// A hard link without a target; a size that is too small; errors of writing; a failed verification.
    pub fn finish(mut self, finish: &Finish) -> Result<Totals, Error> {
        let (totals, numbers) = self.write_metadata(finish)?;
        if finish.is_verified {
            self.verify(&numbers)?;
        }
        Ok(totals)
    }

    pub(super) fn write_metadata(&mut self, finish: &Finish) -> Result<(Totals, Numbering), Error> {
        self.link_pending()?;
        self.disk.end_of_contents()?;
        let numbers = self.number();
        let identity = identity::derive(&self.tree, &self.extents, &self.sets, &finish.label, finish.uuid);
        let seed = FileSystemSeed::new(identity.uuid);
        self.write_directories(&numbers, identity, seed)?;
        let outside = self.write_outside(&numbers, seed)?;
        let journal = if finish.has_journal { Some(self.write_journal(identity, seed)?) } else { None };

        // All contents are written. The location of the groups' metadata can be computed.
        let demand = Demand {
            size: finish.size,
            inodes_used: numbers.last(),
            inodes: finish.inodes,
            free_blocks: self.free.iter().map(|run| u64::from(run.length)).sum(),
            multiple: finish.multiple,
        };
        let plan = plan(&self.cursor, &demand).map_err(|error| match error {
            NoPlan::TooSmall(bytes) => Error::TooSmall(bytes),
            NoPlan::TooLarge => Error::TooLarge,
            NoPlan::Inodes(inodes) => Error::TooFewInodes(inodes),
        })?;
        self.free = joined(std::mem::take(&mut self.free));
        self.disk.release(&self.free)?;
        self.free.extend(&plan.gaps);
        self.free.sort_unstable();
        let mut groups = Groups::new(&plan, numbers.last(), seed);
        groups.write_block_bitmaps(&mut self.disk, &self.free)?;
        groups.write_inode_bitmaps(&mut self.disk)?;
        self.write_inodes(&mut groups, &numbers, &outside, journal.as_ref(), seed, finish.time)?;
        groups.write_descriptors(&mut self.disk)?;
        groups.write_superblocks(&mut self.disk, identity, finish, journal.as_ref())?;

        let length = match finish.size {
            Size::Exact(bytes) => bytes,
            _ => u64::from(plan.geometry.blocks) * BLOCK_SIZE as u64,
        };
        self.disk.finish(length)?;
        let totals = self.totals(&numbers, length, identity);
        Ok((totals, numbers))
    }

    fn totals(&self, numbers: &Numbering, image_bytes: u64, identity: Identity) -> Totals {
        let of_kind = |kind| numbers.order.iter().map(|id| self.tree.node(*id)).filter(move |node| node.kind() == kind);
        let (files, directories) = (of_kind(mode::FILE).count() as u64, of_kind(mode::DIRECTORY).count() as u64);
        Totals {
            files,
            directories,
            others: numbers.order.len() as u64 - files - directories,
            content_bytes: of_kind(mode::FILE).map(|node| node.size).sum(),
            image_bytes,
            attributes_left_out: self.attributes_left_out,
            times_clamped: self.times_clamped,
            uuid: identity.uuid,
        }
    }

    fn number(&self) -> Numbering {
        let mut order = Vec::new();
        let mut next = FIRST_INODE;
        let number = |(id, node): (u32, &super::Node)| {
            if node.links == 0 {
                return 0;
            }
            order.push(NodeId(id));
            if NodeId(id) == NodeId::ROOT {
                return ROOT_INODE;
            }
            next += 1;
            next - 1
        };
        let by_node = (0..).zip(self.tree.nodes()).map(number).collect();
        Numbering { by_node, order }
    }

    /// Writes all directories with their entries, and counts their links.
    fn write_directories(
        &mut self,
        numbers: &Numbering,
        identity: Identity,
        seed: FileSystemSeed,
    ) -> Result<(), Error> {
        let mut names: Vec<Name> = self.tree.names().copied().collect();
        names.sort_by_key(|name| name.parent.0); // stable: the order of creation stays
        let mut blocks = Vec::new();
        let mut rest = names.as_slice();
        for (id, number) in (0..).map(NodeId).zip(&numbers.by_node) {
            let Content::Directory { parent, .. } = self.tree.node(id).content else { continue };
            if *number == 0 {
                continue;
            }
            let (own, others) = rest.split_at(rest.partition_point(|name| name.parent.0 <= id.0));
            rest = others;
            let child = |name: &Name| Child {
                name: self.tree.text(name),
                inode: numbers.by_node[name.node.0 as usize],
                file_type: file_type(self.tree.node(name.node)),
            };
            let children: Vec<Child> = own.iter().map(child).collect();
            let itself = DirectoryIdentity {
                inode: *number,
                parent: numbers.by_node[parent.0 as usize],
                seed: seed.inode(*number),
                hash_seed: identity.hash_seed,
            };
            if !directory::encode(itself, &children, &mut blocks) {
                let one_of_them = children.first().map_or(&b""[..], |child| child.name);
                return Err(entry(one_of_them, Problem::DirectoryTooLarge));
            }
            let inner = children.iter().filter(|child| child.file_type == FileType::Directory).count();
            let content = self.store(&blocks)?;
            let node = self.tree.node_mut(id);
            node.links = 2 + inner as u32; // its name, `.`, and the `..` of each subdirectory
            node.size = blocks.len() as u64;
            node.content = content;
        }
        Ok(())
    }

    /// Writes extent trees that do not fit their inodes, and attribute blocks.
    fn write_outside(&mut self, numbers: &Numbering, seed: FileSystemSeed) -> Result<Outside, Error> {
        let mut outside = Outside { trees: HashMap::new(), attributes: HashMap::new() };
        for id in &numbers.order {
            let node = *self.tree.node(*id);
            if let Content::Extents { first, count } = node.content
                && count as usize > extents::IN_INODE
            {
                let own: Vec<_> = self.extents[first as usize..][..count as usize].to_vec();
                let seed = seed.inode(numbers.by_node[id.0 as usize]);
                let tree = encode_tree(&own, seed, |block| self.store_block(block))?;
                outside.trees.insert(*id, tree);
            }
            let encoded = attributes::encode(self.sets.get(node.attributes));
            if let Some(mut block) = encoded.and_then(|encoded| encoded.block) {
                let run = self.cursor.take(1).ok_or(Error::TooLarge)?;
                attributes::seal(&mut block, run.start, seed);
                self.disk.write(offset(run.start), &block[..])?;
                outside.attributes.insert(*id, run.start);
            }
        }
        Ok(outside)
    }

    /// Writes an empty journal: its first block. The others are holes, and so zeros.
    fn write_journal(&mut self, identity: Identity, seed: FileSystemSeed) -> Result<Journal, Error> {
        let mut own = Vec::new();
        let mut logical = 0;
        while logical < JOURNAL_BLOCKS {
            let run = self.cursor.take(JOURNAL_BLOCKS - logical).ok_or(Error::TooLarge)?;
            if logical == 0 {
                let superblock = encode_journal_superblock(JOURNAL_BLOCKS, identity.uuid);
                self.disk.write(offset(run.start), &superblock)?;
            }
            extents::append(&mut own, 0, logical, run);
            logical += run.length;
        }
        let (block, tree_blocks) = encode_tree(&own, seed.inode(JOURNAL_INODE), |block| self.store_block(block))?;
        Ok(Journal { block, blocks: JOURNAL_BLOCKS, tree_blocks })
    }

    fn store_block(&mut self, block: &[u8; BLOCK_SIZE]) -> Result<u32, Error> {
        let run = self.cursor.take(1).ok_or(Error::TooLarge)?;
        self.disk.write(offset(run.start), block)?;
        Ok(run.start)
    }

    /// Writes the used part of the inode tables; reserved inodes stay zeros.
    fn write_inodes(
        &mut self,
        groups: &mut Groups,
        numbers: &Numbering,
        outside: &Outside,
        journal: Option<&Journal>,
        seed: FileSystemSeed,
        time: u32,
    ) -> Result<(), Error> {
        for number in ROOT_INODE..=numbers.last() {
            let bytes = match (numbers.node(number), journal) {
                (Some(id), _) => {
                    if self.tree.node(id).is_directory() {
                        groups.count_directory(number);
                    }
                    self.encode_inode(id, outside, seed.inode(number))
                }
                (None, Some(journal)) if number == JOURNAL_INODE => journal.encode(time, seed.inode(number)),
                (None, _) => continue,
            };
            self.disk.write(groups.inode_offset(number), &bytes)?;
        }
        Ok(())
    }
}
