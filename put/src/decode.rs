//! The format of an image by its first bytes: raw, gzip, zstd or xz; others are refused by name.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

/// The largest window of zstd, as of `zstd -d`: 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The memory limit of xz. `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 130 << 20;
/// The first bytes that are looked at.
pub const LOOKED_AT: usize = 512;

/// A format that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The bytes of the disk.
    Raw,
    /// RFC 1952; several members are one file.
    Gzip,
    /// RFC 8878; several frames are one file.
    Zstd,
    /// The .xz format; several streams are one file.
    Xz,
}

/// Files that are no disks, by their first bytes.
const REFUSED: [(&[u8], &str); 9] = [
    (b"QFI\xfb", "a qcow2 image: convert it by qemu-img convert -O raw"),
    (b"KDMV", "a VMDK image: convert it by qemu-img convert -O raw"),
    (b"vhdxfile", "a VHDX image: convert it by qemu-img convert -O raw"),
    (b"conectix", "a VHD image: convert it by qemu-img convert -O raw"),
    (b"<<< ", "a VDI image: convert it by qemu-img convert -O raw"),
    (b"BZh", "compressed by bzip2: use gzip, zstd or xz"),
    (b"\x04\x22\x4d\x18", "compressed by lz4: use gzip, zstd or xz"),
    (b"PK\x03\x04", "a zip archive: put needs the image in it"),
    (b"\x3a\xff\x26\xed", "an Android sparse image: convert it by simg2img"),
];
/// The magic number of tar, and its offset.
const TAR: (usize, &[u8]) = (257, b"ustar");

impl Format {
    /// Detects the format of a file by its first bytes.
    ///
    /// # Errors
    /// What it is instead.
    pub fn detect(front: &[u8]) -> Result<Self, String> {
        match front {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            // A zstd file may begin with a skippable frame.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Ok(Self::Xz),
            _ => check_raw(front).map(|()| Self::Raw),
        }
    }

    /// Returns a reader of the image. It fails for a file that is cut or damaged.
    ///
    /// # Errors
    /// No memory for the decompressor.
    pub fn reader<'a>(self, file: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Raw => Box::new(file),
            Self::Gzip => Box::new(MultiGzDecoder::new(file)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(file)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Self::Xz => Box::new(XzDecoder::new_stream(file, Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?)),
        })
    }
}

/// Refuses the first bytes of a decompressed image that is no disk.
///
/// # Errors
/// What it is instead.
pub fn check_raw(front: &[u8]) -> Result<(), String> {
    if front.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1)) {
        return Err("a tar archive: put needs the image in it; mkraw makes disks of archives".into());
    }
    let refused = REFUSED.iter().find(|(magic, _)| front.starts_with(magic));
    refused.map_or(Ok(()), |(_, what)| Err((*what).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_detected_and_others_named() {
        assert_eq!(Format::detect(&[0; 512]), Ok(Format::Raw));
        assert_eq!(Format::detect(b""), Ok(Format::Raw));
        assert_eq!(Format::detect(b"\x28\xb5\x2f\xfd"), Ok(Format::Zstd));
        assert_eq!(Format::detect(b"\x5e\x2a\x4d\x18"), Ok(Format::Zstd));
        assert!(Format::detect(b"QFI\xfb\0\0\0\x03").unwrap_err().contains("qcow2"));
        let mut tar = [0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(Format::detect(&tar).unwrap_err().contains("tar"));
    }
}
