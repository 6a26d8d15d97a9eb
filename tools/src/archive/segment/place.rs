//! A directory that acts as the root for the files created in it: no symbolic link, absolute or with `..`, leads out of it
//! (openat2(2), RESOLVE_IN_ROOT).

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, fchmod, fchown, futimens,
    linkat, mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::archive::budget::{Budget, Spent};
use crate::archive::newc::{Header, file_type};

/// Permissions, with set-user-id, set-group-id and sticky.
const MODE_BITS: u32 = 0o7777;

/// A root directory; see the module's documentation.
pub(super) struct Place {
    root: OwnedFd,
    /// The directory that was used last.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// Whether the process is root, and can set owners.
    is_root: bool,
    budget: Budget,
}

/// A resolved path: a directory and a name in it.
pub(super) struct Spot {
    pub(super) parent: OwnedFd,
    pub(super) name: OsString,
}

impl Place {
    pub(super) fn open(directory: &std::path::Path) -> io::Result<Self> {
        let root = openat(CWD, directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root, last: None, is_root: rustix::process::geteuid().is_root(), budget: Budget::default() })
    }

    pub(super) fn is_root(&self) -> bool {
        self.is_root
    }

    /// Opens `path`; an empty one is the root itself.
    fn resolve(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            // EAGAIN: a directory of the path was renamed during the lookup.
            match openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), within) {
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
    }

    /// Resolves a path without `.`, `..` and doubled slashes. Missing directories are created.
    pub(super) fn spot(&mut self, path: &[u8]) -> io::Result<Spot> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        self.budget.path();
        let parent = match &self.last {
            Some((path, directory)) if path == parent => directory.try_clone()?,
            _ => {
                let directory = self.directory(parent)?;
                self.last = Some((parent.to_vec(), directory.try_clone()?));
                directory
            }
        };
        Ok(Spot { parent, name: OsString::from_vec(name.to_vec()) })
    }

    fn directory(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
        match self.resolve(path, FLAGS) {
            Err(Errno::NOENT) => {}
            result => return Ok(result?),
        }
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        let ends: Vec<usize> = [0].into_iter().chain(slashes).chain([path.len()]).collect();
        // If one is missing, all after it are missing too.
        let first_missing =
            ends.partition_point(|end| !matches!(self.resolve(&path[..*end], FLAGS), Err(Errno::NOENT)));
        let mut parent = self.resolve(&path[..ends[first_missing.saturating_sub(1)]], FLAGS)?;
        for names in ends.windows(2).skip(first_missing.saturating_sub(1)) {
            let name = path[names[0]..names[1]].strip_prefix(b"/").unwrap_or(&path[names[0]..names[1]]);
            self.budget.make().map_err(|Spent| too_deep())?;
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
            parent = openat(&parent, name, FLAGS | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        }
        Ok(parent)
    }

    /// Removes the file at a spot, unless it and the new entry are directories. Returns the directory that stays.
    pub(super) fn clear(&mut self, spot: &Spot, mode: u32) -> io::Result<Option<Stat>> {
        let Some(there) = stat(spot)? else { return Ok(None) };
        let is_directory = FileType::from_raw_mode(there.st_mode) == FileType::Directory;
        if is_directory && mode & file_type::MASK == file_type::DIRECTORY {
            return Ok(Some(there));
        }
        self.last = None;
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(&spot.parent, &spot.name, flags)?;
        Ok(None)
    }

    /// Creates an entry that has no content.
    pub(super) fn node(&self, spot: &Spot, header: &Header, target: Option<&[u8]>) -> io::Result<()> {
        match header.mode & file_type::MASK {
            file_type::DIRECTORY => mkdirat(&spot.parent, &spot.name, Mode::RWXU)?,
            file_type::SYMLINK => symlinkat(target.unwrap_or_default(), &spot.parent, &spot.name)?,
            _ => {
                let device = rustix::fs::makedev(header.rdev.0, header.rdev.1);
                let kind = FileType::from_raw_mode(header.mode);
                mknodat(&spot.parent, &spot.name, kind, Mode::RUSR | Mode::WUSR, device)?;
            }
        }
        Ok(())
    }

    /// Creates an empty file for writing.
    pub(super) fn file(&self, spot: &Spot) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&spot.parent, &spot.name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Opens a file that was created here, to overwrite its start.
    pub(super) fn reopen(&self, spot: &Spot) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(openat(&spot.parent, &spot.name, flags, Mode::empty())?.into())
    }

    /// Creates a hard link to the file at `old`.
    pub(super) fn link(&self, old: &Spot, new: &Spot) -> io::Result<()> {
        Ok(linkat(&old.parent, &old.name, &new.parent, &new.name, AtFlags::empty())?)
    }

    /// Sets owner, permissions and time of an open file. Permissions follow the owner: chown(2) clears some of them.
    pub(super) fn finish(&self, file: impl AsFd, header: &Header) -> io::Result<()> {
        if self.is_root {
            fchown(&file, Some(Uid::from_raw(header.uid)), Some(Gid::from_raw(header.gid)))?;
        }
        fchmod(&file, Mode::from_raw_mode(header.mode & MODE_BITS))?;
        Ok(futimens(&file, &times(header))?)
    }

    /// Does the same for a file that cannot be opened.
    pub(super) fn finish_node(&self, spot: &Spot, header: &Header) -> io::Result<()> {
        if self.is_root {
            let (owner, group) = (Some(Uid::from_raw(header.uid)), Some(Gid::from_raw(header.gid)));
            rustix::fs::chownat(&spot.parent, &spot.name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if header.mode & file_type::MASK != file_type::SYMLINK {
            // The file was just created here, in a directory that only its owner may enter.
            rustix::fs::chmodat(
                &spot.parent,
                &spot.name,
                Mode::from_raw_mode(header.mode & MODE_BITS),
                AtFlags::empty(),
            )?;
        }
        Ok(utimensat(&spot.parent, &spot.name, &times(header), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Does the same for a directory, if the path still is one.
    pub(super) fn finish_directory(&self, path: &[u8], header: &Header) -> io::Result<()> {
        match self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
            Ok(directory) => self.finish(directory, header),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn too_deep() -> io::Error {
    io::Error::other("the names of the archive lead through far more directories than it has entries")
}

/// Returns the metadata of the file at a spot, without following a symbolic link; `None` if there is none.
pub(super) fn stat(spot: &Spot) -> io::Result<Option<Stat>> {
    match statat(&spot.parent, &spot.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok(Some(there)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn times(header: &Header) -> Timestamps {
    let time = Timespec { tv_sec: header.mtime.into(), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
