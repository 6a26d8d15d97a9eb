//! Unpacks an initramfs into a directory: all of it, or nothing.
//!
//! Files are created in a temporary directory inside the target, which only its owner may enter. They move to the target after
//! the last byte was read. Names are resolved with the target as the root, as the kernel does with its own: no link leads out
//! of it. A later entry of the same name replaces an earlier one (init/initramfs.c, do_name()).

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

use super::entry::{Error as ReadError, Member, Segment};
use super::place::{Place, Spot, stat};
use super::read::Reader;
use super::target::Target;
use crate::archive::newc::{DEVICE_MAX, Header, file_type};
use crate::cli::path::shown;

/// The most memory for directories and for files with several names; each takes `HELD_BYTES` in addition to its name.
const MAX_HELD_BYTES: usize = 64 << 20;
const HELD_BYTES: usize = 128;
const COPY_BYTES: usize = 256 << 10;

/// Counts of the unpacked entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Names of regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// All other entries.
    pub others: u64,
    /// Bytes of the files.
    pub content_bytes: u64,
    /// Devices left out because only root can create them.
    pub devices_left_out: u64,
    /// The segments of the initramfs.
    pub segments: Vec<Segment>,
}

/// Why an initramfs cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The initramfs cannot be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The file contains no archive.
    #[error("contains no archive")]
    Empty,
    /// The target directory cannot be used.
    #[error("{}: {problem}", .path.display())]
    Target {
        /// The directory.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// An entry cannot be unpacked.
    #[error("{}: {problem}", shown(.name))]
    Entry {
        /// Its name.
        name: Vec<u8>,
        /// The problem.
        problem: Problem,
    },
}

/// Why an entry cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A name with `..`.
    #[error("its name contains \"..\" and could lead out of the directory")]
    Outside,
    /// An entry for the root that is not a directory.
    #[error("it is an entry for the root, but not a directory")]
    Root,
    /// The first name of a file was replaced since.
    #[error("it is a hard link to a file that another entry has replaced")]
    Replaced,
    /// A device number that no device has.
    #[error("its device number does not fit 12 bits of major and 20 of minor")]
    Device,
    /// An owner or group of -1, which chown(2) treats as "no change".
    #[error("its owner or group is 4294967295, which is not a valid id")]
    Owner,
    /// The limit on memory is reached.
    #[error("the names of directories and hard links take more than 64 MiB")]
    TooMany,
    /// The file system refuses it.
    #[error("cannot be created: {0}")]
    Make(#[from] io::Error),
}

/// Unpacks an initramfs into `directory`, which must be empty or is created. `reader` must be at the start.
///
/// # Errors
/// Malformed input; names that lead outside; files that cannot be created. The directory then stays empty.
pub fn extract<R: Read>(mut reader: Reader<R>, directory: &Path) -> Result<Extracted, Error> {
    let target = Target::prepare(directory).map_err(|problem| Error::Target { path: directory.to_owned(), problem })?;
    let failed = |error: io::Error| Error::Target { path: directory.to_owned(), problem: error.to_string() };
    let mut unpacker = Unpacker::new(Place::open(target.inner()).map_err(failed)?);
    while let Some(member) = reader.next_entry()? {
        unpacker.take(&member, &mut reader).map_err(|fault| match fault {
            Fault::Read(error) => Error::Read(error),
            Fault::Problem(problem) => Error::Entry { name: member.name.clone(), problem },
        })?;
    }
    if reader.segments().is_empty() {
        return Err(Error::Empty);
    }
    let Unpacker { directories, mut extracted, .. } = unpacker;
    extracted.segments = reader.segments().to_vec();
    target.finish(&directories).map_err(failed)?;
    Ok(extracted)
}

/// The first name of a file that has several, and the file's identity.
struct Linked {
    path: Vec<u8>,
    identity: (u64, u64, u32),
}

struct Unpacker {
    place: Place,
    /// The owners, permissions and times of directories, which are set last.
    directories: BTreeMap<Vec<u8>, Header>,
    /// Files by device, inode and type, as in the kernel's find_link().
    links: HashMap<((u32, u32), u32, u32), Linked>,
    held_bytes: usize,
    archive: u64,
    extracted: Extracted,
}

enum Fault {
    Read(ReadError),
    Problem(Problem),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Problem(error.into())
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Unpacker {
    fn new(place: Place) -> Self {
        let (directories, links, extracted) = (BTreeMap::new(), HashMap::new(), Extracted::default());
        Self { place, directories, links, held_bytes: 0, archive: 0, extracted }
    }

    fn take<R: Read>(&mut self, member: &Member, reader: &mut Reader<R>) -> Result<(), Fault> {
        let header = &member.header;
        let kind = header.mode & file_type::MASK;
        let path = inside(&member.name)?;
        if std::mem::replace(&mut self.archive, member.archive) != member.archive {
            self.links.clear();
        }
        if header.uid == u32::MAX || header.gid == u32::MAX {
            return Err(Problem::Owner.into());
        }
        if kind == file_type::DIRECTORY {
            return Ok(self.directory(path, header)?);
        }
        if path.is_empty() {
            return Err(Problem::Root.into());
        }
        if matches!(kind, file_type::CHARACTER | file_type::BLOCK) {
            if header.rdev.0 > DEVICE_MAX.0 || header.rdev.1 > DEVICE_MAX.1 {
                return Err(Problem::Device.into());
            }
            if !self.place.is_root() {
                self.extracted.devices_left_out += 1;
                return Ok(());
            }
        }
        let spot = self.place.spot(&path)?;
        let is_link = kind != file_type::SYMLINK && self.link(&path, &spot, header)?;
        if !is_link {
            self.clear(&path, &spot, header)?;
        }
        if member.is_file() {
            self.extracted.files += 1;
            let mut file = if is_link { self.place.reopen(&spot)? } else { self.place.file(&spot)? };
            self.extracted.content_bytes += copy(reader, &mut file)?;
            self.place.finish(&file, header)?;
        } else {
            self.extracted.others += 1;
            if !is_link {
                self.place.node(&spot, header, member.target.as_deref())?;
            }
            self.place.finish_node(&spot, header)?;
        }
        if !is_link && kind != file_type::SYMLINK && header.nlink > 1 {
            self.hold(&path)?;
            let identity = stat(&spot)?.map(|there| identity(&there)).ok_or(Problem::Replaced)?;
            self.links.insert(key(header), Linked { path, identity });
        }
        Ok(())
    }

    fn directory(&mut self, path: Vec<u8>, header: &Header) -> Result<(), Problem> {
        if !path.is_empty() {
            let spot = self.place.spot(&path)?;
            if self.clear(&path, &spot, header)?.is_none() {
                self.place.node(&spot, header, None)?;
            }
        }
        self.extracted.directories += 1;
        self.hold(&path)?;
        self.directories.insert(path, *header);
        Ok(())
    }

    /// Removes the file at a spot, unless it is a directory that stays, and forgets its hard links.
    fn clear(&mut self, path: &[u8], spot: &Spot, header: &Header) -> Result<Option<Stat>, Problem> {
        if stat(spot)?.is_some() {
            self.links.retain(|_, linked| linked.path != path);
        }
        Ok(self.place.clear(spot, header.mode)?)
    }

    /// Counts the memory for a path.
    fn hold(&mut self, path: &[u8]) -> Result<(), Problem> {
        self.held_bytes += path.len() + HELD_BYTES;
        if self.held_bytes > MAX_HELD_BYTES { Err(Problem::TooMany) } else { Ok(()) }
    }

    /// Creates a hard link if this is another name of an unpacked file. Returns whether it did.
    fn link(&mut self, path: &[u8], spot: &Spot, header: &Header) -> Result<bool, Problem> {
        if header.nlink < 2 {
            return Ok(false);
        }
        let Some(linked) = self.links.get(&key(header)) else { return Ok(false) };
        if linked.path == path {
            return Ok(false);
        }
        let old = self.place.spot(&linked.path)?;
        if stat(&old)?.is_none_or(|there| identity(&there) != linked.identity) {
            return Err(Problem::Replaced);
        }
        self.place.clear(spot, header.mode)?;
        self.place.link(&old, spot)?;
        Ok(true)
    }
}

/// Returns a file's identity. The type is part of it, because a removed file's inode number can be reused.
fn identity(there: &Stat) -> (u64, u64, u32) {
    (there.st_dev, there.st_ino, there.st_mode & file_type::MASK)
}

fn key(header: &Header) -> ((u32, u32), u32, u32) {
    (header.dev, header.ino, header.mode & file_type::MASK)
}

/// Returns the path below the root that the kernel uses for a name: leading slashes are ignored.
fn inside(name: &[u8]) -> Result<Vec<u8>, Problem> {
    let components: Vec<&[u8]> =
        name.split(|byte| *byte == b'/').filter(|component| !matches!(*component, b"" | b".")).collect();
    if components.contains(&&b".."[..]) { Err(Problem::Outside) } else { Ok(components.join(&b'/')) }
}

/// Copies the data of an entry.
fn copy<R: Read>(reader: &mut Reader<R>, file: &mut fs::File) -> Result<u64, Fault> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut copied = 0;
    loop {
        match reader.read_data(&mut buffer).map_err(Fault::Read)? {
            0 => return Ok(copied),
            count => {
                file.write_all(&buffer[..count])?;
                copied += count as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests;
