//! The content of one entry of a tar file, for reading later and outside the stream.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::sparse::Map;

/// The location of a content: the offset of its stored bytes in the tar, and the map from these bytes to the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    start: u64,
    map: Map,
}

impl Content {
    pub(super) fn new(start: u64, map: Map) -> Self {
        Self { start, map }
    }

    /// Returns the content of a file without holes.
    pub(crate) fn whole(start: u64, size: u64) -> Self {
        let mut map = Map::default();
        map.set_whole(size);
        Self { start, map }
    }

    /// Returns the content in a file that has `offset` bytes before the tar.
    pub(crate) fn moved_by(self, offset: u64) -> Self {
        Self { start: self.start + offset, map: self.map }
    }

    /// Returns the offset in the tar and the size, if the file has no holes.
    pub(crate) fn piece(&self) -> Option<(u64, u64)> {
        self.map.is_whole().then(|| (self.start, self.map.size()))
    }

    /// Returns the bytes of memory that the map of holes takes.
    pub(crate) fn kept_bytes(&self) -> usize {
        if self.map.is_whole() { 0 } else { size_of::<Self>() + self.map.kept_bytes() }
    }

    /// Returns the size of the file, holes included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.map.size()
    }

    /// Returns a reader of the content in `tar`, the archive that it belongs to. Holes read as zeros.
    #[must_use]
    pub fn read<'a>(&'a self, tar: &'a File) -> impl Read + use<'a> {
        ContentReader { tar, content: self, position: Position::default() }
    }

    /// Reads the next bytes of the content in `tar`; 0 at the end, or where `tar` is too short.
    pub(crate) fn read_at(&self, tar: &File, position: &mut Position, target: &mut [u8]) -> io::Result<usize> {
        let (start, end) = loop {
            match self.map.region(position.region) {
                Some(region) if region.offset + region.length <= position.offset => position.region += 1,
                Some(region) => break (region.offset, region.offset + region.length),
                None => break (self.map.size(), self.map.size()),
            }
        };
        let is_hole = position.offset < start;
        let left = if is_hole { start - position.offset } else { end - position.offset };
        let room = target.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let target = &mut target[..room];
        let count = if is_hole {
            target.fill(0);
            room
        } else {
            let count = tar.read_at(target, self.start + position.stored)?;
            position.stored += count as u64;
            count
        };
        position.offset += count as u64;
        Ok(count)
    }
}

/// A position in a content.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    /// The region that `offset` is in or before.
    region: usize,
    /// The offset in the file.
    offset: u64,
    /// The number of stored bytes before it.
    stored: u64,
}

impl Position {
    /// Returns the offset in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}

struct ContentReader<'a> {
    tar: &'a File,
    content: &'a Content,
    position: Position,
}

impl Read for ContentReader<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.content.read_at(self.tar, &mut self.position, target)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sparse::Region;
    use super::*;
    use std::io::Write;

    #[test]
    fn holes_read_as_zeros_between_stored_bytes() {
        let mut tar = tempfile::tempfile().unwrap();
        tar.write_all(b"headABCDEFtail").unwrap();
        for (regions, size, expected) in [
            (vec![(0, 6)], 6, &b"ABCDEF"[..]),
            (vec![(2, 3), (6, 0), (7, 3)], 12, b"\0\0ABC\0\0DEF\0\0"),
            (vec![(0, 1), (1, 5)], 7, b"ABCDEF\0"),
            (vec![], 3, b"\0\0\0"),
            (vec![], 0, b""),
        ] {
            let regions: Vec<Region> = regions.into_iter().map(|(offset, length)| Region { offset, length }).collect();
            let stored = regions.iter().map(|region| region.length).sum();
            let content = Content::new(4, Map::new(regions, size, stored).unwrap());
            let mut read = Vec::new();
            content.read(&tar).read_to_end(&mut read).unwrap();
            assert_eq!((read.as_slice(), content.size()), (expected, size));
            // The same in small pieces.
            let (mut reader, mut piece, mut read) = (content.read(&tar), [0; 2], Vec::new());
            loop {
                match reader.read(&mut piece).unwrap() {
                    0 => break,
                    count => read.extend_from_slice(&piece[..count]),
                }
            }
            assert_eq!(read, expected);
        }
    }
}
