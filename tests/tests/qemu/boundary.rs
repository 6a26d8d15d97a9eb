//! Attacks of a workload on PID 1 and on the shell that uses the console after it, and the initramfs of the README's commands.

use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use whit_tests::debian::cloud_kernels;
use whit_tests::whole::{
    BUTTON, Copy, Guest, Shell, VIRTIO, assert_clean, busybox, busybox_disk, busybox_disk_with, machine,
};
use whit_tests::{attack, init, tool};
use whit_tools::vm::qemu::{Accelerator, Board, CommandLine, DiskInterface, Nic};

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_power_button_works_with_the_readmes_initramfs() {
    for kernel in cloud_kernels() {
        for (profile, board) in [("qemu", Board::Pc), ("virtio", Board::Q35)] {
            let (folder, disk) = (tempfile::tempdir().unwrap(), Copy::of(&busybox_disk()));
            let initramfs = folder.path().join("initramfs.cpio.gz");
            let mut mkcpio = Command::new(tool("mkcpio"));
            mkcpio.arg("-o").arg(&initramfs).arg("--init").arg(init()).arg("--busybox").arg(busybox());
            let made = mkcpio.arg("--modules").arg(&kernel.modules).args(["--for", profile]).status();
            assert!(made.unwrap().success());
            let command = CommandLine::new(&kernel.vmlinuz)
                .initrd(&initramfs)
                .accelerator(Accelerator::Tcg)
                .board(board)
                .nic(Nic::None)
                .append("console=ttyS0 loglevel=4 panic=-1 whit.net=off root=/dev/vda")
                .append("entrypoint=/bin/sh -- -c \"trap 'exit 4' TERM; echo up; while :; do read line; done\"")
                .disk(DiskInterface::Virtio, disk.path());
            let mut guest = Guest::start(&command);
            guest.line("up");
            guest.machine().power_down().unwrap();
            for line in ["whit: exit 4", "whit: power off"] {
                guest.line(line);
            }
            guest.end();
            assert_clean(&disk.path());
        }
    }
}

/// Returns a machine with a shell on its console, whose workload is this script as user 33.
fn attacked(options: &str, script: &str) -> CommandLine {
    let disk = busybox_disk_with("attack.img", |root| {
        std::fs::copy(attack(), root.join("bin/attack")).unwrap();
    });
    machine(&cloud_kernels()[0], &[VIRTIO.as_slice(), &["virtio_console"], &BUTTON].concat(), Shell::Busybox)
        .nic(Nic::None)
        .append("root=/dev/vda whit.net=off whit.user=33:44 whit.grace=1")
        .append(&format!("{options} entrypoint=/bin/sh -- -c \"{script}\""))
        .disk(DiskInterface::Virtio, disk)
        .snapshot()
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn nothing_that_a_workload_types_reaches_the_shell() {
    // The workload types before its end, and its daemon types after it.
    let mut guest = Guest::start(&attacked(
        "",
        "/bin/attack sti 'echo one-$((1)) '; /bin/attack daemon 2 sti 'echo two-$((2)) '; exit 3",
    ));
    guest.line("whit: exit 3");
    guest.line("attack: typed");
    guest.machine().send(b"\n").unwrap(); // The prompt is before that line.
    // Typed input would have run before this.
    let shown = guest.run("echo mine");
    guest.assert(shown == "mine\n0", &shown);
    guest.machine().power_down().unwrap();
    let console = guest.end();
    guest.assert(!console.contains("one-1") && !console.contains("two-2"), "the shell received typed input");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn no_daemon_receives_input_of_the_shell() {
    let mut guest = Guest::start(&attacked("", "/bin/busybox stty raw -echo; /bin/attack daemon 2 foreground; exit 3"));
    guest.line("attack: foreground");
    guest.machine().send(b"\n").unwrap(); // The prompt is before that line.
    for _ in 0..3 {
        let shown = guest.run("echo secret; /bin/busybox stty -a 2>/dev/null | /bin/busybox grep -o ' icanon'");
        guest.assert(shown == "secret\n icanon\n0", &shown);
        // When the shell ends, the kernel hangs up the console; the next shell opens it again.
        guest.type_line("exit");
    }
    guest.machine().power_down().unwrap();
    let console = guest.end();
    guest.assert(!console.contains("heard"), "the daemon received input of the shell");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_stopped_terminal_or_a_host_that_does_not_read_delays_no_end() {
    let (folder, host) = (tempfile::tempdir().unwrap(), Host::new());
    let exit = folder.path().join("exit");
    for script in ["exec /bin/attack stop", "( while :; do echo more; done ) & /bin/busybox sleep 2; exit 5"] {
        let command = attacked("whit.on_exit=poweroff console=ttyS1", script).port_into("org.whit.exit", &exit);
        let mut guest = Guest::start(&command.option("-serial", host.socket()));
        let started = Instant::now();
        // The test does not read from it.
        let _console = host.accept();
        guest.end();
        assert_eq!(std::fs::read_to_string(&exit).unwrap(), "5\n");
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    }
}

/// The other side of a machine's second serial port.
struct Host {
    listener: UnixListener,
    directory: TempDir,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap(); // The path of a socket is short.
        Self { listener: UnixListener::bind(directory.path().join("port")).unwrap(), directory }
    }

    fn socket(&self) -> String {
        format!("unix:{}", self.directory.path().join("port").display())
    }

    fn accept(&self) -> UnixStream {
        self.listener.accept().unwrap().0
    }
}
