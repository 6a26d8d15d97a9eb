//! The early mounts, as a table in the order in which they are made.

use core::ffi::CStr;

use linux_raw_sys::general::{MS_NODEV, MS_NOEXEC, MS_NOSUID};

/// One mount; the arguments of mount(2).
#[derive(Clone, Copy, Debug)]
pub struct Mount {
    /// The type, which is also the name of its source.
    pub fstype: &'static CStr,
    /// The directory, made when missing.
    pub target: &'static CStr,
    /// MS_*.
    pub flags: u32,
    /// Options of the file system.
    pub data: Option<&'static CStr>,
}

/// The first of all: the command line is there.
pub const PROC: Mount =
    Mount { fstype: c"proc", target: c"/proc", flags: MS_NOSUID | MS_NODEV | MS_NOEXEC, data: None };

/// The others. A kernel that lacks one goes without.
pub const MOUNTS: [Mount; 8] = [
    Mount { fstype: c"devtmpfs", target: c"/dev", flags: MS_NOSUID, data: Some(c"mode=0755") },
    Mount { fstype: c"sysfs", target: c"/sys", flags: MS_NOSUID | MS_NODEV | MS_NOEXEC, data: None },
    Mount { fstype: c"tmpfs", target: c"/tmp", flags: MS_NOSUID | MS_NODEV, data: Some(c"mode=1777") },
    // Programs may be run from /run: s6 does.
    Mount { fstype: c"tmpfs", target: c"/run", flags: MS_NOSUID | MS_NODEV, data: Some(c"mode=0755") },
    Mount {
        fstype: c"devpts",
        target: c"/dev/pts",
        flags: MS_NOSUID | MS_NOEXEC,
        data: Some(c"gid=5,mode=620,ptmxmode=666"),
    },
    Mount { fstype: c"tmpfs", target: c"/dev/shm", flags: MS_NOSUID | MS_NODEV, data: Some(c"mode=1777") },
    Mount { fstype: c"mqueue", target: c"/dev/mqueue", flags: MS_NOSUID | MS_NODEV | MS_NOEXEC, data: None },
    Mount { fstype: c"cgroup2", target: c"/sys/fs/cgroup", flags: MS_NOSUID | MS_NODEV | MS_NOEXEC, data: None },
];

/// A character device that every program expects: for a kernel without devtmpfs.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Its path.
    pub path: &'static CStr,
    /// Its permissions.
    pub mode: u32,
    /// Its numbers (Documentation/admin-guide/devices.txt).
    pub major: u32,
    /// Its numbers.
    pub minor: u32,
}

/// The nodes.
pub const NODES: [Node; 7] = [
    Node { path: c"/dev/null", mode: 0o666, major: 1, minor: 3 },
    Node { path: c"/dev/zero", mode: 0o666, major: 1, minor: 5 },
    Node { path: c"/dev/full", mode: 0o666, major: 1, minor: 7 },
    Node { path: c"/dev/random", mode: 0o666, major: 1, minor: 8 },
    Node { path: c"/dev/urandom", mode: 0o666, major: 1, minor: 9 },
    Node { path: c"/dev/tty", mode: 0o666, major: 5, minor: 0 },
    Node { path: c"/dev/console", mode: 0o600, major: 5, minor: 1 },
];

/// Links that shells and images use: link, target.
pub const LINKS: [(&CStr, &CStr); 4] = [
    (c"/dev/fd", c"/proc/self/fd"),
    (c"/dev/stdin", c"/proc/self/fd/0"),
    (c"/dev/stdout", c"/proc/self/fd/1"),
    (c"/dev/stderr", c"/proc/self/fd/2"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_comes_after_the_one_it_stands_in() {
        for (position, mount) in MOUNTS.iter().enumerate() {
            for later in &MOUNTS[position + 1..] {
                assert!(!mount.target.to_bytes().starts_with(later.target.to_bytes()), "{:?}", mount.target);
            }
        }
    }
}
