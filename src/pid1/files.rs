//! Small files and paths, without a heap.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fs::{Mode, OFlags, mkdir};
use whit::error::Errno;
use whit::text::{split, strip_prefix};

use crate::sys::c_str;
use crate::sys::fd::{self, Fd};

/// Room for a file of up to `SIZE - 1` bytes.
pub(crate) const fn buffer<const SIZE: usize>() -> [MaybeUninit<u8>; SIZE] {
    [MaybeUninit::uninit(); SIZE]
}

/// Reads a whole file.
///
/// # Errors
/// EFBIG when it fills the buffer: it may be longer.
pub(crate) fn read<'a>(path: &CStr, buffer: &'a mut [MaybeUninit<u8>]) -> Result<&'a mut [u8], Errno> {
    read_open(&fd::open(path, OFlags::RDONLY)?, buffer)
}

/// Reads a whole file from its descriptor, as [`read`] does.
pub(crate) fn read_open<'a>(file: &Fd, buffer: &'a mut [MaybeUninit<u8>]) -> Result<&'a mut [u8], Errno> {
    let size = buffer.len();
    // One read returns all of a regular file that fits (a signal cannot interrupt it: all are blocked).
    let text = fd::read(file, buffer)?;
    if text.len() < size { Ok(text) } else { Err(Errno::FBIG) }
}

/// The value of `key` in a small file: the rest of the first part that starts with it. The parts begin at byte `at`, and each ends
/// with `end`. Empty when there is none.
#[inline(never)]
pub(crate) fn value_of<'a>(room: &'a mut [u8], file: &CStr, at: u64, end: u8, key: &[u8]) -> &'a [u8] {
    let length = fd::open(file, OFlags::RDONLY).map_or(0, |file| fd::read_at(&file, room, at));
    let mut texts = split(room.get(..length).unwrap_or_default(), end);
    texts.find_map(|text| strip_prefix(text, key)).unwrap_or_default()
}

/// Passes every line of a list of the kernel's to `visit`, however long the list: one read(2) returns a page of it at most. Returns
/// whether the whole list was read.
#[inline(never)]
pub(crate) fn each_line(path: &CStr, visit: &mut dyn FnMut(&[u8])) -> bool {
    let Ok(list) = fd::open(path, OFlags::RDONLY) else { return false };
    let mut lines = Lines::of(&list);
    while let Some(line) = lines.next() {
        visit(line);
    }
    lines.is_at_end()
}

/// The lines of a file, each without its newline and not longer than the window.
pub(crate) struct Lines<'a> {
    file: &'a Fd,
    window: [u8; 4096],
    /// What of the window was not returned yet.
    start: usize,
    end: usize,
    /// Where the window stands in the file.
    at: u64,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(file: &'a Fd) -> Self {
        Self { file, window: [0; _], start: 0, end: 0, at: 0 }
    }

    /// Whether the last line that was returned was the file's last.
    fn is_at_end(&self) -> bool {
        self.start == self.end
    }

    fn find(&self) -> Option<usize> {
        self.window.get(self.start..self.end)?.iter().position(|byte| *byte == b'\n')
    }

    #[inline(never)]
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        if self.find().is_none() {
            self.at += self.start as u64;
            self.start = 0;
            self.end = fd::read_at(self.file, &mut self.window, self.at);
        }
        let (start, length) = (self.start, self.find()?);
        self.start += length + 1;
        self.window.get(start..start + length)
    }
}

/// The longest path.
pub(crate) const MAX_PATH: usize = 1024;

/// Room for a path, or another text for the kernel.
pub(crate) struct Path(heapless::Vec<u8, MAX_PATH>);

impl Path {
    pub(crate) const fn new() -> Self {
        Self(heapless::Vec::new())
    }

    /// Makes it the path of a file in a directory. One that has no room becomes a name of more than 255 bytes, at which the
    /// kernel says ENAMETOOLONG.
    #[inline(never)]
    pub(crate) fn join(&mut self, directory: &[u8], name: &[u8]) -> &CStr {
        self.fill(&[directory, b"/", name])
    }

    /// Makes it a text, as [`Path::join`] does.
    #[inline(never)]
    pub(crate) fn set(&mut self, text: &[u8]) -> &CStr {
        self.fill(&[text])
    }

    /// Makes it a path as the kernel lists it: a space, tab, newline or backslash is a backslash and three octal digits there
    /// (fs/seq_file.c, mangle_path()).
    pub(crate) fn set_listed(&mut self, mut text: &[u8]) -> &CStr {
        self.0.clear();
        while let [byte, rest @ ..] = text {
            text = rest;
            let mut byte = *byte;
            if let (b'\\', [d0 @ b'0'..=b'3', d1 @ b'0'..=b'7', d2 @ b'0'..=b'7', rest @ ..]) = (byte, rest) {
                byte = (d0 & 3) << 6 | (d1 & 7) << 3 | (d2 & 7);
                text = rest;
            }
            let _ = self.0.push(byte);
        }
        let _ = self.0.push(0);
        self.text()
    }

    #[inline(never)]
    fn fill(&mut self, parts: &[&[u8]]) -> &CStr {
        self.0.clear();
        if !parts.iter().all(|part| self.0.extend_from_slice(part).is_ok()) || self.0.is_full() {
            self.0.clear();
            while self.0.len() < MAX_PATH - 1 && self.0.push(b'x').is_ok() {}
        }
        let _ = self.0.push(0);
        self.text()
    }

    /// The text.
    pub(crate) fn text(&self) -> &CStr {
        c_str(&self.0)
    }

    /// Puts one byte in the place of another, wherever that stands.
    pub(crate) fn replace(&mut self, old: u8, new: u8) {
        for byte in self.0.iter_mut().filter(|byte| **byte == old) {
            *byte = new;
        }
    }
}

/// Makes a directory and those above it; one that exists is fine.
pub(crate) fn make_directories(path: &[u8]) -> Result<(), Errno> {
    let mut room = Path::new();
    for end in 1..=path.len() {
        if let None | Some(b'/') = path.get(end) {
            make_directory(room.set(path.get(..end).unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// Makes one directory; one that exists is fine.
pub(crate) fn make_directory(path: &CStr) -> Result<(), Errno> {
    match mkdir(path, Mode::from_raw_mode(0o755)).map_err(Errno::from) {
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}
