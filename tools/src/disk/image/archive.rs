//! Adds the entries of a tar, in order, to a file system.

use std::io::Read;

use super::Counts;
use super::Error;
use super::layers::{Class, classify};
use crate::archive::tar::{self, Entry, Kind, Reader};
use crate::compress;
use crate::disk::ext4::{Builder, FileWriter, Metadata};

/// Adds all entries of a tar, plain or compressed, from a stream.
pub(super) fn apply(
    input: impl Read + Send,
    missing_end_accepted: bool,
    builder: &mut Builder,
    counts: &mut Counts,
) -> Result<(), Error> {
    std::thread::scope(|scope| {
        let input = compress::decompress(scope, input).map_err(tar::Error::Read)?;
        let mut reader = Reader::new(input).accept_missing_end(missing_end_accepted);
        let mut entry = Entry::default();
        let (mut is_empty, mut may_be_layers) = (true, true);
        while reader.next(&mut entry)? {
            if may_be_layers {
                match classify(&entry.path) {
                    Class::Layer => return Err(Error::Layers),
                    Class::Neutral => {}
                    Class::Foreign => may_be_layers = false,
                }
            }
            add(builder, &mut reader, &entry, counts)?;
            is_empty = false;
        }
        if is_empty {
            return Err(Error::NoFiles);
        }
        counts.note_end(None, reader.after_end());
        let has_only_documents = may_be_layers && (builder.exists(b"oci-layout") || builder.exists(b"manifest.json"));
        if has_only_documents { Err(Error::Layers) } else { Ok(()) }
    })
}

/// Adds an entry with its content from `reader`, and counts it in `counts`.
pub(super) fn add<R: Read>(
    builder: &mut Builder,
    reader: &mut Reader<R>,
    entry: &Entry,
    counts: &mut Counts,
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
        Kind::File => add_content(builder.file(path, metadata, entry.size)?, reader)?,
        Kind::Directory => builder.directory(path, metadata)?,
        Kind::Symlink => builder.symlink(path, metadata, &entry.link)?,
        Kind::HardLink => builder.hard_link(path, &entry.link)?,
        Kind::CharacterDevice => builder.device(path, metadata, false, entry.device)?,
        Kind::BlockDevice => builder.device(path, metadata, true, entry.device)?,
        Kind::Fifo => builder.fifo(path, metadata)?,
    }
    counts.attributes_left_out += u64::from(entry.text_acls);
    counts.progress.add_file();
    Ok(())
}

fn add_content<R: Read>(mut file: FileWriter, reader: &mut Reader<R>) -> Result<(), Error> {
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
    Ok(())
}
