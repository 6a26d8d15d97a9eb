//! mkcpio's archives, the machine library and runvm, under real kernels that unpack the archives.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use whit_tests::debian::{cloud_kernels, kernel};
use whit_tests::tool;
use whit_tools::kernel::debian::Flavour;
use whit_tools::vm::qemu::{Accelerator, CommandLine, Machine, Nic};

const BUSYBOX: &str = "/bin/busybox";
/// An emulated machine on a busy host boots within seconds; minutes are a failure.
const DEADLINE: Duration = Duration::from_secs(180);

/// Makes an initramfs whose init is busybox's, which runs `script` on the console.
fn initramfs(directory: &TempDir, script: &str, arguments: &[&str]) -> PathBuf {
    let at = |name: &str| directory.path().join(name);
    // busybox's init mounts and loads nothing by itself.
    let start = "#!/bin/sh\nmount -t proc proc /proc\n";
    fs::write(at("rcS"), format!("{start}{script}")).unwrap();
    Command::new("chmod").arg("755").arg(at("rcS")).status().unwrap();
    let output = Command::new(tool("mkcpio"))
        .args(["-o", "initramfs", "--init", BUSYBOX, "--busybox", BUSYBOX, "--add", "rcS:/etc/init.d/"])
        .args(arguments)
        .current_dir(directory.path())
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    at("initramfs")
}

fn command(kernel: &Path, initramfs: &Path) -> CommandLine {
    CommandLine::new(kernel)
        .initrd(initramfs)
        .accelerator(Accelerator::Tcg)
        .append("console=ttyS0 quiet panic=-1 no_timer_check")
}

#[test]
#[ignore = "needs QEMU: cargo selftest runs it"]
fn kernels_unpack_every_kind_of_file_and_insert_the_modules() {
    const SCRIPT: &str = r#"
for module in $(cat /lib/modules/load); do insmod $module || echo "failed $module"; done
grep -q '^virtio_net ' /proc/modules && echo "ok: modules"
test "$(stat -c '%F %t:%T %a %u:%g' /dev/console)" = "character special file 5:1 600 0:0" && echo "ok: device"
test "$(stat -c '%h %a %i' /tree/one)" = "2 4711 $(stat -c %i /tree/sub/two)" && echo "ok: hard link"
test "$(cat /tree/link)" = same && echo "ok: symbolic link"
test "$(stat -c '%a %Y' /tmp)" = "1777 1700000000" && echo "ok: directory"
test "$(sha256sum < /bin/busybox)" = "$(cat /sum)" && echo "ok: content"
ip link | grep -q eth0 && echo "ok: network card"
poweroff -f
"#;
    for kernel in cloud_kernels() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("tree/sub")).unwrap();
        fs::write(at("tree/one"), "same").unwrap();
        fs::hard_link(at("tree/one"), at("tree/sub/two")).unwrap();
        Command::new("chmod").arg("4711").arg(at("tree/one")).status().unwrap();
        std::os::unix::fs::symlink("one", at("tree/link")).unwrap();
        let busybox = fs::File::open(BUSYBOX).unwrap();
        let sum = Command::new("sha256sum").stdin(busybox).output().unwrap().stdout;
        fs::write(at("sum"), sum).unwrap();
        let modules = kernel.modules.to_str().unwrap();
        let arguments =
            ["--modules", modules, "--module", "virtio_pci", "--module", "virtio_net", "--add", "tree", "--add", "sum"];
        for compress in ["none", "gzip:1"] {
            let arguments = [&arguments[..], &["--compress", compress]].concat();
            let initramfs = initramfs(&directory, SCRIPT, &arguments);
            let mut machine = Machine::start(&command(&kernel.vmlinuz, &initramfs)).unwrap();
            for marker in ["modules", "device", "hard link", "symbolic link", "directory", "content", "network card"] {
                machine.wait_for_line(&format!("ok: {marker}"), DEADLINE).unwrap();
            }
            assert!(machine.wait(DEADLINE).unwrap().success());
            assert!(!machine.transcript().contains("failed"), "{}", machine.transcript());
        }
    }
}

#[test]
#[ignore = "needs QEMU: cargo selftest runs it"]
fn a_machine_can_be_read_from_written_to_and_ended() {
    const SCRIPT: &str = r#"
while read -r line; do
    echo "got <$line>"
    test "$line" = end && reboot -f
done
"#;
    let kernel = kernel(Flavour::Cloud, None);
    let directory = tempfile::tempdir().unwrap();
    let initramfs = initramfs(&directory, &format!("stty -echo; echo READY\n{SCRIPT}"), &[]);
    let command = command(&kernel.vmlinuz, &initramfs).exact_time().nic(Nic::None);

    let mut machine = Machine::start(&command).unwrap();
    assert_eq!(machine.wait_for("READY", DEADLINE).unwrap(), "READY");
    machine.send(b"one \x01 two\n").unwrap(); // with QEMU's escape character
    assert_eq!(
        machine.wait_for_line("got ", DEADLINE).unwrap(),
        "got <one  two>",
        "the transcript drops control bytes"
    );
    let error = machine.wait_for("never", Duration::from_millis(1)).unwrap_err().to_string();
    for words in
        ["did not show \"never\" within 0.001 s", "qemu-system-x86_64 ", "-icount shift=0,sleep=off", "got <one"]
    {
        assert!(error.contains(words), "{words}: {error}");
    }
    machine.send(b"end\n").unwrap();
    assert_eq!(machine.wait_for_line("got ", DEADLINE).unwrap(), "got <end>");
    assert!(machine.wait(DEADLINE).unwrap().success(), "a reboot ends the machine");
    let error = machine.wait_for("more", DEADLINE).unwrap_err().to_string();
    assert!(error.contains("before the machine ended"), "{error}");

    let mut machine = Machine::start(&command).unwrap();
    machine.wait_for("READY", DEADLINE).unwrap();
    machine.quit().unwrap();
    assert!(machine.wait(DEADLINE).unwrap().success());

    let mut machine = Machine::start(&command).unwrap();
    machine.wait_for("READY", DEADLINE).unwrap();
    machine.kill();
    assert!(!machine.wait(DEADLINE).unwrap().success());
}

#[test]
#[ignore = "needs QEMU: cargo selftest runs it"]
fn runvm_forwards_a_port_passes_arguments_and_has_the_workloads_status() {
    const SCRIPT: &str = r#"
for module in $(cat /lib/modules/load); do insmod $module; done
ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up
httpd -p 80 -h /
echo SERVING
read -r line
echo "whit: exit 42"
poweroff -f
"#;
    let kernel = kernel(Flavour::Cloud, None);
    let directory = tempfile::tempdir().unwrap();
    let modules = kernel.modules.to_str().unwrap();
    let modules = ["--modules", modules, "--module", "virtio_pci", "--module", "virtio_net"];
    let initramfs = initramfs(&directory, SCRIPT, &modules);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut runvm = Command::new(tool("runvm"))
        .arg("--kernel")
        .arg(&kernel.vmlinuz)
        .arg("--initrd")
        .arg(&initramfs)
        .args(["--accel", "tcg", "-p", &format!("{port}:80"), "--", "one", "two words"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut console = BufReader::new(runvm.stdout.take().unwrap());
    let mut shown = String::new();
    while !shown.contains("SERVING") {
        assert_ne!(console.read_line(&mut shown).unwrap(), 0, "{shown}");
    }
    let mut answer = String::new();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /whit.conf HTTP/1.0\r\n\r\n").unwrap();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\ncmd one\ncmd two words\n"), "{answer}");
    runvm.stdin.take().unwrap().write_all(b"\n").unwrap();
    console.read_to_string(&mut shown).unwrap();
    assert_eq!(runvm.wait().unwrap().code(), Some(42), "{shown}");
}
