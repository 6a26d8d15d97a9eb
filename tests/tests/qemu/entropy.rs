//! A seed of random bytes for a machine without a source of its own.

use whit_tests::debian::kernel;
use whit_tests::init;
use whit_tests::whole::{Guest, busybox_tar, unpacked};
use whit_tools::compress::Compression;
use whit_tools::initramfs::{self, Packing, Recipe};
use whit_tools::kernel::debian::Flavour;
use whit_tools::runrecord::RunRecord;
use whit_tools::vm::qemu::{Accelerator, CommandLine, Nic};
use xtask::workspace;

/// The kernel's message when its random numbers are ready (drivers/char/random.c).
const READY: &str = "random: crng init done";

/// Boots a machine whose kernel trusts neither the processor's RDRAND nor the boot loader; `ready` is whether its random numbers are
/// ready when the workload starts.
fn boot(seed: bool, credential: Option<&str>, ready: bool) {
    let kernel = kernel(Flavour::Cloud, Some("6.1"));
    let folder = tempfile::tempdir_in(workspace::target()).unwrap();
    let path = folder.path().join("initramfs");
    let cmd = ["/busybox", "true"].map(str::to_owned).to_vec();
    let recipe = Recipe {
        init: init(),
        modules: Some(kernel.modules.clone()),
        load: vec!["dmi-sysfs".to_owned()],
        seed,
        rootfs: Some(busybox_tar()),
        config: Some(RunRecord { cmd, ..RunRecord::default() }),
        ..Recipe::default()
    };
    let (tree, _) = recipe.tree().unwrap_or_else(|error| panic!("{error}"));
    initramfs::write(&tree, &path, &Packing::new(Compression::None)).unwrap();
    let mut command = CommandLine::new(unpacked(&kernel))
        .initrd(path)
        .accelerator(Accelerator::Tcg)
        .nic(Nic::None)
        .append("console=ttyS0 loglevel=7 panic=-1 cryptomgr.notests no_timer_check whit.net=off random.trust_cpu=off random.trust_bootloader=off");
    if let Some(credential) = credential {
        command = command.option("-smbios", format!("type=11,value=io.systemd.credential:whit.seed={credential}"));
    }
    let mut guest = Guest::start(&command);
    let before = guest.line("whit: exit ");
    let console = guest.end();
    let booted = console.split("whit: root /rootfs on /mnt").next().unwrap();
    guest.assert(booted.contains(READY) == ready, &format!("seed {seed}, {credential:?}: {before}"));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_seed_in_the_initramfs_or_from_the_host_is_credited() {
    boot(false, None, false);
    boot(true, None, true);
    boot(false, Some(&"0123456789abcdef".repeat(4)), true);
    // 16 bits are not enough.
    boot(false, Some("0123"), false);
}
