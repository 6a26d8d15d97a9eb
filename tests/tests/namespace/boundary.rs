//! The boundary of the root: whatever an image contains, the init mounts, creates and opens nothing outside of it, and no file of it
//! blocks PID 1. Each table begins with a control: the same machine without the hostile file.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use whit_tests::namespace::{Machine, Running};

/// Returns the mount points in PID 1's mount namespace.
fn mounts(machine: &Running) -> Vec<String> {
    machine.of_init("mounts").lines().filter_map(|line| Some(line.split(' ').nth(1)?.to_owned())).collect()
}

/// Asserts that the working directory of PID 1 is its root directory.
fn assert_in_own_root(machine: &Running, case: &str) {
    let at = |link: &str| {
        let directory = fs::metadata(format!("/proc/{}/{link}", machine.init())).expect("PID 1 lives");
        (directory.dev(), directory.ino())
    };
    assert_eq!(at("cwd"), at("root"), "{case}: the working directory of PID 1");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn no_link_leads_a_volume_out_of_the_root() {
    for (link, path, mounted, line) in [
        (None, "/t/lib", Some("/mnt/t/lib"), "whit: exit 0\n"),
        (Some("/away"), "/t/lib", Some("/mnt/away/lib"), "whit: exit 0\n"),
        (Some("/no/where"), "/t/lib", Some("/mnt/no/where/lib"), "whit: exit 0\n"),
        (Some("deep/../deep/down"), "/t/lib", Some("/mnt/deep/down/lib"), "whit: exit 0\n"),
        (Some("../../.."), "/t/lib", Some("/mnt/lib"), "whit: exit 0\n"),
        (Some("t"), "/t/lib", None, "whit: tmpfs=/t/lib: ELOOP\n"),
        (Some("/proc/self/cwd"), "/t/lib", None, "whit: tmpfs=/t/lib: ELOOP\n"),
        (Some("/proc/self/root"), "/t/lib", None, "whit: tmpfs=/t/lib: ELOOP\n"),
        (Some("/proc/1/cwd"), "/t/lib", None, "whit: tmpfs=/t/lib: ELOOP\n"),
        (Some("/proc/1/root"), "/t", None, "whit: tmpfs=/t: ELOOP\n"),
        (Some("/proc/1/task/1/cwd"), "/t/lib", None, "whit: tmpfs=/t/lib: ELOOP\n"),
        (Some("/proc/1/map_files"), "/t/lib", None, "whit: tmpfs=/t/lib: ENOENT\n"),
        (Some("/dev/fd/3"), "/t/lib", None, "whit: tmpfs=/t/lib: E"),
        (Some("/proc/2/cwd"), "/t/lib", None, "whit: tmpfs=/t/lib: ENOENT\n"),
    ] {
        let mut machine = Machine::new().shell().script("exit 0").directory("/rootfs/away").directory("/rootfs/deep");
        machine = match link {
            Some(target) => machine.link("/rootfs/t", target),
            None => machine.directory("/rootfs/t"),
        };
        let words = format!("whit.tmpfs={path} whit.on_exit=shell whit.net=off");
        let mut machine = machine.command_line(&words).spawn();
        machine.wait_for(line);
        let case = format!("{path} with a link to {link:?}");
        if mounted.is_none() {
            machine.wait_for("whit: exit 125\n");
        }
        let below: Vec<String> = mounts(&machine)
            .into_iter()
            .filter(|path| path.ends_with("/lib") || path.ends_with("/t") || path == "/" || path == "/proc")
            .collect();
        let expected: Vec<&str> = ["/", "/proc"].into_iter().chain(mounted).collect();
        assert_eq!(below, expected, "{case}:\n{}", machine.console());
        assert_in_own_root(&machine, &case);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_volume_that_is_no_block_device_is_not_opened() {
    for (record, line, code) in [
        ("", "runs", 0),
        ("mount /dev/zero:/data\n", "whit: mount=/dev/zero:/data: ENOTBLK", 125),
        ("mount /dev/fifo:/data\n", "whit: mount=/dev/fifo:/data: ENOTBLK", 125),
    ] {
        let machine = Machine::new().file("/rootfs/etc/whit.conf", record).script("echo runs").prepare();
        let fifo = format!("/proc/{}/root/dev/fifo", machine.init());
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
        machine.start().finish().powered_off_saying(&[line, &format!("whit: exit {code}")]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_system_directory_that_is_no_directory_ends_the_boot() {
    let run = |name: &str, machine: Machine, line: &str| {
        let finished = machine.script("echo runs").command_line("whit.net=off").run();
        finished.powered_off_saying(&[line, "whit: power off"]);
        assert_eq!(finished.says("runs"), line == "whit: exit 0", "{name}:\n{}", finished.console);
        if line != "whit: exit 0" {
            assert!(finished.says("whit: exit 125"), "{name}:\n{}", finished.console);
        }
    };
    for name in ["dev", "proc", "sys"] {
        let path = format!("/rootfs/{name}");
        run(name, Machine::new().directory(&path), "whit: exit 0");
        let line = format!("whit: mount /mnt/{name}: ENOTDIR");
        for target in ["/", ".", "/proc", "/mnt", "/nowhere", "/proc/self/cwd"] {
            run(name, Machine::new().link(&path, target), &line);
        }
        run(name, Machine::new().file(&path, ""), &line);
        run(name, Machine::new().special(&path, FileType::Fifo, (0, 0)), &line);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn no_working_directory_is_made_outside_of_the_root() {
    for (workdir, line) in [
        ("/made", "/made"),
        ("/link/made", "/made"),
        ("/dangling/made", "/no/where/made"),
        ("relative/made", "/relative/made"),
        ("/proc/1/cwd/made", "whit: workdir /proc/1/cwd/made: ELOOP"),
        ("/proc/1/root/made", "whit: workdir /proc/1/root/made: ELOOP"),
        ("/proc/self/cwd", "whit: workdir /proc/self/cwd: ELOOP"),
        ("/magic/made", "whit: workdir /magic/made: ELOOP"),
        ("/fifo", "whit: workdir /fifo: ENOTDIR"),
    ] {
        let mut machine = Machine::new()
            .shell()
            .script("/bin/pwd -P")
            .link("/rootfs/link", "../../..")
            .link("/rootfs/dangling", "/no/where")
            .link("/rootfs/magic", "/proc/1/root")
            .special("/rootfs/fifo", FileType::Fifo, (0, 0))
            .command_line(&format!("whit.workdir={workdir} whit.on_exit=shell whit.net=off"))
            .spawn();
        machine.wait_for(&format!("{line}\n"));
        machine.wait_for("whit: exit ");
        assert!(!machine.exists_for_init("/made"), "{workdir} is in the initramfs");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn run_of_a_root_that_gets_pid_1_is_mounted_inside_it() {
    for (link, mount) in [
        (None, "tmpfs /run tmpfs rw,nosuid,nodev,relatime,mode=755 0 0"),
        (Some("/elsewhere"), "tmpfs /elsewhere tmpfs rw,nosuid,nodev,relatime,mode=755 0 0"),
        (Some("../../../missing"), "tmpfs /missing tmpfs rw,nosuid,nodev,relatime,mode=755 0 0"),
    ] {
        let mut machine = Machine::new()
            .busybox_root()
            .file("/rootfs/init", "#!/bin/sh\ncat /proc/mounts\necho shown\nexec sleep 1000\n")
            .mode("/rootfs/init", 0o755)
            .directory("/rootfs/elsewhere")
            .command_line("whit.pid1=exec init=/init whit.net=off");
        if let Some(target) = link {
            machine = machine.link("/rootfs/run", target);
        }
        let mut machine = machine.spawn();
        let shown = machine.wait_for("shown\n");
        assert!(
            shown.lines().any(|line| line.starts_with(mount.split(" 0 0").next().expect("a line"))),
            "{link:?}: {shown}"
        );
    }
}

/// A file type in the place of a regular file.
#[derive(Clone, Copy, Debug)]
enum Odd {
    Nothing,
    Directory,
    Special(FileType, (u32, u32)),
    Link(&'static str),
}

const ODD: [Odd; 12] = [
    Odd::Nothing,
    Odd::Directory,
    Odd::Special(FileType::Fifo, (0, 0)),
    Odd::Special(FileType::Socket, (0, 0)),
    Odd::Special(FileType::CharacterDevice, (1, 5)),
    Odd::Special(FileType::CharacterDevice, (5, 2)),
    Odd::Link("/dev/zero"),
    Odd::Link("/dev/console"),
    Odd::Link("/dev/tty"),
    Odd::Link("/dev/ptmx"),
    Odd::Link("/proc/self/fd/1"),
    Odd::Link("/proc/1/fd/2"),
];

/// The files of the image that PID 1 opens, and those that the workload's process opens before execve(2).
const OPENED: [&str; 8] = [
    "/etc/whit.conf",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/passwd",
    "/etc/group",
    "/run/whit/net.env",
    "/run/whit/timeline",
];

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn other_than_regular_files_are_reported_once_and_left() {
    for odd in ODD {
        let mut machine = Machine::new().directory("/rootfs/etc").directory("/rootfs/run/whit");
        for path in OPENED {
            let place = format!("/rootfs{path}");
            machine = match odd {
                Odd::Nothing => machine,
                Odd::Directory => machine.directory(&place),
                Odd::Special(kind, device) => machine.special(&place, kind, device),
                Odd::Link(target) => machine.link(&place, target),
            };
        }
        let finished = machine.terminal().script("echo runs").command_line("whit.net=off whit.user=0:0").run();
        for path in OPENED {
            let complaints: Vec<&str> = finished.console.lines().filter(|line| line.contains(path)).collect();
            let problem = match odd {
                Odd::Nothing => None,
                // /proc and /dev are mounted after the record was read.
                Odd::Link(_) if path == "/etc/whit.conf" => None,
                Odd::Link(target) if target.contains("/fd/") => Some("ELOOP"),
                _ => Some("not a regular file"),
            };
            let expected = problem.map(|problem| format!("whit: {path}: {problem}"));
            assert_eq!(complaints, expected.into_iter().collect::<Vec<_>>(), "{path}: {odd:?}\n{}", finished.console);
        }
        finished.powered_off_saying(&["runs", "whit: exit 0", "whit: power off"]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_read_only_root_gets_its_files_whatever_links_it_has() {
    for (path, target, line) in [
        ("/etc/hosts", None, "127.0.0.1 localhost"),
        ("/etc/hosts", Some("/lib/x"), "127.0.0.1 localhost"),
        ("/etc/hosts", Some("../../../lib/x"), "127.0.0.1 localhost"),
        ("/etc/hosts", Some("/nowhere"), "127.0.0.1 nothing"),
    ] {
        let mut machine = Machine::new().shell().file("/lib/x", "").file("/rootfs/lib/x", "");
        for directory in ["/rootfs/dev", "/rootfs/proc", "/rootfs/sys"] {
            machine = machine.directory(directory);
        }
        let machine = match target {
            Some(target) => machine.link(&format!("/rootfs{path}"), target),
            None => machine.file(&format!("/rootfs{path}"), ""),
        };
        let script = format!("echo 127.0.0.1 nothing; cat {path}; exit 0");
        let mut machine = machine.script(&script).command_line("ro whit.on_exit=shell whit.net=off").spawn();
        let output = machine.wait_for("whit: exit 0\n");
        assert!(output.contains(line), "{target:?}: {output}");
        assert!(!mounts(&machine).contains(&"/lib/x".to_owned()), "{target:?}");
        assert_in_own_root(&machine, path);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_target_of_a_dangling_link_is_made_in_the_root() {
    for (links, target) in [
        (
            &[("/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")][..],
            "/run/systemd/resolve/stub-resolv.conf",
        ),
        (&[("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")], "/run/systemd/resolve/resolv.conf"),
        (&[("/etc/resolv.conf", "../../../../a/b")], "/a/b"),
        (&[("/etc/resolv.conf", "/var/run/b"), ("/var/run", "/run")], "/run/b"),
        (&[("/etc/resolv.conf", "one"), ("/etc/one", "two"), ("/etc/two", "three/four")], "/etc/three/four"),
        (&[("/etc", "/usr/etc")], "/usr/etc/resolv.conf"),
    ] {
        let mut machine = Machine::new();
        for (link, target) in links {
            machine = machine.link(&format!("/rootfs{link}"), target);
        }
        let script = format!("ls -l {target}; cat {target}; ls -a {target}/.. | grep whit; exec sleep 1000");
        let mut machine = machine.script(&script).command_line("whit.net=off").spawn();
        let output = machine.wait_for("# written by whit\n");
        assert!(output.contains(&format!(" {target}\n")) && output.contains("-rw-r--r--"), "{links:?}: {output}");
        assert!(!machine.exists_for_init(target), "{target} is in the initramfs");
        assert!(!machine.console().contains(".whit\n"), "{}", machine.console());
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn accounts_are_found_in_files_of_any_size() {
    let users = |count: u32| -> String {
        (10_000..10_000 + count).map(|id| format!("user{id}:x:{id}:{id}:User {id}:/home/user{id}:/bin/sh\n")).collect()
    };
    let members: String = (0..9000).map(|id| format!("user{id},")).collect();
    for count in [0, 900, 60_000] {
        let passwd = format!("root:x:0:0:root:/root:/bin/sh\n{}web:x:33:44:web:/srv/web:/bin/false", users(count));
        let group = format!("web:x:44:\nlong:x:50:{members}web,{members}\nother:x:51:{members}webb\nlast:x:52:web");
        for (user, shown) in [
            ("web", "33 44 44 50 52 /srv/web"),
            ("33:last", "33 52 52 /srv/web"),
            ("4321", "4321 0 0 /"),
            ("4321:51", "4321 51 51 /"),
            ("0:0", "0 0 0 /root"),
        ] {
            let finished = Machine::new()
                .file("/rootfs/etc/passwd", &passwd)
                .file("/rootfs/etc/group", &group)
                .script("echo shown $(id -u) $(id -g) $(grep Groups: /proc/self/status | cut -f 2) $HOME")
                .command_line(&format!("whit.user={user} whit.net=off"))
                .run();
            finished.powered_off_saying(&[&format!("shown {shown}"), "whit: exit 0"]);
        }
    }
}
