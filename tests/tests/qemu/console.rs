//! Machines with a second terminal: which consoles show the init's messages, and a shell beside the workload.

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};

use tempfile::TempDir;
use whit_tests::Transcript;
use whit_tests::debian::{cloud_kernels, kernel};
use whit_tests::whole::{
    Copy, Guest, Shell, VIRTIO, alone, assert_clean, busybox_disk, init_messages, initramfs, machine, unpacked,
};
use whit_tools::kernel::debian::Flavour;
use whit_tools::vm::qemu::{Accelerator, CommandLine, DiskInterface, Nic};

/// The other side of a machine's second terminal.
struct Port {
    listener: UnixListener,
    directory: TempDir,
}

impl Port {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { listener: UnixListener::bind(directory.path().join("port")).unwrap(), directory }
    }

    fn socket(&self) -> String {
        self.directory.path().join("port").display().to_string()
    }

    /// Makes it /dev/ttyS1.
    fn plug(&self, command: CommandLine) -> CommandLine {
        command.option("-serial", format!("unix:{}", self.socket()))
    }

    /// Waits for the machine's start; returns the port's output, and a stream to write to it.
    fn open(&self) -> (Transcript, UnixStream) {
        let stream = self.listener.accept().unwrap().0;
        (Transcript::new("ttyS1", stream.try_clone().unwrap()), stream)
    }
}

const ENDS: &str = "entrypoint=/bin/sh -- -c \"exit 7\"";

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_inits_messages_reach_every_console_once() {
    for kernel in cloud_kernels() {
        // The last console is /dev/console; /dev/vcs1 has the text on the screen of the other one.
        let command = alone(&kernel, &busybox_disk()).append(
            "console=tty0 console=ttyS0 entrypoint=/bin/sh -- -c \"/bin/busybox fold -w 80 /dev/vcs1; exit 7\"",
        );
        let mut guest = Guest::start(&command);
        let console = guest.end();
        let (before, screen) = console.split_once("whit: root /dev/vda on /mnt\n").unwrap();
        guest.assert(!before.contains("whit: "), "the serial console shows it once");
        let shown = init_messages(screen, "");
        guest.assert(shown == ["root /dev/vda on /mnt", "exit 7", "power off"], &format!("the screen: {shown:?}"));
    }
}

/// Of the driver and its bus one at least is a module of each kernel: the kernel starts the init without a console.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_console_whose_driver_is_a_module_shows_everything() {
    let folder = tempfile::tempdir().unwrap();
    for kernel in cloud_kernels() {
        let output = folder.path().join(&kernel.release);
        let script = "entrypoint=/bin/sh -- -c \"echo from the workload; exit 7\"";
        let command = CommandLine::new(unpacked(&kernel))
            .initrd(initramfs(&kernel, &[&VIRTIO[..], &["virtio_console"]].concat(), Shell::No))
            .accelerator(Accelerator::Tcg)
            .nic(Nic::None)
            .snapshot()
            .disk(DiskInterface::Virtio, busybox_disk())
            .option("-device", "virtio-serial-pci")
            .option("-chardev", format!("file,id=hvc,path={}", output.display()))
            .option("-device", "virtconsole,chardev=hvc")
            .append(&format!(
                "console=hvc0 loglevel=4 panic=-1 cryptomgr.notests no_timer_check root=/dev/vda whit.net=off {script}"
            ));
        Guest::start(&command).end();
        let shown = fs::read_to_string(&output).unwrap();
        let lines: Vec<&str> = shown.lines().map(str::trim_end).filter(|line| !line.starts_with('[')).collect();
        assert_eq!(lines, ["whit: root /dev/vda on /mnt", "from the workload", "whit: exit 7", "whit: power off"]);
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn messages_in_the_kernels_log_have_levels_and_the_kernel_shows_them() {
    let kernel = &kernel(Flavour::Cloud, None);
    let script = "entrypoint=\"/bin/busybox dmesg -r\" whit.log=kmsg whit.shell=ttyX9";
    for (options, shown) in [("loglevel=7", true), ("quiet", false)] {
        let mut guest = Guest::start(&alone(kernel, &busybox_disk()).append(&format!("{options} {script}")));
        let console = guest.end();
        let is_log = |line: &&str| line.contains("> [") || line.starts_with('<');
        let (log, console): (Vec<&str>, Vec<&str>) =
            console.lines().filter(|line| line.contains("whit: ")).partition(is_log);
        // Facility 1 is for processes: <8 + level>.
        for (level, text) in [("<11>[", "] whit: shell=ttyX9: ENOENT"), ("<14>[", "] whit: root /dev/vda on /mnt")] {
            let found: Vec<_> = log.iter().filter(|line| line.contains(text)).collect();
            guest.assert(found.len() == 1 && found[0].starts_with(level), &format!("{text}: {log:#?}"));
            let count = console.iter().filter(|line| line.contains(text)).count();
            guest.assert(count == usize::from(shown || level == "<11>["), &format!("{options}: {text}: {console:#?}"));
        }
    }
}

/// The shell does not end by SIGTERM, and the end does not wait for it.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn another_terminal_has_a_shell_beside_the_workload() {
    for kernel in cloud_kernels() {
        let (port, disk) = (Port::new(), Copy::of(&busybox_disk()));
        let command = machine(&kernel, &VIRTIO, Shell::Busybox)
            .nic(Nic::None)
            .append("root=/dev/vda whit.net=off whit.shell=ttyS1 whit.on_exit=poweroff whit.grace=1000")
            .append("entrypoint=/bin/sh -- -c \"echo up; read line; echo \\$line >/left; echo down\"")
            .disk(DiskInterface::Virtio, disk.path());
        let mut guest = Guest::start(&port.plug(command));
        let (mut shell, mut keys) = port.open();
        guest.line("up");
        let mut pids = Vec::new();
        for leave in ["exit\n", "\x04", "kill -9 $$\n"] {
            shell.wait_for("# ");
            keys.write_all(b"tty; ls -1 -d /init /mnt/bin/sh; echo shell-$$-$((40 + 2))\n").unwrap();
            let shown = shell.wait_for("-42\n");
            guest.assert(shown.contains("/dev/ttyS1\n/init\n/mnt/bin/sh\nshell-"), &shown);
            let pid = shown.rsplit('-').next().unwrap_or_default().to_owned();
            guest.assert(!pids.contains(&pid), "another shell");
            pids.push(pid);
            shell.wait_for("# ");
            // The command itself prints this: it is in the foreground then.
            keys.write_all(b"sh -c 'echo start\"\"ed; exec sleep 1000'\n").unwrap();
            shell.wait_for("started\n");
            keys.write_all(b"\x03").unwrap();
            shell.wait_for("# ");
            keys.write_all(leave.as_bytes()).unwrap();
        }
        shell.wait_for("# ");
        guest.assert(!shell.text().contains("can't access tty"), shell.text());
        // The shell does not keep the machine running as a daemon does.
        guest.machine().send(b"word\n").unwrap();
        for line in ["down", "whit: exit 0", "whit: power off"] {
            guest.line(line);
        }
        guest.end();
        assert_clean(&disk.path());
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_missing_terminal_is_logged_once_and_does_not_delay_the_workload() {
    let command = alone(&kernel(Flavour::Cloud, None), &busybox_disk()).append(&format!("whit.shell=ttyX9 {ENDS}"));
    let mut guest = Guest::start(&command);
    let console = guest.end();
    guest.assert(init_messages(&console, "shell=") == ["shell=ttyX9: ENOENT"], "the missing terminal is logged");
    guest.assert(init_messages(&console, "exit") == ["exit 7"], "the workload ran");
}
