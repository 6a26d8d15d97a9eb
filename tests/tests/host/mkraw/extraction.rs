//! Archives that no tar writes today but that GNU tar extracts: the mounted image has the files that tar extracts.

use std::fs;
use std::process::Command;

use whit_tests::archive::{self, directory, file, hard_link, member, seal, symlink};
use whit_tests::commands::run_well;
use whit_tests::snapshot::{self, assert_same};
use whit_tests::tree::make_tree;
use whit_tools::disk::image::Options;

use super::build;
use super::kernel::{ATTRIBUTES, Mounted, extract};

/// Encodes one PAX record, which starts with its length.
fn record(text: &[u8]) -> Vec<u8> {
    let mut length = text.len() + 3;
    while format!("{length} ").len() + text.len() + 1 != length {
        length += 1;
    }
    [format!("{length} ").as_bytes(), text, b"\n"].concat()
}

fn pax(kind: u8, records: &[&[u8]]) -> Vec<u8> {
    member("PaxHeaders/x", kind, "", &records.iter().flat_map(|text| record(text)).collect::<Vec<u8>>())
}

/// Changes these fields in the header of a member.
fn with(mut member: Vec<u8>, fields: &[(usize, &[u8])]) -> Vec<u8> {
    for (at, value) in fields {
        member[*at..at + value.len()].copy_from_slice(value);
    }
    seal(&mut member);
    member
}

fn assert_extracts(what: &str, members: &[Vec<u8>], options: &[&str]) {
    let tar = archive::of(members);
    let extracted = extract(&tar, &[&ATTRIBUTES, options].concat());
    let image = build(&tar, &Options::default()).unwrap();
    let mounted = Mounted::new(&image);
    let found = snapshot::without_lost_found(snapshot::of_directory(&mounted.root));
    println!("{what}");
    assert_same(&found, &snapshot::of_directory(extracted.path()));
    assert!(found.len() > 1, "{what}: nothing is extracted");
    mounted.end(&image);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn odd_archives_give_the_files_that_tar_extracts() {
    let root = || directory("./");
    let cases: [(&str, Vec<Vec<u8>>); 9] = [
        (
            "the last of several entries",
            vec![
                root(),
                file("a", b"first"),
                file("b", b"first"),
                symlink("c", "a"),
                file("a", b"second"),
                symlink("b", "a"),
                file("c", b"a file now"),
                directory("d"),
                directory("d"),
                file("d/kept", b"kept"),
                directory("empty"),
                file("empty", b"no directory any more"),
            ],
        ),
        (
            "children before their directories",
            vec![
                root(),
                directory("d"),
                file("d/file", b"1"),
                directory("d/e"),
                file("d/e/file", b"2"),
                directory("d/e"),
            ],
        ),
        (
            "paths through links",
            vec![
                root(),
                directory("usr"),
                directory("usr/lib"),
                symlink("lib", "usr/lib"),
                file("lib/inner", b"inner"),
                directory("lib/deep"),
                file("lib/deep/file", b"deep"),
                directory("usr/lib/deep"),
                directory("usr/lib"),
            ],
        ),
        (
            "links of links",
            vec![
                root(),
                file("file", b"content"),
                hard_link("again", "file"),
                hard_link("and again", "again"),
                symlink("link", "nowhere"),
                hard_link("other link", "link"),
            ],
        ),
        (
            "numbers in every form",
            vec![
                root(),
                with(
                    file("binary", b""),
                    &[(108, b"\x80\0\0\0\0\x01\x11\x70"), (136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\x00")],
                ),
                with(file("spaces", b"12345"), &[(108, b"   1750 "), (124, b"          5 "), (100, b"   640 \0")]),
                with(file("without an end", b""), &[(100, b"00000640"), (136, b"012345670123")]),
                with(member("device", b'4', "", b""), &[(329, b"0000403\0"), (337, b"3777777\0")]),
                with(
                    member("binary device", b'3', "", b""),
                    &[(329, b"\x80\0\0\0\0\0\x0f\xff"), (337, b"\x80\0\0\0\0\x0f\xff\xff")],
                ),
                with(member("fifo", b'6', "", b""), &[]),
            ],
        ),
        (
            "global records and local ones",
            vec![
                pax(b'g', &[b"uid=70000", b"comment=of all"]),
                root(),
                file("a", b""),
                pax(b'x', &[b"uid=80000", b"mtime=1234567890.123456789"]),
                file("b", b""),
                pax(b'x', &[b"path=another name \xff", b"gid=4294967294"]),
                file("c", b""),
                pax(b'x', &[b"linkpath=a\xe9"]),
                symlink("d", "short"),
            ],
        ),
        (
            "attributes of any bytes",
            vec![
                root(),
                pax(
                    b'x',
                    &[
                        b"SCHILY.xattr.user.lines=a\nb=c\0\xff\n",
                        b"SCHILY.xattr.trusted.t=",
                        b"SCHILY.xattr.user.=name=x",
                    ],
                ),
                file("a", b""),
                pax(b'x', &[b"SCHILY.xattr.security.capability=\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"]),
                file("b", b"program"),
                pax(b'x', &[b"SCHILY.xattr.user.dir=d"]),
                directory("d"),
            ],
        ),
        ("contiguous files", vec![root(), member("seven", b'7', "", b"7"), member("nul", 0, "", b"0")]),
        (
            "sizes in records",
            vec![
                root(),
                [pax(b'x', &[b"size=700"]), with(file("f", &[1; 700]), &[(124, b"00000000000\0")])].concat(),
                file("g", b"next"),
            ],
        ),
    ];
    for (what, members) in &cases {
        assert_extracts(what, members, &[]);
    }
    let concatenated = [archive::of(&[root(), file("a", b"1")]), vec![0; 9216], file("a", b"2"), file("b", b"3")];
    assert_extracts("concatenated archives", &concatenated, &[]);
    assert_extracts("a lone zero block", &[root(), file("a", b"1"), vec![0; 512], file("b", b"2")], &[]);
}

/// Writes a tree by Python's tarfile: a PAX archive with times as floating point numbers, and a file of its own in memory.
const PYTHON: &str = "
import io, sys, tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.PAX_FORMAT) as tar:
    for name in ['.', 'd', 'd/file', 'd/hard', 'd/link', 'd/' + 'n' * 150, 'd/ü']:
        tar.add(name, recursive=False)
    entry = tarfile.TarInfo('tiny')
    entry.size, entry.mtime, entry.pax_headers = 3, 1e-05, {'comment': 'x'}
    tar.addfile(entry, io.BytesIO(b'abc'))
";

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn archives_of_other_programs_are_extracted_alike() {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    fs::create_dir(at("d")).unwrap();
    for name in ["d/file".to_owned(), format!("d/{}", "n".repeat(150)), "d/ü".to_owned()] {
        fs::write(at(&name), &name).unwrap();
    }
    fs::hard_link(at("d/file"), at("d/hard")).unwrap();
    std::os::unix::fs::symlink("t".repeat(140), at("d/link")).unwrap();
    let written = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(tree.path()).output();
        // Not every system has all of them.
        output.ok().filter(|output| output.status.success() && !output.stdout.is_empty()).map(|output| output.stdout)
    };
    let mut compared = 0;
    for (program, arguments) in [
        ("python3", &["-c", PYTHON][..]),
        ("busybox", &["tar", "-cf", "-", "."]),
        ("bsdtar", &["--format=pax", "-cf", "-", "."]),
        ("bsdtar", &["--format=gnutar", "-cf", "-", "."]),
        ("bsdtar", &["--format=ustar", "-cf", "-", "d/file", "d/hard"]),
        ("tar", &["--format=v7", "-cf", "-", "d/file", "d/hard"]),
    ] {
        let Some(tar) = written(program, arguments) else { continue };
        let image = build(&tar, &Options::default()).unwrap();
        let mounted = Mounted::new(&image);
        let found = snapshot::without_lost_found(snapshot::of_directory(&mounted.root));
        let mut expected = snapshot::of_directory(extract(&tar, &ATTRIBUTES).path());
        // GNU tar does not read an exponent, and implied directories have other times.
        for path in [&b""[..], b"d", b"tiny"] {
            if let (Some(expected), Some(found)) = (expected.get_mut(path), found.get(path)) {
                expected.mtime = found.mtime;
                expected.mode = found.mode;
            }
        }
        assert_same(&found, &expected);
        mounted.end(&image);
        compared += 1;
    }
    assert!(compared >= 2, "{compared}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn archives_of_every_format_of_tars_are_extracted_alike() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    for format in ["ustar", "v7", "oldgnu", "gnu", "pax"] {
        let mut tar = Command::new("tar");
        tar.args(["-c", "--numeric-owner", "--sort=name"]).arg(format!("--format={format}")).arg("-C").arg(tree.path());
        if matches!(format, "ustar" | "v7") {
            // These formats cannot hold large numbers, times before 1970, and long names and targets; v7 cannot hold devices.
            for name in ["one", "empty", "a", "p*", "large", "largest", "more", "zzz*", "block"] {
                tar.arg(format!("--exclude=./{name}"));
            }
            if format == "v7" {
                tar.args(["--exclude=./null", "--exclude=./disk", "--exclude=./minor", "--exclude=./fifo"]);
            }
        }
        let bytes = run_well(tar.arg("."));
        let extracted = extract(&bytes, &ATTRIBUTES);
        let image = build(&bytes, &Options::default()).unwrap();
        let mounted = Mounted::new(&image);
        let found = snapshot::without_lost_found(snapshot::of_directory(&mounted.root));
        assert!(found.len() > 3_000, "{format}: {}", found.len());
        assert_same(&found, &snapshot::of_directory(extracted.path()));
        mounted.end(&image);
    }
}
