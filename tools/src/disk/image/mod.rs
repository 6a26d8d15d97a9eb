//! Builds disks: an ext4 file system from a tar, an image in layers, or a directory.

mod archive;
mod folder;
mod layers;

use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};
use whit::contract::IMAGE_RECORD;

use crate::archive::seekable::{self, seekable};
use crate::archive::tar;
use crate::cli::path::shown;
use crate::cli::progress::{Counted, Progress};
use crate::disk::ext4::{self, Builder, FileWriter, Finish, Metadata, Size};
use crate::disk::{gpt, verity};
use crate::machine::Machine;
use crate::runrecord::RunRecord;

pub use folder::{Changed, Identity, LeftOut};
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
    /// Whether a hash tree of dm-verity follows the file system.
    pub has_hash_tree: bool,
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
    /// The machine of the partition's type.
    pub machine: Machine,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            run_record: String::new(),
            size: Size::Auto,
            inodes: None,
            has_journal: true,
            is_partitioned: false,
            has_hash_tree: false,
            uuid: None,
            label: [0; 16],
            time: 0,
            replaces: None,
            progress: Arc::default(),
            is_verified: false,
            missing_end_accepted: false,
            is_root: false,
            machine: Machine::HOST,
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
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Counts of the files, and the size of the disk.
    pub totals: ext4::Totals,
    /// The space that it takes on the host.
    pub allocated_bytes: u64,
    /// Extended attributes that were left out: unknown ones, and ACLs with names of users.
    pub attributes_left_out: u64,
    /// Files of a directory that were left out.
    pub left_out: LeftOut,
    /// Files of a directory that changed while they were read.
    pub changed: Changed,
    /// Data after the end of an archive, which were ignored.
    pub after_end: Option<AfterEnd>,
    /// The archive has no entries.
    pub is_empty: bool,
    /// The root hash of the tree of dm-verity, if the disk has one.
    pub root_hash: Option<verity::Hash>,
}

/// Data after the end mark of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterEnd {
    /// The layer, counted from 1; `None` for an archive that is the input itself.
    pub layer: Option<usize>,
    /// The offset in the uncompressed archive.
    pub offset: u64,
}

/// Counters of a build.
pub(super) struct Counts<'p> {
    pub(super) progress: &'p Progress,
    /// Attributes of the input that were left out.
    pub(super) attributes_left_out: u64,
    /// The first archive with data after its end.
    pub(super) after_end: Option<AfterEnd>,
    /// The archive that is the input itself has no entries.
    pub(super) is_empty: bool,
}

impl Counts<'_> {
    /// Notes data after the end of an archive, the first time.
    pub(super) fn note_end(&mut self, layer: Option<usize>, offset: Option<u64>) {
        self.after_end = self.after_end.or(offset.map(|offset| AfterEnd { layer, offset }));
    }
}

impl Display for AfterEnd {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { layer, offset } = self;
        let place = layer.map_or_else(String::new, |number| format!(" of layer {number}"));
        write!(formatter, "data after the end of the archive{place}, from byte {offset} on")
    }
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
    /// An image in layers that is not a seekable file.
    #[error("is an image in layers, as `docker save` makes it, which cannot be read from a pipe: give it as a file")]
    Layers,
    /// A layer that is not a tar.
    #[error("is not a tar archive")]
    NoTar,
    /// An archive that must be seekable cannot be made so.
    #[error("{0}")]
    Seekable(#[from] seekable::Error),
    /// An image in an archive of layers cannot be read.
    #[error("{0}")]
    Image(#[from] layers::Error),
    /// A choice for an input that is not in layers.
    #[error("is not an archive of layers, so --tag and --platform do not apply")]
    NoChoice,
}

impl Error {
    /// Returns the error of the disk, as one that is full or too small; `None` if the input is at fault. A layer's error is one of
    /// the disk without the layer.
    pub fn of_disk(&self) -> Option<&ext4::Error> {
        match self {
            Self::FileSystem(error) => Some(error).filter(|error| error.is_of_disk()),
            Self::Image(layers::Error::Layer { error, .. }) => error.of_disk(),
            _ => None,
        }
    }
}

impl Input<'_> {
    /// Detects the type of an input: an archive or a directory with an image in layers, another archive, or another directory.
    /// If the first names of an archive do not suggest layers, it is taken for another archive, and [`build_from`] finds the
    /// layers later.
    ///
    /// # Errors
    /// Errors of the archive and the choice.
    pub fn open(file: File, choice: &Choice) -> Result<Self, Error> {
        let metadata = file.metadata().map_err(tar::Error::Read)?;
        if metadata.is_dir() {
            return match Layers::open_folder(file, choice)? {
                Ok(layers) => Ok(Self::Layers(Box::new(layers))),
                Err(Some(folder)) if !choice.is_made() => Ok(Self::Folder(folder)),
                Err(_) => Err(Error::NoChoice),
            };
        }
        if metadata.is_file() {
            let start = (&file).stream_position().map_err(tar::Error::Read)?;
            let is_suggested = choice.is_made() || archive::suggests_layers(&file);
            (&file).seek(SeekFrom::Start(start)).map_err(tar::Error::Read)?;
            if is_suggested {
                return Self::open_archive(file, choice);
            }
        }
        if choice.is_made() { Err(Error::NoChoice) } else { Ok(Self::Tar(Box::new(file))) }
    }

    /// Reads the whole table of contents of an archive, from its position on.
    fn open_archive(file: File, choice: &Choice) -> Result<Self, Error> {
        let start = (&file).stream_position().map_err(tar::Error::Read)?;
        let archive = seekable(file.try_clone().map_err(tar::Error::Read)?)?;
        match Layers::open(archive, choice)? {
            Some(layers) => Ok(Self::Layers(Box::new(layers))),
            None if choice.is_made() => Err(Error::NoChoice),
            None => {
                (&file).seek(SeekFrom::Start(start)).map_err(tar::Error::Read)?;
                Ok(Self::Tar(Box::new(file)))
            }
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

/// Writes a disk with the files of `file`, an input of any type, to `output`, a new and empty file. `prepare` gets the input
/// and returns the options; it is called again if the input
/// turns out to be an image in layers only at its end, or a layer has a whiteout after an entry that depends on it.
///
/// # Errors
/// See [`build_from`].
pub fn build_file<E: From<Error>>(
    file: &File,
    choice: &Choice,
    output: &File,
    mut prepare: impl FnMut(&Input) -> Result<Options, E>,
) -> Result<Summary, E> {
    let read = |error| Error::Archive(tar::Error::Read(error));
    let is_file = file.metadata().map_err(read)?.is_file();
    let start = if is_file { Some((&*file).stream_position().map_err(read)?) } else { None };
    let copy = || file.try_clone().map_err(read);
    let (mut is_archive, mut are_whiteouts_first) = (false, false);
    loop {
        let mut input = if is_archive { Input::open_archive(copy()?, choice)? } else { Input::open(copy()?, choice)? };
        if let Input::Layers(layers) = &mut input
            && are_whiteouts_first
        {
            layers.read_whiteouts_first();
        }
        let options = prepare(&input)?;
        match build_from(input, output, &options) {
            Err(Error::Layers) if is_file && !is_archive => is_archive = true,
            Err(Error::Image(layers::Error::WhiteoutsLate)) if !are_whiteouts_first => are_whiteouts_first = true,
            result => return Ok(result?),
        }
        if let Some(start) = start {
            (&*file).seek(SeekFrom::Start(start)).map_err(read)?;
        }
        output.set_len(0).map_err(|error| Error::FileSystem(ext4::Error::Write(error)))?;
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
    let mut counts = Counts { progress: &options.progress, attributes_left_out: 0, after_end: None, is_empty: false };
    let (mut left_out, mut changed) = (LeftOut::default(), Changed::default());
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
            (left_out, changed) = folder::apply(&folder, &disks, &mut builder, &options.progress)?;
        }
    }
    if is_root {
        add_mount_points(&mut builder, options)?;
    }
    if !options.run_record.is_empty() {
        add_run_record(&mut builder, options)?;
    }
    let mut totals = builder.finish(&finish(options)).map_err(|error| match error {
        ext4::Error::TooSmall(bytes) => ext4::Error::TooSmall(disk_length(options, bytes)),
        error => error,
    })?;
    let root_hash = if options.has_hash_tree { Some(append_hash_tree(output, options, &mut totals)?) } else { None };
    if options.is_partitioned {
        write_table(output, options, &mut totals)?;
    }
    Ok(Summary {
        totals,
        allocated_bytes: output.metadata().map_err(ext4::Error::Write)?.blocks() * 512,
        attributes_left_out: counts.attributes_left_out + totals.attributes_left_out,
        left_out,
        changed,
        after_end: counts.after_end,
        is_empty: counts.is_empty,
        root_hash,
    })
}

/// Returns the length of the disk for a file system of `bytes`, with what surrounds it.
fn disk_length(options: &Options, bytes: u64) -> u64 {
    let aligned = if options.is_partitioned { bytes.next_multiple_of(gpt::ALIGNMENT) } else { bytes };
    let length = if options.has_hash_tree { verity::length(aligned) } else { aligned };
    if options.is_partitioned { gpt::disk_length(length.next_multiple_of(gpt::ALIGNMENT)) } else { length }
}

fn finish(options: &Options) -> Finish {
    let Options { size, inodes, has_journal, uuid, label, time, is_verified, .. } = *options;
    let unit = if options.is_partitioned { gpt::ALIGNMENT } else { ext4::BLOCK_BYTES };
    let size = match size {
        Size::Exact(bytes) => {
            let bytes = if options.is_partitioned { gpt::partition_length(bytes) } else { bytes };
            Size::Exact(if options.has_hash_tree { verity::data_length(bytes, unit) } else { bytes })
        }
        relative => relative,
    };
    let multiple = (unit / ext4::BLOCK_BYTES) as u32; // 1 or 256
    Finish { size, inodes, has_journal, uuid, label, time, is_verified, multiple }
}

/// Writes the hash tree after a finished file system; returns its root hash.
fn append_hash_tree(output: &File, options: &Options, totals: &mut ext4::Totals) -> Result<verity::Hash, ext4::Error> {
    let base = if options.is_partitioned { gpt::ALIGNMENT } else { 0 };
    let (data, uuid) = (totals.image_bytes, totals.uuid);
    let hash = verity::append(output, base, data, uuid)?;
    totals.image_bytes = verity::length(data);
    if options.is_partitioned {
        totals.image_bytes = totals.image_bytes.next_multiple_of(gpt::ALIGNMENT);
    } else if let Size::Exact(bytes) = options.size {
        totals.image_bytes = bytes;
    }
    output.set_len(base + totals.image_bytes)?;
    if options.is_verified {
        output.sync_data()?;
        let _ = fadvise(output, 0, None, Advice::DontNeed); // the kernel may ignore it
        if !verity::check(output, base, data, uuid, &hash)? {
            return Err(ext4::Error::ReadBack(ext4::read::Error::Damaged(ext4::read::Damage::HashTree)));
        }
    }
    Ok(hash)
}

/// Writes the partition table around a finished file system.
fn write_table(output: &File, options: &Options, totals: &mut ext4::Totals) -> Result<(), ext4::Error> {
    let label: Vec<u8> = options.label.iter().copied().take_while(|byte| *byte != 0).collect();
    let name = if label.is_empty() { "root".into() } else { String::from_utf8_lossy(&label) };
    let disk = match options.size {
        Size::Exact(bytes) => bytes,
        _ => gpt::disk_length(totals.image_bytes),
    };
    let table = gpt::Table::new(disk, totals.image_bytes, totals.uuid, &name, options.machine.root_type());
    let (start, back) = table.back();
    output.write_all_at(&table.front(), 0)?;
    output.write_all_at(&back, start)?;
    output.set_len(disk)?;
    totals.image_bytes = disk;
    if options.is_verified {
        output.sync_data()?;
        let _ = fadvise(output, 0, None, Advice::DontNeed); // the kernel may ignore it
        for (offset, expected) in [(0, table.front()), (start, back)] {
            let mut found = vec![0; expected.len()];
            output.read_exact_at(&mut found, offset)?;
            if found != expected {
                return Err(ext4::Error::ReadBack(ext4::read::Error::Damaged(ext4::read::Damage::PartitionTable)));
            }
        }
    }
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
    let record = options.run_record.as_bytes();
    let mut file = builder.file(IMAGE_RECORD.to_bytes(), metadata, record.len() as u64)?;
    fill(&mut file, record)?;
    file.close()?;
    Ok(())
}

/// Writes the whole content of a file.
fn fill(file: &mut FileWriter, mut content: &[u8]) -> Result<(), ext4::Error> {
    while !content.is_empty() {
        let room = file.room()?;
        let (now, later) = content.split_at(room.len());
        room.copy_from_slice(now);
        content = later;
        file.keep()?;
    }
    Ok(())
}
