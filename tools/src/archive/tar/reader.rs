//! The stream of entries: collects the headers that describe the next entry, returns contents, and verifies the end.

use std::io::{Read, Seek};

use super::header::{BLOCK, Header, Role};
use super::pax::Records;
use super::source::Source;
use super::sparse::{self, Map, TextMap};
use super::{Content, Entry, Error, Kind, Problem};

/// Longer long names and PAX headers are refused as damage.
const MAX_EXTENDED: u64 = 16 << 20;
/// The longest path or target. Linux opens a path of at most 4,095 bytes, but a directory tree may be deeper.
const MAX_PATH: usize = 65_535;
/// The most bytes of all global headers together: they are copied to each entry.
const MAX_GLOBAL: u64 = 64 << 10;

/// Reads an archive entry by entry.
pub struct Reader<R> {
    source: Source<R>,
    /// Accept an archive that ends without its end mark.
    missing_end_accepted: bool,
    /// The offset of the first byte after the end mark that is not zero.
    after_end: Option<u64>,
    global: Records,
    global_bytes: u64,
    /// The current entry's content: its map, the region that contains or follows `position`, the stored bytes left in
    /// the archive, and their padding.
    map: Map,
    region: usize,
    position: u64,
    stored: u64,
    padding: u64,
    /// Name of the current entry, for messages.
    path: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Creates a reader that starts at the first byte of `input`.
    pub fn new(input: R) -> Self {
        Self::with_source(Source::new(input))
    }

    /// Creates a reader that starts at the position of `input`, and seeks past contents that the caller does not read.
    pub fn seekable(input: R) -> Self
    where
        R: Seek,
    {
        Self::with_source(Source::seekable(input))
    }

    fn with_source(source: Source<R>) -> Self {
        Self {
            source,
            missing_end_accepted: false,
            after_end: None,
            global: Records::default(),
            global_bytes: 0,
            map: Map::default(),
            region: 0,
            position: 0,
            stored: 0,
            padding: 0,
            path: Vec::new(),
        }
    }

    /// Accepts an archive that stops between entries as complete. Some writers leave out the end mark; without it, an
    /// archive that is truncated between entries looks complete.
    #[must_use]
    pub fn accept_missing_end(mut self, accept: bool) -> Self {
        self.missing_end_accepted = accept;
        self
    }

    /// Returns the offset of the current entry's content, in bytes from the start of the input.
    pub fn content_offset(&self) -> u64 {
        self.source.offset()
    }

    /// Returns the location of the current entry's content. Call it before reading the content.
    pub fn content(&self) -> Content {
        Content::new(self.source.offset(), self.map.clone())
    }

    /// Returns the offset of the first byte after the end mark that is not zero: data that are not part of the archive, such as
    /// a second archive. A reader that seeks does not look for them.
    pub fn after_end(&self) -> Option<u64> {
        self.after_end
    }

    /// Reads up to the next entry's content; false at the end of the archive.
    ///
    /// At the end of the archive, the rest of the input is read, so that a program writing into a pipe can finish.
    ///
    /// # Errors
    /// Errors of reading the input; an archive that is truncated or damaged; an input that is not a tar archive.
    pub fn next(&mut self, entry: &mut Entry) -> Result<bool, Error> {
        self.skip(self.stored)?;
        let is_padded = self.source.skip(self.padding)? == self.padding;
        // Writers that leave out the end mark may leave out the last content's padding too: umoci does.
        if !is_padded && !self.missing_end_accepted {
            return Err(self.truncated());
        }
        (self.stored, self.padding) = (0, 0);
        self.path.clear();
        let mut records = self.global.clone();
        let (mut long_name, mut long_link) = (None, None);
        let mut has_extended_header = false;
        loop {
            let offset = self.source.offset();
            let Some(block) = self.header_block()? else {
                return if has_extended_header { Err(self.damaged(offset, Problem::HeaderAlone)) } else { Ok(false) };
            };
            let header = match Header::parse(&block) {
                Ok(header) => header,
                Err(_) if offset == 0 => return Err(Error::NotTar),
                Err(problem) => return Err(self.damaged(offset, problem)),
            };
            let at = |problem| Error::Damaged { offset, problem, path: text(&block[..100]).to_vec() };
            let size = header.content_size().map_err(at)?;
            let kind = match header.role() {
                Role::Entry(kind) => kind,
                Role::SparseFile => Kind::File,
                Role::Continuation => return Err(at(Problem::MultiVolume)),
                Role::Skip => {
                    self.skip(padded(size))?;
                    continue;
                }
                role => {
                    let content = self.extended(size, offset)?;
                    match role {
                        Role::LongName => long_name = Some(text(&content).to_vec()),
                        Role::LongLink => long_link = Some(text(&content).to_vec()),
                        Role::GlobalRecords => {
                            self.global_bytes += size;
                            if self.global_bytes > MAX_GLOBAL {
                                return Err(at(Problem::GlobalTooLong));
                            }
                            self.global.read(&content).map_err(at)?;
                            records = self.global.clone();
                            continue; // a global header needs no entry after it
                        }
                        _ => {
                            // Of two such headers GNU tar and Go take the second alone.
                            records = self.global.clone();
                            records.read(&content).map_err(at)?;
                        }
                    }
                    has_extended_header = true;
                    continue;
                }
            };
            header.describe(kind, entry).map_err(at)?;
            if let Some(name) = long_name {
                entry.path = name;
            }
            if let Some(link) = long_link {
                entry.link = link;
            }
            records.apply(entry);
            self.path.clone_from(&entry.path);
            if entry.path.len() > MAX_PATH || entry.link.len() > MAX_PATH {
                return Err(self.damaged(offset, Problem::PathTooLong));
            }
            if entry.path.is_empty() {
                return Err(self.damaged(offset, Problem::NoName));
            }
            // Before ustar a directory was a file whose name ends in a slash. With content it is a file, as for Go.
            let has_content = records.size.unwrap_or(size) > 0;
            if entry.kind == Kind::File && !has_content && entry.path.ends_with(b"/") {
                entry.kind = Kind::Directory;
            }
            self.begin_content(&header, entry, &mut records, size, offset)?;
            return Ok(true);
        }
    }

    /// Fills `target` with the content's next bytes. Returns the byte count, which is less than its length only at the
    /// content's end.
    ///
    /// # Errors
    /// Errors of reading the input; a truncated archive.
    pub fn read(&mut self, target: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < target.len() {
            let wanted = (target.len() - filled) as u64;
            let hole = self.hole();
            if hole > 0 {
                let count = hole.min(wanted);
                target[filled..][..count as usize].fill(0); // at most `wanted`
                self.skip_hole(count);
                filled += count as usize;
                continue;
            }
            let Some(region) = self.map.region(self.region) else { break };
            let count = wanted.min(region.offset + region.length - self.position) as usize; // at most `wanted`
            if self.source.read(&mut target[filled..][..count])? < count {
                return Err(self.truncated());
            }
            self.stored -= count as u64;
            self.position += count as u64;
            self.settle();
            filled += count;
        }
        Ok(filled)
    }

    /// Returns the length of the hole at the current position: zeros that are not stored.
    pub fn hole(&self) -> u64 {
        let end = self.map.region(self.region).map_or(self.map.size(), |region| region.offset);
        end.saturating_sub(self.position)
    }

    /// Skips `count` bytes of the hole at the current position.
    pub fn skip_hole(&mut self, count: u64) {
        self.position += count.min(self.hole());
    }

    /// Advances to the region that contains or follows `position`.
    fn settle(&mut self) {
        while self.map.region(self.region).is_some_and(|region| region.offset + region.length <= self.position) {
            self.region += 1;
        }
    }

    /// Finds the content of the entry: after the header, after tables of regions, or none.
    fn begin_content(
        &mut self,
        header: &Header,
        entry: &mut Entry,
        records: &mut Records,
        size: u64,
        offset: u64,
    ) -> Result<(), Error> {
        let is_file = entry.kind == Kind::File;
        self.stored = if is_file { records.size.unwrap_or(size) } else { size };
        self.padding = padded(self.stored) - self.stored;
        (self.region, self.position) = (0, 0);
        if !is_file {
            self.map.set_whole(0);
        } else if header.role() == Role::SparseFile {
            self.map = self.old_sparse_map(header, offset)?;
        } else if let Some(sparse) = records.sparse.take() {
            let regions = if sparse.map_in_content { self.text_map(offset)? } else { sparse.regions };
            let real_size = sparse.real_size.unwrap_or(self.stored);
            self.map = Map::new(regions, real_size, self.stored).map_err(|problem| self.damaged(offset, problem))?;
        } else {
            self.map.set_whole(self.stored);
        }
        self.settle();
        entry.size = self.map.size();
        Ok(())
    }

    fn old_sparse_map(&mut self, header: &Header, offset: u64) -> Result<Map, Error> {
        let damaged = |problem| Error::Damaged { offset, problem, path: self.path.clone() };
        let (table, mut more, real_size) = header.sparse().map_err(damaged)?;
        let mut regions = Vec::new();
        sparse::append_table(table, &mut regions).map_err(damaged)?;
        while more {
            let block = self.content_block()?;
            more = sparse::append_extension(&block, &mut regions).map_err(|problem| self.damaged(offset, problem))?;
        }
        Map::new(regions, real_size, self.stored).map_err(|problem| self.damaged(offset, problem))
    }

    fn text_map(&mut self, offset: u64) -> Result<Vec<sparse::Region>, Error> {
        let mut map = TextMap::default();
        loop {
            // The map's blocks count as stored content.
            self.stored =
                self.stored.checked_sub(BLOCK as u64).ok_or_else(|| self.damaged(offset, Problem::SparseMap))?;
            let block = self.content_block()?;
            if let Some(regions) = map.take(&block).map_err(|problem| self.damaged(offset, problem))? {
                return Ok(regions);
            }
        }
    }

    /// Reads the next header; `None` at the end of the archive. POSIX ends an archive by two blocks of zeros; one is enough, as
    /// for GNU tar and libarchive.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let start = self.source.offset();
        match self.source.read(&mut block)? {
            BLOCK if !is_zero(&block) => Ok(Some(block)),
            BLOCK => {
                self.after_end = self.source.drain()?;
                Ok(None)
            }
            0 if start == 0 => Err(Error::Empty),
            0 if self.missing_end_accepted => Ok(None),
            _ if start == 0 => Err(Error::NotTar),
            _ => Err(self.truncated()),
        }
    }

    /// Reads the content of a header that describes the next entry.
    fn extended(&mut self, size: u64, offset: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_EXTENDED {
            return Err(self.damaged(offset, Problem::HeaderTooLong));
        }
        let mut content = vec![0; size as usize]; // at most MAX_EXTENDED
        if self.source.read(&mut content)? < content.len() {
            return Err(self.truncated());
        }
        self.skip(padded(size) - size)?;
        Ok(content)
    }

    fn content_block(&mut self) -> Result<[u8; BLOCK], Error> {
        let mut block = [0; BLOCK];
        if self.source.read(&mut block)? < BLOCK { Err(self.truncated()) } else { Ok(block) }
    }

    fn skip(&mut self, count: u64) -> Result<(), Error> {
        if self.source.skip(count)? < count { Err(self.truncated()) } else { Ok(()) }
    }

    fn truncated(&self) -> Error {
        Error::Truncated { offset: self.source.offset(), path: self.path.clone() }
    }

    fn damaged(&self, offset: u64, problem: Problem) -> Error {
        Error::Damaged { offset, problem, path: self.path.clone() }
    }
}

fn padded(size: u64) -> u64 {
    size.saturating_add(BLOCK as u64 - 1) & !(BLOCK as u64 - 1)
}

fn is_zero(block: &[u8; BLOCK]) -> bool {
    block[0] == 0 && block.iter().fold(0, |any, byte| any | byte) == 0
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}
