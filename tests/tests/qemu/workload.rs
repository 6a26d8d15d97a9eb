//! Machines without a shell: they run as long as the workload and end with its exit code.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::json;
use whit_tests::debian::{cloud_kernels, kernel};
use whit_tests::whole::{
    Copy, Guest, Shell, VIRTIO, alone, assert_clean, busybox_disk, fetch, free_port, machine, nginx_disk,
    one_program_disk,
};
use whit_tools::kernel::debian::Flavour;
use whit_tools::vm::qemu::{DiskInterface, Nic};

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_image_of_one_program_is_enough() {
    let kernel = kernel(Flavour::Cloud, None);
    let options = r#"entrypoint=/busybox -- sh -c "ls -1d /* /dev/null /proc/self/; echo $0; exit 7" "two words""#;
    let mut guest = Guest::start(&alone(&kernel, &one_program_disk()).append(options));
    guest.line("whit: root /dev/vda on /mnt");
    for found in ["/busybox", "/dev", "/dev/null", "/etc", "/lost+found", "/proc", "/proc/self/", "/sys", "two words"] {
        let line = guest.machine().next_line(whit_tests::whole::DEADLINE).unwrap();
        guest.assert(line.trim_end() == found, &format!("\"{line}\" where \"{found}\" should be"));
    }
    guest.line("whit: exit 7");
    guest.line("whit: power off");
    guest.end();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_server_in_the_foreground_serves_until_ctrl_c() {
    let kernel = kernel(Flavour::Cloud, None);
    let disk = Copy::of(&nginx_disk());
    let port = free_port();
    let command = machine(&kernel, &VIRTIO, Shell::No)
        .append(r#"root=/dev/vda -- -g "daemon off; error_log stderr notice;""#)
        .disk(DiskInterface::Virtio, disk.path())
        .forward(format!("{port}:80").parse().unwrap());
    let mut guest = Guest::start(&command);
    guest.line("start worker process ");
    guest.assert_has(&fetch(port), &["HTTP/1.1 200 OK", "<title>Welcome to nginx!</title>"]);
    guest.machine().send(b"\x03").unwrap();
    guest.line("signal 2 (SIGINT) received, exiting");
    guest.line("whit: exit 0");
    guest.line("whit: power off");
    guest.end();
    assert_clean(&disk.path());
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_read_only_root_gets_its_files_and_is_not_written_to() {
    let kernel = kernel(Flavour::Cloud, None);
    let disk = Copy::of(&busybox_disk());
    let script = "cat /etc/resolv.conf /etc/hosts /etc/hostname; grep ' / ' /proc/mounts; touch /new; exit 3";
    let command = machine(&kernel, &VIRTIO, Shell::No)
        .append(&format!("root=/dev/vda ro whit.hostname=reader entrypoint=/bin/sh -- -c \"{script}\""))
        .disk(DiskInterface::Virtio, disk.path());
    let mut guest = Guest::start(&command);
    guest.line("whit: root /dev/vda, read-only, on /mnt");
    for found in [
        "nameserver 10.0.2.3",
        "10.0.2.15 reader",
        "reader",
        "/dev/vda / ext4 ro,",
        "touch: /new: Read-only file system",
        "whit: exit 3",
        "whit: power off",
    ] {
        guest.line(found);
    }
    guest.end();
    let compared = Command::new("cmp").arg(busybox_disk()).arg(disk.path()).output().unwrap();
    assert!(compared.status.success(), "the disk was written to: {}", String::from_utf8_lossy(&compared.stdout));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_daemon_that_leaves_the_console_late_keeps_the_machine_running() {
    let kernel = kernel(Flavour::Cloud, None);
    // Its parent ends 50 ms before the daemon leaves the console's session, where SIGHUP would reach it.
    let daemon = "(sleep 0.05; exec setsid sh -c 'sleep 1; echo daemon over') & exit 0";
    let options = format!("entrypoint=/bin/sh -- -c \"{daemon}\"");
    let mut guest = Guest::start(&alone(&kernel, &busybox_disk()).append(&options));
    for line in ["whit: the entrypoint ended, its daemons run on", "daemon over", "whit: exit 0", "whit: power off"] {
        guest.line(line);
    }
    guest.end();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_root_that_is_plugged_in_late_is_mounted() {
    let kernel = kernel(Flavour::Cloud, None);
    let disk = Copy::of(&busybox_disk());
    let options = r#"root=/dev/vda rootwait entrypoint=/bin/sh -- -c "echo running; exit 4""#;
    let command = machine(&kernel, &VIRTIO, Shell::No)
        .append(options)
        .option("-drive", format!("if=none,id=late,format=raw,file={}", disk.path().display()));
    let mut guest = Guest::start(&command);
    // The network is configured before the root comes.
    guest.line("whit: eth0 10.0.2.15/24");
    guest
        .machine()
        .execute("device_add", &json!({ "driver": "virtio-blk-pci", "drive": "late", "id": "late" }))
        .unwrap();
    for line in ["whit: root /dev/vda on /mnt", "running", "whit: exit 4", "whit: power off"] {
        guest.line(line);
    }
    guest.end();
    assert_clean(&disk.path());
}

/// The port and its host may appear at any time.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_terminal_gets_each_window_size_of_the_host() {
    let folder = tempfile::tempdir().unwrap(); // The path of a socket is short.
    let socket = folder.path().join("window");
    let script = "trap 'stty size' WINCH; echo up; while :; do read line; done";
    for kernel in cloud_kernels() {
        let command = machine(&kernel, &[VIRTIO.as_slice(), &["virtio_console"]].concat(), Shell::No)
            .append(&format!("root=/dev/vda entrypoint=/bin/sh -- -c \"{script}\""))
            .disk(DiskInterface::Virtio, busybox_disk())
            .snapshot()
            .nic(Nic::None)
            .option("-chardev", format!("socket,id=window,server=on,wait=off,path={}", socket.display()))
            .option("-device", "virtio-serial-pci,id=serial");
        let mut guest = Guest::start(&command);
        guest.line("up");
        let port =
            json!({ "driver": "virtserialport", "bus": "serial.0", "chardev": "window", "name": "org.whit.window" });
        guest.machine().execute("device_add", &port).unwrap();
        for (size, expected) in [([33, 0, 101, 0, 0, 0, 0, 0], "33 101"), ([20, 0, 40, 0, 0, 0, 0, 0], "20 40")] {
            // Each size comes over a new connection, after the last one is closed.
            let mut host = UnixStream::connect(&socket).unwrap();
            host.write_all(&size).unwrap();
            guest.line(expected);
        }
        guest.machine().quit().unwrap();
    }
}
