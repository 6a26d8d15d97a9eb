//! Verified roots of the init `fleet` under real kernels: disks of mkraw's and of veritysetup's, and what does not fit the hash.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use whit_tests::commands::run_well;
use whit_tests::debian::cloud_kernels;
use whit_tests::whole::{Guest, busybox_tar, init_messages, unpacked};
use whit_tests::{init_named, tool};
use whit_tools::kernel::debian::Kernel;
use whit_tools::vm::qemu::{Accelerator, CommandLine, DiskInterface, Nic};
use xtask::init::Init;

/// The text of a file of the disk, and its place in it.
const TEXT: &str = "a file that is verified, block by block";

const UUID: &str = "0c1f6a8e-1111-4222-8333-944455556666";

pub(crate) struct Machine {
    directory: TempDir,
    kernel: Kernel,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), kernel: cloud_kernels().remove(0) }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a disk by mkraw; returns its path and the root hash.
    pub(crate) fn disk(&self, name: &str, more: &[&str]) -> (PathBuf, String) {
        let root = self.at("root");
        if !root.exists() {
            fs::create_dir(&root).unwrap();
            run_well(Command::new("tar").arg("-C").arg(&root).arg("-xf").arg(busybox_tar()));
            fs::write(root.join("text"), TEXT.repeat(1000)).unwrap();
        }
        let path = self.at(name);
        let mut mkraw = Command::new(tool("mkraw"));
        let shown = run_well(mkraw.arg("-o").arg(&path).args(["--verity", "--verify"]).args(more).arg(&root));
        let shown = String::from_utf8(shown).unwrap();
        let hash = shown.lines().find_map(|line| line.strip_prefix("verity: roothash="));
        (path, hash.unwrap_or_else(|| panic!("{shown}")).to_owned())
    }

    /// Makes the initramfs by mkcpio.
    pub(crate) fn initramfs(&self, name: &str, sets: &str, more: &[&str]) -> PathBuf {
        let path = self.at(name);
        if !path.exists() {
            let mut mkcpio = Command::new(tool("mkcpio"));
            mkcpio.arg("-o").arg(&path).arg("--init").arg(init_named(Init::Fleet)).arg("--modules");
            run_well(
                mkcpio.arg(&self.kernel.modules).args(["--for", sets, "--compress", "none", "--unsigned"]).args(more),
            );
        }
        path
    }

    /// Boots a disk; returns the lines of the init, and the whole console.
    fn boot(&self, disk: &Path, initramfs: &Path, options: &str) -> (Vec<String>, String) {
        let command = self.command(initramfs, &format!("whit.net=off {options}"));
        Self::run(&command.disk(DiskInterface::Virtio, disk).snapshot().nic(Nic::None))
    }

    /// Returns the command of a machine without a disk.
    pub(crate) fn command(&self, initramfs: &Path, options: &str) -> CommandLine {
        CommandLine::new(unpacked(&self.kernel))
            .initrd(initramfs)
            .accelerator(Accelerator::Tcg)
            .append("console=ttyS0 loglevel=4 panic=-1 cryptomgr.notests no_timer_check whit.on_exit=poweroff")
            .append(options)
    }

    /// Runs a machine; returns the lines of the init, and the whole console.
    pub(crate) fn run(command: &CommandLine) -> (Vec<String>, String) {
        let mut guest = Guest::start(command);
        let console = guest.end();
        (init_messages(&console, "").into_iter().map(str::to_owned).collect(), console)
    }
}

/// Flips a bit.
fn flip(disk: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(disk).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// The offset of the file's text on the disk.
pub(crate) fn text_at(disk: &Path) -> u64 {
    let bytes = fs::read(disk).unwrap();
    let needle = TEXT.as_bytes();
    bytes.windows(needle.len()).position(|window| window == needle).unwrap() as u64
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_verified_root_boots_read_only_and_a_flipped_bit_is_refused() {
    let machine = Machine::new();
    let initramfs = machine.initramfs("initramfs", "virtio,verity", &["--module", "overlay"]);
    let (disk, hash) = machine.disk("disk.img", &["--uuid", UUID]);
    let script = "cat /proc/mounts; echo >/new || echo refused; cat /text >/dev/null && echo read";
    let options = format!("root=/dev/vda roothash={hash} entrypoint=/bin/sh -- -c \"{script}\"");

    // The search for a name reads other devices after the root.
    for root in [format!("UUID={UUID}"), "/dev/vda".to_owned()] {
        let options = options.replacen("/dev/vda", &root, 1);
        let (lines, console) = machine.boot(&disk, &initramfs, &options);
        assert_eq!(lines, ["root /dev/mapper/root, read-only, on /mnt", "exit 0", "power off"], "{root}: {console}");
        for part in ["/dev/mapper/root / ext4 ro,", "refused", "read"] {
            assert!(console.contains(part), "{part}: {console}");
        }
    }

    // In a file: an error of the program that reads it.
    let at = text_at(&disk);
    flip(&disk, at);
    let (lines, console) = machine.boot(&disk, &initramfs, &options);
    assert_eq!(lines, ["root /dev/mapper/root, read-only, on /mnt", "exit 1", "power off"], "{console}");
    assert!(console.contains("Input/output error") && console.contains("is corrupted"), "{console}");
    flip(&disk, at);

    let refused = "root=/dev/vda: differs from roothash=";
    // In the file system's first block, and in the root of the tree.
    let blocks = {
        let mut bytes = [0; 4];
        fs::File::open(&disk).unwrap().read_exact_at(&mut bytes, 1024 + 4).unwrap();
        u64::from(u32::from_le_bytes(bytes))
    };
    for at in [1024 + 120, (blocks + 1) * 4096] {
        flip(&disk, at);
        let (lines, console) = machine.boot(&disk, &initramfs, &options);
        assert_eq!(lines, [refused, "exit 125", "power off"], "{console}");
        flip(&disk, at);
    }
    // The descriptors of the groups are read when it is mounted.
    flip(&disk, 4096);
    let (lines, console) = machine.boot(&disk, &initramfs, &options);
    let line = lines.first().unwrap();
    let reason = "; a block differs from roothash=, or the file system's module is missing";
    assert!(line.starts_with("root=/dev/vda: mount: ") && line.ends_with(reason), "{console}");
    assert_eq!(lines[1..], ["exit 125", "power off"], "{console}");
    flip(&disk, 4096);
    // Another disk's hash.
    let other = format!("{}{}", if hash.starts_with('0') { '1' } else { '0' }, &hash[1..]);
    let (lines, console) = machine.boot(&disk, &initramfs, &options.replace(&hash, &other));
    assert_eq!(lines, [refused, "exit 125", "power off"], "{console}");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn what_cannot_be_verified_does_not_boot() {
    let machine = Machine::new();
    let initramfs = machine.initramfs("initramfs", "virtio,verity", &[]);
    let (disk, hash) = machine.disk("disk.img", &[]);
    let plain = machine.at("plain.img");
    run_well(Command::new(tool("mkraw")).arg("-o").arg(&plain).arg(machine.at("root")));
    let without = machine.initramfs("without", "virtio", &[]);
    for (disk, initramfs, options, line) in [
        (
            &plain,
            &initramfs,
            format!("root=/dev/vda roothash={hash}"),
            "root=/dev/vda: no hash tree after the file system",
        ),
        (
            &disk,
            &initramfs,
            format!("root=/dev/vda roothash={}", &hash[1..]),
            "root=/dev/vda: roothash= is not 64 hexadecimal digits",
        ),
        (
            &disk,
            &initramfs,
            "root=/dev/vda roothash=".to_owned(),
            "root=/dev/vda: roothash= is not 64 hexadecimal digits",
        ),
        (
            &disk,
            &without,
            format!("root=/dev/vda roothash={hash}"),
            "root=/dev/vda: no dm-verity (mkcpio --for verity), or it refuses the disk",
        ),
        (&disk, &initramfs, format!("roothash={hash}"), "roothash=: needs the init fleet, and a root= on a device"),
    ] {
        let (lines, console) = machine.boot(disk, initramfs, &format!("{options} entrypoint=/bin/sh"));
        assert_eq!(lines, [line, "exit 125", "power off"], "{console}");
    }
}

#[test]
#[ignore = "needs QEMU, Debian's archive, squashfs-tools and cryptsetup-bin: cargo selftest runs it"]
fn a_partition_and_a_squashfs_of_veritysetup_boot_with_an_overlay() {
    let machine = Machine::new();
    let sets = "virtio,verity,squashfs";
    let initramfs = machine.initramfs("initramfs", sets, &["--module", "overlay"]);
    let (partitioned, hash) = machine.disk("gpt.img", &["--gpt", "--label", "verified"]);
    let squashfs = machine.at("squashfs.img");
    run_well(Command::new("mksquashfs").args([&machine.at("root"), &squashfs]).args(["-quiet", "-no-progress"]));
    let length = squashfs.metadata().unwrap().len().next_multiple_of(4096);
    let mut veritysetup = Command::new("/usr/sbin/veritysetup");
    veritysetup.arg("format").args([&squashfs, &squashfs]).arg(format!("--hash-offset={length}"));
    let shown = String::from_utf8(run_well(veritysetup.arg(format!("--data-blocks={}", length / 4096)))).unwrap();
    let theirs = shown.lines().find_map(|line| line.strip_prefix("Root hash:")).unwrap().trim().to_owned();
    for (disk, root, hash) in [(&partitioned, "PARTLABEL=verified", &hash), (&squashfs, "/dev/vda", &theirs)] {
        let script = "echo >/new && cat /text >/dev/null && echo both";
        let options = format!("root={root} roothash={hash} whit.overlay=tmpfs entrypoint=/bin/sh -- -c \"{script}\"");
        let (lines, console) = machine.boot(disk, &initramfs, &options);
        assert_eq!(lines, ["root /dev/mapper/root, read-only, on /mnt", "exit 0", "power off"], "{console}");
        assert!(console.contains("both"), "{console}");
    }
}
