//! The README's first command prints the lines that the README shows.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use whit_tests::deadline::{Deadline, output};
use whit_tests::tool;

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_demo_serves_a_page_and_powers_off() {
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
    use whit_tests::debian::store;

    use super::*;

    /// The client is the one of Debian's package, which is not installed: it would start a server.
    #[test]
    #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
    fn a_docker_server_runs_from_a_disk_and_from_memory() {
        let programs = store().package("docker.io").unwrap().join("usr/bin");
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&folders))).unwrap();
        for more in [&[][..], &["--no-disk"]] {
            let mut command = Command::new("timeout");
            command.env("PATH", &folders);
            let demo =
                command.arg("600").arg(tool("demo")).args(["--docker", "--accel", "tcg"]).args(more).output().unwrap();
            let (shown, errors) = (String::from_utf8_lossy(&demo.stdout), String::from_utf8_lossy(&demo.stderr));
            assert!(demo.status.success(), "{shown}\n{errors}");
            println!("{shown}");
            let mut rest = &*shown;
            for expected in
                ["API", "docker import", "docker run", "GET of", "docker exec", "docker stop", "\npowered off; "]
            {
                let at =
                    rest.find(expected).unwrap_or_else(|| panic!("no {expected:?} where it should be in\n{shown}"));
                rest = &rest[at + expected.len()..];
            }
        }
    }
}
