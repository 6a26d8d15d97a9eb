//! Each form of `root=`, on machines with disks made by the usual tools.
//!
//! A kernel is booted once for all forms: for each, the init is started again as PID 1 of a namespace inside the machine. A disk
//! that comes late, one that does not come, and shares of the host have machines of their own.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::json;
use whit_tests::debian::{cloud_kernels, kernel};
use whit_tests::disks::Disks;
use whit_tests::init;
use whit_tests::whole::{Guest, Shell, VIRTIO, busybox, init_messages, machine};
use whit_tools::kernel::debian::Flavour;
use whit_tools::vm::qemu::{CommandLine, DiskInterface, Nic};

/// The UUID of a file system.
pub(crate) const UUID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
const OTHER_UUID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8fa";

const GPT: &str = "label: gpt
start=2048, size=2048, uuid=11111111-2222-3333-4444-555555555555, name=\"first part\"
start=4096, uuid=66666666-7777-8888-9999-AAAAAAAAAAAA, name=root/part
";
/// The first sector of the second partition.
const SECOND: u64 = 4096;

const MSDOS: &str = "label: dos
label-id: 0x1a2b3c4d
start=2048, size=2048, type=83
start=4096, type=83
";

/// The options of a command line, and the init's message about the root.
pub(crate) type Form<'a> = (&'a str, &'a str);

/// Makes a disk whose `/try` starts the init for each form, as PID 1 of a namespace, with a command line of its own and without the
/// shell in /bin. `first` is a command that runs before.
pub(crate) fn driver(disks: &Disks, first: &str, forms: &[Form<'_>]) -> PathBuf {
    const TRY: &str = "
while read -r form; do
    echo \"--- $form\"
    echo \"$form rootwait=1 whit.net=off\" > /line
    unshare -pfm sh -c '
        mount -t proc proc /proc
        mount -o bind /line /proc/cmdline
        mount -t tmpfs none /bin
        exec /init'
done < /forms
";
    let tree = disks.tree();
    fs::create_dir(tree.join("bin")).unwrap();
    fs::copy(busybox(), tree.join("bin/busybox")).unwrap();
    for applet in ["sh", "unshare", "mount", "rm"] {
        symlink("busybox", tree.join("bin").join(applet)).unwrap();
    }
    fs::copy(init(), tree.join("init")).unwrap();
    fs::write(tree.join("try"), format!("{first}{TRY}")).unwrap();
    let lines: String = forms.iter().map(|(options, _)| format!("{options}\n")).collect();
    fs::write(tree.join("forms"), lines).unwrap();
    disks.packed("driver", &["mkfs.ext4", "-q", "-U", OTHER_UUID, "-d", "{tree}", "{disk}", "16M"])
}

/// Boots a machine into its [`driver`]; panics with all forms that gave another message; returns the console.
pub(crate) fn assert_each_is_found(command: CommandLine, driver: &Path, forms: &[Form<'_>]) -> String {
    let command = with_serial(command, "virtio-blk-pci", "driver", driver);
    let mut guest = Guest::start(&unchanged(command).append("root=SERIAL=driver entrypoint=/bin/sh -- /try"));
    let console = guest.end();
    let tried: Vec<&str> = console.split("--- ").skip(1).collect();
    guest.assert(tried.len() == forms.len(), "not every form was tried");
    let mut failures = Vec::new();
    for ((options, expected), shown) in forms.iter().zip(tried) {
        if init_messages(shown, "root").first() != Some(expected) {
            failures.push(format!("{options}: {}", init_messages(shown, "").join(", ")));
        }
    }
    guest.assert(failures.is_empty(), &failures.join("\n"));
    console
}

#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn every_form_finds_its_device() {
    let disks = Disks::new();
    let ext4 = disks.formatted("ext4", 8, &["mkfs.ext4", "-q", "-L", "two words", "-U", UUID]);
    let gpt = disks.partitioned("gpt", 12, GPT, &ext4, SECOND);
    let other = disks.formatted("other", 8, &["mkfs.ext4", "-q"]);
    let msdos = disks.partitioned("msdos", 12, MSDOS, &other, SECOND);
    let xfs = disks.formatted("xfs", 300, &["mkfs.xfs", "-q", "-L", "on xfs"]);
    let btrfs = disks.formatted("btrfs", 128, &["mkfs.btrfs", "-q", "-L", "on btrfs"]);
    let erofs = disks
        .packed("erofs", &["mkfs.erofs", "--quiet", "-U", "12345678-0000-0000-0000-000000000001", "{disk}", "{tree}"]);
    let squashfs = disks.packed("squashfs", &["mksquashfs", "{tree}", "{disk}", "-quiet", "-no-progress"]);
    let vfat = disks.formatted("vfat", 64, &["mkfs.vfat", "-F", "32", "-s", "1", "-i", "1a2b3c4d", "-n", "ON VFAT"]);
    let ext2 = disks.formatted("ext2", 1, &["mkfs.ext2", "-q", "-L", "on-ext2"]);
    let ext3 = disks.formatted("ext3", 8, &["mkfs.ext3", "-q", "-L", "on-ext3"]);
    let (on_vda2, on_vdb2) = ("root /dev/vda2 on /mnt", "root /dev/vdb2 on /mnt");
    let forms = [
        ("root=/dev/vda2", on_vda2),
        ("root=/dev/vda2 ro", "root /dev/vda2, read-only, on /mnt"),
        ("root=/dev/vda2 rootflags=defaults", on_vda2),
        ("root=/dev/vda2 rootfstype=xfs,ext4 rootflags=data=journal", on_vda2),
        ("root=254:2", on_vda2),
        ("root=fe12", on_vdb2),
        ("\"root=LABEL=two words\"", on_vda2),
        ("root=LABEL=\"two words\"", on_vda2),
        (r"root=LABEL=two\x20words", on_vda2),
        ("root=UUID=0A1B2C3D-4E5F-6071-8293-A4B5C6D7E8F9", on_vda2),
        ("root=PARTUUID=66666666-7777-8888-9999-AAAAAAAAAAAA", on_vda2),
        ("root=PARTUUID=11111111-2222-3333-4444-555555555555/PARTNROFF=1", on_vda2),
        ("root=PARTLABEL=root/part", on_vda2),
        ("root=PARTUUID=1a2b3c4d-02", on_vdb2),
        ("root=PARTUUID=1A2B3C4D-01/PARTNROFF=1", on_vdb2),
        ("\"root=LABEL=on xfs\"", "root /dev/vdc on /mnt"),
        ("\"root=LABEL=on btrfs\"", "root /dev/vdd on /mnt"),
        ("root=UUID=12345678-0000-0000-0000-000000000001", "root /dev/vde on /mnt"),
        ("root=/dev/vdf", "root /dev/vdf on /mnt"),
        ("root=UUID=1A2B-3C4D", "root /dev/vdg on /mnt"),
        ("\"root=LABEL=ON VFAT\"", "root /dev/vdg on /mnt"),
        ("root=LABEL=on-ext2", "root /dev/vdh on /mnt"),
        ("root=LABEL=on-ext3", "root /dev/vdi on /mnt"),
        ("root=SERIAL=virtio-1", "root /dev/vdj on /mnt"),
        ("root=SERIAL=nvme-1", "root /dev/nvme0n1 on /mnt"),
        ("root=LABEL=two", "root=LABEL=two: no such device within 1 s; are its modules in the initramfs?"),
        ("root=8:1", "root=8:1: no such device within 1 s; are its modules in the initramfs?"),
    ];
    let modules = [
        "virtio_pci",
        "virtio_blk",
        "nvme",
        "ext4",
        "xfs",
        "btrfs",
        "erofs",
        "squashfs",
        "vfat",
        "nls_cp437",
        "nls_ascii",
    ];
    let driver = driver(&disks, "", &forms);
    for kernel in cloud_kernels() {
        let mut command = machine(&kernel, &modules, Shell::No);
        for disk in [&gpt, &msdos, &xfs, &btrfs, &erofs, &squashfs, &vfat, &ext2, &ext3] {
            command = command.disk(DiskInterface::Virtio, disk);
        }
        let command = with_serial(command, "virtio-blk-pci", "virtio-1", &other);
        assert_each_is_found(with_serial(command, "nvme", "nvme-1", &other), &driver, &forms);
    }
}

/// Adds options for no network and unchanged disks.
pub(crate) fn unchanged(command: CommandLine) -> CommandLine {
    command.nic(Nic::None).append("whit.net=off").snapshot()
}

pub(crate) fn with_serial(command: CommandLine, device: &str, serial: &str, disk: &Path) -> CommandLine {
    let drive = format!("if=none,id={serial},format=raw,file={}", disk.display());
    command.option("-drive", drive).option("-device", format!("{device},drive={serial},serial={serial}"))
}

/// With Debian's generic kernel: the cloud kernel has neither f2fs nor 9p.
#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn f2fs_and_9p_are_roots() {
    let disks = Disks::new();
    let f2fs = disks.formatted("f2fs", 64, &["mkfs.f2fs", "-q", "-l", "on f2fs"]);
    let modules = ["virtio_pci", "virtio_blk", "ext4", "f2fs", "9p", "9pnet_virtio"];
    let share = format!("local,id=share,security_model=none,path={}", disks.tree().display());
    let command = machine(&kernel(Flavour::Generic, None), &modules, Shell::No)
        .disk(DiskInterface::Virtio, f2fs)
        .option("-fsdev", share)
        .option("-device", "virtio-9p-pci,fsdev=share,mount_tag=the_root");
    let on_9p = "root the_root on /mnt";
    let forms = [
        ("\"root=LABEL=on f2fs\"", "root /dev/vda on /mnt"),
        ("root=9p:the_root", on_9p),
        ("root=the_root rootfstype=9p ro", "root the_root, read-only, on /mnt"),
        ("root=9p:the_root rootflags=cache=loose", on_9p),
        ("root=9p:another", "root=9p:another: no such device within 1 s; are its modules in the initramfs?"),
    ];
    assert_each_is_found(command, &driver(&disks, "", &forms), &forms);
}

/// QEMU's own virtiofsd, up to Debian 12. Its successor has other options.
const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";

/// A virtiofsd, which serves one machine.
struct Share(Child);

impl Share {
    /// Shares a folder through a socket. The socket listens from here on: the machine may connect at once.
    fn of(folder: &Path, socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        fcntl_setfd(&listener, FdFlags::empty()).unwrap(); // The daemon inherits it.
        let mut daemon = Command::new(VIRTIOFSD);
        daemon.arg(format!("--fd={}", listener.as_raw_fd()));
        daemon.arg("-o").arg(format!("source={},sandbox=chroot", folder.display())).stderr(Stdio::null());
        Self(daemon.spawn().unwrap())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_virtiofs_share_is_a_root() {
    if !Path::new(VIRTIOFSD).exists() {
        println!("skipped: there is no {VIRTIOFSD}");
        return;
    }
    for kernel in cloud_kernels() {
        let disks = Disks::new();
        fs::copy(busybox(), disks.tree().join("busybox")).unwrap();
        let folder = tempfile::tempdir().unwrap(); // The path of a socket is short.
        let socket = folder.path().join("socket");
        let _share = Share::of(&disks.tree(), &socket);
        let command = unchanged(machine(&kernel, &["virtio_pci", "virtiofs"], Shell::No))
            .append("root=virtiofs:the_root entrypoint=/busybox -- sh -c \"/busybox mount; exit 7\"")
            .option("-object", "memory-backend-memfd,id=memory,size=256M,share=on")
            .option("-numa", "node,memdev=memory")
            .option("-chardev", format!("socket,id=share,path={}", socket.display()))
            .option("-device", "vhost-user-fs-pci,chardev=share,tag=the_root");
        let mut guest = Guest::start(&command);
        guest.line("the_root on / type virtiofs (rw,");
        let console = guest.end();
        let lines = init_messages(&console, "");
        guest.assert(lines == ["root the_root on /mnt", "exit 7", "power off"], &format!("the init logged {lines:#?}"));
    }
}

/// Only a uevent leads to the disk: the init has searched before, and searches again only after an event.
#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn a_disk_that_comes_late_is_found() {
    let disks = Disks::new();
    fs::copy(busybox(), disks.tree().join("busybox")).unwrap();
    let ext4 = disks.packed("ext4", &["mkfs.ext4", "-q", "-U", UUID, "-d", "{tree}", "{disk}", "8M"]);
    let gpt = disks.partitioned("gpt", 12, GPT, &ext4, SECOND);
    for kernel in cloud_kernels() {
        let command = machine(&kernel, &VIRTIO, Shell::No)
            .append(&format!("rootwait root=UUID={UUID} entrypoint=/busybox -- sh -c \"exit 7\""))
            .option("-drive", format!("if=none,id=late,format=raw,file={}", gpt.display()))
            .snapshot();
        let mut guest = Guest::start(&command);
        guest.line(", lease "); // The init waits for the root at the same time.
        let device = json!({ "driver": "virtio-blk-pci", "drive": "late" });
        guest.machine().execute("device_add", &device).unwrap();
        guest.line("whit: root /dev/vda2 on /mnt");
        guest.line("whit: exit 7");
        guest.end();
    }
}

#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn after_the_timeout_the_existing_devices_are_listed() {
    let disks = Disks::new();
    let ext4 = disks.formatted("ext4", 8, &["mkfs.ext4", "-q", "-L", "two words", "-U", UUID]);
    let gpt = disks.partitioned("gpt", 12, GPT, &ext4, SECOND);
    let btrfs = disks.formatted("btrfs", 128, &["mkfs.btrfs", "-q", "-L", "on btrfs", "-U", OTHER_UUID]);
    let command = unchanged(machine(&kernel(Flavour::Cloud, None), &VIRTIO, Shell::No))
        .append("root=LABEL=nowhere rootwait=1")
        .disk(DiskInterface::Virtio, gpt)
        .disk(DiskInterface::Virtio, btrfs);
    let mut guest = Guest::start(&command);
    let console = guest.end();
    let lines = init_messages(&console, "");
    let expected = [
        "root=LABEL=nowhere: no such device within 1 s; are its modules in the initramfs?",
        "major minor  #blocks  name",
        " 254        0      12288 vda",
        " 254        1       1024 vda1",
        " 254        2       9216 vda2 ext4 0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9 two words",
        " 254       16     131072 vdb btrfs 0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8fa on btrfs",
        "exit 125",
        "power off",
    ];
    guest.assert(lines == expected, &format!("the init logged {lines:#?}"));
}

#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn a_device_that_cannot_be_opened_is_listed_without_the_type_of_the_previous_one() {
    let disks = Disks::new();
    let ext4 = disks.formatted("ext4", 8, &["mkfs.ext4", "-q", "-L", "on-ext4", "-U", UUID]);
    let gone = disks.formatted("gone", 64, &["mkfs.vfat", "-F", "32", "-s", "1", "-n", "GONE"]);
    let nowhere = "root=LABEL=GONE: no such device within 1 s; are its modules in the initramfs?";
    let forms = [("root=LABEL=GONE", nowhere)];
    let command = machine(&kernel(Flavour::Cloud, None), &VIRTIO, Shell::No)
        .disk(DiskInterface::Virtio, ext4)
        .disk(DiskInterface::Virtio, gone);
    let console = assert_each_is_found(command, &driver(&disks, "rm /dev/vdb", &forms), &forms);
    let lines = init_messages(&console, " 254 ");
    let expected = [
        " 254        0       8192 vda ext4 0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9 on-ext4",
        " 254       16      65536 vdb",
        " 254       32      16384 vdc ext4 0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8fa",
    ];
    assert_eq!(lines, expected, "{console}");
}
