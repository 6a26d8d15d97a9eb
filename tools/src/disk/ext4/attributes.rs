//! Extended attributes (Documentation/filesystems/ext4/attributes.rst): in the inode after its fields, as far as they fit;
//! the rest in one block.
//!
//! The prefix of a name is stored as a number. A POSIX ACL has a shorter form than that of getxattr(2).

use std::collections::HashMap;

use super::checksum::FileSystemSeed;
use super::spec::{BLOCK_SIZE, INODE_SIZE, Inode};

const MAGIC: u32 = 0xea02_0000;
const ENTRY: usize = 16;
const BLOCK_HEADER: usize = 32;
const BLOCK_CHECKSUM: usize = 16;
/// `EXT4_XATTR_INDEX_POSIX_ACL_ACCESS`.
const ACCESS_ACL: u8 = 2;
/// Bytes after the inode's fields.
const IN_INODE: usize = INODE_SIZE - Inode::ATTRIBUTES;

/// One attribute in its stored form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Stored {
    // The order of these fields is the order of entries in a block.
    index: u8,
    name_length: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// The encoded attributes of one inode.
pub(super) struct Encoded {
    /// The bytes after the inode's fields.
    pub(super) in_inode: Vec<u8>,
    /// The block, without its checksum.
    pub(super) block: Option<Box<[u8; BLOCK_SIZE]>>,
}

/// All distinct sets of attributes; many files share one.
#[derive(Default)]
pub(super) struct Sets {
    sets: Vec<Vec<Stored>>,
    numbers: HashMap<Vec<Stored>, u32>,
}

impl Sets {
    /// Adds a set, if it is new. Returns its number; 0 is the empty set.
    pub(super) fn intern(&mut self, mut set: Vec<Stored>) -> u32 {
        if set.is_empty() {
            return 0;
        }
        set.sort_unstable();
        if let Some(number) = self.numbers.get(&set) {
            return *number;
        }
        self.sets.push(set.clone());
        let number = self.sets.len() as u32; // fewer than there are inodes
        self.numbers.insert(set, number);
        number
    }

    /// Returns the set with this number.
    pub(super) fn get(&self, number: u32) -> &[Stored] {
        (number as usize).checked_sub(1).and_then(|index| self.sets.get(index)).map_or(&[], Vec::as_slice)
    }

    /// Returns all sets, for the hash of the metadata.
    pub(super) fn all(&self) -> &[Vec<Stored>] {
        &self.sets
    }
}

impl Stored {
    /// Converts an attribute with its full name; `None` if ext4 cannot store it, or an ACL is malformed.
    pub(super) fn new(full_name: &[u8], value: &[u8]) -> Option<Self> {
        const PREFIXES: [(u8, &[u8]); 4] = [(1, b"user."), (4, b"trusted."), (6, b"security."), (7, b"system.")];
        let (index, name, value) = match full_name {
            b"system.posix_acl_access" => (ACCESS_ACL, &[][..], convert_acl(value)?),
            b"system.posix_acl_default" => (3, &[][..], convert_acl(value)?),
            _ => PREFIXES.iter().find_map(|(index, prefix)| {
                let name = full_name.strip_prefix(*prefix)?;
                (!name.is_empty() && name.len() <= 255).then(|| (*index, name, value.to_vec()))
            })?,
        };
        Some(Self { index, name_length: name.len(), name: name.to_vec(), value })
    }

    /// Returns the permission bits of an access ACL; `None` for other attributes. The group's bits are the mask, if there is
    /// one (`posix_acl_equiv_mode`).
    pub(super) fn permissions(&self) -> Option<u16> {
        if self.index != ACCESS_ACL {
            return None;
        }
        let mut rest = self.value.get(4..)?;
        let (mut mode, mut mask) = (0, None);
        while let [tag, _, permissions, ..] = rest {
            let permissions = u16::from(*permissions) & 7;
            let is_named = matches!(tag, 0x02 | 0x08);
            match tag {
                0x01 => mode |= permissions << 6,
                0x04 => mode |= permissions << 3,
                0x10 => mask = Some(permissions),
                0x20 => mode |= permissions,
                _ => {}
            }
            rest = rest.get(if is_named { 8 } else { 4 }..)?;
        }
        Some(mask.map_or(mode, |mask| mode & !0o070 | mask << 3))
    }

    /// Returns prefix, name and value, for the hash of the metadata.
    pub(super) fn parts(&self) -> (u8, &[u8], &[u8]) {
        (self.index, &self.name, &self.value)
    }

    fn entry_length(&self) -> usize {
        (ENTRY + self.name.len()).next_multiple_of(4)
    }

    fn value_length(&self) -> usize {
        self.value.len().next_multiple_of(4)
    }

    /// Computes `ext4_xattr_hash_entry`: over the name, then over the value in words.
    fn hash(&self) -> u32 {
        let name = self.name.iter().fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        self.value.chunks(4).fold(name, |hash, bytes| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

/// Encodes a sorted set; `None` if it does not fit inode and block together.
pub(super) fn encode(set: &[Stored]) -> Option<Encoded> {
    let mut room = IN_INODE - 4 - 4; // the magic, and the four zeros after the last entry
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for stored in set {
        let length = stored.entry_length() + stored.value_length();
        match room.checked_sub(length) {
            Some(rest) => {
                room = rest;
                near.push(stored);
            }
            None => far.push(stored),
        }
    }
    let mut in_inode = Vec::new();
    if !near.is_empty() {
        in_inode.resize(IN_INODE, 0);
        in_inode[..4].copy_from_slice(&MAGIC.to_le_bytes());
        // Offsets count from the first entry; the hash is unused within an inode.
        put_entries(&mut in_inode[4..], 0, &near, |_| 0);
    }
    if far.is_empty() {
        return Some(Encoded { in_inode, block: None });
    }
    let length: usize = far.iter().map(|stored| stored.entry_length() + stored.value_length()).sum();
    if BLOCK_HEADER + length + 4 > BLOCK_SIZE {
        return None;
    }
    let mut block = Box::new([0; BLOCK_SIZE]);
    block[0..4].copy_from_slice(&MAGIC.to_le_bytes()); // h_magic
    block[4..8].copy_from_slice(&1_u32.to_le_bytes()); // h_refcount
    block[8..12].copy_from_slice(&1_u32.to_le_bytes()); // h_blocks
    block[12..16].copy_from_slice(&block_hash(&far).to_le_bytes()); // h_hash
    put_entries(&mut block[..], BLOCK_HEADER, &far, Stored::hash);
    Some(Encoded { in_inode, block: Some(block) })
}

/// Sets the checksum of an attribute block with the block number `number`.
pub(super) fn seal(block: &mut [u8; BLOCK_SIZE], number: u32, seed: FileSystemSeed) {
    seed.seal_attribute_block(u64::from(number), block, BLOCK_CHECKSUM);
}

/// Computes `ext4_xattr_rehash`: one entry with hash 0 gives 0, and such a block is never shared.
fn block_hash(set: &[&Stored]) -> u32 {
    let hashes = || set.iter().map(|stored| stored.hash());
    if hashes().any(|hash| hash == 0) { 0 } else { hashes().fold(0, |sum, hash| sum.rotate_left(16) ^ hash) }
}

/// Encodes `struct ext4_xattr_entry` in sequence from `at` on, and their values from the area's end downwards.
fn put_entries(area: &mut [u8], mut at: usize, set: &[&Stored], hash: impl Fn(&Stored) -> u32) {
    let mut value_at = area.len();
    for stored in set {
        value_at -= stored.value_length();
        let offset = if stored.value.is_empty() { 0 } else { value_at };
        area[at] = stored.name.len() as u8; // e_name_len: at most 255
        area[at + 1] = stored.index; // e_name_index
        area[at + 2..at + 4].copy_from_slice(&(offset as u16).to_le_bytes()); // e_value_offs: within a block
        area[at + 8..at + 12].copy_from_slice(&(stored.value.len() as u32).to_le_bytes()); // e_value_size
        area[at + 12..at + 16].copy_from_slice(&hash(stored).to_le_bytes()); // e_hash
        area[at + ENTRY..][..stored.name.len()].copy_from_slice(&stored.name);
        area[value_at..][..stored.value.len()].copy_from_slice(&stored.value);
        at += stored.entry_length();
    }
}

/// Converts `struct posix_acl_xattr_entry` (version 2: tag, permissions, id) to `struct ext4_acl_entry` (version 1: an id only
/// for named users and groups).
fn convert_acl(value: &[u8]) -> Option<Vec<u8>> {
    const XATTR_VERSION: [u8; 4] = 2_u32.to_le_bytes();
    const DISK_VERSION: [u8; 4] = 1_u32.to_le_bytes();
    let entries = value.strip_prefix(&XATTR_VERSION)?;
    if entries.len() % 8 != 0 {
        return None;
    }
    let mut stored = DISK_VERSION.to_vec();
    for entry in entries.chunks_exact(8) {
        match u16::from_le_bytes([entry[0], entry[1]]) {
            // ACL_USER_OBJ, ACL_GROUP_OBJ, ACL_MASK, ACL_OTHER
            0x01 | 0x04 | 0x10 | 0x20 => stored.extend_from_slice(&entry[..4]),
            // ACL_USER, ACL_GROUP
            0x02 | 0x08 => stored.extend_from_slice(entry),
            _ => return None,
        }
    }
    Some(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_ids_of_an_acl_are_removed() {
        let mut value = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in [(1_u16, 6_u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (0x10, 4, u32::MAX)] {
            value.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes()));
        }
        let stored = Stored::new(b"system.posix_acl_access", &value).unwrap();
        assert_eq!(Stored::new(b"user.k", &value).unwrap().permissions(), None);
        assert_eq!((stored.index, stored.name.as_slice()), (2, &b""[..]));
        assert_eq!(stored.value, b"\x01\0\0\0\x01\0\x06\0\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\x10\0\x04\0");
        assert_eq!(stored.permissions(), Some(0o640));
        value[0] = 3;
        assert!(Stored::new(b"system.posix_acl_access", &value).is_none());
        assert!(Stored::new(b"system.posix_acl_default", b"\x02\0\0\0\x01").is_none());
    }

    #[test]
    fn names_that_ext4_cannot_store_are_refused() {
        for name in [&b"user."[..], b"osx.thing", b"user", &[&b"user."[..], &[b'x'; 256]].concat()] {
            assert!(Stored::new(name, b"v").is_none(), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn a_set_is_stored_in_the_inode_or_a_block_or_refused() {
        let stored = |length: usize| vec![Stored::new(b"user.k", &vec![b'v'; length]).unwrap()];
        // 96 bytes less magic, end and an entry of 20.
        assert!(encode(&stored(68)).unwrap().block.is_none());
        let encoded = encode(&stored(69)).unwrap();
        assert!(encoded.in_inode.is_empty() && encoded.block.is_some());
        assert!(encode(&stored(4096 - 32 - 4 - 20)).is_some());
        assert!(encode(&stored(4096 - 32 - 4 - 19)).is_none());
    }

    #[test]
    fn equal_sets_have_one_number() {
        let mut sets = Sets::default();
        let [a, b] = [b"user.a", b"user.b"].map(|name| Stored::new(name, b"v").unwrap());
        let first = sets.intern(vec![a.clone(), b.clone()]);
        assert_eq!(sets.intern(vec![b.clone(), a]), first);
        assert_ne!(sets.intern(vec![b]), first);
        assert_eq!((sets.intern(Vec::new()), sets.get(0)), (0, &[][..]));
    }
}
