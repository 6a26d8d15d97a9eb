//! mkraw as a program: its options, messages and files.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ext4_view::Ext4;
use whit_tests::archive;
use whit_tests::commands::assert_clean;
use whit_tests::tool;

/// Runs mkraw in a directory, with `input` on its standard input.
fn mkraw(directory: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(tool("mkraw"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("SOURCE_DATE_EPOCH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // mkraw may end before it has read everything.
    let writer = std::thread::spawn(move || stdin.write_all(&input).is_ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn tar() -> Vec<u8> {
    let members: Vec<_> =
        (0..50).map(|number| archive::file(&format!("dir/file{number}"), &vec![number; 20_000])).collect();
    archive::of(&members)
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_pipe_a_file_and_every_compression_give_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("web.tar"), tar()).unwrap();
    for program in ["gzip", "zstd", "xz", "bzip2"] {
        let output = Command::new(program).arg("-kq").arg(at("web.tar")).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}; install it"));
        assert!(output.status.success(), "{program}: {}", stderr(&output));
    }
    for (arguments, input) in [
        (&["-o", "1.img", "web.tar"][..], vec![]),
        (&["-o", "2.img", "web.tar"], vec![]),
        (&["-o", "3.img"], tar()),
        (&["-o", "4.img", "-"], tar()),
        (&["web.tar.gz", "--output=5.img"], vec![]),
        (&["-o", "6.img"], fs::read(at("web.tar.zst")).unwrap()),
        (&["web.tar.xz", "-o7.img"], vec![]),
        (&["web.tar.bz2", "-o8.img"], vec![]),
    ] {
        let output = mkraw(directory.path(), arguments, &input);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let first = fs::read(at("1.img")).unwrap();
    for name in ["2.img", "3.img", "4.img", "5.img", "6.img", "7.img", "8.img"] {
        assert!(fs::read(at(name)).unwrap() == first, "{name} differs");
    }
    let other = mkraw(directory.path(), &["-o", "9.img", "web.tar", "--label", "web"], b"");
    assert!(other.status.success());
    let uuid = |name: &str| Ext4::load_from_path(at(name)).unwrap().uuid().as_bytes().to_owned();
    assert_ne!(uuid("1.img"), uuid("9.img"), "other metadata has another UUID");
}

#[test]
fn label_uuid_and_time_are_set() {
    let directory = tempfile::tempdir().unwrap();
    let text = "01234567-89ab-cdef-0123-456789abcdef";
    fs::write(directory.path().join("web.tar"), tar()).unwrap();
    let output = Command::new(tool("mkraw"))
        .args(["-o", "disk.img", "web.tar", "--label", "0123456789abcdef", "--uuid", text])
        .current_dir(directory.path())
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output();
    assert!(output.unwrap().status.success());
    let image = directory.path().join("disk.img");
    assert_clean(&image);
    let ext4 = Ext4::load_from_path(&image).unwrap();
    assert_eq!(ext4.uuid().to_string(), text);
    assert_eq!(ext4.label().as_bytes(), b"0123456789abcdef");
    assert_eq!(ext4.metadata("/").unwrap().modified().seconds(), 1_700_000_000);
}

#[test]
fn a_random_uuid_differs_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let uuids = [1, 2].map(|_| {
        let output = mkraw(directory.path(), &["-o", "disk.img", "--uuid", "random"], &tar());
        assert!(output.status.success(), "{}", stderr(&output));
        let image = directory.path().join("disk.img");
        assert_clean(&image);
        let uuid = Ext4::load_from_path(&image).unwrap().uuid().to_string();
        // RFC 9562, 5.4: version 4, variant 10.
        assert!(uuid[14..].starts_with('4') && matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "{uuid}");
        uuid
    });
    assert_ne!(uuids[0], uuids[1]);
    let output = mkraw(directory.path(), &["-o", "other.img", "--uuid", "0123"], &tar());
    assert!(!output.status.success() && stderr(&output).contains("0123"), "{}", stderr(&output));
}

#[test]
fn the_input_pipe_is_enlarged() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(tool("mkraw"))
        .args(["-o", "disk.img"])
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    let size = || rustix::pipe::fcntl_getpipe_size(&stdin).unwrap();
    // More than a pipe holds: mkraw has read some of it when all is written.
    let tar = tar();
    (&stdin).write_all(&tar).unwrap();
    assert_eq!(size(), 1 << 20);
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_terminal_shows_the_progress_and_then_only_the_summary() {
    let directory = tempfile::tempdir().unwrap();
    let controller = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&controller).unwrap();
    rustix::pty::unlockpt(&controller).unwrap();
    let name = rustix::pty::ptsname(&controller, Vec::new()).unwrap();
    let terminal = fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let mut child = Command::new(tool("mkraw"))
        .args(["-o", "disk.img"])
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(terminal)
        .spawn()
        .unwrap();
    let tar = tar();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&tar[..tar.len() / 2]).unwrap();
    let mut controller = fs::File::from(controller);
    let (mut shown, mut buffer) = (String::new(), [0; 4096]);
    // The bar is drawn repeatedly, and in the end shows the number of files so far.
    while !shown.contains(" KiB, 25 files, ") {
        let count = std::io::Read::read(&mut controller, &mut buffer).unwrap();
        shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    stdin.write_all(&tar[tar.len() / 2..]).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"disk.img: "), "{output:?}");
}

#[test]
fn sizes_are_absolute_or_relative() {
    let directory = tempfile::tempdir().unwrap();
    let length = |options: &[&str]| {
        let output = mkraw(directory.path(), &[&["-o", "disk.img"], options].concat(), &tar());
        assert!(output.status.success(), "{options:?}: {}", stderr(&output));
        assert_clean(&directory.path().join("disk.img"));
        fs::metadata(directory.path().join("disk.img")).unwrap().len()
    };
    let least = length(&["--size", "min"]);
    assert!(length(&["--size", "+30M"]) >= least + (30 << 20));
    assert_eq!(length(&["--size", "+30M"]), length(&["--free=30M"]));
    assert!(length(&["--size", "+50%"]) >= least * 3 / 2);
    assert_eq!(length(&["--size", "100M"]), 100 << 20);
    assert!(length(&["--inodes", "50000", "--no-journal"]) > 64 << 20);
    for (options, message) in [
        (&["--size", "+x%"][..], "\"+x%\" is not a percentage"),
        (&["--size", "+1x"], "is not a size; write bytes, or a whole number with K, M, G or T; or +512M, +20%, min"),
        (&["--size", "max"], "is not a size; "),
        (&["--size", "1G", "--free", "1G"], "cannot be used with"),
    ] {
        let output = mkraw(directory.path(), &[&["-o", "disk.img"], options].concat(), b"");
        assert!(!output.status.success() && stderr(&output).contains(message), "{}", stderr(&output));
    }
}

#[test]
fn the_run_record_comes_from_inspect_and_options() {
    let directory = tempfile::tempdir().unwrap();
    let config = r#"[{"Config": {"Entrypoint": ["/entry.sh"], "Cmd": ["nginx", "-g", "daemon off;"], "Env": ["A=1"],
        "User": "www-data", "WorkingDir": "/srv", "StopSignal": "SIGQUIT", "Hostname": "web"}}]"#;
    fs::write(directory.path().join("web.json"), config).unwrap();
    let record = |arguments: &[&str]| {
        let output = mkraw(directory.path(), &[&["-o", "disk.img"], arguments].concat(), &tar());
        assert!(output.status.success(), "{}", stderr(&output));
        let image = directory.path().join("disk.img");
        assert_clean(&image);
        let ext4 = Ext4::load_from_path(&image).unwrap();
        let text = ext4.exists("/etc/whit.conf").unwrap().then(|| {
            assert_eq!(ext4.metadata("/etc/whit.conf").unwrap().mode() & 0o7777, 0o644);
            ext4.read_to_string("/etc/whit.conf").unwrap()
        });
        (text, String::from_utf8(output.stdout).unwrap())
    };
    let (text, message) = record(&["--config", "web.json"]);
    assert_eq!(
        text.unwrap(),
        "entrypoint /entry.sh\ncmd nginx\ncmd -g\ncmd daemon off;\nenv A=1\nworkdir /srv\nuser www-data\n\
         stopsignal SIGQUIT\nhostname web\n"
    );
    assert!(message.contains("runs: /entry.sh nginx -g 'daemon off;' (user www-data, in /srv)\n"), "{message}");
    let options = ["--entrypoint", "/bin/sh", "--entrypoint", "-c", "--cmd", "a\nb", "--env", "A=2", "--user", "0:0"];
    let (text, _) = record(&[&["--config", "web.json"], &options[..]].concat());
    assert_eq!(
        text.unwrap(),
        "entrypoint /bin/sh\nentrypoint -c\ncmd a\\nb\nenv A=2\nworkdir /srv\nuser 0:0\nstopsignal SIGQUIT\nhostname web\n"
    );
    let (text, message) = record(&[]);
    assert_eq!(text, None);
    assert!(message.contains("runs: nothing is set"), "{message}");
}

#[test]
fn bad_input_is_one_line_and_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let tar = tar();
    fs::write(at("cut.tar"), &tar[..tar.len() - 2000]).unwrap();
    fs::write(at("good.tar"), &tar).unwrap();
    fs::write(at("empty.tar"), b"").unwrap();
    fs::write(at("note.txt"), b"this is no tar".repeat(100)).unwrap();
    fs::write(at("bad.json"), b"{").unwrap();
    fs::write(at("other.json"), b"{\"a\": 1}").unwrap();
    let before = names(directory.path());
    for (arguments, expected) in [
        (&["cut.tar"][..], "mkraw: cut.tar: ends at byte "),
        (&["empty.tar"], "mkraw: empty.tar: is empty; "),
        (&["note.txt"], "mkraw: note.txt: is not a tar archive; "),
        (&["missing.tar"], "mkraw: missing.tar: No such file"),
        (&["/dev/null"], "mkraw: /dev/null: is empty; "),
        (&[], "mkraw: standard input: is empty; "),
        (&["good.tar", "--config", "bad.json"], "mkraw: bad.json: is not JSON"),
        (&["good.tar", "--config", "other.json"], "mkraw: other.json: has no run configuration"),
        (&["good.tar", "--config", "none.json"], "mkraw: none.json: No such file"),
        (&["good.tar", "--config", "."], "mkraw: .: is a directory; name a file"),
        (&["good.tar", "--env", "A"], "mkraw: env \"A\" is not KEY=VALUE"),
        (&["good.tar", "--size", "5M"], "mkraw: disk.img: the files do not fit"),
        (
            &["good.tar", "--output", "no/disk.img"],
            "mkraw: no/disk.img: cannot be written: its directory does not exist",
        ),
    ] {
        let output = if arguments.contains(&"--output") { &[][..] } else { &["-o", "disk.img"] };
        let output = mkraw(directory.path(), &[output, arguments].concat(), b"");
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        assert!(message.starts_with(expected) && message.lines().count() == 1, "{arguments:?}: {message}");
        assert_eq!(names(directory.path()), before, "{arguments:?} leaves a file");
    }
}

#[test]
#[ignore = "takes some 30 seconds: cargo selftest runs it"]
fn every_truncation_is_one_line_and_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let tar = archive::of(&[archive::directory("dir"), archive::file("dir/file", &[7; 100])]);
    for length in 0..tar.len() {
        fs::write(directory.path().join("cut.tar"), &tar[..length]).unwrap();
        let output = mkraw(directory.path(), &["-o", "disk.img", "cut.tar"], b"");
        let message = stderr(&output);
        if length >= tar.len() - 512 {
            // One of the two zero blocks at the end is enough, as for GNU tar, and a part of the other.
            assert_eq!((output.status.code(), message.as_str()), (Some(0), ""));
            fs::remove_file(directory.path().join("disk.img")).unwrap();
            continue;
        }
        let expected = match length {
            0 => "mkraw: cut.tar: is empty; ",
            1..512 => "mkraw: cut.tar: is not a tar archive; ",
            _ => &format!("mkraw: cut.tar: ends at byte {length}"),
        };
        assert_eq!(output.status.code(), Some(1), "cut at {length}: {message}");
        assert!(message.starts_with(expected) && message.lines().count() == 1, "cut at {length}: {message}");
        assert_eq!(names(directory.path()), ["cut.tar"], "cut at {length}");
    }
}

#[test]
fn a_warning_goes_to_standard_error() {
    let directory = tempfile::tempdir().unwrap();
    // The files of sysfs have less content than their size states.
    for disk in ["disk.img", "-"] {
        let output = mkraw(directory.path(), &["-o", disk, "/sys/fs/ext4/features"], b"");
        let (errors, shown) = (stderr(&output), String::from_utf8_lossy(&output.stdout));
        let warning = "mkraw: /sys/fs/ext4/features: warning: changed while it was read: ";
        assert!(output.status.success() && errors.lines().any(|line| line.starts_with(warning)), "{errors}");
        assert!(!shown.contains("warning"), "{shown}");
    }
}

#[test]
fn a_failure_keeps_the_old_image() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("disk.img"), "old image").unwrap();
    let output = mkraw(directory.path(), &["-o", "disk.img"], &tar()[..5000]);
    assert!(!output.status.success());
    assert_eq!(fs::read(directory.path().join("disk.img")).unwrap(), b"old image");
}

#[test]
fn a_summary_without_a_reader_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("web.tar"), tar()).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut mkraw = Command::new(tool("mkraw"));
    let output = mkraw.args(["-o", "disk.img", "web.tar"]).current_dir(directory.path()).stdout(writer).output();
    let output = output.unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    assert_clean(&directory.path().join("disk.img"));
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
