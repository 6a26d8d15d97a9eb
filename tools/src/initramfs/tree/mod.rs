//! The files of an initramfs before they are written: sorted by name, so that the order of adding does not matter.
//!
//! Files of the host are read when the archive is written. A later file replaces an earlier one. The owner is root, for
//! every user of the tool, unless another is given.

mod archive;

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use whit::contract::{self, ROOTFS, ROOTFS_ATTRIBUTES, ROOTFS_END, ROOTFS_NEEDS};

pub(crate) use archive::Archive;

use crate::archive::newc::{Kind, Meta, Refused, Writer};
use crate::archive::segment;
use crate::compress::Method;
use crate::initramfs::rootfs::{Rootfs, name_of};

/// A tree of files; see the module's documentation.
#[derive(Default)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
    /// The number of additions from the host.
    additions: u32,
    /// An image's files, which follow all others: if the kernel runs out of memory, the init's files are already unpacked.
    rootfs: Option<Rootfs>,
    /// Names of the inputs, in order; each node has the number of its input.
    origins: Vec<String>,
    /// Archives that are copied before and after all files.
    before: Vec<Archive>,
    after: Vec<Archive>,
}

/// The owner of files that are added from the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// Root.
    #[default]
    Root,
    /// This user and group.
    Of(u32, u32),
    /// The owner on the host.
    Kept,
}

#[derive(Debug)]
struct Node {
    meta: Meta,
    content: Content,
    origin: usize,
}

#[derive(Debug)]
enum Content {
    /// Anything but a regular file.
    Special(Kind),
    /// A regular file with these bytes.
    Bytes(Vec<u8>),
    /// A regular file of the host.
    Host { path: PathBuf, size: u64, identity: Option<Identity> },
}

/// The identity of a file: addition, device, inode number. Names of two additions are never hard links: a file that is added
/// twice becomes two files.
type Identity = (u32, u64, u64);

/// Why a file cannot be added, or the tree cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the host cannot be read.
    #[error("{}: {error}", .path.display())]
    Host {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A name with `..` in it.
    #[error("\"{0}\": a name in the initramfs cannot contain \"..\"")]
    Name(String),
    /// A file would have to be both a directory and something else.
    #[error("/{inner} cannot be added, because /{outer} is not a directory")]
    NotDirectory {
        /// The name that is not a directory.
        outer: String,
        /// The name below it.
        inner: String,
    },
    /// A file in a place that is reserved for the image.
    #[error("/{0} cannot be added, because {path} and its metadata are reserved for the image; put the file into the image", path = contract::path(ROOTFS))]
    Taken(String),
    /// An archive to be copied cannot be read.
    #[error("{}: {error}", .path.display())]
    Archived {
        /// The file.
        path: PathBuf,
        /// Why.
        error: segment::ReadError,
    },
    /// A file that contains no archive.
    #[error("{}: contains no archive", .0.display())]
    NoArchive(PathBuf),
    /// The archive cannot be written, or cannot store a file.
    #[error("{0}")]
    Archive(#[from] Refused),
}

impl Tree {
    /// Sets the name of the following additions, for the report.
    pub fn origin(&mut self, name: impl Into<String>) {
        self.origins.push(name.into());
    }

    /// Returns the names given to [`Tree::origin`].
    #[must_use]
    pub fn origins(&self) -> &[String] {
        &self.origins
    }

    /// Adds a directory.
    ///
    /// # Errors
    /// An invalid name, as for every function that adds a file.
    pub fn directory(&mut self, name: &str, mode: u32) -> Result<(), Error> {
        self.insert(name.as_bytes(), Meta::root(mode), Content::Special(Kind::Directory))
    }

    /// Adds a character device.
    ///
    /// # Errors
    /// See [`Tree::directory`].
    pub fn character_device(&mut self, name: &str, mode: u32, major: u32, minor: u32) -> Result<(), Error> {
        self.insert(name.as_bytes(), Meta::root(mode), Content::Special(Kind::Character(major, minor)))
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// See [`Tree::directory`].
    pub fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<(), Error> {
        self.insert(name, Meta::root(0o777), Content::Special(Kind::Symlink(target.to_owned())))
    }

    /// Adds a regular file with these bytes.
    ///
    /// # Errors
    /// See [`Tree::directory`].
    pub fn bytes(&mut self, name: &str, mode: u32, bytes: Vec<u8>) -> Result<(), Error> {
        self.insert(name.as_bytes(), Meta::root(mode), Content::Bytes(bytes))
    }

    /// Adds a regular file of the host with the given mode.
    ///
    /// # Errors
    /// See [`Tree::directory`]; a file that does not exist or is not regular.
    pub fn file(&mut self, name: &[u8], mode: u32, path: &Path) -> Result<(), Error> {
        let metadata = fs::metadata(path).map_err(|error| host(path, error))?;
        if !metadata.is_file() {
            return Err(host(path, io::Error::other("not a regular file")));
        }
        let content = Content::Host { path: path.to_owned(), size: metadata.len(), identity: None };
        self.insert(name, Meta::root(mode), content)
    }

    /// Adds a file that is not regular.
    ///
    /// # Errors
    /// See [`Tree::directory`].
    pub fn node(&mut self, name: &[u8], meta: Meta, kind: Kind) -> Result<(), Error> {
        self.insert(name, meta, Content::Special(kind))
    }

    /// Adds a regular file of the host under several names, which are hard links to each other.
    ///
    /// # Errors
    /// See [`Tree::file`].
    pub fn linked_file(&mut self, names: &[&[u8]], meta: Meta, path: &Path) -> Result<(), Error> {
        let metadata = fs::metadata(path).map_err(|error| host(path, error))?;
        if !metadata.is_file() {
            return Err(host(path, io::Error::other("not a regular file")));
        }
        self.additions += 1;
        let identity = (names.len() > 1).then_some((self.additions, metadata.dev(), metadata.ino()));
        for name in names {
            let content = Content::Host { path: path.to_owned(), size: metadata.len(), identity };
            self.insert(name, meta, content)?;
        }
        Ok(())
    }

    /// Adds a file or a whole directory of the host, with its modes.
    ///
    /// A symbolic link given as `path` is followed; links inside a directory are added as links.
    ///
    /// # Errors
    /// See [`Tree::directory`]; errors of reading.
    pub fn add(&mut self, name: &[u8], path: &Path, owner: Owner) -> Result<(), Error> {
        let metadata = fs::metadata(path).map_err(|error| host(path, error))?;
        self.additions += 1;
        self.add_as(name, path, &metadata, owner)?;
        let mut pending = Vec::new();
        if metadata.is_dir() {
            pending.push((name.to_owned(), path.to_owned()));
        }
        while let Some((name, path)) = pending.pop() {
            for entry in fs::read_dir(&path).map_err(|error| host(&path, error))? {
                let entry = entry.map_err(|error| host(&path, error))?;
                let (name, path) = ([&name[..], b"/", entry.file_name().as_bytes()].concat(), entry.path());
                let metadata = entry.metadata().map_err(|error| host(&path, error))?;
                self.add_as(&name, &path, &metadata, owner)?;
                if metadata.is_dir() {
                    pending.push((name, path));
                }
            }
        }
        Ok(())
    }

    /// Copies an archive of any compression before all files: the kernel looks for microcode at the start.
    ///
    /// # Errors
    /// An archive that cannot be read to its end.
    pub fn prepend(&mut self, path: &Path) -> Result<(), Error> {
        self.before.push(Archive::open(path)?);
        Ok(())
    }

    /// Copies an archive of any compression after all files, which it can replace.
    ///
    /// # Errors
    /// See [`Tree::prepend`].
    pub fn append(&mut self, path: &Path) -> Result<(), Error> {
        self.after.push(Archive::open(path)?);
        Ok(())
    }

    /// Returns the archives before and after the files.
    pub(crate) fn archives(&self) -> (&[Archive], &[Archive]) {
        (&self.before, &self.after)
    }

    /// Returns the copied archives with each of their compressions.
    pub fn archived(&self) -> impl Iterator<Item = (&Path, Method)> {
        let archives = self.before.iter().chain(&self.after);
        archives.flat_map(|archive| archive.methods.iter().map(|method| (archive.path.as_path(), *method)))
    }

    /// Returns the host's files that are read when the archive is written.
    pub(crate) fn host_files(&self) -> impl Iterator<Item = &Path> {
        let own = self.nodes.values().filter_map(|node| match &node.content {
            Content::Host { path, .. } => Some(path.as_path()),
            _ => None,
        });
        own.chain(self.before.iter().chain(&self.after).map(|archive| archive.path.as_path()))
    }

    /// Returns whether the tree contains a random seed, which is secret.
    pub(crate) fn has_seed(&self) -> bool {
        self.has(contract::relative(contract::SEED))
    }

    /// Returns whether there is a file of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.nodes.contains_key(name.as_bytes())
    }

    /// Returns the content of a file; nothing where there is none of this name.
    pub(crate) fn content(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self.nodes.get(name.as_bytes()).map(|node| &node.content) {
            None => Ok(None),
            Some(Content::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Some(Content::Host { path, .. }) => fs::read(path).map(Some),
            Some(Content::Special(_)) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Returns the bytes of the files, holes included.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        let own: u64 = self.nodes.values().map(|node| node.content.bytes()).sum();
        own + self.rootfs.as_ref().map_or(0, |rootfs| rootfs.summary().content_bytes)
    }

    /// Adds an image's files below `/rootfs`, and their metadata for the init.
    ///
    /// # Errors
    /// A file that is already in a reserved place.
    pub fn embed(&mut self, rootfs: Rootfs) -> Result<(), Error> {
        let own = [ROOTFS, ROOTFS_NEEDS, ROOTFS_END, ROOTFS_ATTRIBUTES].map(name_of);
        let is_own =
            |name: &[u8]| name.strip_prefix(own[0]).is_some_and(|rest| rest.starts_with(b"/")) || own.contains(&name);
        // The last one: its parent directories are before it.
        if let Some(name) = self.nodes.keys().rfind(|name| is_own(name)) {
            return Err(Error::Taken(String::from_utf8_lossy(name).into_owned()));
        }
        if !rootfs.table().is_empty() {
            let origin = self.origins.len().saturating_sub(1);
            let table = Node { meta: Meta::root(0o600), content: Content::Bytes(rootfs.table().to_vec()), origin };
            self.nodes.insert(name_of(ROOTFS_ATTRIBUTES).to_vec(), table);
        }
        self.rootfs = Some(rootfs);
        Ok(())
    }

    /// Returns the image's files, if there are any.
    #[must_use]
    pub fn rootfs(&self) -> Option<&Rootfs> {
        self.rootfs.as_ref()
    }

    fn add_as(&mut self, name: &[u8], path: &Path, metadata: &Metadata, owner: Owner) -> Result<(), Error> {
        const PERMISSIONS: u32 = 0o7777;
        let kind = metadata.file_type();
        let device = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        let content = if kind.is_file() {
            let identity = Some((self.additions, metadata.dev(), metadata.ino()));
            Content::Host { path: path.to_owned(), size: metadata.len(), identity }
        } else if kind.is_dir() {
            Content::Special(Kind::Directory)
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(|error| host(path, error))?;
            Content::Special(Kind::Symlink(target.into_os_string().into_vec()))
        } else if kind.is_char_device() {
            Content::Special(Kind::Character(device.0, device.1))
        } else if kind.is_block_device() {
            Content::Special(Kind::Block(device.0, device.1))
        } else if kind.is_fifo() {
            Content::Special(Kind::Fifo)
        } else {
            Content::Special(Kind::Socket)
        };
        let (uid, gid) = match owner {
            Owner::Root => (0, 0),
            Owner::Of(uid, gid) => (uid, gid),
            Owner::Kept => (metadata.uid(), metadata.gid()),
        };
        self.insert(name, Meta { uid, gid, ..Meta::root(metadata.mode() & PERMISSIONS) }, content)
    }

    fn insert(&mut self, name: &[u8], meta: Meta, content: Content) -> Result<(), Error> {
        let components: Vec<&[u8]> =
            name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
        if components.contains(&&b".."[..]) {
            return Err(Error::Name(String::from_utf8_lossy(name).into_owned()));
        }
        let Some((_, parents)) = components.split_last() else {
            return Ok(()); // the root itself, which the kernel creates
        };
        let not_directory = |outer: &[u8], inner: &[u8]| Error::NotDirectory {
            outer: String::from_utf8_lossy(outer).into_owned(),
            inner: String::from_utf8_lossy(inner).into_owned(),
        };
        let name = components.join(&b'/');
        let origin = self.origins.len().saturating_sub(1);
        for count in 1..=parents.len() {
            let parent = parents[..count].join(&b'/');
            let directory = || Node { meta: Meta::root(0o755), content: Content::Special(Kind::Directory), origin };
            let node = self.nodes.entry(parent.clone()).or_insert_with(directory);
            if !node.is_directory() {
                return Err(not_directory(&parent, &name));
            }
        }
        let node = Node { meta, content, origin };
        if !node.is_directory() {
            let below = [&name[..], b"/"].concat();
            if let Some((inner, _)) =
                self.nodes.range(below.clone()..).next().filter(|(next, _)| next.starts_with(&below))
            {
                return Err(not_directory(&name, inner));
            }
        }
        self.nodes.insert(name, node);
        Ok(())
    }

    /// Writes all files to `writer`, sorted by name, so directories precede their entries. An image's files are last.
    ///
    /// # Errors
    /// Errors of reading the host's files and of the archive.
    pub fn write<W: io::Write>(&self, writer: &mut Writer<W>) -> Result<(), Error> {
        self.write_nodes(writer, |_| true)?;
        Ok(self.rootfs.as_ref().map_or(Ok(()), |rootfs| rootfs.write(writer))?)
    }

    /// Writes only the files of one input; an image belongs to the last one.
    pub(crate) fn write_origin<W: io::Write>(&self, origin: usize, writer: &mut Writer<W>) -> Result<(), Error> {
        self.write_nodes(writer, |node| node.origin == origin)?;
        match &self.rootfs {
            Some(rootfs) if origin + 1 == self.origins.len() => Ok(rootfs.write(writer)?),
            _ => Ok(()),
        }
    }

    fn write_nodes<W: io::Write>(
        &self,
        writer: &mut Writer<W>,
        is_wanted: impl Fn(&Node) -> bool,
    ) -> Result<(), Error> {
        let mut links: BTreeMap<Identity, Vec<&[u8]>> = BTreeMap::new();
        for (name, node) in self.nodes.iter().filter(|(_, node)| is_wanted(node)) {
            if let Content::Host { identity: Some(identity), .. } = node.content {
                links.entry(identity).or_default().push(name);
            }
        }
        for (name, node) in self.nodes.iter().filter(|(_, node)| is_wanted(node)) {
            match &node.content {
                Content::Special(kind) => writer.node(name, node.meta, kind)?,
                Content::Bytes(bytes) => writer.file(&[name], node.meta, bytes.len() as u64, bytes.as_slice())?,
                Content::Host { path, size, identity } => {
                    let alone = [name.as_slice()];
                    let names = identity.and_then(|identity| links.get(&identity)).map_or(&alone[..], Vec::as_slice);
                    // At the last name, the directories of all names are written.
                    if names.last() == Some(&name.as_slice()) {
                        let open = || File::open(path);
                        writer.file_of(names, node.meta, *size, open).map_err(|error| match error {
                            Refused::Read { error, .. } => host(path, error),
                            other => other.into(),
                        })?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Content {
    fn bytes(&self) -> u64 {
        match self {
            Self::Special(_) => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Host { size, .. } => *size,
        }
    }
}

impl Node {
    fn is_directory(&self) -> bool {
        matches!(self.content, Content::Special(Kind::Directory))
    }
}

fn host(path: &Path, error: io::Error) -> Error {
    Error::Host { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests;
