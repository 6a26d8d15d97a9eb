//! Archives that name far more than they hold: a few hundred kilobytes that would take gigabytes, or hours. Each ends in one
//! line, in little memory, and leaves no file.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use whit_tests::tool;

const BUSYBOX: &str = "/bin/busybox";
/// The limit for the address space of a tool.
const MAX_BYTES: u64 = 1 << 30;
/// The time limit, on a busy machine.
const MAX_TIME: Duration = Duration::from_secs(120);

/// A tar header: `kind` as in ustar.
fn header(name: &[u8], kind: u8, size: usize, link: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000755");
    for field in [108, 116, 136] {
        block[field..field + 7].copy_from_slice(b"0000000");
    }
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..20).map(|digits| rest + digits).find(|length| rest + length.to_string().len() == *length);
    [format!("{} {key}=", length.unwrap()).as_bytes(), value, b"\n"].concat()
}

/// A PAX header: `x`, or `g` for all that follow.
fn pax(kind: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let records = records.concat();
    [header(b"pax", kind, records.len(), b""), padded(records)].concat()
}

fn file(path: &[u8]) -> Vec<u8> {
    [pax(b'x', &[record("path", path)]), header(b"file", b'0', 0, b"")].concat()
}

fn symlink(path: &[u8], target: &[u8]) -> Vec<u8> {
    [pax(b'x', &[record("path", path), record("linkpath", target)]), header(b"link", b'2', 0, b"")].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A compressed tar.
fn tar(members: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    gzip(&[members.into_iter().collect::<Vec<_>>().concat(), vec![0; 1024]].concat())
}

/// Runs a tool within the limits, and returns its one line of error.
fn refusal(folder: &TempDir, program: &str, arguments: &[&str]) -> String {
    let start = Instant::now();
    let output = Command::new("prlimit")
        .arg(format!("--as={MAX_BYTES}"))
        .arg(tool(program))
        .args(arguments)
        .current_dir(folder.path())
        .env_remove("SOURCE_DATE_EPOCH")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{program}: {line}");
    assert!(line.len() < 1000, "{program}: a line of {} bytes", line.len());
    assert!(start.elapsed() < MAX_TIME, "{program}: {:?}", start.elapsed());
    line
}

/// Asserts that mkraw and mkcpio refuse a tar with these messages.
fn refused(tar: &[u8], [mkraw, mkcpio]: [&str; 2]) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bomb.tar.gz"), tar).unwrap();
    let line = refusal(&folder, "mkraw", &["-o", "disk.img", "bomb.tar.gz"]);
    assert!(line.starts_with("mkraw: ") && line.contains(mkraw), "{line}");
    let line = refusal(&folder, "mkcpio", &["-o", "out.cpio", "--init", BUSYBOX, "--rootfs", "bomb.tar.gz"]);
    assert!(line.starts_with("mkcpio: bomb.tar.gz: ") && line.contains(mkcpio), "{line}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_path_of_200_000_directories() {
    let path = [b"d/".repeat(200_000), b"file".to_vec()].concat();
    refused(&tar([file(&path)]), ["longer than 65,535 bytes", "longer than 65,535 bytes"]);
    // As a layer of an image, where the layer is named.
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("layer.tar"), [file(&path), vec![0; 1024]].concat()).unwrap();
    let digest = Command::new("sha256sum").arg(at("layer.tar")).output().unwrap().stdout;
    let digest = String::from_utf8(digest[..64].to_vec()).unwrap();
    let config =
        r#"{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:DIGEST"]}}"#;
    fs::write(at("config.json"), config.replace("DIGEST", &digest)).unwrap();
    fs::write(at("manifest.json"), r#"[{"Config": "config.json", "RepoTags": ["a:b"], "Layers": ["layer.tar"]}]"#)
        .unwrap();
    let line = refusal(&folder, "mkraw", &["-o", "disk.img", "."]);
    assert!(line.contains("layer 1 (layer.tar): ") && line.contains("longer than 65,535 bytes"), "{line}");
}

#[test]
fn a_long_target() {
    let target = b"d/".repeat(100_000);
    refused(&tar([symlink(b"l", &target)]), ["longer than 65,535 bytes"; 2]);
    refused(&tar([symlink(b"l", &target[..6000])]), ["longer than 4,095 bytes", "longer than 4095 bytes"]);
}

#[test]
fn many_paths_of_many_directories_each() {
    let path = |number: u32| [number.to_string().as_bytes(), &b"/d".repeat(1900)].concat();
    let members = (0..3000).map(|number| file(&path(number)));
    refused(&tar(members), ["far more directories than it has entries"; 2]);
}

#[test]
fn many_paths_through_chains_of_links() {
    // Each path follows 40 links, each over 1,900 directories.
    let deep = b"d/".repeat(1900);
    let first = file(&[&deep[..], b"file"].concat());
    let up = b"../".repeat(1000);
    let links = (0..39).map(|number: u32| {
        let before = if number == 0 { b"d".to_vec() } else { format!("l{}", number - 1).into_bytes() };
        symlink(format!("l{number}").as_bytes(), &[&before[..], b"/", &deep[..1000], &up[..1000], b"/"].concat())
    });
    let files = (0..20_000).map(|number: u32| file(format!("l{}/{number}", 37 + number % 2).as_bytes()));
    let members = std::iter::once(first).chain(links).chain(files);
    refused(&tar(members), ["far more directories than it has entries", "is longer than 4095 bytes with /rootfs"]);
}

/// A hard link, as a member.
fn hard_link(path: &[u8], target: &[u8]) -> Vec<u8> {
    [pax(b'x', &[record("path", path), record("linkpath", target)]), header(b"link", b'1', 0, b"")].concat()
}

/// A path of 3,700 bytes.
fn long(first: &str) -> Vec<u8> {
    [first.as_bytes(), &[b"/", &b"n".repeat(250)[..]].concat().repeat(14), b"/", first.as_bytes()].concat()
}

/// A zstd archive of `count` members, made without all of them in memory.
fn write_members(path: &Path, count: u32, member: &dyn Fn(u32) -> Vec<u8>) {
    let mut zstd = Command::new("zstd").args(["-q", "-1", "-o"]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = BufWriter::new(zstd.stdin.take().unwrap());
    for number in 0..count {
        input.write_all(&member(number)).unwrap();
    }
    input.write_all(&[0; 1024]).unwrap();
    drop(input);
    assert!(zstd.wait().unwrap().success());
}

#[test]
fn long_names_take_little_memory() {
    // Less than the sum of the paths, each of which contains the name of one directory.
    const LIMIT: u64 = 128 << 20;
    const COUNT: u32 = 40_000;
    let folder = tempfile::tempdir().unwrap();
    let directory = long("d");
    let path = |number: u32| [&directory[..], number.to_string().as_bytes()].concat();
    assert!(u64::from(COUNT) * directory.len() as u64 > LIMIT);
    write_members(&folder.path().join("names.tar.zst"), COUNT, &|number| file(&path(number)));
    let run = |limit: u64| {
        let mut command = Command::new("prlimit");
        command.arg(format!("--data={limit}")).arg(tool("mkcpio"));
        command.args(["-o", "out.cpio", "--init", BUSYBOX, "--rootfs", "names.tar.zst"]);
        command.current_dir(folder.path()).env_remove("SOURCE_DATE_EPOCH").output().unwrap()
    };
    let output = run(LIMIT);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The limit works: the read-ahead of a compressed file takes more.
    assert!(!run(4 << 20).status.success());
}

/// Archives whose entries have more text than they need, of one kind or of all.
fn more_text_than_entries(kind: Option<&str>) {
    let too_large = "names, link targets and attributes of the archive take far more memory than its entries";
    let too_deep = "the paths of the archive lead through far more directories than it has entries";
    let numbered = |number: u32| number.to_string().into_bytes();
    let target = b"t".repeat(4000);
    let attributes = |value: usize| [record("SCHILY.xattr.user.a", &b"v".repeat(value))].concat();
    let with_attribute = |path: &[u8], value| {
        [pax(b'x', &[record("path", path), attributes(value)]), header(b"f", b'0', 0, b"")].concat()
    };
    let directory = long("d");
    let below = |number: u32| [&directory[..], &numbered(number)].concat();
    let sparse = |number: u32| {
        let map = b"0,0,".repeat(15_000);
        let sizes = [record("GNU.sparse.size", b"0"), record("GNU.sparse.numblocks", b"15000")];
        let records =
            [&sizes[..], &[record("path", &numbered(number)), record("GNU.sparse.map", &map[..59_999])]].concat();
        [pax(b'x', &records), header(b"f", b'0', 0, b"")].concat()
    };
    /// Its name, the number of members, each member, the programs that refuse the archive, and their words.
    type Case<'a> = (&'a str, u32, &'a dyn Fn(u32) -> Vec<u8>, &'a [&'a str], &'a str);
    // mkraw does not keep all of it.
    let cases: [Case<'_>; 7] = [
        ("directories", 40_000, &|number| file(&long(&number.to_string())), &["mkcpio"], too_large),
        ("targets", 40_000, &|number| symlink(&numbered(number), &target), &["mkraw", "mkcpio"], too_large),
        ("late", 25_000, &|number| hard_link(&below(number), &below(25_000)), &["mkraw", "mkcpio"], too_large),
        (
            "chain",
            20_000,
            &|number| hard_link(&numbered(number), &numbered(number + 1)),
            &["mkraw", "mkcpio"],
            too_deep,
        ),
        ("attributes", 40_000, &|number| with_attribute(&numbered(number), 3900), &["mkcpio"], too_large),
        ("paths of attributes", 45_000, &|number| with_attribute(&below(number), 1), &["mkcpio"], too_large),
        ("holes", 700, &sparse, &["mkcpio"], too_large),
    ];
    for (what, count, member, programs, words) in
        cases.into_iter().filter(|case| kind.is_none_or(|kind| kind == case.0))
    {
        let folder = tempfile::tempdir().unwrap();
        // The last is a file, so that a chain of links has an end.
        let last = numbered(count);
        let member = |number| if number == count { file(&last) } else { member(number) };
        write_members(&folder.path().join("bomb.tar.zst"), count + 1, &member);
        for program in programs {
            let arguments = match *program {
                "mkraw" => &["-o", "disk.img", "bomb.tar.zst"][..],
                _ => &["-o", "out.cpio", "--init", BUSYBOX, "--rootfs", "bomb.tar.zst"],
            };
            let line = refusal(&folder, program, arguments);
            assert!(line.contains(words), "{what}: {line}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{what}");
    }
}

#[test]
fn directories_with_long_names() {
    more_text_than_entries(Some("directories"));
}

mod long {
    #[test]
    #[ignore = "a minute for seven archives: cargo selftest -- --long runs it"]
    fn every_kind_of_text_is_limited() {
        super::more_text_than_entries(None);
    }
}

#[test]
fn headers_of_many_records() {
    let attributes: Vec<_> = (0..500_000).map(|number| record(&format!("SCHILY.xattr.user.{number}"), b"")).collect();
    let members = [pax(b'x', &attributes), header(b"file", b'0', 0, b"")];
    refused(&tar(members), ["more than 1,024 extended attributes"; 2]);
    // Each of the entries would copy it.
    let global = pax(b'g', &[record("SCHILY.xattr.user.long", &vec![b'x'; 8 << 20])]);
    let members = std::iter::once(global).chain((0..100_000).map(|_| header(b"file", b'0', 0, b"")));
    refused(&tar(members), ["a global PAX header is longer than 64 KiB"; 2]);
}

#[test]
fn what_is_only_deep_is_taken() {
    let path = [b"d/".repeat(1900), b"file".to_vec()].concat();
    let folder = tempfile::tempdir().unwrap();
    let directories =
        (1..=1900).map(|depth| [pax(b'x', &[record("path", &path[..depth * 2])]), header(b"d", b'5', 0, b"")].concat());
    fs::write(folder.path().join("deep.tar"), tar(directories.chain([file(&path)]))).unwrap();
    for (program, arguments) in [
        ("mkraw", &["-o", "disk.img", "deep.tar"][..]),
        ("mkraw", &["inspect", "--tree", "disk.img"]),
        ("mkcpio", &["-o", "out.cpio", "--init", BUSYBOX, "--rootfs", "deep.tar"]),
        ("mkcpio", &["extract", "out.cpio", "-C", "tree"]),
    ] {
        let output = Command::new(tool(program)).args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// An entry of a cpio archive.
fn newc(name: &[u8], mode: u32) -> Vec<u8> {
    let fields = [1, mode, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    let mut entry = b"070701".to_vec();
    entry.extend(fields.iter().flat_map(|field| format!("{field:08X}").into_bytes()));
    entry.extend([name, b"\0"].concat());
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry
}

#[test]
fn an_initramfs_of_many_directories_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: u32| [number.to_string().as_bytes(), &b"/d".repeat(1900)].concat();
    let entries: Vec<u8> = (0..200).flat_map(|number| newc(&path(number), 0o100_644)).collect();
    fs::write(folder.path().join("bomb.cpio"), gzip(&[entries, newc(b"TRAILER!!!", 0)].concat())).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for directory in ["new", "empty"] {
        let line = refusal(&folder, "mkcpio", &["extract", "bomb.cpio", "-C", directory]);
        assert!(line.contains("far more directories than it has entries"), "{line}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    assert_eq!(fs::read_dir(folder.path().join("empty")).unwrap().count(), 0);
}

#[test]
fn a_folder_of_many_directories() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("top")).unwrap();
    // Deeper than PATH_MAX: created by chdir.
    let script = "i=0; while test $i -lt 3000; do mkdir d && cd -P d || exit; i=$((i+1)); done";
    let made = Command::new("sh").arg("-c").arg(script).current_dir(folder.path().join("top")).status().unwrap();
    assert!(made.success());
    // By the depth, or by the number of descriptors where that is smaller.
    let line = refusal(&folder, "mkraw", &["-o", "disk.img", "top"]);
    assert!(line.contains("is more than 2048 directories deep") || line.contains("Too many open files"), "{line}");
    let removed = Command::new("rm").arg("-rf").arg(folder.path().join("top")).status().unwrap();
    assert!(removed.success());
}
