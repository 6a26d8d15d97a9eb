//! Adds a directory of the host: its tree as lstat(2) returns it, sorted by name, so that the same tree gives the same
//! image.
//!
//! As with `tar --one-file-system`, file systems mounted in it are left out: a mount point becomes an empty directory.
//! Sockets are left out, because they are useless without the program that created them, and so is the disk itself.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::thread;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat, fstat, openat, readlinkat, seek, statat};
use rustix::io::Errno;

use super::Error;
use crate::archive::tar::Attribute;
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::disk::ext4::{Builder, Metadata};

/// Counts of files that were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Sockets.
    pub sockets: u64,
    /// Mount points.
    pub mounts: u64,
    /// The disk itself, and the file that it replaces.
    pub disks: u64,
    /// Unfinished outputs of these tools, of a run at the same time or one that was killed.
    pub unfinished: u64,
}

/// Files that changed while they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The path of the first one.
    pub first: Vec<u8>,
    /// The number of all.
    pub count: u64,
}

impl Changed {
    fn note(&mut self, path: &[u8]) {
        if self.count == 0 {
            self.first = if path.is_empty() { b".".to_vec() } else { path.to_vec() };
        }
        self.count += 1;
    }
}

/// The deepest directory: each level takes a descriptor and stack. A path of PATH_MAX bytes has at most this many components.
const MAX_DEPTH: usize = 2048;
/// The stack for `MAX_DEPTH` levels; unused pages take no memory.
const STACK_BYTES: usize = 64 << 20;

/// Device and inode number.
pub type Identity = (u64, u64);

struct Walk<'w, 'b> {
    builder: &'w mut Builder<'b>,
    progress: &'w Progress,
    device: u64,
    /// Files to leave out.
    disks: &'w [Identity],
    /// First names of files that have several.
    names: HashMap<Identity, Vec<u8>>,
    left_out: LeftOut,
    changed: Changed,
    buffers: Buffers,
}

/// Adds the directory `root`, without the files `disks`.
pub(super) fn apply(
    root: &File,
    disks: &[Identity],
    builder: &mut Builder,
    progress: &Progress,
) -> Result<(LeftOut, Changed), Error> {
    let stat = fstat(root).map_err(|error| failed(b".", error))?;
    let (names, left_out) = (HashMap::new(), LeftOut::default());
    let (device, changed) = (stat.st_dev, Changed::default());
    let mut walk = Walk { builder, progress, device, disks, names, left_out, changed, buffers: Buffers::new() };
    // "." of a directory's own descriptor is the directory.
    let attributes = walk.buffers.attributes(root.as_fd(), c".").map_err(|error| failed(b".", error))?;
    walk.builder.directory(b"/", metadata(&stat, &attributes))?;
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || {
            walk.children(root.as_fd(), &mut Vec::new())?;
            Ok((walk.left_out, walk.changed))
        });
        let walked = thread.map_err(|error| failed(b".", error))?.join();
        walked.unwrap_or_else(|_| Err(failed(b".", io::Error::other("the reading thread has failed"))))
    })
}

impl Walk<'_, '_> {
    /// Adds the contents of a directory; `path` is its path, and is restored at the end.
    fn children(&mut self, directory: BorrowedFd, path: &mut Vec<u8>) -> Result<(), Error> {
        let length = path.len();
        if path.iter().filter(|byte| **byte == b'/').count() > MAX_DEPTH {
            return Err(failed(path, io::Error::other(format!("is more than {MAX_DEPTH} directories deep"))));
        }
        let before = fstat(directory).map_err(|error| failed(path, error))?;
        for name in names(directory).map_err(|error| failed(path, error))? {
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            match self.child(directory, &name, path) {
                // It was removed after the directory was listed, or replaced by a file of another type.
                Err(Error::Folder { error, .. }) if is_change(&error) => self.changed.note(path),
                result => result?,
            }
            self.progress.add_file();
            path.truncate(length);
        }
        let after = fstat(directory).map_err(|error| failed(path, error))?;
        if version(&before) != version(&after) {
            self.changed.note(path);
        }
        Ok(())
    }

    fn child(&mut self, directory: BorrowedFd, name: &CStr, path: &mut Vec<u8>) -> Result<(), Error> {
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| failed(path, error))?;
        let identity = (stat.st_dev, stat.st_ino);
        if self.disks.contains(&identity) {
            self.left_out.disks += 1;
            return Ok(());
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::RegularFile && output::is_unfinished(name.to_bytes()) {
            self.left_out.unfinished += 1;
            return Ok(());
        }
        if kind == FileType::Socket {
            self.left_out.sockets += 1;
            return Ok(());
        }
        let has_names = kind != FileType::Directory && stat.st_nlink > 1;
        if has_names && let Some(first) = self.names.get(&identity) {
            return Ok(self.builder.hard_link(path, first)?);
        }
        self.add(directory, name, path, &stat, kind)?;
        if has_names {
            self.names.insert(identity, path.clone());
        }
        Ok(())
    }

    fn add(
        &mut self,
        directory: BorrowedFd,
        name: &CStr,
        path: &mut Vec<u8>,
        stat: &Stat,
        kind: FileType,
    ) -> Result<(), Error> {
        let attributes = self.buffers.attributes(directory, name).map_err(|error| failed(path, error))?;
        let metadata = metadata(stat, &attributes);
        let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        match kind {
            FileType::Directory => {
                self.builder.directory(path, metadata)?;
                if stat.st_dev != self.device {
                    self.left_out.mounts += 1;
                    return Ok(());
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = openat(directory, name, flags, Mode::empty()).map_err(|error| failed(path, error))?;
                self.children(inner.as_fd(), path)
            }
            FileType::RegularFile => self.content(directory, name, path, metadata),
            FileType::Symlink => {
                let target = readlinkat(directory, name, Vec::new()).map_err(|error| failed(path, error))?;
                Ok(self.builder.symlink(path, metadata, target.as_bytes())?)
            }
            FileType::CharacterDevice => Ok(self.builder.device(path, metadata, false, number)?),
            FileType::BlockDevice => Ok(self.builder.device(path, metadata, true, number)?),
            FileType::Fifo => Ok(self.builder.fifo(path, metadata)?),
            _ => Err(failed(path, io::Error::other("is of an unknown type"))),
        }
    }

    /// Adds a file with its content; the size is that of the open file.
    fn content(&mut self, directory: BorrowedFd, name: &CStr, path: &[u8], metadata: Metadata) -> Result<(), Error> {
        let failed = |error: io::Error| failed(path, error);
        // Without NONBLOCK, opening a FIFO that has replaced the file would block for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(directory, name, flags, Mode::empty()).map_err(|error| failed(error.into()))?);
        let stat = fstat(&file).map_err(|error| failed(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(failed(changed()));
        }
        let size = stat.st_size as u64; // not negative
        let mut holes = Holes { is_sparse: (stat.st_blocks as u64) * 512 < size, data_end: 0 };
        let mut writer = self.builder.file(path, metadata, size)?;
        let (mut position, mut is_short) = (0, false);
        loop {
            position += writer.skip(holes.at(&file, position, size).map_err(failed)?);
            let room = writer.room()?;
            if room.is_empty() {
                break;
            }
            // A file that has become shorter is filled up with zeros, as by tar.
            let count = read_at(&file, room, position).map_err(failed)?;
            is_short |= count < room.len();
            room[count..].fill(0);
            position += room.len() as u64;
            self.progress.add_bytes(room.len() as u64);
            writer.keep()?;
        }
        writer.close()?;
        if is_short || version(&stat) != version(&fstat(&file).map_err(|error| failed(error.into()))?) {
            self.changed.note(path);
        }
        Ok(())
    }
}

/// Finds the holes of a file.
struct Holes {
    is_sparse: bool,
    /// The end of the last known data.
    data_end: u64,
}

impl Holes {
    /// Returns the length of the hole at `position`.
    fn at(&mut self, file: &File, position: u64, size: u64) -> io::Result<u64> {
        if !self.is_sparse || position < self.data_end || position >= size {
            return Ok(0);
        }
        match seek(file, SeekFrom::Data(position)) {
            Ok(data) if data > position => Ok(data - position),
            Ok(_) => {
                self.data_end = seek(file, SeekFrom::Hole(position))?;
                Ok(0)
            }
            Err(Errno::NXIO) => Ok(size - position), // no data up to the end
            Err(error) => Err(error.into()),
        }
    }
}

fn names(directory: BorrowedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn metadata<'a>(stat: &Stat, attributes: &'a [Attribute]) -> Metadata<'a> {
    Metadata {
        mode: (stat.st_mode & 0o7777) as u16, // 12 bits
        uid: stat.st_uid,
        gid: stat.st_gid,
        seconds: stat.st_mtime,
        nanoseconds: stat.st_mtime_nsec as u32, // below 1,000,000,000
        attributes,
    }
}

/// Buffers for the names of attributes, and for a value.
struct Buffers {
    list: Vec<u8>,
    value: Vec<u8>,
}

impl Buffers {
    fn new() -> Self {
        const MAX_BYTES: usize = 64 << 10; // XATTR_LIST_MAX, XATTR_SIZE_MAX
        Self { list: vec![0; MAX_BYTES], value: vec![0; MAX_BYTES] }
    }

    /// Returns the extended attributes of a file of any type. Uses a path below /proc, since not every file can be opened.
    fn attributes(&mut self, directory: BorrowedFd, name: &CStr) -> io::Result<Vec<Attribute>> {
        let path = [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name.to_bytes()].concat();
        let length = match rustix::fs::llistxattr(path.as_slice(), self.list.as_mut_slice()) {
            Err(Errno::OPNOTSUPP) => 0,
            result => result?,
        };
        let mut attributes = Vec::new();
        for name in self.list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let length = rustix::fs::lgetxattr(path.as_slice(), name, self.value.as_mut_slice())?;
            attributes.push((name.to_vec(), self.value[..length].to_vec()));
        }
        Ok(attributes)
    }
}

/// Fills `target` as far as the file goes. Returns the byte count.
fn read_at(file: &File, target: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < target.len() {
        match file.read_at(&mut target[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Returns what changes with a file's content: its size and its modification time.
fn version(stat: &Stat) -> (i64, i64, i64) {
    (stat.st_size, stat.st_mtime, i64::from(stat.st_mtime_nsec as u32)) // below 1,000,000,000
}

fn changed() -> io::Error {
    Errno::NOENT.into()
}

/// Returns whether an error means that a file is gone, or another one has its name.
fn is_change(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::STALE))
}

fn failed(path: &[u8], error: impl Into<io::Error>) -> Error {
    Error::Folder { path: path.to_vec(), error: error.into() }
}
