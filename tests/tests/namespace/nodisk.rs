//! The root in the initramfs itself: truncated, read-only, and with attributes that cpio cannot hold.

use std::iter::repeat_n;

use rustix::fs::lgetxattr;
use whit::rootfs::{BLOCK, MAX_NEEDS, Record};
use whit_tests::namespace::Machine;

const NEEDS: &str = "initramfs truncated, needs 210 MB, or 120 MB with root=initramfs";

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_truncated_initramfs_reports_the_memory_that_it_needs() {
    let line = format!("whit: {NEEDS}");
    for command_line in ["", "root=initramfs"] {
        let cut = || Machine::new().command_line(command_line).file("/rootfs.needs", NEEDS).script("echo up");
        let finished = cut().run();
        finished.powered_off_saying(&[&line, "whit: exit 125"]);
        assert!(!finished.console.contains("up\n") && !finished.console.contains("no root"), "{}", finished.console);
        // The last entry is a link to the first.
        let finished = cut().link("/rootfs.end", "././rootfs.needs").run();
        finished.powered_off_saying(&["whit: root /rootfs on /mnt", "up", "whit: exit 0"]);
    }
    let longest = "x".repeat(MAX_NEEDS);
    let finished = Machine::new().file("/rootfs.needs", &longest).run();
    finished.powered_off_saying(&[&format!("whit: {longest}"), "whit: exit 125"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_initramfs_without_a_root_is_reported() {
    let finished = Machine::new().command_line("root=initramfs").run();
    let line = "whit: no root: neither a device as root= nor an image in the initramfs at /rootfs";
    finished.powered_off_saying(&[line, "whit: exit 125"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_read_only_root_of_the_initramfs_cannot_be_written_to() {
    let script = "touch /new; grep -c ' / [^ ]* ro' /proc/self/mounts";
    let machine = ["/dev", "/proc", "/sys", "/tmp"]
        .into_iter()
        .fold(Machine::new(), |machine, directory| machine.directory(&format!("/rootfs{directory}")));
    let finished = machine.command_line("ro").script(script).run();
    let expected =
        ["whit: root /rootfs, read-only, on /mnt", "touch: /new: Read-only file system", "1", "whit: exit 0"];
    finished.powered_off_saying(&expected);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn pivot_root_works_in_a_root_of_the_initramfs() {
    // As runc does it: a bind mount becomes /, and the old root is mounted in it.
    let script = "
        mkdir -p /next/old /next/bin && cp /bin/busybox /next/bin/
        cat >/pivot <<'END'
mount --bind /next /next && cd /next && pivot_root . old && exec /bin/busybox sh -c '/bin/busybox ls /; /bin/busybox ls /old/script'
END
        unshare -m sh /pivot";
    Machine::new().script(script).run().powered_off_saying(&["bin", "old", "/old/script", "whit: exit 0"]);
}

fn record(path: &str, name: &str, text: &str, value: &str) -> Vec<u8> {
    let [path, name, text, value] = [path, name, text, value].map(str::as_bytes);
    Record { path, name, text, value }.encode().unwrap().collect()
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn attributes_are_restored_from_every_block_of_the_table() {
    // cap_net_bind_service+ep, as setcap writes it.
    let capability = "\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut table = record("/rootfs/bin/busybox", "security.capability", "not logged", capability);
    let label = "x".repeat(1000);
    for number in 0..12 {
        let record = record(&format!("/rootfs/{number}"), "trusted.label", "not logged", &label);
        if table.len() % BLOCK + record.len() >= BLOCK {
            table.extend(repeat_n(0, BLOCK - table.len() % BLOCK));
        }
        table.extend(record);
    }
    table.extend(record("/rootfs/absent", "trusted.label", "lost: label of /absent", "y"));
    table.extend(record("/rootfs/absent", "trusted.more", "", "y"));
    table.extend(record("/rootfs/bin/sh", "trusted.of.a.link", "not logged", "z"));
    table.push(0);
    assert!(table.len() > 3 * BLOCK);
    let machine = (0..12).fold(Machine::new(), |machine, number| machine.file(&format!("/rootfs/{number}"), ""));
    let mut machine = machine.bytes("/rootfs.xattrs", &table).script("echo up; exec sleep 1000").spawn();
    machine.wait_for("up\n");
    let value = |path: &str, name: &str| {
        let mut value = vec![0; 4096];
        let path = format!("/proc/{}/root/rootfs{path}", machine.init());
        let length = lgetxattr(&path, name, &mut value).unwrap_or_else(|error| panic!("{path}: {name}: {error}"));
        String::from_utf8(value[..length].to_vec()).unwrap()
    };
    assert_eq!(value("/bin/busybox", "security.capability"), capability);
    for number in 0..12 {
        assert_eq!(value(&format!("/{number}"), "trusted.label"), label);
    }
    assert_eq!(value("/bin/sh", "trusted.of.a.link"), "z");
    let logged: Vec<&str> =
        machine.console().lines().filter(|line| line.contains("lost") || line.contains("not logged")).collect();
    assert_eq!(logged, ["whit: lost: label of /absent"]);
}
