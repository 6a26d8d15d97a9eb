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
pub struct Mount {
    /// MS_*.
    pub flags: u32,
    /// The type, which is also the name of its source.
    pub fstype: Column<9>,
    /// The directory, made when missing.
    pub target: Column<15>,
    /// Options of the file system.
    pub data: Column<28>,
}

const fn line(fstype: &CStr, target: &CStr, flags: u32, data: &CStr) -> Mount {
    Mount { flags, fstype: column(fstype), target: column(target), data: column(data) }
}

/// The first of all: the command line is there.
pub static PROC: Mount = line(c"proc", c"/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, c"");

/// The others. A kernel that lacks one goes without.
pub static MOUNTS: [Mount; 8] = [
    line(c"devtmpfs", c"/dev", MS_NOSUID, c"mode=0755"),
    line(c"sysfs", c"/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, c""),
    line(c"tmpfs", c"/tmp", MS_NOSUID | MS_NODEV, c"mode=1777"),
    // Programs may be run from /run: s6 does.
    line(c"tmpfs", c"/run", MS_NOSUID | MS_NODEV, c"mode=0755"),
    line(c"devpts", c"/dev/pts", MS_NOSUID | MS_NOEXEC, c"gid=5,mode=620,ptmxmode=666"),
    line(c"tmpfs", c"/dev/shm", MS_NOSUID | MS_NODEV, c"mode=1777"),
    line(c"mqueue", c"/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, c""),
    line(c"cgroup2", c"/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, c""),
];

/// A character device that every program expects: for a kernel without devtmpfs.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Its permissions.
    pub mode: u16,
    /// Its numbers (Documentation/admin-guide/devices.txt).
    pub major: u8,
    /// Its numbers.
    pub minor: u8,
    /// Its path.
    pub path: Column<13>,
}

const fn node(path: &CStr, mode: u16, major: u8, minor: u8) -> Node {
    Node { mode, major, minor, path: column(path) }
}

/// The nodes.
pub static NODES: [Node; 7] = [
    node(c"/dev/null", 0o666, 1, 3),
    node(c"/dev/zero", 0o666, 1, 5),
    node(c"/dev/full", 0o666, 1, 7),
    node(c"/dev/random", 0o666, 1, 8),
    node(c"/dev/urandom", 0o666, 1, 9),
    node(c"/dev/tty", 0o666, 5, 0),
    node(c"/dev/console", 0o600, 5, 1),
];

/// A link that shells and images use.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Its path.
    pub path: Column<12>,
    /// Where it leads.
    pub target: Column<16>,
}

const fn link(path: &CStr, target: &CStr) -> Link {
    Link { path: column(path), target: column(target) }
}

/// The links.
pub static LINKS: [Link; 4] = [
    link(c"/dev/fd", c"/proc/self/fd"),
    link(c"/dev/stdin", c"/proc/self/fd/0"),
    link(c"/dev/stdout", c"/proc/self/fd/1"),
    link(c"/dev/stderr", c"/proc/self/fd/2"),
];

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn a_mount_comes_after_the_one_it_stands_in() {
        let text = |mount: &Mount| CStr::from_bytes_until_nul(&mount.target).unwrap().to_bytes().to_vec();
        for (position, mount) in MOUNTS.iter().enumerate() {
            for later in &MOUNTS[position + 1..] {
                assert!(!text(mount).starts_with(&text(later)), "{mount:?}");
            }
        }
    }
}
