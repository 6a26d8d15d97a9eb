//! The image, its block map and its signature: files of this machine are opened before the disk is wiped, those of servers after.

use std::fs;
use std::io::{self, Read as _};
use std::sync::Arc;

use minisign_verify::{PublicKey, Signature};

use crate::bmap::{self, Map};
use crate::decode::{self, Format};
use crate::feed::Source;
use crate::net::url::Url;
use crate::net::{Net, download};
use crate::options::Options;
use crate::table::Table;
use crate::target::Target;

/// Limit for a signature: four lines.
const MAX_SIGNATURE: u64 = 4 << 10;

/// The inputs that are open.
#[derive(Default)]
pub struct Inputs {
    /// The image.
    pub source: Option<Source>,
    /// Its block map.
    pub map: Option<Map>,
    /// Its signature.
    pub signature: Option<Signature>,
}

/// Where an input is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a file, or at the end of a pipe.
    Here,
    /// On a server.
    Server,
}

impl Place {
    fn of(name: &str) -> Self {
        if Url::is_one(name) { Self::Server } else { Self::Here }
    }
}

impl Inputs {
    /// Opens the inputs of one place.
    ///
    /// # Errors
    /// One line.
    pub fn open(
        &mut self,
        place: Place,
        net: &Arc<Net>,
        options: &Options,
        key: Option<&PublicKey>,
    ) -> Result<(), String> {
        if let Some(name) = options.bmap.as_deref().filter(|name| Place::of(name) == place) {
            let bytes = small_file(net, name, bmap::MAX_BYTES)?;
            let map = Map::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| format!("{name}: {error}"))?;
            self.map = Some(map);
        }
        if let Some(key) = key {
            let name = signature_name(options)?;
            if Place::of(&name) == place {
                let signature = signature(net, &name)?;
                let checked = key.verify_stream(&signature).map(drop);
                checked.map_err(|error| format!("the signature of {}: {error}", options.source))?;
                self.signature = Some(signature);
            }
        }
        if Place::of(&options.source) == place {
            self.source = Some(Source::open(net, &options.source, has_digest(options))?);
        }
        Ok(())
    }

    /// Checks an image that is a file or a device, as far as its first bytes and its length allow. The first bytes of a pipe may come
    /// late.
    ///
    /// # Errors
    /// One line.
    pub fn check_file(&mut self, options: &Options, target: &Target) -> Result<(), String> {
        let Some(source) = &mut self.source else { return Ok(()) };
        if source.file.as_ref().is_some_and(|file| target.overlaps(file)) {
            return Err(format!("{}: the image is the disk itself, or a part of it", source.name));
        }
        if !source.is_file() {
            return Ok(());
        }
        let kind = format(source, options, target)?;
        // A file that is damaged here is refused where it is written.
        match source.first_block(kind) {
            Some(block) => table(&block, options, target).map(drop).map_err(|what| format!("{}: {what}", source.name)),
            None => Ok(()),
        }
    }
}

/// Detects the format of an image; refuses what its first bytes and its length show to be wrong.
///
/// # Errors
/// One line.
pub fn format(source: &mut Source, options: &Options, target: &Target) -> Result<Format, String> {
    let front = source.look()?;
    let format = if front.is_empty() { Err("it is empty".into()) } else { Format::detect(&front) };
    let format = format.map_err(|what| format!("{}: {what}", source.name))?;
    if format == Format::Raw {
        if options.must_be_compressed {
            let what = "not compressed by gzip, zstd or xz, as the configuration says it is";
            return Err(format!("{}: {what}", source.name));
        }
        if let Some(total) = source.total.filter(|total| *total > target.size) {
            return Err(target.too_small(&format!("{total} bytes")));
        }
    }
    // A compressed file may be cut between two members, frames or streams.
    if !source.has_end && !has_digest(options) {
        let what = if source.file.is_some() { "a pipe has no length" } else { "the server does not state the length" };
        return Err(format!("{}: {what}, so that a cut would not be noticed; pass --sha256", source.name));
    }
    Ok(format)
}

/// Reads the partition table in the first block of an image; refuses an image that is no disk, and a table that the disk cannot have.
///
/// # Errors
/// What is wrong.
pub fn table(block: &[u8], options: &Options, target: &Target) -> Result<Table, String> {
    if block.is_empty() {
        return Err("it is empty".into());
    }
    decode::check_raw(&block[..block.len().min(decode::LOOKED_AT)])?;
    let table = Table::read(block, target.size, target.sector, options.grow)?;
    match (options.grown_partition, table.last()) {
        (Some(wanted), Some(last)) if wanted != last => {
            Err(format!("growPartition: partition {wanted} is not the last one, which is {last}"))
        }
        _ => Ok(table),
    }
}

/// Returns whether the whole image is checked after the download.
fn has_digest(options: &Options) -> bool {
    options.sha256.is_some() || options.minisign.is_some()
}

/// Reads minisign's public key: its text, or a file.
///
/// # Errors
/// One line.
pub fn public_key(text: &str) -> Result<PublicKey, String> {
    if let Ok(key) = PublicKey::from_base64(text) {
        return Ok(key);
    }
    let file =
        fs::read_to_string(text).map_err(|error| format!("--minisign {text}: neither a key nor a file: {error}"))?;
    PublicKey::decode(&file).map_err(|error| format!("--minisign {text}: {error}"))
}

fn signature_name(options: &Options) -> Result<String, String> {
    match &options.signature {
        Some(name) => Ok(name.clone()),
        None if Url::is_one(&options.source) => Ok(Url::parse(&options.source)?.with_suffix(".minisig").to_string()),
        None if options.source == "-" => Err("--minisign: for standard input pass --signature".into()),
        None => Ok(format!("{}.minisig", options.source)),
    }
}

fn signature(net: &Arc<Net>, name: &str) -> Result<Signature, String> {
    let bytes = small_file(net, name, MAX_SIGNATURE)?;
    Signature::decode(&String::from_utf8_lossy(&bytes)).map_err(|error| format!("{name}: no signature: {error}"))
}

/// Reads a file, here or on a server.
fn small_file(net: &Arc<Net>, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    if Url::is_one(name) {
        let found = download::small_file(net, &Url::parse(name)?, limit)?;
        return found.ok_or_else(|| format!("{name}: there is no such file"));
    }
    let at = |error: io::Error| format!("{name}: {error}");
    let mut bytes = Vec::new();
    fs::File::open(name).map_err(at)?.take(limit + 1).read_to_end(&mut bytes).map_err(at)?;
    if bytes.len() as u64 > limit { Err(format!("{name}: more than {limit} bytes")) } else { Ok(bytes) }
}
