//! bzImage, the file format of an x86 kernel for boot loaders (Documentation/arch/x86/boot.rst).

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::compress::{Decoder, Method};

/// The largest decompressed kernel.
const KERNEL_MAX_BYTES: u64 = 512 << 20;

/// Returns the release in the header of a bzImage (Documentation/arch/x86/boot.rst, kernel_version); `None` for other files.
///
/// # Errors
/// Errors of reading.
pub fn release(vmlinuz: &Path) -> std::io::Result<Option<String>> {
    const MAGIC: (u64, &[u8; 4]) = (0x202, b"HdrS");
    const VERSION: u64 = 0x20e;
    const SECTOR: u64 = 0x200;
    let file = File::open(vmlinuz)?;
    let (mut magic, mut version) = ([0; 4], [0; 2]);
    if file.read_exact_at(&mut magic, MAGIC.0).is_err() || magic != *MAGIC.1 {
        return Ok(None);
    }
    file.read_exact_at(&mut version, VERSION)?;
    let mut text = [0; 128];
    let length = file.read_at(&mut text, u64::from(u16::from_le_bytes(version)) + SECTOR)?;
    let word = text[..length].split(|byte| matches!(byte, 0 | b' ')).next().unwrap_or_default();
    Ok(std::str::from_utf8(word).ok().filter(|word| !word.is_empty()).map(str::to_owned))
}

/// Returns the kernel that a bzImage unpacks (Documentation/arch/x86/boot.rst, payload_offset); another file unchanged.
///
/// # Errors
/// Errors of reading and decompressing.
pub fn content(path: &Path) -> io::Result<Vec<u8>> {
    const MAGIC: (usize, &[u8; 4]) = (0x202, b"HdrS");
    const SETUP_SECTORS: usize = 0x1f1;
    const PAYLOAD: usize = 0x248;
    const SECTOR: u64 = 0x200;
    let file = File::open(path)?;
    let mut header = [0; 0x250];
    let length = file.read_at(&mut header, 0)?;
    let mut bytes = Vec::new();
    if length < header.len() || header[MAGIC.0..MAGIC.0 + 4] != *MAGIC.1 {
        (&file).take(KERNEL_MAX_BYTES).read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    let number = |at: usize| header[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    // boot.rst: 0 sectors mean 4.
    let sectors = if header[SETUP_SECTORS] == 0 { 4 } else { u64::from(header[SETUP_SECTORS]) };
    let (start, length) = ((sectors + 1) * SECTOR + number(PAYLOAD), number(PAYLOAD + 4));
    let mut payload = Vec::new();
    io::Seek::seek(&mut &file, io::SeekFrom::Start(start))?;
    (&file).take(length).read_to_end(&mut payload)?;
    let Some(method) = Method::of(&payload) else { return Ok(bytes) };
    // The payload is followed by its length, which a decoder may report as damage. The content before it is used.
    let decoder = Decoder::new(method, Cursor::new(payload))?;
    let _ = decoder.take(KERNEL_MAX_BYTES).read_to_end(&mut bytes);
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Returns a bzImage of one sector of setup code, version text and payload.
    pub(crate) fn bzimage(version: &str, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x600];
        bytes[0x1f1] = 1;
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        bytes[0x300..0x300 + version.len()].copy_from_slice(version.as_bytes());
        bytes[0x248..0x24c].copy_from_slice(&0x200_u32.to_le_bytes());
        bytes[0x24c..0x250].copy_from_slice(&(payload.len() as u32 + 4).to_le_bytes());
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(&0x0123_4567_u32.to_le_bytes());
        bytes
    }

    /// Writes a file with the start of a bzImage.
    fn start(path: &Path, version: &str) {
        let mut bytes = vec![0; 0x400];
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x180_u16.to_le_bytes());
        bytes[0x380..0x380 + version.len()].copy_from_slice(version.as_bytes());
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn the_release_of_a_kernel_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinuz");
        start(&path, "6.12.9-cloud (somebody@somewhere) #1");
        assert_eq!(release(&path).unwrap().as_deref(), Some("6.12.9-cloud"));
        let whole = fs::read(&path).unwrap();
        for length in [0, 0x202, 0x205] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(release(&path).unwrap(), None, "{length:#x}");
        }
        fs::write(&path, &whole[..0x20f]).unwrap();
        assert!(release(&path).is_err());
        fs::write(&path, &whole[..0x380]).unwrap();
        assert_eq!(release(&path).unwrap(), None);
    }
}
