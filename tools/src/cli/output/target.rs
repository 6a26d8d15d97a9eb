//! Finds the target of an output's path, before anything is written.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags, fallocate, seek};
use rustix::io::Errno;

use super::{is_stream, stdout};
use crate::cli::identity::Identity;

/// Symbolic links that the kernel follows in one path (`MAXSYMLINKS`).
const MAX_SYMLINKS: u32 = 40;
/// Limit for retries when another program replaces the file at the same time, as this one does itself.
const MAX_LOOKS: u32 = 16;
const COPY_BYTES: u64 = 1 << 20;

/// See the module's head.
pub(super) enum Target {
    /// A regular file, or a name that is free; the path has no link in its last component.
    File { path: PathBuf, replaced: Option<Access> },
    /// A block device.
    Device(Device),
    /// Standard output.
    Stream,
}

/// Owner, group and mode of a file.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

impl Access {
    fn of(metadata: &Metadata) -> Self {
        Self { uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode() }
    }
}

impl Target {
    /// Finds it. `accepted` is what the user may name, for a refusal.
    pub(super) fn find(path: &Path, accepted: &str) -> io::Result<Self> {
        for _ in 0..MAX_LOOKS {
            if let Some(found) = Self::look(path, accepted)? {
                return Ok(found);
            }
        }
        // A link of /proc leads to a file that may have another name by now, or none.
        Err(refused("is an open file without a name of its own; name a file"))
    }

    /// Finds it; `None` when the file and its name do not match.
    fn look(path: &Path, accepted: &str) -> io::Result<Option<Self>> {
        if is_stream(path) {
            return match stdout()?.metadata()?.file_type() {
                kind if kind.is_block_device() => Err(refused("is a block device: name it as the output instead")),
                _ => Ok(Some(Self::Stream)),
            };
        }
        // By the kernel, which honours fs.protected_symlinks.
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if path.as_os_str().is_empty() || path.as_os_str().as_bytes().ends_with(b"/") {
                    return Err(refused("names no file"));
                }
                return Ok(Some(Self::File { path: followed(path)?, replaced: None }));
            }
            Err(error) => return Err(error),
        };
        let kind = metadata.file_type();
        if kind.is_file() {
            let path = followed(path)?;
            let found = path.symlink_metadata().map(|found| Identity::of(&found));
            let is_same = found.ok() == Some(Identity::of(&metadata));
            return Ok(is_same.then(|| Self::File { path, replaced: Some(Access::of(&metadata)) }));
        }
        let what = match kind {
            _ if kind.is_block_device() => return Device::open(path, &metadata).map(Self::Device).map(Some),
            _ if kind.is_dir() => "a directory",
            _ if kind.is_fifo() => "a pipe",
            _ if kind.is_socket() => "a socket",
            _ => "a character device",
        };
        Err(refused(&format!("is {what}; name {accepted}")))
    }
}

/// Follows the symbolic links in the last component.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_SYMLINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(Errno::LOOP.into())
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// A block device opened exclusively: no file system, swap or other device uses it meanwhile.
pub(super) struct Device {
    device: File,
    bytes: u64,
}

impl Device {
    fn open(path: &Path, metadata: &Metadata) -> io::Result<Self> {
        // Without O_CREAT: exclusive use of a block device (open(2)).
        let exclusive = OFlags::EXCL.bits().cast_signed();
        let mut device = OpenOptions::new().read(true).write(true).custom_flags(exclusive).open(path);
        let device = match &mut device {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                return Err(refused("is in use, mounted or as a part of another device; release it first"));
            }
            _ => device?,
        };
        if device.metadata()?.rdev() != metadata.rdev() {
            return Err(refused("is another device by now"));
        }
        let bytes = (&device).seek(SeekFrom::End(0))?;
        Ok(Self { device, bytes })
    }

    /// Writes all of `content`, whose holes become zeros, and flushes the device.
    pub(super) fn write(&self, content: &File) -> io::Result<()> {
        let length = content.metadata()?.len();
        if length > self.bytes {
            return Err(refused(&format!("has {} bytes, and {length} are needed; nothing was written", self.bytes)));
        }
        let mut at = 0;
        while at < length {
            let data = match seek(content, rustix::fs::SeekFrom::Data(at)) {
                Err(Errno::NXIO) => length,
                found => found?,
            };
            self.clear(at, data)?;
            if data == length {
                break;
            }
            at = seek(content, rustix::fs::SeekFrom::Hole(data))?;
            self.copy(content, data, at)?;
        }
        self.device.sync_all()
    }

    fn copy(&self, content: &File, start: u64, end: u64) -> io::Result<()> {
        let mut buffer = vec![0; COPY_BYTES.min(end - start) as usize];
        let mut at = start;
        while at < end {
            let room = &mut buffer[..COPY_BYTES.min(end - at) as usize];
            content.read_exact_at(room, at)?;
            self.device.write_all_at(room, at)?;
            at += room.len() as u64;
        }
        Ok(())
    }

    /// Makes zeros of what lies between: by the device itself where it can, else by writing them.
    fn clear(&self, start: u64, end: u64) -> io::Result<()> {
        if start == end {
            return Ok(());
        }
        for flags in [FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, FallocateFlags::ZERO_RANGE] {
            if fallocate(&self.device, flags, start, end - start).is_ok() {
                return Ok(());
            }
        }
        let zeros = vec![0; COPY_BYTES.min(end - start) as usize];
        let mut at = start;
        while at < end {
            let room = &zeros[..COPY_BYTES.min(end - at) as usize];
            self.device.write_all_at(room, at)?;
            at += room.len() as u64;
        }
        Ok(())
    }
}
