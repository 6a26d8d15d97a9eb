//! An existing archive, which is copied unchanged into an initramfs.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Error;
use crate::archive::segment::{self, Reader};
use crate::compress::Method;

/// An archive that was read to its end; see the module's documentation.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) content_bytes: u64,
    pub(crate) entries: u64,
    /// The compression of its last segment.
    pub(crate) last: Option<Method>,
    /// All compressions in it.
    pub(crate) methods: Vec<Method>,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::Archived { path: path.to_owned(), error };
        let file = crate::cli::input::open(path).map_err(|error| failed(segment::ReadError::Read(error)))?;
        let bytes = file.metadata().map_err(|error| failed(segment::ReadError::Read(error)))?.len();
        let mut reader = Reader::new(file);
        while reader.next_entry().map_err(failed)?.is_some() {}
        let segments = reader.segments();
        let last = segments.last().ok_or_else(|| Error::NoArchive(path.to_owned()))?.method;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            content_bytes: segments.iter().map(|segment| segment.content_bytes).sum(),
            entries: segments.iter().map(|segment| segment.entries).sum(),
            last,
            methods: segments.iter().filter_map(|segment| segment.method).collect(),
        })
    }

    /// Returns a reader of the file, up to the length that it had when it was opened.
    pub(crate) fn read(&self) -> io::Result<impl Read> {
        Ok(File::open(&self.path)?.take(self.bytes))
    }
}
