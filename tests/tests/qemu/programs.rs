//! The steps from an image to a machine, with the programs mkraw, mkcpio and runvm. `documents.rs` runs the README's own commands.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use whit_tests::deadline::{Deadline, output};
use whit_tests::debian::{kernel, store};
use whit_tests::whole::{VIRTIO, assert_clean, fetch, free_port};
use whit_tests::{init, tool};
use whit_tools::kernel::debian::{Flavour, Kernel};
use xtask::images;
use xtask::workspace;

/// The relevant fields of `docker inspect` for an nginx container.
const INSPECTED: &str = r#"[{"Id": "4f66ad9a0b2e", "Path": "nginx", "Config": {"Hostname": "web", "User": "",
    "Env": ["PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/bin", "NGINX_VERSION=1.22.1"], "WorkingDir": "/var/www",
    "Cmd": ["nginx", "-g", "daemon off; error_log stderr notice;"], "Entrypoint": null, "StopSignal": "SIGQUIT"}}]"#;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes `disk.img` and `initramfs.cpio.gz` as the README does.
fn make(kernel: &Kernel) -> TempDir {
    let directory = tempfile::tempdir_in(workspace::target()).unwrap();
    let exported = File::open(images::nginx::tar(&mut store()).unwrap()).unwrap();
    fs::write(directory.path().join("web.json"), INSPECTED).unwrap();
    let mut mkraw = Command::new(tool("mkraw"));
    mkraw.args(["-o", "disk.img", "--config", "web.json"]).stdin(exported);
    run(mkraw.current_dir(directory.path()));
    init();
    let mut mkcpio = Command::new(tool("mkcpio"));
    mkcpio.args(["-o", "initramfs.cpio.gz", "--modules"]).arg(&kernel.modules);
    mkcpio.args(VIRTIO.iter().flat_map(|module| ["--module", *module]));
    run(mkcpio.current_dir(directory.path()));
    directory
}

fn runvm(kernel: &Kernel, directory: &TempDir, arguments: &[&str]) -> Command {
    let mut runvm = Command::new(tool("runvm"));
    runvm.arg("--kernel").arg(&kernel.vmlinuz).args(["--initrd", "initramfs.cpio.gz", "--disk", "disk.img"]);
    runvm.args(["--accel", "tcg"]).args(arguments);
    runvm.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    runvm
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_exported_container_becomes_a_machine_with_the_status_of_its_workload() {
    let kernel = kernel(Flavour::Cloud, None);
    let directory = make(&kernel);
    let port = free_port();
    let mut machine = runvm(&kernel, &directory, &["-p", &format!("{port}:80")]).spawn().unwrap();
    let _deadline = Deadline::of(&machine);
    // nginx logs to its standard error.
    let mut console = BufReader::new(machine.stderr.take().unwrap());
    let mut shown = String::new();
    while !shown.contains("start worker process ") {
        assert_ne!(console.read_line(&mut shown).unwrap(), 0, "runvm ended:\n{shown}");
    }
    let answer = fetch(port);
    assert!(answer.contains("<title>Welcome to nginx!</title>"), "{answer}\n{shown}");
    kill_process(Pid::from_child(&machine), Signal::INT).unwrap();
    console.read_to_string(&mut shown).unwrap();
    assert_eq!(machine.wait().unwrap().code(), Some(0), "{shown}");
    assert_clean(&directory.path().join("disk.img"));

    // Words after -- replace CMD, and the status is the workload's.
    let mut machine = runvm(&kernel, &directory, &["--", "nginx", "-g", "no such directive;"]);
    let machine = output(&mut machine);
    let shown = String::from_utf8_lossy(&machine.stderr);
    assert!(shown.contains("unknown directive \"no\" in command line"), "{shown}");
    assert_eq!(machine.status.code(), Some(1), "{shown}");
    assert_clean(&directory.path().join("disk.img"));
}
