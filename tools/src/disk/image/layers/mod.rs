//! Images as they are stored: layers, one on top of the other, in an archive or a folder.
//!
//! The archive is indexed and not unpacked. Layers are read from the lowest to the highest, each once and in a thread of
//! its own, which decompresses it and compares it with its digest. A file that a higher layer replaces or hides has been
//! written by then; its blocks are free again in the image, and holes in its file.
//!
//! - `choice`: which of several images
//! - `oci`, `docker`: the two forms of archive
//! - `store`, `digest`: parts by their names, and whether they are what they should be
//! - `names`: what names mean in an archive, and in a layer

mod choice;
mod digest;
mod docker;
mod names;
mod oci;
mod store;

use std::fs::File;
use std::io::{self, Read};
use std::thread::{self, Scope};

pub use choice::{Choice, Platform};
pub(super) use names::{Class, classify};

use super::Notes;
use super::archive;
use crate::archive::tar::{self, Entry, Reader};
use crate::cli::progress::{Counted, Progress};
use crate::compress::{self, Ahead, ahead};
use crate::disk::ext4::Builder;
use crate::runrecord::{self, RunRecord};
use choice::choose;
use digest::{Digest, Mismatch, Verified};
use names::{AUFS_LINKS, Mark, mark};
use store::Store;

/// Why an image cannot be taken from an archive of layers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part is named and not there.
    #[error("names {0}, which is not in it; make it again")]
    Missing(String),
    /// A part cannot be read.
    #[error("{name}: cannot be read: {error}")]
    Part {
        /// Its name.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A document is no JSON.
    #[error("{name}: is not JSON ({error})")]
    Json {
        /// Its name.
        name: String,
        /// Why.
        error: serde_json::Error,
    },
    /// A document is not what it should be.
    #[error("{name}: is not understood: {problem}")]
    Document {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A part is not what its digest says.
    #[error("{name}: {mismatch}")]
    Digest {
        /// Its name.
        name: String,
        /// What is said of it.
        mismatch: String,
    },
    /// The archive itself.
    #[error("{0}")]
    Archive(#[from] tar::Error),
    /// A layer's archive, or what it holds.
    #[error("layer {number} ({name}): {error}")]
    Layer {
        /// Counted from 1, the lowest.
        number: usize,
        /// Its name.
        name: String,
        /// What is wrong.
        error: Box<super::Error>,
    },
    /// The image's configuration.
    #[error("{name}: {error}")]
    Config {
        /// Its name.
        name: String,
        /// What is wrong.
        error: runrecord::Error,
    },
    /// Nothing to choose.
    #[error("holds no image")]
    NoImage,
    /// No image of this name.
    #[error("has no image {tag}; it has {list}")]
    NoTag {
        /// The name asked for.
        tag: String,
        /// All there are.
        list: String,
    },
    /// No image for this platform.
    #[error("has no image for {platform}; it has {list}")]
    NoPlatform {
        /// The platform asked for.
        platform: Platform,
        /// All there are.
        list: String,
    },
    /// The image is named, and its manifest left out.
    #[error("names {list} and does not hold it: pull it for that platform and save it again")]
    Absent {
        /// What was chosen.
        list: String,
    },
    /// More than one image.
    #[error("holds several images; choose one with --tag or --platform: {list}")]
    Several {
        /// All there are.
        list: String,
    },
    /// Something else in the form of an image.
    #[error("is no container image: its configuration is of type {0:?}")]
    NoContainer(String),
    /// An image for another system.
    #[error("is an image for {0}, and the machine runs Linux")]
    System(Platform),
    /// A layer that nobody here has the key of.
    #[error("layer {0} is encrypted; decrypt the image first")]
    Encrypted(String),
}

/// What of a layer its digest is of.
enum Check {
    /// The part as it is stored.
    Stored(Digest),
    /// What it decompresses to.
    Content(Digest),
}

/// One layer.
struct Layer {
    name: String,
    check: Check,
}

/// An image's parts.
struct Found {
    config: Vec<u8>,
    config_name: String,
    layers: Vec<Layer>,
    /// What to call it when it has no name.
    id: String,
}

/// One image of an archive or a folder, ready to be read.
pub struct Layers {
    store: Store,
    /// From the lowest to the highest.
    layers: Vec<Layer>,
    config: RunRecord,
    title: String,
}

impl Layers {
    /// Looks whether a regular file is an archive of layers, or a folder holds one, and chooses an image. What is
    /// something else comes back, at the position it had.
    ///
    /// # Errors
    /// An archive that cannot be read, an image that is not there, a choice that is none.
    pub fn open(file: File, choice: &Choice) -> Result<Result<Self, File>, Error> {
        let is_folder = file.metadata().map_err(tar::Error::Read)?.is_dir();
        let store = if is_folder {
            Store::Folder(file)
        } else {
            match Store::index(file)? {
                Ok(store) => store,
                Err(file) => return Ok(Err(file)),
            }
        };
        if store.has("oci-layout") && store.has("index.json") {
            let candidate = choose(oci::candidates(&store)?, choice)?;
            let found = oci::find(&store, &candidate.image)?;
            return Self::new(store, found, candidate.names, candidate.platform).map(Ok);
        }
        if docker::is_manifest(&store) {
            let candidate = choose(docker::candidates(&store)?, choice)?;
            let found = docker::find(&store, &candidate.image)?;
            return Self::new(store, found, candidate.names, candidate.platform).map(Ok);
        }
        match store {
            Store::Folder(folder) => Ok(Err(folder)),
            Store::Archive { .. } => Err(Error::NoImage),
        }
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
        let title = platform.map_or_else(|| name.clone(), |platform| format!("{name} for {platform}"));
        Ok(Self { store, layers: found.layers, config, title })
    }

    /// What the image's configuration says of running it.
    pub fn config(&self) -> &RunRecord {
        &self.config
    }

    /// The image's name and platform.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Bytes of all layers as they are stored.
    pub fn stored_bytes(&self) -> u64 {
        self.layers.iter().filter_map(|layer| self.store.open(&layer.name).ok()).map(|part| part.left()).sum()
    }

    /// Applies all layers.
    pub(super) fn apply(&self, builder: &mut Builder, notes: &mut Notes) -> Result<(), Error> {
        for (number, layer) in (1..).zip(&self.layers) {
            builder.begin_layer();
            let progress = notes.progress;
            let result = thread::scope(|scope| apply(self.content(scope, layer, progress)?, builder, notes));
            if let Err(error) = result {
                // Damage shows in many ways; the digest names it.
                let error = self.damage(layer).unwrap_or(error);
                return Err(Error::Layer { number, name: layer.name.clone(), error: Box::new(error) });
            }
        }
        Ok(())
    }

    /// The layer's tar, compared with its digest at its end.
    fn content<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        layer: &Layer,
        progress: &'scope Progress,
    ) -> Result<Ahead, super::Error> {
        let part = Counted { input: self.store.open(&layer.name)?, progress };
        let read = |error| super::Error::Archive(tar::Error::Read(error));
        Ok(match &layer.check {
            Check::Stored(digest) => {
                ahead(scope, compress::decoder(Verified::new(part, digest.clone())).map_err(read)?.1)
            }
            Check::Content(digest) => {
                ahead(scope, Verified::new(compress::decoder(part).map_err(read)?.1, digest.clone()))
            }
        })
    }

    /// Reads a layer whose content made trouble to its end: the digest that it does not match, if so.
    fn damage(&self, layer: &Layer) -> Option<super::Error> {
        let Check::Stored(digest) = &layer.check else { return None };
        let part = self.store.open(&layer.name).ok()?;
        let error = io::copy(&mut Verified::new(part, digest.clone()), &mut io::sink()).err()?;
        let is_mismatch = error.get_ref().is_some_and(|inner| inner.is::<Mismatch>());
        is_mismatch.then_some(super::Error::Archive(tar::Error::Read(error)))
    }
}

/// Applies one layer. Without an end mark it is complete too: its digest says so.
fn apply(input: impl Read, builder: &mut Builder, notes: &mut Notes) -> Result<(), super::Error> {
    let mut reader = Reader::new(input).accept_missing_end(true);
    let mut entry = Entry::default();
    while reader.next(&mut entry)? {
        match mark(&entry.path) {
            Mark::None => archive::add(builder, &mut reader, &entry, notes)?,
            Mark::Hidden { directory, name } => builder.hide(directory, name)?,
            Mark::Opaque { directory } => builder.hide_all(directory)?,
            Mark::Notes => {}
        }
    }
    builder.end_layer()?;
    builder.discard(b"", AUFS_LINKS)?;
    Ok(())
}
