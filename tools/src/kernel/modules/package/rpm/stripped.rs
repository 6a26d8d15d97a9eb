//! Payloads in rpm's own format, used by packages of version 6, and by those of version 4 with a file of 4 GiB or more (rpm's
//! docs/manual/format_v6.md, lib/cpio.c).
//!
//! This is a cpio archive whose entries are stripped to `07070X` and the number of a file; the package's header has the rest.
//! It ends with an ordinary trailer.

use std::collections::HashMap;
use std::io::{self, Read};

use super::super::folder::{Folder, Identity};
use super::header::{self, Header, Numbers, Tag, Type};
use crate::archive::newc::{self, HEADER_BYTES, NAME_MAX_BYTES, TRAILER, file_type};
use crate::compress;

const MAGIC: &[u8] = b"07070X";
/// A number in 8 hexadecimal digits, and the padding from 14 to the next multiple of 4.
const NUMBER_BYTES: u64 = 8 + 2;
const ALIGNMENT: u64 = 4;

/// The tag of a package with such a payload, in place of FILESIZES (lib/rpmfi.c, rpmfiArchiveWriteHeader()).
pub(super) const LONGFILESIZES: Tag = Tag(5008, "LONGFILESIZES", Type::Int64);
const FILEMODES: Tag = Tag(1030, "FILEMODES", Type::Int16);
const FILEFLAGS: Tag = Tag(1037, "FILEFLAGS", Type::Int32);
const FILEDEVICES: Tag = Tag(1095, "FILEDEVICES", Type::Int32);
const FILEINODES: Tag = Tag(1096, "FILEINODES", Type::Int32);
const DIRINDEXES: Tag = Tag(1116, "DIRINDEXES", Type::Int32);
const BASENAMES: Tag = Tag(1117, "BASENAMES", Type::Strings);
const DIRNAMES: Tag = Tag(1118, "DIRNAMES", Type::Strings);
/// The flag of a file that is not in the payload (include/rpm/rpmfiles.h).
const RPMFILE_GHOST: u64 = 1 << 6;

/// Unpacks modules and firmware of a payload.
pub(super) fn unpack(input: impl Read + Send, header: &Header, folder: &mut Folder) -> io::Result<()> {
    let list = List::of(header)?;
    let (_, mut content) = compress::decoder(input)?;
    loop {
        let start = header::take(&mut content, MAGIC.len() as u64, "payload")?;
        if start != MAGIC {
            return end(&start, content);
        }
        let file = list.file(&header::take(&mut content, NUMBER_BYTES, "payload")?)?;
        let mut data = content.by_ref().take(file.bytes);
        let read = |target: &mut [u8]| data.read(target);
        match file.kind {
            Kind::File => folder.file(&file.name, read)?,
            Kind::Linked { identity, is_last } => folder.linked_file(&file.name, identity, is_last, read)?,
            Kind::Other => {}
        }
        io::copy(&mut data, &mut io::sink())?;
        // If the data are truncated, reading one more byte reports it.
        let left = data.limit();
        header::take(&mut content, left.min(1) + newc::padding(file.bytes, ALIGNMENT), "payload")?;
    }
}

/// Reads the trailer after its magic `start`, and the rest of the input, so that a decoder verifies its checksum.
fn end(start: &[u8], mut content: impl Read) -> io::Result<()> {
    let rest = header::take(&mut content, (HEADER_BYTES - start.len()) as u64, "payload")?;
    let trailer = [start, &rest].concat();
    let invalid = || io::Error::other("the .rpm's payload has an entry that is neither a file nor the trailer");
    let header = trailer.first_chunk().and_then(|bytes| newc::Header::parse(bytes, 0).ok()).ok_or_else(invalid)?;
    let name = header::take(&mut content, header.namesize as u64, "payload")?;
    if newc::name_in(&name) != Some(TRAILER) {
        return Err(invalid());
    }
    header::take(&mut content, newc::padding((HEADER_BYTES + name.len()) as u64, ALIGNMENT), "payload")?;
    io::copy(&mut content, &mut io::sink()).map(drop)
}

/// The files of a package.
struct List<'h> {
    sizes: Numbers<'h>,
    modes: Numbers<'h>,
    devices: Numbers<'h>,
    inodes: Numbers<'h>,
    names: Vec<&'h [u8]>,
    directory_of: Numbers<'h>,
    directories: Vec<&'h [u8]>,
    /// The first and the last name of each file.
    links: HashMap<Identity, (usize, usize)>,
}

/// An entry of the payload.
struct File {
    name: Vec<u8>,
    kind: Kind,
    /// Bytes of its data in the payload.
    bytes: u64,
}

enum Kind {
    File,
    Linked { identity: Identity, is_last: bool },
    Other,
}

impl<'h> List<'h> {
    fn of(header: &'h Header) -> io::Result<Self> {
        let optional = |tag| if header.has(tag) { header.numbers(tag) } else { Ok(Numbers::default()) };
        let mut list = Self {
            sizes: header.numbers(LONGFILESIZES)?,
            modes: header.numbers(FILEMODES)?,
            devices: optional(FILEDEVICES)?,
            inodes: optional(FILEINODES)?,
            names: header.strings(BASENAMES)?,
            directory_of: header.numbers(DIRINDEXES)?,
            directories: header.strings(DIRNAMES)?,
            links: HashMap::new(),
        };
        let flags = optional(FILEFLAGS)?;
        // As lib/rpmfi.c, rpmfilesBuildNLink().
        for index in 0..list.sizes.len() {
            let is_ghost = flags.get(index).is_some_and(|flags| flags & RPMFILE_GHOST != 0);
            if !is_ghost
                && list.file_type(index) == Some(file_type::REGULAR)
                && let Some(identity) = list.identity(index)
            {
                list.links.entry(identity).or_insert((index, index)).1 = index;
            }
        }
        Ok(list)
    }

    /// Returns the file of an entry, from its number and the two bytes after it.
    fn file(&self, number: &[u8]) -> io::Result<File> {
        let invalid = |problem: &str| {
            let number = String::from_utf8_lossy(number.get(..8).unwrap_or_default()).into_owned();
            io::Error::other(format!("the .rpm's payload has file \"{number}\", {problem}"))
        };
        let index = newc::hexadecimal(&number[..8]).ok_or_else(|| invalid("which is not a number"))? as usize;
        let missing = || invalid("which its header does not list");
        let size = self.sizes.get(index).ok_or_else(missing)?;
        let directory = self.directory_of.get(index).and_then(|number| self.directories.get(number as usize));
        let name = [directory.ok_or_else(missing)?, *self.names.get(index).ok_or_else(missing)?].concat();
        if name.len() >= NAME_MAX_BYTES {
            return Err(invalid("whose name is longer than 4095 bytes"));
        }
        let links = self.identity(index).and_then(|identity| Some((identity, self.links.get(&identity)?)));
        let (kind, bytes) = match (self.file_type(index).ok_or_else(missing)?, links) {
            (file_type::REGULAR, Some((identity, (first, last)))) if first != last => {
                let is_last = index == *last;
                (Kind::Linked { identity, is_last }, if is_last { size } else { 0 })
            }
            (file_type::REGULAR, _) => (Kind::File, size),
            (file_type::SYMLINK, _) => (Kind::Other, size),
            _ => (Kind::Other, 0),
        };
        Ok(File { name, kind, bytes })
    }

    fn file_type(&self, index: usize) -> Option<u32> {
        self.modes.get(index).map(|mode| mode as u32 & file_type::MASK) // 16 bits
    }

    /// Returns the identity of a file with several names; `None` if the package has none.
    fn identity(&self, index: usize) -> Option<Identity> {
        self.devices.get(index).zip(self.inodes.get(index)).filter(|(_, inode)| *inode > 0)
    }
}
