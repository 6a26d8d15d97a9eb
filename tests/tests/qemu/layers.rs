//! Overlays over a root, further disks, and a root that grows.

use std::fs::OpenOptions;
use std::process::Command;

use whit_tests::debian::cloud_kernels;
use whit_tests::whole::{Copy, Guest, Shell, VIRTIO, assert_clean, busybox_disk, machine};
use whit_tools::kernel::debian::Kernel;
use whit_tools::vm::qemu::{CommandLine, DiskInterface, Nic};

/// Returns a machine with the module for overlays, and no network.
fn layered(kernel: &Kernel) -> CommandLine {
    let modules = [VIRTIO.as_slice(), &["overlay"]].concat();
    machine(kernel, &modules, Shell::No).nic(Nic::None).append("root=/dev/vda whit.net=off")
}

fn script(script: &str) -> String {
    format!("entrypoint=/bin/sh -- -c \"{script}\"")
}

/// Boots, and asserts that these lines come in this order, and then the power-off.
fn boot(command: &CommandLine, lines: &[&str]) {
    let mut guest = Guest::start(command);
    for line in lines {
        guest.line(line);
    }
    guest.line("whit: power off");
    guest.end();
}

/// Makes a disk with an empty file system and a label.
fn labelled(label: &str) -> Copy {
    let disk = Copy::of(&busybox_disk());
    let made = Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-L", label]).arg(disk.path()).status();
    assert!(made.unwrap().success());
    disk
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_overlay_in_memory_takes_the_writes_to_an_unchanged_root() {
    for kernel in cloud_kernels() {
        let disk = Copy::of(&busybox_disk());
        let options = script(
            "echo hello >/etc/new; cat /etc/new; grep -cE '^overlay / overlay rw' /proc/mounts; df -m / | grep -o ' 8 '",
        );
        let command = layered(&kernel).append("whit.overlay=tmpfs:size=8m").append(&options);
        boot(
            &command.disk(DiskInterface::Virtio, disk.path()),
            &["read-only, on /mnt", "hello", "1", " 8 ", "whit: exit 0"],
        );
        assert!(Command::new("cmp").arg(busybox_disk()).arg(disk.path()).status().unwrap().success());
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_overlay_on_a_device_keeps_writes() {
    let kernel = &cloud_kernels()[0];
    let (root, upper) = (Copy::of(&busybox_disk()), labelled("upper"));
    for expected in ["first", "second"] {
        let options = script("if test -e /etc/new; then echo second; else echo first; fi; echo >/etc/new");
        let command = layered(kernel).append("whit.overlay=LABEL=upper").append(&options);
        let command = command.disk(DiskInterface::Virtio, root.path()).disk(DiskInterface::Virtio, upper.path());
        boot(&command, &[expected, "whit: exit 0"]);
        assert_clean(&upper.path());
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn further_disks_are_mounted_by_any_name_and_left_clean() {
    let kernel = &cloud_kernels()[0];
    let (root, data) = (Copy::of(&busybox_disk()), labelled("data"));
    // /proc/mounts shows a space as an escape sequence.
    let options = script("echo kept >'/srv/a b/file'; grep ' /srv/a.040b ' /proc/mounts");
    let command =
        layered(kernel).disk(DiskInterface::Virtio, root.path()).append("\"whit.mount=LABEL=data:/srv/a b::noatime\"");
    // The init does not wait for a disk with nofail.
    let command =
        command.append("whit.mount=/dev/vdz:/no::nofail").append(&options).disk(DiskInterface::Virtio, data.path());
    boot(&command, &["whit: mount=/dev/vdz:/no::nofail: ENOENT", "/srv/a\\040b ext4 rw,noatime", "whit: exit 0"]);
    assert_clean(&root.path());
    assert_clean(&data.path());
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_root_grows_to_the_size_of_its_disk() {
    for kernel in cloud_kernels() {
        let disk = Copy::of(&busybox_disk());
        OpenOptions::new().write(true).open(disk.path()).unwrap().set_len(3 << 30).unwrap();
        let options = script(
            "df -m / | grep -qE ' (29|30)[0-9][0-9] ' && echo grown; dd if=/dev/zero of=/large bs=1M count=300 2>/dev/null; ls -l /large",
        );
        let command =
            machine(&kernel, &VIRTIO, Shell::No).nic(Nic::None).append("root=/dev/vda whit.net=off whit.grow");
        let command = command.append(&options).disk(DiskInterface::Virtio, disk.path());
        boot(&command, &["grown", "314572800", "whit: exit 0"]);
        assert_clean(&disk.path());
    }
}
