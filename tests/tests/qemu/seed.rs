//! The main use case, seen from the console's shell and from outside: nginx daemonises, the shell starts, the page is served, the
//! machine ends in order. On each kernel that apt offers; and with the command line of the seed project, an IDE disk and e1000.

use whit_tests::debian::{cloud_kernels, kernel};
use whit_tests::whole::{
    Copy, Guest, Shell, VIRTIO, assert_clean, fetch, free_port, init_messages, machine, nginx_disk,
};
use whit_tools::kernel::debian::{Flavour, Kernel};
use whit_tools::vm::qemu::{CommandLine, DiskInterface, Forward, Nic};

const CTRL_C: &[u8] = b"\x03";

fn forward(port: u16) -> Forward {
    format!("{port}:80").parse().unwrap()
}

fn assert_serves(guest: &Guest, port: u16) {
    let answer = fetch(port);
    guest.assert_has(&answer, &["HTTP/1.1 200 OK", "<title>Welcome to nginx!</title>"]);
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn nginx_daemonises_the_shell_starts_and_poweroff_ends_in_order() {
    for kernel in cloud_kernels() {
        let disk = Copy::of(&nginx_disk());
        let port = free_port();
        let command = machine(&kernel, &VIRTIO, Shell::Busybox)
            .append("root=/dev/vda")
            .disk(DiskInterface::Virtio, disk.path())
            .forward(forward(port));
        first_boot(&command, port);
        assert_clean(&disk.path());
        second_boot(&command);
        assert_clean(&disk.path());
    }
}

fn first_boot(command: &CommandLine, port: u16) {
    let mut guest = Guest::start(command);
    guest.line("whit: exit 0");
    // nginx listens before it goes into the background: no wait is needed.
    assert_serves(&guest, port);
    processes_and_mounts(&mut guest);
    network(&mut guest);
    ctrl_c_and_exit(&mut guest);
    orphans(&mut guest);
    let kept = guest.run("echo kept > /mnt/root/kept");
    guest.assert(kept == "0", &kept);
    guest.type_line("poweroff");
    guest.line("whit: power off");
    let console = guest.end();
    // There is no other message: nothing failed. Root and network come in any order.
    let mut lines = init_messages(&console, "");
    lines.sort_unstable();
    let expected = [
        "eth0 10.0.2.15/24, gateway 10.0.2.2, DNS 10.0.2.3, lease 86400 s from 10.0.2.2",
        "eth0 52:54:00:12:34:56: link up",
        "exit 0",
        "power off",
        "root /dev/vda on /mnt",
    ];
    guest.assert(lines == expected, &format!("the init logged {lines:#?}"));
}

/// Boots again, finds the written file, and ends with `reboot`, at which QEMU ends because of -no-reboot.
fn second_boot(command: &CommandLine) {
    let mut guest = Guest::start(command);
    let kept = guest.run("cat /mnt/root/kept");
    guest.assert(kept == "kept\n0", &kept);
    guest.type_line("reboot");
    guest.line("whit: reboot");
    guest.end();
}

fn processes_and_mounts(guest: &mut Guest) {
    let processes = guest.run("ps -o pid,ppid,user,stat,args");
    let process = |wanted: &dyn Fn(&[&str]) -> bool| {
        processes.lines().any(|line| wanted(&line.split_whitespace().collect::<Vec<_>>()))
    };
    let shown = format!("in:\n{processes}");
    guest.assert(process(&|fields| matches!(fields, ["1", "0", .., "/init"])), &format!("no init {shown}"));
    let master = |fields: &[&str]| matches!(fields, [_, "1", "root" | "0", ..]) && fields.contains(&"master");
    guest.assert(process(&master), &format!("no master of PID 1 {shown}"));
    // The initramfs has no passwd: www-data is 33.
    let worker = |fields: &[&str]| fields.get(2) == Some(&"33") && fields.contains(&"worker");
    guest.assert(process(&worker), &format!("no worker under www-data {shown}"));
    guest.assert(process(&|fields| matches!(fields, [_, "1", .., "sh"])), &format!("no shell {shown}"));

    let mounts = guest.run("mount");
    guest.assert_has(
        &mounts,
        &[
            "devtmpfs on /dev type devtmpfs (rw,",
            "tmpfs on /tmp type tmpfs (rw,",
            "/dev/vda on /mnt type ext4 (rw,",
            "devtmpfs on /mnt/dev type devtmpfs (rw,",
            "devpts on /mnt/dev/pts type devpts (rw,",
            "tmpfs on /mnt/dev/shm type tmpfs (rw,",
            "proc on /mnt/proc type proc (rw,",
            "sysfs on /mnt/sys type sysfs (rw,",
        ],
    );
    let usage = guest.run("df");
    for (device, directory) in [("devtmpfs", "/dev"), ("tmpfs", "/tmp"), ("/dev/vda", "/mnt"), ("devtmpfs", "/mnt/dev")]
    {
        let row = usage.lines().any(|line| line.starts_with(device) && line.ends_with(&format!(" {directory}")));
        guest.assert(row, &format!("no {device} on {directory} in:\n{usage}"));
    }
    let present = guest.run("test -x /mnt/usr/sbin/nginx && test -c /mnt/dev/null");
    guest.assert(present == "0", &present);
}

fn network(guest: &mut Guest) {
    let network = guest.run("ip address; ip route; cat /mnt/etc/resolv.conf /mnt/etc/hosts");
    guest.assert_has(
        &network,
        &[
            "lo: <LOOPBACK,UP,LOWER_UP>",
            "inet 127.0.0.1/8",
            "inet 10.0.2.15/24",
            "default via 10.0.2.2 dev eth0",
            "\nnameserver 10.0.2.3\n",
            "\n10.0.2.15 whit\n",
        ],
    );
}

/// Checks that ctrl-c reaches only the foreground process group, and that another shell follows one that exits.
fn ctrl_c_and_exit(guest: &mut Guest) {
    for (program, typed) in [("sleep 1000", ""), ("cat", "typed")] {
        guest.type_line(&format!("sh -c 'echo run$((1)); exec {program}'"));
        guest.line("run1");
        if !typed.is_empty() {
            guest.machine().send(format!("{typed}\n").as_bytes()).unwrap();
            guest.line(typed); // the echo
            guest.line(typed); // cat
        }
        guest.machine().send(CTRL_C).unwrap();
        guest.type_line("echo status$((1)) $?");
        let status = guest.line("status1 ");
        guest.assert(status == "status1 130", &format!("{program} ended with {status}"));
    }
    let shell = guest.run("echo $$");
    guest.type_line("exit 3");
    let next = guest.run("echo $$");
    guest.assert(shell != next, "no new shell after exit");
}

/// Checks that PID 1 reaps orphans.
fn orphans(guest: &mut Guest) {
    // A zombie keeps its name: the second loop ends when PID 1 has reaped all.
    let adopted = "test $(ps -o ppid,comm | grep -c '^ *1 sleep$') = 100";
    guest.run(&format!("for i in $(seq 100); do (sleep 1000 &); done; until {adopted}; do :; done"));
    let left = guest.run("killall sleep; while pidof sleep > /dev/null; do :; done; ps -o stat,comm");
    let zombie = left.lines().any(|line| line.trim_start().starts_with('Z'));
    guest.assert(!zombie, &format!("a zombie in:\n{left}"));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_seeds_command_line_serves_a_page() {
    let kernel: Kernel = kernel(Flavour::Generic, None);
    let port = free_port();
    let command = machine(&kernel, &["ata_piix", "sd_mod", "e1000", "ext4"], Shell::Busybox)
        .append("entrypoint=/usr/sbin/nginx root=/dev/sda")
        .memory_mib(1024)
        .disk(DiskInterface::Ide, nginx_disk())
        .snapshot()
        .nic(Nic::E1000)
        .forward(forward(port));
    let mut guest = Guest::start(&command);
    guest.line("whit: exit 0");
    assert_serves(&guest, port);
    let mounts = guest.run("mount");
    guest.assert_has(&mounts, &["/dev/sda on /mnt type ext4 (rw,"]);
    guest.type_line("poweroff");
    guest.line("whit: power off");
    let console = guest.end();
    // This processor lacks the instruction of crc32c_intel, a soft dependency of ext4: that is no failure.
    assert_eq!(init_messages(&console, "module"), [""; 0]);
}
