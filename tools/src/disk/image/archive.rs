//! Adds the entries of a tar, in order, to a file system.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::Counts;
use super::Error;
use super::fill;
use crate::archive::contents::{self, Contents, MAX_DOCUMENT, Parts, Survey};
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
        let (mut survey, mut documents) = (Survey::default(), HashMap::new());
        let mut entry = Entry::default();
        counts.is_empty = true;
        while reader.next(&mut entry)? {
            counts.is_empty = false;
            survey.see(&entry.path, entry.kind == Kind::Directory);
            match Survey::needs(&entry.path).filter(|_| entry.kind == Kind::File && entry.size <= MAX_DOCUMENT) {
                None => add(builder, &mut reader, &entry, counts)?,
                Some(name) => {
                    let mut document = vec![0; entry.size as usize]; // at most MAX_DOCUMENT
                    reader.read(&mut document)?;
                    let rest = &mut document.as_slice();
                    let mut file = builder.file(&entry.path, metadata(&entry), entry.size)?;
                    fill(&mut file, rest)?;
                    file.close()?;
                    count(&entry, counts);
                    documents.insert(name, document);
                }
            }
        }
        counts.note_end(None, reader.after_end());
        match survey.decide(&mut Written { builder, documents }) {
            Ok(Contents::Root) => Ok(()),
            Ok(_) => Err(Error::Layers),
            Err(incomplete) => Err(Error::Image(incomplete.into())),
        }
    })
}

/// The bytes of a compressed archive in which its first names are searched.
const SEARCHED_BYTES: u64 = 16 << 20;

/// Returns whether the first names of an archive, plain or compressed, suggest an image in layers. Contents of a plain archive are not
/// read. An archive that cannot be read suggests none; the error is reported when it is read as a whole.
pub(super) fn suggests_layers(mut file: &File) -> bool {
    let Ok(start) = file.stream_position() else { return false };
    match compress::decoder(file) {
        Ok((None, _)) => file.seek(SeekFrom::Start(start)).is_ok() && is_telling(Reader::seekable(file)),
        Ok((Some(_), content)) => is_telling(Reader::new(content.take(SEARCHED_BYTES))),
        Err(_) => false,
    }
}

fn is_telling(mut reader: Reader<impl Read>) -> bool {
    let mut entry = Entry::default();
    // A directory or a file in one is the start of a root; single files are in images too.
    while reader.next(&mut entry).is_ok_and(|is_entry| is_entry) {
        if contents::is_telling(&entry.path) {
            return true;
        }
        let mut survey = Survey::default();
        survey.see(&entry.path, entry.kind == Kind::Directory);
        if survey.has_tree() {
            return false;
        }
    }
    false
}

/// The files added so far, for the decision what the archive is.
struct Written<'w, 'b> {
    builder: &'w mut Builder<'b>,
    documents: HashMap<String, Vec<u8>>,
}

impl Parts for Written<'_, '_> {
    fn has(&mut self, name: &str) -> bool {
        self.builder.exists(name.as_bytes())
    }

    fn document(&mut self, name: &str) -> Option<Vec<u8>> {
        self.documents.get(name).cloned()
    }
}

/// Adds an entry with its content from `reader`, and counts it in `counts`.
pub(super) fn add<R: Read>(
    builder: &mut Builder,
    reader: &mut Reader<R>,
    entry: &Entry,
    counts: &mut Counts,
) -> Result<(), Error> {
    let metadata = metadata(entry);
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
    count(entry, counts);
    Ok(())
}

fn metadata(entry: &Entry) -> Metadata<'_> {
    Metadata {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        seconds: entry.mtime.seconds,
        nanoseconds: entry.mtime.nanoseconds,
        attributes: &entry.attributes,
    }
}

fn count(entry: &Entry, counts: &mut Counts) {
    counts.attributes_left_out += u64::from(entry.text_acls);
    counts.progress.add_file();
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
