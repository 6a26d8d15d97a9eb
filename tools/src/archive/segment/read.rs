//! Reads an initramfs from start to end as the kernel does: concatenated archives, plain ones at multiples of four,
//! compressed ones anywhere, zeros between them (init/initramfs.c, unpack_to_rootfs()).
//!
//! An archive may continue in the next compressed segment at the end of an entry. For every input, the memory is bounded by a
//! decoder's window, one name and one link's target. Input that the kernel would skip silently is an error.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use super::entry::{Error, Member, Segment};
use super::input::Input;
use crate::archive::newc::{self, Header, Malformed, file_type};
use crate::cli::progress::Progress;
use crate::compress::{Decoder, MAGIC_BYTES, Method};

/// The kernel looks for a plain header at multiples of this.
const ALIGNMENT: u64 = 4;
/// The most segments of a file; an initramfs has two or three.
pub(super) const MAX_SEGMENTS: usize = 4096;
const BUFFER_BYTES: usize = 256 << 10;

/// Reads the entries of an initramfs; see the module's documentation.
pub struct Reader<R: Read> {
    /// `None` after the creation of a decoder failed.
    source: Option<Source<R>>,
    segments: Vec<Segment>,
    /// The position in the content of a compressed segment, or in the file.
    position: u64,
    /// Whether the current archive has entries and no trailer yet.
    is_open: bool,
    /// Whether a plain segment is being read.
    is_plain: bool,
    trailers: u64,
    data: Data,
    progress: Arc<Progress>,
}

enum Source<R: Read> {
    Plain(Input<R>),
    Packed(Box<BufReader<Decoder<Input<R>>>>),
}

/// The unread data of the last entry.
#[derive(Clone, Copy, Default)]
struct Data {
    left: u64,
    /// The offset of its header, the expected checksum, and the sum so far.
    start: u64,
    expected: Option<u32>,
    sum: u32,
}

impl<R: Read> Reader<R> {
    /// Creates a reader.
    pub fn new(input: R) -> Self {
        Self::watched(input, Arc::default())
    }

    /// Creates a reader that reports its progress: bytes of the file, and entries.
    pub fn watched(input: R, progress: Arc<Progress>) -> Self {
        let source = Some(Source::Plain(Input::new(input, Arc::clone(&progress))));
        Self {
            source,
            segments: Vec::new(),
            position: 0,
            is_open: false,
            is_plain: false,
            trailers: 0,
            data: Data::default(),
            progress,
        }
    }

    /// Returns the segments read so far; complete after the last entry.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Reads the next entry. Unread data of the last one are skipped.
    ///
    /// # Errors
    /// Malformed input; errors of reading.
    pub fn next_entry(&mut self) -> Result<Option<Member>, Error> {
        let mut passed = vec![0; BUFFER_BYTES.min(usize::try_from(self.data.left).unwrap_or(BUFFER_BYTES))];
        while self.read_data(&mut passed)? > 0 {}
        loop {
            match self.peek()?.first().copied() {
                None if self.packed().is_some() => self.leave_compressed(),
                None if self.is_open => return Err(self.malformed(Malformed::Truncated(self.position))),
                None => return Ok(None),
                Some(0) => {
                    let zeros = self.peek()?.iter().take_while(|byte| **byte == 0).count();
                    self.consume(zeros);
                }
                Some(b'0') if self.position.is_multiple_of(ALIGNMENT) => {
                    if let Some(member) = self.member()? {
                        return Ok(Some(member));
                    }
                }
                Some(_) if self.packed().is_some() => return Err(self.malformed(Malformed::Magic(self.position))),
                Some(_) => self.enter_compressed()?,
            }
        }
    }

    /// Reads data of the regular file that [`Reader::next_entry`] returned last; 0 bytes at their end.
    ///
    /// # Errors
    /// An archive that ends within the data; data that do not match their checksum; errors of reading.
    pub fn read_data(&mut self, target: &mut [u8]) -> Result<usize, Error> {
        if self.data.left == 0 {
            return Ok(0);
        }
        let room = target.len().min(usize::try_from(self.data.left).unwrap_or(usize::MAX));
        let count = self.read(&mut target[..room])?;
        if self.data.expected.is_some() {
            let sum = target[..count].iter().fold(self.data.sum, |sum, byte| sum.wrapping_add((*byte).into()));
            self.data.sum = sum;
        }
        self.data.left -= count as u64;
        if self.data.left == 0 {
            if self.data.expected.is_some_and(|expected| expected != self.data.sum) {
                return Err(self.malformed(Malformed::Checksum(self.data.start)));
            }
            self.align()?;
        }
        Ok(count)
    }

    /// Reads an entry up to its data; `None` for a trailer.
    fn member(&mut self) -> Result<Option<Member>, Error> {
        let start = self.position;
        if self.packed().is_none() && !self.is_plain {
            self.is_plain = true;
            self.begin(Segment { start, method: None, bytes: 0, content_bytes: 0, entries: 0 })?;
        }
        let mut bytes = [0; newc::HEADER_BYTES];
        self.read_exact(&mut bytes)?;
        let header = Header::parse(&bytes, start).map_err(|error| self.malformed(error))?;
        let mut name = vec![0; header.namesize];
        self.read_exact(&mut name)?;
        let length = newc::name_in(&name).ok_or_else(|| self.malformed(Malformed::Name(start)))?.len();
        name.truncate(length);
        self.align()?;
        self.data = Data { left: header.filesize.into(), start, expected: None, sum: 0 };
        if name == newc::TRAILER {
            self.end_archive()?;
            return Ok(None);
        }
        self.is_open = true;
        self.progress.add_file();
        if let Some(segment) = self.segments.last_mut() {
            segment.entries += 1;
        }
        let mut target = None;
        match header.mode & file_type::MASK {
            file_type::REGULAR => self.data.expected = header.check,
            file_type::SYMLINK => target = Some(self.target(&header)?),
            file_type::DIRECTORY | file_type::CHARACTER | file_type::BLOCK | file_type::FIFO | file_type::SOCKET => {}
            _ => return Err(self.malformed(Malformed::Mode(start))),
        }
        Ok(Some(Member { name, header, target, archive: self.trailers }))
    }

    fn target(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let invalid = Malformed::Target(self.data.start);
        if !(1..newc::NAME_MAX_BYTES as u64).contains(&self.data.left) {
            return Err(self.malformed(invalid));
        }
        let mut target = vec![0; header.filesize as usize];
        let mut filled = 0;
        while filled < target.len() {
            filled += self.read_data(&mut target[filled..])?;
        }
        if target.contains(&0) { Err(self.malformed(invalid)) } else { Ok(target) }
    }

    fn end_archive(&mut self) -> Result<(), Error> {
        let mut passed = [0; 512];
        while self.read_data(&mut passed)? > 0 {}
        self.is_open = false;
        self.trailers += 1;
        self.end_plain(self.position);
        Ok(())
    }

    fn begin(&mut self, segment: Segment) -> Result<(), Error> {
        if self.segments.len() == MAX_SEGMENTS {
            return Err(Error::Segments);
        }
        self.segments.push(segment);
        Ok(())
    }

    /// Starts a compressed segment.
    fn enter_compressed(&mut self) -> Result<(), Error> {
        let Some(Source::Plain(mut input)) = self.source.take() else { return Ok(()) };
        let start = input.position;
        let method = Method::of(input.at_least(MAGIC_BYTES).map_err(Error::Read)?);
        let method = method.ok_or(Error::Unknown(start))?;
        // An archive without a trailer continues in this segment.
        self.end_plain(start);
        self.begin(Segment { start, method: Some(method), bytes: 0, content_bytes: 0, entries: 0 })?;
        let number = self.segments.len();
        let decoder = Decoder::new(method, input)
            .map_err(|error| Error::Compressed { segment: (number, method), error: error.to_string() })?;
        self.source = Some(Source::Packed(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))));
        self.position = 0;
        Ok(())
    }

    /// Records the end of the plain segment, if one is being read.
    fn end_plain(&mut self, end: u64) {
        if std::mem::take(&mut self.is_plain)
            && let Some(segment) = self.segments.last_mut()
        {
            segment.bytes = end - segment.start;
            segment.content_bytes = segment.bytes;
        }
    }

    /// Ends a compressed segment and returns to the plain input.
    fn leave_compressed(&mut self) {
        if let Some(Source::Packed(decoder)) = self.source.take() {
            let input = decoder.into_inner().into_inner();
            if let Some(segment) = self.segments.last_mut() {
                segment.bytes = input.position - segment.start;
                segment.content_bytes = self.position;
            }
            self.position = input.position;
            self.source = Some(Source::Plain(input));
        }
    }

    fn packed(&self) -> Option<(usize, Method)> {
        let Some(Source::Packed(_)) = self.source else { return None };
        Some((self.segments.len(), self.segments.last()?.method?))
    }

    fn malformed(&self, error: Malformed) -> Error {
        Error::Malformed { segment: self.packed(), error }
    }

    fn failed(&self, error: &io::Error) -> Error {
        match self.packed() {
            None => Error::Read(io::Error::new(error.kind(), error.to_string())),
            Some(segment) => {
                let error = match error.kind() {
                    io::ErrorKind::UnexpectedEof => "the data are truncated".to_owned(),
                    _ => error.to_string(),
                };
                Error::Compressed { segment, error }
            }
        }
    }

    fn peek(&mut self) -> Result<&[u8], Error> {
        let filled = match &mut self.source {
            Some(Source::Plain(input)) => input.fill_buf().map(drop),
            Some(Source::Packed(decoder)) => decoder.fill_buf().map(drop),
            None => Ok(()),
        };
        filled.map_err(|error| self.failed(&error))?;
        Ok(match &self.source {
            Some(Source::Plain(input)) => input.buffered(),
            Some(Source::Packed(decoder)) => decoder.buffer(),
            None => &[],
        })
    }

    fn consume(&mut self, count: usize) {
        self.position += count as u64;
        match &mut self.source {
            Some(Source::Plain(input)) => input.consume(count),
            Some(Source::Packed(decoder)) => decoder.consume(count),
            None => {}
        }
    }

    /// Reads some bytes: at least one, unless `target` has no room.
    fn read(&mut self, target: &mut [u8]) -> Result<usize, Error> {
        loop {
            let result = match &mut self.source {
                Some(Source::Plain(input)) => input.read(target),
                Some(Source::Packed(decoder)) => decoder.read(target),
                None => Ok(0),
            };
            match result {
                Ok(0) if !target.is_empty() => return Err(self.malformed(Malformed::Truncated(self.position))),
                Ok(count) => {
                    self.position += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    fn read_exact(&mut self, mut target: &mut [u8]) -> Result<(), Error> {
        while !target.is_empty() {
            let count = self.read(target)?;
            target = &mut target[count..];
        }
        Ok(())
    }

    fn align(&mut self) -> Result<(), Error> {
        let mut padding = [0; ALIGNMENT as usize];
        self.read_exact(&mut padding[..newc::padding(self.position, ALIGNMENT) as usize])
    }
}

#[cfg(test)]
mod tests;
