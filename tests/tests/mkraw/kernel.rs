//! The kernel as the judge: it mounts an image read-write and shows what GNU tar extracts from the same archive.

use std::ffi::OsStr;
use std::fs::{self, FileTimes, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, Timespec, Timestamps, XattrFlags};
use whit_tools::disk::image::Options;

use super::snapshot::{self, assert_same};
use super::{Image, archive, assert_clean, build};

/// An image mounted in a mount namespace of its own, seen through /proc.
pub(crate) struct Mounted {
    holder: Child,
    pub(crate) root: PathBuf,
}

impl Mounted {
    pub(crate) fn new(image: &Image) -> Self {
        let point = image.directory.path().join("mounted");
        fs::create_dir_all(&point).unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg("mount -o loop \"$0\" \"$1\" && echo mounted && read -r line; umount \"$1\"")
            .args([image.path.as_os_str(), point.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts; it is part of util-linux");
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n", "the kernel does not mount the image");
        let inside = point.strip_prefix("/").unwrap();
        let root = Path::new("/proc").join(holder.id().to_string()).join("root").join(inside);
        Self { holder, root }
    }

    /// Unmounts, and has e2fsck look at what the kernel left.
    pub(crate) fn end(mut self, image: &Image) {
        drop(self.holder.stdin.take());
        assert!(self.holder.wait().unwrap().success(), "umount fails");
        assert_clean(&image.path);
    }
}

/// A tree with everything that a tar can hold. Without root the devices, owners and most attributes are left out.
pub(crate) fn make_tree(root: &Path, as_root: bool) {
    for (name, length) in
        [("empty", 0), ("one", 1), ("block", 4096), ("more", 4097), ("piece", 65_536), ("long", 3_000_001)]
    {
        let bytes: Vec<u8> =
            (0..length).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect();
        fs::write(root.join(name), bytes).unwrap();
    }
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    for place in [0, 1 << 20, (5 << 20) + 123, (9 << 20) + 65_000] {
        sparse.write_all_at(b"between holes", place).unwrap();
    }
    sparse.set_len((20 << 20) + 1).unwrap();
    fs::write(root.join("zeros"), vec![0; 300_000]).unwrap();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"a/latin-\xe9 and \xff\n newline")), "bytes").unwrap();
    fs::write(root.join("a").join("n".repeat(255)), "longest name").unwrap();
    let deep = root.join(vec!["p".repeat(120); 4].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "long path").unwrap();
    for length in [1, 59, 60, 100, 101, 300, 1000] {
        symlink(&"target/".repeat(200)[..length], root.join(format!("a/link{length}"))).unwrap();
    }
    fs::hard_link(root.join("more"), root.join("a/b/another name")).unwrap();
    fs::hard_link(root.join("more"), root.join("zzz last name")).unwrap();
    fs::hard_link(root.join("a/link60"), root.join("a/link again")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), FileType::Fifo, Mode::from(0o622), 0).unwrap();
    make_large_directory(&root.join("many"), 3_000);
    for (name, mode) in [("one", 0o4755), ("block", 0o2750), ("a/b", 0o1777), ("a/b/c", 0o2700), ("long", 0)] {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
    }
    rustix::fs::lsetxattr(root.join("one"), "user.short", b"line\nline\0", XattrFlags::empty()).unwrap();
    rustix::fs::lsetxattr(root.join("one"), "user.long", &[b'v'; 3000], XattrFlags::empty()).unwrap();
    rustix::fs::lsetxattr(root.join("a"), "user.directory", b"", XattrFlags::empty()).unwrap();
    if as_root {
        make_privileged(root);
    }
    set_times(root);
}

/// Enough names for a hash tree, some not ASCII.
fn make_large_directory(directory: &Path, count: u32) {
    fs::create_dir(directory).unwrap();
    for number in 0..count {
        let name = [b"entry-\xc3\xa9-", number.to_string().as_bytes(), b"\xff"].concat();
        fs::write(directory.join(OsStr::from_bytes(&name)), []).unwrap();
    }
}

fn make_privileged(root: &Path) {
    let device = |name: &str, kind, major, minor| {
        let number = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(rustix::fs::CWD, root.join(name), kind, Mode::from(0o660), number).unwrap();
    };
    device("null", FileType::CharacterDevice, 1, 3);
    device("disk", FileType::BlockDevice, 8, 255);
    device("minor", FileType::BlockDevice, 8, 256);
    device("large", FileType::BlockDevice, 259, 1_048_575);
    device("largest", FileType::CharacterDevice, 4095, 1);
    chown(root.join("empty"), Some(70_000), Some(65_536)).unwrap();
    chown(root.join("a/b/c"), Some(u32::MAX - 1), Some(u32::MAX - 1)).unwrap();
    lchown(root.join("a/link300"), Some(33), Some(34)).unwrap();
    let set = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::lsetxattr(root.join(name), key, value, XattrFlags::empty()).unwrap();
    };
    // cap_net_bind_service+ep, as setcap writes it.
    set("block", "security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    set("more", "trusted.overlay.opaque", b"y");
    set("a/link59", "trusted.of.a.link", b"value");
    // The user has no name here, so that GNU tar writes its number into an ACL as text.
    let entries =
        [(1_u16, 6_u16, u32::MAX), (2, 4, 54_321), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 0, u32::MAX)];
    let acl = entries.iter().flat_map(|(tag, permissions, id)| {
        tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes())
    });
    let acl: Vec<u8> = 2_u32.to_le_bytes().into_iter().chain(acl).collect();
    set("piece", "system.posix_acl_access", &acl);
    set("a/b/c", "system.posix_acl_default", &acl);
    // Times before 1970, which ext4-view takes for damage.
    set_time(root, "one", -2_147_483_648);
    set_time(root, "empty", -1);
}

/// Times that ext4 can hold, to its last second.
fn set_times(root: &Path) {
    set_time(root, "block", 4_294_967_296);
    set_time(root, "more", 15_032_385_535);
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123_456_789);
    fs::File::open(root.join("a")).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn set_time(root: &Path, name: &str, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 987_654_321 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, root.join(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What GNU tar makes of an archive.
pub(crate) fn extract(tar: &[u8], options: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new("tar")
        .args(["--extract", "--preserve-permissions", "--numeric-owner", "--directory"])
        .arg(directory.path())
        .args(options)
        .stdin(Stdio::piped())
        .spawn()
        .expect("tar starts");
    child.stdin.take().unwrap().write_all(tar).unwrap();
    assert!(child.wait().unwrap().success(), "tar does not extract its own archive");
    directory
}

pub(crate) const ATTRIBUTES: [&str; 2] = ["--xattrs", "--xattrs-include=*"];

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_mounted_image_is_what_tar_extracts() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    for format in
        [&["--format=gnu"][..], &["--format=gnu", "--sparse"], &["--format=pax", "--xattrs", "--xattrs-include=*"]]
    {
        let options = [format, &["--numeric-owner"]].concat();
        let tar = archive::of_directory(tree.path(), &options);
        let extracted = extract(&tar, &ATTRIBUTES);
        let image = build(&tar, &Options::default()).unwrap();
        let mounted = Mounted::new(&image);
        let found = snapshot::without_lost_found(snapshot::of_directory(&mounted.root));
        assert_same(&found, &snapshot::of_directory(extracted.path()));
        if format.contains(&"--xattrs") {
            assert!(found.values().filter(|seen| !seen.rest.attributes.is_empty()).count() >= 7, "no attributes seen");
        }
        mounted.end(&image);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn acls_as_text_are_those_of_the_tree() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    // GNU tar itself does not bring back a directory's default ACL, so the tree is what to compare with.
    let options = ["--format=pax", "--acls", "--xattrs", "--xattrs-exclude=system.*", "--numeric-owner"];
    let image = build(&archive::of_directory(tree.path(), &options), &Options::default()).unwrap();
    let mounted = Mounted::new(&image);
    let found = snapshot::without_lost_found(snapshot::of_directory(&mounted.root));
    assert_same(&found, &snapshot::of_directory(tree.path()));
    mounted.end(&image);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_archive_of_libarchives_is_read_too() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    for options in [&["--format=pax"][..], &["--format=pax", "--options=xattrheader=LIBARCHIVE"]] {
        let mut bsdtar = Command::new("bsdtar");
        bsdtar.args(["-c", "--xattrs", "--acls", "--numeric-owner"]).args(options);
        // Times before 1970 become others there.
        let tar = super::run_well(bsdtar.arg("-C").arg(tree.path()).args(["--exclude=one", "--exclude=empty", "."]));
        let image = build(&tar, &Options::default()).unwrap();
        let mounted = Mounted::new(&image);
        let found = snapshot::without_lost_found(snapshot::of_directory(&mounted.root));
        let mut expected = snapshot::of_directory(tree.path());
        expected.retain(|path, _| path != b"one" && path != b"empty");
        assert_same(&found, &expected);
        mounted.end(&image);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_kernel_writes_to_an_image_as_to_its_own() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    let tar = archive::of_directory(tree.path(), &["--format=pax"]);
    let image = build(&tar, &Options::default()).unwrap();
    let mounted = Mounted::new(&image);
    let root = &mounted.root;
    // Names go into the hash tree that mkraw made and split its blocks; files grow, shrink, come and go.
    for number in 0..2_000 {
        fs::write(root.join("many").join(format!("new-{number}")), number.to_string()).unwrap();
    }
    for number in (0..2_000).step_by(2) {
        fs::remove_file(root.join("many").join(format!("new-{number}"))).unwrap();
        assert_eq!(
            fs::read_to_string(root.join(format!("many/new-{}", number + 1))).unwrap(),
            (number + 1).to_string()
        );
    }
    fs::write(root.join("long"), vec![7; 5_000_000]).unwrap();
    fs::remove_file(root.join("sparse")).unwrap();
    fs::remove_dir_all(root.join("p".repeat(120))).unwrap();
    fs::create_dir(root.join("a/new directory")).unwrap();
    rustix::fs::setxattr(root.join("one"), "user.third", &[b'w'; 500], XattrFlags::empty()).unwrap();
    mounted.end(&image);
}
