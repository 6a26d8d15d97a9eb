//! The early mounts, in the order in which they are made, and what /dev lacks without devtmpfs.

use core::ffi::CStr;

use linux_raw_sys::general::{MS_NODEV, MS_NOEXEC, MS_NOSUID};

/// A text that ends in NUL, and NULs up to the size of its column: less than a pointer, a length and the text elsewhere.
pub type Column<const SIZE: usize> = [u8; SIZE];

const fn column<const SIZE: usize>(text: &CStr) -> Column<SIZE> {
    let text = text.to_bytes_with_nul();
    let mut column = [0; SIZE];
    column.split_at_mut(text.len()).0.copy_from_slice(text);
    column
}

/// One mount; the arguments of mount(2).
#[derive(Clone, Copy, Debug)]
struct Mount {
    /// MS_*: those that we use are below 256.
    flags: u32,
    /// The directory, made when missing.
    target: &'static CStr,
    /// The type, which is also the name of its source.
    fstype: &'static CStr,
    /// Options of the file system.
    data: &'static CStr,
}

const fn mount(fstype: &'static CStr, target: &'static CStr, flags: u32, data: &'static CStr) -> Mount {
    Mount { flags, target, fstype, data }
}

/// The first of all: the command line is there.
const FIRST: [Mount; 1] = [mount(c"proc", c"/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, c"")];

/// The others. A kernel that lacks one goes without.
const OTHERS: [Mount; 8] = [
    mount(c"devtmpfs", c"/dev", MS_NOSUID, c"mode=0755"),
    mount(c"sysfs", c"/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, c""),
    mount(c"tmpfs", c"/tmp", MS_NOSUID | MS_NODEV, c"mode=1777"),
    // Programs may be run from /run: s6 does.
    mount(c"tmpfs", c"/run", MS_NOSUID | MS_NODEV, c"mode=0755"),
    mount(c"devpts", c"/dev/pts", MS_NOSUID | MS_NOEXEC, c"gid=5,mode=620,ptmxmode=666"),
    mount(c"tmpfs", c"/dev/shm", MS_NOSUID | MS_NODEV, c"mode=1777"),
    mount(c"mqueue", c"/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, c""),
    mount(c"cgroup2", c"/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, c""),
];

/// /run of the root that an init of its own is started in: the working directory then.
const INSIDE: [Mount; 1] = [mount(c"tmpfs", c".", MS_NOSUID | MS_NODEV, c"mode=0755")];

/// The mount of /proc, as [`MOUNTS`] has the others.
pub static PROC: [u8; packed(&FIRST, [0; 0]).1] = packed(&FIRST, [0; _]).0;
/// The mounts packed: a byte of flags, then directory, type and options, each with its NUL. A third of what a table of
/// pointers is.
pub static MOUNTS: [u8; packed(&OTHERS, [0; 0]).1] = packed(&OTHERS, [0; _]).0;

/// The mount of /run in the root, on the working directory.
pub static HERE: [u8; packed(&INSIDE, [0; 0]).1] = packed(&INSIDE, [0; _]).0;

/// Packs as much as there is room for, and returns how much there is.
const fn packed<const SIZE: usize>(mounts: &[Mount], mut room: [u8; SIZE]) -> ([u8; SIZE], usize) {
    let mut length = 0;
    let mut rest = mounts;
    while let [Mount { flags, target, fstype, data }, others @ ..] = rest {
        let flags = [flags.to_le_bytes()[0]];
        let texts: [&[u8]; 4] =
            [&flags, target.to_bytes_with_nul(), fstype.to_bytes_with_nul(), data.to_bytes_with_nul()];
        let mut column = 0;
        while column < texts.len() {
            let end = length + texts[column].len();
            if end <= SIZE {
                room.split_at_mut(end).0.split_at_mut(length).1.copy_from_slice(texts[column]);
            }
            (length, column) = (end, column + 1);
        }
        rest = others;
    }
    (room, length)
}

/// A character device that every program expects: for a kernel without devtmpfs.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Its permissions.
    pub mode: u16,
    /// Its numbers (Documentation/admin-guide/devices.txt).
    pub major: u8,
    /// Its numbers.
    pub minor: u8,
    /// Its name in /dev.
    pub name: Column<8>,
}

const fn node(name: &CStr, mode: u16, major: u8, minor: u8) -> Node {
    Node { mode, major, minor, name: column(name) }
}

/// The nodes in /dev.
pub static NODES: [Node; 7] = [
    node(c"null", 0o666, 1, 3),
    node(c"zero", 0o666, 1, 5),
    node(c"full", 0o666, 1, 7),
    node(c"random", 0o666, 1, 8),
    node(c"urandom", 0o666, 1, 9),
    node(c"tty", 0o666, 5, 0),
    node(c"console", 0o600, 5, 1),
];

/// The links in /dev that shells and images use: a name, and where it leads, each with its NUL.
pub const LINKS: &[u8] =
    b"fd\0/proc/self/fd\0stdin\0/proc/self/fd/0\0stdout\0/proc/self/fd/1\0stderr\0/proc/self/fd/2\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_comes_after_the_one_it_stands_in() {
        for (position, mount) in OTHERS.iter().enumerate() {
            for later in &OTHERS[position + 1..] {
                assert!(!mount.target.to_bytes().starts_with(later.target.to_bytes()), "{:?}", mount.target);
            }
        }
    }

    #[test]
    fn mounts_are_packed_in_their_order() {
        assert_eq!(&PROC, b"\x0e/proc\0proc\0\0");
        assert!(MOUNTS.starts_with(b"\x02/dev\0devtmpfs\0mode=0755\0\x0e/sys\0sysfs\0\0"));
        assert!(MOUNTS.ends_with(b"\x0e/sys/fs/cgroup\0cgroup2\0\0"));
        assert!(OTHERS.iter().all(|mount| mount.flags < 256));
    }
}
