//! Small files and paths, without a heap.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fs::OFlags;
use whit::dirent::names;
use whit::error::Errno;
use whit::passwd::Lines as _;
use whit::text::value_in;

use crate::sys::c_str;
use crate::sys::call::mkdir;
use crate::sys::fd::{self, Fd};
use crate::sys::window::Window;

/// Returns room for a file of up to `SIZE - 1` bytes.
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
#[inline(never)]
pub(crate) fn read_open<'a>(file: &Fd, buffer: &'a mut [MaybeUninit<u8>]) -> Result<&'a mut [u8], Errno> {
    let size = buffer.len();
    // One read returns all of a regular file that fits (a signal cannot interrupt it: all are blocked).
    let text = fd::read(file, buffer)?;
    if text.len() < size { Ok(text) } else { Err(Errno::FBIG) }
}

/// Writes a value to a file that is there, such as a setting of the kernel.
#[inline(never)]
pub(crate) fn write(path: &CStr, value: &[u8]) -> Result<(), Errno> {
    fd::write(&fd::open(path, OFlags::WRONLY)?, value)
}

/// Returns the value of `key` in a small file: the rest of the first text that starts with it. The texts begin at byte `at`, and each
/// ends with `end`. Empty when there is none.
#[inline(never)]
pub(crate) fn value_of<'a>(room: &'a mut [u8], file: &CStr, at: usize, end: u8, key: &[u8]) -> &'a [u8] {
    let length = fd::open(file, OFlags::RDONLY).and_then(|file| fd::read_into(&file, room)).unwrap_or_default();
    value_in(room.get(at..length).unwrap_or_default(), end, key).unwrap_or_default()
}

/// Passes every line of a file in /proc to `visit`. The file may have any length: one read(2) returns at most a page of it. Returns
/// whether the whole file was read.
#[inline(never)]
pub(crate) fn each_line(path: &CStr, visit: &mut dyn FnMut(&[u8])) -> bool {
    let Ok(list) = fd::open(path, OFlags::RDONLY) else { return false };
    let mut lines = Lines::of(Some(&list));
    while let Some(line) = lines.next() {
        visit(line);
    }
    lines.is_at_end()
}

/// Passes the name of each entry of a directory to `visit`; ends at an error.
#[inline(never)]
pub(crate) fn each_name(directory: &Fd, visit: &mut dyn FnMut(&CStr)) {
    // `visit` may do the same for a directory below: the room is small. Names are at most 255 bytes (linux/limits.h, NAME_MAX).
    let mut room = buffer::<512>();
    while let Ok(entries @ [_, ..]) = fd::entries(directory, &mut room) {
        names(entries).for_each(|name| visit(c_str(name)));
    }
}

/// Bytes of a window. With the fields before it, it is less than a page: a function with a larger frame touches each of its pages first.
const WINDOW: usize = 4000;

/// The lines of a file, each without its newline. A line that is longer than the window is cut into parts, at a comma if it has one: a
/// long list of group members is then several lists.
#[repr(C)] // Small fields first, as in the machine.
pub(crate) struct Lines<'a> {
    /// `None` has no lines.
    file: Option<&'a Fd>,
    /// The current line in the window.
    start: usize,
    length: usize,
    /// The part of the window after it.
    rest: usize,
    /// The offset of the window in the file.
    at: u64,
    /// The line continues in the next part.
    is_cut: bool,
    /// The line is a part, and not the first.
    continues: bool,
    window: Window<WINDOW>,
}

impl<'a> Lines<'a> {
    #[inline(never)]
    pub(crate) fn of(file: Option<&'a Fd>) -> Self {
        Self { file, window: Window::new(), start: 0, length: 0, rest: 0, at: 0, is_cut: false, continues: false }
    }

    /// Returns whether the last line that was returned was the file's last.
    fn is_at_end(&self) -> bool {
        self.rest == self.window.bytes().len() && !self.is_cut
    }

    fn find(&self) -> Option<usize> {
        self.window.bytes().get(self.rest..)?.iter().position(|byte| *byte == b'\n')
    }

    /// Returns the next line; `None` after the last, and for a line that is longer than the window.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        (self.advance() && !self.is_cut).then(|| self.line())
    }
}

impl whit::passwd::Lines for Lines<'_> {
    #[inline(never)]
    fn advance(&mut self) -> bool {
        let mut newline = self.find();
        if newline.is_none() {
            self.at += self.rest as u64;
            self.rest = 0;
            self.file.iter().for_each(|file| self.window.read_at(file, self.at));
            newline = self.find();
        }
        self.start = self.rest;
        self.continues = self.is_cut;
        let end = self.window.bytes().len();
        self.is_cut = newline.is_none() && end == WINDOW;
        self.length = match newline {
            Some(length) => length,
            None if self.is_cut => self.window.bytes().iter().rposition(|byte| *byte == b',').unwrap_or(end),
            None => end,
        };
        // Without its newline or comma.
        self.rest = end.min(self.rest + self.length + 1);
        end > 0
    }

    fn line(&self) -> &[u8] {
        self.window.bytes().get(self.start..self.start + self.length).unwrap_or_default()
    }

    fn continues(&self) -> bool {
        self.continues
    }
}

/// The longest path.
pub(crate) const MAX_PATH: usize = 1024;

/// Room for a path, or another text for the kernel.
pub(crate) struct Path(whit::bounded::Vec<u8, MAX_PATH>);

impl Path {
    pub(crate) const fn new() -> Self {
        Self(whit::bounded::Vec::new())
    }

    /// Sets the path of a file in a directory. A path that is too long becomes a name of more than 255 bytes, for which the kernel
    /// returns ENAMETOOLONG.
    #[inline(never)]
    pub(crate) fn join(&mut self, directory: &[u8], name: &[u8]) -> &CStr {
        self.fill(&[directory, b"/", name])
    }

    /// Sets a text, as [`Path::join`] does.
    #[inline(never)]
    pub(crate) fn set(&mut self, text: &[u8]) -> &CStr {
        self.fill(&[text])
    }

    /// Sets a path from a list of the kernel, where a space, tab, newline or backslash is a backslash and three octal digits
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

    /// Joins these parts to a text, as [`Path::join`] does.
    #[inline(never)]
    pub(crate) fn fill(&mut self, parts: &[&[u8]]) -> &CStr {
        self.0.clear();
        self.append(parts)
    }

    /// Appends to a text, as [`Path::join`] sets one.
    #[inline(never)]
    pub(crate) fn append(&mut self, parts: &[&[u8]]) -> &CStr {
        self.0.pop();
        if !parts.iter().all(|part| self.0.extend_from_slice(part).is_ok()) || self.0.is_full() {
            self.0.clear();
            while self.0.len() < MAX_PATH - 1 && self.0.push(b'x').is_ok() {}
        }
        let _ = self.0.push(0);
        self.text()
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> &CStr {
        c_str(&self.0)
    }

    /// Returns the text before index `end`.
    pub(crate) fn head(&self, end: usize) -> &[u8] {
        self.0.get(..end).unwrap_or_default()
    }

    /// Returns the text from index `start` on.
    #[inline(never)]
    pub(crate) fn tail(&self, start: usize) -> &CStr {
        c_str(self.0.get(start..).unwrap_or_default())
    }

    /// Returns the byte at index `place`; NUL after the text.
    #[inline(never)]
    pub(crate) fn byte(&self, place: usize) -> u8 {
        self.0.get(place).copied().unwrap_or_default()
    }

    /// Sets the byte at index `place`; a NUL ends the text there.
    pub(crate) fn put(&mut self, place: usize, byte: u8) {
        if let Some(place) = self.0.get_mut(place) {
            *place = byte;
        }
    }

    /// Replaces every byte `old` with `new`.
    pub(crate) fn replace(&mut self, old: u8, new: u8) {
        for byte in self.0.iter_mut().filter(|byte| **byte == old) {
            *byte = new;
        }
    }
}

/// Creates one directory, unless it exists.
#[inline(never)]
pub(crate) fn make_directory(path: &CStr) -> Result<(), Errno> {
    match mkdir(path) {
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}
