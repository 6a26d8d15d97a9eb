//! Writes newc archives: the same entries give the same bytes.
//!
//! Inode numbers are counted, the device is 0:0, every digit is upper case as GNU cpio's are. What the kernel would skip
//! or cut (init/initramfs.c, do_header() and do_name()) is refused.

use std::io::{self, Read, Write};

use super::refused::{Refused, check_name, text};
use super::{HEADER_BYTES, MAGIC, NAME_MAX_BYTES, TRAILER, file_type, padding};

/// GNU cpio's block: archives end on it, so that another segment may follow one with `cat`.
const BLOCK_BYTES: u64 = 512;
/// What is read of a file at a time.
const COPY_BYTES: u64 = 256 << 10;
/// The page of every machine that whit runs on.
const PAGE_BYTES: u64 = 4096;
/// Targets of symbolic links that a tmpfs keeps without a page (mm/shmem.c, SHORT_SYMLINK_LEN, with the NUL).
const SHORT_TARGET_BYTES: usize = 127;
/// The name must be usable through a system call: PATH_MAX counts its NUL.
const TARGET_MAX_BYTES: usize = NAME_MAX_BYTES - 1;
/// A device number of the kernel's has 12 bits of major and 20 of minor (include/linux/kdev_t.h).
const MAJOR_MAX: u32 = (1 << 12) - 1;
const MINOR_MAX: u32 = (1 << 20) - 1;

/// What kind of file an entry makes.
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

/// Who owns a file and what they may do with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When it was modified, in seconds since 1970; none: as all that says nothing of that.
    pub mtime: Option<u32>,
}

impl Meta {
    /// Files of root with the permissions `mode`.
    #[must_use]
    pub const fn root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0, mtime: None }
    }
}

/// What [`Writer::finish`] gives back.
#[derive(Debug, PartialEq, Eq)]
pub struct Finished<W> {
    /// What the archive was written to.
    pub out: W,
    /// Its length.
    pub bytes: u64,
    /// How many names it has.
    pub entries: u64,
    /// What its files take.
    pub unpacked: Unpacked,
}

/// What files take once the kernel has unpacked them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Inodes: files of any kind, however many names they have.
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

/// Writes entries one after the other; [`Writer::finish`] ends the archive.
pub struct Writer<W> {
    out: W,
    position: u64,
    entries: u64,
    last_inode: u32,
    mtime: u32,
    unpacked: Unpacked,
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
    /// An archive in which every file was modified at `mtime`, in seconds since 1970.
    pub fn new(out: W, mtime: u32) -> Self {
        Self { out, position: 0, entries: 0, last_inode: 0, mtime, unpacked: Unpacked::default() }
    }

    /// Where the archive goes.
    pub fn out(&self) -> &W {
        &self.out
    }

    /// Goes on with the same archive in another place.
    pub fn continue_in<V>(self, turn: impl FnOnce(W) -> V) -> Writer<V> {
        let Self { out, position, entries, last_inode, mtime, unpacked } = self;
        Writer { out: turn(out), position, entries, last_inode, mtime, unpacked }
    }

    /// Adds a regular file of root's, in as many bytes as one that holds `most` would take: NULs behind the name make up for
    /// what it is shorter (buffer-format.rst: `namesize` counts them). So it can be written once more with another text.
    ///
    /// # Errors
    /// See [`Writer::file`].
    pub fn padded(&mut self, name: &[u8], text: &[u8], most: usize) -> Result<(), Refused> {
        check_name(name)?;
        let (size, most) = (text.len() as u32, most.max(text.len()) as u32); // a line
        let padding = most.next_multiple_of(4) - size.next_multiple_of(4);
        self.entries += 1;
        self.unpacked.add(size.into());
        let inode = self.next_inode();
        let mode = file_type::REGULAR | 0o644;
        self.raw_header(name, padding as usize, [inode, mode, 0, 0, 1, self.mtime, size, 0, 0, 0, 0])?;
        self.write(text)?;
        self.pad(4)
    }

    /// Adds what is not a regular file.
    ///
    /// # Errors
    /// A name, target or device that the kernel would not take; those of writing.
    pub fn node(&mut self, name: &[u8], meta: Meta, kind: &Kind) -> Result<(), Refused> {
        self.nodes(&[name], meta, kind)
    }

    /// Adds what is not a regular file under each of `names`, which are hard links to each other. But for symbolic links, of
    /// which the kernel makes one for each name (init/initramfs.c, do_symlink()).
    ///
    /// # Errors
    /// See [`Writer::node`].
    pub fn nodes<N: AsRef<[u8]>>(&mut self, names: &[N], meta: Meta, kind: &Kind) -> Result<(), Refused> {
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
        if device.0 > MAJOR_MAX || device.1 > MINOR_MAX {
            return Err(Refused::Device(text(name)));
        }
        let size = target.len() as u32; // at most TARGET_MAX_BYTES
        self.header(name, &Header { inode, mode: kind.type_bits() | meta.mode, meta, links, size, device })?;
        self.write(target)?;
        self.pad(4)
    }

    /// Adds a regular file of `size` bytes under each of `names`, which are hard links to each other.
    ///
    /// The data stand with the last name, where every reader expects them (GNU cpio, copyin.c: an earlier name is made
    /// when the last comes).
    ///
    /// # Errors
    /// A name or size that the format has no room for; data that end early; those of reading and writing.
    pub fn file<N: AsRef<[u8]>>(&mut self, names: &[N], meta: Meta, size: u64, data: impl Read) -> Result<(), Refused> {
        let Some((last, others)) = names.split_last() else { return Ok(()) };
        let name = text(last.as_ref());
        let size = u32::try_from(size).map_err(|_| Refused::LargeFile { name: name.clone(), bytes: size })?;
        let inode = self.next_inode();
        self.unpacked.add(u64::from(size));
        let links = u32::try_from(names.len()).unwrap_or(u32::MAX);
        let mode = file_type::REGULAR | meta.mode;
        for other in others {
            self.header(other.as_ref(), &Header { inode, mode, meta, links, size: 0, device: (0, 0) })?;
        }
        self.header(last.as_ref(), &Header { inode, mode, meta, links, size, device: (0, 0) })?;
        self.copy(&name, u64::from(size), data)?;
        self.pad(4)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> Result<Finished<W>, Refused> {
        self.raw_header(TRAILER, 0, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
        self.pad(BLOCK_BYTES)?;
        let Self { out, position: bytes, entries, unpacked, .. } = self;
        Ok(Finished { out, bytes, entries, unpacked })
    }

    fn next_inode(&mut self) -> u32 {
        self.last_inode += 1;
        self.last_inode
    }

    fn header(&mut self, name: &[u8], header: &Header) -> Result<(), Refused> {
        check_name(name)?;
        self.entries += 1;
        let Header { inode, mode, meta, links, size, device } = *header;
        let mtime = meta.mtime.unwrap_or(self.mtime);
        self.raw_header(name, 0, [inode, mode, meta.uid, meta.gid, links, mtime, size, 0, 0, device.0, device.1])
    }

    /// Writes magic, `ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check`, name, and more
    /// NULs behind it.
    fn raw_header(&mut self, name: &[u8], nuls: usize, fields: [u32; 11]) -> Result<(), Refused> {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let namesize = (name.len() + 1 + nuls) as u32; // check_name: at most NAME_MAX_BYTES, and a line
        let mut bytes = Vec::with_capacity(HEADER_BYTES + name.len() + 4);
        bytes.extend_from_slice(MAGIC);
        for field in fields.into_iter().chain([namesize, 0]) {
            bytes.extend((0..8).rev().map(|digit| DIGITS[(field >> (4 * digit) & 0xf) as usize]));
        }
        bytes.extend_from_slice(name);
        bytes.resize(bytes.len() + 1 + nuls, 0);
        self.write(&bytes)?;
        self.pad(4)
    }

    /// Copies exactly `size` bytes. Not io::copy, which does not tell whether reading or writing failed.
    fn copy(&mut self, name: &str, size: u64, mut data: impl Read) -> Result<(), Refused> {
        let mut buffer = vec![0; size.min(COPY_BYTES) as usize];
        let mut missing = size;
        while missing > 0 {
            let room = buffer.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
            match data.read(&mut buffer[..room]) {
                Ok(0) => return Err(Refused::Shrunk(name.to_owned())),
                Ok(count) => {
                    self.write(&buffer[..count])?;
                    missing -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Refused::Read { name: name.to_owned(), error }),
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        self.out.write_all(bytes).map_err(Refused::Write)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, alignment: u64) -> Result<(), Refused> {
        let zeros = [0; BLOCK_BYTES as usize];
        self.write(&zeros[..padding(self.position, alignment) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(header: &str, name: &[u8], data: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = header.bytes().filter(|byte| *byte != b' ').collect();
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// What `cpio -o -H newc --reproducible` (GNU cpio 2.13) writes of these files, but for `ino`: there it counts from 0.
    #[test]
    fn bytes_are_those_of_gnu_cpio() {
        let mut writer = Writer::new(Vec::new(), 0x6500_0000);
        writer.node(b"dev", Meta::root(0o755), &Kind::Directory).unwrap();
        writer.node(b"dev/console", Meta::root(0o600), &Kind::Character(5, 1)).unwrap();
        writer.node(b"sh", Meta::root(0o777), &Kind::Symlink(b"bin/busybox".to_vec())).unwrap();
        let linked = Meta { mode: 0o4755, uid: 10, gid: 0xabcd, mtime: Some(0x1234) };
        writer.file(&["a", "b"], linked, 5, &b"hello, more"[..]).unwrap();
        let mut expected = Vec::new();
        for (header, name, data) in [
            (
                "070701 00000001 000041ED 00000000 00000000 00000002 65000000 00000000 00000000 00000000 00000000 00000000 00000004 00000000",
                "dev",
                "",
            ),
            (
                "070701 00000002 00002180 00000000 00000000 00000001 65000000 00000000 00000000 00000000 00000005 00000001 0000000C 00000000",
                "dev/console",
                "",
            ),
            (
                "070701 00000003 0000A1FF 00000000 00000000 00000001 65000000 0000000B 00000000 00000000 00000000 00000000 00000003 00000000",
                "sh",
                "bin/busybox",
            ),
            (
                "070701 00000004 000089ED 0000000A 0000ABCD 00000002 00001234 00000000 00000000 00000000 00000000 00000000 00000002 00000000",
                "a",
                "",
            ),
            (
                "070701 00000004 000089ED 0000000A 0000ABCD 00000002 00001234 00000005 00000000 00000000 00000000 00000000 00000002 00000000",
                "b",
                "hello",
            ),
            (
                "070701 00000000 00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 0000000B 00000000",
                "TRAILER!!!",
                "",
            ),
        ] {
            expected.extend(golden(header, name.as_bytes(), data.as_bytes()));
        }
        expected.resize(expected.len().next_multiple_of(512), 0);
        let finished = writer.finish().unwrap();
        assert_eq!((finished.entries, finished.bytes), (5, expected.len() as u64));
        assert_eq!(finished.out, expected);
    }

    #[test]
    fn each_limit_of_the_kernel_is_refused() {
        let deep = |length: usize| "abcdefg/".repeat(512).into_bytes()[..length].to_vec();
        let mut writer = Writer::new(io::sink(), 0);
        let mut directory = |name: &[u8]| writer.node(name, Meta::root(0o755), &Kind::Directory);
        assert!(directory(&deep(4095)).is_ok());
        assert!(matches!(directory(&[&deep(4095)[..], b"h"].concat()), Err(Refused::LongName(_))));
        assert!(directory(&[b'n'; 255]).is_ok());
        assert!(matches!(directory(&[b'n'; 256]), Err(Refused::LongName(_))));
        for name in ["", "/etc", "etc/", "a//b", "a/./b", "../b", "nul\0", "TRAILER!!!"] {
            assert!(matches!(directory(name.as_bytes()), Err(Refused::Name(_))), "{name:?}");
        }
        let mut link = |length| writer.node(b"link", Meta::root(0o777), &Kind::Symlink(vec![b't'; length]));
        assert!(link(4095).is_ok());
        assert!(matches!(link(4096), Err(Refused::Target(_))));
        assert!(matches!(link(0), Err(Refused::Target(_))));
        let nul = Kind::Symlink(b"a\0b".to_vec());
        assert!(matches!(writer.node(b"link", Meta::root(0o777), &nul), Err(Refused::Target(_))));
        for (kind, fits) in [
            (Kind::Character(4095, 1_048_575), true),
            (Kind::Block(4096, 0), false),
            (Kind::Character(0, 1_048_576), false),
        ] {
            let result = writer.node(b"device", Meta::root(0o600), &kind);
            assert_eq!(matches!(result, Err(Refused::Device(_))), !fits, "{kind:?}");
        }
        let limit = u64::from(u32::MAX);
        let mut file = |size, data: &mut dyn Read| writer.file(&["file"], Meta::root(0o644), size, data);
        assert!(
            matches!(file(limit + 1, &mut io::empty()), Err(Refused::LargeFile { bytes, .. }) if bytes == limit + 1)
        );
        // The largest size passes the check, and then wants its data.
        assert!(matches!(file(limit, &mut io::empty()), Err(Refused::Shrunk(_))));
        assert!(matches!(file(2, &mut &b"x"[..]), Err(Refused::Shrunk(_))));
    }

    #[test]
    fn data_of_every_length_are_aligned() {
        for length in 0..9 {
            let mut writer = Writer::new(Vec::new(), 0);
            writer.file(&["n"], Meta::root(0o644), length, io::repeat(1)).unwrap();
            assert_eq!(writer.position, HEADER_BYTES as u64 + 2 + length.next_multiple_of(4));
        }
    }

    #[test]
    fn a_padded_entry_is_as_long_whatever_it_holds() {
        let archive = |text: &str| {
            let mut writer = Writer::new(Vec::new(), 0);
            writer.padded(b"needs", text.as_bytes(), 21).unwrap();
            writer.continue_in(|out| out).finish().unwrap().out
        };
        for length in 0..=21 {
            let text = "0123456789".repeat(3)[..length].to_owned();
            let bytes = archive(&text);
            assert_eq!(bytes.len(), archive("").len(), "{length}");
            let entries: Vec<_> = crate::newc::entries(&bytes).map(Result::unwrap).collect();
            assert_eq!((entries.len(), entries[0].name, entries[0].data), (1, &b"needs"[..], text.as_bytes()));
        }
    }

    #[test]
    fn the_names_of_a_node_share_it_but_for_links() {
        let mut writer = Writer::new(Vec::new(), 0);
        writer.nodes(&["a", "b"], Meta::root(0o600), &Kind::Character(1, 3)).unwrap();
        writer.nodes(&["c", "d"], Meta::root(0o777), &Kind::Symlink(vec![b'x'; 128])).unwrap();
        writer.file(&["e", "f"], Meta::root(0o644), 4097, io::repeat(1)).unwrap();
        let finished = writer.finish().unwrap();
        let entries: Vec<_> = crate::newc::entries(&finished.out).map(Result::unwrap).collect();
        let seen: Vec<(u32, u32)> = entries.iter().map(|entry| (entry.ino, entry.nlink)).collect();
        assert_eq!(seen, [(1, 2), (1, 2), (2, 1), (3, 1), (4, 2), (4, 2)]);
        assert_eq!(finished.unpacked, Unpacked { inodes: 4, pages: 1 + 1 + 2 });
    }
}
