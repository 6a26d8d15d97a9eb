//! Writes the files as an archive, and the archive as a file.

use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use whit::contract::ROOTFS_NEEDS;
use whit::rootfs::MAX_NEEDS;

use super::{Error, Memory};
use crate::archive::newc::{Finished, Refused, Writer};
use crate::archive::segment;
use crate::cli::output::{self, Output};
use crate::cli::progress::Progress;
use crate::compress::{Compression, Method};
use crate::initramfs::rootfs::name_of;
use crate::initramfs::tree::{self, Archive, Tree};

/// The options of an archive.
#[derive(Clone, Debug)]
pub struct Packing {
    /// The compression.
    pub compression: Compression,
    /// The default modification time, in seconds since 1970.
    pub mtime: u32,
    /// Whether the archive has checksums, which the kernel verifies.
    pub is_summed: bool,
    /// The progress counters.
    pub progress: Arc<Progress>,
}

impl Packing {
    /// Creates options with modification time 0 and without checksums.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self { compression, mtime: 0, is_summed: false, progress: Arc::default() }
    }

    fn writer(&self) -> Writer<Vec<u8>> {
        Writer::new(Vec::new(), self.mtime).summed(self.is_summed).watched(Arc::clone(&self.progress))
    }
}

/// The result of writing an initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Names in the archive.
    pub entries: u64,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// The memory of a machine that boots it, if it contains the root.
    pub memory: Memory,
}

/// Writes `tree` to the file `path`, which is created when it is complete.
///
/// # Errors
/// Errors of the inputs and of the file.
pub fn write(tree: &Tree, path: &Path, packing: &Packing) -> Result<Summary, Error> {
    let failure = |error: io::Error| Error::File { path: path.to_owned(), what: error.to_string() };
    let refused = |problem| Error::File { path: path.to_owned(), what: problem };
    if output::is_stream(path) || path.exists() {
        for input in tree.host_files() {
            if let Ok(metadata) = input.metadata() {
                output::check_apart(path, &input.display(), &metadata).map_err(refused)?;
            }
        }
    }
    let mut output =
        if tree.has_seed() { Output::create_private(path) } else { Output::create(path) }.map_err(failure)?;
    let summary = write_into(tree, &mut output, packing).map_err(|error| match error {
        Error::Tree(tree::Error::Archive(Refused::Write(error))) => failure(error),
        error => error,
    })?;
    output.commit().map_err(failure)?;
    Ok(summary)
}

/// Writes `tree` to an empty file.
///
/// With an image's files, the first entry states the memory that they need. This is known only after the rest is written,
/// so the entry is written twice.
///
/// # Errors
/// Errors of the inputs and of the file.
pub fn write_into(tree: &Tree, output: &mut Output, packing: &Packing) -> Result<Summary, Error> {
    let file = output.file();
    let (before, after) = tree.archives();
    let mut out = BufWriter::with_capacity(1 << 20, &*file);
    let start = copy_archives(before, Place::default(), &mut out)?;
    let start = start.fill(&mut out).map_err(failed)?;
    let (writer, first) = begin(tree, packing, Memory::default())?;
    out.write_all(&first).map_err(failed)?;
    let Finished { mut out, bytes: archive_bytes, entries, mut unpacked } = pack(tree, writer, packing, out)?;
    out.flush().map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    copy_archives(after, Place { length, last: packing.compression.method() }, &mut out)?;
    out.flush().map_err(failed)?;
    drop(out);
    let file_bytes = file.metadata().map_err(failed)?.len();
    unpacked.pages += after.iter().map(|archive| archive.content_bytes.div_ceil(4096)).sum::<u64>();
    let memory = Memory::of(file_bytes, unpacked);
    file.write_all_at(&begin(tree, packing, memory)?.1, start.length).map_err(failed)?;
    Ok(Summary { entries, archive_bytes, file_bytes, memory })
}

/// Measures the files of one origin: their bytes in an archive, and compressed alone.
///
/// # Errors
/// Errors of the inputs.
pub(super) fn measure(tree: &Tree, origin: usize, packing: &Packing) -> Result<Summary, Error> {
    let encoder = packing.compression.encoder(Length(0)).map_err(failed)?;
    let mut writer = packing.writer().continue_in(|_| encoder);
    tree.write_origin(origin, &mut writer)?;
    let bytes = writer.position();
    // Without the trailer, which belongs to no origin.
    let entries = writer.entries();
    let length = writer.into_inner().finish().map_err(failed)?.0;
    Ok(Summary { entries, archive_bytes: bytes, file_bytes: length, memory: Memory::default() })
}

/// Writes the archive of `tree` to `out`, uncompressed and without copied archives.
///
/// # Errors
/// Errors of the inputs and of writing.
pub fn write_plain(tree: &Tree, mut out: impl Write, packing: &Packing) -> Result<Summary, Error> {
    let packing = Packing { compression: Compression::None, ..packing.clone() };
    let (writer, first) = begin(tree, &packing, Memory::default())?;
    out.write_all(&first).map_err(failed)?;
    let Finished { bytes, entries, .. } = pack(tree, writer, &packing, out)?;
    Ok(Summary { entries, archive_bytes: bytes, file_bytes: bytes, memory: Memory::default() })
}

fn pack<W: Write>(tree: &Tree, writer: Writer<Vec<u8>>, packing: &Packing, out: W) -> Result<Finished<W>, Error> {
    let encoder = packing.compression.encoder(out).map_err(failed)?;
    let mut writer = writer.continue_in(|_| encoder);
    tree.write(&mut writer)?;
    let Finished { out, bytes, entries, unpacked } = writer.finish().map_err(tree::Error::Archive)?;
    Ok(Finished { out: out.finish().map_err(failed)?, bytes, entries, unpacked })
}

/// Starts an archive. Returns the first bytes, whose length does not depend on `memory`: in a compressed file they are a
/// separate, uncompressed segment. The kernel continues with the next segment at the end of an entry (init/initramfs.c,
/// unpack_to_rootfs()), and so does gunzip.
fn begin(tree: &Tree, packing: &Packing, memory: Memory) -> Result<(Writer<Vec<u8>>, Vec<u8>), Error> {
    let mut writer = packing.writer();
    if tree.rootfs().is_none() {
        return Ok((writer, Vec::new()));
    }
    writer.padded(name_of(ROOTFS_NEEDS), memory.needs().as_bytes(), MAX_NEEDS).map_err(tree::Error::Archive)?;
    let first = packing.compression.stored(writer.out()).map_err(failed)?;
    Ok((writer, first))
}

/// The end of the last segment.
#[derive(Clone, Copy, Default)]
struct Place {
    length: u64,
    /// The compression of the last segment.
    last: Option<Method>,
}

impl Place {
    /// Writes the zeros that the next segment needs before it.
    fn fill(self, out: &mut impl Write) -> io::Result<Self> {
        let zeros = segment::gap(self.length, self.last == Some(Method::Lz4));
        io::copy(&mut io::repeat(0).take(zeros), out)?;
        Ok(Self { length: self.length + zeros, last: None })
    }
}

fn copy_archives(archives: &[Archive], mut place: Place, out: &mut impl Write) -> Result<Place, Error> {
    for archive in archives {
        let unread =
            |error: io::Error| Error::File { path: archive.path.clone(), what: format!("cannot be read: {error}") };
        let start = place.fill(out).map_err(failed)?;
        let length = io::copy(&mut archive.read().map_err(unread)?, out).map_err(failed)?;
        if length != archive.bytes {
            return Err(unread(io::Error::other("it became shorter while it was read")));
        }
        place = Place { length: start.length + length, last: archive.last };
    }
    Ok(place)
}

fn failed(error: io::Error) -> Error {
    Error::Tree(tree::Error::Archive(Refused::Write(error)))
}

/// Counts the bytes written to it.
struct Length(u64);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
