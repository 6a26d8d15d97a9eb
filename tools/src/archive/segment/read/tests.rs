use super::*;
use crate::archive::newc::{HEADER_BYTES, Kind, Meta, Writer};
use crate::compress::Compression;
use std::io::Write;

/// A name and its data.
type Named = (String, String);

/// Headers are at 0, 116, 236, 356 and 472; the trailer at 592.
fn archive(is_summed: bool) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), 77).summed(is_summed);
    writer.node(b"dev", Meta::root(0o755), &Kind::Directory).unwrap();
    writer.node(b"dev/vda", Meta { gid: 6, ..Meta::root(0o660) }, &Kind::Block(254, 16)).unwrap();
    writer.node(b"link", Meta::root(0o777), &Kind::Symlink(b"dev".to_vec())).unwrap();
    writer.file(&["one", "two"], Meta::root(0o600), 3, &b"abc"[..]).unwrap();
    writer.finish().unwrap().out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
    let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut writer = crate::compress::lz4::Writer::new(Vec::new(), 1).unwrap();
    writer.write_all(bytes).unwrap();
    [writer.finish().unwrap(), vec![0; 4]].concat()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Reads the names with their data, and the segments; one byte at a time if `by_bytes`.
fn read(bytes: &[u8], by_bytes: bool) -> Result<(Vec<Named>, Vec<Segment>), Error> {
    struct Slow<'a>(&'a [u8]);
    impl Read for Slow<'_> {
        fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
            let count = target.len().min(1);
            self.0.read(&mut target[..count])
        }
    }
    let input: Box<dyn Read> = if by_bytes { Box::new(Slow(bytes)) } else { Box::new(bytes) };
    let mut reader = Reader::new(input);
    let mut found = Vec::new();
    while let Some(member) = reader.next_entry()? {
        let mut data = Vec::new();
        let mut buffer = [0; 2];
        while member.is_file() {
            match reader.read_data(&mut buffer)? {
                0 => break,
                count => data.extend_from_slice(&buffer[..count]),
            }
        }
        found.push((String::from_utf8(member.name).unwrap(), String::from_utf8(data).unwrap()));
    }
    Ok((found, reader.segments().to_vec()))
}

/// Returns the error, or the names with their data.
fn result(bytes: &[u8]) -> String {
    read(bytes, false).map_or_else(|error| error.to_string(), |(found, _)| format!("{found:?}"))
}

#[test]
fn segments_of_every_compression_are_read_at_any_read_size() {
    let plain = archive(false);
    let pieces = [&plain, &gzip(&plain), &zstd(&plain), &xz(&plain), &bzip2(&plain), &lz4(&plain), &archive(true)];
    let methods =
        [None, Some(Method::Gzip), Some(Method::Zstd), Some(Method::Xz), Some(Method::Bzip2), Some(Method::Lz4), None];
    let mut bytes: Vec<u8> = Vec::new();
    let mut starts = Vec::new();
    for piece in pieces {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        starts.push(bytes.len() as u64);
        bytes.extend_from_slice(piece);
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(lzma(&plain)); // the last one: lzma has no end mark, so nothing can follow it
    for by_bytes in [false, true] {
        let (found, segments) = read(&bytes, by_bytes).unwrap();
        let one = [("dev", ""), ("dev/vda", ""), ("link", ""), ("one", ""), ("two", "abc")];
        let expected: Vec<_> =
            one.iter().map(|(name, data)| (name.to_string(), data.to_string())).cycle().take(8 * 5).collect();
        assert_eq!(found, expected);
        assert_eq!(segments.len(), 8);
        for ((segment, method), start) in segments.iter().zip(methods).zip(&starts) {
            assert_eq!((segment.method, segment.start, segment.entries), (method, *start, 5));
        }
        // A plain segment ends with its trailer; only zeros follow.
        assert_eq!((segments[0].bytes, segments[1].content_bytes), (716, plain.len() as u64));
    }
}

#[test]
fn an_archive_continues_in_the_next_segment() {
    let plain = archive(false);
    for cut in [116, 236, 356, 472] {
        for bytes in [
            [gzip(&plain[..cut]), gzip(&plain[cut..])].concat(),
            [plain[..cut].to_vec(), zstd(&plain[cut..])].concat(),
            [xz(&plain[..cut]), vec![0; 8], plain[cut..].to_vec()].concat(),
        ] {
            let (found, segments) = read(&bytes, false).unwrap();
            assert_eq!((found.len(), segments.len()), (5, 2), "{cut}");
        }
    }
    let cut = [gzip(&plain[..100]), gzip(&plain[100..])].concat();
    assert_eq!(result(&cut), "segment 1 (gzip): the cpio archive ends at byte 100 without a trailer");
}

#[test]
fn every_truncation_is_an_error() {
    let plain = archive(true);
    let end = plain.iter().rposition(|byte| *byte != 0).unwrap() + 3;
    for length in 1..end {
        let error = result(&plain[..length]);
        assert!(error.contains("without a trailer"), "{length}: {error}");
    }
    for packed in [gzip(&plain), zstd(&plain), xz(&plain), bzip2(&plain)] {
        for length in MAGIC_BYTES..packed.len() {
            let error = result(&packed[..length]);
            assert!(error.starts_with("segment 1 ("), "{length}: {error}");
        }
    }
}

#[test]
fn each_mutated_field_gives_its_own_error_or_none() {
    const SECOND: usize = 116;
    const LINK: usize = 236;
    const FILE: usize = 472;
    // Field by field of buffer-format.rst: c_ino c_mode c_uid c_gid c_nlink c_mtime c_filesize c_maj c_min c_rmaj c_rmin
    // c_namesize c_chksum.
    let field = |number: usize| MAGIC_AND + number * 8;
    const MAGIC_AND: usize = 6;
    for (header, field, text, message) in [
        (SECOND, 0, "070703", "no cpio header at byte 116"),
        (SECOND, 0, "070707", "no cpio header at byte 116"),
        (SECOND, 0, "0x0701", "no cpio header at byte 116"),
        (SECOND, field(0), "0000000g", "at byte 116 has a field that is not hexadecimal"),
        (SECOND, field(0), "ffffffff", "[(\"dev\""),
        (SECOND, field(1), "000001b0", "at byte 116 has a mode with an unknown file type"),
        (SECOND, field(1), "0000f1b0", "at byte 116 has a mode with an unknown file type"),
        (SECOND, field(2), "+0000000", "at byte 116 has a field that is not hexadecimal"),
        (SECOND, field(3), "ffffffff", "[(\"dev\""),
        (SECOND, field(4), "00000000", "[(\"dev\""),
        (SECOND, field(5), "ffffffff", "[(\"dev\""),
        (SECOND, field(6), "ffffffff", "without a trailer"),
        (SECOND, field(6), "00000004", "no cpio header at byte 240"),
        (LINK, field(6), "00000000", "at byte 236 has a symbolic link whose target"),
        (LINK, field(6), "00001000", "at byte 236 has a symbolic link whose target"),
        (LINK, field(6), "00000004", "at byte 236 has a symbolic link whose target"),
        (SECOND, field(7), "        ", "not hexadecimal"),
        (SECOND, field(8), "-0000001", "not hexadecimal"),
        (SECOND, field(9), "ffffffff", "[(\"dev\""),
        (SECOND, field(10), "ffffffff", "[(\"dev\""),
        (SECOND, field(11), "00000000", "at byte 116 has a name that is empty, too long, or not terminated"),
        (SECOND, field(11), "00000001", "at byte 116 has a name that is empty, too long, or not terminated"),
        (SECOND, field(11), "00000007", "at byte 116 has a name that is empty, too long, or not terminated"),
        (SECOND, field(11), "00001001", "at byte 116 has a name that is empty, too long, or not terminated"),
        (SECOND, field(11), "ffffffff", "at byte 116 has a name that is empty, too long, or not terminated"),
        (SECOND, field(12), "ffffffff", "[(\"dev\""),
        (FILE, field(12), "00000125", "do not match its checksum"),
        (FILE, HEADER_BYTES, "\0", "at byte 472 has a name that is empty"),
        (FILE, HEADER_BYTES + 6, "x", "at byte 472 do not match its checksum"),
    ] {
        let mut bytes = archive(true);
        assert!(bytes[header..].starts_with(b"070702"), "{header}");
        bytes[header + field..header + field + text.len()].copy_from_slice(text.as_bytes());
        let plain = result(&bytes);
        assert!(plain.contains(message), "{field} {text:?}: {plain}");
        let packed = result(&gzip(&bytes));
        assert!(packed.contains(message), "{field} {text:?}: {packed}");
    }
}

#[test]
fn the_error_for_an_invalid_initramfs_has_the_offset() {
    assert_eq!(result(b""), "[]");
    assert_eq!(result(&[0; 100]), "[]");
    let unknown = " starts neither a cpio archive nor one compressed by gzip, zstd, xz, lz4, bzip2 or lzma";
    for (bytes, position) in [(&b"text"[..], 0), (&[0, 0, b'x'], 2), (b"\0\x1f", 1), (b"\0\x30707", 1)] {
        assert_eq!(result(bytes), format!("byte {position}{unknown}"));
    }
    // Plain headers are at multiples of four.
    let odd = [vec![0; 2], archive(false)].concat();
    assert_eq!(result(&odd), format!("byte 2{unknown}"));
    let after_gzip = [gzip(&archive(false)), b"text".to_vec()].concat();
    assert!(result(&after_gzip).ends_with(unknown));
    assert_eq!(result(&gzip(b"text")), "segment 1 (gzip): no cpio header at byte 0");
    let damaged = {
        let mut bytes = gzip(&archive(false));
        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        bytes
    };
    assert!(result(&damaged).starts_with("segment 1 (gzip): "), "{}", result(&damaged));
}

#[test]
fn a_decompression_bomb_takes_little_memory_and_many_segments_are_refused() {
    let mut writer = Writer::new(Vec::new(), 0);
    let size = 300 << 20;
    writer.file(&["zeros"], Meta::root(0o600), 5, &b"zeros"[..]).unwrap();
    let archive = writer.finish().unwrap().out;
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(&archive[..54]).unwrap();
    encoder.write_all(format!("{size:08X}").as_bytes()).unwrap();
    encoder.write_all(&archive[62..116]).unwrap();
    io::copy(&mut io::repeat(0).take(size), &mut encoder).unwrap();
    encoder.write_all(&archive[124..]).unwrap();
    let bomb = encoder.finish().unwrap();
    let before = peak_kib();
    let mut reader = Reader::new(bomb.as_slice());
    assert_eq!(u64::from(reader.next_entry().unwrap().unwrap().header.filesize), size);
    assert_eq!(reader.next_entry().unwrap(), None);
    let grown = peak_kib() - before;
    assert!(grown < 64 << 10, "{} bytes took {grown} KiB", bomb.len());
    let many = gzip(&[]).repeat(MAX_SEGMENTS + 1);
    assert_eq!(result(&many), "more than 4096 segments");
}

/// Returns the peak memory use of this process.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// All compressions of an initramfs.
const ALL: [Compression; 5] =
    [Compression::None, Compression::Gzip(9), Compression::Zstd(9), Compression::Xz(6), Compression::Lz4(9)];

#[test]
fn stored_segments_have_the_same_length_for_every_text() {
    for compression in ALL {
        let piece = |text: &str| {
            let mut writer = Writer::new(Vec::new(), 0);
            writer.padded(b"needs", text.as_bytes(), 200).unwrap();
            compression.stored(writer.out()).unwrap()
        };
        let empty = piece("");
        for length in [1, 4, 77, 200] {
            let text: String = (0..length).map(|index| char::from(b'!' + (index * 7 % 90) as u8)).collect();
            let bytes = piece(&text);
            assert_eq!(bytes.len(), empty.len(), "{compression} {length}");
            let mut reader = Reader::new(bytes.as_slice());
            assert_eq!(reader.next_entry().unwrap().unwrap().header.filesize, length as u32);
            let mut data = vec![0; 300];
            assert_eq!(reader.read_data(&mut data).unwrap(), length);
            assert_eq!(&data[..length], text.as_bytes());
        }
    }
}

#[test]
fn a_compressed_archive_is_an_initramfs_of_one_segment() {
    let mut writer = Writer::new(Vec::new(), 0);
    let data: Vec<u8> = (0..9_000_000_u32).map(|index| (index >> 9) as u8).collect();
    writer.file(&["big"], Meta::root(0o644), data.len() as u64, data.as_slice()).unwrap();
    let archive = writer.finish().unwrap().out;
    for compression in ALL {
        let mut encoder = compression.encoder(Vec::new()).unwrap();
        encoder.write_all(&archive).unwrap();
        let bytes = encoder.finish().unwrap();
        let mut reader = Reader::new(bytes.as_slice());
        assert_eq!(reader.next_entry().unwrap().unwrap().name, b"big");
        let mut read = Vec::new();
        let mut buffer = vec![0; 70_000];
        loop {
            match reader.read_data(&mut buffer).unwrap() {
                0 => break,
                count => read.extend_from_slice(&buffer[..count]),
            }
        }
        assert!(read == data, "{compression}");
        assert_eq!(reader.next_entry().unwrap(), None);
        let segment = reader.segments()[0];
        assert_eq!((reader.segments().len(), segment.method), (1, compression.method()));
        assert_eq!(
            (segment.bytes, segment.entries),
            (if compression == Compression::None { segment.content_bytes } else { bytes.len() as u64 }, 1)
        );
    }
}
