//! Images in layers, from an archive or a folder.
//!
//! The archive is indexed and not unpacked. Layers are read from the lowest to the highest, each once and in its own
//! thread, which decompresses it and checks its digest. When a higher layer replaces or hides a file, the file was already
//! written; its blocks become free in the file system, and a hole in the disk.
//!
//! - `choice`, `platform`: selects one of several images
//! - `oci`, `docker`: the two forms of archive
//! - `store`, `digest`: finds parts by name, and checks them
//! - `names`: the meaning of names in an archive and in a layer

mod choice;
mod digest;
mod docker;
mod names;
mod oci;
mod platform;
mod store;

use std::fs::File;
use std::io::{self, Read};
use std::thread::{self, Scope};

pub use choice::Choice;
pub use platform::Platform;

use super::Counts;
use super::archive;
use crate::archive::contents::{Contents, Incomplete, Survey};
use crate::archive::tar::{self, Entry, Reader};
use crate::cli::progress::{Counted, Progress};
use crate::compress::{self, Ahead, ahead};
use crate::disk::ext4::{self, Builder};
use crate::machine::Machine;
use crate::runrecord::{self, RunRecord};
use choice::choose;
use digest::{Digest, Mismatch, Verified};
use names::{AUFS_LINKS, Mark, mark};
use store::Store;

/// Why an image cannot be read from an archive of layers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A referenced part is missing.
    #[error("refers to {0}, which is missing; make the archive again")]
    Missing(String),
    /// A part cannot be read.
    #[error("{name}: cannot be read: {error}")]
    Part {
        /// Its name.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A document is not JSON.
    #[error("{name}: is not JSON ({error})")]
    Json {
        /// Its name.
        name: String,
        /// Why.
        error: serde_json::Error,
    },
    /// A document is invalid.
    #[error("{name}: is invalid: {problem}")]
    Document {
        /// Its name.
        name: String,
        /// The problem.
        problem: &'static str,
    },
    /// A part does not match its digest.
    #[error("{name}: {mismatch}")]
    Digest {
        /// Its name.
        name: String,
        /// The message.
        mismatch: String,
    },
    /// A part has another length than its descriptor states.
    #[error(
        "{name}: has {length} bytes, but {size} are stated where it is listed: the archive is damaged; make it again"
    )]
    Size {
        /// Its name.
        name: String,
        /// Its length in bytes.
        length: u64,
        /// The stated length.
        size: u64,
    },
    /// The archive cannot be read.
    #[error("{0}")]
    Archive(#[from] tar::Error),
    /// A layer cannot be applied.
    #[error("layer {number} ({name}): {error}")]
    Layer {
        /// Counted from 1, the lowest.
        number: usize,
        /// Its name.
        name: String,
        /// The error.
        error: Box<super::Error>,
    },
    /// The image's configuration is invalid.
    #[error("{name}: {error}")]
    Config {
        /// Its name.
        name: String,
        /// The error.
        error: runrecord::Error,
    },
    /// An image in layers that is not whole.
    #[error("{0}")]
    Incomplete(#[from] Incomplete),
    /// The archive has no image.
    #[error("contains no image")]
    NoImage,
    /// The archive has other things than images.
    #[error("contains no image; it has {0}")]
    NoImageBut(String),
    /// No image of this name.
    #[error("has no image {tag}; it has {list}")]
    NoTag {
        /// The requested name.
        tag: String,
        /// All images.
        list: String,
    },
    /// No image for this platform.
    #[error("has no image for {platform}; it has {list}")]
    NoPlatform {
        /// The requested platform.
        platform: Platform,
        /// All images.
        list: String,
    },
    /// The index has the image, but the archive lacks its manifest.
    #[error("lists {list}, but does not contain it: pull it for that platform and save it again")]
    Absent {
        /// The selected image.
        list: String,
    },
    /// More than one image.
    #[error("contains several images; select one with --tag or --platform: {list}")]
    Several {
        /// All images.
        list: String,
    },
    /// An image for another system.
    #[error("is an image for {0}; the machine runs Linux")]
    System(Platform),
    /// An entry of a layer depends on a later whiteout of it; `build_file` starts again, with the whiteouts first.
    #[error("has a whiteout after an entry that depends on it")]
    WhiteoutsLate,
    /// A layer of another type.
    #[error("layer {digest} is of type {media_type}; only tars can be read")]
    LayerType {
        /// Its digest.
        digest: String,
        /// Its type.
        media_type: String,
    },
    /// A layer that may not be copied with the image.
    #[error("refers to {name}, which its publisher does not allow to copy with the image; add it from {from}")]
    Foreign {
        /// Its name.
        name: String,
        /// The URLs.
        from: String,
    },
    /// An encrypted layer.
    #[error("layer {0} is encrypted; decrypt the image first")]
    Encrypted(String),
}

/// One layer.
struct Layer {
    name: String,
    /// Digest of the stored part.
    stored: Option<Digest>,
    /// Digest of the uncompressed content.
    content: Option<Digest>,
}

/// An image's parts.
struct Found {
    config: Vec<u8>,
    config_name: String,
    layers: Vec<Layer>,
    /// The title of an image without a name.
    id: String,
}

/// One image of an archive or a folder, ready to be read.
pub struct Layers {
    store: Store,
    /// From the lowest to the highest.
    layers: Vec<Layer>,
    config: RunRecord,
    title: String,
    machine: Option<Machine>,
    /// Whether each layer is read twice, first for its whiteouts.
    are_whiteouts_first: bool,
}

impl Layers {
    /// Opens an image in an archive. `None` if the archive has the files of a root.
    ///
    /// # Errors
    /// An archive that cannot be read; an incomplete or missing image; an ambiguous choice.
    pub fn open(archive: File, choice: &Choice) -> Result<Option<Self>, Error> {
        let (store, survey) = Store::index(archive)?;
        Ok(Self::select(store, &survey, choice)?.ok())
    }

    /// Opens an image in a folder. Returns a folder with the files of a root.
    ///
    /// # Errors
    /// See [`Layers::open`].
    pub fn open_folder(folder: File, choice: &Choice) -> Result<Result<Self, Option<File>>, Error> {
        let (store, survey) = Store::folder(folder)?;
        Ok(Self::select(store, &survey, choice)?.map_err(Store::into_folder))
    }

    fn select(mut store: Store, survey: &Survey, choice: &Choice) -> Result<Result<Self, Store>, Error> {
        let form = survey.decide(&mut &store)?;
        store.set_form(form);
        let index = match form {
            Contents::Root => return Ok(Err(store)),
            Contents::Saved => {
                let candidate = choose(docker::candidates(&store)?, choice)?;
                let found = docker::find(&store, &candidate.image)?;
                return Self::new(store, found, candidate.names, candidate.platform).map(Ok);
            }
            Contents::Layout => "index.json",
            Contents::Directory => "manifest.json",
        };
        let candidate = choose(oci::candidates(&store, index)?, choice)?;
        let found = oci::find(&store, &candidate.image)?;
        Self::new(store, found, candidate.names, candidate.platform).map(Ok)
    }

    fn new(store: Store, found: Found, names: Vec<String>, platform: Option<Platform>) -> Result<Self, Error> {
        if let Some(platform) = platform.as_ref().filter(|platform| !platform.is_linux()) {
            return Err(Error::System(platform.clone()));
        }
        let config = match RunRecord::parse(&found.config) {
            Err(runrecord::Error::NoConfig) => RunRecord::default(), // `config` may be missing
            result => result.map_err(|error| Error::Config { name: found.config_name, error })?,
        };
        let name = names.into_iter().next().unwrap_or(found.id);
        let machine = platform.as_ref().and_then(Platform::machine);
        let title = platform.map_or_else(|| name.clone(), |platform| format!("{name} for {platform}"));
        Ok(Self { store, layers: found.layers, config, title, machine, are_whiteouts_first: false })
    }

    /// Reads each layer twice, first for its whiteouts: an entry may lie below a name that a later whiteout of its layer hides.
    pub(super) fn read_whiteouts_first(&mut self) {
        self.are_whiteouts_first = true;
    }

    /// Returns the run record from the image's configuration.
    pub fn config(&self) -> &RunRecord {
        &self.config
    }

    /// Returns the machine that the image is for, if it is known.
    pub fn machine(&self) -> Option<Machine> {
        self.machine
    }

    /// Returns the image's name and platform.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Returns the stored bytes of all layers.
    pub fn stored_bytes(&self) -> u64 {
        self.layers.iter().filter_map(|layer| self.store.open(&layer.name).ok()).map(|part| part.left()).sum()
    }

    /// Applies all layers.
    pub(super) fn apply(&self, builder: &mut Builder, counts: &mut Counts) -> Result<(), Error> {
        for (number, layer) in (1..).zip(&self.layers) {
            builder.begin_layer();
            let progress = counts.progress;
            let result = thread::scope(|scope| {
                if self.are_whiteouts_first {
                    hide(self.content(scope, layer, progress)?, builder)?;
                }
                let content = self.content(scope, layer, progress)?;
                apply(content, number, self.are_whiteouts_first, builder, counts)
            });
            if let Err(error) = result {
                if !self.are_whiteouts_first && depends_on_order(&error) {
                    return Err(Error::WhiteoutsLate);
                }
                // Damage causes many errors; a digest mismatch is reported instead of them.
                let error = self.damage(layer).unwrap_or(error);
                return Err(Error::Layer { number, name: layer.name.clone(), error: Box::new(error) });
            }
        }
        Ok(())
    }

    /// Returns a reader of the layer's tar, which checks the digest at the end.
    fn content<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        layer: &Layer,
        progress: &'scope Progress,
    ) -> Result<Ahead, super::Error> {
        let part = Counted { input: self.store.open(&layer.name)?, progress };
        let read = |error| super::Error::Archive(tar::Error::Read(error));
        let stored = Verified::new(part, layer.stored.clone());
        let (_, content) = compress::decoder(stored).map_err(read)?;
        Ok(ahead(scope, Verified::new(content, layer.content.clone())))
    }

    /// Reads a layer to its end after an error. Returns a digest mismatch, if there is one.
    fn damage(&self, layer: &Layer) -> Option<super::Error> {
        let part = self.store.open(&layer.name).ok()?;
        let error = io::copy(&mut Verified::new(part, layer.stored.clone()), &mut io::sink()).err()?;
        let is_mismatch = error.get_ref().is_some_and(|inner| inner.is::<Mismatch>());
        is_mismatch.then_some(super::Error::Archive(tar::Error::Read(error)))
    }
}

/// Applies one layer. The end mark may be missing: the digest shows that the layer is complete.
fn apply(
    input: impl Read,
    number: usize,
    is_hidden: bool,
    builder: &mut Builder,
    counts: &mut Counts,
) -> Result<(), super::Error> {
    let mut reader = Reader::new(input).accept_missing_end(true);
    let mut entry = Entry::default();
    while next(&mut reader, &mut entry)? {
        match mark(&entry.path) {
            Mark::None => archive::add(builder, &mut reader, &entry, counts)?,
            _ if is_hidden => {}
            Mark::Hidden { directory, name } => builder.hide(directory, name)?,
            Mark::Opaque { directory } => builder.hide_all(directory)?,
            Mark::DriverData => {}
        }
    }
    counts.note_end(Some(number), reader.after_end());
    builder.end_layer()?;
    builder.discard(b"", AUFS_LINKS)?;
    Ok(())
}

/// Applies the whiteouts of a layer alone.
fn hide(input: impl Read, builder: &mut Builder) -> Result<(), super::Error> {
    let mut reader = Reader::new(input).accept_missing_end(true);
    let mut entry = Entry::default();
    while next(&mut reader, &mut entry)? {
        match mark(&entry.path) {
            Mark::Hidden { directory, name } => builder.hide(directory, name)?,
            Mark::Opaque { directory } => builder.hide_all(directory)?,
            Mark::None | Mark::DriverData => {}
        }
    }
    Ok(())
}

/// Reads the next entry of a layer, which may have no bytes at all.
fn next(reader: &mut Reader<impl Read>, entry: &mut Entry) -> Result<bool, super::Error> {
    match reader.next(entry) {
        Err(tar::Error::Empty) => Ok(false),
        Err(tar::Error::NotTar) => Err(super::Error::NoTar),
        result => Ok(result?),
    }
}

/// Returns whether an error of a layer may be due to a whiteout that comes after an entry.
fn depends_on_order(error: &super::Error) -> bool {
    let super::Error::FileSystem(ext4::Error::Entry { problem, .. }) = error else { return false };
    matches!(problem, ext4::Problem::HiddenLate | ext4::Problem::Path(ext4::PathProblem::NotADirectory))
}
