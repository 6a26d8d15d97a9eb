//! Builds disks: an ext4 file system from a tar, an image in layers, or a directory.

mod archive;
mod folder;
mod layers;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use whit::contract::IMAGE_RECORD;

use crate::archive::tar;
use crate::cli::path::shown;
use crate::cli::progress::{Counted, Progress};
use crate::disk::ext4::{self, Builder, Finish, Metadata, Size};
use crate::disk::gpt;
use crate::runrecord::RunRecord;

pub use folder::{Identity, LeftOut};
pub use layers::{Choice, Layers, Platform};

/// The options of a disk.
#[derive(Clone, Debug)]
pub struct Options {
    /// The run record's text, written to [`IMAGE_RECORD`] unless it is empty.
    pub run_record: String,
    /// The size of the disk.
    pub size: Size,
    /// The number of inodes; by default more than its files need.
    pub inodes: Option<u32>,
    /// Whether the file system has a journal.
    pub has_journal: bool,
    /// Whether the disk has a GPT, with the file system in its only partition.
    pub is_partitioned: bool,
    /// The file system's UUID; derived from the metadata if none.
    pub uuid: Option<[u8; 16]>,
    /// The file system's label, padded with NULs.
    pub label: [u8; 16],
    /// The creation time of the file system and of implied directories, in seconds since 1970.
    pub time: u32,
    /// The file that the disk will replace; it is left out of a directory that contains it.
    pub replaces: Option<Identity>,
    /// The progress counters.
    pub progress: Arc<Progress>,
    /// Whether the finished disk is read back and compared with the input.
    pub is_verified: bool,
    /// Whether an archive without an end mark is accepted.
    pub missing_end_accepted: bool,
    /// Whether the disk is the root of a container, which gets the mount points that it lacks. Images in layers, and those with a
    /// run record, always are.
    pub is_root: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            run_record: String::new(),
            size: Size::Auto,
            inodes: None,
            has_journal: true,
            is_partitioned: false,
            uuid: None,
            label: [0; 16],
            time: 0,
            replaces: None,
            progress: Arc::default(),
            is_verified: false,
            missing_end_accepted: false,
            is_root: false,
        }
    }
}

/// The input of a disk.
pub enum Input<'a> {
    /// A tar, plain or compressed by gzip, zstd, xz or bzip2, read once from start to end.
    Tar(Box<dyn Read + Send + 'a>),
    /// An image in layers.
    Layers(Box<Layers>),
    /// A directory of the host.
    Folder(File),
}

/// The result of a build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Counts of the files, and the size of the disk.
    pub totals: ext4::Totals,
    /// The space that it takes on the host.
    pub allocated_bytes: u64,
    /// Extended attributes that were left out: unknown ones, and ACLs with names of users.
    pub attributes_left_out: u64,
    /// Files of a directory that were left out.
    pub left_out: LeftOut,
}

/// Counters of a build.
pub(super) struct Counts<'p> {
    pub(super) progress: &'p Progress,
    /// Attributes of the input that were left out.
    pub(super) attributes_left_out: u64,
}

/// Why a disk cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive cannot be read.
    #[error("{0}")]
    Archive(#[from] tar::Error),
    /// The file system cannot be written.
    #[error("{0}")]
    FileSystem(#[from] ext4::Error),
    /// A file of a directory cannot be read.
    #[error("{}: {error}", shown(.path))]
    Folder {
        /// Its path in the directory.
        path: Vec<u8>,
        /// Why.
        error: io::Error,
    },
    /// An archive without entries.
    #[error("contains no files")]
    NoFiles,
    /// An archive of layers that is not a seekable file.
    #[error(
        "is an archive of layers, as `docker save` makes it, which cannot be read in order: give it as an uncompressed \
         file, or unpacked as a folder"
    )]
    Layers,
    /// An image in an archive of layers cannot be read.
    #[error("{0}")]
    Image(#[from] layers::Error),
    /// A choice for an input that is not in layers.
    #[error("is not an archive of layers, so --tag and --platform do not apply")]
    NoChoice,
}

impl Input<'_> {
    /// Detects the type of an input: an archive or a directory of layers, of which an image is selected, another archive, or
    /// another directory. An archive of layers must be a seekable file.
    ///
    /// # Errors
    /// Errors of the archive and the choice.
    pub fn open(file: File, choice: &Choice) -> Result<Self, Error> {
        match Layers::open(file, choice)? {
            Ok(layers) => Ok(Self::Layers(Box::new(layers))),
            Err(_) if choice.tag.is_some() || choice.platform.is_some() => Err(Error::NoChoice),
            Err(file) if file.metadata().map_err(tar::Error::Read)?.is_dir() => Ok(Self::Folder(file)),
            Err(file) => Ok(Self::Tar(Box::new(file))),
        }
    }

    /// Returns the run record from the input's own configuration.
    pub fn config(&self) -> Option<&RunRecord> {
        match self {
            Self::Tar(_) | Self::Folder(_) => None,
            Self::Layers(layers) => Some(layers.config()),
        }
    }

    /// Returns the selected image's name and platform.
    pub fn title(&self) -> Option<&str> {
        match self {
            Self::Tar(_) | Self::Folder(_) => None,
            Self::Layers(layers) => Some(layers.title()),
        }
    }
}

/// Writes a disk with the files of a tar, plain or compressed, to `output`, a new and empty file.
///
/// # Errors
/// See [`build_from`].
pub fn build(tar: impl Read + Send, output: &File, options: &Options) -> Result<Summary, Error> {
    build_from(Input::Tar(Box::new(tar)), output, options)
}

/// Writes a disk with the files of the input to `output`, a new and empty file.
///
/// # Errors
/// An input that is damaged, truncated or of another type; files that ext4 cannot store; errors of reading and writing.
/// After an error the content of `output` is undefined.
pub fn build_from(input: Input, output: &File, options: &Options) -> Result<Summary, Error> {
    let base = if options.is_partitioned { gpt::ALIGNMENT } else { 0 };
    let mut builder = Builder::new_at(output, base, i64::from(options.time))?;
    if options.is_verified {
        builder.record_contents();
    }
    let mut counts = Counts { progress: &options.progress, attributes_left_out: 0 };
    let mut left_out = LeftOut::default();
    let is_root = options.is_root || !options.run_record.is_empty() || matches!(input, Input::Layers(_));
    match input {
        Input::Tar(tar) => {
            let tar = Counted { input: tar, progress: &options.progress };
            archive::apply(tar, options.missing_end_accepted, &mut builder, &mut counts)?;
        }
        Input::Layers(layers) => layers.apply(&mut builder, &mut counts)?,
        Input::Folder(folder) => {
            let metadata = output.metadata().map_err(ext4::Error::Write)?;
            let disks: Vec<Identity> = [(metadata.dev(), metadata.ino())].into_iter().chain(options.replaces).collect();
            left_out = folder::apply(&folder, &disks, &mut builder, &options.progress)?;
        }
    }
    if is_root {
        add_mount_points(&mut builder, options)?;
    }
    if !options.run_record.is_empty() {
        add_run_record(&mut builder, options)?;
    }
    let mut totals = builder.finish(&finish(options)).map_err(|error| match error {
        ext4::Error::TooSmall(bytes) if options.is_partitioned => {
            ext4::Error::TooSmall(gpt::disk_length(bytes.next_multiple_of(gpt::ALIGNMENT)))
        }
        error => error,
    })?;
    if options.is_partitioned {
        write_table(output, options, &mut totals).map_err(ext4::Error::Write)?;
    }
    Ok(Summary {
        totals,
        allocated_bytes: output.metadata().map_err(ext4::Error::Write)?.blocks() * 512,
        attributes_left_out: counts.attributes_left_out + totals.attributes_left_out,
        left_out,
    })
}

fn finish(options: &Options) -> Finish {
    let Options { size, inodes, has_journal, uuid, label, time, is_verified, .. } = *options;
    let finish = Finish { size, inodes, has_journal, uuid, label, time, is_verified, multiple: 1 };
    if !options.is_partitioned {
        return finish;
    }
    let size = match size {
        Size::Exact(bytes) => Size::Exact(gpt::partition_length(bytes)),
        relative => relative,
    };
    Finish { size, multiple: (gpt::ALIGNMENT / ext4::BLOCK_BYTES) as u32, ..finish } // 256
}

/// Writes the partition table around a finished file system.
fn write_table(output: &File, options: &Options, totals: &mut ext4::Totals) -> io::Result<()> {
    let label: Vec<u8> = options.label.iter().copied().take_while(|byte| *byte != 0).collect();
    let name = if label.is_empty() { "root".into() } else { String::from_utf8_lossy(&label) };
    let disk = match options.size {
        Size::Exact(bytes) => bytes,
        _ => gpt::disk_length(totals.image_bytes),
    };
    let table = gpt::Table::new(disk, totals.image_bytes, totals.uuid, &name);
    let (start, back) = table.back();
    output.write_all_at(&table.front(), 0)?;
    output.write_all_at(&back, start)?;
    output.set_len(disk)?;
    totals.image_bytes = disk;
    Ok(())
}

/// Adds what docker adds to the root of every container (moby, daemon/initlayer), if it is missing: the directories that the init
/// mounts on, which it cannot create in a read-only root, and /etc/mtab where there is a /etc.
fn add_mount_points(builder: &mut Builder, options: &Options) -> Result<(), Error> {
    let metadata = |mode| Metadata { mode, seconds: i64::from(options.time), ..Metadata::default() };
    for (path, mode) in [(&b"dev"[..], 0o755), (b"proc", 0o555), (b"sys", 0o555)] {
        if !builder.exists(path) {
            builder.directory(path, metadata(mode))?;
        }
    }
    if builder.exists(b"etc") && !builder.exists(b"etc/mtab") {
        builder.symlink(b"etc/mtab", metadata(0o777), b"/proc/mounts")?;
    }
    Ok(())
}

fn add_run_record(builder: &mut Builder, options: &Options) -> Result<(), Error> {
    let metadata = Metadata { mode: 0o644, seconds: i64::from(options.time), ..Metadata::default() };
    let mut rest = options.run_record.as_bytes();
    let mut file = builder.file(IMAGE_RECORD.to_bytes(), metadata, rest.len() as u64)?;
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
