//! Writes ext4 in one pass: file contents as they arrive, then all metadata, then the group descriptors and the superblock
//! at the start. No root, no mount, no mke2fs.
//!
//! The format is that of the kernel's Documentation/filesystems/ext4/. The features are has_journal, ext_attr, dir_index,
//! filetype, extent, flex_bg, sparse_super, large_file, huge_file, dir_nlink, extra_isize and metadata_csum. Every inode
//! table is marked as zeroed, so that the kernel has no work after the mount.
//! Left out on purpose: `resize_inode` and `64bit` (the kernel grows the file system online without them),
//! `orphan_file` (slow to mount), `sparse_super2` (prevents online growth).
//!
//! The same calls give the same bytes: the code uses no clock and no random numbers.
//!
//! - `spec`, `checksum`, `hash`: the structures and sums, byte by byte
//! - `layout`: the allocation of blocks; pure
//! - `tree`, `path`, `layer`: the namespace, the resolution of paths, and whiteouts of layers
//! - `file`, `extents`, `directory`, `attributes`: contents
//! - `disk`, `writer`: the disk file
//! - `finish`, `inodes`, `groups`, `identity`: the metadata at the end
//! - `read`, `check`, `verify`: reads the finished disk, and checks it

mod attributes;
mod check;
mod checksum;
mod directory;
mod disk;
mod error;
mod extents;
mod file;
mod finish;
mod groups;
mod hash;
mod identity;
mod inodes;
mod layer;
mod layout;
mod path;
pub mod read;
mod spec;
mod tree;
mod verify;
mod writer;

use std::collections::HashMap;
use std::fs::File;

pub use crate::archive::paths::Problem as PathProblem;
pub use error::{Error, Problem};
pub use file::FileWriter;
pub use finish::{Finish, Totals};
pub use layout::Size;
pub use verify::Difference;

use attributes::{Sets, Stored};
use disk::Disk;
pub(super) use disk::is_zero;
use error::entry;
use extents::Extent;
use layer::Layer;
use layout::{Cursor, Run};
use path::Scope;
use spec::{BLOCK_SIZE, encode_device, encode_time};
use tree::{Content, NO_NAME, Node, NodeId, Tree};

use crate::archive::paths::{self, HardLink, Key, Linker, Place, Resolver};

pub(crate) use tree::mode;

/// Bytes of a block.
pub const BLOCK_BYTES: u64 = BLOCK_SIZE as u64;

/// Targets of symbolic links shorter than this are stored in the inode.
const INLINE_TARGET: usize = 60;
/// The longest target: it fills a block with its NUL.
const MAX_TARGET: usize = BLOCK_SIZE - 1;

/// The metadata of an entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metadata<'a> {
    /// Permissions: 12 bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds after `seconds`.
    pub nanoseconds: u32,
    /// Extended attributes: full names and values, as getxattr(2) returns them.
    pub attributes: &'a [(Vec<u8>, Vec<u8>)],
}

/// A file system under construction.
pub struct Builder<'a> {
    disk: Disk<'a>,
    cursor: Cursor,
    tree: Tree,
    resolver: Resolver<NodeId>,
    /// Long targets of symbolic links, which were written to blocks of the disk.
    long_targets: HashMap<NodeId, Vec<u8>>,
    /// The time of implied directories.
    time: (u32, u32),
    extents: Vec<Extent>,
    sets: Sets,
    /// Blocks of files that were replaced.
    free: Vec<Run>,
    /// Hard links to targets that have not been added yet.
    pending: Vec<HardLink>,
    layer: Layer,
    /// Hashes of contents, if the disk will be read back.
    hashes: Option<HashMap<NodeId, u128>>,
    attributes_left_out: u64,
    times_clamped: u64,
}

impl<'a> Builder<'a> {
    /// Creates a file system with a root directory and lost+found in `file`, which must be new and empty. `time` is the time
    /// of these, and of implied directories.
    ///
    /// # Errors
    /// None in practice; the signature is the same for all steps.
    pub fn new(file: &'a File, time: i64) -> Result<Self, Error> {
        Self::new_at(file, 0, time)
    }

    /// Creates a file system that starts at byte `base` of the file.
    ///
    /// # Errors
    /// See [`Builder::new`].
    pub fn new_at(file: &'a File, base: u64, time: i64) -> Result<Self, Error> {
        let time = encode_time(time, 0);
        let mut builder = Self {
            disk: Disk::new(file, base),
            cursor: Cursor::new(),
            tree: Tree::default(),
            resolver: Resolver::default(),
            long_targets: HashMap::new(),
            time,
            extents: Vec::new(),
            sets: Sets::default(),
            free: Vec::new(),
            pending: Vec::new(),
            layer: Layer::default(),
            hashes: None,
            attributes_left_out: 0,
            times_clamped: 0,
        };
        builder.create_root_entries(time).map_err(|problem| Error::Entry { path: b"/".to_vec(), problem })?;
        Ok(builder)
    }

    fn create_root_entries(&mut self, time: (u32, u32)) -> Result<(), Problem> {
        let root = self.tree.create(Node { links: 1, ..path::directory(NodeId::ROOT, time) })?;
        let mut lost_found = path::directory(root, time);
        lost_found.mode = mode::DIRECTORY | 0o700;
        let lost_found = self.tree.create(lost_found)?;
        self.tree.link(root, b"lost+found", lost_found)
    }

    /// Adds a directory, or changes the metadata of an existing one.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn directory(&mut self, path: &[u8], metadata: Metadata) -> Result<(), Error> {
        self.enter(path, metadata, mode::DIRECTORY, |parent| Content::Directory { parent, newest: NO_NAME }).map(|_| ())
    }

    /// Adds a file of `size` bytes, whose content must be written next.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn file(&mut self, path: &[u8], metadata: Metadata, size: u64) -> Result<FileWriter<'_, 'a>, Error> {
        let node = self.enter(path, metadata, mode::FILE, |_| Content::Nothing)?;
        if size > u64::from(u32::MAX) * BLOCK_SIZE as u64 {
            return Err(entry(path, Problem::FileTooLarge));
        }
        Ok(FileWriter::new(self, node, size))
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// [`Error::Entry`], [`Error::Write`].
    pub fn symlink(&mut self, path: &[u8], metadata: Metadata, target: &[u8]) -> Result<(), Error> {
        let problem = match target {
            [] => Some(Problem::NoTarget),
            _ if target.len() > MAX_TARGET => Some(Problem::TargetTooLong),
            _ if target.contains(&0) => Some(Problem::Nul),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(entry(path, problem));
        }
        let node = self.enter(path, Metadata { mode: 0o777, ..metadata }, mode::SYMLINK, |_| Content::Nothing)?;
        self.tree.node_mut(node).size = target.len() as u64;
        self.tree.node_mut(node).content = if target.len() < INLINE_TARGET {
            let (start, length) = self.tree.store(target).map_err(|problem| entry(path, problem))?;
            Content::Target { start, length }
        } else {
            self.resolver.keep(target.len()).map_err(|problem| entry(path, problem.into()))?;
            self.long_targets.insert(node, target.to_vec());
            let mut block = [0; BLOCK_SIZE];
            block[..target.len()].copy_from_slice(target);
            self.store(&block)?
        };
        Ok(())
    }

    /// Adds a character device, or a block device.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn device(&mut self, path: &[u8], metadata: Metadata, block: bool, number: (u32, u32)) -> Result<(), Error> {
        let (major, minor) = number;
        encode_device(major, minor).ok_or_else(|| entry(path, Problem::Device))?;
        let kind = if block { mode::BLOCK_DEVICE } else { mode::CHARACTER_DEVICE };
        self.enter(path, metadata, kind, |_| Content::Device { major, minor }).map(|_| ())
    }

    /// Adds a named pipe.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn fifo(&mut self, path: &[u8], metadata: Metadata) -> Result<(), Error> {
        self.enter(path, metadata, mode::FIFO, |_| Content::Nothing).map(|_| ())
    }

    /// Adds `path` as a hard link to `target`, which may be added later.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Error> {
        self.resolver.budget().path();
        let found = self.find(target).map_err(|problem| entry(path, problem))?;
        match found {
            Some(node) => self.name(path, node),
            None => {
                // An entry with this name is replaced now, although the link is created later.
                if let Place::Name(parent, name) = self.place(path)? {
                    self.remove(parent, name);
                }
                let kept = size_of::<HardLink>() + path.len() + target.len();
                self.resolver.keep(kept).map_err(|problem| entry(path, problem.into()))?;
                self.pending.push(HardLink { path: path.to_vec(), target: target.to_vec() });
                Ok(())
            }
        }
    }

    /// Returns whether an entry exists at this path.
    pub fn exists(&mut self, path: &[u8]) -> bool {
        matches!(self.find(path), Ok(Some(_)))
    }

    fn find(&mut self, path: &[u8]) -> Result<Option<NodeId>, Problem> {
        let (resolver, mut scope) = self.scope();
        resolver.find(&mut scope, path)
    }

    /// Returns the resolver, and the names that it resolves paths in.
    fn scope(&mut self) -> (&mut Resolver<NodeId>, Scope<'_>) {
        let Self { resolver, tree, long_targets, time, .. } = self;
        (resolver, Scope { tree, long_targets, time: *time })
    }

    fn name(&mut self, path: &[u8], node: NodeId) -> Result<(), Error> {
        if self.tree.node(node).is_directory() {
            return Err(entry(path, Problem::LinkToDirectory));
        }
        let Place::Name(parent, name) = self.place(path)? else { return Err(entry(path, Problem::NamesADirectory)) };
        // The same link of a lower layer becomes one of this layer, which a whiteout of it does not hide.
        let first = self.layer.first_name;
        if self.tree.find_name(parent, name).is_some_and(|(number, found)| found == node && number >= first) {
            return Ok(());
        }
        // Keeps the target if the link replaces a directory that contains it.
        self.tree.node_mut(node).links += 1;
        self.remove(parent, name);
        self.tree.node_mut(node).links -= 1;
        self.tree.link(parent, name, node).map_err(|problem| entry(path, problem))
    }

    /// Creates pending hard links.
    fn link_pending(&mut self) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.pending);
        match paths::link_all(pending, &mut Links(self))? {
            None => Ok(()),
            Some(HardLink { path, target }) => Err(Error::LinkTarget { path, target }),
        }
    }

    /// Adds an entry at `path`, and replaces an existing one. An existing directory gets the new metadata instead.
    fn enter(
        &mut self,
        path: &[u8],
        metadata: Metadata,
        kind: u16,
        content: impl FnOnce(NodeId) -> Content,
    ) -> Result<NodeId, Error> {
        let time = encode_time(metadata.seconds, metadata.nanoseconds);
        self.times_clamped += u64::from(spec::decode_seconds(time) != metadata.seconds);
        let attributes = self.attributes(path, metadata.attributes)?;
        // With an ACL, some writers store the mask in the mode's group bits, others the group's own permissions. The kernel
        // uses the mask.
        let acl = self.sets.get(attributes).iter().find_map(Stored::permissions);
        let mode = kind | acl.map_or(metadata.mode, |permissions| metadata.mode & !0o777 | permissions);
        let place = self.place(path)?;
        let existing = match place {
            Place::Directory(node) => Some(node),
            Place::Name(parent, name) => self.tree.find(parent, name),
        };
        if let Some(node) = existing.filter(|node| self.tree.node(*node).is_directory() && kind == mode::DIRECTORY) {
            let changed = self.tree.node_mut(node);
            *changed = Node { mode, uid: metadata.uid, gid: metadata.gid, time, attributes, ..*changed };
            self.layer.describe(node);
            return Ok(node);
        }
        let Place::Name(parent, name) = place else { return Err(entry(path, Problem::NamesADirectory)) };
        if existing.is_some() {
            self.remove(parent, name);
        }
        let node = Node {
            mode,
            uid: metadata.uid,
            gid: metadata.gid,
            time,
            links: 0,
            size: 0,
            content: content(parent),
            attributes,
        };
        let node = self.tree.create(node).map_err(|problem| entry(path, problem))?;
        self.tree.link(parent, name, node).map_err(|problem| entry(path, problem))?;
        Ok(node)
    }

    fn attributes(&mut self, path: &[u8], attributes: &[(Vec<u8>, Vec<u8>)]) -> Result<u32, Error> {
        let set: Vec<Stored> = attributes.iter().filter_map(|(name, value)| Stored::new(name, value)).collect();
        self.attributes_left_out += (attributes.len() - set.len()) as u64;
        let number = self.sets.intern(set);
        if attributes::encode(self.sets.get(number)).is_none() {
            return Err(entry(path, Problem::AttributesTooLong));
        }
        Ok(number)
    }

    fn place<'p>(&mut self, path: &'p [u8]) -> Result<Place<'p, NodeId>, Error> {
        let (resolver, mut scope) = self.scope();
        resolver.place(&mut scope, path).map_err(|problem| entry(path, problem))
    }

    fn remove(&mut self, parent: NodeId, name: &[u8]) {
        self.resolver.forget();
        let (extents, free) = (&self.extents, &mut self.free);
        self.tree.unlink(parent, name, |node| free.extend(tree::runs(node, extents)));
    }

    /// Writes whole blocks at the cursor.
    fn store(&mut self, bytes: &[u8]) -> Result<Content, Error> {
        let first = self.extents.len();
        let (mut logical, mut rest) = (0, bytes);
        while !rest.is_empty() {
            let wanted = u32::try_from(rest.len() / BLOCK_SIZE).unwrap_or(u32::MAX);
            let run = self.cursor.take(wanted).ok_or(Error::TooLarge)?;
            let (now, later) = rest.split_at(run.length as usize * BLOCK_SIZE);
            self.disk.write(offset(run.start), now)?;
            extents::append(&mut self.extents, first, logical, run);
            logical += run.length;
            rest = later;
        }
        self.content_since(first)
    }

    /// Returns the extents from index `first` on as a content.
    fn content_since(&self, first: usize) -> Result<Content, Error> {
        let count = self.extents.len() - first;
        match (u32::try_from(first), u32::try_from(count)) {
            (Ok(first), Ok(count)) => Ok(Content::Extents { first, count }),
            _ => Err(Error::TooLarge),
        }
    }
}

/// The file system as a place for hard links.
struct Links<'b, 'a>(&'b mut Builder<'a>);

impl Linker for Links<'_, '_> {
    type Id = NodeId;
    type Error = Error;

    fn key(&mut self, path: &[u8]) -> Result<Option<Key<NodeId>>, Error> {
        let (parents, name) = paths::split(path);
        let (resolver, mut scope) = self.0.scope();
        match resolver.directory(&mut scope, parents) {
            Ok(directory) => Ok(directory.map(|directory| (directory, name.to_vec()))),
            Err(Problem::Path(PathProblem::NotADirectory | PathProblem::SymlinkLoop)) => Ok(None),
            Err(problem) => Err(entry(path, problem)),
        }
    }

    fn file(&self, (directory, name): &Key<NodeId>) -> Option<NodeId> {
        self.0.tree.find(*directory, name)
    }

    fn link(&mut self, path: &[u8], file: NodeId) -> Result<(), Error> {
        self.0.name(path, file)
    }
}

/// Returns the offset of a block.
fn offset(block: u32) -> u64 {
    u64::from(block) * BLOCK_SIZE as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn files_beyond_16_gib_are_placed_around_the_descriptors() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = Builder::new(file.as_file(), 0).unwrap();
        // As if 16 GiB of files had been added and removed: the next ones are in groups 127 to 129, all with descriptors.
        let start = 127 * spec::BLOCKS_PER_GROUP + 30_000;
        while builder.cursor.next() < u64::from(start) {
            let left = u64::from(start) - builder.cursor.next();
            builder.free.push(builder.cursor.take(left as u32).unwrap());
        }
        let content = vec![0x5a; 7_777_777];
        for number in 0..40 {
            let path = format!("dir{number}/file");
            let mut writer = builder.file(path.as_bytes(), Metadata::default(), content.len() as u64).unwrap();
            for piece in content.chunks(64 << 10) {
                writer.room().unwrap().copy_from_slice(piece);
                writer.keep().unwrap();
            }
            writer.close().unwrap();
        }
        let totals = builder.finish(&Finish::default()).unwrap();
        assert!(totals.image_bytes > 16 << 30);
        let output = Command::new("/sbin/e2fsck").arg("-fn").arg(file.path()).output();
        let output = output.expect("e2fsck starts; it is in e2fsprogs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.lines().count() == 6, "{text}");
    }
}
