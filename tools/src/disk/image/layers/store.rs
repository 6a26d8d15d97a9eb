//! The parts of an image: files in a folder, or members of a tar, which is indexed and not unpacked.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};

use super::digest::Digest;
use super::{Error, names};
use crate::archive::contents::{Contents, MAX_DOCUMENT, Parts, Survey};
use crate::archive::tar::{self, Content, Entry, Kind, Position, Reader};

/// The most links from member to member; usually there is one, from a layer to an equal one.
const MAX_LINKS: u32 = 8;

/// The deepest names that matter: `only/blobs/sha256/DIGITS`.
const MAX_DEPTH: u32 = 4;

/// Finds parts by name.
pub(super) struct Store {
    place: Place,
    /// The digest of `manifest.json`, if it is the manifest of a [`Contents::Directory`].
    manifest: Option<Digest>,
    form: Contents,
}

enum Place {
    Folder(File),
    Archive { file: Arc<File>, members: HashMap<Vec<u8>, Member> },
}

/// A part within an archive.
enum Member {
    Content(Arc<Content>),
    Link(Vec<u8>),
}

/// A reader of a part.
pub(super) struct Part {
    file: Arc<File>,
    content: Arc<Content>,
    position: Position,
}

impl Store {
    /// Indexes a tar from the file's position on.
    pub(super) fn index(file: File) -> Result<(Self, Survey), Error> {
        let start = (&file).stream_position().map_err(tar::Error::Read)?;
        let mut reader = Reader::seekable(&file).accept_missing_end(true);
        let (mut members, mut survey, mut entry) = (HashMap::new(), Survey::default(), Entry::default());
        while reader.next(&mut entry)? {
            survey.see(&entry.path, entry.kind == Kind::Directory);
            let name = names::normalize(b"", &entry.path);
            let member = match entry.kind {
                Kind::File => Member::Content(Arc::new(reader.content().moved_by(start))),
                Kind::Symlink => Member::Link(names::normalize(names::directory(&name), &entry.link)),
                Kind::HardLink => Member::Link(names::normalize(b"", &entry.link)),
                _ => continue,
            };
            members.insert(name, member);
        }
        Ok((Self::new(Place::Archive { file: Arc::new(file), members }), survey))
    }

    /// Opens a folder, and lists the names in it that show whether it has an image in layers.
    pub(super) fn folder(folder: File) -> Result<(Self, Survey), Error> {
        let mut survey = Survey::default();
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        list(Path::new(&path), "", &mut survey, MAX_DEPTH)
            .map_err(|error| Error::Part { name: ".".to_owned(), error })?;
        Ok((Self::new(Place::Folder(folder)), survey))
    }

    fn new(place: Place) -> Self {
        Self { place, manifest: None, form: Contents::Root }
    }

    /// Sets the form, and with it the names of blobs.
    pub(super) fn set_form(&mut self, form: Contents) {
        self.form = form;
        if form == Contents::Directory {
            self.manifest = self.document("manifest.json").ok().map(|bytes| Digest::of(&bytes));
        }
    }

    /// Returns the folder, or the archive.
    pub(super) fn into_folder(self) -> Option<File> {
        match self.place {
            Place::Folder(folder) => Some(folder),
            Place::Archive { .. } => None,
        }
    }

    /// Returns the name of the part with this digest.
    pub(super) fn blob(&self, digest: &Digest) -> String {
        match self.form {
            Contents::Directory if self.manifest.as_ref() == Some(digest) => "manifest.json".to_owned(),
            Contents::Directory => {
                let manifest = format!("{}.manifest.json", digest.digits());
                if self.has(&manifest) { manifest } else { digest.digits().to_owned() }
            }
            _ => digest.blob(),
        }
    }

    /// Returns whether a part exists.
    pub(super) fn has(&self, name: &str) -> bool {
        self.open(name).is_ok()
    }

    /// Opens a part.
    pub(super) fn open(&self, name: &str) -> Result<Part, Error> {
        let missing = || Error::Missing(name.to_owned());
        match &self.place {
            Place::Folder(folder) => {
                let name = name.trim_start_matches("./");
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
                let content = Arc::new(Content::whole(0, metadata.len()));
                Ok(Part { file: Arc::new(file), content, position: Position::default() })
            }
            Place::Archive { file, members } => {
                let mut name = names::normalize(b"", name.as_bytes());
                for _ in 0..MAX_LINKS {
                    match members.get(&name).ok_or_else(missing)? {
                        Member::Link(target) => name.clone_from(target),
                        Member::Content(content) => {
                            let (file, content) = (Arc::clone(file), Arc::clone(content));
                            return Ok(Part { file, content, position: Position::default() });
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
        if part.left() > MAX_DOCUMENT {
            return Err(failed(io::Error::other("it is longer than 16 MiB")));
        }
        let mut bytes = Vec::new();
        part.read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

impl Parts for &Store {
    fn has(&mut self, name: &str) -> bool {
        Store::has(self, name)
    }

    fn document(&mut self, name: &str) -> Option<Vec<u8>> {
        Store::document(self, name).ok()
    }
}

/// Adds the names in a folder, and in those below it that may have parts of an image.
fn list(path: &Path, below: &str, survey: &mut Survey, depth: u32) -> io::Result<()> {
    let mut directories = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        // A link to a directory is one: an image's parts may be anywhere.
        let is_directory = entry.file_type()?.is_dir() || entry.path().is_dir();
        survey.see(&[below.as_bytes(), name.as_bytes()].concat(), is_directory);
        if is_directory {
            directories.push(name);
        }
    }
    for name in directories {
        let Some(name) = name.to_str() else { continue };
        let is_only = below.is_empty() && survey.is_only(name);
        if depth > 1 && (is_only || Survey::may_have_parts(name)) {
            // A folder that cannot be read, or is gone, has no parts.
            let _ = list(&path.join(name), &format!("{below}{name}/"), survey, depth - 1);
        }
    }
    Ok(())
}

impl Part {
    /// Returns the number of unread bytes.
    pub(super) fn left(&self) -> u64 {
        self.content.size() - self.position.offset()
    }
}

impl Read for Part {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read_at(&self.file, &mut self.position, target)?;
        if count == 0 && !target.is_empty() && self.left() > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends early; make it again"));
        }
        Ok(count)
    }
}
