//! Machines that are ended from the outside, and the state of their disks.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use whit_tests::debian::cloud_kernels;
use whit_tests::disks::Disks;
use whit_tests::whole::{BUTTON, Copy, Guest, Shell, VIRTIO, assert_clean, busybox, busybox_disk, machine, nginx_disk};
use whit_tools::kernel::debian::Kernel;
use whit_tools::vm::qemu::{Board, DiskInterface, Nic};

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
    // The driver logs this before it handles events: a press in between is lost.
    for press in 0.. {
        guest.machine().power_down().unwrap();
        if guest.machine().wait_for("whit: power off", Duration::from_secs(1)).is_ok() {
            break;
        }
        guest.assert(press < 60, "the power button has no effect");
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
fn a_machine_that_cannot_be_switched_off_is_reset() {
    for kernel in cloud_kernels() {
        let disk = Copy::of(&busybox_disk());
        let command = machine(&kernel, &VIRTIO, Shell::No)
            .nic(Nic::None)
            .append("acpi=off root=/dev/vda entrypoint=/bin/true")
            .disk(DiskInterface::Virtio, disk.path());
        let mut guest = Guest::start(&command);
        guest.line("whit: power off");
        // A halted machine would run on. QEMU ends at a reset, as Firecracker does.
        guest.end();
        assert_clean(&disk.path());
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn ctrl_alt_del_reboots_in_order() {
    let (kernel, disk) = (&cloud_kernels()[0], Copy::of(&busybox_disk()));
    let script = "trap 'echo asked; exit 4' TERM; sleep 1000 & echo up; wait";
    let command = machine(kernel, &VIRTIO, Shell::No)
        .nic(Nic::None)
        .append(&format!("root=/dev/vda entrypoint=/bin/sh -- -c \"{script}\""))
        .disk(DiskInterface::Virtio, disk.path());
    let mut guest = Guest::start(&command);
    guest.line("up");
    press_ctrl_alt_del(&mut guest);
    for line in ["asked", "whit: exit 4", "whit: reboot"] {
        guest.line(line);
    }
    guest.end();
    assert_clean(&disk.path());
}

fn press_ctrl_alt_del(guest: &mut Guest) {
    let keys = ["ctrl", "alt", "delete"].map(|key| json!({ "type": "qcode", "data": key }));
    guest.machine().execute("send-key", &json!({ "keys": keys })).unwrap();
}

/// A script that holds all that a workload may hold at the end of the machine: open files of the root, of a disk that it mounted
/// itself, of an overlay and of a disk image; bind mounts, also in another mount namespace; a swap file.
const ENTANGLED: &str = r#"
set -e
mount -t ext4 /dev/vdb /data
sh -c 'trap "" TERM; exec 3>/held 4>/data/held; while :; do echo more >&3; echo more >&4; sleep 0.01; done' &
mount -o bind /data /root-of/bound
unshare -m sh -c 'mount -o bind /data /root-of/nested; exec 3>/root-of/nested/in; exec sleep 1000' &
dd if=/dev/zero of=/swap bs=64k count=32 2>/dev/null; chmod 600 /swap; mkswap /swap >/dev/null; swapon /swap
mount -t overlay overlay -o lowerdir=/bin,upperdir=/root-of/upper,workdir=/root-of/work /root-of/laid
exec 5>/root-of/laid/held
mount -o loop -t ext2 /image /root-of/looped; exec 6>/root-of/looped/held
echo entangled
"#;

/// Makes the disks of the machine, with [`ENTANGLED`] and its programs.
fn entangled(disks: &Disks) -> [PathBuf; 2] {
    let tree = disks.tree();
    fs::create_dir(tree.join("bin")).unwrap();
    fs::copy(busybox(), tree.join("bin/busybox")).unwrap();
    let applets = "sh mount unshare dd chmod mkswap swapon sleep kill grep";
    for applet in applets.split(' ') {
        symlink("busybox", tree.join("bin").join(applet)).unwrap();
    }
    for name in
        ["data", "root-of/bound", "root-of/nested", "root-of/upper", "root-of/work", "root-of/laid", "root-of/looped"]
    {
        fs::create_dir_all(tree.join(name)).unwrap();
    }
    fs::write(tree.join("entangle"), ENTANGLED).unwrap();
    fs::rename(disks.formatted("image", 1, &["mkfs.ext2", "-q"]), tree.join("image")).unwrap();
    let root = disks.packed("root", &["mkfs.ext4", "-q", "-d", "{tree}", "{disk}", "64M"]);
    [root, disks.formatted("data", 32, &["mkfs.ext4", "-q"])]
}

#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn every_way_to_end_leaves_the_disks_clean() {
    let modules = [VIRTIO.as_slice(), &BUTTON, &["overlay", "loop"]].concat();
    let sleep = "exec sleep 1000";
    for kernel in cloud_kernels() {
        for (way, then, word) in [
            ("whit.on_exit=poweroff", "exit 7", "power off"),
            ("whit.on_exit=reboot", "exit 7", "reboot"),
            ("whit.on_exit=halt", "exit 7", "halt"),
            ("systemd's signal", "kill -38 1; exec sleep 1000", "power off"),
            ("the power button", sleep, "power off"),
            ("ctrl-alt-del", sleep, "reboot"),
        ] {
            println!("{}: {way}", kernel.release);
            let disks = Disks::new();
            let [root, data] = entangled(&disks);
            let option = if way.contains('=') { way } else { "" };
            let command = machine(&kernel, &modules, Shell::No)
                .nic(Nic::None)
                .append("root=/dev/vda whit.grace=1 whit.net=off entrypoint=/bin/sh loglevel=5")
                .append(&format!("{option} -- -c \". /entangle; {then}\""))
                .disk(DiskInterface::Virtio, &root)
                .disk(DiskInterface::Virtio, &data);
            let mut guest = Guest::start(&command);
            guest.line("entangled");
            match way {
                "the power button" => guest.machine().power_down().unwrap(),
                "ctrl-alt-del" => press_ctrl_alt_del(&mut guest),
                _ => {}
            }
            guest.line(&format!("whit: {word}"));
            if word == "halt" {
                guest.line("reboot: System halted");
                guest.machine().quit().unwrap();
            }
            let console = guest.end();
            guest.assert(!console.contains("emergency"), "no emergency remount");
            assert_clean(&root);
            assert_clean(&data);
        }
    }
}

/// Starts a machine that runs [`ENTANGLED`], then `then`.
fn entangled_machine(kernel: &Kernel, disks: &Disks, then: &str) -> (Guest, [PathBuf; 2]) {
    let [root, data] = entangled(disks);
    let command = machine(kernel, &[VIRTIO.as_slice(), &["overlay", "loop"]].concat(), Shell::No)
        .nic(Nic::None)
        .append("root=/dev/vda whit.grace=1 whit.net=off entrypoint=/bin/sh")
        .append(&format!("-- -c \". /entangle; {then}\""))
        .disk(DiskInterface::Virtio, &root)
        .disk(DiskInterface::Virtio, &data);
    let mut guest = Guest::start(&command);
    guest.line("entangled");
    (guest, [root, data])
}

#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn the_kernel_remounts_disks_out_of_reach_of_pid_1() {
    // The disk is in no mount namespace any more, but in use for swap.
    let swap = "dd if=/dev/zero of=/data/swap bs=64k count=32; chmod 600 /data/swap; mkswap /data/swap; swapon /data/swap; exit 7";
    for kernel in cloud_kernels() {
        let disks = Disks::new();
        let (mut guest, [root, data]) = entangled_machine(&kernel, &disks, swap);
        guest.line("whit: emergency remount");
        guest.line("whit: power off");
        guest.end();
        assert_clean(&root);
        assert_clean(&data);
    }
}

#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn a_disk_that_hangs_blocks_neither_the_machine_nor_the_other_disk() {
    // The process that hangs holds a file of the root, and cannot be killed.
    let script = "exec 3>/held; echo ready; read line; dd if=/dev/zero of=/data/file bs=64k count=1 conv=fsync &
        until grep -q State:.D /proc/$!/status; do :; done; echo stuck; wait";
    let no_writes =
        json!({ "device": "disk1", "bps": 0, "bps_rd": 0, "bps_wr": 1, "iops": 0, "iops_rd": 0, "iops_wr": 0 });
    let disks: Vec<Disks> = cloud_kernels().iter().map(|_| Disks::new()).collect();
    // All machines run at the same time: for a minute they only wait.
    let mut machines = Vec::new();
    for (kernel, disks) in cloud_kernels().iter().zip(&disks) {
        let (mut guest, [root, _]) = entangled_machine(kernel, disks, script);
        guest.line("ready");
        guest.machine().execute("block_set_io_throttle", &no_writes).unwrap();
        guest.machine().send(b"go\n").unwrap();
        guest.line("stuck");
        press_ctrl_alt_del(&mut guest);
        machines.push((guest, root));
    }
    for (mut guest, root) in machines {
        for line in ["whit: remount read-only: /mnt: EBUSY", "whit: emergency remount", "whit: reboot"] {
            guest.line(line);
        }
        guest.end();
        assert_clean(&root);
    }
}
