//! Writes newc archives: the same entries give the same bytes.
//!
//! Inode numbers count up, the device is 0:0, and digits are upper case as in GNU cpio. Entries that the kernel would skip
//! or truncate (init/initramfs.c, do_header() and do_name()) are refused.

use std::io::{self, Read, Write};
use std::sync::Arc;

use super::refused::{Refused, check_name, text};
use super::{DEVICE_MAX, HEADER_BYTES, MAGIC, MAGIC_CHECKSUM, NAME_MAX_BYTES, TRAILER, file_type, padding};
use crate::cli::progress::Progress;

/// GNU cpio's block size. Archives are padded to it, so that `cat` can append another segment.
const BLOCK_BYTES: u64 = 512;
/// Bytes read from a file at a time.
const COPY_BYTES: u64 = 256 << 10;
/// The page size of x86-64.
const PAGE_BYTES: u64 = 4096;
/// The longest symbolic link that a tmpfs stores without a page (mm/shmem.c, SHORT_SYMLINK_LEN, with the NUL).
const SHORT_TARGET_BYTES: usize = 127;
/// The longest target that a system call accepts: PATH_MAX counts the NUL.
const TARGET_MAX_BYTES: usize = NAME_MAX_BYTES - 1;

/// The type of file that an entry creates; regular files have their own functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// A character device of this major and minor number.
    Character(u32, u32),
    /// A block device of this major and minor number.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
    /// A Unix socket's name.
    Socket,
}

impl Kind {
    const fn type_bits(&self) -> u32 {
        match self {
            Self::Directory => file_type::DIRECTORY,
            Self::Symlink(_) => file_type::SYMLINK,
            Self::Character(..) => file_type::CHARACTER,
            Self::Block(..) => file_type::BLOCK,
            Self::Fifo => file_type::FIFO,
            Self::Socket => file_type::SOCKET,
        }
    }
}

/// The permissions, owner and modification time of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The modification time, in seconds since 1970; `None` for the archive's default.
    pub mtime: Option<u32>,
}

impl Meta {
    /// Returns the metadata of a file owned by root, with the permissions `mode`.
    #[must_use]
    pub const fn root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0, mtime: None }
    }
}

/// The result of [`Writer::finish`].
#[derive(Debug, PartialEq, Eq)]
pub struct Finished<W> {
    /// The output.
    pub out: W,
    /// Its length.
    pub bytes: u64,
    /// The number of entries.
    pub entries: u64,
    /// The memory that its files take when unpacked.
    pub unpacked: Unpacked,
}

/// The memory that files take when the kernel has unpacked them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Inodes: files of any type. Hard links count once.
    pub inodes: u64,
    /// Pages of 4 KiB.
    pub pages: u64,
}

impl Unpacked {
    fn add(&mut self, bytes: u64) {
        self.inodes += 1;
        self.pages += bytes.div_ceil(PAGE_BYTES);
    }
}

/// The names of one file, hard links to each other: a slice, or an iterator that builds them one by one to save memory.
pub trait Names: IntoIterator<Item: AsRef<[u8]>, IntoIter: ExactSizeIterator + DoubleEndedIterator + Clone> {}

impl<T> Names for T where T: IntoIterator<Item: AsRef<[u8]>, IntoIter: ExactSizeIterator + DoubleEndedIterator + Clone> {}

/// Writes entries in sequence; [`Writer::finish`] ends the archive.
pub struct Writer<W> {
    out: W,
    position: u64,
    entries: u64,
    last_inode: u32,
    mtime: u32,
    is_summed: bool,
    unpacked: Unpacked,
    progress: Arc<Progress>,
}

/// The fields of a header that differ from one entry to the next.
struct Header {
    inode: u32,
    mode: u32,
    meta: Meta,
    links: u32,
    size: u32,
    device: (u32, u32),
}

impl<W: Write> Writer<W> {
    /// Creates a writer; `mtime` is the default modification time, in seconds since 1970.
    pub fn new(out: W, mtime: u32) -> Self {
        let (unpacked, progress) = (Unpacked::default(), Arc::default());
        Self { out, position: 0, entries: 0, last_inode: 0, mtime, is_summed: false, unpacked, progress }
    }

    /// Selects entries with checksums (`070702`), which a kernel compares with the data that it unpacks.
    #[must_use]
    pub fn summed(self, is_summed: bool) -> Self {
        Self { is_summed, ..self }
    }

    /// Reports progress to `progress`.
    #[must_use]
    pub fn watched(self, progress: Arc<Progress>) -> Self {
        Self { progress, ..self }
    }

    /// Returns the output.
    pub fn out(&self) -> &W {
        &self.out
    }

    /// Returns the number of bytes written so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Returns the number of entries written so far.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Returns the output without writing a trailer.
    pub(crate) fn into_inner(self) -> W {
        self.out
    }

    /// Continues the same archive in another output.
    pub fn continue_in<V>(self, convert: impl FnOnce(W) -> V) -> Writer<V> {
        let Self { out, position, entries, last_inode, mtime, is_summed, unpacked, progress } = self;
        Writer { out: convert(out), position, entries, last_inode, mtime, is_summed, unpacked, progress }
    }

    /// Adds a regular file owned by root that takes as many bytes as one with `most` bytes of data: NULs after the name fill
    /// the difference (buffer-format.rst: `namesize` counts them). It can be overwritten later with another text.
    ///
    /// # Errors
    /// See [`Writer::file`].
    pub fn padded(&mut self, name: &[u8], text: &[u8], most: usize) -> Result<(), Refused> {
        check_name(name)?;
        let (size, most) = (text.len() as u32, most.max(text.len()) as u32); // one line of text
        let padding = most.next_multiple_of(4) - size.next_multiple_of(4);
        self.entries += 1;
        self.unpacked.add(size.into());
        let inode = self.next_inode();
        let mode = file_type::REGULAR | 0o644;
        let fields = [inode, mode, 0, 0, 1, self.mtime, size, 0, 0, 0, 0];
        self.raw_header(name, padding as usize, fields, sum(text))?;
        self.write(text)?;
        self.pad(4)
    }

    /// Adds an entry that is not a regular file.
    ///
    /// # Errors
    /// A name, target or device that the kernel would not accept; errors of writing.
    pub fn node(&mut self, name: &[u8], meta: Meta, kind: &Kind) -> Result<(), Refused> {
        self.nodes(&[name], meta, kind)
    }

    /// Adds an entry that is not a regular file under each of `names`, which are hard links to each other. Symbolic
    /// links are an exception: the kernel creates a separate one for each name (init/initramfs.c, do_symlink()).
    ///
    /// # Errors
    /// See [`Writer::node`].
    pub fn nodes(&mut self, names: impl Names, meta: Meta, kind: &Kind) -> Result<(), Refused> {
        let names = names.into_iter();
        let (links, bytes) = match kind {
            Kind::Directory => (2, 0),
            Kind::Symlink(target) if target.len() > SHORT_TARGET_BYTES => (1, target.len()),
            Kind::Symlink(_) => (1, 0),
            _ => (u32::try_from(names.len()).unwrap_or(u32::MAX), 0),
        };
        let mut shared = None;
        for name in names {
            let inode = match shared {
                Some(inode) if links > 1 => inode,
                _ => {
                    self.unpacked.add(bytes as u64);
                    self.next_inode()
                }
            };
            shared = Some(inode);
            self.node_as(name.as_ref(), inode, links, meta, kind)?;
        }
        Ok(())
    }

    fn node_as(&mut self, name: &[u8], inode: u32, links: u32, meta: Meta, kind: &Kind) -> Result<(), Refused> {
        let (target, device) = match kind {
            Kind::Symlink(target) => (target.as_slice(), (0, 0)),
            Kind::Character(major, minor) | Kind::Block(major, minor) => (&[][..], (*major, *minor)),
            Kind::Directory | Kind::Fifo | Kind::Socket => (&[][..], (0, 0)),
        };
        let fits = (1..=TARGET_MAX_BYTES).contains(&target.len()) && !target.contains(&0);
        if matches!(kind, Kind::Symlink(_)) && !fits {
            return Err(Refused::Target(text(name)));
        }
        if device.0 > DEVICE_MAX.0 || device.1 > DEVICE_MAX.1 {
            return Err(Refused::Device(text(name)));
        }
        let size = target.len() as u32; // at most TARGET_MAX_BYTES
        self.header(name, &Header { inode, mode: kind.type_bits() | meta.mode, meta, links, size, device }, 0)?;
        self.write(target)?;
        self.pad(4)
    }

    /// Adds a regular file of `size` bytes under each of `names`, which are hard links to each other.
    ///
    /// The data follow the last name, where every reader expects them (GNU cpio, copyin.c: earlier names are created when
    /// the last one is read). With checksums, all data are kept in memory; [`Writer::file_of`] reads them twice instead.
    ///
    /// # Errors
    /// A name or size that the format cannot hold; data that end early; errors of reading and writing.
    pub fn file(&mut self, names: impl Names, meta: Meta, size: u64, data: impl Read) -> Result<(), Refused> {
        let names = names.into_iter();
        if !self.is_summed {
            return self.file_with(names, meta, size, 0, data);
        }
        let mut bytes = Vec::new();
        let name = || last(&names);
        data.take(size).read_to_end(&mut bytes).map_err(|error| Refused::Read { name: name(), error })?;
        self.file_with(names, meta, size, sum(&bytes), bytes.as_slice())
    }

    /// Adds a regular file whose data can be opened twice. A checksum needs that: it precedes the data.
    ///
    /// # Errors
    /// See [`Writer::file`]; errors of opening.
    pub fn file_of<D: Read>(
        &mut self,
        names: impl Names,
        meta: Meta,
        size: u64,
        open: impl Fn() -> io::Result<D>,
    ) -> Result<(), Refused> {
        let names = names.into_iter();
        let name = || last(&names);
        let opened = || open().map_err(|error| Refused::Read { name: name(), error });
        let mut check = 0;
        // A file that is too large is refused below; it is not read for its sum.
        if self.is_summed && size <= u32::MAX.into() {
            check = sum_of(opened()?.take(size)).map_err(|error| Refused::Read { name: name(), error })?;
        }
        let data = opened()?;
        self.file_with(names, meta, size, check, data)
    }

    fn file_with(
        &mut self,
        mut names: impl ExactSizeIterator<Item: AsRef<[u8]>> + DoubleEndedIterator + Clone,
        meta: Meta,
        size: u64,
        check: u32,
        data: impl Read,
    ) -> Result<(), Refused> {
        if names.len() == 0 {
            return Ok(());
        }
        let size = u32::try_from(size).map_err(|_| Refused::LargeFile { name: last(&names), bytes: size })?;
        let inode = self.next_inode();
        self.unpacked.add(u64::from(size));
        let links = u32::try_from(names.len()).unwrap_or(u32::MAX);
        let mode = file_type::REGULAR | meta.mode;
        let header = |size| Header { inode, mode, meta, links, size, device: (0, 0) };
        for name in names.clone().take(names.len() - 1) {
            self.header(name.as_ref(), &header(0), 0)?;
        }
        if let Some(name) = names.next_back() {
            self.header(name.as_ref(), &header(size), check)?;
            self.copy(name.as_ref(), u64::from(size), data)?;
        }
        self.pad(4)
    }

    /// Writes the trailer and the padding.
    ///
    /// # Errors
    /// Errors of writing.
    pub fn finish(mut self) -> Result<Finished<W>, Refused> {
        self.raw_header(TRAILER, 0, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], 0)?;
        self.pad(BLOCK_BYTES)?;
        let Self { out, position: bytes, entries, unpacked, .. } = self;
        Ok(Finished { out, bytes, entries, unpacked })
    }

    fn next_inode(&mut self) -> u32 {
        self.last_inode += 1;
        self.last_inode
    }

    fn header(&mut self, name: &[u8], header: &Header, check: u32) -> Result<(), Refused> {
        check_name(name)?;
        self.entries += 1;
        let Header { inode, mode, meta, links, size, device } = *header;
        let mtime = meta.mtime.unwrap_or(self.mtime);
        self.progress.add_file();
        let fields = [inode, mode, meta.uid, meta.gid, links, mtime, size, 0, 0, device.0, device.1];
        self.raw_header(name, 0, fields, check)
    }

    /// Writes the magic, `ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check`, the name,
    /// its NUL, and `nuls` more.
    fn raw_header(&mut self, name: &[u8], nuls: usize, fields: [u32; 11], check: u32) -> Result<(), Refused> {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let namesize = (name.len() + 1 + nuls) as u32; // check_name: at most NAME_MAX_BYTES; `nuls`: one line of text
        let mut bytes = Vec::with_capacity(HEADER_BYTES + name.len() + 4);
        bytes.extend_from_slice(if self.is_summed { MAGIC_CHECKSUM } else { MAGIC });
        let check = if self.is_summed { check } else { 0 };
        for field in fields.into_iter().chain([namesize, check]) {
            bytes.extend((0..8).rev().map(|digit| DIGITS[(field >> (4 * digit) & 0xf) as usize]));
        }
        bytes.extend_from_slice(name);
        bytes.resize(bytes.len() + 1 + nuls, 0);
        self.write(&bytes)?;
        self.pad(4)
    }

    /// Copies exactly `size` bytes. io::copy does not report whether reading or writing failed.
    fn copy(&mut self, name: &[u8], size: u64, mut data: impl Read) -> Result<(), Refused> {
        let mut buffer = vec![0; size.min(COPY_BYTES) as usize];
        let mut missing = size;
        while missing > 0 {
            let room = buffer.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
            match data.read(&mut buffer[..room]) {
                Ok(0) => return Err(Refused::Shrunk(text(name))),
                Ok(count) => {
                    self.write(&buffer[..count])?;
                    missing -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Refused::Read { name: text(name), error }),
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        self.out.write_all(bytes).map_err(Refused::Write)?;
        self.position += bytes.len() as u64;
        self.progress.add_bytes(bytes.len() as u64);
        Ok(())
    }

    fn pad(&mut self, alignment: u64) -> Result<(), Refused> {
        let zeros = [0; BLOCK_BYTES as usize];
        self.write(&zeros[..padding(self.position, alignment) as usize])
    }
}

/// Returns the last of the names, for a message.
fn last(names: &(impl DoubleEndedIterator<Item: AsRef<[u8]>> + Clone)) -> String {
    names.clone().next_back().map_or_else(String::new, |name| text(name.as_ref()))
}

/// Returns the value of `check` for these bytes (buffer-format.rst: "the least-significant 32 bits of the sum of all bytes").
fn sum(bytes: &[u8]) -> u32 {
    // A part of 64 KiB cannot overflow 32 bits, so the compiler can vectorise its sum.
    bytes.chunks(1 << 16).fold(0, |sum, part| sum.wrapping_add(part.iter().map(|byte| u32::from(*byte)).sum()))
}

fn sum_of(mut data: impl Read) -> io::Result<u32> {
    let mut buffer = vec![0; COPY_BYTES as usize];
    let mut total = 0_u32;
    loop {
        match data.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => total = total.wrapping_add(sum(&buffer[..count])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
