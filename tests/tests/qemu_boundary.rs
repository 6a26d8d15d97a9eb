//! What a workload cannot do to PID 1 and to who uses the console after it, and what the README's own commands make.

use std::process::Command;

use whit_tests::debian::cloud_kernels;
use whit_tests::whole::{Copy, Guest, assert_clean, busybox, busybox_disk};
use whit_tests::{init, tool};
use whit_tools::vm::qemu::{Accelerator, Board, CommandLine, DiskInterface, Nic};

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_power_button_works_with_the_readmes_initramfs() {
    for kernel in cloud_kernels() {
        for (profile, board) in [("qemu", Board::Pc), ("virtio", Board::Q35)] {
            let (folder, disk) = (tempfile::tempdir().unwrap(), Copy::of(&busybox_disk()));
            let initramfs = folder.path().join("initramfs.cpio.gz");
            let mut mkcpio = Command::new(tool("mkcpio"));
            mkcpio.arg("-o").arg(&initramfs).arg("--init").arg(init()).arg("--busybox").arg(busybox());
            let made = mkcpio.arg("--modules").arg(&kernel.modules).args(["--for", profile]).status();
            assert!(made.unwrap().success());
            let command = CommandLine::new(&kernel.vmlinuz)
                .initrd(&initramfs)
                .accelerator(Accelerator::Tcg)
                .board(board)
                .nic(Nic::None)
                .append("console=ttyS0 loglevel=4 panic=-1 whit.net=off root=/dev/vda")
                .append("entrypoint=/bin/sh -- -c \"trap 'exit 4' TERM; echo up; while :; do read line; done\"")
                .disk(DiskInterface::Virtio, disk.path());
            let mut guest = Guest::start(&command);
            guest.line("up");
            guest.machine().power_down().unwrap();
            for line in ["whit: exit 4", "whit: power off"] {
                guest.line(line);
            }
            guest.end();
            assert_clean(&disk.path());
        }
    }
}
