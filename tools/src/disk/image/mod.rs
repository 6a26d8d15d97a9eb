//! Container images made into disks: a tar, an image of layers or a directory into an ext4 file system.

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

/// What is chosen about a disk.
#[derive(Clone, Debug)]
pub struct Options {
    /// The run record's text, written to [`IMAGE_RECORD`]; none is written when it is empty.
    pub run_record: String,
    /// How large the disk becomes.
    pub size: Size,
    /// How many inodes it has; by default more than its files need.
    pub inodes: Option<u32>,
    /// Whether the file system has a journal.
    pub has_journal: bool,
    /// Whether the file system lies in the one partition of a disk with a GPT.
    pub is_partitioned: bool,
    /// The file system's UUID; derived from the metadata if none.
    pub uuid: Option<[u8; 16]>,
    /// The file system's label, with NULs behind.
    pub label: [u8; 16],
    /// When the file system was made, and the time of what the archive says nothing of: seconds since 1970.
    pub time: u32,
    /// The file that the disk will replace: it is no part of a directory that it lies in.
    pub replaces: Option<Identity>,
    /// Learns how far the work is.
    pub progress: Arc<Progress>,
    /// Whether the finished disk is read back and compared with what went into it.
    pub is_verified: bool,
    /// Take an archive that stops between entries for complete.
    pub missing_end_accepted: bool,
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
        }
    }
}

/// What a disk is made of.
pub enum Input<'a> {
    /// A tar, plain or compressed by gzip, zstd, xz or bzip2, read once from its start to its end.
    Tar(Box<dyn Read + Send + 'a>),
    /// An image of layers.
    Layers(Box<Layers>),
    /// A directory of the host.
    Folder(File),
}

/// What has become of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// What the disk holds, and its size.
    pub totals: ext4::Totals,
    /// What it takes on the host's disk.
    pub allocated_bytes: u64,
    /// Extended attributes that were left out: of unknown kinds, or ACLs with names of users.
    pub attributes_left_out: u64,
    /// What of a directory stayed out.
    pub left_out: LeftOut,
}

/// What the parts of the work tell.
pub(super) struct Notes<'p> {
    pub(super) progress: &'p Progress,
    /// Attributes of the input that nothing was made of.
    pub(super) attributes_left_out: u64,
}

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive.
    #[error("{0}")]
    Archive(#[from] tar::Error),
    /// The file system.
    #[error("{0}")]
    FileSystem(#[from] ext4::Error),
    /// A file of a directory cannot be read.
    #[error("{}: {error}", shown(.path))]
    Folder {
        /// Its path from the directory on.
        path: Vec<u8>,
        /// Why.
        error: io::Error,
    },
    /// An archive without entries.
    #[error("holds no files")]
    NoFiles,
    /// Layers, in an order that is not theirs.
    #[error(
        "is an archive of layers, as `docker save` makes it, whose parts are needed in another order: give it as an \
         uncompressed file, or unpacked as a folder"
    )]
    Layers,
    /// The image in an archive of layers.
    #[error("{0}")]
    Image(#[from] layers::Error),
    /// A choice where there is none.
    #[error("is no archive of layers, so there is nothing to choose by --tag or --platform")]
    NoChoice,
}

impl Input<'_> {
    /// Looks at what a file is: layers, in an archive or a directory, of which an image is chosen, another archive, or
    /// another directory. An archive of layers must be a file that can be read in any order.
    ///
    /// # Errors
    /// Those of the archive and the choice.
    pub fn open(file: File, choice: &Choice) -> Result<Self, Error> {
        match Layers::open(file, choice)? {
            Ok(layers) => Ok(Self::Layers(Box::new(layers))),
            Err(_) if choice.tag.is_some() || choice.platform.is_some() => Err(Error::NoChoice),
            Err(file) if file.metadata().map_err(tar::Error::Read)?.is_dir() => Ok(Self::Folder(file)),
            Err(file) => Ok(Self::Tar(Box::new(file))),
        }
    }

    /// What the input itself says of running it.
    pub fn config(&self) -> Option<&RunRecord> {
        match self {
            Self::Tar(_) | Self::Folder(_) => None,
            Self::Layers(layers) => Some(layers.config()),
        }
    }

    /// What was chosen of several.
    pub fn title(&self) -> Option<&str> {
        match self {
            Self::Tar(_) | Self::Folder(_) => None,
            Self::Layers(layers) => Some(layers.title()),
        }
    }
}

/// Writes the files of a tar, plain or compressed, into `output`: a new and empty file.
///
/// # Errors
/// See [`build_from`].
pub fn build(tar: impl Read + Send, output: &File, options: &Options) -> Result<Summary, Error> {
    build_from(Input::Tar(Box::new(tar)), output, options)
}

/// Writes all files of the input into `output`: a new and empty file.
///
/// # Errors
/// A damaged, cut or foreign input, what ext4 cannot hold, or failing reads and writes. What `output` holds then is of
/// no use.
pub fn build_from(input: Input, output: &File, options: &Options) -> Result<Summary, Error> {
    let base = if options.is_partitioned { gpt::ALIGNMENT } else { 0 };
    let mut builder = Builder::new_at(output, base, i64::from(options.time))?;
    if options.is_verified {
        builder.record_contents();
    }
    let mut notes = Notes { progress: &options.progress, attributes_left_out: 0 };
    let mut left_out = LeftOut::default();
    match input {
        Input::Tar(tar) => {
            let tar = Counted { input: tar, progress: &options.progress };
            archive::apply(tar, options.missing_end_accepted, &mut builder, &mut notes)?;
        }
        Input::Layers(layers) => layers.apply(&mut builder, &mut notes)?,
        Input::Folder(folder) => {
            let metadata = output.metadata().map_err(ext4::Error::Write)?;
            let disks: Vec<Identity> = [(metadata.dev(), metadata.ino())].into_iter().chain(options.replaces).collect();
            left_out = folder::apply(&folder, &disks, &mut builder, &options.progress)?;
        }
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
        attributes_left_out: notes.attributes_left_out + totals.attributes_left_out,
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

/// Puts the partition table around a file system that is done.
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
