//! An aarch64 machine on QEMU's board virt, which runvm boots.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use whit_tests::deadline::output;
use whit_tests::debian::{store_for, variant};
use whit_tests::whole::Guest;
use whit_tests::{init_for, tool};
use whit_tools::kernel::debian::{Flavour, Kernel};
use whit_tools::machine::Machine;
use whit_tools::vm::qemu::{Accelerator, Board, CommandLine, Nic};
use xtask::workspace;

const ARM: Machine = Machine::Aarch64;

/// A folder with the image `arm.tar`, and the kernel that boots it.
struct Fixture {
    folder: TempDir,
    kernel: Kernel,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(workspace::target()).unwrap();
        let mut store = store_for(ARM);
        let (kernel, busybox) = (store.kernel(Flavour::Cloud, None).unwrap(), store.busybox().unwrap());
        pack(&busybox, folder.path());
        Self { folder, kernel }
    }

    /// Returns a command of runvm for the image.
    fn runvm(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tool("runvm"));
        command.arg("arm.tar").arg("--kernel").arg(&self.kernel.vmlinuz).arg("--modules").arg(&self.kernel.modules);
        command.arg("--init").arg(init_for(ARM)).args(["--entrypoint", "/bin/sh"]).args(arguments);
        command.current_dir(self.folder.path()).env("WHIT_CACHE", self.folder.path().join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it; returns status, standard output and standard error.
    fn outcome(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = output(&mut self.runvm(arguments));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

/// Makes an image of a busybox, as `docker export` does.
fn pack(busybox: &Path, folder: &Path) -> PathBuf {
    let root = folder.join("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir(root.join("etc")).unwrap();
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in ["sh", "uname", "cat", "sleep", "test"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let image = folder.join("arm.tar");
    assert!(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&image).arg(".").status().unwrap().success());
    image
}

/// KVM would be a note on standard error: the host has another processor.
const TCG: [&str; 2] = ["--accel", "tcg"];

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_image_runs_as_on_x86_64() {
    let fixture = Fixture::new();
    let script = "uname -m; cat /proc/net/route | busybox wc -l; echo $A >&2; exit 7";
    let (status, shown, errors) = fixture.outcome(&[&TCG[..], &["-e", "A=1 2", "--", "-c", script]].concat());
    // The heading, the default route and that of the network: there is a lease.
    assert_eq!((status, shown.as_str(), errors.as_str()), (Some(7), "aarch64\n3\n", "1 2\n"));
}

/// A kernel for pages of 16 KiB refuses programs whose segments are closer (fs/binfmt_elf.c).
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_image_runs_with_pages_of_16_kib() {
    const PAGE: u64 = 16384;
    let mut fixture = Fixture::new();
    fixture.kernel = variant(&fixture.kernel, ARM, "arm64-16k");
    // Last the bytes of PID 1's stack.
    let script = "busybox grep -m 1 KernelPageSize /proc/self/smaps; busybox grep -c eth0 /proc/net/route;
        busybox grep VmHWM /proc/1/status; busybox cut -d ' ' -f 28,48 /proc/1/stat; busybox wc -c </proc/1/auxv;
        busybox grep stack /proc/1/maps | busybox tr -- - ' ' | { read -r from to rest; echo $from $to;
        busybox dd if=/proc/1/mem bs=16384 skip=$((0x$from / 16384)) count=$(((0x$to - 0x$from) / 16384)) 2>/dev/null; }; exit 7";
    // The modules in a list, and by an index of drivers.
    for drivers in [&[][..], &["--for", "qemu"]] {
        let output = output(&mut fixture.runvm(&[&TCG[..], drivers, &["--", "-c", script]].concat()));
        let text = String::from_utf8_lossy(&output.stdout);
        let shown: Vec<&str> = text.lines().take(6).collect();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(7), &b""[..]), "{shown:?}");
        let length = shown.iter().map(|line| line.len() + 1).sum();
        let stack = output.stdout.get(length..).unwrap();
        let words: Vec<&str> = shown.iter().flat_map(|line| line.split_whitespace()).collect();
        let ["KernelPageSize:", "16", "kB", "2", "VmHWM:", peak, "kB", start, strings, auxv, from, to] = words[..]
        else {
            panic!("{shown:?}")
        };
        let [start, strings, auxv] = [start, strings, auxv].map(|number| number.parse::<u64>().unwrap());
        let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        assert_eq!(stack.len() as u64, to - from);
        let lowest = from + stack.iter().position(|byte| *byte != 0).unwrap() as u64;
        // The strings of arguments and environment; the pointers to them, a dozen, and auxv, with its texts; the frames. Below the strings
        // the kernel leaves a random number of bytes free, up to a page (arch/arm64/kernel/process.c, arch_align_stack()).
        let used = (to - strings) + (auxv + 200) + (start - lowest);
        assert!(used + PAGE <= 2 * PAGE, "{used} bytes of stack: {shown:?}");
        // Five pages of the file, four of variables, two of the stack.
        assert!(peak.parse::<u32>().unwrap() <= 176, "{shown:?}");
    }
}

/// Firecracker's devices are on the bus virtio-mmio, and its device tree has them: QEMU's board is alike.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn devices_of_the_device_tree_are_found_as_firecracker_has_them() {
    let fixture = Fixture::new();
    let modules = fixture.kernel.modules.to_str().unwrap();
    let init = init_for(ARM);
    let words = "console=ttyAMA0 quiet panic=-1 root=/dev/vda entrypoint=/bin/sh -- -c";
    let script = "busybox grep -c eth0 /proc/net/route; busybox readlink -f /sys/class/net/eth0";
    for (program, arguments) in [
        ("mkraw", &["-o", "disk", "arm.tar"][..]),
        (
            "mkcpio",
            &["-o", "initramfs.gz", "--init", init.to_str().unwrap(), "--modules", modules, "--for", "firecracker"],
        ),
    ] {
        let made = output(Command::new(tool(program)).args(arguments).current_dir(fixture.folder.path()));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let command = CommandLine::new(&fixture.kernel.vmlinuz)
        .board(Board::Virt)
        .accelerator(Accelerator::Tcg)
        .initrd(fixture.folder.path().join("initramfs.gz"))
        .append(&format!("{words} \"{script}\""))
        .nic(Nic::None)
        .option("-drive", format!("if=none,id=disk,format=raw,file={}", fixture.folder.path().join("disk").display()))
        .option("-device", "virtio-blk-device,drive=disk")
        .option("-netdev", "user,id=net")
        .option("-device", "virtio-net-device,netdev=net");
    let shown = Guest::start(&command).end().replace('\r', "");
    // The default route and that of the network: there is a lease.
    assert!(shown.starts_with("2\n/sys/devices/platform/") && shown.contains(".virtio_mmio/"), "{shown}");
    assert!(shown.contains("\nwhit: exit 0\n"), "{shown}");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_image_in_memory_shares_a_folder() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.folder.path().join("share")).unwrap();
    let script = "test -d /proc/1 && cat >/data/out";
    let arguments = [&TCG[..], &["--no-disk", "-i", "-v", "share:/data", "--share", "virtiofs", "--", "-c", script]];
    let mut runvm = fixture.runvm(&arguments.concat());
    let input = fixture.folder.path().join("in");
    fs::write(&input, "from the host\n").unwrap();
    let output = output(runvm.stdin(fs::File::open(&input).unwrap()));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(fixture.folder.path().join("share/out")).unwrap(), "from the host\n");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn files_of_several_machines_are_refused_before_a_boot() {
    let fixture = Fixture::new();
    let arm = init_for(ARM);
    let (kernel, modules) = (&fixture.kernel.vmlinuz, &fixture.kernel.modules);
    let refused = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(tool(program));
        command.args(arguments).current_dir(fixture.folder.path());
        let output = output(command.env("WHIT_CACHE", fixture.folder.path().join("cache")));
        assert!(!output.status.success(), "{arguments:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(errors.lines().count(), 1, "{errors}");
        errors
    };
    let (arm, kernel, modules) = (arm.to_str().unwrap(), kernel.to_str().unwrap(), modules.to_str().unwrap());
    let cases: [(&str, &[&str], &str); 5] = [
        (
            "mkcpio",
            &["-o", "o", "--init", arm, "--busybox", "/bin/busybox"],
            "is for x86_64, but the init is for aarch64",
        ),
        (
            "mkcpio",
            &["-o", "o", "--init", "/bin/busybox", "--modules", modules, "--module", "virtio_blk"],
            "is for aarch64, but the init is for x86_64",
        ),
        ("mkcpio", &["-o", "o", "--init", "/bin/busybox", "--kernel", kernel], "is a kernel for aarch64, but the init"),
        (
            "runvm",
            &["arm.tar", "--machine", "q35", "--kernel", kernel, "--init", arm],
            "the kernel is for aarch64, but the machine is x86_64",
        ),
        (
            "runvm",
            &["arm.tar", "--platform", "linux/amd64", "--kernel", kernel, "--init", arm],
            "the kernel is for aarch64, but the machine is x86_64",
        ),
    ];
    for (program, arguments, expected) in cases {
        let error = refused(program, arguments);
        assert!(error.contains(expected), "{error}");
    }
}
