//! Block maps of bmaptool (format 1.x and 2.0): the blocks of an image that have content, and their SHA-256 digests.
//!
//! As bmaptool does, `put` leaves blocks that are not in the map as they are on the disk.

use ring::digest::{Context, SHA256};
use roxmltree::{Document, Node};

use crate::target::ZEROS;

/// Limit for the file: about 10,000 ranges.
pub const MAX_BYTES: u64 = 1 << 20;

/// Blocks that have content, in order.
pub struct Map {
    image_bytes: u64,
    ranges: Vec<Range>,
    /// The range that is being read, and its digest so far.
    current: usize,
    digest: Context,
}

struct Range {
    start: u64,
    end: u64,
    sha256: Option<[u8; 32]>,
}

impl Map {
    /// Parses a map.
    ///
    /// # Errors
    /// One line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document = Document::parse(text).map_err(|error| format!("no XML: {error}"))?;
        let root = document.root_element();
        let child = |name: &str| root.children().find(|node| node.has_tag_name(name));
        let number = |name: &str| {
            let value = child(name).and_then(|node| node.text()).and_then(|text| text.trim().parse::<u64>().ok());
            value.ok_or_else(|| format!("no number {name}"))
        };
        if !root.has_tag_name("bmap") {
            return Err("no block map".into());
        }
        let (image_bytes, block) = (number("ImageSize")?, number("BlockSize")?);
        let kind = child("ChecksumType").and_then(|node| node.text()).map_or("", str::trim);
        if !matches!(kind, "" | "sha256") {
            return Err(format!("checksums of the kind {kind:?} are not supported, sha256 is"));
        }
        let map = child("BlockMap").ok_or("no BlockMap")?;
        let mut ranges = Vec::<Range>::new();
        for node in map.children().filter(|node| node.has_tag_name("Range")) {
            let range = range(node, block, image_bytes).ok_or("a range is no range of blocks with a digest")?;
            if ranges.last().is_some_and(|last| last.end > range.start) || range.end <= range.start {
                return Err("the ranges are not in order".into());
            }
            ranges.push(range);
        }
        Ok(Self { image_bytes, ranges, current: 0, digest: Context::new(&SHA256) })
    }

    /// Returns whether a part of the image has content.
    pub fn has(&self, start: u64, end: u64) -> bool {
        let first = self.ranges.partition_point(|range| range.end <= start);
        self.ranges.get(first).is_some_and(|range| range.start < end)
    }

    /// Checks the next part of the image. Parts come in order, without gaps.
    ///
    /// # Errors
    /// One line: a range is not that of the map, or bytes outside of the ranges are not zero.
    pub fn check(&mut self, start: u64, bytes: &[u8]) -> Result<(), String> {
        let end = start + bytes.len() as u64;
        let check_outside = |from: u64, to: u64| {
            let outside = &bytes[(from - start) as usize..(to - start) as usize];
            match outside.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()]) {
                true => Ok(()),
                false => Err(format!(
                    "of the bytes {from} to {}, which the block map leaves out, some are not zero: it is of another image",
                    to - 1
                )),
            }
        };
        let mut checked = start;
        while let Some(range) = self.ranges.get(self.current).filter(|range| range.start < end) {
            let (from, to) = (range.start.max(start), range.end.min(end));
            check_outside(checked, from)?;
            checked = to;
            self.digest.update(&bytes[(from - start) as usize..(to - start) as usize]);
            if to < range.end {
                break;
            }
            let digest = std::mem::replace(&mut self.digest, Context::new(&SHA256)).finish();
            if range.sha256.is_some_and(|expected| expected != digest.as_ref()) {
                return Err(format!("the bytes {} to {} are not those of the block map", range.start, range.end - 1));
            }
            self.current += 1;
        }
        check_outside(checked, end)
    }

    /// Checks the length of the whole image.
    ///
    /// # Errors
    /// One line.
    pub fn finish(&self, length: u64) -> Result<(), String> {
        if self.current < self.ranges.len() || length != self.image_bytes {
            return Err(format!("the image has {length} bytes, its block map is for {}", self.image_bytes));
        }
        Ok(())
    }
}

/// Parses `<Range chksum="…">first-last</Range>`; version 1.2 names the attribute `sha1`, and has no digests of ours.
fn range(node: Node<'_, '_>, block: u64, image_bytes: u64) -> Option<Range> {
    let text = node.text()?.trim();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?);
    let end = last.checked_add(1)?.checked_mul(block)?.min(image_bytes);
    let sha256 = match node.attribute("chksum") {
        Some(text) => Some(crate::options::sha256(text)?),
        None => None,
    };
    Some(Range { start: first.checked_mul(block)?, end, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ranges: &str) -> String {
        format!(
            "<?xml version=\"1.0\" ?><bmap version=\"2.0\"><ImageSize> 12290 </ImageSize><BlockSize> 4096 </BlockSize>\
             <ChecksumType> sha256 </ChecksumType><BlockMap>{ranges}</BlockMap></bmap>"
        )
    }

    fn digest(bytes: &[u8]) -> String {
        ring::digest::digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn ranges_are_checked_as_they_pass() {
        let mut image: Vec<u8> = (0..12290_u32).map(|number| (number % 251) as u8).collect();
        image[..4096].fill(0);
        image[8192..12288].fill(0);
        let (one, other) = (digest(&image[4096..8192]), digest(&image[12288..]));
        let ranges = format!("<Range chksum=\"{one}\"> 1 </Range><Range chksum=\"{other}\">3-3</Range>");
        for step in [1, 100, 4096, 5000, 20000] {
            let mut map = Map::parse(&text(&ranges)).unwrap();
            for (index, part) in image.chunks(step).enumerate() {
                map.check((index * step) as u64, part).unwrap();
            }
            map.finish(12290).unwrap();
            assert!(map.finish(12288).is_err());
        }
        let mut map = Map::parse(&text(&ranges)).unwrap();
        assert!(map.has(0, 4097) && !map.has(0, 4096) && !map.has(8192, 12288) && map.has(8192, 12289));
        let error = map.check(0, &vec![0; 12290]).unwrap_err();
        assert_eq!(error, "the bytes 4096 to 8191 are not those of the block map");
        for at in [0, 4095, 8192, 12287] {
            let mut other = image.clone();
            other[at] = 1;
            for step in [1, 4096, 5000, 20000] {
                let mut map = Map::parse(&text(&ranges)).unwrap();
                let checked =
                    other.chunks(step).enumerate().try_for_each(|(index, part)| map.check((index * step) as u64, part));
                assert!(checked.unwrap_err().contains("which the block map leaves out"), "{at} {step}");
            }
        }
    }

    #[test]
    fn other_documents_are_refused() {
        for ranges in [
            "<Range>1-</Range>",
            "<Range>3</Range><Range>1</Range>",
            "<Range>2-1</Range>",
            "<Range chksum=\"x\">1</Range>",
        ] {
            assert!(Map::parse(&text(ranges)).is_err(), "{ranges}");
        }
        for document in ["", "<bmap/>", "<a/>", "<!DOCTYPE a [<!ENTITY b \"c\">]><bmap/>"] {
            assert!(Map::parse(document).is_err(), "{document}");
        }
    }
}
