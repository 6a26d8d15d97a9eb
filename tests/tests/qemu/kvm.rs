//! What `--accel auto` makes of the host's KVM, which may be there and run no kernel.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use whit_tests::deadline::output;
use whit_tests::debian::kernel;
use whit_tests::whole::busybox_tar;
use whit_tests::{init, tool, write_program};
use whit_tools::kernel::debian::Flavour;

/// QEMU with TCG in the place of KVM.
const TCG_FOR_KVM: &str = r#"#!/bin/bash
arguments=()
for argument; do
    test "$argument" != kvm || argument=tcg
    arguments+=("$argument")
done
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin exec qemu-system-x86_64 "${arguments[@]}"
"#;

/// Runs a workload by `--accel auto`; returns its status, and what runvm reports.
fn run(folder: &TempDir, image: &Path) -> (Option<i32>, String) {
    let kernel = kernel(Flavour::Cloud, None);
    let mut command = Command::new(tool("runvm"));
    command.arg(image).arg("--kernel").arg(&kernel.vmlinuz).arg("--modules").arg(&kernel.modules);
    command.arg("--init").arg(init()).args(["--nic", "none", "--entrypoint", "/bin/sh", "--", "-c", "exit 7"]);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", folder.path().display()));
    command.env("WHIT_CACHE", folder.path().join("cache")).current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = output(&mut command);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The cached answer.
fn answer(folder: &TempDir) -> Option<String> {
    let mut files = fs::read_dir(folder.path().join("cache")).unwrap().map(|file| file.unwrap().path());
    let file = files.find(|file| file.file_name().unwrap().to_str().unwrap().starts_with("kvm-"))?;
    Some(fs::read_to_string(file).unwrap())
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_machine_runs_whatever_the_kvm_of_the_host_can() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let (status, said) = run(&folder, &busybox_tar());
        assert_eq!((status, said.is_empty()), (Some(7), answer(&folder).as_deref() == Some("runs\n")), "{said}");
        assert!(said.is_empty() || said.starts_with("runvm: KVM cannot be used here: "), "{said}");
        assert!(said.lines().count() < 2, "{said}");
    }
}

/// The small guest gets to its end on a processor that runs it.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn kvm_that_runs_a_guest_is_used() {
    if OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write_program(&folder.path().join("qemu-system-x86_64"), TCG_FOR_KVM.as_bytes());
    // A busy host may be too slow for the limit, and says so.
    let is_late = |said: &str| said.contains(": a small guest takes more than 3 s; ") && answer(&folder).is_none();
    let mut runs = (0..5).map(|_| run(&folder, &busybox_tar()));
    let last = runs.find(|(_, said)| !is_late(said));
    assert_eq!((last, answer(&folder).as_deref()), (Some((Some(7), String::new())), Some("runs\n")));
}
