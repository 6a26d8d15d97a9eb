//! Notification of the host about the start of the workload and its exit code.

use std::fs;
use std::time::{Duration, Instant};

use whit_tests::debian::{cloud_kernels, kernel};
use whit_tests::vsock::{Host, MODULES, PORT};
use whit_tests::whole::{Copy, DEADLINE, Guest, Shell, VIRTIO, assert_clean, busybox_disk, machine};
use whit_tools::kernel::debian::{Flavour, Kernel};
use whit_tools::vm::qemu::{Board, CommandLine, DiskInterface, Nic};

/// A workload that ends with 3 the first time, and with 5 the second time.
const THREE_THEN_FIVE: &str = "test -e /second && exit 5; touch /second; exit 3";

/// Returns a machine without a network whose workload is a script, with additional drivers and options.
fn scripted(kernel: &Kernel, modules: &[&str], options: &str, script: &str) -> CommandLine {
    machine(kernel, &[VIRTIO.as_slice(), modules].concat(), Shell::No)
        .nic(Nic::None)
        .append(&format!("root=/dev/vda whit.net=off {options} entrypoint=/bin/sh -- -c \"{script}\""))
}

/// Returns a [`scripted`] machine with a disk that is not changed.
fn on_a_snapshot(kernel: &Kernel, modules: &[&str], options: &str, script: &str) -> CommandLine {
    scripted(kernel, modules, options, script).disk(DiskInterface::Virtio, busybox_disk()).snapshot()
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn each_exit_code_is_a_line_of_the_port_that_the_workload_cannot_write_to() {
    let folder = tempfile::tempdir().unwrap();
    let exit_codes = folder.path().join("exit_codes");
    for kernel in cloud_kernels() {
        for board in [Board::Pc, Board::Microvm] {
            let modules = ["virtio_console", if board == Board::Pc { "virtio_pci" } else { "virtio_mmio" }];
            // PID 1 may find the port only after the start of the workload, which waits for that.
            let held = "until ls -l /proc/1/fd | grep -q vport; do :; done";
            let script = format!("{held}; echo 0 >$(echo /dev/vport*); {THREE_THEN_FIVE}");
            let mut command = on_a_snapshot(&kernel, &modules, "whit.on_exit=restart:1", &script);
            for _ in 0..6 {
                command = command.disk(DiskInterface::Virtio, busybox_disk()); // The port's device is the eighth.
            }
            let mut guest = Guest::start(&command.board(board).port_into("org.whit.exit", &exit_codes));
            for line in ["p1: Device or resource busy", "whit: exit 3", "p1: Device or resource busy", "whit: exit 5"] {
                guest.line(line);
            }
            guest.end();
            assert_eq!(fs::read_to_string(&exit_codes).unwrap(), "3\n5\n");
        }
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_boot_that_fails_has_an_exit_code_too() {
    let folder = tempfile::tempdir().unwrap();
    let exit_codes = folder.path().join("exit_codes");
    for kernel in cloud_kernels() {
        let command = scripted(&kernel, &["virtio_console"], "rootwait=0", "exit 3");
        let mut guest = Guest::start(&command.port_into("org.whit.exit", &exit_codes));
        guest.line("whit: exit 125");
        guest.end();
        assert_eq!(fs::read_to_string(&exit_codes).unwrap(), "125\n");
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn isa_debug_exit_makes_the_code_a_status_of_qemu() {
    for kernel in cloud_kernels() {
        for (board, script, status) in [
            (Board::Pc, "exit 7", 2 * 7 + 1),
            (Board::Q35, "exit 0", 0),
            // QEMU's parent sees eight of nine bits.
            (Board::Q35, "kill -KILL $$", (2 * 137 + 1) % 256),
        ] {
            let disk = Copy::of(&busybox_disk());
            let command = scripted(&kernel, &[], "whit.notify=isa:0xf4", script);
            let command = command.board(board).disk(DiskInterface::Virtio, disk.path());
            let mut guest = Guest::start(&command.option("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"));
            guest.line("whit: power off");
            let ended = guest.machine().wait(DEADLINE).unwrap();
            guest.assert(ended.code() == Some(status), &format!("{ended}, not {status}"));
            assert_clean(&disk.path());
        }
    }
}

/// A reboot does not use the device, and a machine without the device powers off.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn isa_debug_exit_is_used_at_power_off_only() {
    let kernel = kernel(Flavour::Cloud, None);
    let device = "isa-debug-exit,iobase=0x501";
    let command = on_a_snapshot(&kernel, &[], "whit.notify=isa:0x501 whit.on_exit=reboot", "exit 7");
    let mut guest = Guest::start(&command.option("-device", device));
    guest.line("whit: reboot");
    guest.end();
    let command = on_a_snapshot(&kernel, &[], "whit.notify=isa:0x501", "exit 7");
    let mut guest = Guest::start(&command);
    guest.line("whit: power off");
    guest.end();
    let command = on_a_snapshot(&kernel, &[], "whit.notify=isa:0x10000", "exit 7");
    let mut guest = Guest::start(&command);
    guest.line("whit: notify isa:0x10000: EINVAL");
    guest.end();
}

#[test]
#[ignore = "needs QEMU, Debian's archive and crates.io: cargo selftest runs it"]
fn a_host_on_vsock_gets_sd_notify_messages() {
    let spec = format!("vsock-stream:2:{PORT}");
    for kernel in cloud_kernels() {
        let host = Host::new();
        let options = format!("whit.notify={spec} whit.on_exit=restart:1");
        let mut guest = Guest::start(&host.attach(on_a_snapshot(&kernel, &MODULES, &options, THREE_THEN_FIVE)));
        let (_, first) = host.message("READY=1\n");
        let (_, _second) = host.message("READY=1\n");
        // The machine waits for the host to close the last connection only.
        drop(first);
        let (message, last) = host.message("EXIT_STATUS=5\n");
        assert_eq!(message, "X_SYSTEMD_SHUTDOWN=poweroff\nEXIT_STATUS=5\n");
        assert_waits(&mut guest);
        drop(last);
        guest.end();

        // systemd's credential, after another string of SMBIOS.
        let host = Host::new();
        let command = on_a_snapshot(&kernel, &MODULES, "whit.on_exit=reboot", "exit 0");
        let command = host.attach(command).option("-smbios", "type=11,value=hello");
        let credential = format!("type=11,value=io.systemd.credential:vmm.notify_socket={spec}");
        let mut guest = Guest::start(&command.option("-smbios", credential));
        let _ = host.message("READY=1\n");
        let (message, _) = host.message("EXIT_STATUS=0\n");
        assert_eq!(message, "X_SYSTEMD_SHUTDOWN=reboot\nEXIT_STATUS=0\n");
        guest.end();
    }
}

/// Asserts that a machine does not power off before its last message was received. It waits for 2 s: on a host that is too busy to
/// check within 1 s, there is nothing to assert.
fn assert_waits(guest: &mut Guest) {
    let start = Instant::now();
    let ended = guest.machine().wait(Duration::from_millis(500));
    guest.assert(ended.is_err() || start.elapsed() > Duration::from_secs(1), "the machine did not wait");
}

#[test]
#[ignore = "needs QEMU, Debian's archive and crates.io: cargo selftest runs it"]
fn a_host_that_does_not_receive_is_logged_and_delays_nothing() {
    let kernel = kernel(Flavour::Cloud, None);
    let host = Host::new();
    let listening =
        host.attach(on_a_snapshot(&kernel, &MODULES, &format!("whit.notify=vsock-stream:2:{}", PORT + 1), ""));
    let one_kind = Host::new();
    let other_kind = one_kind.attach(on_a_snapshot(&kernel, &MODULES, &format!("whit.notify=vsock:2:{PORT}"), ""));
    for (command, message) in [
        (on_a_snapshot(&kernel, &[], "whit.notify=vsock-stream:2:9", ""), "notify vsock-stream:2:9: EAFNOSUPPORT"),
        (on_a_snapshot(&kernel, &MODULES, "whit.notify=vsock-stream:2:9", ""), "notify vsock-stream:2:9: ENODEV"),
        (on_a_snapshot(&kernel, &MODULES, "whit.notify=vsock-dgram:2:9", ""), "notify vsock-dgram:2:9: ENODEV"),
        (on_a_snapshot(&kernel, &[], "whit.notify=vsock-stream:2", ""), "notify vsock-stream:2: EINVAL"),
        // This device does not answer; the kernel's device refuses with ECONNRESET.
        (listening, "notify vsock-stream:2:1235: ETIMEDOUT"),
        (other_kind, "notify vsock:2:1234: "),
    ] {
        let mut guest = Guest::start(&command);
        // Once for the start of the workload, once for its end.
        for line in [message, "whit: exit 0", "whit: power off", message] {
            guest.line(line);
        }
        guest.end();
    }
}
