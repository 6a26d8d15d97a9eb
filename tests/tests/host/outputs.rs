//! The output files of the tools: replaced as a whole, never lost, never half-written.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use whit_tests::deadline::Deadline;
use whit_tests::tool;

/// A static program that stands for the init.
const BUSYBOX: &str = "/bin/busybox";
/// Limit for a tool to reach a certain point.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Makes a directory with `in.tar`, which has one file.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "content").unwrap();
    run_well(Command::new("tar").args(["-cf", "in.tar", "file"]).current_dir(folder.path()));
    fs::create_dir(folder.path().join("out")).unwrap();
    folder
}

/// Returns a command for a tool with default signals. The tests' parent may ignore some, as a shell does for background jobs.
fn with_default_signals(name: &str) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(tool(name));
    command
}

fn mkraw(folder: &TempDir, output: &str) -> Command {
    let mut command = with_default_signals("mkraw");
    command.args(["-o", output]).current_dir(folder.path()).env_remove("SOURCE_DATE_EPOCH");
    command
}

fn mkcpio(folder: &TempDir, output: &str) -> Command {
    let mut command = Command::new(tool("mkcpio"));
    command.args(["--init", BUSYBOX, "-o", output]).current_dir(folder.path()).env_remove("SOURCE_DATE_EPOCH");
    command
}

fn run_well(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs a command that must fail with status 1 and one line; returns the line.
fn refusal(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{command:?}: {line}");
    line
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// Waits until a directory has a temporary file.
fn wait_for_temporary(folder: &Path, child: &mut Child) {
    let deadline = Instant::now() + TIMEOUT;
    while !names(folder).iter().any(|name| name.starts_with(".whit-")) {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "no temporary file");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Starts mkraw and returns it in the middle of its work: it waits for the rest of its standard input.
fn begin(command: &mut Command, folder: &Path) -> Child {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let tar = fs::read(folder.parent().unwrap().join("in.tar")).unwrap();
    child.stdin.as_mut().unwrap().write_all(&tar[..600]).unwrap();
    wait_for_temporary(folder, &mut child);
    child
}

#[test]
fn a_signal_leaves_the_old_file_and_nothing_else() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let folder = folder();
        let out = folder.path().join("out");
        fs::write(out.join("disk.img"), "old").unwrap();
        let mut child = begin(&mut mkraw(&folder, "out/disk.img"), &out);
        // Its input must stay open; wait_with_output() would close it.
        let _stdin = child.stdin.take();
        let _deadline = Deadline::of(&child);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.signal(), output.stderr.as_slice()), (Some(signal.as_raw()), &b""[..]));
        assert_eq!((names(&out), fs::read(out.join("disk.img")).unwrap()), (vec!["disk.img".into()], b"old".to_vec()));
    }
}

#[test]
fn a_signal_during_unpacking_removes_the_directory() {
    let folder = folder();
    let mut child = with_default_signals("mkcpio")
        .args(["extract", "-", "-C", "out/new"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let _deadline = Deadline::of(&child);
    let header = |name: &str, mode: u32, size: u32| {
        let fields = [1, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        let mut entry = b"070701".to_vec();
        entry.extend(fields.iter().flat_map(|field| format!("{field:08X}").into_bytes()));
        entry.extend([name.as_bytes(), b"\0"].concat());
        entry.resize(entry.len().next_multiple_of(4), 0);
        entry
    };
    let start = [header("d", 0o40755, 0), header("d/f", 0o100_644, 1 << 20)].concat();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&start).unwrap();
    let deadline = Instant::now() + TIMEOUT;
    let is_begun = || fs::read_dir(folder.path().join("out/new")).is_ok_and(|mut entries| entries.next().is_some());
    while !is_begun() {
        assert!(Instant::now() < deadline, "no directory");
        std::thread::sleep(Duration::from_millis(1));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    assert_eq!(names(&folder.path().join("out")), Vec::<String>::new());
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let folder = folder();
    let out = folder.path().join("out");
    let mut command = Command::new("nohup");
    command.arg(tool("mkraw")).args(["-o", "out/disk.img"]).current_dir(folder.path());
    let mut child = begin(&mut command, &out);
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    let tar = fs::read(folder.path().join("in.tar")).unwrap();
    child.stdin.take().unwrap().write_all(&tar[600..]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(names(&out), ["disk.img"]);
}

#[test]
fn outputs_that_are_no_files_are_refused_and_unchanged() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    symlink("/dev/null", at("null")).unwrap();
    symlink("/dev/stdout", at("stdout")).unwrap();
    for (output, what) in [
        ("pipe", "is a pipe; "),
        ("null", "is a character device; "),
        ("/dev/full", "is a character device; "),
        ("out", "is a directory; "),
        ("none/x", "cannot be written: its directory does not exist"),
        // Standard output of these runs is a pipe.
        ("stdout", "is a pipe; "),
    ] {
        for mut command in [mkraw(&folder, output), mkcpio(&folder, output)] {
            if command.get_program() == tool("mkraw").as_os_str() {
                command.arg("in.tar");
            }
            let line = refusal(&mut command);
            assert!(line.contains(&format!(": {output}: {what}")), "{line}");
        }
    }
    assert!(fs::symlink_metadata(at("pipe")).unwrap().file_type().is_fifo());
    assert!(at("null").is_symlink() && at("stdout").is_symlink());
    assert_eq!(fs::metadata("/dev/full").unwrap().rdev(), rustix::fs::makedev(1, 7));
}

/// As of `2>&1 | head -n 1`.
#[test]
fn a_closed_standard_error_does_not_change_the_status() {
    for (name, arguments, status) in [
        ("mkraw", &["missing.tar", "-o", "disk.img"][..], 1),
        ("mkcpio", &["--init", "missing", "-o", "initramfs"], 1),
        ("runvm", &["--kernel", "missing", "missing.tar"], 125),
        ("runvm", &["exec", "missing", "true"], 125),
        ("whit-runtime", &["state", "missing"], 1),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(tool(name)).args(arguments).stderr(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{name} {arguments:?}");
    }
}

#[test]
fn an_output_that_is_an_input_is_refused() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let tar = fs::read(at("in.tar")).unwrap();
    fs::hard_link(at("in.tar"), at("hard")).unwrap();
    symlink("hard", at("soft")).unwrap();
    fs::create_dir(at("tree")).unwrap();
    fs::hard_link(at("in.tar"), at("tree/inside")).unwrap();
    for output in ["in.tar", "hard", "soft"] {
        let stdin = || Stdio::from(fs::File::open(at("in.tar")).unwrap());
        for command in [
            mkraw(&folder, output).arg("in.tar"),
            mkraw(&folder, output).stdin(stdin()),
            mkraw(&folder, output).args(["--config", "hard", "file"]),
            mkcpio(&folder, output).args(["--rootfs", "in.tar"]),
            mkcpio(&folder, output).args(["--rootfs", "-"]).stdin(stdin()),
            mkcpio(&folder, output).args(["--add", "hard"]),
            mkcpio(&folder, output).args(["--add", "tree:/tree"]),
            mkcpio(&folder, output).args(["--append", "soft"]),
        ] {
            let line = refusal(command);
            assert!(line.contains(&format!(": {output}: is the input ")), "{line}");
        }
        assert!(fs::read(at("in.tar")).unwrap() == tar && at("soft").is_symlink());
    }
    // An input that is standard output, opened for appending.
    let appended = fs::OpenOptions::new().append(true).open(at("hard")).unwrap();
    assert!(refusal(mkraw(&folder, "-").arg("in.tar").stdout(appended)).contains(": -: is the input in.tar"));
    assert!(fs::read(at("in.tar")).unwrap() == tar);
}

#[test]
fn mode_owner_and_links_are_kept() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("out/target"), "old").unwrap();
    fs::set_permissions(at("out/target"), Permissions::from_mode(0o640)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        chown(at("out/target"), Some(64055), Some(64056)).unwrap();
    }
    symlink("out/target", at("link")).unwrap();
    symlink("out/dangling", at("dangling")).unwrap();
    for output in ["link", "dangling"] {
        run_well(mkraw(&folder, output).arg("in.tar"));
        assert!(at(output).is_symlink());
    }
    let metadata = fs::metadata(at("out/target")).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o640);
    assert!(!is_root || (metadata.uid(), metadata.gid()) == (64055, 64056));
    assert_eq!(names(&at("out")), ["dangling", "target"]);
    assert!(fs::read(at("out/target")).unwrap() == fs::read(at("out/dangling")).unwrap());
    // A new file has the mode of the umask, except one with a seed, which is a secret.
    let umasked = |umask: &str, arguments: &str| {
        let script = format!("umask {umask}; exec \"$0\" --init {BUSYBOX} -o new.cpio {arguments}");
        run_well(Command::new("sh").arg("-c").arg(script).arg(tool("mkcpio")).current_dir(folder.path()));
        let mode = fs::metadata(at("new.cpio")).unwrap().mode() & 0o777;
        fs::remove_file(at("new.cpio")).unwrap();
        mode
    };
    assert_eq!((umasked("027", ""), umasked("000", "--add in.tar")), (0o640, 0o666));
}

#[test]
fn a_file_with_a_seed_is_private_to_its_owner() {
    let folder = folder();
    fs::write(folder.path().join("seed"), "random").unwrap();
    fs::write(folder.path().join("out.cpio"), "readable by all").unwrap();
    for output in ["out.cpio", "new.cpio"] {
        run_well(mkcpio(&folder, output).args(["--add", "seed"]));
        assert_eq!(fs::metadata(folder.path().join(output)).unwrap().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_name_always_has_a_complete_file() {
    let folder = folder();
    let path = folder.path().join("disk.img");
    let magic = |path: &Path| {
        let mut bytes = [0; 2];
        let mut file = fs::File::open(path)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(1024 + 56))?;
        file.read_exact(&mut bytes).map(|()| bytes)
    };
    run_well(mkraw(&folder, "disk.img").arg("in.tar"));
    for _ in 0..20 {
        let mut children =
            [0, 1].map(|_| mkraw(&folder, "disk.img").arg("in.tar").stdout(Stdio::null()).spawn().unwrap());
        while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
            assert_eq!(magic(&path).unwrap(), [0x53, 0xef]);
        }
        assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    }
    assert_eq!(names(folder.path()), ["disk.img", "file", "in.tar", "out"]);
}

#[test]
fn standard_output_gets_the_same_bytes() {
    let folder = folder();
    run_well(mkraw(&folder, "disk.img").arg("in.tar"));
    run_well(mkcpio(&folder, "out.cpio").args(["--rootfs", "in.tar"]));
    let disk = run_well(mkraw(&folder, "-").arg("in.tar"));
    let cpio = run_well(mkcpio(&folder, "-").args(["--rootfs", "in.tar"]));
    for (output, name) in [(disk, "disk.img"), (cpio, "out.cpio")] {
        assert!(output.stdout == fs::read(folder.path().join(name)).unwrap(), "{name} differs");
        assert!(!output.stderr.is_empty(), "nothing is reported");
    }
    assert!(!folder.path().join("-").exists());
    let full = whit_tests::stdio::full_disk();
    assert!(refusal(mkraw(&folder, "-").arg("in.tar").stdout(full)).contains("No space left"));
}

#[test]
fn a_text_that_cannot_be_shown_is_one_line() {
    let folder = folder();
    run_well(mkraw(&folder, "disk.img").arg("in.tar"));
    for (name, arguments, expected) in [
        ("mkraw", &["--help"][..], "mkraw: cannot be shown: No space left"),
        ("mkraw", &["--version"], "mkraw: cannot be shown: No space left"),
        ("mkcpio", &["--help"], "mkcpio: cannot be shown: No space left"),
        ("mkcpio", &["--generate", "man"], "mkcpio: cannot be shown: No space left"),
        ("mkraw", &["inspect", "disk.img"], "mkraw: disk.img: cannot be shown: No space left"),
        ("mkraw", &["inspect", "disk.img", "--cat", "/file"], "mkraw: disk.img: cannot be shown: No space left"),
    ] {
        let mut command = Command::new(tool(name));
        command.args(arguments).current_dir(folder.path());
        let line = refusal(command.stdout(whit_tests::stdio::full_disk()));
        assert!(line.starts_with(expected), "{line}");
        let closed = run_well(command.stdout(whit_tests::stdio::closed_pipe()));
        assert_eq!(String::from_utf8_lossy(&closed.stderr), "");
    }
}

#[test]
fn a_full_disk_keeps_the_old_file() {
    let folder = folder();
    fs::write(folder.path().join("big"), vec![1; 8 << 20]).unwrap();
    run_well(Command::new("tar").args(["-cf", "big.tar", "big"]).current_dir(folder.path()));
    let script = "mount -t tmpfs -o size=4m none out && echo old > out/disk.img && \"$0\" -o out/disk.img big.tar; \
                  echo $?; ls -A out; cat out/disk.img; mount -o remount,ro out; \"$0\" -o out/new.img in.tar; echo $?";
    let output = run_well(
        Command::new("unshare").args(["--mount", "sh", "-c", script]).arg(tool("mkraw")).current_dir(folder.path()),
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\ndisk.img\nold\n1\n");
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = errors.lines().collect();
    assert!(
        matches!(lines[..], [full, read_only] if full.contains("No space left") && read_only.contains("read-only"))
    );
}

/// A loop device, as a stand-in for a disk.
struct Loop(String);

impl Loop {
    fn on(file: &Path) -> Self {
        let output = run_well(Command::new("losetup").args(["--find", "--show"]).arg(file));
        Self(String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run_well(Command::new("losetup").args(["--detach", &self.0]));
    }
}

#[test]
fn a_block_device_is_written_unless_it_is_in_use_or_too_small() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    run_well(mkraw(&folder, "disk.img").arg("in.tar"));
    let expected = fs::read(at("disk.img")).unwrap();
    // Old content of the device must not show through.
    fs::write(at("device"), vec![0xa5; expected.len() + (16 << 20)]).unwrap();
    fs::write(at("small"), vec![0xa5; 1 << 20]).unwrap();
    let (device, small) = (Loop::on(&at("device")), Loop::on(&at("small")));
    run_well(mkraw(&folder, &device.0).arg("in.tar"));
    let written = fs::read(at("device")).unwrap();
    assert!(written[..expected.len()] == expected && written[expected.len()..].iter().all(|byte| *byte == 0xa5));
    assert!(fs::symlink_metadata(&device.0).unwrap().file_type().is_block_device());
    let line = refusal(mkraw(&folder, &small.0).arg("in.tar"));
    assert!(line.contains("has 1048576 bytes, and "), "{line}");
    assert!(fs::read(at("small")).unwrap().iter().all(|byte| *byte == 0xa5));
    for input in ["device", &device.0] {
        let line = refusal(mkraw(&folder, &device.0).arg(input));
        assert!(line.contains(": is the input "), "{line}");
    }
    let script = format!("mount {} out && ! \"$0\" -o {} in.tar && umount out", device.0, device.0);
    let mounted = run_well(
        Command::new("unshare").args(["--mount", "sh", "-c", &script]).arg(tool("mkraw")).current_dir(folder.path()),
    );
    assert!(String::from_utf8_lossy(&mounted.stderr).contains("is in use"));
}

#[test]
fn root_does_not_follow_a_link_in_a_sticky_directory() {
    let is_protected = fs::read_to_string("/proc/sys/fs/protected_symlinks").is_ok_and(|text| text.trim() == "1");
    if !rustix::process::geteuid().is_root() || !is_protected {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("victim"), "untouched").unwrap();
    fs::set_permissions(at("out"), Permissions::from_mode(0o1777)).unwrap();
    for (link, target) in [("out/link", "../victim"), ("out/dangling", "../new")] {
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        run_well(Command::new("ln").args(["-s", target]).arg(at(link)).uid(64055).gid(64055));
        let line = refusal(mkraw(&folder, link).arg("in.tar"));
        assert!(line.contains("Permission denied"), "{line}");
    }
    assert!(fs::read(at("victim")).unwrap() == b"untouched" && !at("new").exists());
}
