//! The boot, from PID 1's first instruction to the entrypoint: mounts, devices, the root, and their messages.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use whit_tests::init;
use whit_tests::namespace::Machine;
use whit_tests::whole::init_messages;

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_init_that_is_not_pid_1_reports_it_and_does_nothing() {
    // This runs inside a machine: on the host, a mistake would mount over /dev.
    let script = "
        cat /proc/self/mountinfo >/before
        /init >/said 2>&1; echo status $?
        cat /proc/self/mountinfo >/after
        cmp /before /after && echo unchanged
        wc -l </said; cut -c1-27 /said";
    let finished = Machine::new().program("/rootfs/init", &init()).script(script).run();
    finished.powered_off_saying(&["status 1", "unchanged", "1", "whit: an init runs as PID 1", "whit: exit 0"]);
}

/// Returns the type and options of each mount point in /proc/mounts. Two mounts on one directory are an error.
fn mounts(table: &str) -> BTreeMap<&str, (&str, &str)> {
    let mut mounts = BTreeMap::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, directory, fstype, options, ..] = fields[..] else { panic!("a mount: {line:?}") };
        assert!(mounts.insert(directory, (fstype, options)).is_none(), "{directory} is two mounts:\n{table}");
    }
    mounts
}

/// The early mounts that `enter` leaves to the init, and the options that each must have.
const EARLY: [(&str, &str, &[&str]); 7] = [
    ("/sys", "sysfs", &["nosuid", "nodev", "noexec"]),
    ("/tmp", "tmpfs", &["nosuid", "nodev"]),
    ("/run", "tmpfs", &["nosuid", "nodev"]),
    ("/dev/pts", "devpts", &["nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"]),
    ("/dev/shm", "tmpfs", &["nosuid", "nodev"]),
    ("/dev/mqueue", "mqueue", &["nosuid", "nodev", "noexec"]),
    ("/sys/fs/cgroup", "cgroup2", &["nosuid", "nodev", "noexec"]),
];

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn every_early_mount_is_made_once_and_a_tmpfs_has_its_mode() {
    let mut machine = Machine::new().script("echo up; exec sleep 1000").spawn();
    machine.wait_for("up\n");
    let table = machine.of_init("mounts");
    let mounts = mounts(&table);
    for (directory, fstype, wanted) in EARLY {
        let (found, options) = mounts.get(directory).unwrap_or_else(|| panic!("no {directory}:\n{table}"));
        assert_eq!(*found, fstype, "{directory}");
        for option in wanted {
            assert!(options.split(',').any(|found| found == *option), "{directory} lacks {option}: {options}");
        }
    }
    // Programs are run from /run: s6 does.
    assert!(!mounts["/run"].1.contains("noexec"), "{table}");
    for (directory, mode) in [("/tmp", 0o1777), ("/run", 0o755), ("/dev/shm", 0o1777)] {
        assert_eq!(machine.mode_of_init(directory), mode, "{directory}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn directories_that_are_mounts_already_are_kept() {
    let mut machine = Machine::new().mounted("/run").mounted("/sys").script("echo up; exec sleep 1000").spawn();
    machine.wait_for("up\n");
    // The sources show which mount it is: a second mount over the first would be one more line.
    let table = machine.of_init("mounts");
    mounts(&table);
    for first in ["before /run tmpfs", "before /sys tmpfs", "dev /dev tmpfs"] {
        assert!(table.lines().any(|line| line.starts_with(first)), "no {first}:\n{table}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_initramfs_without_directories_gets_them() {
    let machine = Machine::new().without("/mnt").script("echo up");
    machine.run().powered_off_saying(&["up", "whit: exit 0"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_root_without_directories_gets_dev_proc_and_sys() {
    let script = "
        for directory in /dev /dev/pts /dev/shm /dev/mqueue /proc /sys /sys/fs/cgroup; do
            mountpoint() { grep -c \" $1 \" /proc/self/mounts; }
            echo $directory $(mountpoint $directory)
        done
        grep -c ' /tmp \\| /run ' /proc/self/mounts";
    Machine::new().script(script).run().powered_off_saying(&[
        "/dev 1",
        "/dev/pts 1",
        "/dev/shm 1",
        "/dev/mqueue 1",
        "/proc 1",
        "/sys 1",
        "/sys/fs/cgroup 1",
        // The image's own directories stay as they are.
        "0",
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_program_finds_its_devices_links_and_terminals() {
    let script = "
        for node in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$node; done
        for link in fd stdin stdout stderr; do readlink /dev/$link; done
        echo to stdout >/dev/stdout
        echo to stderr >/dev/stderr
        stat -c '%a' /dev/shm
        echo x >/dev/shm/file && cat /dev/shm/file
        exec 3<>/dev/ptmx
        stat -c '%F %a %g' /dev/pts/0
        head -c 8 /dev/urandom | wc -c";
    Machine::new().script(script).run().powered_off_saying(&[
        "/dev/null 1:3 666",
        "/dev/zero 1:5 666",
        "/dev/full 1:7 666",
        "/dev/random 1:8 666",
        "/dev/urandom 1:9 666",
        "/dev/tty 5:0 666",
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "to stdout",
        "to stderr",
        "1777",
        "x",
        "character special file 620 5",
        "8",
        "whit: exit 0",
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_a_root_the_message_names_the_option_and_the_code_is_125() {
    let no_root = "whit: no root: neither a device as root= nor an image in the initramfs at /rootfs";
    for (command_line, line) in [
        ("entrypoint=/x", no_root),
        ("root=", no_root),
        (
            "root=sda",
            "whit: root=sda: not understood; it is MAJOR:MINOR or begins with one of UUID= LABEL= PARTUUID= PARTLABEL= SERIAL= /dev/ \
                virtiofs: 9p:",
        ),
        ("root=/dev/null", "whit: root=/dev/null: mount: ENOTBLK; is there a file system on it? is its module loaded?"),
        (
            "root=/dev/nowhere rootwait=0",
            "whit: root=/dev/nowhere: no such device within 0 s; are its modules in the initramfs?",
        ),
        (
            "root=/dev/nowhere rootwait=1",
            "whit: root=/dev/nowhere: no such device within 1 s; are its modules in the initramfs?",
        ),
    ] {
        let finished = Machine::new().command_line(command_line).run();
        finished.powered_off_saying(&[line, "whit: exit 125"]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_root_is_searched_after_rootdelay() {
    let started = Instant::now();
    let finished = Machine::new().command_line("root=/dev/nowhere rootdelay=1 rootwait=0").run();
    let line = "whit: root=/dev/nowhere: no such device within 0 s; are its modules in the initramfs?";
    finished.powered_off_saying(&[line, "whit: exit 125"]);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn invalid_options_are_reported_with_file_and_line() {
    let finished = Machine::new()
        .command_line("whit.colour=red whit.net=maybe colour=red")
        .file("/whit.conf", "# a comment\nusr x\n bad\n\nenv A=\\t\n")
        .file("/rootfs/etc/whit.conf", "grace soon\nworkdir /\nstopsignal SIGNOPE\n")
        .script("echo up")
        .run();
    finished.powered_off_saying(&[
        "whit: /whit.conf:2: unknown option: usr",
        "whit: /whit.conf:3: malformed line: ",
        "whit: /whit.conf:5: malformed line: ",
        "whit: command line:1: unknown option: colour",
        "whit: command line:1: bad value: net",
        "whit: /etc/whit.conf:1: bad value: grace",
        "whit: /etc/whit.conf:3: bad value: stopsignal",
        "up",
        "whit: exit 0",
    ]);
    let complaints = finished.console.lines().filter(|line| line.contains(".conf:") || line.contains("line:1:"));
    assert_eq!(complaints.count(), 7, "each is reported once:\n{}", finished.console);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_log_line_that_is_too_long_is_cut_before_its_newline() {
    let name = "u".repeat(900);
    let finished = Machine::new().file("/whit.conf", &format!("{name}\n")).script("echo up").run();
    let (_, after) = finished.console.split_once("unknown option: uuu").expect("the complaint");
    let (cut, next) = after.split_once('\n').expect("its end");
    assert!(cut.bytes().all(|byte| byte == b'u') && cut.len() < 640, "{}", finished.console);
    assert!(next.starts_with("whit: "), "{}", finished.console);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_record_that_is_too_long_is_reported_and_ignored() {
    let long = format!("entrypoint /bin/false\n#{}\n", "x".repeat(16 * 1024));
    let finished = Machine::new().file("/whit.conf", &long).script("echo up").run();
    finished.powered_off_saying(&["whit: /whit.conf: 16384 bytes or more are not read", "up", "whit: exit 0"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn quiet_keeps_the_errors_and_the_exit_code() {
    let finished = Machine::new().command_line("quiet whit.net=off").script("echo up").run();
    finished.powered_off_saying(&[]);
    assert_eq!(finished.console, "up\nwhit: exit 0\n");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_timeline_has_its_stages_in_order() {
    let finished = Machine::new().command_line("whit.timing whit.net=off").script("").run();
    finished.powered_off_saying(&["whit: exit 0"]);
    let timeline = finished.console.lines().find_map(|line| line.strip_prefix("whit: timeline "));
    let timeline = timeline.unwrap_or_else(|| panic!("no timeline:\n{}", finished.console));
    let stages: Vec<(&str, u64)> = timeline
        .split(", ")
        .map(|stage| stage.split_once(' ').expect("a name and a time"))
        .map(|(name, time)| (name, time.parse().expect("microseconds")))
        .collect();
    assert!(stages.is_sorted_by_key(|(_, time)| *time), "{timeline}");
    let names: Vec<&str> = stages.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names.iter().filter(|name| **name != "modules").copied().collect::<Vec<_>>(),
        ["init", "root", "entrypoint"]
    );
    println!("timeline {timeline}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_machine_has_the_configured_host_name() {
    for (command_line, name) in [("", "whit"), ("whit.hostname=box", "box")] {
        let script = "hostname; cat /etc/hostname; grep -c box /etc/hosts; grep 127.0.0.1 /etc/hosts";
        let count = if name == "box" { "1" } else { "0" };
        let finished = Machine::new().command_line(command_line).directory("/rootfs/etc").script(script).run();
        finished.powered_off_saying(&[name, name, count, "127.0.0.1 localhost"]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn files_of_the_image_are_left_alone_and_empty_ones_are_filled() {
    let finished = Machine::new()
        .file("/rootfs/etc/hosts", "10.1.1.1 mine\n")
        .file("/rootfs/etc/hostname", "")
        .file("/rootfs/etc/resolv.conf", "nameserver 10.1.1.2\n")
        .script("cat /etc/hosts /etc/hostname /etc/resolv.conf; wc -l </etc/hosts")
        .run();
    finished.powered_off_saying(&["10.1.1.1 mine", "whit", "nameserver 10.1.1.2", "1"]);
}

/// It is that of the host where the image was built; docker always replaces it.
#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_images_resolv_conf_yields_to_servers() {
    let machine = || {
        Machine::new()
            .file("/rootfs/etc/resolv.conf", "nameserver 10.1.1.2\n")
            .file("/rootfs/etc/hosts", "10.1.1.1 mine\n")
            .script("cat /etc/resolv.conf /etc/hosts")
    };
    machine().run().powered_off_saying(&["nameserver 10.1.1.2", "10.1.1.1 mine"]);
    let finished = machine().command_line("nameserver=10.9.9.9").run();
    finished.powered_off_saying(&["# written by whit", "nameserver 10.9.9.9", "10.1.1.1 mine"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_root_without_etc_gets_one_with_the_files() {
    let script = "cat /etc/hosts /etc/hostname /etc/resolv.conf; stat -c '%u:%g %a' /etc; ls /etc";
    let finished = Machine::new().command_line("whit.hostname=box").script(script).run();
    finished.powered_off_saying(&[
        "127.0.0.1 localhost",
        "127.0.1.1 box",
        "box",
        "# written by whit",
        "0:0 755",
        "hostname",
        "hosts",
        "resolv.conf",
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_link_in_the_root_does_not_lead_out_of_it() {
    for target in ["/run/resolv.conf", "../../../../../run/resolv.conf"] {
        let mut machine = Machine::new()
            .link("/rootfs/etc/resolv.conf", target)
            .directory("/rootfs/run")
            .script("cat /run/resolv.conf && echo inside; exec sleep 1000")
            .spawn();
        machine.wait_for("# written by whit\ninside\n");
        assert!(!machine.exists_for_init("/run/resolv.conf"), "{target} was written in the initramfs");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn pid_1_is_small() {
    let mut machine = Machine::new().script("echo up; exec sleep 1000").spawn();
    machine.wait_for("up\n");
    let status = machine.of_init("status");
    let number = |name: &str| -> u32 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        line.split_whitespace().next().expect("a value").parse().expect("a number")
    };
    let (peak_kib, threads, descriptors) = (number("VmHWM:"), number("Threads:"), machine.descriptors_of_init());
    println!("PID 1: peak {peak_kib} KiB, {threads} thread, {} descriptors {descriptors:?}", descriptors.len());
    // The pages of the file, as the kernel maps those around each fault, variables, and the stack, which begins anywhere in two pages.
    assert!(peak_kib <= 120, "{peak_kib} KiB");
    assert_eq!(threads, 1);
    // The console three times, signals, three sockets of the network, and uevents where the kernel has virtio ports.
    assert!(descriptors.len() <= 8, "{descriptors:?}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_timeline_is_written_if_its_directory_exists() {
    let finished = Machine::new()
        .command_line("whit.tmpfs=/run/whit whit.timing")
        .script("cat /run/whit/timeline; echo end")
        .run();
    let timeline = init_messages(&finished.console, "timeline ")[0];
    let (_, kept) = finished.console.split_once("# written by whit\n").expect("the file");
    let (kept, _) = kept.split_once("end\n").expect("its end");
    // The init's own log line may be in the middle of the file's text.
    let stages: Vec<&str> = kept.lines().filter(|line| !line.starts_with("whit: ")).collect();
    assert_eq!(timeline, format!("timeline {}", stages.join(", ")), "{}", finished.console);
    assert!(stages[0].starts_with("init ") && stages.last().unwrap().starts_with("entrypoint "), "{stages:?}");
    let finished = Machine::new().script("ls /run/whit").run();
    assert!(!finished.says("timeline"), "{}", finished.console);
}
