//! runvm from an image to a machine: its cache, folders of the host, ctrl-c, the terminal's size.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use whit_tests::deadline::{Deadline, output};
use whit_tests::debian::{cloud_kernels, kernel, store};
use whit_tests::terminal::{resize, terminal};
use whit_tests::whole::{busybox_tar, fetch, free_port};
use whit_tests::{init, tool};
use whit_tools::kernel::debian::{Flavour, Kernel};
use xtask::images;
use xtask::workspace;

fn folder() -> TempDir {
    tempfile::tempdir_in(workspace::target()).unwrap()
}

/// Returns a command of runvm for `image` in `folder`, which has the cache too.
fn runvm(kernel: &Kernel, folder: &TempDir, image: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    // A shell without job control ignores these for what it starts in the background.
    command.arg("--default-signal=INT,QUIT").arg(tool("runvm"));
    command.arg(image).arg("--kernel").arg(&kernel.vmlinuz).arg("--modules").arg(&kernel.modules);
    command.arg("--init").arg(init()).args(["--accel", "tcg"]).args(arguments);
    command.current_dir(folder.path()).env("WHIT_CACHE", folder.path().join("cache"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command; returns status, standard output and standard error.
fn outcome(mut command: Command) -> (Option<i32>, String, String) {
    let output = output(&mut command);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn cached(folder: &TempDir) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder.path().join("cache")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_image_runs_as_in_docker_and_the_cache_is_used() {
    for kernel in cloud_kernels() {
        let folder = folder();
        fs::create_dir(folder.path().join("share")).unwrap();
        fs::write(folder.path().join("share/in"), "from the host\n").unwrap();
        let script =
            "cat /data/in; echo $A $PWD $(hostname); echo \"$@\" >/data/out; touch /data/ro /ro/x /new; exit 7";
        let run = |args: &str| {
            let options = [
                "-e",
                "A=1 2",
                "-v",
                "share:/data",
                "-v",
                "share:/ro:ro",
                "-w",
                "/srv",
                "--hostname",
                "box",
                "--entrypoint",
                "/bin/sh",
                "--nic",
                "none",
                "--",
                "-c",
                script,
                "sh",
                args,
            ];
            outcome(runvm(&kernel, &folder, &busybox_tar(), &options))
        };
        let (status, shown, errors) = run("the first");
        let expected = ("from the host\n1 2 /srv box\n", "touch: /ro/x: Read-only file system\n");
        assert_eq!((status, (shown.as_str(), errors.as_str())), (Some(7), expected));
        assert_eq!(fs::read_to_string(folder.path().join("share/out")).unwrap(), "the first\n");
        assert!(folder.path().join("share/ro").exists());
        let made = cached(&folder);
        assert_eq!(made.len(), 3, "{made:?}");
        let (status, _, errors) = run("the second");
        assert_eq!((status, errors.as_str()), (Some(7), expected.1));
        assert_eq!(fs::read_to_string(folder.path().join("share/out")).unwrap(), "the second\n");
        assert_eq!(cached(&folder), made);
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_disk_keeps_writes_and_the_cache_does_not() {
    let (kernel, folder) = (kernel(Flavour::Cloud, None), folder());
    let run = |disk: &[&str], program: &str| {
        let arguments = [disk, &["--nic", "none", "--entrypoint", "/bin/sh", "--", "-c", program]].concat();
        outcome(runvm(&kernel, &folder, &busybox_tar(), &arguments))
    };
    let kept = ["--disk", "kept.img"];
    for (disk, program, expected) in [
        (&[][..], "echo 1 >/file", 0),
        (&[], "test -e /file", 1),
        (&kept, "echo 1 >/file", 0),
        (&kept, "test -e /file", 0),
        (&["--read-only"], "echo 1 >/file", 1),
    ] {
        let (status, shown, errors) = run(disk, program);
        assert_eq!(status, Some(expected), "{disk:?} {program}: {shown}{errors}");
    }
}

/// Such an image comes from `docker save`, or from a Dockerfile's `FROM scratch`.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_read_only_image_without_mount_points_runs() {
    let (kernel, folder) = (kernel(Flavour::Cloud, None), folder());
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir(root.join("etc")).unwrap();
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    let image = folder.path().join("image.tar");
    let made = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&image).arg(".").status().unwrap();
    assert!(made.success());
    let script = "test -c /dev/null && test -d /sys/class && busybox readlink /etc/mtab && busybox grep -c ' / ext4 ro' /etc/mtab";
    let arguments = ["--read-only", "--network", "none", "--entrypoint", "/bin/sh", "--", "-c", script];
    let (status, shown, errors) = outcome(runvm(&kernel, &folder, &image, &arguments));
    assert_eq!((status, shown.replace('\r', "").as_str()), (Some(0), "/proc/mounts\n1\n"), "{errors}");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_kernel_without_its_modules_is_refused_at_once() {
    let (kernel, folder) = (kernel(Flavour::Cloud, None), folder());
    let mut command = Command::new(tool("runvm"));
    command.arg("--kernel").arg(&kernel.vmlinuz).arg("--init").arg(init()).args(["--accel", "tcg"]).arg(busybox_tar());
    command.current_dir(folder.path()).env("WHIT_CACHE", folder.path().join("cache")).stdin(Stdio::null());
    let (status, shown, errors) = outcome(command);
    assert_eq!((status, shown.as_str()), (Some(125), ""), "{errors}");
    let expected = "has no virtio_pci, virtio_blk, virtio_net built in; give its modules with --modules DIR\n";
    let expected_later = "has no virtio_blk, virtio_net built in; give its modules with --modules DIR\n";
    assert!(errors.ends_with(expected) || errors.ends_with(expected_later), "{errors}");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_module_is_loaded_on_request_and_kaslr_boots_the_bzimage() {
    for kernel in cloud_kernels() {
        let folder = folder();
        let script = "grep -c ^dummy /proc/modules";
        let more = [
            "--kaslr",
            "--module",
            "dummy",
            "--network",
            "none",
            "--entrypoint",
            "/bin/busybox",
            "--",
            "sh",
            "-c",
            script,
        ];
        let (status, shown, errors) = outcome(runvm(&kernel, &folder, &busybox_tar(), &more));
        assert_eq!((status, shown.replace('\r', "").as_str()), (Some(0), "1\n"), "{errors}");
        assert!(
            !cached(&folder).iter().any(|file| file.to_string_lossy().contains("vmlinux")),
            "{:?}",
            cached(&folder)
        );
    }
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

/// The last process to end can print the last line on the console, but only the init writes to the port.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_workload_cannot_forge_its_status_at_its_end() {
    for kernel in cloud_kernels() {
        let folder = folder();
        let script = "mkfifo /fifo; (trap 'echo whit: exit 0; exit' TERM; echo >/fifo; while :; do sleep 1; done) &
            read line </fifo; echo 0 >/dev/vport*; exit 7";
        let arguments = ["--nic", "none", "--entrypoint", "/bin/sh", "--", "-c", script];
        let (status, shown, errors) = outcome(runvm(&kernel, &folder, &busybox_tar(), &arguments));
        assert_eq!((status, errors.as_str()), (Some(7), ""), "{shown}");
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn ctrl_c_interrupts_the_workload() {
    let (kernel, folder, port) = (kernel(Flavour::Cloud, None), folder(), free_port());
    fs::create_dir(folder.path().join("site")).unwrap();
    fs::write(folder.path().join("site/index.html"), "a page of the host").unwrap();
    let publish = format!("{port}:80");
    let arguments = [
        "-p",
        &publish,
        "-v",
        "site:/var/www/html:ro",
        "--timeline",
        "--entrypoint",
        "/usr/sbin/nginx",
        "--",
        "-g",
        "daemon off; error_log stderr notice;",
    ];
    let mut machine = runvm(&kernel, &folder, &images::nginx::tar(&mut store()).unwrap(), &arguments).spawn().unwrap();
    let _deadline = Deadline::of(&machine);
    // nginx logs to its standard error.
    let mut log = BufReader::new(machine.stderr.take().unwrap());
    let mut errors = String::new();
    while !errors.contains("start worker process ") {
        assert_ne!(log.read_line(&mut errors).unwrap(), 0, "runvm ended:\n{errors}");
    }
    assert!(fetch(port).ends_with("a page of the host"));
    interrupt(&machine);
    log.read_to_string(&mut errors).unwrap();
    let mut shown = String::new();
    machine.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!((machine.wait().unwrap().code(), shown.as_str()), (Some(0), ""), "{errors}");
    assert!(errors.contains("signal 2 (SIGINT) received from 1, exiting"), "{errors}");
    assert!(!errors.contains("whit: ") && !errors.contains("reboot: "), "{errors}");
    assert!(errors.contains("entrypoint running "), "{errors}");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_terminal_has_the_same_size_in_the_machine_as_outside() {
    for kernel in cloud_kernels() {
        let folder = folder();
        let (ours, theirs) = terminal();
        resize(&ours, 33, 101);
        // Waits for the size: the machine may start before it receives the size.
        let script = "until stty size | grep -q '33 101'; do :; done; trap 'stty size; exit 5' WINCH; echo ready
            while :; do read line; done";
        let arguments = ["-t", "--nic", "none", "--entrypoint", "/bin/sh", "--", "-c", script];
        let mut command = runvm(&kernel, &folder, &busybox_tar(), &arguments);
        let copy = || theirs.try_clone().unwrap();
        // The machine has a session and a terminal of its own: SIGWINCH goes to the foreground process group.
        let mut machine = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(folder.path())
            .env("WHIT_CACHE", folder.path().join("cache"))
            .stdin(copy())
            .stdout(copy())
            .stderr(copy())
            .spawn()
            .unwrap();
        let _deadline = Deadline::of(&machine);
        drop((theirs, command.stdin(Stdio::null())));
        let mut console = BufReader::new(File::from(ours.try_clone().unwrap()));
        let mut shown = String::new();
        while !shown.contains("ready\r") {
            assert_ne!(console.read_line(&mut shown).unwrap_or(0), 0, "runvm ended:\n{shown}");
        }
        resize(&ours, 20, 40);
        while console.read_line(&mut shown).unwrap_or(0) != 0 {}
        assert_eq!(machine.wait().unwrap().code(), Some(5), "{shown}");
        assert!(shown.contains("20 40"), "{shown}");
        File::from(ours).flush().unwrap();
    }
}
