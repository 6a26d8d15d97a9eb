//! The workload: its arguments, environment, user, limits and settings, and its exit code.

use std::time::{Duration, Instant};

use whit_tests::namespace::Machine;

/// Prints its arguments, one per line in brackets.
const SHOW: &str = "#!/bin/sh\nfor argument in \"$0\" \"$@\"; do echo \"[$argument]\"; done\n";

fn with_show() -> Machine {
    Machine::new().busybox_root().file("/rootfs/bin/show", SHOW).mode("/rootfs/bin/show", 0o755)
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn arguments_come_from_the_command_line_as_they_were_quoted() {
    let line = "entrypoint=\"/bin/show  one --two=2=2\" -- \"a b\" -- c=\"d e\" -f";
    let finished = with_show().command_line(line).run();
    let shown = ["[/bin/show]", "[one]", "[--two=2=2]", "[a b]", "[--]", "[c=d e]", "[-f]", "whit: exit 0"];
    finished.powered_off_saying(&shown);
    assert!(!finished.says("[]"), "two spaces are no empty argument:\n{}", finished.console);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn arguments_come_from_the_records_as_they_stand() {
    let record = "entrypoint /bin/show\nentrypoint -x y\ncmd  a \ncmd \ncmd b\\nc\\\\d\n";
    for path in ["/whit.conf", "/rootfs/etc/whit.conf"] {
        let finished = with_show().file(path, record).run();
        finished.powered_off_saying(&["[/bin/show]", "[-x y]", "[ a ]", "[]", "[b", "c\\d]", "whit: exit 0"]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_stronger_entrypoint_drops_the_weaker_command() {
    const IMAGE: &str = "entrypoint /bin/show\nentrypoint image\ncmd of-image\n";
    for (command_line, initramfs, shown) in [
        ("", "", "[image][of-image]"),
        ("", "cmd of-initramfs\n", "[image][of-initramfs]"),
        ("", "entrypoint /bin/show\n", ""),
        ("", "entrypoint /bin/show\ncmd of-initramfs\n", "[of-initramfs]"),
        ("entrypoint=/bin/show", "cmd of-initramfs\n", ""),
        ("-- of-line", "cmd of-initramfs\n", "[image][of-line]"),
        ("entrypoint=/bin/show -- of-line", "entrypoint /bin/no\n", "[of-line]"),
        // The words after -- are those after the image of docker run: they replace CMD from any other source.
        ("whit.arg=of-word", "cmd of-initramfs\n", "[image][of-word]"),
        ("whit.arg=of-word -- of-line", "cmd of-initramfs\n", "[image][of-line]"),
        ("whit.arg=of-word --", "cmd of-initramfs\n", "[image][of-word]"),
    ] {
        let finished = with_show()
            .command_line(command_line)
            .file("/whit.conf", initramfs)
            .file("/rootfs/etc/whit.conf", IMAGE)
            .run();
        let lines: String = finished.console.lines().filter(|line| line.starts_with('[')).collect();
        assert_eq!(lines, format!("[/bin/show]{shown}"), "{command_line:?} {initramfs:?}:\n{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_environment_is_dockers_without_the_kernels_variables() {
    let finished = Machine::new()
        .busybox_root()
        .command_line("whit.hostname=box whit.env=\"C=from line\" entrypoint=/bin/env")
        .file("/whit.conf", "env B=from initramfs\nenv C=no\n")
        .file("/rootfs/etc/whit.conf", "env A=a=b\nenv B=no\nenv E=\n")
        .run();
    let mut shown: Vec<&str> = finished.console.lines().filter(|line| !line.starts_with("whit: ")).collect();
    shown.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(shown, ["A=a=b", "B=from initramfs", "C=from line", "E=", "HOME=/", "HOSTNAME=box", path]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_empty_home_is_ignored_and_a_variable_without_value_is_removed() {
    let finished = Machine::new()
        .command_line("whit.env=HOME= whit.env=A whit.env=HOSTNAME")
        .file("/rootfs/etc/passwd", "root:x:0:0::/home/of-passwd:\n")
        .file("/rootfs/etc/whit.conf", "env A=1\nenv AB=2\nenv HOME=/home/of-image\n")
        .script("echo home $HOME; env | grep -cE '^(A|HOSTNAME)='; env | grep ^AB=")
        .run();
    finished.powered_off_saying(&["home /home/of-passwd", "0", "AB=2", "whit: exit 0"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_name_without_a_slash_is_looked_up_in_the_images_path() {
    let machine = || {
        with_show()
            .file("/rootfs/first/tool", "not to be run")
            .directory("/rootfs/third/tool")
            .file("/rootfs/second/tool", "#!/bin/sh\necho second\n")
            .mode("/rootfs/second/tool", 0o755)
    };
    for (path, name, line, code) in [
        // A file that is not executable is skipped for one that is.
        ("/nowhere:/first:/second", "tool", "second", 0),
        ("/second/tool:/second", "tool", "second", 0),
        ("/first", "tool", "whit: tool: permission denied (EACCES)", 126),
        ("/nowhere", "tool", "whit: tool: not found (ENOENT)", 127),
        // A directory is not a program, and does not hide one that follows in PATH.
        ("/third:/second", "tool", "second", 0),
        ("/third", "tool", "whit: tool: permission denied (EACCES)", 126),
        ("", "tool", "whit: tool: not found (ENOENT)", 127),
        ("/nowhere", "/bin/show", "[/bin/show]", 0),
    ] {
        let record = format!("env PATH={path}\nentrypoint {name}\n");
        let finished = machine().file("/rootfs/etc/whit.conf", &record).run();
        finished.powered_off_saying(&[line, &format!("whit: exit {code}")]);
    }
    // An empty element of PATH is the current directory.
    let record = "env PATH=:/nowhere\nworkdir /second\nentrypoint tool\n";
    machine().file("/rootfs/etc/whit.conf", record).run().powered_off_saying(&["second", "whit: exit 0"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn exit_codes_are_those_of_a_shell() {
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
    {
        Machine::new().script(script).run().powered_off_saying(&[&format!("whit: exit {code}"), "whit: power off"]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_entrypoint_that_cannot_run_is_logged_with_the_reason() {
    let no_format = "exec format error: not a program for this machine or a #! script";
    for (entrypoint, reason, code) in [
        ("/no/such", "not found (ENOENT)", 127),
        ("/etc/plain/x", "not found (ENOTDIR)", 127),
        ("/etc/plain", "permission denied (EACCES)", 126),
        ("/etc", "permission denied (EACCES)", 126),
        ("/etc/text", &format!("{no_format} (ENOEXEC)"), 126),
        ("/etc/empty", &format!("{no_format} (ENOEXEC)"), 126),
        ("/etc/lost", "interpreter /no/interpreter: not found", 127),
        ("/etc/crlf", "interpreter /bin/sh: not found (its line ends in CR LF)", 127),
        ("/etc/dynamic", "interpreter /lib64/ld-linux-x86-64.so.2: not found", 127),
        ("lost", "interpreter /no/interpreter: not found", 127),
        ("/etc/loop", "cannot be run (ELOOP)", 126),
    ] {
        let finished = Machine::new()
            .busybox_root()
            .file("/rootfs/etc/plain", "echo plain\n")
            .file("/rootfs/etc/text", "echo text\n")
            .mode("/rootfs/etc/text", 0o755)
            .file("/rootfs/etc/empty", "")
            .mode("/rootfs/etc/empty", 0o755)
            .file("/rootfs/etc/lost", "#!/no/interpreter\n")
            .mode("/rootfs/etc/lost", 0o755)
            .file("/rootfs/etc/crlf", "#!/bin/sh\r\necho\r\n")
            .mode("/rootfs/etc/crlf", 0o755)
            .bytes("/rootfs/etc/dynamic", &std::fs::read("/bin/ls").unwrap())
            .mode("/rootfs/etc/dynamic", 0o755)
            .file("/rootfs/etc/whit.conf", "env PATH=/nowhere:/etc\n")
            .link("/rootfs/etc/loop", "loop")
            .command_line(&format!("entrypoint={entrypoint}"))
            .run();
        let program = if entrypoint == "lost" { "/etc/lost" } else { entrypoint };
        finished.powered_off_saying(&[&format!("whit: {program}: {reason}"), &format!("whit: exit {code}")]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_init_that_cannot_be_executed_delays_no_end() {
    let started = Instant::now();
    let finished = Machine::new().directory("/rootfs/bin").command_line("init=/no/init").run();
    finished.powered_off_saying(&["whit: /no/init: not found (ENOENT)", "whit: exit 127", "whit: power off"]);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_an_entrypoint_the_places_for_one_are_logged() {
    let line = "whit: nothing to run: no entrypoint on the command line, in /whit.conf or in /etc/whit.conf";
    Machine::new().busybox_root().run().powered_off_saying(&[line, "whit: exit 125"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn arguments_over_a_limit_are_an_error_that_names_it() {
    let failed = "whit: exit 125";
    let (strings, bytes) = (
        "whit: arguments or environment: more than 256 strings",
        "whit: arguments or environment: more than 16384 bytes",
    );
    let record = "whit: /etc/whit.conf: 16384 bytes or more are not read";
    let long = "0123456789".repeat(1_000);
    for (initramfs, image, lines) in [
        ("cmd x\n".repeat(255), String::new(), ["whit: exit 0"].as_slice()),
        ("cmd x\n".repeat(256), String::new(), &[strings, failed]),
        // One variable, set repeatedly, counts once; two count twice.
        ("env A=x\n".repeat(300), String::new(), &["whit: exit 0"]),
        ((0..300).map(|number| format!("env A{number}=\n")).collect(), String::new(), &[strings, failed]),
        (format!("env A={long}\n"), format!("env B={long}\n"), &[bytes, failed]),
        // No room is left for HOME.
        ((0..254).map(|number| format!("env A{number}=\n")).collect(), String::new(), &[strings, failed]),
        (String::new(), "cmd x\n".repeat(3_000), &[record, "whit: exit 0"]),
    ] {
        let initramfs = format!("entrypoint /bin/true\n{initramfs}");
        let machine = Machine::new().busybox_root().file("/whit.conf", &initramfs);
        machine.file("/rootfs/etc/whit.conf", &image).run().powered_off_saying(lines);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn files_that_are_too_long_are_named_with_their_limit() {
    let groups: String = (0..65).map(|gid| format!("g{gid}:x:{gid}:web\n")).collect();
    let machine = Machine::new().file("/rootfs/etc/passwd", PASSWD).file("/rootfs/etc/group", &groups);
    let finished = machine.command_line("whit.user=web").script("echo up").run();
    finished.powered_off_saying(&["whit: user web: in more than 64 groups", "whit: exit 125"]);
    assert!(!finished.says("up"), "{}", finished.console);
    let modules = Machine::new().file("/lib/modules/load", &"x".repeat(16 * 1024)).script("echo up").run();
    modules.powered_off_saying(&["whit: /lib/modules/load: 16384 bytes or more are not read", "up"]);
    let words = format!("entrypoint=/bin/true {}", "x".repeat(4096));
    let line = Machine::new().busybox_root().command_line(&words).run();
    line.powered_off_saying(&["whit: /proc/cmdline: 4096 bytes or more are not read", "whit: exit 125"]);
}

const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/srv/web:/bin/false\n1000:x:55:66::/number:/bin/sh\n";
const GROUP: &str = "root:x:0:\nweb:x:44:\nlogs:x:4:web\nspare:x:9:web\nadmins:x:6:root\n";

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_user_is_resolved_as_docker_does() {
    // The output of docker 20.10 for the same two files.
    for (user, ids, groups, home) in [
        ("", "0 0", "0 6", "/root"),
        ("web", "33 44", "4 9 44", "/srv/web"),
        ("33", "33 44", "4 9 44", "/srv/web"),
        ("web:logs", "33 4", "4", "/srv/web"),
        ("33:logs", "33 4", "4", "/srv/web"),
        ("web:1234", "33 1234", "1234", "/srv/web"),
        ("4321:1234", "4321 1234", "1234", "/"),
        ("4321", "4321 0", "0", "/"),
        ("1000", "1000 0", "0", "/"),
        (":logs", "0 4", "4", "/root"),
    ] {
        let finished = Machine::new()
            .file("/rootfs/etc/passwd", PASSWD)
            .file("/rootfs/etc/group", GROUP)
            .file("/rootfs/etc/whit.conf", &format!("user {user}\n"))
            .script(
                "echo $(id -u) $(id -g); echo $(grep ^Groups: /proc/self/status); echo $HOME
                echo by name >/dev/stdout; stat -L -c %u /dev/stderr",
            )
            .run();
        let owner = ids.split(' ').next().expect("a user");
        finished.powered_off_saying(&[ids, &format!("Groups: {groups}"), home, "by name", owner, "whit: exit 0"]);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_unknown_user_or_group_is_an_error() {
    for (user, reason) in [
        ("nobody", "no such user in /etc/passwd"),
        ("web:nogroup", "no such group in /etc/group"),
        ("2147483648", "no such user in /etc/passwd"),
    ] {
        let finished = Machine::new()
            .file("/rootfs/etc/passwd", PASSWD)
            .file("/rootfs/etc/group", GROUP)
            .command_line(&format!("whit.user={user}"))
            .script("echo up")
            .run();
        finished.powered_off_saying(&[&format!("whit: user {user}: {reason}"), "whit: exit 125"]);
        assert!(!finished.says("up"), "{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_working_directory_is_made_when_missing() {
    for workdir in ["/srv/deep/er", "/bin", "relative", "/", "/srv/"] {
        let machine = Machine::new().command_line(&format!("whit.workdir={workdir}")).script("pwd; echo up");
        let shown = if workdir == "relative" { "/relative" } else { workdir.trim_end_matches('/') };
        let shown = if shown.is_empty() { "/" } else { shown };
        machine.run().powered_off_saying(&[shown, "up", "whit: exit 0"]);
    }
    let made = Machine::new().command_line("whit.workdir=/srv/made whit.user=33").script("stat -c '%u:%g %a' .").run();
    made.powered_off_saying(&["0:0 755", "whit: exit 0"]);
    let finished = Machine::new().file("/rootfs/file", "").command_line("whit.workdir=/file/x").script("echo up").run();
    finished.powered_off_saying(&["whit: workdir /file/x: ENOTDIR", "whit: exit 125"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_workload_starts_with_no_signal_blocked_or_ignored_and_three_descriptors() {
    // ls itself has the directory open: 3.
    let script = "
        grep -E 'Sig(Blk|Ign)' /proc/self/status
        echo open files $(ulimit -Sn), umask $(umask)
        ls /proc/self/fd | grep -vx 3 | tr '\\n' ' '; echo; exec sleep 1000";
    let mut machine = Machine::new().script(script).spawn();
    machine.wait_for("SigBlk:\t0000000000000000\n");
    machine.wait_for("SigIgn:\t");
    // glibc's posix_spawn(3), before unshare(1), ignores its two internal signals: 32 and 33.
    let ignored = u64::from_str_radix(&machine.wait_for("\n"), 16).expect("a set of signals");
    assert_eq!(ignored & !(0b11 << 31), 0, "{ignored:#x}");
    machine.wait_for("open files 1024, umask 0022\n");
    let shown = machine.wait_for(" \n");
    let mut descriptors: Vec<&str> = shown.split(' ').collect();
    descriptors.retain(|number| !machine.inherited().iter().any(|(inherited, _)| inherited == number));
    assert_eq!(descriptors, ["0", "1", "2"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn limits_are_set_as_requested() {
    let finished = Machine::new()
        .command_line("whit.rlimit=data=unlimited whit.rlimit=nproc=10")
        .file("/whit.conf", "rlimit fsize=8589934592:-1\nrlimit nproc=15\n")
        .file("/rootfs/etc/whit.conf", "rlimit nofile=300:3000\nrlimit nproc=20\nrlimit data=1000000000:-1\n")
        .script("grep -E 'file size|data size|processes|open files' /proc/self/limits | tr -s ' '")
        .run();
    finished.powered_off_saying(&[
        "Max file size 8589934592 unlimited bytes ",
        "Max data size unlimited unlimited bytes ",
        "Max processes 10 10 processes ",
        "Max open files 300 3000 files ",
        "whit: exit 0",
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_limit_that_cannot_be_set_is_an_error_unless_it_is_dockers_default() {
    for (limit, reason) in [
        ("files=1", "EINVAL"),
        ("nofile", "EINVAL"),
        ("nofile=", "EINVAL"),
        ("nofile=few", "EINVAL"),
        ("nofile=1:2:3", "EINVAL"),
        ("nofile=5:3", "EINVAL"),
        // Above fs.nr_open (kernel/sys.c, do_prlimit).
        ("nofile=unlimited", "EPERM"),
    ] {
        let finished = Machine::new().command_line(&format!("whit.rlimit={limit}")).script("echo up").run();
        finished.powered_off_saying(&[&format!("whit: rlimit {limit}: {reason}"), "whit: exit 125"]);
        assert!(!finished.says("up"), "{}", finished.console);
    }
    let limited = || Machine::new().open_files(2000).script("echo open files $(ulimit -Sn) $(ulimit -Hn)");
    limited().run().powered_off_saying(&["open files 1024 2000", "whit: exit 0"]);
    let lowered = limited().command_line("whit.rlimit=nofile=1000:1500").run();
    lowered.powered_off_saying(&["open files 1000 1500", "whit: exit 0"]);
    let raised = limited().command_line("whit.rlimit=nofile=1000:3000").run();
    raised.powered_off_saying(&["whit: rlimit nofile=1000:3000: EPERM", "whit: exit 125"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_small_stack_limit_applies_to_the_workload_only() {
    let finished = Machine::new().command_line("whit.rlimit=stack=65536").script("echo stack $(ulimit -s)").run();
    finished.powered_off_saying(&["stack 64", "whit: exit 0"]);
}

/// Prints network settings below /proc/sys/net/ipv4.
const SETTINGS: &str =
    "cd /proc/sys/net/ipv4; grep -H . ip_unprivileged_port_start ping_group_range ip_forward | tr '\\t' ' '";

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn every_user_may_listen_on_every_port_and_ping() {
    let listen =
        "nc -l -p 80 -e /bin/true & until netstat -ltn | grep ':80 '; do :; done; nc 127.0.0.1 80 </dev/null; wait $!";
    let finished =
        Machine::new().command_line("whit.user=33").script(&format!("{SETTINGS}\n{listen}\necho listened $?")).run();
    let dockers = ["ip_unprivileged_port_start:0", "ping_group_range:0 2147483647", "ip_forward:0"];
    finished.powered_off_saying(&dockers);
    finished.powered_off_saying(&["listened 0", "whit: exit 0"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn settings_are_set_as_requested() {
    let finished = Machine::new()
        .command_line("whit.sysctl=\"net.ipv4.ping_group_range=5 6\"")
        .file("/whit.conf", "sysctl net/ipv4/ip_forward=1\nsysctl net.ipv4.ping_group_range=1 2\n")
        .file("/rootfs/etc/whit.conf", "sysctl net.ipv4.ip_unprivileged_port_start=512\nsysctl net.ipv4.ip_forward=0\n")
        .script(SETTINGS)
        .run();
    finished.powered_off_saying(&[
        "ip_unprivileged_port_start:512",
        "ping_group_range:5 6",
        "ip_forward:1",
        "whit: exit 0",
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_setting_that_cannot_be_set_is_an_error_unless_it_is_dockers_default() {
    for (setting, reason) in [
        ("net.ipv4.nothing=1", "ENOENT"),
        ("net.ipv4.ip_forward=x", "EINVAL"),
        ("net.ipv4.ip_forward", "EINVAL"),
        ("net.ipv4=1", "EISDIR"),
        // Bound read-only by the guard: it is the host's.
        ("kernel.pid_max=4000000", "EROFS"),
    ] {
        let finished = Machine::new().command_line(&format!("whit.sysctl={setting}")).script("echo up").run();
        finished.powered_off_saying(&[&format!("whit: sysctl {setting}: {reason}"), "whit: exit 125"]);
        assert!(!finished.says("up"), "{}", finished.console);
    }
    let finished = Machine::new().mounted("/proc/sys/net").script("ls /proc/sys/net | wc -l; echo up").run();
    finished.powered_off_saying(&["0", "up", "whit: exit 0"]);
    assert!(!finished.console.contains("sysctl"), "{}", finished.console);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn what_the_workload_mounts_is_its_own() {
    let script = "mkdir /own && mount -t tmpfs own /own && grep -c ' /own ' /proc/mounts; echo up; exec sleep 1000";
    let mut machine = Machine::new().script(script).spawn();
    machine.wait_for("1\nup\n");
    let table = machine.of_init("mounts");
    assert!(!table.contains("/own"), "{table}");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_root_is_the_real_root_and_not_a_chroot() {
    // Both are refused in a chroot: pivot_root(2), EINVAL; user_namespaces(7), EPERM.
    let script = "
        unshare -U /bin/sh -c 'echo own users $(id -u)' || echo no user namespace
        mkdir /new && mount -t tmpfs new /new && mkdir -p /new/old /new/bin && cp -a /bin/busybox /bin/sh /new/bin/
        cd /new && pivot_root . old && cd / && exec /bin/sh -c 'echo pivoted; /bin/busybox ls /'";
    Machine::new().script(script).run().powered_off_saying(&[
        "own users 65534",
        "pivoted",
        "bin",
        "old",
        "whit: exit 0",
    ]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn no_file_of_the_initramfs_can_be_reached_from_the_root() {
    let script =
        "ls -a /; cd ../../..; ls /init /whit.conf /mnt /rootfs 2>/dev/null || echo none; ls /proc/1/root/init";
    Machine::new().file("/whit.conf", "").script(script).run().powered_off_saying(&["none", "/proc/1/root/init"]);
}
