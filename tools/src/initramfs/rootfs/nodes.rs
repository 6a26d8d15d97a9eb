//! The files of an image and their names, in a compact form: a million files take about 100 MB.
//!
//! A file has a node of a fixed size; a name has its parent's number. The bytes of all names and targets are in one buffer. The
//! index, which finds a name in a directory, contains numbers.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Problem;
use crate::archive::newc::{Kind, Meta};
use crate::archive::paths;
use crate::archive::tar::{Attribute, Content};

/// The number of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u32);

impl NodeId {
    pub(super) const ROOT: Self = Self(0);
    /// The node of a removed name.
    const NONE: Self = Self(u32::MAX);
}

/// The number of a name. The root has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NameId(u32);

impl NameId {
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// A file, as it is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) meta: Meta,
    pub(super) data: Data,
    pub(super) attributes: Vec<Attribute>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// Anything but a regular file.
    Special(Kind),
    /// A regular file of the tar.
    Stored(Content),
    /// A regular file with these bytes.
    Bytes(Vec<u8>),
}

impl Inode {
    pub(super) fn is_directory(&self) -> bool {
        self.data == Data::Special(Kind::Directory)
    }
}

/// A file, in its stored form.
struct Node {
    meta: Meta,
    /// The number of its names.
    links: u32,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    Directory {
        name: NameId,
        /// The name that was added last to it; each name has the number of the one before.
        newest: NameId,
        /// Length of its path.
        length: u16,
    },
    /// A symbolic link, whose target is in the text.
    Symlink {
        start: u32,
        length: u16,
    },
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
    /// A file that is contiguous in the tar.
    Whole {
        start: u64,
        size: u64,
    },
    /// The index of a sparse file's content.
    Sparse(u32),
    /// The index of a file's bytes.
    Bytes(u32),
}

struct Name {
    parent: NodeId,
    node: NodeId,
    /// The name that was added before it to the same directory.
    before: NameId,
    start: u32,
    length: u16,
}

/// A name in the index. Its hash is stored so that the index can grow without reading the names, which are scattered.
#[derive(Clone, Copy)]
struct Slot {
    name: u32,
    hash: u32,
}

impl Slot {
    /// Returns the hash for the index, which takes the tag of a slot from the highest bits and its place from the lowest.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

/// All files and names; see the module's documentation.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    names: Vec<Name>,
    text: Vec<u8>,
    index: HashTable<Slot>,
    hasher: DefaultHashBuilder,
    /// Data that few files have.
    sparse: Vec<Content>,
    bytes: Vec<Vec<u8>>,
    attributes: HashMap<NodeId, Vec<Attribute>>,
}

impl Nodes {
    /// Creates an image that contains only its root.
    pub(super) fn new() -> Self {
        let form = Form::Directory { name: NameId::NONE, newest: NameId::NONE, length: 0 };
        Self {
            nodes: vec![Node { meta: Meta::root(0o755), links: 1, form }],
            names: Vec::new(),
            text: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            sparse: Vec::new(),
            bytes: Vec::new(),
            attributes: HashMap::new(),
        }
    }

    /// Returns the file `name` in the directory `parent`.
    pub(super) fn find(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.find_name(parent, name).map(|found| self.name(found).node)
    }

    pub(super) fn is_directory(&self, node: NodeId) -> bool {
        matches!(self.node(node).form, Form::Directory { .. })
    }

    /// Returns the target of a symbolic link.
    pub(super) fn target(&self, node: NodeId) -> Option<&[u8]> {
        match self.node(node).form {
            Form::Symlink { start, length } => Some(self.slice(start, length)),
            _ => None,
        }
    }

    /// Returns the parent of a directory; the root is its own parent.
    pub(super) fn above(&self, directory: NodeId) -> NodeId {
        match self.node(directory).form {
            Form::Directory { name, .. } if name != NameId::NONE => self.name(name).parent,
            _ => NodeId::ROOT,
        }
    }

    /// Returns the length of the path of `name` in `directory`.
    pub(super) fn path_length(&self, directory: NodeId, name: &[u8]) -> usize {
        let length = usize::from(self.length(directory));
        length + usize::from(length > 0) + name.len()
    }

    /// Returns the number of a file's names.
    pub(super) fn links(&self, node: NodeId) -> u32 {
        self.node(node).links
    }

    /// Returns a file, without its attributes.
    pub(super) fn file(&self, node: NodeId) -> (Meta, Data) {
        let Node { meta, form, .. } = *self.node(node);
        let data = match form {
            Form::Directory { .. } => Data::Special(Kind::Directory),
            Form::Symlink { start, length } => Data::Special(Kind::Symlink(self.slice(start, length).to_vec())),
            Form::Character(major, minor) => Data::Special(Kind::Character(major, minor)),
            Form::Block(major, minor) => Data::Special(Kind::Block(major, minor)),
            Form::Fifo => Data::Special(Kind::Fifo),
            Form::Socket => Data::Special(Kind::Socket),
            Form::Whole { start, size } => Data::Stored(Content::whole(start, size)),
            Form::Sparse(number) => Data::Stored(self.sparse[number as usize].clone()),
            Form::Bytes(number) => Data::Bytes(self.bytes[number as usize].clone()),
        };
        (meta, data)
    }

    /// Returns the extended attributes of a file.
    pub(super) fn attributes(&self, node: NodeId) -> &[Attribute] {
        self.attributes.get(&node).map_or(&[], Vec::as_slice)
    }

    /// Replaces the permissions, times and attributes of a directory.
    pub(super) fn describe(&mut self, directory: NodeId, meta: Meta, attributes: Vec<Attribute>) {
        self.node_mut(directory).meta = meta;
        self.set_attributes(directory, attributes);
    }

    /// Adds a file as `name` in a directory, and replaces an existing one. The path has at most `u16::MAX` bytes.
    pub(super) fn put(&mut self, parent: NodeId, name: &[u8], inode: Inode) -> Result<NodeId, Problem> {
        let Inode { meta, data, attributes } = inode;
        let length = u16::try_from(self.path_length(parent, name)).map_err(|_| Problem::PathTooLong)?;
        let form = self.form(data, length)?;
        let id = self.number_name(parent, name)?;
        let node = match self.name(id).node {
            // The only name of the replaced file: its node is reused.
            node if node != NodeId::NONE && self.node(node).links == 1 && !self.is_directory(node) => node,
            _ => {
                let number = u32::try_from(self.nodes.len()).ok().filter(|number| *number < u32::MAX);
                let node = NodeId(number.ok_or(paths::Problem::TooLarge)?);
                self.nodes.push(Node { meta, links: 0, form });
                self.set_node(id, node);
                node
            }
        };
        let form = match form {
            Form::Directory { newest, length, .. } => Form::Directory { name: id, newest, length },
            form => form,
        };
        *self.node_mut(node) = Node { meta, links: 1, form };
        self.set_attributes(node, attributes);
        Ok(node)
    }

    /// Adds `name` in a directory as a hard link to `node`, and replaces an existing file.
    pub(super) fn link(&mut self, parent: NodeId, name: &[u8], node: NodeId) -> Result<(), Problem> {
        let id = self.number_name(parent, name)?;
        if self.name(id).node != node {
            // Counted first: the link may replace the directory that contains the last name.
            self.node_mut(node).links += 1;
            self.set_node(id, node);
        }
        Ok(())
    }

    /// Removes a name and its subtree.
    pub(super) fn remove(&mut self, parent: NodeId, name: &[u8]) {
        if let Some(id) = self.find_name(parent, name) {
            self.set_node(id, NodeId::NONE);
            self.forget(id);
        }
    }

    /// Returns the path of a name.
    pub(super) fn path(&self, name: NameId) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut at = name;
        while at != NameId::NONE {
            let Name { parent, start, length, .. } = *self.name(at);
            parts.push(self.slice(start, length));
            at = match self.node(parent).form {
                Form::Directory { name, .. } => name,
                _ => NameId::NONE,
            };
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// Calls `take` with every name, its path and its file: the root first, directories before their entries, entries sorted
    /// by name.
    pub(super) fn visit<E>(&self, mut take: impl FnMut(&[u8], NameId, NodeId) -> Result<(), E>) -> Result<(), E> {
        let mut path = Vec::new();
        take(&path, NameId::NONE, NodeId::ROOT)?;
        // The remaining names of each directory of the path; the next one is last.
        let mut pending = vec![self.children(NodeId::ROOT)];
        while let Some(names) = pending.last_mut() {
            let Some(id) = names.pop() else {
                pending.pop();
                path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            };
            let &Name { node, start, length, .. } = self.name(id);
            let before = path.len();
            if before > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(self.slice(start, length));
            take(&path, id, node)?;
            if self.is_directory(node) {
                pending.push(self.children(node));
            } else {
                path.truncate(before);
            }
        }
        Ok(())
    }

    /// Returns the names in a directory in descending order.
    fn children(&self, directory: NodeId) -> Vec<NameId> {
        let mut names: Vec<NameId> =
            self.all_in(directory).filter(|name| self.name(*name).node != NodeId::NONE).collect();
        let text = |id: &NameId| self.slice(self.name(*id).start, self.name(*id).length);
        names.sort_unstable_by(|one, other| text(other).cmp(text(one)));
        names
    }

    /// Returns all names ever added to a directory, removed ones included.
    fn all_in(&self, directory: NodeId) -> impl Iterator<Item = NameId> {
        let newest = match self.node(directory).form {
            Form::Directory { newest, .. } => newest,
            _ => NameId::NONE,
        };
        let known = |id: NameId| Some(id).filter(|id| *id != NameId::NONE);
        std::iter::successors(known(newest), move |id| known(self.name(*id).before))
    }

    fn form(&mut self, data: Data, length: u16) -> Result<Form, Problem> {
        let number = |count: usize| u32::try_from(count).map_err(|_| paths::Problem::TooLarge);
        Ok(match data {
            Data::Special(Kind::Directory) => Form::Directory { name: NameId::NONE, newest: NameId::NONE, length },
            Data::Special(Kind::Symlink(target)) => {
                let (start, length) = self.store(&target)?;
                Form::Symlink { start, length }
            }
            Data::Special(Kind::Character(major, minor)) => Form::Character(major, minor),
            Data::Special(Kind::Block(major, minor)) => Form::Block(major, minor),
            Data::Special(Kind::Fifo) => Form::Fifo,
            Data::Special(Kind::Socket) => Form::Socket,
            Data::Stored(content) => match content.piece() {
                Some((start, size)) => Form::Whole { start, size },
                None => {
                    self.sparse.push(content);
                    Form::Sparse(number(self.sparse.len() - 1)?)
                }
            },
            Data::Bytes(bytes) => {
                self.bytes.push(bytes);
                Form::Bytes(number(self.bytes.len() - 1)?)
            }
        })
    }

    fn set_attributes(&mut self, node: NodeId, attributes: Vec<Attribute>) {
        if attributes.is_empty() {
            self.attributes.remove(&node);
        } else {
            self.attributes.insert(node, attributes);
        }
    }

    /// Returns the number of a name in a directory; a new one has no file yet.
    fn number_name(&mut self, parent: NodeId, name: &[u8]) -> Result<NameId, Problem> {
        if let Some(found) = self.find_name(parent, name) {
            return Ok(found);
        }
        let number = u32::try_from(self.names.len()).ok().filter(|number| *number < u32::MAX);
        let number = number.ok_or(paths::Problem::TooLarge)?;
        let (start, length) = self.store(name)?;
        let Form::Directory { newest, .. } = &mut self.node_mut(parent).form else {
            return Err(paths::Problem::NotADirectory.into());
        };
        let before = std::mem::replace(newest, NameId(number));
        self.names.push(Name { parent, node: NodeId::NONE, before, start, length });
        let hash = self.hash(parent, name);
        self.index.insert_unique(Slot::spread(hash), Slot { name: number, hash }, |slot| Slot::spread(slot.hash));
        Ok(NameId(number))
    }

    /// Sets the file of a name. The old file loses this name; a directory is removed with its subtree.
    fn set_node(&mut self, name: NameId, node: NodeId) {
        let mut gone = vec![std::mem::replace(&mut self.name_mut(name).node, node)];
        while let Some(node) = gone.pop() {
            if node == NodeId::NONE {
                continue;
            }
            self.node_mut(node).links -= 1;
            let inside: Vec<NameId> = self.all_in(node).collect();
            for name in inside {
                let below = std::mem::replace(&mut self.name_mut(name).node, NodeId::NONE);
                if below != NodeId::NONE {
                    self.forget(name);
                    gone.push(below);
                }
            }
        }
    }

    /// Removes a name from the index.
    fn forget(&mut self, id: NameId) {
        let Name { parent, start, length, .. } = *self.name(id);
        let hash = self.hash(parent, self.slice(start, length));
        if let Ok(found) = self.index.find_entry(Slot::spread(hash), |slot| slot.name == id.0) {
            found.remove();
        }
    }

    fn find_name(&self, parent: NodeId, name: &[u8]) -> Option<NameId> {
        let hash = self.hash(parent, name);
        let is_it = |slot: &Slot| {
            let candidate = &self.names[slot.name as usize];
            slot.hash == hash && candidate.parent == parent && self.slice(candidate.start, candidate.length) == name
        };
        self.index.find(Slot::spread(hash), is_it).map(|slot| NameId(slot.name))
    }

    fn hash(&self, parent: NodeId, name: &[u8]) -> u32 {
        let mut state = self.hasher.build_hasher();
        state.write_u32(parent.0);
        state.write(name);
        state.finish() as u32 // the lower half is a good hash too
    }

    fn length(&self, directory: NodeId) -> u16 {
        match self.node(directory).form {
            Form::Directory { length, .. } => length,
            _ => 0,
        }
    }

    fn store(&mut self, bytes: &[u8]) -> Result<(u32, u16), Problem> {
        let start = u32::try_from(self.text.len()).map_err(|_| paths::Problem::TooLarge)?;
        let length = u16::try_from(bytes.len()).map_err(|_| Problem::PathTooLong)?;
        self.text.extend_from_slice(bytes);
        Ok((start, length))
    }

    fn slice(&self, start: u32, length: u16) -> &[u8] {
        &self.text[start as usize..][..usize::from(length)]
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    fn name(&self, id: NameId) -> &Name {
        &self.names[id.0 as usize]
    }

    fn name_mut(&mut self, id: NameId) -> &mut Name {
        &mut self.names[id.0 as usize]
    }
}
