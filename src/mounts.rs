//! The early mounts, in their order; the device nodes for a kernel without devtmpfs; and the links in /dev.

use core::ffi::CStr;

use linux_raw_sys::general::{MS_NODEV, MS_NOEXEC, MS_NOSUID};

/// A text padded with NULs to a fixed size, at least one NUL: smaller than a pointer, a length and the text.
pub type Column<const SIZE: usize> = [u8; SIZE];

/// Pads a text.
const fn column<const SIZE: usize>(text: &CStr) -> Column<SIZE> {
    let text = text.to_bytes_with_nul();
    let mut column = [0; SIZE];
    column.split_at_mut(text.len()).0.copy_from_slice(text);
    column
}

/// One mount; the arguments of mount(2).
#[derive(Clone, Copy, Debug)]
struct Mount {
    /// MS_* flags, all of which are below 256 here.
    flags: u32,
    /// The directory, created if it is missing.
    target: &'static CStr,
    /// The file system type, which is also the source.
    fstype: &'static CStr,
    /// The options of the file system.
    data: &'static CStr,
}

const fn mount(fstype: &'static CStr, target: &'static CStr, flags: u32, data: &'static CStr) -> Mount {
    Mount { flags, target, fstype, data }
}

/// The first mount, which has the kernel command line.
const FIRST: [Mount; 1] = [mount(c"proc", c"/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, c"")];

/// The other mounts. Those that the kernel does not support are skipped.
const OTHERS: [Mount; 8] = [
    mount(c"devtmpfs", c"/dev", MS_NOSUID, c"mode=0755"),
    mount(c"sysfs", c"/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, c""),
    mount(c"tmpfs", c"/tmp", MS_NOSUID | MS_NODEV, c"mode=1777"),
    // Without MS_NOEXEC: s6 runs programs from /run.
    mount(c"tmpfs", c"/run", MS_NOSUID | MS_NODEV, c"mode=0755"),
    mount(c"devpts", c"/dev/pts", MS_NOSUID | MS_NOEXEC, c"gid=5,mode=620,ptmxmode=666"),
    mount(c"tmpfs", c"/dev/shm", MS_NOSUID | MS_NODEV, c"mode=1777"),
    mount(c"mqueue", c"/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, c""),
    mount(c"cgroup2", c"/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, c""),
];

/// The mount of /run for an image's own init, whose /run is the working directory.
const INSIDE: [Mount; 1] = [mount(c"tmpfs", c".", MS_NOSUID | MS_NODEV, c"mode=0755")];

/// The mount of /proc, packed as [`MOUNTS`].
pub static PROC: [u8; packed(&FIRST, [0; 0]).1] = packed(&FIRST, [0; _]).0;
/// The other mounts, packed: a byte of flags, then directory, type and options, each with its NUL. This has a third of the size
/// of a table of pointers.
pub static MOUNTS: [u8; packed(&OTHERS, [0; 0]).1] = packed(&OTHERS, [0; _]).0;

/// The mount of /run on the working directory, packed as [`MOUNTS`].
pub static HERE: [u8; packed(&INSIDE, [0; 0]).1] = packed(&INSIDE, [0; _]).0;

/// Packs mounts into `room`, as far as they fit. Returns it with the length that all of them need.
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

/// A character device in /dev, for a kernel without devtmpfs.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// The permissions.
    pub mode: u16,
    /// The major number (Documentation/admin-guide/devices.txt).
    pub major: u8,
    /// The minor number.
    pub minor: u8,
    /// The name in /dev.
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

/// The symbolic links in /dev that shells and images use: name and target, each with its NUL.
pub const LINKS: &[u8] =
    b"fd\0/proc/self/fd\0stdin\0/proc/self/fd/0\0stdout\0/proc/self/fd/1\0stderr\0/proc/self/fd/2\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_comes_after_its_parent() {
        for (position, mount) in OTHERS.iter().enumerate() {
            for later in &OTHERS[position + 1..] {
                assert!(!mount.target.to_bytes().starts_with(later.target.to_bytes()), "{:?}", mount.target);
            }
        }
    }

    #[test]
    fn mounts_are_packed_in_order() {
        assert_eq!(&PROC, b"\x0e/proc\0proc\0\0");
        assert!(MOUNTS.starts_with(b"\x02/dev\0devtmpfs\0mode=0755\0\x0e/sys\0sysfs\0\0"));
        assert!(MOUNTS.ends_with(b"\x0e/sys/fs/cgroup\0cgroup2\0\0"));
        assert!(OTHERS.iter().all(|mount| mount.flags < 256));
    }
}
