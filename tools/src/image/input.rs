//! What an archive is wrapped in.

use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The archive's bytes: those of `input`, decompressed if its first two say gzip.
pub(super) fn decompress<'a>(mut input: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut magic = Vec::with_capacity(GZIP.len());
    input.by_ref().take(GZIP.len() as u64).read_to_end(&mut magic)?;
    let is_gzip = magic == GZIP;
    let whole = Cursor::new(magic).chain(input);
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    #[test]
    fn gzip_is_undone_and_the_rest_left_alone() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"content").unwrap();
        let compressed = encoder.finish().unwrap();
        for (input, expected) in
            [(compressed.as_slice(), &b"content"[..]), (b"plain", b"plain"), (b"x", b"x"), (b"", b"")]
        {
            let mut output = Vec::new();
            decompress(input).unwrap().read_to_end(&mut output).unwrap();
            assert_eq!(output, expected);
        }
    }
}
