//! mkcpio --rootfs as a program: GNU cpio unpacks from the initramfs the files that GNU tar unpacks from the tar, in any compression.

mod refused;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use tempfile::TempDir;
use whit_tests::archive::{self, directory, file, golden_archives, hard_link, member, name_of};
use whit_tests::commands::run_well;
use whit_tests::snapshot::{self, Snapshot};
use whit_tests::tool;
use whit_tools::archive::newc::Header;
use whit_tools::archive::segment::{self, Member};

/// A static program; Debian's package busybox-static.
const BUSYBOX: &str = "/bin/busybox";
/// cap_net_raw+ep, as setcap writes it.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Runs `mkcpio -o out.cpio --init …` in `folder`, with `input` on standard input.
fn mkcpio(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(tool("mkcpio"));
    command.args(["-o", "out.cpio", "--init", BUSYBOX]).args(arguments).current_dir(folder);
    command.env_remove("SOURCE_DATE_EPOCH").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // mkcpio need not read all of it.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

/// Returns the output of mkcpio, and the archive.
fn make(folder: &Path, arguments: &[&str], input: &[u8]) -> (String, Vec<u8>) {
    let output = mkcpio(folder, arguments, input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), fs::read(folder.join("out.cpio")).unwrap())
}

/// Returns the output for a tar, and the archive.
fn archive_of(tar: &[u8]) -> (String, Vec<u8>) {
    make(tempfile::tempdir().unwrap().path(), &["--rootfs", "-"], tar)
}

#[derive(PartialEq)]
struct Entry {
    name: Vec<u8>,
    header: Header,
    data: Vec<u8>,
}

fn entries(archive: &[u8]) -> Vec<Entry> {
    let entries = segment::entries(archive).unwrap();
    entries.into_iter().map(|(Member { name, header, .. }, data)| Entry { name, header, data }).collect()
}

/// Returns the path in the image of an entry below rootfs; the path of rootfs is empty.
fn inside(entry: &Entry) -> Option<&[u8]> {
    if entry.name == b"rootfs" { Some(b"") } else { entry.name.strip_prefix(b"rootfs/") }
}

/// Lists the image's files by name: `mode nlink data`.
fn listing(archive: &[u8]) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = entries(archive).into_iter().filter_map(|entry| {
        let path = inside(&entry).filter(|path| !path.is_empty())?;
        Some((text(path), format!("{:o} {} {}", entry.header.mode, entry.header.nlink, text(&entry.data))))
    });
    all.collect()
}

/// Makes a tree of all that an image has and cpio can hold; without root the devices, owners and attributes are left out.
fn make_tree(root: &Path, as_root: bool) {
    for (name, length) in [("empty", 0), ("one", 1), ("block", 4096), ("more", 4097), ("long", 1_000_001)] {
        let bytes: Vec<u8> = (0..length).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(root.join(name), bytes).unwrap();
    }
    let sparse = File::create(root.join("sparse")).unwrap();
    for place in [1 << 20, (3 << 20) + 123] {
        sparse.write_all_at(b"between holes", place).unwrap();
    }
    sparse.set_len((5 << 20) + 1).unwrap();
    for directory in ["dev", "proc", "sys", "a/b/c"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(b"a/latin-\xe9 and \n newline")), "bytes").unwrap();
    let deep = root.join(vec!["p".repeat(120); 4].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "long path").unwrap();
    for length in [1, 127, 128, 1000] {
        symlink(&"target/".repeat(200)[..length], root.join(format!("a/link{length}"))).unwrap();
    }
    fs::hard_link(root.join("more"), root.join("a/b/another name")).unwrap();
    fs::hard_link(root.join("more"), root.join("zzz last name")).unwrap();
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from(0o622), 0).unwrap();
    for (name, mode) in [("one", 0o4755), ("block", 0o2750), ("a/b", 0o1777), ("a/b/c", 0o2700), ("long", 0)] {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
    }
    if as_root {
        let device = |name: &str, kind, major, minor| {
            rustix::fs::mknodat(CWD, root.join(name), kind, Mode::from(0o640), rustix::fs::makedev(major, minor))
                .unwrap();
        };
        device("null", FileType::CharacterDevice, 1, 3);
        device("largest", FileType::BlockDevice, 4095, 1_048_575);
        fs::hard_link(root.join("null"), root.join("a/null too")).unwrap();
        for (name, uid, gid) in [("empty", 70_000, 65_536), ("a/b/c", u32::MAX - 1, 5), ("a/link128", 33, 34)] {
            lchown(root.join(name), Some(uid), Some(gid)).unwrap();
        }
        let set = |name: &str, key: &str, value: &[u8]| {
            rustix::fs::lsetxattr(root.join(name), key, value, XattrFlags::empty()).unwrap();
        };
        set("block", "security.capability", CAPABILITY);
        set("a/link1", "trusted.of.a.link", b"value\n\0");
    }
    for (name, seconds) in [("one", 0), ("more", i64::from(u32::MAX)), ("a", 1_234_567_890), ("a/link1", 5)] {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, root.join(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// Unpacks the image in an archive by GNU cpio.
fn unpacked(archive: &Path) -> (TempDir, Snapshot) {
    let folder = tempfile::tempdir().unwrap();
    run_well(
        Command::new("cpio")
            .args(["--extract", "--make-directories", "--preserve-modification-time", "--quiet"])
            .current_dir(folder.path())
            .stdin(File::open(archive).unwrap()),
    );
    let mut snapshot = snapshot::of_directory(&folder.path().join("rootfs"));
    // cpio makes hard links after it has set the times of directories, and sets none for symbolic links. Take these from the archive.
    let bytes = fs::read(archive).unwrap();
    for entry in entries(&bytes).iter().filter(|entry| matches!(entry.header.mode & 0o170_000, 0o040_000 | 0o120_000)) {
        if let Some(path) = inside(entry) {
            snapshot.get_mut(path).unwrap().mtime = (entry.header.mtime.into(), 0);
        }
    }
    (folder, snapshot)
}

/// Unpacks a tar by GNU tar; drops fractions of seconds and attributes, which cpio cannot hold.
fn extracted(tar: &Path) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    run_well(
        Command::new("tar")
            .args(["--extract", "--preserve-permissions", "--numeric-owner", "--directory"])
            .arg(folder.path())
            .arg("--file")
            .arg(tar),
    );
    let mut snapshot = snapshot::of_directory(folder.path());
    for seen in snapshot.values_mut() {
        seen.mtime.1 = 0;
        seen.rest.attributes.clear();
    }
    snapshot
}

fn compare(as_root: bool) {
    let (tree, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (tar, out) = (folder.path().join("image.tar"), folder.path().join("out.cpio"));
    make_tree(tree.path(), as_root);
    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0", "--xattrs", "--xattrs-include=*"],
    ] {
        fs::write(&tar, archive::of_directory(tree.path(), &[options, &["--numeric-owner"]].concat())).unwrap();
        make(folder.path(), &["--rootfs", "image.tar"], b"");
        let (_kept, found) = unpacked(&out);
        snapshot::assert_same(&found, &extracted(&tar));
    }
    // From a pipe, and compressed in every way: the same bytes.
    let expected = fs::read(&out).unwrap();
    let plain = fs::read(&tar).unwrap();
    assert!(make(folder.path(), &["--rootfs", "-"], &plain).1 == expected, "a pipe");
    assert!(make(folder.path(), &["--rootfs", tree.path().to_str().unwrap()], b"").1 == expected, "the folder itself");
    for (program, name) in [("gzip", "image.tar.gz"), ("xz", "image.tar.xz"), ("zstd", "image.tar.zst")] {
        let compressed = run_well(Command::new(program).args(["-1", "-c"]).arg(&tar));
        fs::write(folder.path().join(name), &compressed).unwrap();
        assert!(make(folder.path(), &["--rootfs", name], b"").1 == expected, "{program}");
        assert!(make(folder.path(), &["--rootfs", "-"], &compressed).1 == expected, "{program} through a pipe");
    }
}

#[test]
fn cpio_unpacks_what_tar_unpacks() {
    compare(false);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn cpio_unpacks_owners_devices_and_modes_as_tar_does() {
    compare(true);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn cpio_unpacks_archives_of_other_programs_as_tar_does() {
    let folder = tempfile::tempdir().unwrap();
    for archive in golden_archives() {
        let name = name_of(&archive);
        let output = mkcpio(folder.path(), &["--rootfs", archive.to_str().unwrap()], b"");
        if name.starts_with("image-") || name.starts_with("refused-") {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && error.lines().count() == 1, "{name}: {error}");
            continue;
        }
        assert!(output.status.success(), "{name}");
        let (_kept, mut found) = unpacked(&folder.path().join("out.cpio"));
        let mut expected = extracted(&archive);
        // mkcpio adds these to the root.
        for path in ["", "dev", "proc", "sys"] {
            found.remove(path.as_bytes());
            expected.remove(path.as_bytes());
        }
        for (path, seen) in &mut expected {
            // What newc can hold. GNU tar gives directories of bsdtar's archives other times.
            seen.mtime.0 = seen.mtime.0.clamp(0, u32::MAX.into());
            if seen.mode & 0o170_000 == 0o040_000 {
                seen.mtime = found[path].mtime;
            }
        }
        println!("{name}");
        snapshot::assert_same(&found, &expected);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn attributes_go_into_a_table_beside_the_image() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    let tar = archive::of_directory(tree.path(), &["--format=pax", "--xattrs", "--xattrs-include=*"]);
    let (output, archive) = archive_of(&tar);
    let line =
        "set at boot: 2 extended attributes, 1 of them capabilities; not with root=initramfs, whose ramfs has none\n";
    assert!(output.contains(line), "{output}");
    let all = entries(&archive);
    let table = all.iter().find(|entry| entry.name == b"rootfs.xattrs").unwrap();
    let mut expected =
        b"/rootfs/a/link1\0trusted.of.a.link\0a ramfs keeps no attributes, rootfstype=tmpfs does; lost: capabilities \
        of /block; 1 attributes beside capabilities\0\x07\0value\n\0/rootfs/block\0security.capability\0\0\x14\0"
            .to_vec();
    expected.extend(CAPABILITY);
    expected.push(0);
    assert_eq!(table.data.escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_eq!(table.header.mode, 0o100_600);
}

#[test]
fn the_image_is_between_the_memory_that_it_needs_and_an_end_mark() {
    let (output, archive) = archive_of(&archive::of(&[directory("bin"), file("bin/x", &[b'x'; 10_000])]));
    let all = entries(&archive);
    let names: Vec<String> = all.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
    assert_eq!(names.first().unwrap(), "rootfs.needs");
    // The directories that the init mounts on are created, even for a read-only root.
    let last = ["rootfs", "rootfs/bin", "rootfs/bin/x", "rootfs/dev", "rootfs/proc", "rootfs/sys", "rootfs.end"];
    assert_eq!(names[names.len() - last.len()..], last);
    let end = all.last().unwrap();
    // A link to the first entry, longer than a tmpfs stores without a page.
    assert!(end.header.mode == 0o120_777 && end.data.len() > 128 && end.data.ends_with(b"././rootfs.needs"));
    // busybox as the init and little else: most of the memory is for the running kernel.
    let memory = output.lines().find_map(|line| line.strip_prefix("memory: ")).unwrap();
    let mib = memory.split(' ').next().unwrap();
    assert_eq!(all[0].data, format!("initramfs truncated, needs {mib} MB").as_bytes());
    assert!((85..100).contains(&mib.parse::<u32>().unwrap()), "{memory}");
    assert!(output.contains("runs: nothing is set; give --config or --record"), "{output}");
    assert!(output.contains("rootfs: 1 files with 9.8 KiB, 1 directories, 0 others\n"), "{output}");
    // Without an image there are none of these entries.
    let (_, without) = make(tempfile::tempdir().unwrap().path(), &[], b"");
    assert!(entries(&without).iter().all(|entry| !entry.name.starts_with(b"rootfs")));
}

#[test]
fn a_compressed_initramfs_is_one_archive_for_gunzip() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("image.tar"), archive::of(&[file("x", &[7; 100_000])])).unwrap();
    make(folder.path(), &["--rootfs", "image.tar", "--compress", "gzip"], b"");
    let plain = run_well(Command::new("sh").arg("-c").arg("gzip -dc <out.cpio").current_dir(folder.path()));
    let (_, uncompressed) = make(folder.path(), &["--rootfs", "image.tar"], b"");
    // They differ in the memory that they need, and so only in the first entry.
    let (gzip, none) = (entries(&plain), entries(&uncompressed));
    assert!(gzip.len() == none.len() && gzip[1..] == none[1..] && plain.len() == uncompressed.len());
    assert!(gzip[0].data.starts_with(b"initramfs truncated, needs "), "{}", gzip[0].data.escape_ascii());
    let listed = run_well(Command::new("sh").arg("-c").arg("cpio -t --quiet <out.cpio").current_dir(folder.path()));
    assert!(listed.starts_with(b"rootfs.needs\n") && listed.ends_with(b"rootfs/x\nrootfs.end\n"));
}

#[test]
fn no_path_leads_out_of_the_image() {
    let tar = archive::of(&[
        file("../../up", b"1"),
        file("/absolute", b"2"),
        archive::symlink("lib", "/usr/lib"),
        file("lib/inner", b"4"),
        hard_link("late", "comes"),
        file("comes", b"5"),
        file("d/old", b"gone"),
        archive::symlink("d", "usr"),
        directory("usr"),
        file("d/through", b"6"),
        member("null", b'3', "", b""),
        archive::symlink("proc", "usr"),
    ]);
    let (_, archive) = archive_of(&tar);
    let expected = [
        ("absolute", "100640 1 2"),
        ("comes", "100640 2 "),
        ("d", "120777 1 usr"),
        ("dev", "40755 2 "),
        ("late", "100640 2 5"),
        ("lib", "120777 1 /usr/lib"),
        ("null", "20640 1 "),
        ("proc", "120777 1 usr"),
        ("sys", "40755 2 "),
        ("up", "100640 1 1"),
        ("usr", "40640 2 "),
        ("usr/lib", "40755 2 "),
        ("usr/lib/inner", "100640 1 4"),
        ("usr/through", "100640 1 6"),
    ];
    let expected = expected.map(|(name, shown)| (name.to_owned(), shown.to_owned()));
    assert_eq!(listing(&archive), BTreeMap::from(expected));
}

#[test]
fn the_run_record_is_the_images_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("web.json"), r#"[{"Config": {"Cmd": ["nginx"], "User": "www-data"}}]"#).unwrap();
    fs::write(at("record"), "hostname box\n").unwrap();
    // The image's /etc is a link, and it has a record already.
    let tar = archive::of(&[archive::symlink("etc", "usr/etc"), file("usr/etc/whit.conf", b"user old\n")]);
    fs::write(at("image.tar"), tar).unwrap();
    let data = |archive: &[u8], name: &str| {
        let all = entries(archive);
        all.iter()
            .find(|entry| entry.name == name.as_bytes())
            .map(|entry| String::from_utf8(entry.data.to_vec()).unwrap())
    };
    let (output, archive) =
        make(folder.path(), &["--rootfs", "image.tar", "--config", "web.json", "--record", "record"], b"");
    assert!(output.contains("runs: nginx (user www-data)\n"), "{output}");
    assert_eq!(data(&archive, "rootfs/usr/etc/whit.conf").unwrap(), "cmd nginx\nuser www-data\n");
    assert_eq!(data(&archive, "whit.conf").unwrap(), "hostname box\n");
    let (output, _) = make(folder.path(), &["--rootfs", "image.tar"], b"");
    assert!(!output.contains("runs: "), "{output}");
    let (_, archive) = make(folder.path(), &["--config", "web.json"], b"");
    assert_eq!(data(&archive, "whit.conf").unwrap(), "cmd nginx\nuser www-data\n");
}

#[test]
fn times_that_cpio_cannot_hold_are_moved_and_reported() {
    let tree = tempfile::tempdir().unwrap();
    for (name, seconds) in [("before", -1), ("after", i64::from(u32::MAX) + 1), ("between", 7)] {
        fs::write(tree.path().join(name), "").unwrap();
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, tree.path().join(name), &times, AtFlags::empty()).unwrap();
    }
    let (said, archive) = archive_of(&archive::of_directory(tree.path(), &["--format=pax"]));
    assert!(said.contains("clamped: 2 times outside of 1970 to 2106, which a cpio archive cannot store\n"), "{said}");
    let mtime = |name: &str| entries(&archive).iter().find(|entry| entry.name == name.as_bytes()).unwrap().header.mtime;
    assert_eq!(["rootfs/before", "rootfs/after", "rootfs/between"].map(mtime), [0, u32::MAX, 7]);
}

#[test]
fn sparse_files_of_gnu_tar_keep_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["plain".to_owned(), "ü.img".to_owned(), "é".repeat(60)];
    for name in &names {
        File::create(folder.path().join(name)).unwrap().set_len(1 << 20).unwrap();
    }
    for version in ["0.0", "0.1", "1.0"] {
        let option = format!("--sparse-version={version}");
        let tar = archive::of_directory(folder.path(), &["--format=pax", "--sparse", &option]);
        let (_, archive) = archive_of(&tar);
        let mut found: Vec<String> = listing(&archive).into_keys().collect();
        found.retain(|name| !matches!(name.as_str(), "dev" | "proc" | "sys"));
        assert!(found.iter().eq(names.iter().collect::<std::collections::BTreeSet<_>>()), "{version}: {found:?}");
    }
}

#[test]
fn an_archive_without_entries_is_an_empty_root() {
    let (said, archive) = archive_of(&[0; 10_240]);
    assert!(said.contains("the archive has no entries: the root is empty\n"), "{said}");
    assert_eq!(listing(&archive).into_keys().collect::<Vec<_>>(), ["dev", "proc", "sys"]);
}

#[test]
fn a_missing_end_mark_is_accepted_only_with_the_option() {
    let tar = file("a", b"first");
    let folder = tempfile::tempdir().unwrap();
    let output = mkcpio(folder.path(), &["--rootfs", "-"], &tar);
    assert!(String::from_utf8_lossy(&output.stderr).contains("ends at byte 1024"));
    let (_, archive) = make(folder.path(), &["--rootfs", "-", "--no-end-mark"], &tar);
    assert!(listing(&archive).contains_key("a"));
}

#[test]
fn layers_are_refused_whatever_else_is_in_the_archive() {
    let hash = "0123456789abcdef".repeat(4);
    let blob = file(&format!("blobs/sha256/{hash}"), b"");
    let index = file("index.json", format!("{{\"manifests\": [{{\"digest\": \"sha256:{hash}\"}}]}}").as_bytes());
    let config =
        [file("manifest.json", b"[{\"Config\": \"config.json\", \"Layers\": []}]"), file("config.json", b"{}")];
    let folder = tempfile::tempdir().unwrap();
    for members in [vec![blob.clone(), index], vec![blob], config.to_vec()] {
        for tar in [[&[file("README", b"x")][..], &members].concat(), [&members[..], &[file("._x", b"")]].concat()] {
            for program in ["cat", "gzip", "xz"] {
                fs::write(folder.path().join("image"), archive::of(&tar)).unwrap();
                let input = run_well(Command::new(program).stdin(File::open(folder.path().join("image")).unwrap()));
                let output = mkcpio(folder.path(), &["--rootfs", "-"], &input);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(!output.status.success() && said.lines().count() == 1 && said.contains("docker"), "{said}");
                assert!(!folder.path().join("out.cpio").exists());
            }
        }
    }
}

#[test]
fn data_after_the_end_of_the_archive_are_reported() {
    let tar = [archive::of(&[file("a", b"first")]), archive::of(&[file("b", b"second")])].concat();
    let (said, archive) = archive_of(&tar);
    assert!(said.contains("ignored: data after the end of the archive, from byte 2048 on\n"), "{said}");
    assert!(!listing(&archive).contains_key("b"));
}

/// The folder has the output of an earlier run: it is not packed, and the next initramfs is the same.
#[test]
fn outputs_in_the_folder_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("more")).unwrap();
    fs::create_dir(at("boot")).unwrap();
    for name in ["file", "more/out.cpio", ".whit-a1B2c3", "more/.whit-000000", ".whit-a1B2c3x", ".whit-a1B2c"] {
        fs::write(at(name), name).unwrap();
    }
    let make = |options: &[&str]| {
        // Writing a file changes its directory's time.
        for path in [folder.path(), &at("boot")] {
            let time = Timespec { tv_sec: 1, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
        }
        make(folder.path(), &[&["--rootfs", "."], options].concat(), b"")
    };
    let (shown, first) = make(&[]);
    assert!(!shown.contains("left out"), "{shown}");
    let (shown, second) = make(&[]);
    assert!(shown.contains("\nleft out: 1 files that this run writes\n"), "{shown}");
    assert!(first == second);
    let names: Vec<_> = entries(&second).into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect();
    let below: Vec<_> = names.iter().filter_map(|name| name.strip_prefix("rootfs/")).collect();
    let expected = [".whit-a1B2c", ".whit-a1B2c3x", "boot", "dev", "file", "more", "more/out.cpio", "proc", "sys"];
    assert_eq!(below, expected);
}
