//! Disks that are not a whole file system: members of volumes, two of one UUID, a btrfs of several.

use std::path::{Path, PathBuf};

use serde_json::json;
use whit_tests::debian::{cloud_kernels, kernel};
use whit_tests::disks::Disks;
use whit_tests::whole::{Guest, Shell, VIRTIO, machine};
use whit_tools::kernel::debian::Flavour;
use whit_tools::vm::qemu::{CommandLine, DiskInterface};

use crate::root::{UUID, assert_each_is_found, driver, unchanged};

/// The init's words about a member, after its kind.
const MEMBER: &str = "; it needs its distribution's initramfs";
const COPY: &str = "mount: on two devices; remove one or give a path";

/// Returns a machine with disks on virtio, in this order.
fn with_disks(modules: &[&str], disks: &[&Path]) -> CommandLine {
    let command = machine(&kernel(Flavour::Cloud, None), modules, Shell::No);
    disks.iter().fold(command, |command, disk| command.disk(DiskInterface::Virtio, *disk))
}

/// A mirror's member with its superblock at the end has the file system of the volume at its start.
#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn members_of_volumes_are_not_mounted() {
    let disks = Disks::new();
    let ext4 = disks.formatted("ext4", 8, &["mkfs.ext4", "-q", "-L", "mirrored", "-U", UUID]);
    let members: Vec<PathBuf> = ["md-1.0", "md-0.90"]
        .iter()
        .map(|name| disks.golden(name, Some(&ext4)))
        .chain(["md-1.1", "md-1.2", "lvm", "luks1", "luks2", "zfs", "bcache"].map(|name| disks.golden(name, None)))
        .collect();
    let by_uuid = format!("root=UUID={UUID}");
    let expected: Vec<(String, String)> = [
        (by_uuid.as_str(), "md RAID"),
        ("root=LABEL=mirrored", "md RAID"),
        ("root=/dev/vda rootfstype=ext4 ro", "md RAID"),
        ("root=/dev/vdb", "md RAID"),
        ("root=/dev/vdc", "md RAID"),
        ("root=/dev/vdd", "md RAID"),
        ("root=/dev/vde", "LVM"),
        ("root=/dev/vdf", "LUKS"),
        ("root=/dev/vdg", "LUKS"),
        ("root=/dev/vdh", "ZFS"),
        ("root=/dev/vdi", "bcache"),
    ]
    .iter()
    .map(|(options, volume)| {
        let root = options.split(' ').next().unwrap();
        ((*options).to_owned(), format!("{root}: mount: {volume}{MEMBER}"))
    })
    .collect();
    let forms: Vec<(&str, &str)> = expected.iter().map(|(options, line)| (options.as_str(), line.as_str())).collect();
    let members: Vec<&Path> = members.iter().map(PathBuf::as_path).collect();
    assert_each_is_found(with_disks(&VIRTIO, &members), &driver(&disks, "", &forms), &forms);
}

/// The kernel, or an initramfs before, may have assembled the volume: it is on a device of its own.
#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn a_volume_beside_its_members_is_mounted() {
    let disks = Disks::new();
    let ext4 = disks.formatted("ext4", 8, &["mkfs.ext4", "-q", "-U", UUID]);
    let member = disks.golden("md-1.0", Some(&ext4));
    let by_uuid = format!("root=UUID={UUID}");
    let forms = [(by_uuid.as_str(), "root /dev/vdb on /mnt")];
    assert_each_is_found(with_disks(&VIRTIO, &[&member, &ext4]), &driver(&disks, "", &forms), &forms);
}

#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn a_uuid_on_two_devices_is_refused() {
    let disks = Disks::new();
    let ext4 = disks.formatted("ext4", 8, &["mkfs.ext4", "-q", "-L", "twice", "-U", UUID]);
    let btrfs = disks.formatted("btrfs", 128, &["mkfs.btrfs", "-q", "-U", "12345678-0000-0000-0000-000000000001"]);
    let refused = [format!("root=UUID={UUID}"), "root=UUID=12345678-0000-0000-0000-000000000001".to_owned()]
        .map(|root| (root.clone(), format!("{root}: {COPY}")));
    let mut forms: Vec<(&str, &str)> = refused.iter().map(|(root, line)| (root.as_str(), line.as_str())).collect();
    forms.extend([("root=LABEL=twice", "root /dev/vda on /mnt"), ("root=/dev/vdb", "root /dev/vdb on /mnt")]);
    let modules = [&VIRTIO[..], &["btrfs"]].concat();
    let command = with_disks(&modules, &[&ext4, &ext4, &btrfs, &btrfs]);
    let console = assert_each_is_found(command, &driver(&disks, "", &forms), &forms);
    for disk in ["vda", "vdb"] {
        let line = format!("{disk} ext4 {UUID} twice");
        assert!(console.lines().any(|shown| shown.trim_end().ends_with(&line)), "{line}: {console}");
    }
}

/// Two paths to one disk have the same WWN.
#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn two_paths_to_one_disk_are_one_device() {
    let disks = Disks::new();
    let ext4 = disks.formatted("ext4", 8, &["mkfs.ext4", "-q", "-U", UUID]);
    let modules = [&VIRTIO[..], &["virtio_scsi", "sd_mod"]].concat();
    let mut command = unchanged(with_disks(&modules, &[])).option("-device", "virtio-scsi-pci");
    for path in ["first", "second"] {
        command = command
            .option("-drive", format!("if=none,id={path},format=raw,file.locking=off,file={}", ext4.display()))
            .option("-device", format!("scsi-hd,drive={path},wwn=0x5000c50015ea71aa,share-rw=on"));
    }
    // Both disks are there after the delay.
    let mut guest = Guest::start(&command.append(&format!("root=UUID={UUID} rootdelay=2 whit.on_exit=poweroff")));
    guest.line("whit: root /dev/sd");
    let console = guest.end();
    guest.assert(!console.contains("on two devices"), "both are one");
}

/// Makes two disks of one btrfs.
fn mirror(disks: &Disks, names: [&str; 2], uuid: &str) -> [PathBuf; 2] {
    let first = disks.blank(names[0], 128);
    let second = disks.formatted(
        names[1],
        128,
        &["mkfs.btrfs", "-q", "-d", "raid1", "-m", "raid1", "-L", "mirror", "-U", uuid, first.to_str().unwrap()],
    );
    [first, second]
}

#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn a_btrfs_of_two_disks_is_a_root() {
    const LACKING: &str = "12345678-0000-0000-0000-000000000002";
    let disks = Disks::new();
    let [first, second] = mirror(&disks, ["first", "second"], UUID);
    let [present, _] = mirror(&disks, ["present", "absent"], LACKING);
    let by_uuid = format!("root=UUID={UUID}");
    let lacking = format!("root=UUID={LACKING}");
    let refused = format!("{lacking}: mount: lacks a disk; rootflags=degraded does without");
    let degraded = format!("{lacking} rootflags=degraded");
    let forms = [
        ("root=/dev/vdb rootflags=subvol=/", "root /dev/vdb on /mnt"),
        (by_uuid.as_str(), "root /dev/vdb on /mnt"),
        ("root=LABEL=mirror", "root /dev/vda on /mnt"),
        (lacking.as_str(), refused.as_str()),
        (degraded.as_str(), "root /dev/vdc on /mnt"),
    ];
    let driver = driver(&disks, "", &forms);
    let modules = [&VIRTIO[..], &["btrfs"]].concat();
    for kernel in cloud_kernels() {
        let command = [&first, &second, &present]
            .iter()
            .fold(machine(&kernel, &modules, Shell::No), |command, disk| command.disk(DiskInterface::Virtio, disk));
        assert_each_is_found(command, &driver, &forms);
    }
}

#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn the_second_disk_of_a_btrfs_is_waited_for() {
    let disks = Disks::new();
    let [first, late] = mirror(&disks, ["first", "late"], UUID);
    let modules = [&VIRTIO[..], &["btrfs"]].concat();
    let command = with_disks(&modules, &[&first])
        .append("rootwait root=/dev/vda")
        .option("-drive", format!("if=none,id=late,format=raw,file={}", late.display()))
        .snapshot();
    let mut guest = Guest::start(&command);
    guest.line(", lease "); // The init waits for the root at the same time.
    let device = json!({ "driver": "virtio-blk-pci", "drive": "late" });
    guest.machine().execute("device_add", &device).unwrap();
    guest.line("whit: root /dev/vda on /mnt");
    guest.end();
}
