//! Paths inside an untrusted root: no link leads out of it, and missing directories are created in it.
//!
//! The kernel follows the links ([`find`]). After ENOENT, [`Walk`] resolves the path name by name: a dangling link is replaced by its
//! text, as docker does, and a missing directory is created. Each directory becomes the working directory by its descriptor:
//! operations there use a single name, which cannot lead elsewhere.

use core::ffi::CStr;

use linux_raw_sys::general::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, S_IFREG};
use rustix::fs::OFlags;
use whit::contract::ROOT;
use whit::error::Errno;

use crate::files::{self, MAX_PATH, Path, make_directory};
use crate::sys::call::{chdir, fchdir};
use crate::sys::fd::{self, Fd};

/// Opens a regular file in the root.
pub(crate) fn open(path: &CStr, flags: OFlags) -> Result<Fd, Errno> {
    open_regular(&find(ROOT, path, OFlags::empty())?, flags)
}

/// Finds a file inside a root, with O_PATH: opening a device would have an effect. RESOLVE_IN_ROOT: links in the path, absolute ones
/// too, stay in the root. RESOLVE_NO_MAGICLINKS: links of /proc to the open files of a process are ELOOP.
pub(crate) fn find(root: &CStr, path: &CStr, flags: OFlags) -> Result<Fd, Errno> {
    fd::openat2(
        Some(&fd::open(root, OFlags::PATH)?),
        path,
        OFlags::PATH | flags,
        RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    )
}

/// Opens a file that was found, if it is a regular file: opening another one may block, or have an effect. On a read-only file system
/// it is opened for reading only.
///
/// # Errors
/// [`Errno::NOT_REGULAR`].
pub(crate) fn open_regular(found: &Fd, mut flags: OFlags) -> Result<Fd, Errno> {
    if fd::status_of(found).is_none_or(|status| status.kind != S_IFREG) {
        return Err(Errno::NOT_REGULAR);
    }
    let mut room = Path::new();
    let path = path_of(found, &mut room);
    loop {
        match fd::open(path, flags | OFlags::NOCTTY | OFlags::NONBLOCK) {
            Err(Errno::ROFS) if !flags.is_empty() => flags = OFlags::RDONLY,
            opened => return opened,
        }
    }
}

/// Returns the path by which open(2) opens a file that was found: `/proc/self/fd/N` (proc(5)). Slashes fill the number's field.
fn path_of<'a>(file: &Fd, room: &'a mut Path) -> &'a CStr {
    const FIELD: &[u8] = b"/proc/self/fd//////////";
    room.set(FIELD);
    let (mut number, mut place) = (file.number(), FIELD.len());
    loop {
        place = place.wrapping_sub(1);
        room.put(place, b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            return room.text();
        }
    }
}

/// Makes a directory the working directory. It is created if it is missing.
pub(crate) fn enter(root: &CStr, path: &[u8]) -> Result<(), Errno> {
    Walk::new(root, false).to(path)
}

/// Makes a directory the working directory, without following a link in its place. It is created if it is missing. The path of its
/// parent has no links.
///
/// # Errors
/// ENOTDIR for a link or another file.
#[inline(never)]
pub(crate) fn enter_plain(path: &CStr) -> Result<(), Errno> {
    make_directory(path)?;
    fchdir(&fd::openat2(None, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY, 0)?)
}

/// Makes PID 1's own `/` the working directory.
#[inline(never)]
pub(crate) fn leave() {
    let _ = chdir(c"/");
}

/// Limit on the dangling links and missing directories of one path.
const MAX_STEPS: u8 = 64;

/// A walk to a directory, or to the parent directory of a file that exists or is to be created. Small fields come first, as in the
/// machine.
#[repr(C)]
pub(crate) struct Walk<'a> {
    /// The index of the current name in the path.
    start: usize,
    /// The last name is a file's.
    is_file: bool,
    /// Dangling links and missing directories that are still allowed.
    steps: u8,
    root: &'a CStr,
    path: Path,
}

impl<'a> Walk<'a> {
    pub(crate) const fn new(root: &'a CStr, is_file: bool) -> Self {
        Self { path: Path::new(), start: 0, root, is_file, steps: MAX_STEPS }
    }

    /// Returns the last name: the file's in its directory, after all links.
    pub(crate) fn name(&self) -> &CStr {
        self.path.tail(self.start)
    }

    /// Makes the directory of the path up to its first NUL the working directory.
    #[inline(never)]
    fn enter_part(&self) -> Result<(), Errno> {
        fchdir(&find(self.root, self.path.text(), OFlags::DIRECTORY)?)
    }

    /// Walks along a path, and makes the directory the working directory.
    #[inline(never)]
    pub(crate) fn to(&mut self, path: &[u8]) -> Result<(), Errno> {
        chdir(self.root)?;
        // With the root's own name no part of the path, up to a slash, is empty.
        const ROOT: &[u8] = b"./";
        self.path.fill(&[ROOT, path]);
        self.start = ROOT.len();
        loop {
            let mut end = self.start;
            let separator = loop {
                match self.path.byte(end) {
                    separator @ (b'/' | 0) => break separator,
                    _ => end = end.wrapping_add(1),
                }
            };
            self.path.put(end, 0);
            let is_file = self.is_file && separator == 0;
            let entered = if is_file { Err(Errno::NOENT) } else { self.enter_part() };
            let mut room = files::buffer::<MAX_PATH>();
            let mut link = &b""[..];
            match entered {
                Ok(()) if separator == 0 => return Ok(()),
                Ok(()) => {}
                Err(Errno::NOENT) => {
                    let Some(steps) = self.steps.checked_sub(1) else { return Err(Errno::LOOP) };
                    self.steps = steps;
                    match fd::read_link(self.name(), &mut room) {
                        Ok(text) => link = text,
                        Err(_) if is_file => return Ok(()),
                        Err(_) => make_directory(self.name())?,
                    }
                }
                failed => return failed,
            }
            self.path.put(end, separator);
            if entered.is_ok() {
                self.start = end.wrapping_add(1);
            } else if let [first, ..] = link {
                let before = if *first == b'/' { 0 } else { self.start };
                let mut path = Path::new();
                let path = path.fill(&[self.path.head(before), link, self.path.tail(end).to_bytes()]);
                return self.to(path.to_bytes());
            }
        }
    }
}
