//! The exit status of a machine, and which sources runvm takes it from. A script stands in for QEMU.

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use whit_tests::{tool, write_program};

/// Sends events of QEMU's machine protocol to the last `-chardev socket`, as if the guest had opened the port of the exit codes.
const OPEN_PORT: &str = r#"for word; do case $word in socket,id=control1,path=*) socket=${word#*path=};; esac; done
perl -MIO::Socket::UNIX -e '
    my $qmp = IO::Socket::UNIX->new($ARGV[0]) or die; $qmp->autoflush;
    print $qmp "{\"QMP\": {}}\n"; <$qmp>; print $qmp "{\"return\": {}}\n"; <$qmp>; print $qmp "{\"return\": []}\n";
    print $qmp "{\"event\": \"VSERPORT_CHANGE\", \"data\": {\"id\": \"org.whit.exit\", \"open\": true}}\n";
' "$socket""#;

/// Makes a directory with a kernel, an initramfs, and this script as QEMU.
fn with_script(script: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    write_program(&at("qemu-system-x86_64"), format!("#!/bin/sh\n{script}\n").as_bytes());
    fs::write(at("kernel"), "kernel").unwrap();
    fs::write(at("initrd"), "").unwrap();
    fs::create_dir(at("tmp")).unwrap();
    directory
}

/// Runs the machine; returns status, standard output and standard error.
fn run(directory: &TempDir) -> (Option<i32>, String, String) {
    let mut command = Command::new(tool("runvm"));
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    command.current_dir(directory.path()).env("PATH", path).env("TMPDIR", directory.path().join("tmp"));
    command.stdin(Stdio::null()).args(["--kernel", "kernel", "--initrd", "initrd", "--accel", "tcg"]);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0);
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_console_is_no_status_once_the_guest_has_opened_the_port() {
    let no_status = "runvm: the machine ended without reporting the workload's status\n";
    for (script, status, words) in [
        ("echo 'whit: exit 0'".to_owned(), 0, ""),
        (format!("echo 'whit: exit 0'\n{OPEN_PORT}"), 125, no_status),
        (format!("{OPEN_PORT}\necho 'whit: exit 0'"), 125, no_status),
    ] {
        let directory = with_script(&script);
        let (code, _, errors) = run(&directory);
        assert_eq!((code, errors.as_str()), (Some(status), words), "{script}");
    }
}

#[test]
fn the_port_accepts_any_number_of_bytes_and_keeps_few() {
    let find = r#"until file=${1#file,id=port?,path=}; test "$file" != "$1"; do shift; done"#;
    let script = format!("{find}; head -c 50000000 /dev/zero >$file; echo >$file; echo 5 >$file; du -s tmp | cut -f1");
    let directory = with_script(&script);
    let (code, shown, errors) = run(&directory);
    assert_eq!((code, errors.as_str()), (Some(5), ""));
    assert!(shown.trim().parse::<u32>().unwrap() < 100, "{shown} KiB");
}
