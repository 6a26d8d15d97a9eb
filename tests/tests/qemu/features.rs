//! The smaller inits under real kernels.

use std::fs;
use std::process::Command;

use whit_tests::debian::{cloud_kernels, store};
use whit_tests::whole::{Copy, Guest, VIRTIO, assert_clean, busybox_disk, fetch, free_port, unpacked};
use whit_tests::{init_named, tool};
use whit_tools::compress::Compression;
use whit_tools::initramfs::{self, Packing, Recipe};
use whit_tools::vm::qemu::{Accelerator, CommandLine, DiskInterface, Nic};
use xtask::images;
use xtask::init::Init;

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_min_init_boots_a_disk() {
    let directory = tempfile::tempdir().unwrap();
    for kernel in cloud_kernels() {
        let initramfs = directory.path().join(&kernel.release);
        let recipe = Recipe {
            init: init_named(Init::Min),
            modules: Some(kernel.modules.clone()),
            load: VIRTIO.map(str::to_owned).to_vec(),
            ..Recipe::default()
        };
        let (tree, _) = recipe.tree().unwrap_or_else(|error| panic!("{error}"));
        initramfs::write(&tree, &initramfs, &Packing::new(Compression::None)).unwrap();
        let disk = Copy::of(&busybox_disk());
        let options = "root=/dev/vda entrypoint=/bin/sh -- -c \"echo up as $$; exit 7\"";
        let machine = CommandLine::new(unpacked(&kernel))
            .initrd(&initramfs)
            .accelerator(Accelerator::Tcg)
            .nic(Nic::None)
            .disk(DiskInterface::Virtio, disk.path())
            .append("console=ttyS0 loglevel=4 panic=-1 cryptomgr.notests no_timer_check")
            .append(options);
        let mut guest = Guest::start(&machine);
        for line in ["whit: root /dev/vda on /mnt", "up as ", "whit: exit 7", "whit: power off"] {
            guest.line(line);
        }
        guest.end();
        assert_clean(&disk.path());
    }
}

/// What seed promises: drivers by hardware, an address, a root in the initramfs, the exit port and the power button.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_seed_init_serves_nginx_without_a_disk() {
    let nginx = images::nginx::tar(&mut store()).unwrap();
    for kernel in cloud_kernels() {
        init_named(Init::Seed);
        let folder = tempfile::tempdir().unwrap();
        let (initramfs, exit_code) = (folder.path().join("initramfs.cpio.gz"), folder.path().join("exit"));
        let mut mkcpio = Command::new(tool("mkcpio"));
        mkcpio.arg("-o").arg(&initramfs).args(["--init", "seed", "--for", "qemu", "--rootfs"]).arg(&nginx);
        assert!(mkcpio.arg("--modules").arg(&kernel.modules).status().unwrap().success());
        let port = free_port();
        let command = CommandLine::new(&kernel.vmlinuz)
            .initrd(&initramfs)
            .accelerator(Accelerator::Tcg)
            .memory_mib(512)
            .forward(format!("{port}:80").parse().unwrap())
            .port_into("org.whit.exit", &exit_code)
            .append("console=ttyS0 loglevel=4 panic=-1")
            .append("entrypoint=/usr/sbin/nginx -- -g \"daemon off; error_log stderr notice;\"");
        let mut guest = Guest::start(&command);
        guest.line("whit: root /rootfs on /mnt");
        guest.line("start worker process ");
        guest.assert_has(&fetch(port), &["HTTP/1.1 200 OK", "<title>Welcome to nginx!</title>"]);
        guest.machine().power_down().unwrap();
        for line in ["whit: exit 0", "whit: power off"] {
            guest.line(line);
        }
        guest.end();
        assert_eq!(fs::read_to_string(&exit_code).unwrap(), "0\n");
    }
}
