//! The parts of an image: files in a folder, or members of a tar, which is indexed and not unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};

use super::{Error, names};
use crate::archive::tar::{self, Entry, Kind, Reader};

/// The longest manifest or configuration: those of images with 127 layers have about 100 KiB.
const MAX_DOCUMENT: u64 = 16 << 20;
/// The most links from member to member; usually there is one, from a layer to an equal one.
const MAX_LINKS: u32 = 8;

/// Finds parts by name.
pub(super) enum Store {
    Folder(File),
    Archive { file: Arc<File>, members: HashMap<Vec<u8>, Member> },
}

/// A part within an archive.
pub(super) enum Member {
    Content { offset: u64, size: u64 },
    Link(Vec<u8>),
}

/// A reader of a part.
pub(super) struct Part {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Store {
    /// Indexes a tar from the file's position on. Returns the file if the first names are not those of an archive of layers.
    pub(super) fn index(file: File) -> Result<Result<Self, File>, Error> {
        let Ok(start) = (&file).stream_position() else { return Ok(Err(file)) };
        let mut reader = Reader::seekable(&file).accept_missing_end(true);
        let mut members = HashMap::new();
        let mut entry = Entry::default();
        let mut has_layers = false;
        let indexed = loop {
            match reader.next(&mut entry) {
                Ok(true) => {}
                Ok(false) => break Ok(has_layers),
                // The error is reported when the file is read as an ordinary archive.
                Err(_) if !has_layers => break Ok(false),
                Err(error) => break Err(error),
            }
            match names::classify(&entry.path) {
                names::Class::Foreign => break Ok(false),
                names::Class::Layer => has_layers = true,
                names::Class::Neutral => {}
            }
            let name = names::normalize(b"", &entry.path);
            let member = match entry.kind {
                Kind::File => Member::Content { offset: start + reader.content_offset(), size: entry.size },
                Kind::Symlink => Member::Link(names::normalize(names::directory(&name), &entry.link)),
                Kind::HardLink => Member::Link(names::normalize(b"", &entry.link)),
                _ => continue,
            };
            members.insert(name, member);
        };
        if indexed? {
            return Ok(Ok(Self::Archive { file: Arc::new(file), members }));
        }
        (&file).seek(io::SeekFrom::Start(start)).map_err(tar::Error::Read)?;
        Ok(Err(file))
    }

    /// Returns whether a part exists.
    pub(super) fn has(&self, name: &str) -> bool {
        self.open(name).is_ok()
    }

    /// Opens a part.
    pub(super) fn open(&self, name: &str) -> Result<Part, Error> {
        let missing = || Error::Missing(name.to_owned());
        match self {
            Self::Folder(folder) => {
                if name.split('/').any(|component| matches!(component, "" | "." | "..")) {
                    return Err(missing());
                }
                let read = |error: io::Error| match error.kind() {
                    io::ErrorKind::NotFound => missing(),
                    _ => Error::Part { name: name.to_owned(), error },
                };
                let file = openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty());
                let file = File::from(file.map_err(io::Error::from).map_err(read)?);
                let metadata = file.metadata().map_err(read)?;
                if !metadata.is_file() {
                    return Err(missing());
                }
                Ok(Part { file: Arc::new(file), offset: 0, left: metadata.len() })
            }
            Self::Archive { file, members } => {
                let mut name = names::normalize(b"", name.as_bytes());
                for _ in 0..MAX_LINKS {
                    match members.get(&name).ok_or_else(missing)? {
                        Member::Link(target) => name.clone_from(target),
                        Member::Content { offset, size } => {
                            return Ok(Part { file: Arc::clone(file), offset: *offset, left: *size });
                        }
                    }
                }
                Err(missing())
            }
        }
    }

    /// Reads a JSON document.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut part = self.open(name)?;
        let failed = |error| Error::Part { name: name.to_owned(), error };
        if part.left > MAX_DOCUMENT {
            return Err(failed(io::Error::other("it is longer than 16 MiB")));
        }
        let mut bytes = Vec::new();
        part.read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

impl Part {
    /// Returns the number of unread bytes.
    pub(super) fn left(&self) -> u64 {
        self.left
    }
}

impl Read for Part {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let wanted = target.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut target[..wanted], self.offset)?;
        if count == 0 && wanted > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends early; make it again"));
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
