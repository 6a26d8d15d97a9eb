//! The files of an initramfs before they are an archive: held by name, so that the order they came in leaves no trace.
//!
//! Files of the host are read when the archive is written. What is added later replaces what was there; the owner is
//! always root, whoever runs the tool.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use whit::embedded;

use crate::newc::{Kind, Meta, Refused, Writer};
use crate::rootfs::{Rootfs, name_of};

/// A tree of files; see the module's head.
#[derive(Default)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
    /// How many directories of the host were added.
    additions: u32,
    /// An image's files, which come behind all others: what the init needs is there when the kernel has no room for these.
    rootfs: Option<Rootfs>,
}

#[derive(Debug)]
struct Node {
    meta: Meta,
    content: Content,
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
    #[error("/{0} cannot be there, because /rootfs and what describes it are the image's; put the file into the image")]
    Taken(String),
    /// The archive cannot be written, or cannot hold a file.
    #[error("{0}")]
    Archive(#[from] Refused),
}

impl Tree {
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

    /// Adds a file or a whole directory of the host, with the modes that it has there.
    ///
    /// A symbolic link given as `path` is followed; those inside a directory stay what they are.
    ///
    /// # Errors
    /// See [`Tree::directory`]; what cannot be read.
    pub fn add(&mut self, name: &[u8], path: &Path) -> Result<(), Error> {
        let metadata = fs::metadata(path).map_err(|error| host(path, error))?;
        self.additions += 1;
        self.add_as(name, path, &metadata)?;
        let mut pending = Vec::new();
        if metadata.is_dir() {
            pending.push((name.to_owned(), path.to_owned()));
        }
        while let Some((name, path)) = pending.pop() {
            for entry in fs::read_dir(&path).map_err(|error| host(&path, error))? {
                let entry = entry.map_err(|error| host(&path, error))?;
                let (name, path) = ([&name[..], b"/", entry.file_name().as_bytes()].concat(), entry.path());
                let metadata = entry.metadata().map_err(|error| host(&path, error))?;
                self.add_as(&name, &path, &metadata)?;
                if metadata.is_dir() {
                    pending.push((name, path));
                }
            }
        }
        Ok(())
    }

    /// Puts an image's files below `/rootfs`, and beside it what the init is told of them.
    ///
    /// # Errors
    /// A file that is there already.
    pub fn embed(&mut self, rootfs: Rootfs) -> Result<(), Error> {
        let own = [embedded::ROOT, embedded::NEEDS, embedded::END, embedded::ATTRIBUTES].map(name_of);
        let is_own =
            |name: &[u8]| name.strip_prefix(own[0]).is_some_and(|rest| rest.starts_with(b"/")) || own.contains(&name);
        // The last: before it are the directories it is in.
        if let Some(name) = self.nodes.keys().rfind(|name| is_own(name)) {
            return Err(Error::Taken(String::from_utf8_lossy(name).into_owned()));
        }
        if !rootfs.table().is_empty() {
            let table = Node { meta: Meta::root(0o600), content: Content::Bytes(rootfs.table().to_vec()) };
            self.nodes.insert(name_of(embedded::ATTRIBUTES).to_vec(), table);
        }
        self.rootfs = Some(rootfs);
        Ok(())
    }

    /// The image's files, if there are any.
    #[must_use]
    pub fn rootfs(&self) -> Option<&Rootfs> {
        self.rootfs.as_ref()
    }

    fn add_as(&mut self, name: &[u8], path: &Path, metadata: &Metadata) -> Result<(), Error> {
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
        self.insert(name, Meta::root(metadata.mode() & PERMISSIONS), content)
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
        for count in 1..=parents.len() {
            let parent = parents[..count].join(&b'/');
            let directory = || Node { meta: Meta::root(0o755), content: Content::Special(Kind::Directory) };
            let node = self.nodes.entry(parent.clone()).or_insert_with(directory);
            if !node.is_directory() {
                return Err(not_directory(&parent, &name));
            }
        }
        let node = Node { meta, content };
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
        let mut links: BTreeMap<Identity, Vec<&[u8]>> = BTreeMap::new();
        for (name, node) in &self.nodes {
            if let Content::Host { identity: Some(identity), .. } = node.content {
                links.entry(identity).or_default().push(name);
            }
        }
        for (name, node) in &self.nodes {
            match &node.content {
                Content::Special(kind) => writer.node(name, node.meta, kind)?,
                Content::Bytes(bytes) => writer.file(&[name], node.meta, bytes.len() as u64, bytes.as_slice())?,
                Content::Host { path, size, identity } => {
                    let alone = [name.as_slice()];
                    let names = identity.and_then(|identity| links.get(&identity)).map_or(&alone[..], Vec::as_slice);
                    // With the last name, all of the directories that the names stand in are there.
                    if names.last() == Some(&name.as_slice()) {
                        let file = File::open(path).map_err(|error| host(path, error))?;
                        writer.file(names, node.meta, *size, file)?;
                    }
                }
            }
        }
        Ok(self.rootfs.as_ref().map_or(Ok(()), |rootfs| rootfs.write(writer))?)
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
mod tests {
    use super::*;
    use crate::newc;

    fn archive(tree: &Tree) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), 0);
        tree.write(&mut writer).unwrap();
        writer.finish().unwrap().out
    }

    /// `name mode nlink data` of each entry.
    fn listing(tree: &Tree) -> Vec<String> {
        newc::entries(&archive(tree))
            .map(Result::unwrap)
            .map(|entry| {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                format!("{} {:o} {} {}", text(entry.name), entry.mode, entry.nlink, text(entry.data))
            })
            .collect()
    }

    #[test]
    fn parents_come_first_and_order_of_adding_leaves_no_trace() {
        let mut one = Tree::default();
        one.bytes("/usr/lib/a", 0o644, b"A".to_vec()).unwrap();
        one.directory("usr", 0o700).unwrap();
        let mut other = Tree::default();
        other.directory("./usr/", 0o700).unwrap();
        other.bytes("usr//lib/./a", 0o644, b"A".to_vec()).unwrap();
        assert_eq!(listing(&one), ["usr 40700 2 ", "usr/lib 40755 2 ", "usr/lib/a 100644 1 A"]);
        assert_eq!(archive(&one), archive(&other));
    }

    #[test]
    fn what_comes_later_replaces() {
        let mut tree = Tree::default();
        tree.symlink(b"a", b"b").unwrap();
        tree.bytes("a", 0o600, b"now".to_vec()).unwrap();
        assert_eq!(listing(&tree), ["a 100600 1 now"]);
    }

    #[test]
    fn a_file_cannot_be_both_directory_and_not() {
        let mut tree = Tree::default();
        tree.bytes("bin/sh", 0o755, Vec::new()).unwrap();
        tree.bytes("bin-x", 0o755, Vec::new()).unwrap();
        assert!(matches!(tree.symlink(b"bin", b"usr/bin"), Err(Error::NotDirectory { .. })));
        assert!(matches!(tree.bytes("bin/sh/x", 0o755, Vec::new()), Err(Error::NotDirectory { .. })));
        assert!(matches!(tree.directory("a/../../b", 0o755), Err(Error::Name(_))));
        assert!(tree.directory("bin", 0o700).is_ok());
    }

    #[test]
    fn a_directory_of_the_host_keeps_links_and_modes() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let source = tempfile::tempdir().unwrap();
        let at = |name: &str| source.path().join(name);
        fs::create_dir(at("z")).unwrap();
        fs::write(at("a"), "same").unwrap();
        fs::hard_link(at("a"), at("z/b")).unwrap();
        symlink("a", at("link")).unwrap();
        for (name, mode) in [("a", 0o4711), ("z", 0o1777), ("", 0o750)] {
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o620.into(), 0).unwrap();
        let mut tree = Tree::default();
        tree.add(b"data", source.path()).unwrap();
        let mode = fs::metadata(at("pipe")).unwrap().mode();
        assert_eq!(
            listing(&tree),
            [
                "data 40750 2 ".to_owned(),
                "data/link 120777 1 a".to_owned(),
                format!("data/pipe {mode:o} 1 "),
                "data/z 41777 2 ".to_owned(),
                "data/a 104711 2 ".to_owned(),
                "data/z/b 104711 2 same".to_owned(),
            ]
        );
        let mut merged = Tree::default();
        merged.add(b"/", source.path()).unwrap();
        merged.add(b"copy", &at("link")).unwrap();
        assert!(
            listing(&merged).contains(&"copy 104711 1 same".to_owned()),
            "the link was followed, the file is another"
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let mut tree = Tree::default();
        let error = tree.add(b"x", Path::new("/nowhere/x")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/x: No such file"), "{error}");
        let error = tree.file(b"x", 0o644, Path::new("/")).unwrap_err().to_string();
        assert_eq!(error, "/: not a regular file");
    }
}
