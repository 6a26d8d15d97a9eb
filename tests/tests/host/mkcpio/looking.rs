//! mkcpio list and extract as programs: compared with GNU cpio on the same archives, and given damaged and hostile archives.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;
use whit_tests::deadline::Deadline;
use whit_tests::terminal::{read_until, resize, terminal};
use whit_tests::{copy_program, tool, use_standard_umask};
use whit_tools::archive::newc::{Kind, Meta, Writer};
use whit_tools::archive::segment::{Reader, extract};

fn mkcpio(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(tool("mkcpio")).args(arguments).current_dir(folder).output().unwrap()
}

fn make(folder: &Path, arguments: &[&str]) -> String {
    let output = mkcpio(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a script that must succeed.
fn shell(folder: &Path, script: &str) -> Vec<u8> {
    let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Makes a tree with all types of file that GNU cpio archives.
fn tree() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("tree/sub/deep")).unwrap();
    for length in 0..6_usize {
        fs::write(at(&format!("tree/{length}")), vec![b'x'; length * 5]).unwrap();
    }
    fs::write(at("tree/big"), (0..300_000_u32).map(|index| (index / 5) as u8).collect::<Vec<_>>()).unwrap();
    fs::hard_link(at("tree/5"), at("tree/sub/five")).unwrap();
    fs::hard_link(at("tree/5"), at("tree/zzz")).unwrap();
    std::os::unix::fs::symlink("../5", at("tree/sub/link")).unwrap();
    fs::set_permissions(at("tree/4"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(at("tree/sub"), fs::Permissions::from_mode(0o1777)).unwrap();
    shell(
        folder.path(),
        "mkfifo -m 620 tree/pipe; touch -d @1000000001 tree/*; touch -d @1000000002 tree/sub/deep tree/sub tree",
    );
    folder
}

/// Lists everything below a folder: name, mode, links, size, whole seconds, owner, target. Directories have only name, mode and
/// owner: GNU cpio leaves them the time of the last file in them.
fn listing(root: &Path) -> String {
    let script = "find . -mindepth 1 -type d -printf '%P %M %U:%G\\n' -o -printf '%P %M %n %s %T@ %U:%G %l\\n'";
    let listed = shell(root, &format!("{script} | sed 's/\\.[0-9]* / /' | sort"));
    String::from_utf8(listed).unwrap()
}

#[test]
fn archives_of_gnu_cpio_are_listed_and_unpacked_in_every_compression() {
    let folder = tree();
    let at = |name: &str| folder.path().join(name);
    for (format, compressor) in [
        ("newc", "cat"),
        ("crc", "cat"),
        ("newc", "gzip"),
        ("crc", "zstd -q"),
        ("newc", "xz --check=crc32"),
        ("newc", "lz4 -lq"),
        ("newc", "bzip2"),
        ("newc", "xz --format=lzma"),
    ] {
        let script =
            format!("cd tree; find . -depth | sort | cpio -oH {format} 2>/dev/null | {compressor} > ../archive");
        shell(folder.path(), &script);
        let names = make(folder.path(), &["list", "--names", "archive"]);
        let expected = String::from_utf8(shell(&at("tree"), "find . -depth | sort | sed 's,^\\./,,'")).unwrap();
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&names), sorted(&expected), "{format} {compressor}");
        make(folder.path(), &["extract", "archive", "-C", "out"]);
        assert_eq!(listing(&at("out")), listing(&at("tree")), "{format} {compressor}");
        shell(
            folder.path(),
            "diff -r --no-dereference tree/big out/big; diff -r --no-dereference tree/sub out/sub; rm -r out",
        );
    }
    let lines = make(folder.path(), &["list", "archive"]);
    for line in [
        "-rwsr-x--x   1 ",
        "          20 2001-09-09 01:46:41 4\n",
        " sub/link -> ../5\n",
        "segment 1: lzma, 14 entries, ",
    ] {
        assert!(lines.contains(line), "{line}:\n{lines}");
    }
    // Through a pipe, and one file of the archive.
    assert_eq!(shell(folder.path(), &format!("cat archive | {} list -n - | wc -l", tool("mkcpio").display())), b"14\n");
    assert!(make(folder.path(), &["list", "archive", "--cat", "/sub/five"]) == "x".repeat(25));
    assert!(make(folder.path(), &["list", "archive", "--cat", "5"]) == "x".repeat(25));
    for (path, words) in [("sub", "archive: sub is not a regular file"), ("none", "archive: has no none")] {
        let output = mkcpio(folder.path(), &["list", "archive", "--cat", path]);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("mkcpio: {words}\n"));
    }
}

#[test]
fn gnu_cpio_verifies_the_checksums_of_mkcpio() {
    let folder = tree();
    make(folder.path(), &["-o", "out.cpio", "--init", "/bin/busybox", "--checksum", "--add", "tree:/"]);
    shell(folder.path(), "cpio -i --only-verify-crc --quiet < out.cpio 2> output; test ! -s output");
    let mut bytes = fs::read(folder.path().join("out.cpio")).unwrap();
    let place = bytes.windows(4).rposition(|window| window == b"xxxx").unwrap();
    bytes[place] = b'y';
    fs::write(folder.path().join("out.cpio"), bytes).unwrap();
    shell(
        folder.path(),
        "cpio -i --only-verify-crc --quiet < out.cpio 2> output || true; grep -q 'checksum error' output",
    );
    let output = mkcpio(folder.path(), &["list", "out.cpio"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("do not match its checksum"));
}

#[test]
fn bad_archives_are_one_line_and_leave_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(Vec::new(), 0);
    writer.node(b"up", Meta::root(0o777), &Kind::Symlink(b"/tmp".to_vec())).unwrap();
    writer.file(&["file"], Meta::root(0o644), 4, &b"text"[..]).unwrap();
    let archive = writer.finish().unwrap().out;
    let out = |bytes: &[u8], words: &str| {
        fs::write(folder.path().join("bad"), bytes).unwrap();
        for arguments in [
            &["list", "bad"][..],
            &["extract", "bad", "-C", "out"],
            &["-o", "made", "--init", "/bin/busybox", "--append", "bad"],
            &["-o", "made", "--init", "/bin/busybox", "--prepend", "bad"],
        ] {
            let output = mkcpio(folder.path(), arguments);
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{arguments:?} {errors}");
            assert!(errors.starts_with("mkcpio: bad: ") && errors.contains(words), "{words}: {errors}");
            assert_eq!(errors.lines().count(), 1, "{errors}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{arguments:?}");
        }
    };
    out(b"", "contains no archive");
    out(b"text", "starts neither a cpio archive");
    for length in (1..archive.len()).step_by(7).filter(|length| archive[*length..].iter().any(|byte| *byte != 0)) {
        out(&archive[..length], "");
    }
    let mut mutated = archive.clone();
    mutated[94..102].copy_from_slice(b"ffffffff");
    out(&mutated, "has a name that is empty, too long, or not terminated");
    let gzip = {
        fs::write(folder.path().join("bad"), &archive).unwrap();
        shell(folder.path(), "gzip -c bad")
    };
    out(&gzip[..gzip.len() - 9], "segment 1 (gzip): ");
    // Only extracting checks the names.
    let place = archive.windows(4).position(|window| window == b"file").unwrap();
    let mut outside = archive.clone();
    outside[place..place + 4].copy_from_slice(b"../x");
    fs::write(folder.path().join("bad"), outside).unwrap();
    let output = mkcpio(folder.path(), &["extract", "bad", "-C", "out"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("bad: ../x: its name contains \"..\""), "{errors}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn devices_are_left_out_without_root() {
    if !rustix::process::geteuid().is_root() {
        return; // without root, the other tests cover this
    }
    use_standard_umask();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    make(folder.path(), &["-o", "out.cpio", "--init", "/bin/busybox"]);
    let copy = folder.path().join("mkcpio");
    copy_program(&tool("mkcpio"), &copy);
    let user = "setpriv --reuid 1234 --regid 1234 --clear-groups";
    let said = shell(folder.path(), &format!("{user} {} extract out.cpio -C out", copy.display()));
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("left out: 1 devices, which only root can create"), "{said}");
    let metadata = fs::metadata(folder.path().join("out/proc")).unwrap();
    assert_eq!((metadata.uid(), metadata.mode()), (1234, 0o40_555));
}

#[test]
fn long_work_shows_a_progress_bar_if_no_lines_go_to_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(Vec::new(), 0);
    writer.file(&["one"], Meta::root(0o644), 4, &b"text"[..]).unwrap();
    writer.file(&["two"], Meta::root(0o644), 4, &b"text"[..]).unwrap();
    let archive = writer.finish().unwrap().out;
    let (first, rest) = archive.split_at(116 + 4);
    for arguments in [&["list", "-"][..], &["list", "-n", "-"], &["extract", "-", "-C", "out"]] {
        let (ours, theirs) = terminal();
        resize(&ours, 24, 80);
        let mut child = Command::new(tool("mkcpio"))
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(fs::File::create(folder.path().join("lines")).unwrap())
            .stderr(theirs)
            .spawn()
            .unwrap();
        let deadline = Deadline::of(&child);
        let mut input = child.stdin.take().unwrap();
        input.write_all(first).unwrap();
        let mut output = String::new();
        // The rest of the input comes after the bar is shown.
        read_until(&ours, &mut output, "120 B, 1 files, ");
        input.write_all(rest).unwrap();
        drop(input);
        assert!(child.wait().unwrap().success(), "{arguments:?}");
        drop(deadline);
        // The line is cleared at the end.
        read_until(&ours, &mut output, "\r\x1b[2K");
        assert!(fs::metadata(folder.path().join("lines")).unwrap().len() > 0);
    }
    // A listing on the terminal itself, or through a pipe to a program that may write there, has no bar.
    let (ours, theirs) = terminal();
    let script = format!("(printf x; sleep 0.4; printf y) | {0} list - | cat", tool("mkcpio").display());
    let status = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).stderr(theirs).status().unwrap();
    assert!(status.success());
    let mut output = String::new();
    read_until(&ours, &mut output, "starts neither a cpio archive");
    assert!(output.starts_with("mkcpio: standard input: "), "{output}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any changed bytes give an error or an archive, and no file outside of the folder.
    #[test]
    fn any_damage_is_survived(changes in prop::collection::vec((0..600_usize, any::<u8>()), 1..4), digits in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        let mut writer = Writer::new(Vec::new(), 0);
        writer.node(b"d", Meta::root(0o755), &Kind::Directory).unwrap();
        writer.node(b"l", Meta::root(0o777), &Kind::Symlink(b"../..".to_vec())).unwrap();
        writer.file(&["d/one", "two"], Meta::root(0o600), 4, &b"text"[..]).unwrap();
        writer.file(&["l/x"], Meta::root(0o600), 4, &b"text"[..]).unwrap();
        let mut bytes = writer.finish().unwrap().out;
        for (place, byte) in changes {
            bytes[place] = if digits { b"0123456789abcdef/.\0"[usize::from(byte) % 19] } else { byte };
        }
        let result = extract(Reader::new(bytes.as_slice()), &folder.path().join("inner/out"));
        prop_assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let left = fs::read_dir(folder.path().join("inner")).unwrap().count();
        prop_assert_eq!(left, usize::from(result.is_ok()));
    }

    /// A written archive is read by this reader and by GNU cpio.
    #[test]
    fn a_written_archive_is_unpacked(
        files in prop::collection::btree_map("([a-z]{4,6}/){0,2}[a-z]{1,3}", (prop::collection::vec(any::<u8>(), 0..40), 0..0o7777_u32), 1..8),
        summed in any::<bool>()
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = whit_tools::initramfs::tree::Tree::default();
        for (name, (data, mode)) in &files {
            tree.bytes(name, *mode, data.clone()).unwrap();
        }
        let mut writer = Writer::new(Vec::new(), 0).summed(summed);
        tree.write(&mut writer).unwrap();
        let bytes = writer.finish().unwrap().out;
        extract(Reader::new(bytes.as_slice()), &folder.path().join("ours")).unwrap();
        fs::create_dir(folder.path().join("theirs")).unwrap();
        let mut cpio = Command::new("cpio");
        cpio.args(["-idm", "--quiet", "--no-absolute-filenames"]);
        let mut child = cpio.current_dir(folder.path().join("theirs")).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        prop_assert!(child.wait().unwrap().success());
        prop_assert_eq!(listing(&folder.path().join("ours")), listing(&folder.path().join("theirs")));
        for (name, (data, _)) in &files {
            prop_assert_eq!(&fs::read(folder.path().join("ours").join(name)).unwrap(), data);
        }
    }
}
