//! Debian's .deb: an ar archive with the files as one member of it (deb(5), ar(5)).

use std::fs::File;
use std::io::{self, Read, Seek};

/// The file's first bytes: a global header of ar(5).
pub(super) const MAGIC: &[u8] = b"!<arch>\n";
/// Length of a member's header: name, times, owners, mode, size in decimal digits, and an end mark of two bytes.
const HEADER_BYTES: usize = 60;

/// Seeks to the content of a .deb's `data.tar`. Returns its length.
pub(super) fn find_data(file: &mut File) -> io::Result<u64> {
    file.seek_relative(MAGIC.len() as i64)?;
    loop {
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(|_| io::Error::other("the .deb has no data.tar, or is truncated"))?;
        let (name, size) = (String::from_utf8_lossy(&header[..16]), String::from_utf8_lossy(&header[48..58]));
        let size: u64 =
            size.trim().parse().map_err(|_| io::Error::other("not an ar archive: a member has an invalid size"))?;
        if name.starts_with("data.tar") {
            return Ok(size);
        }
        // A member of odd length is followed by a padding byte.
        file.seek_relative(i64::try_from(size + size % 2).map_err(io::Error::other)?)?;
    }
}
