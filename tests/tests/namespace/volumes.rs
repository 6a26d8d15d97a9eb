//! Volumes that `mount=` and `tmpfs=` mount in the root.

use whit_tests::namespace::Machine;

const SHOW: &str = "grep -E ' /(data|scratch|mnt|run)[^ ]* ' /proc/mounts; stat -c '%n %a' /data /scratch 2>&1";

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_tmpfs_has_dockers_defaults_and_the_users_options() {
    let finished = Machine::new()
        .script(SHOW)
        .file("/whit.conf", "tmpfs /scratch:exec,size=64k\n")
        .file("/rootfs/etc/whit.conf", "tmpfs /data/a\n")
        .command_line("whit.mount=tmpfs:/data/a/b:tmpfs:ro,noatime,mode=700")
        .run();
    finished.powered_off_saying(&["/data 755", "/scratch 1777", "whit: exit 0"]);
    for mount in [
        "tmpfs /data/a tmpfs rw,nosuid,nodev,noexec,relatime 0 0",
        "tmpfs /scratch tmpfs rw,nosuid,nodev,relatime,size=64k 0 0",
        // The image's volumes are mounted first, so that those of the command line can be mounted on them.
        "tmpfs /data/a/b tmpfs ro,noatime,mode=700 0 0",
    ] {
        assert!(finished.says(mount), "{mount}:\n{}", finished.console);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn links_in_the_path_are_resolved_in_the_root() {
    let finished = Machine::new()
        .script("grep scratch /proc/mounts; ls -d /away/deep /data; read line </data/deep/file; echo $line")
        .directory("/rootfs/away")
        .link("/rootfs/data", "/away")
        .link("/rootfs/up", "../../..")
        .command_line("whit.tmpfs=/data/deep:mode=755 whit.tmpfs=/up/scratch")
        .run();
    finished.powered_off_saying(&["tmpfs /scratch tmpfs rw,nosuid,nodev,noexec,relatime 0 0", "/away/deep", "/data"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_volume_that_cannot_be_mounted_ends_the_boot_without_nofail() {
    for (options, problem) in [
        ("whit.mount=nothing", "whit: mount=nothing: EINVAL"),
        ("whit.tmpfs=scratch", "whit: tmpfs=scratch: EINVAL"),
        ("whit.mount=nosuchfs:tag:/data", "whit: mount=nosuchfs:tag:/data: EINVAL"),
        ("whit.mount=tmpfs:/script/x", "whit: mount=tmpfs:/script/x: ENOTDIR"),
        ("whit.tmpfs=/data:no_such_option", "whit: tmpfs=/data:no_such_option: EINVAL"),
    ] {
        let finished = Machine::new().script("echo runs").command_line(options).run();
        finished.powered_off_saying(&[problem, "whit: exit 125", "whit: power off"]);
        assert!(!finished.says("runs"), "{options}");
    }
    let options = "whit.mount=/dev/nosuch:/data::ro,nofail whit.tmpfs=/scratch";
    let finished = Machine::new().script("grep -c /scratch /proc/mounts").command_line(options).run();
    finished.powered_off_saying(&["whit: mount=/dev/nosuch:/data::ro,nofail: ENOENT", "1", "whit: exit 0"]);
}

/// A tmpfs stands in for the share of a host: it has no file.
#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_share_without_its_file_is_refused_and_leaves_the_root_alone() {
    let option = "whit.mount=tmpfs:/etc/new/app.conf:file:ro";
    let finished = Machine::new().script("echo runs").command_line(option).run();
    finished.powered_off_saying(&["whit: mount=tmpfs:/etc/new/app.conf:file:ro: ENOENT", "whit: exit 125"]);
    let finished = Machine::new()
        .script("ls -d /etc/new /file; grep -c ' /etc' /proc/mounts")
        .command_line("whit.mount=tmpfs:/etc/new/app.conf:file:nofail")
        .run();
    finished.powered_off_saying(&["/etc/new", "0"]);
}
