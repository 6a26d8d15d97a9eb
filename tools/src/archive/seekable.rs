//! Makes an archive a plain seekable file, whose members are read in another order than that of the archive.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use crate::compress;

const COPY_BYTES: usize = 256 << 10;

/// Why an archive cannot be made seekable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive cannot be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// It cannot be copied to a file.
    #[error("cannot be copied to a temporary file: {0}; TMPDIR sets the directory")]
    Temporary(io::Error),
}

/// Returns `input` itself if it is a plain file. A pipe, or a compressed file (gzip, xz, zstd or bzip2), is copied to a
/// temporary file (in `TMPDIR`), which has no name and is removed with the process.
pub(crate) fn seekable(mut input: File) -> Result<File, Error> {
    let read = Error::Read;
    let is_file = input.metadata().map_err(read)?.is_file() && input.stream_position().map_err(read)? == 0;
    let (method, content) = compress::decoder(&input).map_err(read)?;
    if method.is_some() || !is_file {
        return spool(content);
    }
    drop(content);
    input.rewind().map_err(read)?;
    Ok(input)
}

/// Copies to a temporary file. io::copy does not report whether reading or writing failed.
fn spool(mut input: impl Read) -> Result<File, Error> {
    let mut file = tempfile::tempfile().map_err(Error::Temporary)?;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => file.write_all(&buffer[..count]).map_err(Error::Temporary)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Read(error)),
        }
    }
    file.rewind().map_err(Error::Temporary)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;

    fn content() -> Vec<u8> {
        (0..700_000_u32).map(|index| (index / 7) as u8).collect()
    }

    fn compressed() -> [(&'static str, Vec<u8>); 3] {
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&content()).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
        xz.write_all(&content()).unwrap();
        [
            ("gzip", gzip.finish().unwrap()),
            ("xz", xz.finish().unwrap()),
            ("zstd", zstd::encode_all(content().as_slice(), 1).unwrap()),
        ]
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    fn read(file: File) -> Result<Vec<u8>, String> {
        let mut file = seekable(file).map_err(|error| error.to_string())?;
        assert_eq!(file.stream_position().unwrap(), 0);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        Ok(bytes)
    }

    #[test]
    fn compressed_input_is_decompressed_with_all_its_frames() {
        for (name, bytes) in compressed() {
            assert!(read(file(&bytes)).unwrap() == content(), "{name}");
            assert!(read(file(&bytes.repeat(2))).unwrap() == content().repeat(2), "{name} twice");
            for length in [7, bytes.len() / 2, bytes.len() - 1] {
                let error = read(file(&bytes[..length])).unwrap_err();
                assert!(error.starts_with("cannot be read: "), "{name} cut at {length}: {error}");
            }
        }
    }

    #[test]
    fn a_plain_file_is_used_and_a_pipe_is_copied() {
        use std::os::unix::fs::MetadataExt;
        for bytes in [&b"plain"[..], b"x", b"", b"\x1f", b"\xfd7zXZ"] {
            let plain = file(bytes);
            let inode = plain.metadata().unwrap().ino();
            assert_eq!(seekable(plain.try_clone().unwrap()).unwrap().metadata().unwrap().ino(), inode);
            assert_eq!(read(plain).unwrap(), bytes);
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(bytes).unwrap();
            drop(writer);
            assert_eq!(read(File::from(std::os::fd::OwnedFd::from(reader))).unwrap(), bytes);
        }
        // A file whose position is not 0, as standard input may be, is copied from there on.
        let mut advanced = file(b"before and after");
        advanced.seek(io::SeekFrom::Start(11)).unwrap();
        assert_eq!(read(advanced).unwrap(), b"after");
    }
}
