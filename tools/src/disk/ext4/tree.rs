//! The namespace under construction: inodes, the names that refer to them, and an index of names by directory.
//!
//! A million files must fit into little memory: a node has a fixed size, all names are in one buffer, and the index
//! contains numbers. Paths are resolved in `super::path`.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::layout::Run;
use super::spec::MAX_NAME;
use super::{PathProblem, Problem};

/// The most hard links of a file (`EXT4_LINK_MAX`).
const MAX_LINKS: u32 = 65_000;

/// Number of a node: the order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(pub(super) u32);

impl NodeId {
    pub(super) const ROOT: Self = Self(0);
    /// The node of a removed name.
    const NONE: Self = Self(u32::MAX);
}

/// A future inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// Type and permissions, as in `st_mode`.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The time, encoded by `spec::encode_time`.
    pub(super) time: (u32, u32),
    /// The number of names of a file; 1 for a directory. 0: removed.
    pub(super) links: u32,
    pub(super) size: u64,
    pub(super) content: Content,
    /// Number of its set of extended attributes.
    pub(super) attributes: u32,
}

/// The content of a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// Nothing: a FIFO.
    Nothing,
    /// A directory, whose blocks are written at the end. `newest` is the number of its last name, or [`NO_NAME`].
    Directory { parent: NodeId, newest: u32 },
    /// Blocks: `count` extents from index `first` of the common list.
    Extents { first: u32, count: u32 },
    /// A short symbolic link: its target is at `start` of the common text.
    Target { start: u32, length: u8 },
    /// A device.
    Device { major: u32, minor: u32 },
}

/// A directory entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub(super) parent: NodeId,
    pub(super) node: NodeId,
    start: u32,
    length: u8,
    /// The number of the name added to the directory before this one, or [`NO_NAME`].
    before: u32,
}

/// The number of no name.
pub(super) const NO_NAME: u32 = u32::MAX;

/// A name in the index. Its hash is stored so that the index can grow without reading the names, which are scattered.
#[derive(Clone, Copy)]
struct Slot {
    entry: u32,
    hash: u32,
}

impl Slot {
    /// Returns the hash for the index, which takes the tag of a slot from the highest bits and its place from the lowest.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

/// The result of [`Tree::prune`].
pub(super) struct Pruned {
    /// Whether the directory still has entries.
    pub(super) left: bool,
    /// Directories below it that stay because of their entries, and have no entry in the layer.
    pub(super) undescribed: Vec<NodeId>,
}

/// All nodes and names.
#[derive(Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    names: Vec<Name>,
    text: Vec<u8>,
    index: HashTable<Slot>,
    hasher: DefaultHashBuilder,
}

/// `st_mode`'s type bits.
pub(crate) mod mode {
    pub(crate) const TYPE: u16 = 0o170_000;
    pub(crate) const FIFO: u16 = 0o010_000;
    pub(crate) const CHARACTER_DEVICE: u16 = 0o020_000;
    pub(crate) const DIRECTORY: u16 = 0o040_000;
    pub(crate) const BLOCK_DEVICE: u16 = 0o060_000;
    pub(crate) const FILE: u16 = 0o100_000;
    pub(crate) const SYMLINK: u16 = 0o120_000;
    pub(crate) const SOCKET: u16 = 0o140_000;
}

impl Node {
    pub(super) fn kind(&self) -> u16 {
        self.mode & mode::TYPE
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind() == mode::DIRECTORY
    }
}

impl Tree {
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// Returns all nodes in the order of creation, removed ones included.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the number of nodes created so far, which is the number of the next one.
    pub(super) fn node_count(&self) -> u32 {
        self.nodes.len() as u32 // bounded by `create`
    }

    /// Returns the number of names added so far, which is the number of the next one.
    pub(super) fn name_count(&self) -> u32 {
        self.names.len() as u32 // bounded by `link`
    }

    /// Returns all names that were not removed, in the order of creation.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.iter().filter(|name| name.node != NodeId::NONE)
    }

    /// Returns the bytes of a name.
    pub(super) fn text(&self, name: &Name) -> &[u8] {
        self.slice(name.start, name.length)
    }

    /// Returns the bytes stored by [`Tree::store`].
    pub(super) fn slice(&self, start: u32, length: u8) -> &[u8] {
        &self.text[start as usize..][..usize::from(length)]
    }

    /// Stores up to 255 bytes in the common text.
    pub(super) fn store(&mut self, bytes: &[u8]) -> Result<(u32, u8), Problem> {
        let length = u8::try_from(bytes.len()).map_err(|_| Problem::NameTooLong)?;
        let start = u32::try_from(self.text.len()).map_err(|_| Problem::TooMany)?;
        self.text.extend_from_slice(bytes);
        Ok((start, length))
    }

    /// Creates a node without a name.
    pub(super) fn create(&mut self, node: Node) -> Result<NodeId, Problem> {
        let id = u32::try_from(self.nodes.len()).ok().filter(|id| *id < NodeId::NONE.0).ok_or(Problem::TooMany)?;
        self.nodes.push(node);
        Ok(NodeId(id))
    }

    /// Returns the node of `name` in `parent`.
    pub(super) fn find(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.find_name(parent, name).map(|(_, node)| node)
    }

    /// Returns the number of a name in `parent`, and its node.
    pub(super) fn find_name(&self, parent: NodeId, name: &[u8]) -> Option<(u32, NodeId)> {
        let hash = self.hash(parent, name);
        let is_it = |slot: &Slot| slot.hash == hash && self.is(slot.entry, parent, name);
        let slot = self.index.find(Slot::spread(hash), is_it)?;
        Some((slot.entry, self.names[slot.entry as usize].node))
    }

    /// Adds a name for a node; `parent` must not have it yet.
    pub(super) fn link(&mut self, parent: NodeId, name: &[u8], node: NodeId) -> Result<(), Problem> {
        if name.len() > MAX_NAME {
            return Err(Problem::NameTooLong);
        }
        if name.contains(&0) {
            return Err(Problem::Nul);
        }
        if self.node(node).links >= MAX_LINKS {
            return Err(Problem::TooManyLinks);
        }
        let (start, length) = self.store(name)?;
        let entry = u32::try_from(self.names.len()).ok().filter(|entry| *entry < NO_NAME).ok_or(Problem::TooMany)?;
        let before = match &mut self.node_mut(parent).content {
            Content::Directory { newest, .. } => std::mem::replace(newest, entry),
            _ => return Err(PathProblem::NotADirectory.into()),
        };
        self.names.push(Name { parent, node, start, length, before });
        self.node_mut(node).links += 1;
        let hash = self.hash(parent, name);
        self.index.insert_unique(Slot::spread(hash), Slot { entry, hash }, |slot| Slot::spread(slot.hash));
        Ok(())
    }

    /// Removes a name; a directory with its subtree. Calls `removed` for each file without a remaining name.
    pub(super) fn unlink(&mut self, parent: NodeId, name: &[u8], mut removed: impl FnMut(&Node)) {
        let Some((entry, _)) = self.find_name(parent, name) else { return };
        let node = self.remove(entry, &mut removed);
        if !self.node(node).is_directory() {
            return;
        }
        for entry in self.subtree(node) {
            self.remove(entry, &mut removed);
        }
    }

    /// Returns the numbers of all names below a directory, each after that of its own directory.
    fn subtree(&self, directory: NodeId) -> Vec<u32> {
        let (mut found, mut directories) = (Vec::new(), vec![directory]);
        while let Some(directory) = directories.pop() {
            let Content::Directory { newest, .. } = self.node(directory).content else { continue };
            let mut entry = newest;
            while entry != NO_NAME {
                let name = &self.names[entry as usize];
                if name.node != NodeId::NONE {
                    found.push(entry);
                    if self.node(name.node).is_directory() {
                        directories.push(name.node);
                    }
                }
                entry = name.before;
            }
        }
        found
    }

    /// Removes the names below `directory` whose numbers are lower than `before`, except directories that are described
    /// (have an entry in the layer), or contain a name that stays.
    pub(super) fn prune(
        &mut self,
        directory: NodeId,
        before: u32,
        is_described: impl Fn(NodeId) -> bool,
        mut removed: impl FnMut(&Node),
    ) -> Pruned {
        let (mut undescribed, mut kept) = (Vec::new(), HashSet::new());
        for entry in self.subtree(directory).into_iter().rev() {
            let Name { parent, node, .. } = self.names[entry as usize];
            let is_directory = self.node(node).is_directory();
            // The first name is lost+found, which belongs to no layer.
            let is_old = (1..before).contains(&entry);
            let has_kept = kept.contains(&node);
            if is_old && !has_kept && !(is_directory && is_described(node)) {
                self.remove(entry, &mut removed);
                continue;
            }
            if is_old && has_kept && !is_described(node) {
                undescribed.push(node);
            }
            kept.insert(parent);
        }
        Pruned { left: kept.contains(&directory), undescribed }
    }

    fn remove(&mut self, entry: u32, removed: &mut impl FnMut(&Node)) -> NodeId {
        let name = self.names[entry as usize];
        let hash = self.hash(name.parent, self.text(&name));
        if let Ok(found) = self.index.find_entry(Slot::spread(hash), |slot| slot.entry == entry) {
            found.remove();
        }
        self.names[entry as usize].node = NodeId::NONE;
        let node = self.node_mut(name.node);
        node.links -= 1;
        if node.links == 0 {
            removed(node);
        }
        name.node
    }

    fn is(&self, entry: u32, parent: NodeId, name: &[u8]) -> bool {
        let candidate = &self.names[entry as usize];
        candidate.parent == parent && self.text(candidate) == name
    }

    fn hash(&self, parent: NodeId, name: &[u8]) -> u32 {
        let mut state = self.hasher.build_hasher();
        state.write_u32(parent.0);
        state.write(name);
        state.finish() as u32 // the lower half is a good hash too
    }
}

/// Returns the runs of a removed file, which become free.
pub(super) fn runs<'a>(node: &Node, extents: &'a [super::extents::Extent]) -> impl Iterator<Item = Run> + use<'a> {
    let range = match node.content {
        Content::Extents { first, count } => first as usize..first as usize + count as usize,
        _ => 0..0,
    };
    extents[range].iter().map(|extent| extent.run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(mode: u16, parent: NodeId) -> Node {
        let content =
            if mode == mode::DIRECTORY { Content::Directory { parent, newest: NO_NAME } } else { Content::Nothing };
        Node { mode, uid: 0, gid: 0, time: (0, 0), links: 0, size: 0, content, attributes: 0 }
    }

    fn add(tree: &mut Tree, parent: NodeId, name: &[u8], mode: u16) -> NodeId {
        let id = tree.create(node(mode, parent)).unwrap();
        tree.link(parent, name, id).unwrap();
        id
    }

    #[test]
    fn removing_a_directory_removes_its_subtree_except_files_linked_elsewhere() {
        let mut tree = Tree::default();
        let root = tree.create(node(mode::DIRECTORY, NodeId::ROOT)).unwrap();
        let top = add(&mut tree, root, b"top", mode::DIRECTORY);
        let inner = add(&mut tree, top, b"inner", mode::DIRECTORY);
        let kept = add(&mut tree, inner, b"kept", mode::FILE);
        add(&mut tree, inner, b"lost", mode::FILE);
        tree.link(root, b"other", kept).unwrap();
        let mut removed = 0;
        tree.unlink(root, b"top", |_| removed += 1);
        assert_eq!(removed, 3);
        assert_eq!(tree.node(kept).links, 1);
        assert_eq!(tree.names().map(|name| tree.text(name)).collect::<Vec<_>>(), [b"other"]);
        assert_eq!(
            (tree.find(root, b"top"), tree.find(inner, b"kept"), tree.find(root, b"other")),
            (None, None, Some(kept))
        );
    }

    #[test]
    fn names_that_a_directory_cannot_hold_are_refused() {
        let mut tree = Tree::default();
        let root = tree.create(node(mode::DIRECTORY, NodeId::ROOT)).unwrap();
        let file = tree.create(node(mode::FILE, root)).unwrap();
        assert_eq!(tree.link(root, &[b'x'; 256], file), Err(Problem::NameTooLong));
        assert_eq!(tree.link(root, b"a\0b", file), Err(Problem::Nul));
        for number in 0..MAX_LINKS {
            tree.link(root, number.to_string().as_bytes(), file).unwrap();
        }
        assert_eq!(tree.link(root, b"one more", file), Err(Problem::TooManyLinks));
    }
}
