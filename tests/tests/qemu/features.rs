//! The init without its optional features, under real kernels.

use whit_tests::debian::cloud_kernels;
use whit_tests::init_of_features;
use whit_tests::whole::{Copy, Guest, VIRTIO, assert_clean, busybox_disk, unpacked};
use whit_tools::compress::Compression;
use whit_tools::initramfs::{self, Packing, Recipe};
use whit_tools::vm::qemu::{Accelerator, CommandLine, DiskInterface, Nic};

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_smallest_init_boots_a_disk() {
    let directory = tempfile::tempdir().unwrap();
    for kernel in cloud_kernels() {
        let initramfs = directory.path().join(&kernel.release);
        let recipe = Recipe {
            init: init_of_features(""),
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
