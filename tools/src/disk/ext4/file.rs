//! Writes the content of one file at the cursor, with holes for zeros.

use super::disk::is_zero;
use super::extents;
use super::spec::BLOCK_SIZE;
use super::tree::NodeId;
use super::verify::ContentHash;
use super::{Builder, Error, offset};

/// Content is written in pieces of this size; a piece of zeros becomes a hole. Smaller holes would cost more in extents
/// and scattered blocks than they save.
const PIECE: usize = 64 << 10;

/// Writes the content of a file. The caller fills [`FileWriter::room`] and calls [`FileWriter::keep`] for each piece;
/// [`FileWriter::skip`] skips zeros without reading them.
pub struct FileWriter<'b, 'a> {
    builder: &'b mut Builder<'a>,
    node: NodeId,
    size: u64,
    position: u64,
    first_extent: usize,
    hash: Option<ContentHash>,
}

impl<'b, 'a> FileWriter<'b, 'a> {
    pub(super) fn new(builder: &'b mut Builder<'a>, node: NodeId, size: u64) -> Self {
        let first_extent = builder.extents.len();
        let hash = (size > 0 && builder.hashes.is_some()).then(ContentHash::new);
        Self { builder, node, size, position: 0, first_extent, hash }
    }

    /// Returns a buffer for the next piece, which the caller fills completely. Empty at the end of the file.
    ///
    /// # Errors
    /// Errors of writing earlier pieces.
    pub fn room(&mut self) -> Result<&mut [u8], Error> {
        let length = (self.size - self.position).min(PIECE as u64) as usize;
        let place = self.builder.cursor.next() * BLOCK_SIZE as u64;
        let room = self.builder.disk.room(place, length.next_multiple_of(BLOCK_SIZE))?;
        Ok(&mut room[..length])
    }

    /// Adds the piece in the last [`FileWriter::room`] to the file.
    ///
    /// # Errors
    /// Errors of writing.
    pub fn keep(&mut self) -> Result<(), Error> {
        let length = (self.size - self.position).min(PIECE as u64) as usize;
        let Builder { disk, cursor, extents, .. } = &mut *self.builder;
        let place = cursor.next() * BLOCK_SIZE as u64;
        let whole = length.next_multiple_of(BLOCK_SIZE);
        let room = disk.room(place, whole)?;
        room[length..].fill(0);
        if let Some(hash) = &mut self.hash {
            hash.update(self.position, &room[..length]);
        }
        let logical = (self.position / BLOCK_SIZE as u64) as u32; // Builder::file bounds the size
        self.position += length as u64;
        if length == PIECE && is_zero(room) {
            return Ok(());
        }
        let blocks = (whole / BLOCK_SIZE) as u32; // at most PIECE
        let run = cursor.take(blocks).ok_or(Error::TooLarge)?;
        extents::append(extents, self.first_extent, logical, run);
        if run.length == blocks {
            disk.advance(whole);
            return Ok(());
        }
        // A copy of the superblock is in the way: the rest of the piece follows it.
        let (now, later) = (run.length as usize * BLOCK_SIZE, whole);
        let rest = disk.room(place, whole)?[now..later].to_vec();
        disk.advance(now);
        let after = cursor.take(blocks - run.length).ok_or(Error::TooLarge)?;
        disk.write(offset(after.start), &rest)?;
        extents::append(extents, self.first_extent, logical + run.length, after);
        Ok(())
    }

    /// Skips up to `zeros` bytes that are zeros. Returns the number, a multiple of a piece.
    pub fn skip(&mut self, zeros: u64) -> u64 {
        let zeros = zeros.min(self.size - self.position);
        let skipped = zeros - zeros % PIECE as u64;
        self.position += skipped;
        skipped
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn close(self) -> Result<(), Error> {
        let content = self.builder.content_since(self.first_extent)?;
        let node = self.builder.tree.node_mut(self.node);
        node.size = self.size;
        node.content = content;
        if let (Some(hashes), Some(hash)) = (&mut self.builder.hashes, self.hash) {
            hashes.insert(self.node, hash.finish());
        }
        Ok(())
    }
}
