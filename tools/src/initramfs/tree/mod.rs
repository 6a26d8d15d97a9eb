//! The files of an initramfs before they are an archive: held by name, so that the order they came in leaves no trace.
//!
//! Files of the host are read when the archive is written. What is added later replaces what was there; the owner is
//! root, whoever runs the tool, unless another is named.

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

/// A tree of files; see the module's head.
#[derive(Default)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
    /// How many directories of the host were added.
    additions: u32,
    /// An image's files, which come behind all others: what the init needs is there when the kernel has no room for these.
    rootfs: Option<Rootfs>,
    /// What was added, in order; each node has the number of the one it came with.
    origins: Vec<String>,
    /// Archives that are copied as they are, before and behind all of these.
    before: Vec<Archive>,
    behind: Vec<Archive>,
}

/// Who owns what is added from the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// Root, whoever owns it there.
    #[default]
    Root,
    /// This user and group.
    Of(u32, u32),
    /// Who owns it there.
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
    /// A regular file made here.
    Bytes(Vec<u8>),
    /// A regular file of the host.
    Host { path: PathBuf, size: u64, identity: Option<Identity> },
}

/// What the names of one file share: addition, device, inode number. Names of two additions are never hard links: who
/// adds a file twice wants two files.
type Identity = (u32, u64, u64);

/// Why a file cannot be in the tree, or the tree not be written.
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
    #[error("\"{0}\": a name in the initramfs cannot have \"..\" in it")]
    Name(String),
    /// A file would have to be both a directory and something else.
    #[error("/{inner} cannot be there, because /{outer} is not a directory")]
    NotDirectory {
        /// What is not a directory.
        outer: String,
        /// What would be in it.
        inner: String,
    },
    /// A file where the image's go.
    #[error("/{0} cannot be there, because {path} and what describes it are the image's; put the file into the image", path = contract::path(ROOTFS))]
    Taken(String),
    /// An archive that would be copied cannot be read.
    #[error("{}: {error}", .path.display())]
    Archived {
        /// The file.
        path: PathBuf,
        /// Why.
        error: segment::ReadError,
    },
    /// A file without an archive in it.
    #[error("{}: holds no archive", .0.display())]
    NoArchive(PathBuf),
    /// The archive cannot be written, or cannot hold a file.
    #[error("{0}")]
    Archive(#[from] Refused),
}

impl Tree {
    /// Names what is added from now on, for a report.
    pub fn origin(&mut self, name: impl Into<String>) {
        self.origins.push(name.into());
    }

    /// What was added, by the names given to [`Tree::origin`].
    #[must_use]
    pub fn origins(&self) -> &[String] {
        &self.origins
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// A name that cannot be, as for every function that adds.
    pub fn directory(&mut self, name: &str, mode: u32) -> Result<(), Error> {
        self.insert(name.as_bytes(), Meta::root(mode), Content::Special(Kind::Directory))
    }

    /// Makes a character device.
    ///
    /// # Errors
    /// See [`Tree::directory`].
    pub fn character_device(&mut self, name: &str, mode: u32, major: u32, minor: u32) -> Result<(), Error> {
        self.insert(name.as_bytes(), Meta::root(mode), Content::Special(Kind::Character(major, minor)))
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// See [`Tree::directory`].
    pub fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<(), Error> {
        self.insert(name, Meta::root(0o777), Content::Special(Kind::Symlink(target.to_owned())))
    }

    /// Makes a regular file of bytes.
    ///
    /// # Errors
    /// See [`Tree::directory`].
    pub fn bytes(&mut self, name: &str, mode: u32, bytes: Vec<u8>) -> Result<(), Error> {
        self.insert(name.as_bytes(), Meta::root(mode), Content::Bytes(bytes))
    }

    /// Adds a regular file of the host, with the mode given here.
    ///
    /// # Errors
    /// See [`Tree::directory`]; a file that is not there or not regular.
    pub fn file(&mut self, name: &[u8], mode: u32, path: &Path) -> Result<(), Error> {
        let metadata = fs::metadata(path).map_err(|error| host(path, error))?;
        if !metadata.is_file() {
            return Err(host(path, io::Error::other("not a regular file")));
        }
        let content = Content::Host { path: path.to_owned(), size: metadata.len(), identity: None };
        self.insert(name, Meta::root(mode), content)
    }

    /// Makes what is not a regular file.
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

    /// Adds a file or a whole directory of the host, with the modes that it has there.
    ///
    /// A symbolic link given as `path` is followed; those inside a directory stay what they are.
    ///
    /// # Errors
    /// See [`Tree::directory`]; what cannot be read.
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

    /// Puts an archive of any compression before all of these files, as it is: the kernel looks for microcode at the start.
    ///
    /// # Errors
    /// An archive that cannot be read to its end.
    pub fn prepend(&mut self, path: &Path) -> Result<(), Error> {
        self.before.push(Archive::open(path)?);
        Ok(())
    }

    /// Puts an archive of any compression behind all of these files, as it is: what it names replaces what they are.
    ///
    /// # Errors
    /// See [`Tree::prepend`].
    pub fn append(&mut self, path: &Path) -> Result<(), Error> {
        self.behind.push(Archive::open(path)?);
        Ok(())
    }

    /// The archives before these files, and those behind them.
    pub(crate) fn archives(&self) -> (&[Archive], &[Archive]) {
        (&self.before, &self.behind)
    }

    /// The archives that are copied, with each compression in them.
    pub fn archived(&self) -> impl Iterator<Item = (&Path, Method)> {
        let archives = self.before.iter().chain(&self.behind);
        archives.flat_map(|archive| archive.methods.iter().map(|method| (archive.path.as_path(), *method)))
    }

    /// The host's files that are read when the archive is written.
    pub(crate) fn host_files(&self) -> impl Iterator<Item = &Path> {
        let own = self.nodes.values().filter_map(|node| match &node.content {
            Content::Host { path, .. } => Some(path.as_path()),
            _ => None,
        });
        own.chain(self.before.iter().chain(&self.behind).map(|archive| archive.path.as_path()))
    }

    /// Whether there is randomness in it, which is a secret.
    pub(crate) fn has_seed(&self) -> bool {
        self.nodes.contains_key(contract::relative(contract::SEED).as_bytes())
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

    /// Bytes of the files, holes included.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        let own: u64 = self.nodes.values().map(|node| node.content.bytes()).sum();
        own + self.rootfs.as_ref().map_or(0, |rootfs| rootfs.summary().content_bytes)
    }

    /// Puts an image's files below `/rootfs`, and beside it what the init is told of them.
    ///
    /// # Errors
    /// A file that is there already.
    pub fn embed(&mut self, rootfs: Rootfs) -> Result<(), Error> {
        let own = [ROOTFS, ROOTFS_NEEDS, ROOTFS_END, ROOTFS_ATTRIBUTES].map(name_of);
        let is_own =
            |name: &[u8]| name.strip_prefix(own[0]).is_some_and(|rest| rest.starts_with(b"/")) || own.contains(&name);
        // The last: before it are the directories it is in.
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

    /// The image's files, if there are any.
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
            return Ok(()); // the root itself, which the kernel has made
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

    /// Writes every file to `writer`, in the order of their names: directories before what is in them. An image's files are
    /// last.
    ///
    /// # Errors
    /// Those of reading the host's files and of the archive.
    pub fn write<W: io::Write>(&self, writer: &mut Writer<W>) -> Result<(), Error> {
        self.write_nodes(writer, |_| true)?;
        Ok(self.rootfs.as_ref().map_or(Ok(()), |rootfs| rootfs.write(writer))?)
    }

    /// Writes what came with the origin of this number alone; an image comes with the last.
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
                    // With the last name, all of the directories that the names stand in are there.
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
