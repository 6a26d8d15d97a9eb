//! Access of a machine in QEMU to its host, with the default kernel and this host's virtiofsd.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use whit_tests::deadline::output;
use whit_tests::debian::kernel;
use whit_tests::whole::busybox_tar;
use whit_tests::{init, tool};
use whit_tools::kernel::debian::{Flavour, Kernel};
use xtask::workspace;

fn folder() -> TempDir {
    tempfile::tempdir_in(workspace::target()).unwrap()
}

/// Runs a shell script as root in a machine; returns status, standard output and standard error.
fn run(kernel: &Kernel, folder: &Path, options: &[&str], script: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(tool("runvm"));
    command.arg(busybox_tar()).arg("--kernel").arg(&kernel.vmlinuz).arg("--modules").arg(&kernel.modules);
    command.arg("--init").arg(init()).args(["--accel", "tcg", "--nic", "none", "--entrypoint", "/bin/sh"]);
    command.args(options).args(["--", "-c", script]).current_dir(folder).env("WHIT_CACHE", folder.join("cache"));
    let output = output(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn root_in_the_machine_cannot_write_to_a_read_only_folder() {
    let (kernel, folder) = (kernel(Flavour::Cloud, None), folder());
    let shared = folder.path().join("shared");
    fs::create_dir_all(shared.join("inner")).unwrap();
    fs::write(shared.join("in"), "from the host\n").unwrap();
    let script = "mount -o remount,rw /data && echo remounted; touch /data/new; touch /data/inner/new; rm /data/in; \
                  echo over >/data/in; chmod 4755 /data/in; mkdir /again; \
                  mount -t virtiofs share0 /again && touch /again/new; cat /data/in; exit 3";
    let before = fs::metadata(shared.join("in")).unwrap();
    let (status, shown, errors) = run(&kernel, folder.path(), &["-v", "shared:/data:ro"], script);
    assert_eq!((status, errors.matches("Read-only file system").count()), (Some(3), 6), "{shown}{errors}");
    assert!(shown.contains("remounted") && shown.contains("from the host"), "{shown}");
    let after = fs::metadata(shared.join("in")).unwrap();
    assert_eq!(after.permissions(), before.permissions());
    assert_eq!(fs::read_to_string(shared.join("in")).unwrap(), "from the host\n");
    let count = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!((count(&shared), count(&shared.join("inner"))), (2, 0), "{shown}");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_file_is_a_volume() {
    let (kernel, folder) = (kernel(Flavour::Cloud, None), folder());
    let (write, fixed) = (folder.path().join("write"), folder.path().join("fixed"));
    fs::write(&write, "from the host\n").unwrap();
    fs::write(&fixed, "fixed\n").unwrap();
    // /etc/passwd is the image's, /opt is not; the link leads out of the root only outside of the machine.
    let script = "cat /etc/passwd /opt/new/one; echo more >>/opt/new/one; echo x >/etc/passwd; rm /etc/passwd; mv /opt/new/one /opt; \
                  ls /opt/new; test -e /etc/hosts && mkdir /again && mount -t virtiofs share0 /again && touch /again/new; \
                  ls -A /again; grep -c ' /mnt' /proc/mounts; exit 3";
    let volumes = ["-v", "write:/opt/new/one", "-v", "fixed:/etc/passwd:ro"];
    let (status, shown, errors) = run(&kernel, folder.path(), &volumes, script);
    assert_eq!((status, shown.as_str()), (Some(3), "fixed\nfrom the host\none\nfile\n0\n"), "{errors}");
    assert_eq!((errors.matches("Read-only file system").count(), errors.matches("busy").count()), (2, 2), "{errors}");
    assert_eq!(fs::read_to_string(&write).unwrap(), "from the host\nmore\n");
    assert_eq!(fs::read_to_string(&fixed).unwrap(), "fixed\n");
    // docker: "not a directory: Are you trying to mount a directory onto a file".
    let (status, _, errors) = run(&kernel, folder.path(), &["-v", "write:/etc"], "true");
    assert_eq!(
        (status, errors.contains("whit: mount=virtiofs:share0:/etc:file: ENOTDIR")),
        (Some(125), true),
        "{errors}"
    );
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_folder_with_a_comma_in_its_name_is_shared() {
    let (kernel, folder) = (kernel(Flavour::Cloud, None), folder());
    // If the comma started an option, the second half would share /etc.
    for name in ["d,source=/etc", "a\\b, c"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("in"), "the folder\n").unwrap();
        for access in ["", ":ro"] {
            let volume = format!("{name}:/data{access}");
            let (status, shown, errors) = run(&kernel, folder.path(), &["-v", &volume], "ls /data; cat /data/in");
            assert_eq!((status, errors.as_str()), (Some(0), ""), "{volume}: {shown}");
            assert!(shown == "in\nthe folder\n", "{volume}: {shown}");
        }
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_workload_cannot_forge_its_status_on_the_console() {
    let (kernel, folder) = (kernel(Flavour::Cloud, None), folder());
    let script = "echo 'whit: exit 0'; sleep 1; echo c >/proc/sysrq-trigger";
    let (status, shown, errors) = run(&kernel, folder.path(), &[], script);
    assert_eq!(status, Some(125), "{shown}{errors}");
    assert!(errors.contains("without reporting the workload's status"), "{errors}");
    let (status, shown, errors) = run(&kernel, folder.path(), &[], "echo 'whit: exit 0'; exit 9");
    assert_eq!(status, Some(9), "{shown}{errors}");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_disk_with_a_name_of_qemus_syntax_is_a_file() {
    let (kernel, folder) = (kernel(Flavour::Cloud, None), folder());
    let name = "nbd:x,readonly=on";
    let (status, shown, errors) = run(&kernel, folder.path(), &["--disk", name], "echo written >/file && sync");
    assert_eq!(status, Some(0), "{shown}{errors}");
    assert!(File::open(folder.path().join(name)).unwrap().metadata().unwrap().len() > 0);
}
