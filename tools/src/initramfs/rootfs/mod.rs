//! An image's files in the initramfs: the tar of `docker export`, or a folder, below `/rootfs`.
//!
//! The archive is read twice: once for the names, which may replace each other in any order, and once for the contents, in
//! the order of names. Contents are not kept in memory; `archive::budget` limits everything else. An input that is not a
//! plain file is copied to one first.
//!
//! Owners, modes, times and hard links are those of the tar. Holes are written as zeros, since cpio has no sparse files. cpio
//! has no extended attributes, which are stored in a table for the init, and no fractions of a second, which are lost.

mod attributes;
pub(super) mod folder;
mod names;
mod nodes;
mod write;

use std::fs::File;
use std::io::Read;

pub use attributes::Attributes;
pub(crate) use write::name_of;

use whit::contract::IMAGE_RECORD;

use crate::archive::contents::{Contents, Incomplete, MAX_DOCUMENT, Parts, Survey};
use crate::archive::newc::{Kind, Meta};
use crate::archive::paths::{self, HardLink};
use crate::archive::seekable::{self, seekable};
use crate::archive::tar::{self, Entry, Reader};
use crate::cli::path::shown;
use names::{MAX_PATH, Names};
use nodes::{Data, Inode};

/// The init's mount points. It creates missing ones, but cannot do so on a read-only root.
const MOUNTED: [&[u8]; 3] = [b"dev", b"proc", b"sys"];

/// The files of an image.
pub struct Rootfs {
    names: Names,
    tar: File,
    table: Vec<u8>,
    has_record: bool,
    summary: Summary,
}

/// Counts of an archive's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries that are regular files.
    pub files: u64,
    /// Entries that are directories.
    pub directories: u64,
    /// All other entries.
    pub others: u64,
    /// Bytes of the files' content, holes included.
    pub content_bytes: u64,
    /// Times that cpio cannot store, clamped to its range.
    pub times_clamped: u64,
    /// Extended attributes.
    pub attributes: Attributes,
    /// Files of a folder that are outputs of the same run, which were left out.
    pub outputs_left_out: u64,
    /// The offset of data after the end of the archive, which were ignored.
    pub after_end: Option<u64>,
}

/// Why an archive's files cannot be added to an initramfs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive cannot be read.
    #[error("{0}")]
    Archive(#[from] tar::Error),
    /// One entry cannot be stored.
    #[error("{}: {problem}", shown(.path))]
    Entry {
        /// Its path.
        path: Vec<u8>,
        /// The problem.
        problem: Problem,
    },
    /// A hard link without a target.
    #[error("{}: is a hard link to {}, which does not exist", shown(.path), shown(.target))]
    LinkTarget {
        /// The link.
        path: Vec<u8>,
        /// Its target.
        target: Vec<u8>,
    },
    /// An archive of another kind.
    #[error("is an image in layers, as `docker save` makes it; give it the output of `docker export`")]
    Layers,
    /// An archive of another kind that is not whole.
    #[error("{0}")]
    Incomplete(#[from] Incomplete),
    /// The archive is not a plain file, and cannot be copied to one.
    #[error("{0}")]
    Seekable(#[from] seekable::Error),
}

/// Why an entry cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Its path, or that of its hard link's target, cannot be resolved.
    #[error(transparent)]
    Path(#[from] paths::Problem),
    /// The path is `.`, `..` or `/`, and the entry is not a directory.
    #[error("its path is that of a directory, but it is not one")]
    NamesADirectory,
    /// A hard link to a directory.
    #[error("is a hard link to a directory")]
    LinkToDirectory,
    /// The path is too long; the kernel would skip the entry silently.
    #[error("is longer than {MAX_PATH} bytes with /rootfs, the limit of the kernel")]
    PathTooLong,
    /// The target is too long; the kernel would skip the entry silently.
    #[error("the symbolic link's target is longer than {MAX_PATH} bytes, the limit of the kernel")]
    TargetTooLong,
    /// An attribute does not fit the table.
    #[error("an extended attribute takes, with its name and the path, more than 4 KiB")]
    AttributeTooLong,
}

impl Rootfs {
    /// Reads the names of the tar `input`, plain or compressed, from a file or a pipe; `missing_end_accepted` accepts one without
    /// its end mark.
    ///
    /// # Errors
    /// An archive that is damaged, truncated or of another type; invalid paths; an attribute that is too long.
    pub fn open(input: File, missing_end_accepted: bool) -> Result<Self, Error> {
        let tar = seekable(input)?;
        let mut reader = Reader::new(&tar).accept_missing_end(missing_end_accepted);
        let (mut names, mut summary, mut entry) = (Names::new(), Summary::default(), Entry::default());
        let mut survey = Survey::default();
        while reader.next(&mut entry)? {
            survey.see(&entry.path, entry.kind == tar::Kind::Directory);
            add(&mut names, &reader, &mut entry, &mut summary)?;
        }
        summary.after_end = reader.after_end();
        let at = |(path, problem)| Error::Entry { path, problem };
        if let Some(HardLink { path, target }) = names.link_pending().map_err(at)? {
            return Err(Error::LinkTarget { path, target });
        }
        if survey.decide(&mut Archive { names: &mut names, tar: &tar })? != Contents::Root {
            return Err(Error::Layers);
        }
        for path in MOUNTED {
            if !names.exists(path) {
                names.enter(path, names::directory()).map_err(|problem| at((path.to_vec(), problem)))?;
            }
        }
        let table = attributes::table(&mut names, &mut summary.attributes).map_err(at)?;
        let has_record = names.exists(IMAGE_RECORD.to_bytes());
        drop(reader);
        Ok(Self { names, tar, table, has_record, summary })
    }

    /// Adds a file owned by root to the image, and replaces an existing one.
    ///
    /// # Errors
    /// An invalid path.
    pub fn insert(&mut self, path: &[u8], bytes: Vec<u8>) -> Result<(), Error> {
        let inode = Inode { meta: Meta::root(0o644), data: Data::Bytes(bytes), attributes: Vec::new() };
        self.names.enter(path, inode).map_err(|problem| Error::Entry { path: path.to_vec(), problem })
    }

    /// Returns whether the image contains a run record.
    #[must_use]
    pub fn has_record(&self) -> bool {
        self.has_record
    }

    /// Returns the counts of the archive's entries.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Returns the table of extended attributes for the init; empty if there are none.
    pub(crate) fn table(&self) -> &[u8] {
        &self.table
    }
}

/// The files of the archive, for the decision what it is.
struct Archive<'a> {
    names: &'a mut Names,
    tar: &'a File,
}

impl Parts for Archive<'_> {
    fn has(&mut self, name: &str) -> bool {
        self.names.exists(name.as_bytes())
    }

    fn document(&mut self, name: &str) -> Option<Vec<u8>> {
        let (_, Data::Stored(content)) = self.names.file(name.as_bytes())? else { return None };
        let mut bytes = Vec::new();
        let is_short = content.size() <= MAX_DOCUMENT;
        (is_short && content.read(self.tar).read_to_end(&mut bytes).is_ok()).then_some(bytes)
    }
}

fn add(names: &mut Names, reader: &Reader<&File>, entry: &mut Entry, summary: &mut Summary) -> Result<(), Error> {
    let path = std::mem::take(&mut entry.path);
    let at = |problem| Error::Entry { path: path.clone(), problem };
    summary.attributes.left_out += u64::from(entry.text_acls);
    let data = match entry.kind {
        tar::Kind::HardLink => {
            summary.others += 1;
            return names.hard_link(&path, &entry.link).map_err(at);
        }
        tar::Kind::File => Data::Stored(reader.content()),
        tar::Kind::Directory => Data::Special(Kind::Directory),
        tar::Kind::Symlink => Data::Special(Kind::Symlink(std::mem::take(&mut entry.link))),
        tar::Kind::CharacterDevice => Data::Special(Kind::Character(entry.device.0, entry.device.1)),
        tar::Kind::BlockDevice => Data::Special(Kind::Block(entry.device.0, entry.device.1)),
        tar::Kind::Fifo => Data::Special(Kind::Fifo),
    };
    match entry.kind {
        tar::Kind::File => summary.files += 1,
        tar::Kind::Directory => summary.directories += 1,
        _ => summary.others += 1,
    }
    summary.content_bytes += entry.size;
    let mode = if entry.kind == tar::Kind::Symlink { 0o777 } else { u32::from(entry.mode) };
    let seconds = entry.mtime.seconds.clamp(0, i64::from(u32::MAX));
    summary.times_clamped += u64::from(seconds != entry.mtime.seconds);
    let meta = Meta { mode, uid: entry.uid, gid: entry.gid, mtime: Some(seconds as u32) }; // within its 32 bits
    let inode = Inode { meta, data, attributes: std::mem::take(&mut entry.attributes) };
    names.enter(&path, inode).map_err(at)
}
