//! Reads extended attributes: after an inode's fields, and in its block.

use super::{Damage, Error, FileSystem, Inode, number};

const MAGIC: u64 = 0xea02_0000;
const BLOCK_HEADER: usize = 32;

/// One attribute in its stored form: the number of its prefix, the rest of its name, its value.
pub(in crate::disk::ext4) type Raw = (u8, Vec<u8>, Vec<u8>);

impl FileSystem<'_> {
    /// Returns all attributes of an inode in their stored form.
    pub(in crate::disk::ext4) fn raw_attributes(&self, inode: &Inode) -> Result<Vec<Raw>, Error> {
        let damaged = || Error::Damaged(Damage::Attributes(inode.number));
        let mut attributes = Vec::new();
        if inode.tail.len() >= 4 && number(&inode.tail, 0, 4) == MAGIC {
            // Offsets of values count from the first entry.
            parse(&inode.tail[4..], 0, &mut attributes).ok_or_else(damaged)?;
        }
        if inode.attribute_block != 0 {
            let block_size = self.superblock().block_size;
            let mut block = vec![0; block_size as usize]; // at most 64 KiB
            self.read_at(inode.attribute_block * block_size, &mut block)?;
            if number(&block, 0, 4) != MAGIC {
                return Err(damaged());
            }
            parse(&block, BLOCK_HEADER, &mut attributes).ok_or_else(damaged)?;
        }
        Ok(attributes)
    }
}

/// Parses a sequence of `struct ext4_xattr_entry`, up to four zeros.
fn parse(area: &[u8], mut at: usize, attributes: &mut Vec<Raw>) -> Option<()> {
    while number(area.get(at..at + 4)?, 0, 4) != 0 {
        let entry = area.get(at..at + 16)?;
        let (offset, size) = (number(entry, 2, 2) as usize, number(entry, 8, 4) as usize);
        let name = area.get(at + 16..at + 16 + usize::from(entry[0]))?;
        let value = if size == 0 { &[] } else { area.get(offset..offset.checked_add(size)?)? };
        attributes.push((entry[1], name.to_vec(), value.to_vec()));
        at += (16 + name.len()).next_multiple_of(4);
    }
    Some(())
}
