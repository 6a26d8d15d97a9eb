//! Images whose links lead out of the root, on machines with a kernel and disks of their own: what is mounted, and that an orderly
//! end leaves the file systems clean.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use whit_tests::debian::cloud_kernels;
use whit_tests::disks::Disks;
use whit_tests::whole::{Copy, Guest, Shell, VIRTIO, assert_not_dirty, busybox_disk, busybox_disk_with, machine};
use whit_tools::vm::qemu::{DiskInterface, Nic};

/// Replaces a directory by a link.
fn link(root: &Path, name: &str, target: &str) {
    fs::remove_dir(root.join(name)).unwrap();
    symlink(target, root.join(name)).unwrap();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_image_with_links_for_system_directories_is_left_clean() {
    let kernel = &cloud_kernels()[0];
    for (name, target) in [
        (None, ""),
        (Some("dev"), "/proc"),
        (Some("sys"), "/proc"),
        (Some("sys"), "/dev"),
        (Some("proc"), "/mnt"),
        // /proc/swaps is then a FIFO.
        (Some("proc"), "/etc"),
    ] {
        let title = format!("links-{}{}.img", name.unwrap_or("none"), target.replace('/', "-"));
        let disk = Copy::of(&busybox_disk_with(&title, |root| {
            mknodat(CWD, root.join("etc/swaps"), FileType::Fifo, Mode::RUSR, 0).unwrap();
            if let Some(name) = name {
                link(root, name, target);
            }
        }));
        let command = machine(kernel, &VIRTIO, Shell::No)
            .nic(Nic::None)
            .append("root=/dev/vda whit.net=off")
            .append("entrypoint=/bin/sh -- -c \"echo >/file; exit 5\"")
            .disk(DiskInterface::Virtio, disk.path());
        let mut guest = Guest::start(&command);
        if let Some(name) = name {
            guest.line(&format!("whit: mount /mnt/{name}: ENOTDIR"));
        }
        guest.line(if name.is_none() { "whit: exit 5" } else { "whit: exit 125" });
        guest.line("whit: power off");
        let rest = guest.end();
        assert!(!rest.contains("emergency"), "{title}: {rest}");
        assert_not_dirty(&disk.path());
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_link_on_an_overlays_device_is_no_layer() {
    let kernel = &cloud_kernels()[0];
    for (name, target, lines) in [
        ("other", "/", ["echoed", "whit: exit 0"]),
        ("upper", "/", ["whit: overlay=LABEL=upper: ENOTDIR", "whit: exit 125"]),
        ("work", "/tmp", ["whit: overlay=LABEL=upper: ENOTDIR", "whit: exit 125"]),
    ] {
        let (root, disks) = (Copy::of(&busybox_disk()), Disks::new());
        let tree = disks.tree();
        symlink(target, tree.join(name)).unwrap();
        let upper = Copy::of(&busybox_disk());
        let mut program = Command::new("mke2fs");
        program.args(["-q", "-F", "-t", "ext4", "-L", "upper", "-d"]).arg(&tree).arg(upper.path());
        assert!(program.status().unwrap().success());
        let command = machine(kernel, &[VIRTIO.as_slice(), &["overlay"]].concat(), Shell::No)
            .nic(Nic::None)
            .append("root=/dev/vda whit.net=off whit.overlay=LABEL=upper")
            .append("entrypoint=/bin/sh -- -c \"echo echoed\"")
            .disk(DiskInterface::Virtio, root.path())
            .disk(DiskInterface::Virtio, upper.path());
        let mut guest = Guest::start(&command);
        for line in lines {
            guest.line(line);
        }
        guest.line("whit: power off");
        guest.end();
        assert_not_dirty(&root.path());
        assert_not_dirty(&upper.path());
    }
}
