//! What holds on every board: each test runs on each of a machine's boards in the table `whit_tests::boards`. `cargo selftest -- --arm` has
//! those of aarch64, `--long` all. The other tests of this program boot x86-64's boards, and aarch64's main job.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use whit_tests::boards::Board;
use whit_tests::deadline::output;
use whit_tests::init_for;
use whit_tests::tool;
use whit_tests::whole::Guest;
use whit_tools::vm::qemu::{self, Nic};
use xtask::workspace;

use crate::power_cut;

/// Docker's contract, a lease, and drivers by device, of which one is blacklisted.
fn a_workload_has_what_docker_gives_it_and_a_lease(board: &Board) {
    let command = board.with_busybox().nic(Nic::VirtioNet).append(
        "whit.user=12:34 whit.workdir=/tmp whit.env=A=word whit.hostname=named whit.net=require whit.net.timeout=60 \
         modprobe.blacklist=virtio_rng entrypoint=/bin/sh -- /contract second",
    );
    let bus = if board.board == qemu::Board::Microvm { "device" } else { "pci" };
    let mut guest = Guest::start(&command.option("-device", format!("virtio-rng-{bus}")));
    guest.line("whit: exit 7");
    let console = guest.end();
    let name = board.board.machine().name();
    guest.assert_has(
        &console,
        &["/contract second: 12 34 /tmp word named", "eth0 10.0.2.15/24", "whit: power off", name],
    );
    let is_loaded = |name: &str| console.lines().any(|line| line.trim() == name);
    guest.assert(is_loaded("virtio_blk") && !is_loaded("virtio_rng"), "drivers are loaded by device");
}

/// Where the kernel has a driver for the board's button. (A keyboard's is left to the workload: `src/pid1/button.rs`.)
fn the_power_button_stops_the_workload(board: &Board) {
    if !board.has_button {
        return;
    }
    let mut guest = Guest::start(&board.with_busybox().append("whit.net=off entrypoint=/bin/sh -- /waiting"));
    guest.line("ready");
    // A press before the driver handles events is lost.
    for press in 0.. {
        // After a press that took effect late, QEMU has ended: the console decides.
        let pressed = guest.machine().power_down();
        if guest.machine().wait_for("whit: exit 9", Duration::from_secs(2)).is_ok() || pressed.is_err() {
            break;
        }
        guest.assert(press < 30, "the power button has no effect");
    }
    let console = guest.end();
    guest.assert_has(&console, &["stopped", "whit: exit 9", "whit: power off"]);
}

/// A power-off is the end of the other tests.
fn a_machine_reboots_and_ends_without_a_program(board: &Board) {
    for (words, line) in [
        ("whit.on_exit=reboot entrypoint=/bin/sh -- -c \"exit 3\"", "whit: reboot"),
        ("entrypoint=/nowhere", "/nowhere: not found (ENOENT)"),
    ] {
        let mut guest = Guest::start(&board.with_busybox().append("whit.net=off").append(words));
        let console = guest.end();
        guest.assert_has(&console, &[line]);
    }
}

/// runvm's machines: with a disk and without one, a signal, and the exit code.
fn runvm_runs_an_image(board: &Board) {
    let folder = tempfile::tempdir_in(workspace::target()).unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir(root.join("etc")).unwrap();
    fs::copy(board.busybox(), root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    let image = folder.path().join("image.tar");
    assert!(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&image).arg(".").status().unwrap().success());
    let kernel = board.kernel();
    let machine = match board.board {
        qemu::Board::Pc => "pc",
        qemu::Board::Q35 => "q35",
        qemu::Board::Microvm => "microvm",
        qemu::Board::Virt => "virt",
    };
    for (more, script, status) in [
        (&[][..], "echo out; echo err >&2; exit 7", 7),
        (&["--no-disk"], "echo out; echo err >&2; busybox kill -9 $$", 137),
    ] {
        let mut command = Command::new(tool("runvm"));
        command.arg(&image).args(["--machine", machine, "--accel", "tcg", "--entrypoint", "/bin/sh"]).args(more);
        command.arg("--kernel").arg(&kernel.vmlinuz).arg("--modules").arg(&kernel.modules);
        command.arg("--init").arg(init_for(board.board.machine())).args(["--", "-c", script]);
        command.env("WHIT_CACHE", folder.path().join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = output(&mut command);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let shown = (output.status.code(), text(&output.stdout), text(&output.stderr));
        assert_eq!(shown, (Some(status), "out\n".to_owned(), "err\n".to_owned()), "{}", board.name);
    }
}

fn no_acknowledged_write_is_lost_when_the_power_fails(board: &Board) {
    let bus = if board.board == qemu::Board::Microvm { "device" } else { "pci" };
    assert!(power_cut::cut(&board.command(), bus, &board.busybox(), power_cut::seed(), 2) > 0);
}

/// Makes a module with a test of each of these functions, on each board of a machine.
macro_rules! on_each_board {
    ($module:ident, $machine:ident, $($test:ident)*) => {
        mod $module {
            use super::Board;
            use whit_tools::machine::Machine;

            $(
                #[test]
                #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --arm or --long runs it"]
                fn $test() {
                    for board in Board::of(Machine::$machine) {
                        println!("{}", board.name);
                        super::$test(board);
                    }
                }
            )*
        }
    };
    ($($test:ident)*) => {
        on_each_board!(arm, Aarch64, $($test)*);
        on_each_board!(long, X86_64, $($test)*);
    };
}

on_each_board! {
    a_workload_has_what_docker_gives_it_and_a_lease
    the_power_button_stops_the_workload
    a_machine_reboots_and_ends_without_a_program
    runvm_runs_an_image
    no_acknowledged_write_is_lost_when_the_power_fails
}
