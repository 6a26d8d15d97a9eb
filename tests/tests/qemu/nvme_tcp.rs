//! A root over NVMe/TCP of the init `fleet`, from the kernel's target in a second machine.

use std::fs;
use std::process::Command;

use whit_tests::commands::run_well;
use whit_tests::debian::cloud_kernels;
use whit_tests::whole::{Copy, Guest, busybox, busybox_disk, free_port, init_messages, unpacked};
use whit_tests::{init_named, tool};
use whit_tools::vm::qemu::{Accelerator, CommandLine, DiskInterface, Nic};
use xtask::init::Init;

/// Exports /dev/vda by the kernel's target.
const TARGET: &str = "#!/bin/sh
mount -t configfs none /sys/kernel/config
cd /sys/kernel/config/nvmet; mkdir subsystems/whit subsystems/whit/namespaces/1
echo 1 > subsystems/whit/attr_allow_any_host
echo -n /dev/vda > subsystems/whit/namespaces/1/device_path; echo 1 > subsystems/whit/namespaces/1/enable
mkdir ports/1; cd ports/1; echo ipv4 > addr_adrfam; echo tcp > addr_trtype; echo 10.9.0.1 > addr_traddr
echo 4420 > addr_trsvcid; ln -s /sys/kernel/config/nvmet/subsystems/whit subsystems/whit; echo exported
read line; sync
";

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_root_is_mounted_over_the_network_and_is_clean_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let kernel = cloud_kernels().remove(0);
    let root = at("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy(busybox(), root.join("bin/busybox")).unwrap();
    for name in ["sh", "mount", "mkdir", "ln", "sync"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::write(root.join("bin/target"), TARGET).unwrap();
    run_well(Command::new("chmod").arg("755").arg(root.join("bin/target")));
    run_well(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(at("target.tar")).arg("."));
    let mkcpio = |name: &str, words: &[&str]| {
        let mut mkcpio = Command::new(tool("mkcpio"));
        mkcpio.arg("-o").arg(at(name)).arg("--init").arg(init_named(Init::Fleet)).arg("--modules").arg(&kernel.modules);
        run_well(mkcpio.args(["--compress", "none", "--unsigned"]).args(words));
        at(name)
    };
    let tar = at("target.tar");
    let exporter = mkcpio("exporter", &["--for", "virtio", "--module", "nvmet-tcp", "--rootfs", tar.to_str().unwrap()]);
    let initramfs = mkcpio("initramfs", &["--for", "virtio,nvme-tcp"]);
    let port = free_port();
    let machine = |initramfs, end: &str, address: &str, options: &str| {
        CommandLine::new(unpacked(&kernel))
            .initrd(initramfs)
            .accelerator(Accelerator::Tcg)
            .nic(Nic::None)
            .option("-netdev", format!("socket,id=wire,{end}=127.0.0.1:{port}"))
            .option("-device", format!("virtio-net-pci,netdev=wire,romfile=,mac=52:54:00:00:00:0{}", &address[7..]))
            .append("console=ttyS0 loglevel=4 panic=-1 cryptomgr.notests no_timer_check whit.on_exit=poweroff")
            .append(&format!("ip={address}:::255.255.255.0::eth0:off"))
            .append(options)
    };
    let disk = Copy::of(&busybox_disk());
    let command = machine(&exporter, "listen", "10.9.0.1", "entrypoint=/bin/target");
    let mut target = Guest::start(&command.disk(DiskInterface::Virtio, disk.path()));
    target.line("exported");
    let options = "root=nvme-tcp:10.9.0.1/whit entrypoint=/bin/sh -- -c \"echo kept > /kept; cat /proc/mounts\"";
    let mut guest = Guest::start(&machine(&initramfs, "connect", "10.9.0.2", options));
    let console = guest.end();
    let lines = init_messages(&console, "");
    let root = lines.iter().find(|line| line.starts_with("root /dev/nvme0n1 on /mnt"));
    guest.assert(root.is_some() && lines.ends_with(&["exit 0", "power off"]), "no root over the network");
    guest.assert_has(&console, &["/dev/nvme0n1 / ext4 rw"]);
    target.machine().send(b"\n").unwrap();
    target.end();
    whit_tests::whole::assert_clean(&disk.path());
}
