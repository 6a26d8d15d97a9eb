//! Machines that somebody ends from the outside.

use std::time::Duration;

use serde_json::json;
use whit_tests::debian::cloud_kernels;
use whit_tests::whole::{BUTTON, Copy, Guest, Shell, VIRTIO, assert_clean, busybox_disk, machine, nginx_disk};
use whit_tools::qemu::{Board, DiskInterface, Nic};

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_power_button_stops_the_workload_in_order_on_every_board() {
    for kernel in cloud_kernels() {
        for (board, bus) in [(Board::Pc, "virtio_pci"), (Board::Q35, "virtio_pci"), (Board::Microvm, "virtio_mmio")] {
            let disk = Copy::of(&nginx_disk());
            let modules = [[bus, "virtio_blk", "virtio_net", "ext4"].as_slice(), &BUTTON].concat();
            let command = machine(&kernel, &modules, Shell::No)
                .board(board)
                .append(r#"root=/dev/vda whit.stopsignal=QUIT -- -g "daemon off; error_log stderr notice;""#)
                .disk(DiskInterface::Virtio, disk.path());
            let mut guest = Guest::start(&command);
            guest.line("start worker process ");
            guest.machine().power_down().unwrap();
            for line in ["signal 3 (SIGQUIT) received from 1, shutting down", "whit: exit 0", "whit: power off"] {
                guest.line(line);
            }
            guest.end();
            assert_clean(&disk.path());
        }
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_power_button_ends_a_boot_that_waits_and_a_shell() {
    let kernel = &cloud_kernels()[0];
    let modules = [VIRTIO.as_slice(), &BUTTON].concat();
    let mut guest = Guest::start(&machine(kernel, &modules, Shell::No).append("root=/dev/vda rootwait loglevel=7"));
    guest.line("ACPI: button: Power Button");
    // The driver's last words come before it listens: what is pressed in between is lost.
    for press in 0.. {
        guest.machine().power_down().unwrap();
        if guest.machine().wait_for("whit: power off", Duration::from_secs(1)).is_ok() {
            break;
        }
        guest.assert(press < 60, "nobody hears the power button");
    }
    guest.end();

    let disk = Copy::of(&busybox_disk());
    let ended = machine(kernel, &modules, Shell::Busybox).nic(Nic::None).append("root=/dev/vda entrypoint=/bin/true");
    let mut guest = Guest::start(&ended.disk(DiskInterface::Virtio, disk.path()));
    guest.type_line("echo in the shell");
    guest.line("in the shell");
    guest.machine().power_down().unwrap();
    guest.line("whit: power off");
    guest.end();
    assert_clean(&disk.path());
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn ctrl_alt_del_reboots_in_order() {
    let (kernel, disk) = (&cloud_kernels()[0], Copy::of(&busybox_disk()));
    let script = "mkfifo /fifo; trap 'echo asked; exit 4' TERM; echo up; read line <>/fifo";
    let command = machine(kernel, &VIRTIO, Shell::No)
        .nic(Nic::None)
        .append(&format!("root=/dev/vda entrypoint=/bin/sh -- -c \"{script}\""))
        .disk(DiskInterface::Virtio, disk.path());
    let mut guest = Guest::start(&command);
    guest.line("up");
    let keys = ["ctrl", "alt", "delete"].map(|key| json!({ "type": "qcode", "data": key }));
    guest.machine().execute("send-key", &json!({ "keys": keys })).unwrap();
    for line in ["asked", "whit: exit 4", "whit: reboot"] {
        guest.line(line);
    }
    guest.end();
    assert_clean(&disk.path());
}
