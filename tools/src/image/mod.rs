//! From an archive to a disk image: the entries of a tar, one after the other, into an ext4 file system.

mod ahead;
mod compression;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::thread;

use crate::ext4::{self, Builder, Finish, Metadata, Size};
use crate::tar::{self, Entry, Kind, Reader};

/// Where the run record lies in an image.
pub const RUN_RECORD: &str = "/etc/whit.conf";

/// What is chosen about an image.
#[derive(Clone, Debug)]
pub struct Options {
    /// The run record's text, written to [`RUN_RECORD`]; none is written when it is empty.
    pub run_record: String,
    /// How large the image becomes.
    pub size: Size,
    /// The file system's UUID; derived from the metadata if none.
    pub uuid: Option<[u8; 16]>,
    /// The file system's label, with NULs behind.
    pub label: [u8; 16],
    /// When the file system was made, and the time of what the archive says nothing of: seconds since 1970.
    pub time: u32,
    /// Take an archive that stops between entries for complete.
    pub missing_end_accepted: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            run_record: String::new(),
            size: Size::Auto,
            uuid: None,
            label: [0; 16],
            time: 0,
            missing_end_accepted: false,
        }
    }
}

/// What has become of an archive.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Entries that are regular files.
    pub files: u64,
    /// Entries that are directories.
    pub directories: u64,
    /// All other entries.
    pub others: u64,
    /// Bytes of the files' content, holes included.
    pub content_bytes: u64,
    /// Length of the image.
    pub image_bytes: u64,
    /// What it takes on the host's disk.
    pub allocated_bytes: u64,
    /// Extended attributes that were left out: of unknown kinds, or ACLs as text.
    pub attributes_left_out: u64,
    /// Times that ext4 cannot hold, moved to the nearest it can.
    pub times_clamped: u64,
    /// The file system's UUID.
    pub uuid: [u8; 16],
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive.
    #[error("{0}")]
    Archive(#[from] tar::Error),
    /// The file system.
    #[error("{0}")]
    FileSystem(#[from] ext4::Error),
    /// An archive without entries.
    #[error("holds no files")]
    NoFiles,
    /// An archive of another kind.
    #[error("is an archive of layers, as `docker save` makes it; give it the output of `docker export`")]
    Layers,
}

/// Writes the files of the tar that `input` is, plain or compressed by gzip, zstd, xz or bzip2, into `output`: a new and
/// empty file.
///
/// # Errors
/// A damaged, cut or foreign archive, what ext4 cannot hold, or failing reads and writes. What `output` holds then is
/// of no use.
pub fn build(input: impl Read + Send, output: &File, options: &Options) -> Result<Summary, Error> {
    thread::scope(|scope| {
        let input = compression::decompress(scope, input).map_err(tar::Error::Read)?;
        build_from(input, output, options)
    })
}

fn build_from(input: impl Read, output: &File, options: &Options) -> Result<Summary, Error> {
    let mut reader = Reader::new(input).accept_missing_end(options.missing_end_accepted);
    let mut builder = Builder::new(output, i64::from(options.time))?;
    let mut summary = Summary::default();
    let mut entry = Entry::default();
    while reader.next(&mut entry)? {
        add(&mut builder, &mut reader, &entry, &mut summary)?;
    }
    if summary.files + summary.directories + summary.others == 0 {
        return Err(Error::NoFiles);
    }
    if builder.exists(b"/oci-layout") || builder.exists(b"/manifest.json") && builder.exists(b"/repositories") {
        return Err(Error::Layers);
    }
    if !options.run_record.is_empty() {
        add_run_record(&mut builder, options)?;
    }
    let Options { size, uuid, label, time, .. } = *options;
    let totals = builder.finish(&Finish { size, uuid, label, time })?;
    summary.image_bytes = totals.image_bytes;
    summary.allocated_bytes = output.metadata().map_err(ext4::Error::Write)?.blocks() * 512;
    summary.attributes_left_out += totals.attributes_left_out;
    summary.times_clamped = totals.times_clamped;
    summary.uuid = totals.uuid;
    Ok(summary)
}

fn add<R: Read>(
    builder: &mut Builder,
    reader: &mut Reader<R>,
    entry: &Entry,
    summary: &mut Summary,
) -> Result<(), Error> {
    let metadata = Metadata {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        seconds: entry.mtime.seconds,
        nanoseconds: entry.mtime.nanoseconds,
        attributes: &entry.attributes,
    };
    let path = &entry.path;
    match entry.kind {
        Kind::File => {
            let mut file = builder.file(path, metadata, entry.size)?;
            loop {
                let skipped = file.skip(reader.hole());
                reader.skip_hole(skipped);
                let room = file.room()?;
                if room.is_empty() {
                    break;
                }
                reader.read(room)?;
                file.keep()?;
            }
            file.close()?;
            summary.content_bytes += entry.size;
        }
        Kind::Directory => builder.directory(path, metadata)?,
        Kind::Symlink => builder.symlink(path, metadata, &entry.link)?,
        Kind::HardLink => builder.hard_link(path, &entry.link)?,
        Kind::CharacterDevice => builder.device(path, metadata, false, entry.device)?,
        Kind::BlockDevice => builder.device(path, metadata, true, entry.device)?,
        Kind::Fifo => builder.fifo(path, metadata)?,
    }
    summary.attributes_left_out += u64::from(entry.text_acls);
    match entry.kind {
        Kind::File => summary.files += 1,
        Kind::Directory => summary.directories += 1,
        _ => summary.others += 1,
    }
    Ok(())
}

fn add_run_record(builder: &mut Builder, options: &Options) -> Result<(), Error> {
    let metadata = Metadata { mode: 0o644, seconds: i64::from(options.time), ..Metadata::default() };
    let mut rest = options.run_record.as_bytes();
    let mut file = builder.file(RUN_RECORD.as_bytes(), metadata, rest.len() as u64)?;
    while !rest.is_empty() {
        let room = file.room()?;
        let (now, later) = rest.split_at(room.len());
        room.copy_from_slice(now);
        rest = later;
        file.keep()?;
    }
    file.close()?;
    Ok(())
}
