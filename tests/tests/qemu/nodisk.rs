//! Machines without a disk: the image is in the initramfs, the kernel unpacks it, and the init makes it the root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use whit_tests::archive;
use whit_tests::deadline::output;
use whit_tests::debian::{cloud_kernels, kernel, store};
use whit_tests::whole::{Guest, busybox, busybox_tar, fetch, free_port, init_messages, unpacked};
use whit_tests::{init, tool};
use whit_tools::archive::newc::{Meta, Writer};
use whit_tools::compress::Compression;
use whit_tools::initramfs::{self, Input, Memory, Packing, Recipe};
use whit_tools::kernel::config::Config;
use whit_tools::kernel::debian::{Flavour, Kernel};
use whit_tools::runrecord::RunRecord;
use whit_tools::vm::qemu::{Accelerator, CommandLine, Nic};
use xtask::images;
use xtask::workspace;

fn folder() -> TempDir {
    tempfile::tempdir_in(workspace::target()).unwrap()
}

/// Returns a machine that runs `command` from an image in its initramfs, with the memory that mkcpio reports for it.
fn machine(
    folder: &TempDir,
    kernel: &Kernel,
    tar: &Path,
    command: &[&str],
    compression: Compression,
) -> (CommandLine, Memory) {
    let path = folder.path().join("initramfs");
    let cmd = command.iter().map(|word| (*word).to_owned()).collect();
    let recipe = Recipe {
        init: init(),
        modules: Some(kernel.modules.clone()),
        load: ["virtio_pci", "virtio_net"].map(str::to_owned).to_vec(),
        rootfs: Some(tar.to_owned()),
        config: Some(RunRecord { cmd, ..RunRecord::default() }),
        ..Recipe::default()
    };
    let (tree, _) = recipe.tree().unwrap_or_else(|error| panic!("{error}"));
    let memory =
        initramfs::write(&tree, &path, &Packing::new(compression)).unwrap_or_else(|error| panic!("{error}")).memory;
    let command = CommandLine::new(&kernel.vmlinuz)
        .initrd(path)
        .accelerator(Accelerator::Tcg)
        .memory_mib(u32::try_from(memory.tmpfs_mib).unwrap())
        .append("console=ttyS0 loglevel=4 panic=-1");
    (command, memory)
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn nginx_serves_from_the_initramfs_in_the_reported_memory() {
    let nginx = ["/usr/sbin/nginx", "-g", "daemon off; error_log stderr notice;"];
    for kernel in cloud_kernels() {
        let compression = if kernel.release.starts_with("6.1.") { Compression::None } else { Compression::Gzip(1) };
        let (folder, port) = (folder(), free_port());
        let (command, _) = machine(&folder, &kernel, &images::nginx::tar(&mut store()).unwrap(), &nginx, compression);
        let mut guest = Guest::start(&command.forward(format!("{port}:80").parse().unwrap()));
        guest.line("whit: root /rootfs on /mnt");
        guest.line("start worker process ");
        guest.assert_has(&fetch(port), &["HTTP/1.1 200 OK", "<title>Welcome to nginx!</title>"]);
        guest.machine().send(b"\x03").unwrap();
        guest.line("whit: exit 0");
        guest.line("whit: power off");
        guest.end();
    }
}

/// Makes an archive with one file.
fn cpio(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let mut writer = Writer::new(Vec::new(), 0);
    writer.file(&[name], Meta::root(0o644), text.len() as u64, text.as_bytes()).unwrap();
    let path = folder.path().join(name.replace('/', "-"));
    fs::write(&path, writer.finish().unwrap().out).unwrap();
    path
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn each_compression_of_a_kernel_boots_between_microcode_and_an_appended_archive() {
    for kernel in cloud_kernels() {
        let config =
            Config::of(&kernel.vmlinuz).unwrap().expect("Debian's package has the configuration beside the kernel");
        let all = ["none", "gzip:1", "zstd:19", "xz", "lz4"].map(|text| text.parse().unwrap());
        for compression in all {
            assert!(Compression::method(compression).is_none_or(|method| config.has(method)), "{compression}");
            let folder = folder();
            let words = ["/bin/busybox", "hostname"].map(str::to_owned);
            let recipe = Recipe {
                init: init(),
                rootfs: Some(busybox_tar()),
                config: Some(RunRecord { cmd: words.to_vec(), ..RunRecord::default() }),
                inputs: vec![
                    Input::After(cpio(&folder, "whit.conf", &format!("hostname after-{compression}\n"))),
                    Input::Before(cpio(&folder, "kernel/x86/microcode/GenuineWhit.bin", "nothing")),
                ],
                ..Recipe::default()
            };
            let path = folder.path().join("initramfs");
            let packing = Packing { is_summed: true, ..Packing::new(compression) };
            initramfs::write(&recipe.tree().unwrap().0, &path, &packing).unwrap();
            let command = CommandLine::new(unpacked(&kernel))
                .initrd(path)
                .accelerator(Accelerator::Tcg)
                .memory_mib(256)
                .append("console=ttyS0 loglevel=4 panic=-1 cryptomgr.notests no_timer_check whit.net=off");
            let mut guest = Guest::start(&command.nic(Nic::None));
            guest.line("whit: root /rootfs on /mnt");
            guest.line(&format!("after-{compression}"));
            guest.line("whit: exit 0");
            guest.end();
        }
    }
}

/// Encodes a member of an archive with a mode; owner 1:2, time 1,000,000,000, device 1:3.
fn member(path: &str, kind: u8, mode: u16, link: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = archive::member(path, kind, link, content);
    let header = bytes.len() - content.len().next_multiple_of(512) - 512;
    bytes[header + 100..header + 108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
    bytes[header + 329..header + 345].copy_from_slice(b"0000001\x000000003\0");
    archive::seal(&mut bytes[header..]);
    bytes
}

fn file(path: &str, mode: u16, content: &[u8]) -> Vec<u8> {
    member(path, b'0', mode, "", content)
}

fn special(path: &str, kind: u8, mode: u16, link: &str) -> Vec<u8> {
    member(path, kind, mode, link, b"")
}

/// Encodes extended attributes for the next member, as PAX records.
fn attributes(attributes: &[(&str, &[u8])]) -> Vec<u8> {
    let mut records = Vec::new();
    for (name, value) in attributes {
        let record = [b" SCHILY.xattr.", name.as_bytes(), b"=", value, b"\n"].concat();
        // The length includes its own two or three digits.
        let length = (record.len()..).find(|length| record.len() + length.to_string().len() == *length).unwrap();
        records.extend([length.to_string().as_bytes(), &record].concat());
    }
    archive::member("PaxHeaders/x", b'x', "", &records)
}

/// Makes a busybox image that runs `script`, with a program that has cap_net_raw, and some files to check.
fn tar_of(folder: &TempDir, script: &str) -> PathBuf {
    let busybox = fs::read(busybox()).unwrap();
    let mut members = vec![
        special("bin", b'5', 0o755, ""),
        file("bin/busybox", 0o755, &busybox),
        attributes(&[
            ("security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            ("user.note", b"kept"),
        ]),
        file("bin/busybox-capable", 0o755, &busybox),
        file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"),
        file("script", 0o644, script.as_bytes()),
        special("tree", b'5', 0o1777, ""),
        file("tree/setuid", 0o4711, b"one\n"),
        special("tree/again", b'1', 0o644, "tree/setuid"),
        special("tree/early", b'1', 0o644, "tree/late"),
        file("tree/late", 0o600, b"two\n"),
        special("tree/null", b'3', 0o666, ""),
        special("tree/null too", b'1', 0o666, "tree/null"),
        special("tree/fifo", b'6', 0o620, ""),
        special("tree/long", b'2', 0o777, &"x/".repeat(1000)),
    ];
    let applets = ["cat", "grep", "ls", "mkdir", "mount", "pivot_root", "sh", "stat", "su", "touch", "unshare"];
    members.extend(applets.map(|applet| special(&format!("bin/{applet}"), b'2', 0o777, "busybox")));
    let path = folder.path().join("image.tar");
    fs::write(&path, archive::of(&members)).unwrap();
    path
}

const SCRIPT: [&str; 2] = ["/bin/sh", "/script"];
const CAPABLE: &str = "su nobody -c '/bin/busybox-capable grep CapEff /proc/self/status'";

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn files_are_as_in_the_image_with_capabilities_and_pivot_root_works() {
    let script = format!(
        "{CAPABLE}
        stat -c '%n %f %u:%g %h %t:%T %Y' /tree /tree/*
        cat /tree/again /tree/early
        mkdir -p /next
        cat >/pivot <<'END'
mount -t tmpfs next /next && mkdir /next/old && cd /next && pivot_root . old && exec /old/bin/busybox ls / /old/tree
END
        unshare -m sh /pivot"
    );
    for kernel in cloud_kernels() {
        let folder = folder();
        let (command, _) = machine(&folder, &kernel, &tar_of(&folder, &script), &SCRIPT, Compression::Gzip(1));
        let mut guest = Guest::start(&command.nic(Nic::None).append("whit.net=off"));
        for line in [
            "whit: root /rootfs on /mnt",
            "CapEff:\t0000000000002000",
            "/tree 43ff 1:2 2 0:0 1000000000",
            "/tree/again 89c9 1:2 2 0:0 1000000000",
            "/tree/early 8180 1:2 2 0:0 1000000000",
            "/tree/fifo 1190 1:2 1 0:0 1000000000",
            "/tree/late 8180 1:2 2 0:0 1000000000",
            "/tree/long a1ff 1:2 1 0:0 1000000000",
            "/tree/null 21b6 1:2 2 1:3 1000000000",
            "/tree/null too 21b6 1:2 2 1:3 1000000000",
            "/tree/setuid 89c9 1:2 2 0:0 1000000000",
            "one",
            "two",
            "/:",
            "old",
            "/old/tree:",
            "setuid",
            "whit: exit 0",
        ] {
            guest.line(line);
        }
        let console = guest.end();
        // Linux 6.6: "tmpfs: Support for user xattrs".
        let lost = ["lost: 1 attributes user.*, which a tmpfs has since Linux 6.6"];
        let expected = if kernel.release.starts_with("6.1.") { &lost[..] } else { &[] };
        assert_eq!(init_messages(&console, "lost"), expected, "{console}");
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_ramfs_has_no_capabilities_and_reports_it() {
    let (kernel, folder) = (kernel(Flavour::Cloud, None), folder());
    let (command, memory) = machine(&folder, &kernel, &tar_of(&folder, CAPABLE), &SCRIPT, Compression::None);
    let command = command.memory_mib(u32::try_from(memory.ramfs_mib).unwrap()).nic(Nic::None);
    let mut guest = Guest::start(&command.append("whit.net=off root=initramfs"));
    guest.line("whit: a ramfs keeps no attributes, rootfstype=tmpfs does; lost: capabilities of /bin/busybox-capable");
    guest.line("whit: lost: 1 attributes user.*");
    guest.line("CapEff:\t0000000000000000");
    guest.line("whit: exit 0");
    guest.end();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_machine_with_too_little_memory_reports_how_much_it_needs() {
    let (kernel, folder) = (kernel(Flavour::Cloud, None), folder());
    let tar = folder.path().join("image.tar");
    fs::write(&tar, archive::of(&[archive::file("zeros", &vec![0; 60 << 20])])).unwrap();
    let (command, memory) = machine(&folder, &kernel, &tar, &SCRIPT, Compression::Gzip(1));
    let Memory { tmpfs_mib, ramfs_mib } = memory;
    assert!((180..230).contains(&tmpfs_mib) && (140..180).contains(&ramfs_mib), "{memory:?}");
    // The tmpfs takes 38 MiB of 128.
    let mut guest = Guest::start(&command.memory_mib(128).nic(Nic::None).append("whit.net=off"));
    guest.line("Initramfs unpacking failed: write error");
    guest.line(&format!("whit: initramfs truncated, needs {tmpfs_mib} MB, or {ramfs_mib} MB with root=initramfs"));
    guest.line("whit: exit 125");
    guest.line("whit: power off");
    guest.end();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn runvm_runs_an_image_without_a_disk() {
    let (kernel, folder) = (kernel(Flavour::Cloud, None), folder());
    let tar = tar_of(&folder, "echo \"$1\"; cat /proc/partitions; touch /new || exit 7");
    let run = |options: &[&str]| {
        let mut command = Command::new(tool("runvm"));
        command.arg(&tar).arg("--kernel").arg(&kernel.vmlinuz).arg("--modules").arg(&kernel.modules);
        command.arg("--init").arg(init()).args(["--accel", "tcg", "--nic", "none", "--no-disk"]).args(options);
        command.args(["--entrypoint", "/bin/sh", "--", "/script", "an argument"]);
        let output = output(command.env("WHIT_CACHE", folder.path().join("cache")).stdin(Stdio::null()));
        let text = |bytes| String::from_utf8(bytes).unwrap().replace('\r', "");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    for (options, code, expected) in [(&[][..], 0, ""), (&["--read-only"], 7, "touch: /new: Read-only file system\n")] {
        let (status, shown, errors) = run(options);
        assert_eq!((status, errors.as_str()), (Some(code), expected), "{shown}");
        assert!(shown.starts_with("an argument\n") && !shown.contains("vd"), "no disk, nothing failed: {shown}");
    }
}
