//! Inspects a disk: its superblock, its run record, its tree, a file.
//!
//! There are two readers, both independent of the writer. ext4-view reads a file's content: it supports file systems of
//! other programs and replays some journals. The tree is read by `ext4::read`, which returns all fields of an inode. Each
//! replaces the other for features that the other does not support.

mod report;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ext4_view::{Ext4, Ext4Read, FileType};

use crate::cli::listing::Entry;
use crate::cli::path::shown;
use crate::disk::ext4::mode;
use crate::disk::ext4::read::{self, FileSystem, Superblock};
use crate::disk::gpt::{self, Partition};
use crate::machine::Machine;

pub use report::report;

/// Each level takes a part of the stack.
const MAX_DEPTH: usize = 2048;

/// Why a disk cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// An error of `ext4::read`.
    #[error("{0}")]
    Disk(#[from] read::Error),
    /// An error of ext4-view.
    #[error("{0}")]
    View(#[from] ext4_view::Ext4Error),
    /// An error about a path on the disk.
    #[error("{}: {error}", shown(.path))]
    Path {
        /// The path.
        path: Vec<u8>,
        /// The error.
        error: Box<Error>,
    },
    /// A journal that must be replayed, with features that ext4-view does not support.
    #[error("was not unmounted cleanly: run e2fsck -p first, which replays its journal")]
    Journal,
    /// A directory that contains itself, or a tree that is too deep.
    #[error("is more than {MAX_DEPTH} directories deep")]
    TooDeep,
    /// A path that is not a regular file.
    #[error("is not a regular file")]
    NotRegular,
}

impl Error {
    /// Returns whether a path does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Path { error, .. } => error.is_not_found(),
            Self::Disk(error) => matches!(error, read::Error::NotFound),
            Self::View(error) => matches!(error, ext4_view::Ext4Error::NotFound | ext4_view::Ext4Error::NotADirectory),
            _ => false,
        }
    }
}

/// A disk, and the location of its file system.
pub struct Disk {
    file: File,
    partition: Option<Partition>,
    superblock: Superblock,
}

/// A file system at an offset, for ext4-view.
struct Part {
    file: File,
    base: u64,
}

impl Ext4Read for Part {
    fn read(&mut self, start: u64, target: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.file.read_exact_at(target, self.base + start)?)
    }
}

impl Disk {
    /// Opens a disk, with or without a partition table.
    ///
    /// # Errors
    /// A file that cannot be read, or has no ext4 file system.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path)?;
        let mut front = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&file, gpt::FRONT as u64), &mut front)?;
        let partition = gpt::root(&front, &Machine::root_types());
        let superblock = match FileSystem::open(&file, partition.map_or(0, |partition| partition.start)) {
            Ok(own) => own.superblock().clone(),
            // The file ends before the superblock.
            Err(read::Error::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(read::Error::NoFileSystem.into());
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { file, partition, superblock })
    }

    /// Returns the file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the partition with the file system.
    pub fn partition(&self) -> Option<Partition> {
        self.partition
    }

    /// Returns the superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    fn base(&self) -> u64 {
        self.partition.map_or(0, |partition| partition.start)
    }

    fn own(&self) -> Result<FileSystem<'_>, read::Error> {
        let own = FileSystem::open(&self.file, self.base())?;
        own.check_features()?;
        Ok(own)
    }

    fn view(&self) -> Result<Ext4, Error> {
        Ok(Ext4::load(Box::new(Part { file: self.file.try_clone()?, base: self.base() }))?)
    }

    fn explain(&self, error: Error) -> Error {
        if self.superblock.needs_recovery() { Error::Journal } else { error }
    }

    /// Writes a file's content to `output`. Symbolic links are followed if ext4-view can read the disk.
    ///
    /// # Errors
    /// A path that is not a regular file; damage; errors of writing.
    pub fn cat(&self, path: &[u8], output: &mut impl Write) -> Result<(), Error> {
        let result = match (self.view(), self.own()) {
            (Ok(view), _) => cat_by_view(&view, path, output),
            (Err(_), Ok(own)) => cat_by_own(&own, path, output),
            (Err(error), Err(_)) => Err(self.explain(error)),
        };
        result.map_err(|error| Error::Path { path: path.to_vec(), error: Box::new(error) })
    }

    /// Calls `take` with every file on the disk, directories before their contents, sorted by name.
    ///
    /// # Errors
    /// Damage; errors of reading; errors of `take`.
    pub fn tree(&self, take: &mut dyn FnMut(Entry) -> io::Result<()>) -> Result<(), Error> {
        match self.own() {
            Ok(own) => {
                let root = own.find(b"/")?;
                tree_by_own(&own, &root, Vec::new(), take)
            }
            Err(read::Error::Features(_)) => {
                let view = self.view().map_err(|error| self.explain(error))?;
                tree_by_view(&view, Vec::new(), take)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn cat_by_own(own: &FileSystem, path: &[u8], output: &mut impl Write) -> Result<(), Error> {
    let inode = own.find(path)?;
    if inode.kind() != mode::FILE {
        return Err(Error::NotRegular);
    }
    let (mut written, mut result) = (0, Ok(()));
    own.read(&inode, &mut |position, piece| {
        if result.is_ok() {
            result = zeros(output, position - written).and_then(|()| output.write_all(piece));
        }
        written = position + piece.len() as u64;
    })?;
    result?;
    Ok(zeros(output, inode.size.saturating_sub(written))?)
}
fn zeros(output: &mut impl Write, mut count: u64) -> io::Result<()> {
    const ZEROS: [u8; 4096] = [0; 4096];
    while count > 0 {
        let now = count.min(ZEROS.len() as u64);
        output.write_all(&ZEROS[..now as usize])?; // at most its length
        count -= now;
    }
    Ok(())
}

fn cat_by_view(view: &Ext4, path: &[u8], output: &mut impl Write) -> Result<(), Error> {
    let path = if path.starts_with(b"/") { path.to_vec() } else { [b"/", path].concat() };
    let path = ext4_view::Path::try_from(path.as_slice()).map_err(|_| read::Error::NotFound)?;
    if view.metadata(path)?.file_type() != FileType::Regular {
        return Err(Error::NotRegular);
    }
    let mut file = view.open(path)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = file.read_bytes(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        output.write_all(&buffer[..count])?;
    }
}

fn tree_by_own(
    own: &FileSystem,
    directory: &read::Inode,
    path: Vec<u8>,
    take: &mut dyn FnMut(Entry) -> io::Result<()>,
) -> Result<(), Error> {
    let is_device = |inode: &read::Inode| matches!(inode.kind(), mode::CHARACTER_DEVICE | mode::BLOCK_DEVICE);
    let is_link = directory.kind() == mode::SYMLINK;
    take(Entry {
        path: if path.is_empty() { b"/".to_vec() } else { path.clone() },
        mode: directory.mode,
        links: Some(directory.links),
        owner: (directory.uid, directory.gid),
        size: directory.size,
        device: is_device(directory).then(|| directory.device()),
        seconds: directory.seconds,
        target: if is_link { Some(own.target(directory)?) } else { None },
    })?;
    if directory.is_directory() {
        check_depth(&path)?;
        let mut names = own.names(directory)?;
        names.sort_unstable();
        for (name, number) in names {
            tree_by_own(own, &own.inode(number)?, [&path, &b"/"[..], &name].concat(), take)?;
        }
    }
    Ok(())
}

fn tree_by_view(view: &Ext4, path: Vec<u8>, take: &mut dyn FnMut(Entry) -> io::Result<()>) -> Result<(), Error> {
    let full = if path.is_empty() { b"/".to_vec() } else { path.clone() };
    let place = ext4_view::Path::try_from(full.as_slice()).map_err(|_| read::Error::NotFound)?;
    let metadata = view.symlink_metadata(place)?;
    let kind = metadata.file_type();
    let target = if kind == FileType::Symlink { Some(view.read_link(place)?.as_ref().to_vec()) } else { None };
    take(Entry {
        path: full.clone(),
        mode: metadata.mode() & 0o7777 | kind_bits(kind),
        owner: (metadata.uid(), metadata.gid()),
        size: metadata.len(),
        seconds: metadata.modified().seconds(),
        target,
        ..Entry::default()
    })?;
    if metadata.is_dir() {
        check_depth(&path)?;
        let mut names = Vec::new();
        for entry in view.read_dir(place)? {
            names.push(entry?.file_name().as_ref().to_vec());
        }
        names.retain(|name| !matches!(name.as_slice(), b"." | b".."));
        names.sort_unstable();
        for name in names {
            tree_by_view(view, [&path, &b"/"[..], &name].concat(), take)?;
        }
    }
    Ok(())
}

/// Checks the depth: on a damaged disk, a directory may contain itself.
fn check_depth(path: &[u8]) -> Result<(), Error> {
    let is_deep = path.iter().filter(|byte| **byte == b'/').count() > MAX_DEPTH;
    if is_deep { Err(Error::Path { path: path.to_vec(), error: Box::new(Error::TooDeep) }) } else { Ok(()) }
}

fn kind_bits(kind: FileType) -> u16 {
    match kind {
        FileType::Fifo => mode::FIFO,
        FileType::CharacterDevice => mode::CHARACTER_DEVICE,
        FileType::Directory => mode::DIRECTORY,
        FileType::BlockDevice => mode::BLOCK_DEVICE,
        FileType::Regular => mode::FILE,
        FileType::Symlink => mode::SYMLINK,
        FileType::Socket => mode::SOCKET,
    }
}
