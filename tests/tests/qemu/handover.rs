//! The image's own init as PID 1.

use std::fs;

use serde_json::json;
use whit_tests::debian::cloud_kernels;
use whit_tests::images::SYSTEMD;
use whit_tests::init;
use whit_tests::whole::{Copy, DEADLINE, Guest, Shell, VIRTIO, assert_clean, busybox_disk, busybox_disk_with, machine};
use whit_tools::compress::Compression;
use whit_tools::initramfs::tree::Owner;
use whit_tools::initramfs::{self, Addition, Input, Packing, Recipe};
use whit_tools::vm::qemu::{DiskInterface, Nic};

/// The inittab of busybox's init (busybox's examples/inittab); init itself opens the console.
const INITTAB: &str = "::sysinit:/bin/busybox sh /etc/rc\n";

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn busyboxs_init_becomes_pid_1_and_the_initramfs_is_freed() {
    let rc = "exec 2>&1; export PATH=/bin
        busybox echo pid $$ of $(busybox cat /proc/1/comm) in $(busybox ls -d /rc-ran /lib/modules 2>&1)
        busybox grep -E ' (/|/run|/dev|/proc) ' /proc/mounts
        busybox ls /proc/1/fd | busybox wc -l
        busybox awk '/MemAvailable/ { print ($2 > 64 * 1024) ? \"memory is free\" : $0 }' /proc/meminfo
        busybox ip address show eth0 | busybox grep inet; busybox poweroff -f";
    let disk = busybox_disk_with("handover.img", |root| {
        fs::create_dir(root.join("sbin")).unwrap();
        std::os::unix::fs::symlink("../bin/busybox", root.join("sbin/init")).unwrap();
        fs::write(root.join("etc/inittab"), INITTAB).unwrap();
        fs::write(root.join("etc/rc"), rc).unwrap();
        fs::write(root.join("rc-ran"), "").unwrap();
        fs::create_dir(root.join("run")).unwrap();
    });
    for kernel in cloud_kernels() {
        // The initramfs takes 64 of 160 MiB.
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("large"), vec![7; 64 << 20]).unwrap();
        let recipe = Recipe {
            init: init(),
            modules: Some(kernel.modules.clone()),
            load: VIRTIO.map(str::to_owned).to_vec(),
            inputs: vec![Input::Files(Addition {
                source: folder.path().join("large"),
                destination: b"/lib/large".to_vec(),
                owner: Owner::Root,
            })],
            ..Recipe::default()
        };
        let initramfs = folder.path().join("initramfs");
        initramfs::write(&recipe.tree().unwrap().0, &initramfs, &Packing::new(Compression::Gzip(1))).unwrap();
        for (options, network) in [("whit.pid1=exec", false), ("init=/sbin/init whit.net=wait", true)] {
            let command = machine(&kernel, &VIRTIO, Shell::No).initrd(&initramfs).memory_mib(160);
            let command = command.append("root=/dev/vda").append(options).disk(DiskInterface::Virtio, &disk).snapshot();
            let mut guest = Guest::start(&command.nic(Nic::VirtioNet));
            for line in [
                "of init in ls: /lib/modules: No such file or directory /rc-ran",
                "/dev/vda / ext4 rw,",
                "tmpfs /run tmpfs rw,nosuid,nodev",
            ] {
                guest.line(line);
            }
            guest.line("memory is free");
            if network {
                guest.line("inet 10.0.2.15/24 brd 10.0.2.255 scope global eth0");
            }
            let console = guest.end();
            guest.assert(console.contains("inet ") == network, "an address exactly when one is configured");
        }
    }
}

/// The image has docker's /.dockerenv. If systemd took itself for a container's init, it would leave the root mounted and dirty.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn debians_systemd_boots_shows_a_login_prompt_and_ends_in_order() {
    let (kernel, disk) = (&cloud_kernels()[0], Copy::of(&SYSTEMD.disk()));
    let command = machine(kernel, &VIRTIO, Shell::No)
        .memory_mib(512)
        .append("root=/dev/vda whit.pid1=exec")
        .disk(DiskInterface::Virtio, disk.path());
    let mut guest = Guest::start(&command.nic(Nic::None));
    for line in [
        "report: systemd /usr/lib/systemd/systemd",
        "report: root ext4 rw,relatime",
        "report: run tmpfs",
        "report: cgroup cgroup2",
        "report: rootfs left: 0",
        "report: failed: none",
    ] {
        guest.line(line);
    }
    // The prompt waits for udev: it comes before or after these lines.
    if !guest.machine().transcript().contains("debian login: ") {
        guest.machine().wait_for("debian login: ", DEADLINE).unwrap();
    }
    let keys = ["ctrl", "alt", "delete"].map(|key| json!({ "type": "qcode", "data": key }));
    guest.machine().execute("send-key", &json!({ "keys": keys })).unwrap();
    guest.end();
    assert_clean(&disk.path());
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_image_without_an_init_is_reported_and_the_machine_ends() {
    let kernel = &cloud_kernels()[0];
    let disk = busybox_disk_with("no-init.img", |root| fs::remove_file(root.join("bin/sh")).unwrap());
    let command = machine(kernel, &VIRTIO, Shell::No).append("root=/dev/vda whit.pid1=exec").nic(Nic::None);
    let mut guest = Guest::start(&command.disk(DiskInterface::Virtio, &disk).snapshot());
    for line in [
        "whit: /sbin/init: not found (ENOENT)",
        "whit: /bin/sh: not found (ENOENT)",
        "whit: exit 127",
        "whit: power off",
    ] {
        guest.line(line);
    }
    guest.end();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_shell_follows_an_init_that_cannot_be_executed() {
    let kernel = &cloud_kernels()[0];
    let command = machine(kernel, &VIRTIO, Shell::No)
        .append("root=/dev/vda whit.pid1=exec init=/no/such whit.on_exit=shell")
        .nic(Nic::None);
    let mut guest = Guest::start(&command.disk(DiskInterface::Virtio, busybox_disk()).snapshot());
    guest.line("whit: /no/such: not found (ENOENT)");
    guest.line("whit: exit 127");
    guest.type_line("echo in the shell $((6 * 7)) of $0");
    guest.line("in the shell 42 of sh");
    guest.type_line("kill -USR2 1");
    guest.line("whit: power off");
    guest.end();
}
