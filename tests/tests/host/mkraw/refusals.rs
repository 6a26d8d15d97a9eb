//! Bad input: an error that names the problem and its place, and no image.

use whit_tests::archive;
use whit_tools::archive::tar::{Error as TarError, Problem};
use whit_tools::disk::image::{Error, Options};

use super::{Image, build};

fn small() -> Vec<u8> {
    let members = [
        archive::directory("dir"),
        archive::file("dir/file", &[7; 700]),
        archive::file(&"long".repeat(40), b"x"),
        archive::hard_link("link", "dir/file"),
    ];
    archive::of(&members)
}

fn attempt(tar: &[u8]) -> Result<Image, Error> {
    build(tar, &Options::default())
}

fn refusal(tar: &[u8]) -> TarError {
    match attempt(tar) {
        Err(Error::Archive(error)) => error,
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("it is accepted"),
    }
}

#[test]
fn every_truncation_is_an_error_that_names_its_place() {
    let tar = small();
    // One block of zeros is enough.
    for length in 0..tar.len() - 512 {
        match refusal(&tar[..length]) {
            TarError::Empty => assert_eq!(length, 0),
            TarError::NotTar => assert!(length < 512),
            TarError::Truncated { offset, .. } => assert_eq!(offset, length as u64),
            error => panic!("cut at {length}: {error}"),
        }
    }
    assert!(attempt(&tar).is_ok());
    let path = |length: usize| match refusal(&tar[..length]) {
        TarError::Truncated { path, .. } => path,
        error => panic!("{error}"),
    };
    assert_eq!(path(512 + 512 + 600), b"dir/file");
    assert_eq!(path(512), b"");
}

#[test]
fn a_missing_end_mark_is_accepted_only_with_the_option() {
    let tar = small();
    let without_end = &tar[..tar.len() - 1024];
    let options = Options { missing_end_accepted: true, ..Options::default() };
    assert!(attempt(without_end).is_err());
    assert!(build(without_end, &options).is_ok());
    assert!(attempt(&tar[..tar.len() - 512]).is_ok());
    assert!(build(&tar[..tar.len() - 1025], &options).is_err());
    assert!(matches!(build(&[], &options), Err(Error::Archive(TarError::Empty))));
    // Padding after the last content may be missing, but not content.
    let content = archive::file("f", &[1; 700]);
    assert!(build(&content[..512 + 700], &options).is_ok());
    assert!(build(&content[..512 + 800], &options).is_ok());
    assert!(build(&content[..512 + 699], &options).is_err());
    assert!(attempt(&content[..512 + 700]).is_err());
}

#[test]
fn damage_is_named_with_its_offset() {
    let at = |tar: &[u8]| match refusal(tar) {
        TarError::Damaged { offset, problem, .. } => (offset, problem),
        error => panic!("{error}"),
    };
    let mut tar = small();
    tar[512] ^= 1;
    assert_eq!(at(&tar), (512, Problem::Checksum));
    let mut tar = small();
    tar[512 + 124..512 + 136].copy_from_slice(b"not a number");
    archive::seal(&mut tar[512..1024]);
    assert_eq!(at(&tar), (512, Problem::Number("size")));
    assert_eq!(at(&archive::of(&[archive::member("x", b'x', "", b"12 uid=zero\n")])), (0, Problem::PaxValue("uid")));
    assert_eq!(at(&archive::of(&[archive::member("x", b'x', "", b"7 uid=1\n")])), (0, Problem::PaxRecord));
    assert_eq!(at(&archive::of(&[archive::member("x", b'x', "", b"8 uid=1\n")])), (1024, Problem::HeaderAlone));
    assert_eq!(at(&archive::of(&[archive::member("x", b'M', "", b"rest")])), (0, Problem::MultiVolume));
    assert_eq!(at(&archive::of(&[archive::file("", b"")])), (0, Problem::NoName));
    let mut long = archive::member("x", b'L', "", b"");
    long[124..136].copy_from_slice(b"77777777777\0");
    archive::seal(&mut long);
    assert_eq!(at(&archive::of(&[long])), (0, Problem::HeaderTooLong));
    let map = b"38 GNU.sparse.map=100,10,50,10,300,10\n";
    let sparse = [archive::member("x", b'x', "", map), archive::file("x", &[1; 30])];
    assert_eq!(at(&archive::of(&sparse)), (1024, Problem::SparseMap));
    let mut star = archive::member("x", b'S', "", b"");
    star[257..265].copy_from_slice(b"ustar\x0000");
    archive::seal(&mut star);
    assert_eq!(at(&archive::of(&[star])), (0, Problem::ForeignSparse));
}

#[test]
fn other_files_than_tars_are_distinguished() {
    assert!(matches!(refusal(b"\x7fELF".repeat(1000).as_slice()), TarError::NotTar));
    assert!(matches!(refusal(b"text"), TarError::NotTar));
    let saved = [archive::file("manifest.json", b"[{\"Config\": \"c\", \"Layers\": []}]"), archive::file("c", b"{}")];
    assert!(matches!(attempt(&archive::of(&saved)), Err(Error::Layers)));
    let layout = [archive::file("oci-layout", b"{}"), archive::file("index.json", b"{}")];
    assert!(matches!(attempt(&archive::of(&layout)), Err(Error::Layers)));
}

#[test]
fn any_change_of_a_header_is_an_image_or_an_error() {
    // Any byte of any header is changed, with a checksum that fits: the result is an image or an error.
    let map = b"30 GNU.sparse.map=0,10,100,20\n23 GNU.sparse.size=200\n";
    let mut old_sparse = archive::member("old", b'S', "", &[1; 700]);
    for (at, value) in [(386, 4096), (398, 700), (483, 10_000)] {
        old_sparse[at..at + 12].copy_from_slice(format!("{value:011o}\0").as_bytes());
    }
    archive::seal(&mut old_sparse);
    let tar = archive::of(&[
        archive::member("x", b'x', "", map),
        archive::file("sparse", &[1; 30]),
        old_sparse,
        archive::member("device", b'3', "", b""),
        archive::symlink("link", "target"),
    ]);
    assert!(attempt(&tar).is_ok());
    let headers: Vec<usize> =
        (0..tar.len() - 1024).step_by(512).filter(|at| tar[at + 257..].starts_with(b"ustar")).collect();
    assert_eq!(headers.len(), 5);
    let file = tempfile::tempfile().unwrap();
    let (mut images, mut errors) = (0, 0);
    for header in headers {
        for position in (0..148).chain(156..512) {
            for value in [0, b' ', b'1', b'/', 0x80, 0xff] {
                let mut tar = tar.clone();
                tar[header + position] = value;
                archive::seal(&mut tar[header..header + 512]);
                file.set_len(0).unwrap();
                match whit_tools::disk::image::build(tar.as_slice(), &file, &Options::default()) {
                    Ok(_) => images += 1,
                    Err(_) => errors += 1,
                }
            }
        }
    }
    assert!(images > 100 && errors > 100, "{images} images, {errors} errors");
}
