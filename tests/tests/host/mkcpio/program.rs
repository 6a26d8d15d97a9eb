//! mkcpio as a program: GNU cpio and gzip read its archives, and bad input leaves no file.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use whit_tests::stdio::{closed_pipe, full_disk};
use whit_tests::{copy_program, tool, use_standard_umask};

/// A static program; Debian's package busybox-static.
const BUSYBOX: &str = "/bin/busybox";

fn mkcpio(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(tool("mkcpio"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("SOURCE_DATE_EPOCH")
        .output()
        .unwrap()
}

fn make(directory: &Path, arguments: &[&str]) -> String {
    let output = mkcpio(directory, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs GNU cpio in `directory` on an archive's bytes.
fn cpio(directory: &Path, archive: &Path, arguments: &[&str]) -> String {
    let output = Command::new("cpio")
        .args(arguments)
        .current_dir(directory)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(fs::File::open(archive).unwrap())
        .output()
        .expect("Debian's package cpio must be installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    // cpio writes a count of blocks to standard error, and also errors after which it goes on.
    assert!(output.status.success() && errors.lines().count() == 1, "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a modules directory as depmod leaves it: the modules themselves are not read then.
fn modules() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let version = directory.path().join("lib/modules/6.1-test");
    fs::create_dir_all(version.join("kernel")).unwrap();
    fs::write(version.join("modules.dep"), "kernel/net.ko: kernel/core.ko.xz\nkernel/core.ko.xz:\n").unwrap();
    fs::write(version.join("modules.alias"), "# Aliases extracted from modules themselves.\n").unwrap();
    fs::write(version.join("modules.builtin"), "kernel/ext4.ko\n").unwrap();
    fs::write(version.join("kernel/net.ko"), "net").unwrap();
    let compressed = Command::new("sh").args(["-c", "printf core | xz"]).output().expect("Debian's package xz-utils");
    fs::write(version.join("kernel/core.ko.xz"), compressed.stdout).unwrap();
    directory
}

#[test]
fn gnu_cpio_lists_the_requested_files() {
    use_standard_umask();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let modules = modules();
    fs::write(at("record"), "entrypoint /bin/true\n").unwrap();
    fs::create_dir(at("tree")).unwrap();
    fs::write(at("tree/one"), "same").unwrap();
    fs::hard_link(at("tree/one"), at("tree/two")).unwrap();
    fs::set_permissions(at("tree/one"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink("one", at("tree/link")).unwrap();
    let from = modules.path().to_str().unwrap();
    let output = make(
        directory.path(),
        &[
            "-o",
            "out.cpio",
            "--init",
            BUSYBOX,
            "--busybox",
            BUSYBOX,
            "--record",
            "record",
            "--modules",
            from,
            "--for",
            "ext4",
            "--module",
            "net",
            "--module",
            "ext4",
            "--add",
            "tree:/srv",
            "--add",
            "record:/etc/",
        ],
    );
    assert!(output.contains("modules to load: core net\nmodules built into this kernel: ext4\n"), "{output}");
    let listing = cpio(directory.path(), &at("out.cpio"), &["-itv"]);
    for line in [
        "crw-------   1 root     root       5,   1 Jan  1  1970 dev/console",
        "drwxrwxrwt   2 root     root            0 Jan  1  1970 tmp",
        "-rwxr-xr-x   1 root     root      1982256 Jan  1  1970 init",
        "lrwxrwxrwx   1 root     root           12 Jan  1  1970 bin/sh -> /bin/busybox",
        "-rw-r--r--   1 root     root           21 Jan  1  1970 whit.conf",
        "-rw-r--r--   1 root     root           21 Jan  1  1970 etc/record",
        "-rw-r--r--   1 root     root           73 Jan  1  1970 lib/modules/load",
        "-rw-r--r--   1 root     root            4 Jan  1  1970 lib/modules/6.1-test/kernel/core.ko",
        "-rws--x--x   2 root     root            4 Jan  1  1970 srv/two",
        "lrwxrwxrwx   1 root     root            3 Jan  1  1970 srv/link -> one",
    ] {
        let line = line.replace("1982256", &fs::metadata(BUSYBOX).unwrap().len().to_string());
        assert!(listing.lines().any(|listed| listed == line), "no \"{line}\" in\n{listing}");
    }
    let list = cpio(directory.path(), &at("out.cpio"), &["-i", "--to-stdout", "lib/modules/load"]);
    assert_eq!(list, "/lib/modules/6.1-test/kernel/core.ko\n/lib/modules/6.1-test/kernel/net.ko\n");
    let applets = listing.lines().filter(|line| line.ends_with(" -> /bin/busybox")).count();
    let full = String::from_utf8(Command::new(BUSYBOX).arg("--list-full").output().unwrap().stdout).unwrap();
    assert_eq!(applets, full.lines().filter(|applet| *applet != "bin/busybox").count());
}

#[test]
fn gnu_cpio_unpacks_the_same_files() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("tree/sub")).unwrap();
    for length in 0..9_usize {
        fs::write(at(&format!("tree/{length}")), vec![b'x'; length]).unwrap();
    }
    fs::hard_link(at("tree/8"), at("tree/sub/eight")).unwrap();
    make(directory.path(), &["-o", "out.cpio", "--init", BUSYBOX, "--add", "tree"]);
    fs::create_dir(at("unpacked")).unwrap();
    cpio(&at("unpacked"), &at("out.cpio"), &["-id", "init", "tree", "tree/*"]);
    for length in 0..9_usize {
        assert_eq!(fs::read(at(&format!("unpacked/tree/{length}"))).unwrap(), vec![b'x'; length]);
    }
    assert_eq!(fs::read(at("unpacked/init")).unwrap(), fs::read(BUSYBOX).unwrap());
    let inode = |name: &str| fs::metadata(at(name)).unwrap().ino();
    assert_eq!(inode("unpacked/tree/8"), inode("unpacked/tree/sub/eight"));
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let archive = |epoch: Option<&str>, name: &str, order: [&str; 2]| {
        let directory = tempfile::tempdir().unwrap();
        for name in order {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let mut command = Command::new(tool("mkcpio"));
        command.current_dir(directory.path()).env_remove("SOURCE_DATE_EPOCH").stdout(Stdio::null());
        command.args(["-o", name, "--init", BUSYBOX, "--add", order[0], "--add", order[1]]);
        command.envs(epoch.map(|epoch| ("SOURCE_DATE_EPOCH", epoch)));
        assert!(command.status().unwrap().success());
        let path = directory.path().join(name);
        let plain = Command::new("gzip").args(["-dcf"]).arg(&path).output().unwrap().stdout;
        (fs::read(path).unwrap(), plain)
    };
    let (gzip, plain) = archive(None, "a.gz", ["one", "two"]);
    assert_eq!(gzip, archive(Some("0"), "other.gz", ["two", "one"]).0);
    assert_eq!(plain, archive(None, "plain", ["one", "two"]).0);
    assert_ne!(plain, archive(Some("1700000000"), "plain", ["one", "two"]).0);
    // RFC 1952: no flags (so no name), no time.
    assert_eq!(gzip[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
}

#[test]
fn bad_input_is_one_line_and_no_file() {
    let modules = modules();
    let modules = modules.path().to_str().unwrap();
    let broken = tempfile::tempdir().unwrap();
    fs::write(broken.path().join("modules.dep"), "a.ko: b.ko\n").unwrap();
    fs::write(broken.path().join("modules.alias"), "# Aliases extracted from modules themselves.\n").unwrap();
    let broken = broken.path().to_str().unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("script"), "#!/bin/sh\n").unwrap();
    fs::create_dir(directory.path().join("records")).unwrap();
    fs::write(directory.path().join("records/bad"), "cmd a\ncmd \\t\n").unwrap();
    fs::write(directory.path().join("records/long"), "#".repeat(16 * 1024 + 1)).unwrap();
    for (arguments, words) in [
        (&["--init", "/bin/ls"][..], "/bin/ls: is dynamically linked"),
        (&["--init", "script"], "script: is not a 64-bit ELF program"),
        (&["--init", "absent"], "absent: No such file"),
        (&["--init", "/"], "/: is a directory; name a file\n"),
        (&["--init", BUSYBOX, "--config", "/"], "/: is a directory; name a file\n"),
        (&["--init", BUSYBOX, "--manifest", "/"], "/: is a directory; name a file\n"),
        (&["--init", BUSYBOX, "--record", "/"], "/: is a directory; name a file\n"),
        (&["--init", BUSYBOX, "--kernel", "/"], "/: is a directory; name a file\n"),
        (&["--init", BUSYBOX, "--append", "/"], "/: cannot be read: is a directory; name a file\n"),
        (&["--init", BUSYBOX, "--busybox", "/sbin/ldconfig"], "/sbin/ldconfig: has no table of applets"),
        (&["--init", BUSYBOX, "--busybox", "/bin/ls"], "/bin/ls: is dynamically linked"),
        (&["--init", BUSYBOX, "--modules", "/etc", "--module", "x"], "/etc: contains no kernel modules"),
        (&["--init", BUSYBOX, "--modules", modules, "--module", "absent"], "no module \"absent\""),
        (&["--init", BUSYBOX, "--modules", broken, "--module", "a"], "module \"a\" needs \"b\""),
        (&["--init", BUSYBOX, "--add", "absent:/x"], "absent: No such file"),
        (&["--init", BUSYBOX, "--add", "script:/init/x"], "/init/x cannot be added"),
        (&["--init", BUSYBOX, "--add", "script:/../x"], "cannot contain \"..\""),
        (&["--init", BUSYBOX, "--record", "absent"], "absent: No such file"),
        (&["--init", BUSYBOX, "--record", "records/bad"], "records/bad: line 2 of the run record"),
        (&["--init", BUSYBOX, "--record", "records/long"], "records/long: a run record of 16385 bytes"),
    ] {
        let output = mkcpio(directory.path(), &[&["-o", "out.cpio"], arguments].concat());
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.starts_with("mkcpio: ") && errors.contains(words), "{words}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "{words}");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_an_error_and_an_old_one_survives() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("folder")).unwrap();
    fs::write(directory.path().join("old"), "old").unwrap();
    for (name, words) in [
        ("absent/out", "absent/out: cannot be written: its directory does not exist"),
        ("folder", "folder: "),
        ("/proc/out", "/proc/out: cannot be written"),
    ] {
        let output = mkcpio(directory.path(), &["-o", name, "--init", BUSYBOX]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(errors.contains(words) && errors.lines().count() == 1, "{errors}");
    }
    assert_eq!(mkcpio(directory.path(), &["-o", "old", "--init", "/bin/ls"]).status.code(), Some(1));
    assert_eq!(fs::read(directory.path().join("old")).unwrap(), b"old");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn the_init_is_found_where_cargo_or_a_package_leaves_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for folder in ["tools", "init", "lib", "lib/whit"] {
        fs::create_dir(at(folder)).unwrap();
    }
    copy_program(&tool("mkcpio"), &at("tools/mkcpio"));
    let run = || Command::new(at("tools/mkcpio")).arg("-o").arg(at("out.cpio")).output().unwrap();
    let errors = String::from_utf8(run().stderr).unwrap();
    assert!(errors.contains("--init") && errors.contains("cargo build-init whole"), "{errors}");
    // The first that exists, in the order of --help; /bin/ls is refused, and the message names the file.
    for place in ["lib/whit/init", "tools/whit", "init/whit"] {
        fs::copy("/bin/ls", at(place)).unwrap();
        let errors = String::from_utf8(run().stderr).unwrap();
        assert!(errors.contains(&format!("{place}: is dynamically linked")), "{errors}");
    }
    fs::copy(BUSYBOX, at("init/whit")).unwrap();
    assert!(run().status.success());
    let named = |name: &str| {
        Command::new(at("tools/mkcpio")).arg("-o").arg(at("out.cpio")).args(["--init", name]).output().unwrap()
    };
    assert!(named("whole").status.success());
    let errors = String::from_utf8(named("seed").stderr).unwrap();
    assert!(errors.contains("../lib/whit/init-seed") && errors.contains("cargo build-init seed"), "{errors}");
    fs::copy(BUSYBOX, at("lib/whit/init-seed")).unwrap();
    assert!(named("seed").status.success());
}

#[test]
fn a_closed_pipe_is_no_failure_and_a_full_disk_is_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let into = |stdout: Stdio| {
        let mut mkcpio = Command::new(tool("mkcpio"));
        let mkcpio = mkcpio.args(["--init", BUSYBOX, "-o", "out.cpio", "--report"]).current_dir(&directory);
        let output = mkcpio.stdout(stdout).stderr(Stdio::piped()).output().unwrap();
        assert!(directory.path().join("out.cpio").exists());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(into(closed_pipe()), (Some(0), String::new()));
    let (code, output) = into(full_disk());
    assert_eq!(code, Some(1));
    assert!(output.starts_with("mkcpio: cannot be shown: ") && output.lines().count() == 1, "{output}");
}

#[test]
fn a_report_names_the_smaller_init_that_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    // Beside the tool, as cargo install puts it.
    copy_program(&tool("mkcpio"), &at("mkcpio"));
    for name in ["whit", "whit-seed"] {
        fs::copy(BUSYBOX, at(name)).unwrap();
    }
    fs::write(at("plain.conf"), "entrypoint /bin/sh\nip dhcp\n").unwrap();
    fs::write(at("clock.conf"), "ntp 10.0.0.1\n").unwrap();
    fs::write(at("config"), r#"{"config": {"Cmd": ["/bin/sh"]}}"#).unwrap();
    fs::write(
        at("limits"),
        r#"{"Config": {"Cmd": ["/bin/sh"]}, "HostConfig": {"Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}]}}"#,
    )
    .unwrap();
    fs::create_dir_all(at("root/etc")).unwrap();
    let pack =
        |name: &str| Command::new("tar").arg("-cf").arg(at(name)).arg("-C").arg(at("root")).arg(".").status().unwrap();
    assert!(pack("plain.tar").success());
    fs::write(at("root/etc/whit.conf"), "overlay tmpfs\n").unwrap();
    assert!(pack("record.tar").success());
    let named = |words: &[&str]| {
        let mut mkcpio = Command::new(at("mkcpio"));
        let output = mkcpio.args(["-o", "out.cpio", "--report"]).args(words).current_dir(&directory).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let shown = String::from_utf8(output.stdout).unwrap();
        let line = shown.lines().find(|line| line.starts_with("init: "));
        assert!(line.is_none_or(|line| line == "init: whole; seed has all that this initramfs asks for"), "{shown}");
        line.is_some()
    };
    make(directory.path(), &["--init", BUSYBOX, "-o", "other.cpio"]);
    for (words, expected) in [
        (&[][..], true),
        (&["--init", "whole"], true),
        (&["--record", "plain.conf"], true),
        (&["--add", "plain.conf:/whit.conf"], true),
        (&["--rootfs", "plain.tar", "--config", "config"], true),
        (&["--rootfs", "record.tar", "--config", "config"], true),
        // Of another init nothing is known.
        (&["--init", "seed"], false),
        (&["--init", "whit"], false),
        (&["--seed"], false),
        (&["--record", "clock.conf"], false),
        (&["--add", "clock.conf:/whit.conf"], false),
        (&["--config", "limits"], false),
        (&["--rootfs", "record.tar"], false),
        (&["--append", "other.cpio"], false),
    ] {
        assert_eq!(named(words), expected, "{words:?}");
    }
}
