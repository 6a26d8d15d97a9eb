//! The init without the parts that a smaller one can do without.

use std::fs;
use std::path::Path;
use std::process::Command;

use whit_tests::debian::cloud_kernels;
use whit_tests::namespace::Machine;
use whit_tests::whole::{Copy, Guest, VIRTIO, assert_clean, busybox_disk, busybox_tar};
use whit_tests::{init_of_parts, tool};
use whit_tools::compress::Compression;
use whit_tools::initramfs::{self, Packing, Recipe};
use whit_tools::vm::qemu::{Accelerator, CommandLine, DiskInterface, Nic};
use xtask::workspace;

/// Those that can be left out, by what stands in for them.
fn parts() -> Vec<String> {
    let folder = workspace::root().join("src/pid1/stubs");
    let name = |file: &Path| file.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut parts: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| name(&entry.unwrap().path())).collect();
    parts.sort();
    parts
}

#[test]
#[ignore = "compiles the init as often as it has parts: cargo selftest runs it"]
fn each_part_can_be_left_out_or_be_the_only_one() {
    let parts = parts();
    let check = |features: &str| {
        let output = workspace::cargo()
            .args(["clippy", "--quiet", "--package", "whit", "--no-default-features", "--features", features])
            .args(["--target-dir", workspace::target().join("parts").to_str().unwrap(), "--", "-D", "warnings"])
            .output()
            .unwrap();
        assert!(output.status.success(), "with {features:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    };
    check("");
    check("whole");
    for part in &parts {
        check(part);
        check(&parts.iter().filter(|other| *other != part).map(String::as_str).collect::<Vec<_>>().join(","));
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_initramfs_with_the_smallest_init_is_less_than_20_kib() {
    let directory = tempfile::tempdir().unwrap();
    let initramfs = directory.path().join("initramfs.cpio.gz");
    let mut mkcpio = Command::new(tool("mkcpio"));
    let done = mkcpio.arg("--init").arg(init_of_parts("")).arg("-o").arg(&initramfs).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let bytes = fs::metadata(&initramfs).unwrap().len();
    assert!(bytes < 20 * 1024, "{bytes} bytes");
}

#[test]
#[ignore = "needs root and Debian's archive: cargo selftest runs it"]
fn mkcpio_refuses_what_the_init_has_no_part_for() {
    let kernel = &cloud_kernels()[0];
    let modules = kernel.modules.to_str().unwrap();
    let rootfs = busybox_tar();
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("initramfs.cpio");
    let made = |parts: &str, words: &[&str]| {
        let mut mkcpio = Command::new(tool("mkcpio"));
        let mkcpio = mkcpio.arg("--init").arg(init_of_parts(parts)).arg("-o").arg(&output).args(words);
        let done = mkcpio.output().unwrap();
        assert_eq!(output.exists(), done.status.success());
        let _ = fs::remove_file(&output);
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    for (part, path, words) in [
        ("hardware", "/lib/modules/alias", &["--modules", modules, "--for", "qemu"][..]),
        ("rootfs", "/rootfs.needs", &["--rootfs", rootfs.to_str().unwrap()]),
        ("entropy", "/seed", &["--seed"]),
    ] {
        let init = init_of_parts("");
        let advice = format!("as its part \"{part}\" was left out; build it with --features {part}");
        let said = format!("mkcpio: {}: does not read {path}, {advice}\n", init.display());
        assert_eq!(made("", words), said);
        assert_eq!(made(part, words), "");
    }
}

#[test]
#[ignore = "needs root, QEMU and Debian's archive: cargo selftest runs it"]
fn the_smallest_init_boots_a_disk() {
    let directory = tempfile::tempdir().unwrap();
    for kernel in cloud_kernels() {
        let initramfs = directory.path().join(&kernel.release);
        let recipe = Recipe {
            init: init_of_parts(""),
            modules: Some(kernel.modules.clone()),
            load: VIRTIO.map(str::to_owned).to_vec(),
            ..Recipe::default()
        };
        let (tree, _) = recipe.tree().unwrap_or_else(|error| panic!("{error}"));
        initramfs::write(&tree, &initramfs, &Packing::new(Compression::None)).unwrap();
        let disk = Copy::of(&busybox_disk());
        let words = "root=/dev/vda entrypoint=/bin/sh -- -c \"echo up as $$; exit 7\"";
        let machine = CommandLine::new(&kernel.vmlinuz)
            .initrd(&initramfs)
            .accelerator(Accelerator::Tcg)
            .nic(Nic::None)
            .disk(DiskInterface::Virtio, disk.path())
            .append("console=ttyS0 loglevel=4 panic=-1")
            .append(words);
        let mut guest = Guest::start(&machine);
        for line in ["whit: root /dev/vda on /mnt", "up as ", "whit: exit 7", "whit: power off"] {
            guest.line(line);
        }
        guest.end();
        assert_clean(&disk.path());
    }
}

/// One whose root is in its initramfs, as those of namespaces are.
fn machine() -> Machine {
    Machine::new().program("/init", &init_of_parts("rootfs"))
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_small_init_runs_a_workload_and_its_children() {
    // Nobody brings the loopback up: IFF_UP would make its flags 0x9.
    let script = "
        echo pid $$ of $(cat /proc/1/comm) on $(hostname), PATH=$PATH
        grep -c ' / ' /proc/self/mounts
        echo lo $(cat /sys/class/net/lo/flags)
        (while [ -d /proc/$$ ]; do :; done; echo orphan) &
        exit 0";
    let finished = machine().file("/whit.conf", "hostname small\nworkdir /w\nenv PATH=/bin\n").script(script).run();
    finished.powered_off_saying(&["pid 2 of init on small, PATH=/bin", "1", "lo 0x8", "orphan", "whit: exit 0"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_words_of_an_absent_part_are_said() {
    let words = "ip=dhcp BOOTIF=x whit.net.timeout=1 whit.ntp=dhcp whit.notify=vsock:2:1 whit.shell=ttyS1 whit.timing nameserver=192.0.2.1";
    let machine = machine().command_line(words).file("/rootfs/etc/whit.conf", "dhcp.arp 1\ngrace 1\n");
    let finished = machine.script("echo up; cat /etc/resolv.conf").run();
    let names = ["ip", "BOOTIF", "net.timeout", "ntp", "notify", "shell", "timing"];
    let mut lines = names.map(|name| format!("whit: command line:1: not in this init: {name}")).to_vec();
    lines.extend(
        ["whit: /etc/whit.conf:1: not in this init: dhcp.arp", "up", "nameserver 192.0.2.1"].map(str::to_owned),
    );
    finished.powered_off_saying(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(finished.console.matches("not in this init").count(), names.len() + 1, "{}", finished.console);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn what_cannot_be_given_is_not_left_out_in_silence() {
    for (name, line) in [
        ("overlay", "overlay tmpfs"),
        ("mount", "mount LABEL=data:/data"),
        ("tmpfs", "tmpfs /scratch"),
        ("sysctl", "sysctl net.ipv4.ip_forward=1"),
        ("rlimit", "rlimit nofile=10"),
        ("pid1", "pid1 exec"),
        ("init", "init /script"),
    ] {
        let finished = machine().file("/whit.conf", line).script("echo up").run();
        let said = format!("whit: /whit.conf:1: not in this init: {name}");
        finished.powered_off_saying(&[&said, "whit: exit 125"]);
        assert!(!finished.says("up"), "{}", finished.console);
    }
}
