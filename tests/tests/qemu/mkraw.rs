//! mkraw's images under several kernels in QEMU: each mounts an image, plain and in a partition, finds the files that were archived,
//! and leaves it in order.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use whit_tests::archive;
use whit_tests::commands::{assert_clean, run_well};
use whit_tests::debian::cloud_kernels;
use whit_tests::tree::make_tree;
use whit_tests::whole::{Copy, Guest, Shell, VIRTIO, busybox, machine};
use whit_tools::disk::gpt;
use whit_tools::disk::image::{self, Options};
use whit_tools::vm::qemu::{DiskInterface, Nic};

/// Describes a tree as far as busybox can, sorted. The same program runs on the host and in the machine.
const DESCRIBE: &str = "
cd \"$1\"
find . ! -type d -exec stat -c '%N %f %u:%g %Y %h %t,%T %s' {} + | sort
find . -type d -exec stat -c '%n %f %u:%g %Y' {} + | sort
find . -type f -exec sha256sum {} + | sort
";

/// Compares the tree, then writes to mkraw's structures: the hash tree of a large directory, a growing file, removed names.
const CHECK: &str = "
/bin/sh /describe /tree > /tmp/found
cmp /expected /tmp/found && echo all is there: $(wc -l < /expected) lines
for number in $(seq 500); do echo $number > /tree/many/new-$number; done
dd if=/dev/zero of=/tree/long bs=64k count=80 2> /dev/null
rm -r /tree/p* /tree/sparse
ls /tree/many | wc -l
";

/// Makes the image's root: busybox, the tree, and its expected description.
fn make_root(root: &Path) {
    for directory in ["bin", "dev", "proc", "sys", "tmp", "tree"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    fs::copy(busybox(), root.join("bin/busybox")).unwrap();
    for applet in ["sh", "find", "stat", "sort", "sha256sum", "cmp", "wc", "seq", "dd", "rm", "ls"] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    make_tree(&root.join("tree"), true);
    fs::write(root.join("describe"), DESCRIBE).unwrap();
    fs::write(root.join("check"), CHECK).unwrap();
    let mut describe = Command::new(root.join("bin/sh"));
    describe.env("PATH", root.join("bin")).arg(root.join("describe")).arg(root.join("tree"));
    fs::write(root.join("expected"), run_well(&mut describe)).unwrap();
}

/// Makes a disk of that root, and returns the option that names it.
fn make_disk(directory: &Path, tar: &[u8], is_partitioned: bool) -> (PathBuf, String) {
    let path = directory.join(if is_partitioned { "partitioned.img" } else { "plain.img" });
    let output = File::create_new(&path).unwrap();
    image::build(tar, &output, &Options { is_partitioned, ..Options::default() }).unwrap();
    if !is_partitioned {
        return (path, "root=/dev/vda".to_owned());
    }
    let dump = String::from_utf8(run_well(Command::new("sfdisk").arg("--dump").arg(&path))).unwrap();
    let guid = dump.split("uuid=").nth(1).and_then(|rest| rest.get(..36)).expect("a partition with a GUID");
    let option = format!("root=PARTUUID={guid}");
    (path, option)
}

fn assert_file_system_is_clean(disk: &Path, is_partitioned: bool) {
    if !is_partitioned {
        return assert_clean(disk);
    }
    let partition = disk.with_extension("partition");
    let bytes = fs::read(disk).unwrap();
    let start = gpt::ALIGNMENT as usize;
    fs::write(&partition, &bytes[start..start + gpt::partition_length(bytes.len() as u64) as usize]).unwrap();
    assert_clean(&partition);
}

#[test]
#[ignore = "needs root, QEMU and Debian's archive: cargo selftest runs it"]
fn kernels_find_the_archived_files_and_leave_images_clean() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    make_root(&root);
    let tar = archive::of_directory(&root, &["--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner"]);
    for is_partitioned in [false, true] {
        let (disk, option) = make_disk(directory.path(), &tar, is_partitioned);
        for kernel in cloud_kernels() {
            let disk = Copy::of(&disk);
            let command = machine(&kernel, &VIRTIO, Shell::No).nic(Nic::None).append("whit.net=off");
            let command = command.append(&option).append("entrypoint=/bin/sh -- /check");
            let mut guest = Guest::start(&command.disk(DiskInterface::Virtio, disk.path()));
            guest.line("all is there: ");
            guest.line("3500");
            guest.line("whit: exit 0");
            let console = guest.end();
            guest.assert(!console.contains("EXT4-fs"), "the kernel reports errors of the file system");
            assert_file_system_is_clean(&disk.path(), is_partitioned);
        }
    }
}
