//! Trees with everything that an archive can hold.

use std::ffi::OsStr;
use std::fs::{self, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, Timespec, Timestamps, XattrFlags};

/// Fills `root` with everything that a tar can hold. Without root the devices, owners and most attributes are left out.
pub fn make_tree(root: &Path, as_root: bool) {
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

/// Creates enough files for a hash tree, with names that are not ASCII.
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
    // The user has no name on this host, so GNU tar writes its number into the text of an ACL.
    let entries =
        [(1_u16, 6_u16, u32::MAX), (2, 4, 54_321), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 0, u32::MAX)];
    let acl = entries.iter().flat_map(|(tag, permissions, id)| {
        tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes())
    });
    let acl: Vec<u8> = 2_u32.to_le_bytes().into_iter().chain(acl).collect();
    set("piece", "system.posix_acl_access", &acl);
    set("a/b/c", "system.posix_acl_default", &acl);
    // Times before 1970, which ext4-view reports as damage.
    set_time(root, "one", -2_147_483_648);
    set_time(root, "empty", -1);
}

/// Sets times that ext4 can hold, up to its last second.
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
