//! The README's first command prints the lines that the README shows.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use whit_tests::deadline::{Deadline, output};
use whit_tests::tool;

/// One demo at a time: its files and its port are the same each time.
fn alone() -> MutexGuard<'static, ()> {
    static DEMO: Mutex<()> = Mutex::new(());
    DEMO.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_demo_serves_a_page_and_powers_off() {
    let _alone = alone();
    let demo = output(Command::new(tool("demo")).args(["--accel", "tcg"]));
    let (shown, errors) = (String::from_utf8_lossy(&demo.stdout), String::from_utf8_lossy(&demo.stderr));
    assert!(demo.status.success(), "{shown}\n{errors}");
    let mut rest = &*shown;
    for expected in [
        "kernel starts  ",
        "init starts  ",
        "entrypoint running  ",
        "first answer  ",
        "\nGET http://127.0.0.1:",
        "\n  HTTP/1.1 200 OK\n",
        "<title>Welcome to nginx!</title>",
        "\npowered off, file system clean; ",
    ] {
        let at = rest.find(expected).unwrap_or_else(|| panic!("no {expected:?} where it should be in\n{shown}"));
        rest = &rest[at + expected.len()..];
    }
}

/// SIGTERM is that of a service manager; ctrl-c is read from the terminal.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_signal_powers_a_kept_machine_off() {
    let _alone = alone();
    let mut demo = Command::new(tool("demo"));
    demo.args(["--accel", "tcg", "--keep"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let _deadline = Deadline::of(&demo);
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("; ctrl-c powers the machine off")));
    kill_process(Pid::from_child(&demo), Signal::TERM).unwrap();
    let last = lines.last();
    assert!(last.as_ref().is_some_and(|line| line.starts_with("powered off, file system clean; ")), "{last:?}");
    assert!(demo.wait().unwrap().success());
}

mod long {
    use std::ffi::OsString;
    use std::time::{Duration, Instant};

    use whit_tests::debian::store;
    use xtask::workspace;

    use super::*;

    /// The longest time of a demo: it boots a machine and uses it, and may fetch and build before.
    const LONGEST: Duration = Duration::from_secs(600);

    /// Returns PATH with Debian's docker before others. It is not installed: its package would start a server.
    fn path() -> OsString {
        let programs = store().package("docker.io").unwrap().join("usr/bin");
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&folders))).unwrap()
    }

    fn server(words: &[&str]) -> Command {
        let mut command = Command::new(tool("demo"));
        command.env("PATH", path()).args(["--accel", "tcg"]).args(words).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// Runs a demo, which shows these words in this order.
    fn shows(words: &[&str], all_expected: &[&str]) {
        let child = server(words).stderr(Stdio::piped()).spawn().unwrap();
        let _deadline = Deadline::within(&child, LONGEST);
        let demo = child.wait_with_output().unwrap();
        let (shown, errors) = (String::from_utf8_lossy(&demo.stdout), String::from_utf8_lossy(&demo.stderr));
        assert!(demo.status.success(), "{words:?}: {shown}\n{errors}");
        println!("{shown}");
        let mut rest = &*shown;
        for expected in all_expected.iter().chain(&["\n  power off ", "\npowered off; "]) {
            let at = rest.find(expected).unwrap_or_else(|| panic!("no {expected:?} where it should be in\n{shown}"));
            rest = &rest[at + expected.len()..];
        }
    }

    #[test]
    #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
    fn a_docker_server_runs_from_a_disk_and_with_tls_from_memory() {
        let used = ["docker import", "docker run", "GET of", "docker exec", "docker stop", "docker run"];
        shows(&["--docker"], &[&["API "][..], &used].concat());
        let folder = tempfile::tempdir().unwrap();
        let tls = folder.path().join("tls");
        let refused = ["making certificates", "API ", "refused without a certificate: tls: "];
        shows(&["--docker", "--no-disk", "--tls", tls.to_str().unwrap()], &[&refused[..], &used].concat());
    }

    #[test]
    #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
    fn a_podman_server_runs_from_a_disk_and_from_memory() {
        for more in [&[][..], &["--no-disk"]] {
            let used = ["API ", "podman import", "podman run", "GET of", "podman exec", "podman stop", "podman run"];
            shows(&[&["--server", "podman"], more].concat(), &used);
        }
    }

    #[test]
    #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
    fn a_containerd_server_runs_from_a_disk_and_from_memory() {
        for more in [&[][..], &["--no-disk"]] {
            let used = [
                "containerd answers",
                "ctr images import",
                "ctr run",
                "GET of",
                "ctr task exec",
                "ctr task kill",
                "ctr run",
            ];
            shows(&[&["--server", "containerd"], more].concat(), &used);
        }
    }

    /// Leaves a container running at power off. `run` and `exec` are words of the client, `end` is the file on the disk that the container
    /// writes at SIGTERM.
    fn stops_in_order(engine: &str, run: &str, exec: &str, end: &str) {
        const SCRIPT: &str = "trap 'echo stopped in order >/data/end; exit' TERM; echo ready >/data/ready; \
                              while :; do /bin/busybox sleep 1; done";
        let mut demo = server(&["--server", engine, "--keep"]).spawn().unwrap();
        let _deadline = Deadline::within(&demo, LONGEST);
        let lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut lines = lines.inspect(|line| println!("{line}"));
        let kept = lines.find_map(|line| Some(line.strip_suffix(" …; ctrl-c powers the machine off")?.to_owned()));
        let typed = kept.expect("a demo that waits");
        let client = |words: &str| {
            let ran = output(Command::new("sh").env("PATH", path()).args(["-c", &format!("{typed} {words}")]));
            String::from_utf8(ran.stdout).unwrap() + &String::from_utf8_lossy(&ran.stderr)
        };
        let started = client(&format!("run --detach --env S=\"{SCRIPT}\" {run} /bin/busybox sh -c 'eval \"$S\"'"));
        let begun = Instant::now();
        while client(&format!("{exec} last /bin/busybox cat /data/ready")) != "ready\n" {
            assert!(begun.elapsed() < LONGEST, "{started}");
        }
        kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
        assert_ne!(lines.count(), 0, "its standard output is read to its end");
        assert!(demo.wait().unwrap().success());
        let disk = workspace::target().join("demo").join(engine).join("disk.img");
        let read = output(Command::new(tool("mkraw")).arg("inspect").arg(disk).args(["--cat", end]));
        assert_eq!(String::from_utf8_lossy(&read.stdout), "stopped in order\n");
    }

    #[test]
    #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
    fn dockerd_stops_its_containers_at_power_off() {
        let run = "--name last --volume data:/data box";
        stops_in_order("docker", run, "exec", "/var/lib/docker/volumes/data/_data/end");
    }

    /// podman has no daemon.
    #[test]
    #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
    fn pid_1_stops_the_containers_of_podman_at_power_off() {
        let run = "--name last --volume data:/data box";
        stops_in_order("podman", run, "exec", "/var/lib/containers/storage/volumes/data/_data/end");
    }

    /// containerd leaves its containers running.
    #[test]
    #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
    fn pid_1_stops_the_containers_of_containerd_at_power_off() {
        let run = "--mount type=bind,src=/srv,dst=/data,options=rbind:rw docker.io/library/box:latest last";
        stops_in_order("containerd", run, "task exec --exec-id one", "/srv/end");
    }
}
