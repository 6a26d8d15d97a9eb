//! Derives the UUID and the hash seed from the metadata: the same files give the same disk.
//!
//! Of contents, only location and length are hashed: reading them again would cost as much as writing them. SipHash with a
//! known key does not resist an attacker; it only has to distinguish disks.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::attributes::Sets;
use super::extents::Extent;
use super::tree::{Content, Tree};

/// The identifiers of a file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) uuid: [u8; 16],
    pub(super) hash_seed: [u8; 16],
}

/// Derives an identity; a given UUID is kept.
pub(super) fn derive(
    tree: &Tree,
    extents: &[Extent],
    sets: &Sets,
    label: &[u8; 16],
    uuid: Option<[u8; 16]>,
) -> Identity {
    let mut state = SipHasher13::new();
    state.write(label);
    for node in tree.nodes() {
        for number in [u32::from(node.mode), node.uid, node.gid, node.time.0, node.time.1, node.links, node.attributes]
        {
            state.write_u32(number.to_le());
        }
        state.write_u64(node.size.to_le());
        let (kind, one, two) = match node.content {
            Content::Nothing => (0, 0, 0),
            Content::Directory { parent, .. } => (1, parent.0, 0),
            Content::Extents { first, count } => (2, first, count),
            Content::Target { start, length } => (3, start, u32::from(length)),
            Content::Device { major, minor } => (4, major, minor),
        };
        state.write(&[kind]);
        state.write_u32(u32::to_le(one));
        state.write_u32(u32::to_le(two));
    }
    for name in tree.names() {
        state.write_u32(name.parent.0.to_le());
        state.write_u32(name.node.0.to_le());
        state.write(tree.text(name));
        state.write(&[0]);
    }
    for extent in extents {
        for number in [extent.logical, extent.run.start, extent.run.length] {
            state.write_u32(number.to_le());
        }
    }
    for (index, name, value) in sets.all().iter().flatten().map(|stored| stored.parts()) {
        state.write(&[index, name.len() as u8]); // at most 255
        state.write(name);
        state.write_u32((value.len() as u32).to_le());
        state.write(value);
    }
    let derived = state.finish128().as_bytes();
    state.write(b"hash seed");
    let hash_seed = state.finish128().as_bytes();
    Identity { uuid: uuid.unwrap_or_else(|| custom_uuid(derived)), hash_seed }
}

/// Makes a version 8 UUID (RFC 9562 §5.8), with 122 custom bits.
fn custom_uuid(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}
