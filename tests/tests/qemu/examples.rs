//! The scripts of `examples/`, with images of Debian's packages.

use std::io::{BufRead, BufReader, PipeReader, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use whit_tests::deadline::Deadline;
use whit_tests::documents::{Scratch, Tier};
use whit_tests::images::{Image, NGINX, POSTGRES, PYTHON, SYSTEMD};
use whit_tests::postgres::query;
use whit_tests::whole::{assert_clean, fetch, free_port};
use xtask::workspace;

/// A scratch folder with an image of `tests/images` as `image.tar` and `image.json`.
fn scratch(image: &Image, name: &str) -> Scratch {
    let scratch = Scratch::new(Tier::Qemu);
    symlink(image.tar(), scratch.path("image.tar")).unwrap();
    symlink(workspace::root().join("tests/images").join(name).join("config.json"), scratch.path("image.json")).unwrap();
    scratch
}

/// An example's script.
fn script(scratch: &Scratch, path: &str, arguments: &[&str]) -> Command {
    let mut command = scratch.command("sh");
    command.arg(workspace::root().join("examples").join(path)).args(arguments);
    command
}

/// A script that runs, and what it shows.
struct Running {
    child: Child,
    output: BufReader<PipeReader>,
    shown: String,
    _deadline: Deadline,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let (output, both) = std::io::pipe().unwrap();
        let child = command.stdin(Stdio::null()).stdout(both.try_clone().unwrap()).stderr(both).spawn().unwrap();
        drop(command); // with the pipe's other side
        Self { _deadline: Deadline::of(&child), child, output: BufReader::new(output), shown: String::new() }
    }

    /// Waits for a text.
    fn wait_for(&mut self, text: &str) {
        while !self.shown.contains(text) {
            assert_ne!(self.output.read_line(&mut self.shown).unwrap(), 0, "no {text:?} in\n{}", self.shown);
        }
    }

    /// Sends a signal to the script's process, which is runvm's or QEMU's by then; returns its exit code and all that it showed.
    fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.output.read_to_string(&mut self.shown).unwrap();
        (self.child.wait().unwrap().code(), self.shown)
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn nginx_serves_a_page_and_ends_in_order() {
    let (scratch, port) = (scratch(&NGINX, "nginx"), free_port());
    let mut machine = Running::start(script(&scratch, "nginx/run.sh", &["image.tar", "image.json", &port.to_string()]));
    machine.wait_for("start worker process ");
    let answer = fetch(port);
    assert!(answer.contains("<title>Welcome to nginx!</title>"), "{answer}");
    let (code, shown) = machine.stop(Signal::TERM);
    assert!(code == Some(0) && shown.contains("(SIGTERM)"), "{code:?} {shown}");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_python_service_runs_from_a_shared_folder() {
    let (scratch, port) = (scratch(&PYTHON, "python"), free_port());
    let mut machine = Running::start(script(&scratch, "python/run.sh", &["image.tar", &port.to_string()]));
    machine.wait_for("service: ready");
    assert!(fetch(port).ends_with("app: request 1\n"));
    assert!(fetch(port).ends_with("app: request 2\n"));
    let (code, shown) = machine.stop(Signal::TERM);
    assert!(code == Some(0) && shown.contains("service: stopped"), "{code:?} {shown}");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_appliance_serves_from_memory() {
    let (scratch, port) = (Scratch::new(Tier::Qemu), free_port());
    let mut machine = Running::start(script(&scratch, "appliance/run.sh", &["web.tar", "web.json", &port.to_string()]));
    machine.wait_for("memory: ");
    // QEMU takes connections before its guest does.
    let started = Instant::now();
    let answer = loop {
        if let Some(answer) = try_fetch(port) {
            break answer;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "no answer");
        std::thread::sleep(Duration::from_millis(500));
    };
    assert!(answer.ends_with("hello from a machine\n"), "{answer}");
    machine.stop(Signal::TERM);
}

/// The answer of a server that may not be there yet.
fn try_fetch(port: u16) -> Option<String> {
    let url = format!("http://127.0.0.1:{port}/");
    let output = Command::new("curl").args(["--silent", "--fail", "--max-time", "10", &url]).output().unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn firecrackers_files_are_made() {
    let scratch = Scratch::new(Tier::Qemu);
    let output = script(&scratch, "firecracker/make.sh", &["web.tar", "web.json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = scratch.run("mkcpio", "mkcpio list --names initramfs.cpio");
    assert!(names.contains("/virtio_mmio.ko") && names.contains("lib/modules/index"), "{names}");
    assert!(Path::exists(&scratch.path("disk.img")));
}

mod long {
    use super::*;
    use whit_tools::machine::Machine;
    use xtask::bench::kernel::KernelName;

    #[test]
    #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
    fn postgres_keeps_its_data_on_a_disk_that_grows() {
        let scratch = scratch(&POSTGRES, "postgres");
        let run = |size: &str, text: &str, expected: &str| {
            let port = free_port();
            let arguments = ["image.tar", "image.json", "db.img", size, &port.to_string()];
            let mut machine = Running::start(script(&scratch, "postgresql/run.sh", &arguments));
            if size == "1G" {
                machine.wait_for("PostgreSQL init process complete");
                let at = machine.shown.len();
                machine.shown.drain(..at);
            }
            machine.wait_for("database system is ready to accept connections");
            let answer = query(port, text);
            let (code, shown) = machine.stop(Signal::TERM);
            assert!(code == Some(0) && answer == expected, "{code:?} {answer}\n{shown}");
            assert_clean(&scratch.path("db.img"));
        };
        run("1G", "CREATE TABLE t AS SELECT 42 AS n; SELECT n FROM t", "42");
        run("3G", "SELECT n FROM t", "42");
        assert_eq!(std::fs::metadata(scratch.path("db.img")).unwrap().len(), 3 << 30);
        let space = scratch.run("mkraw", "mkraw inspect db.img | grep ^space");
        assert!(space.starts_with("space     3.0 GiB"), "{space}");
    }

    #[test]
    #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
    fn debians_systemd_is_pid_1() {
        let scratch = scratch(&SYSTEMD, "systemd");
        let mut machine = Running::start(script(&scratch, "systemd/run.sh", &["image.tar", "debian.img"]));
        machine.wait_for("report: systemd /usr/lib/systemd/systemd");
        machine.wait_for("report: failed: none");
        // systemd-logind hears the power button.
        let (code, shown) = machine.stop(Signal::TERM);
        assert_eq!(code, Some(128 + 15), "{shown}");
    }

    #[test]
    #[ignore = "compiles a kernel once, for minutes: cargo selftest -- --long runs it"]
    fn an_own_kernel_needs_the_init_alone() {
        let kernel = KernelName::Micro.prepare(Machine::X86_64, |line| println!("{line}")).unwrap();
        let scratch = Scratch::new(Tier::Long);
        let arguments = [kernel.vmlinuz.to_str().unwrap(), "web.tar", "/bin/echo", "hello"];
        let output = script(&scratch, "own-kernel/run.sh", &arguments).output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && shown.contains("hello\r\n"), "{shown}");
    }
}
