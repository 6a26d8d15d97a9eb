//! Access of a machine to its host: shared folders and disks. Scripts stand in for QEMU and virtiofsd.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use whit_tests::{tool, write_program};

/// Makes a directory with a kernel, an initramfs, and these scripts as QEMU and virtiofsd.
fn with_scripts(qemu: &str, virtiofsd: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    write_program(&at("qemu-system-x86_64"), format!("#!/bin/sh\n{qemu}\n").as_bytes());
    write_program(&at("virtiofsd"), format!("#!/bin/sh\n{virtiofsd}\n").as_bytes());
    fs::write(at("kernel"), "kernel").unwrap();
    fs::write(at("initrd"), "").unwrap();
    for folder in ["tmp", "shared"] {
        fs::create_dir(at(folder)).unwrap();
    }
    directory
}

fn runvm(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(tool("runvm"));
    let path = format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", directory.path().display());
    command.current_dir(directory.path()).env("PATH", path).env("TMPDIR", directory.path().join("tmp"));
    command.stdin(Stdio::null()).args(["--kernel", "kernel", "--initrd", "initrd", "--accel", "tcg"]).args(arguments);
    command
}

fn outcome(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn run(directory: &TempDir, arguments: &[&str]) -> (Option<i32>, String, String) {
    let outcome = outcome(&runvm(directory, arguments).output().unwrap());
    assert_eq!(fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0, "it leaves files: {}", outcome.2);
    outcome
}

#[test]
fn a_daemon_that_ends_ends_the_machine_with_its_error() {
    for (daemon, words) in [
        ("echo 'no room' >&2; exit 3", "has ended (exit status: 3): no room\n"),
        ("kill -KILL $$", "has ended (signal: 9 (SIGKILL))\n"),
        ("exit 0", "has ended (exit status: 0)\n"),
    ] {
        // A guest that waits for the folder without end.
        let directory =
            with_scripts("echo 'whit: exit 0'; exec sleep 1000", &format!("test \"$1\" = --help || {{ {daemon}; }}"));
        let start = Instant::now();
        let (code, _, errors) = run(&directory, &["--share", "virtiofs", "-v", "shared:/data"]);
        assert_eq!(code, Some(125), "{errors}");
        assert!(errors.starts_with("runvm: virtiofsd for ") && errors.ends_with(words), "{errors}");
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn a_daemon_that_ends_with_the_machine_is_no_failure() {
    let directory =
        with_scripts("touch over; echo 'whit: exit 4'", "test \"$1\" = --help || until test -e over; do :; done");
    let (code, _, errors) = run(&directory, &["--share", "virtiofs", "-v", "shared:/data"]);
    assert_eq!((code, errors.as_str()), (Some(4), ""));
}

/// A daemon that tries to write to its shared folder, and logs its arguments and the results.
const WRITER: &str = r#"for word; do case $word in source=*) folder=${word#source=};; esac; done
{ touch "$folder/new" && echo written; touch "$folder/inner/new" && echo written; echo "$@"; cat "$folder/in"; } >log 2>&1"#;

#[test]
fn a_read_only_folder_is_mounted_read_only_for_a_daemon_without_such_an_option() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let daemon = format!("test \"$1\" = --help && exit\n{WRITER}\ntouch done; until test -e over; do sleep 0.1; done");
    let directory = with_scripts("until test -e done; do sleep 0.1; done; touch over; echo 'whit: exit 0'", &daemon);
    let at = |name: &str| directory.path().join(name);
    fs::write(at("shared/in"), "from the host\n").unwrap();
    fs::create_dir(at("shared/inner")).unwrap();
    for (access, is_written) in [(":ro", false), ("", true)] {
        let _ = (fs::remove_file(at("done")), fs::remove_file(at("over")));
        let (code, _, errors) = run(&directory, &["--share", "virtiofs", "-v", &format!("shared:/data{access}")]);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{access}");
        let log = fs::read_to_string(at("log")).unwrap();
        assert!(log.ends_with("from the host\n"), "{log}");
        assert_eq!((at("shared/new").exists(), at("shared/inner/new").exists()), (is_written, is_written), "{log}");
    }
}

#[test]
fn a_read_only_folder_gives_a_daemon_its_read_only_option() {
    let daemon = "test \"$1\" = --help && { echo '  --shared-dir DIR'; echo '  --readonly'; exit; }\n\
                  echo \"$@\" >log; touch done; until test -e over; do sleep 0.1; done";
    let directory = with_scripts("until test -e done; do sleep 0.1; done; touch over; echo 'whit: exit 0'", daemon);
    let (code, _, errors) = run(&directory, &["--share", "virtiofs", "-v", "shared:/data:ro"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let log = fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(log.ends_with("/shared --cache auto --readonly\n"), "{log}");
}

#[test]
fn a_folder_that_cannot_be_made_read_only_is_not_shared() {
    let directory = with_scripts("echo ran", "test \"$1\" = --help || touch ran");
    let writable = directory.path().metadata().unwrap().mode();
    assert_ne!(writable & 0o700, 0);
    // Without the capability to mount.
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]);
    let run = runvm(&directory, &["--share", "virtiofs", "-v", "shared:/data:ro"]);
    command.arg(run.get_program()).args(run.get_args()).current_dir(directory.path()).stdin(Stdio::null());
    command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (code, shown, errors) = outcome(&command.output().unwrap());
    assert_eq!((code, shown.as_str(), errors.lines().count()), (Some(125), "", 1), "{errors}");
    assert!(errors.contains(":ro: cannot be shared read-only: "), "{errors}");
    assert!(!directory.path().join("ran").exists());
}

#[test]
fn a_comma_in_a_folders_name_starts_no_option() {
    let directory = with_scripts("", "");
    let name = "d,source=/etc,path=x";
    fs::create_dir_all(directory.path().join(name)).unwrap();
    for (kind, option) in [("9p", ",path=d,,source=/etc,,path=x"), ("virtiofs", "/virtiofs")] {
        let arguments = ["--share", kind, "-v", &format!("{name}:/data"), "--print"];
        let (code, shown, errors) = outcome(&runvm(&directory, &arguments).output().unwrap());
        assert_eq!(code, Some(0), "{errors}");
        assert!(shown.contains(option) && !shown.contains(",source=/etc,path"), "{shown}");
    }
}

#[test]
fn a_disk_that_is_an_input_or_a_character_device_is_refused() {
    let directory = with_scripts("echo ran", "");
    let at = |name: &str| directory.path().join(name);
    fs::hard_link(at("kernel"), at("linked")).unwrap();
    let output = Command::new("mkfifo").arg("pipe").current_dir(directory.path()).status();
    assert!(output.unwrap().success());
    for (disk, words) in [
        ("linked", "linked: is the input kernel as well"),
        ("initrd", "initrd: is the input initrd as well"),
        ("pipe", "pipe: is a pipe; "),
        ("/dev/null", "/dev/null: is a character device; "),
        ("-", "-: a disk must be a file or a block device"),
    ] {
        let (code, shown, errors) = run(&directory, &["--disk", disk]);
        assert_eq!((code, shown.as_str(), errors.lines().count()), (Some(125), "", 1), "{disk}: {errors}");
        assert!(errors.contains(words), "{disk}: {errors}");
    }
    assert!(fs::symlink_metadata(at("pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn cached_and_temporary_files_are_private_to_their_owner() {
    let show = "export LC_ALL=C; stat -c '%a %F' tmp/* tmp/*/*; until test \"$1\" = -initrd; do shift; done; stat -c '%a %F' \"$2\"";
    let directory = with_scripts(show, "");
    let (_, shown, errors) = run(&directory, &["--", "secret"]);
    assert!(shown.lines().count() >= 6, "{shown}{errors}");
    for line in shown.lines() {
        let (mode, kind) = line.trim().split_once(' ').unwrap();
        let expected = match kind {
            "directory" => "700",
            "socket" => continue, // in a directory that only the owner may enter
            _ => "600",
        };
        assert_eq!(mode, expected, "{line}");
    }
    fs::write(directory.path().join("file"), "").unwrap();
    let tar = |name: &str| Command::new("tar").args(["-cf", name, "file"]).current_dir(directory.path()).status();
    assert!(tar("image.tar").unwrap().success());
    let cache = directory.path().join("cache");
    let made = Command::new(tool("runvm"))
        .args(["image.tar", "--kernel", "kernel", "--init", "/bin/busybox", "--print"])
        .current_dir(directory.path())
        .env("WHIT_CACHE", &cache)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!(mode(&cache), 0o700);
    let kept: Vec<_> = fs::read_dir(&cache).unwrap().map(|file| mode(&file.unwrap().path())).collect();
    // The disk, the initramfs, and the outcome of the check of KVM where there is one.
    assert!(kept.len() >= 2 && kept.iter().all(|mode| *mode == 0o600), "{kept:?}");
}

#[test]
fn a_file_is_shared_by_9p_as_a_folder_with_a_link() {
    let directory = with_scripts(
        "for word; do case $word in local,*) path=${word#*path=}; path=${path%%,*};; esac; done\n\
         ls -A $path; cat $path/file; echo more >>$path/file; echo 'whit: exit 0'",
        "",
    );
    fs::write(directory.path().join("app.conf"), "from the host\n").unwrap();
    let (code, shown, errors) = run(&directory, &["--share", "9p", "-v", "app.conf:/etc/app.conf"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(shown.contains("file\nfrom the host\n"), "{shown}");
    assert_eq!(fs::read_to_string(directory.path().join("app.conf")).unwrap(), "from the host\nmore\n");
    let (code, _, errors) = run(&directory, &["--share", "9p", "-v", "app.conf:/etc/app.conf", "--print"]);
    assert_eq!((code, errors.contains("with --print share its folder")), (Some(125), true), "{errors}");
}
