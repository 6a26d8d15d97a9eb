//! Missing or broken parts of the guest: one line names the part; then the boot goes on, or the machine ends in order.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use whit_tests::debian::kernel;
use whit_tests::disks::Disks;
use whit_tests::whole::{Copy, Guest, Shell, VIRTIO, alone, busybox_disk, init_messages, machine, timeline};
use whit_tools::kernel::debian::Flavour;
use whit_tools::vm::qemu::{DiskInterface, Nic};

/// Boots without a shell; asserts that the machine logs `line` and the exit code, and ends.
fn refuses(disk: Option<PathBuf>, options: &str, line: &str, code: u8) {
    let kernel = kernel(Flavour::Cloud, None);
    let command = match disk {
        Some(disk) => alone(&kernel, &disk),
        None => machine(&kernel, &VIRTIO, Shell::No).nic(Nic::None).append("whit.net=off"),
    };
    let mut guest = Guest::start(&command.append(options));
    let console = guest.end();
    let lines: Vec<&str> =
        init_messages(&console, "").into_iter().filter(|line| !line.starts_with("root /dev/")).collect();
    let expected = [line, &format!("exit {code}"), "power off"];
    guest.assert(lines == expected, &format!("the init logged {lines:#?}, not {expected:#?}"));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_missing_root_is_named_with_the_timeout() {
    let line = "root=/dev/vdz: no such device within 2 s; are its modules in the initramfs?";
    refuses(None, "root=/dev/vdz rootwait=2", line, 125);
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn without_a_root_option_there_is_an_error() {
    let line = "no root: neither a device as root= nor an image in the initramfs at /rootfs";
    refuses(None, "", line, 125);
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_disk_of_zeros_is_no_root() {
    let zeros = tempfile::NamedTempFile::new().unwrap();
    zeros.as_file().set_len(1 << 20).unwrap();
    let line = "root=/dev/vda: mount: EINVAL; is there a file system on it? is its module loaded?";
    refuses(Some(zeros.path().to_owned()), "", line, 125);
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_damaged_root_is_reported_as_damaged() {
    let copy = Copy::of(&busybox_disk());
    // The state after a power failure between the two sectors of a superblock: s_wtime does not match the checksum.
    let disk = OpenOptions::new().write(true).open(copy.path()).unwrap();
    disk.write_all_at(&[0x55; 4], 1024 + 0x30).unwrap();
    let line = "root=/dev/vda: mount: EBADMSG; the file system is damaged: run fsck";
    refuses(Some(copy.path()), "", line, 125);
}

#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn an_ext4_with_a_journal_to_replay_or_with_quotas_has_its_advice() {
    let disks = Disks::new();
    let dirty = disks.formatted("dirty", 8, &["mkfs.ext4", "-q"]);
    let marked = Command::new("debugfs").args(["-w", "-R", "feature needs_recovery"]).arg(&dirty).output().unwrap();
    assert!(marked.status.success(), "{marked:?}");
    let quota = disks.formatted("quota", 8, &["mkfs.ext4", "-q", "-O", "quota"]);
    for (disk, more, line) in [
        (dirty, ",readonly=on", "root=/dev/vda: mount: EROFS; rootflags=noload skips its journal"),
        (quota, "", "root=/dev/vda: mount: ESRCH; is its module quota_v2 loaded?"),
    ] {
        let command = machine(&kernel(Flavour::Cloud, None), &VIRTIO, Shell::No)
            .nic(Nic::None)
            .append("root=/dev/vda whit.net=off")
            .option("-drive", format!("if=virtio,format=raw,file={}{more}", disk.display()));
        let mut guest = Guest::start(&command);
        let console = guest.end();
        guest.assert_has(&console, &[line, "whit: exit 125"]);
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_entrypoint_that_is_missing_or_no_program_is_named() {
    refuses(Some(busybox_disk()), "entrypoint=/nowhere", "/nowhere: not found (ENOENT)", 127);
    refuses(Some(busybox_disk()), "entrypoint=/etc/hosts", "/etc/hosts: permission denied (EACCES)", 126);
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn without_a_root_the_shell_starts() {
    let command = machine(&kernel(Flavour::Cloud, None), &VIRTIO, Shell::Busybox).append("root=/dev/vdz rootwait=1");
    let mut guest = Guest::start(&command);
    guest.line("whit: root=/dev/vdz: no such device within 1 s");
    guest.line("whit: exit 125");
    let found = guest.run("mount | grep -c ' on /mnt '; ip address");
    guest.assert_has(&found, &["0\n", "inet 10.0.2.15/24"]);
    guest.type_line("poweroff");
    guest.line("whit: power off");
    guest.end();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn without_a_network_card_the_boot_goes_on_at_once() {
    let command = machine(&kernel(Flavour::Cloud, None), &VIRTIO, Shell::No)
        .append("root=/dev/vda whit.timing entrypoint=/bin/sh -- -c \"exit 5\"")
        .disk(DiskInterface::Virtio, busybox_disk())
        .snapshot()
        .nic(Nic::None);
    let mut guest = Guest::start(&command);
    guest.line("whit: exit 5");
    let console = guest.end();
    let lines = init_messages(&console, "network");
    guest.assert(lines == ["network: no Ethernet interface"], &format!("{lines:?}"));
    let stages = timeline(&console);
    // Usually 60 ms; the limit is for a busy host, and below the 10 s of the timeout for a lease.
    guest.assert(stages["entrypoint"] - stages["root"] < 8_000_000, &format!("{stages:?}"));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn without_an_answer_the_boot_goes_on_after_the_timeout() {
    let command = machine(&kernel(Flavour::Cloud, None), &VIRTIO, Shell::No)
        .append(
            "root=/dev/vda whit.timing whit.net.timeout=2 entrypoint=/bin/sh -- -c \"cat /etc/resolv.conf; exit 6\"",
        )
        .disk(DiskInterface::Virtio, busybox_disk())
        .snapshot()
        // A card on a hub without other ports.
        .nic(Nic::None)
        .option("-netdev", "hubport,id=net0,hubid=0")
        .option("-device", "virtio-net-pci,netdev=net0,romfile=");
    let mut guest = Guest::start(&command);
    guest.line("whit: exit 6");
    let console = guest.end();
    let lines = init_messages(&console, "network");
    let expected = "network: no lease within 2 s; the boot continues, with retries";
    guest.assert(lines == [expected], &format!("{lines:?}"));
    guest.assert(!console.contains("nameserver"), "a DNS server without a lease");
    let stages = timeline(&console);
    let waited_us = stages["entrypoint"] - stages["init"];
    guest.assert((2_000_000..8_000_000).contains(&waited_us), &format!("{stages:?}"));
}
