//! The interface between the init, the tools and the tests: paths in the initramfs and the root, ports, markers in the init's
//! bytes, log lines, exit codes.
//!
//! Each text is defined here only, except for the expectations of tests. A host test searches the tree for copies.

use core::ffi::CStr;

/// The run record in the initramfs. Its path, with the NUL, is in the bytes of every init: mkcpio identifies whit by it.
pub const RECORD: &CStr = c"/whit.conf";
/// The run record in the root.
pub const IMAGE_RECORD: &CStr = c"/etc/whit.conf";
/// The list of modules in the initramfs: one path a line, dependencies first.
pub const MODULE_LIST: &CStr = c"/lib/modules/load";
/// The index of drivers in the initramfs ([`modalias`](crate::modalias)), and the marker of the feature `hardware`.
pub const DRIVER_INDEX: &CStr = c"/lib/modules/alias";
/// The index for an init with the feature `modules`, and its marker: modules have parameters, and some are loaded while the boot goes on.
pub const FULL_DRIVER_INDEX: &CStr = c"/lib/modules/index";
/// The random seed in the initramfs, for one boot, and the marker of the feature `entropy`.
pub const SEED: &CStr = c"/seed";
/// The prefix of the SMBIOS OEM string with a seed from the host.
pub const SEED_CREDENTIAL: &[u8] = b"io.systemd.credential:whit.seed=";
/// The prefix of the SMBIOS OEM string with the value of `notify=`, as systemd-vmspawn has it.
pub const NOTIFY_CREDENTIAL: &[u8] = b"io.systemd.credential:vmm.notify_socket=";

/// The device mapper, and the marker of the feature `verity`.
pub const DEVICE_MAPPER: &CStr = c"/dev/mapper/control";

/// The interface to hosts of NVMe over networks, and the marker of the feature `nvme-tcp`.
pub const NVME_FABRICS: &CStr = c"/dev/nvme-fabrics";

/// The interface of loop devices, and the marker of the feature `http`.
pub const LOOP_CONTROL: &CStr = c"/dev/loop-control";
/// The device of a root over HTTP: the first loop device.
pub const LOOP_DEVICE: &CStr = c"/dev/loop0";

/// The mount point of the root for PID 1 and the shell of the initramfs.
pub const ROOT: &CStr = c"/mnt";
/// The rootfs: a root inside the initramfs.
pub const ROOTFS: &CStr = c"/rootfs";
/// The first file of the archive, with the text that [`ROOTFS_END`] explains, and the marker of the feature `rootfs`.
pub const ROOTFS_NEEDS: &CStr = c"/rootfs.needs";
/// The last file of the archive: a symbolic link that is long enough to need a page (mm/shmem.c, SHORT_SYMLINK_LEN). It exists
/// only if the kernel had memory for the whole archive. An empty file would exist anyway; so would one with data, as zeros.
pub const ROOTFS_END: &CStr = c"/rootfs.end";
/// The table of the rootfs's extended attributes ([`rootfs`](crate::rootfs)); absent if no file has any.
pub const ROOTFS_ATTRIBUTES: &CStr = c"/rootfs.xattrs";
/// The value of `root=` that selects the rootfs. With any `root=` the kernel's initial root is a ramfs, which may use all memory
/// and has no extended attributes. Without `root=` it is a tmpfs, which may use half of the memory (init/do_mounts.c,
/// init_rootfs()).
pub const ROOTFS_VALUE: &[u8] = b"initramfs";
/// The option with [`ROOTFS_VALUE`] on the kernel command line.
pub const ROOTFS_OPTION: &str = text(&join::<{ b"root=".len() + ROOTFS_VALUE.len() }>(&[b"root=", ROOTFS_VALUE]));

/// The first line of every file that the init writes into the root. Files without it are not overwritten.
pub const MARK: &str = "# written by whit\n";
/// The directory of the init's files while the machine runs.
pub const RUN: &CStr = c"/run/whit";
/// The lease as shell variables, as a path in the root.
pub const LEASE_FILE: &CStr = c"run/whit/net.env";
/// The times of the stages of the boot, as a path in the root.
pub const TIMELINE_FILE: &CStr = c"run/whit/timeline";
/// The lower layer of an overlay.
pub const LOWER: &CStr = c"/run/whit/lower";
/// The mount with the upper layer and the work directory of an overlay.
pub const UPPER: &CStr = c"/run/whit/upper";
/// The directories of an overlay, each with its NUL.
pub const OVERLAY_DIRECTORIES: &[u8] = b"/run/whit/lower\0/run/whit/upper/upper\0/run/whit/upper/work\0";
/// The mount options of an overlay.
pub const OVERLAY_OPTIONS: &CStr =
    c"lowerdir=/run/whit/lower,upperdir=/run/whit/upper/upper,workdir=/run/whit/upper/work";

/// The file of a share that has a single one, while PID 1 binds it to its path: `mount=` with the type `file`.
pub const SHARED_FILE: &CStr = c"/mnt/file";

/// The virtio port on which the host sends the size of its terminal: a `struct winsize` for each change.
pub const WINDOW_PORT: &str = "org.whit.window";
/// The virtio port on which the init sends the exit code of the workload, one line for each exit. Unlike on the console, no other
/// process of the guest can write to it.
pub const EXIT_PORT: &str = "org.whit.exit";
/// The virtio port that carries the workload's standard streams ([`frame`](crate::frame)), and the marker of the feature `streams`.
pub const STREAMS_PORT: &str = "org.whit.streams";

/// The message that a program beside the workload cannot be started, and the marker of the feature `exec`.
pub const NOT_BESIDE: &CStr = c"fork beside the workload";

/// The start of every log line of the init.
pub const PREFIX: &str = "whit: ";
/// The message with the workload's exit code, up to the code.
pub const EXIT: &str = "exit ";
/// The log line of [`EXIT`].
pub const EXIT_LINE: &str = text(&join::<{ PREFIX.len() + EXIT.len() }>(&[PREFIX.as_bytes(), EXIT.as_bytes()]));
/// The message with the times of the stages, up to the first name.
pub const TIMELINE: &str = "timeline ";
/// The log line of [`TIMELINE`].
pub const TIMELINE_LINE: &str =
    text(&join::<{ PREFIX.len() + TIMELINE.len() }>(&[PREFIX.as_bytes(), TIMELINE.as_bytes()]));
/// The message that a workload with `streams=` uses the console after all.
pub const NO_STREAMS: &str = "streams: none, the console is used";
/// The separator between two stages of that line.
pub const STAGE_SEPARATOR: &str = ", ";

/// The exit code of a workload that was not started: a step before the lookup of its program failed (docker's 125).
pub const NOT_STARTED: u8 = 125;
/// The exit code of a program that was found and could not be executed (docker's 126).
pub const NOT_EXECUTABLE: u8 = 126;
/// The exit code of a program that was not found (docker's 127).
pub const NOT_FOUND: u8 = 127;

/// Returns a path without its leading slash, as the name of an archive member or below a directory.
pub const fn relative(path: &CStr) -> &str {
    match path.to_bytes().split_first() {
        Some((b'/', name)) => text(name),
        _ => self::path(path),
    }
}

/// Returns a path as text.
pub const fn path(path: &CStr) -> &str {
    text(path.to_bytes())
}

/// Returns ASCII constants as text.
const fn text(bytes: &[u8]) -> &str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => "",
    }
}

/// Returns the total length of texts, for [`join`].
pub const fn joined_len(texts: &[&[u8]]) -> usize {
    let (mut length, mut place) = (0, 0);
    while place < texts.len() {
        length += texts[place].len();
        place += 1;
    }
    length
}

/// Concatenates texts at compile time. `SIZE` is their [`joined_len`].
pub const fn join<const SIZE: usize>(texts: &[&[u8]]) -> [u8; SIZE] {
    let mut joined = [0; SIZE];
    let (mut length, mut place) = (0, 0);
    while place < texts.len() {
        let end = length + texts[place].len();
        joined.split_at_mut(end).0.split_at_mut(length).1.copy_from_slice(texts[place]);
        (length, place) = (end, place + 1);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_has_no_leading_slash() {
        for path in [RECORD, IMAGE_RECORD, MODULE_LIST, DRIVER_INDEX, SEED, ROOTFS, ROOTFS_NEEDS, ROOTFS_END, RUN] {
            assert_eq!(relative(path).as_bytes(), path.to_bytes().strip_prefix(b"/").unwrap());
        }
        assert_eq!(relative(LEASE_FILE), "run/whit/net.env");
    }

    #[test]
    fn paths_below_a_directory_begin_with_it() {
        let run = RUN.to_bytes();
        assert!([LOWER, UPPER].iter().all(|path| path.to_bytes().starts_with(run)));
        assert!([LEASE_FILE, TIMELINE_FILE].iter().all(|path| path.to_bytes().starts_with(&run[1..])));
        let mut directories = texts_of(OVERLAY_DIRECTORIES);
        assert_eq!(directories.next(), Some(LOWER.to_bytes()));
        assert!(directories.all(|path| path.is_empty() || path.starts_with(UPPER.to_bytes())));
    }

    fn texts_of(packed: &[u8]) -> impl Iterator<Item = &[u8]> {
        packed.split(|byte| *byte == 0)
    }

    #[test]
    fn texts_are_joined_at_run_time_as_at_compile_time() {
        let texts = [PREFIX.as_bytes(), EXIT.as_bytes()];
        assert_eq!(joined_len(&texts), EXIT_LINE.len());
        assert_eq!(join::<{ EXIT_LINE.len() }>(&texts), EXIT_LINE.as_bytes());
        assert_eq!(join::<4>(&[b"ab"]), *b"ab\0\0");
    }
}
