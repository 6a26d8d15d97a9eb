//! Loop devices: partitions that the kernel learns, disks in use.

use std::fs;
use std::path::Path;
use std::process::Command;

use whit_tests::commands::run_well;

use super::{Bench, image, put};

const MIB: usize = 1 << 20;

/// A loop device, detached at the end.
struct Loop(String);

impl Loop {
    fn new(file: &Path) -> Self {
        let output = run_well(Command::new("losetup").args(["--partscan", "--find", "--show"]).arg(file));
        Self(String::from_utf8(output).unwrap().trim().to_owned())
    }

    /// Returns start and length of the kernel's partitions, in sectors.
    fn partitions(&self) -> Vec<(String, String)> {
        let name = self.0.trim_start_matches("/dev/");
        let folder = Path::new("/sys/block").join(name);
        let read = |number: u32, file: &str| fs::read_to_string(folder.join(format!("{name}p{number}/{file}")));
        let pair = |number| Some((read(number, "start").ok()?.trim().into(), read(number, "size").ok()?.trim().into()));
        (1..5).filter_map(pair).collect()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run_well(Command::new("losetup").args(["--detach", &self.0]));
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_kernel_learns_the_new_partitions_and_forgets_the_old_ones() {
    let bench = Bench::new(64 * MIB);
    let layout = |name: &str, script: &str| {
        let path = bench.path(name);
        fs::File::create(&path).unwrap().set_len(16 << 20).unwrap();
        let mut sfdisk = Command::new("sfdisk");
        fs::write(bench.path("script"), script).unwrap();
        run_well(sfdisk.arg("--quiet").arg(&path).stdin(fs::File::open(bench.path("script")).unwrap()));
        path
    };
    let gpt = layout("gpt", "label: gpt\nsize=2MiB\nsize=4MiB\n");
    let mbr = layout("mbr", "label: dos\nsize=3MiB\n");
    let bare = bench.path("bare");
    fs::write(&bare, vec![7; 5 * MIB]).unwrap();
    let device = Loop::new(&bench.disk);
    let pair = |start: &str, size: &str| (start.to_owned(), size.to_owned());
    for (source, words, expected) in [
        (&gpt, &[][..], vec![pair("2048", "4096"), pair("6144", "8192")]),
        (&mbr, &[], vec![pair("2048", "6144")]),
        (&gpt, &["--grow"], vec![pair("2048", "4096"), pair("6144", "122880")]),
        (&bare, &[], vec![]),
    ] {
        let output = put().arg(source).arg(&device.0).args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        assert_eq!(device.partitions(), expected, "{}", source.display());
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn zeros_replace_the_old_systems_bytes_on_a_device() {
    let bench = Bench::new(64 * MIB);
    let content = image(20 * MIB + 512);
    fs::write(bench.path("os.img"), &content).unwrap();
    let device = Loop::new(&bench.disk);
    let output = put().arg(bench.path("os.img")).arg(&device.0).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    drop(device);
    bench.assert_has(&content);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_mounted_disk_is_refused_and_stays_as_it_is() {
    let bench = Bench::new(64 * MIB);
    fs::write(bench.path("os.img"), image(2 * MIB)).unwrap();
    let device = Loop::new(&bench.disk);
    run_well(Command::new("mkfs.ext4").args(["-q", "-F", &device.0]));
    let folder = bench.path("mounted");
    fs::create_dir(&folder).unwrap();
    run_well(Command::new("mount").arg(&device.0).arg(&folder));
    let output = put().arg(bench.path("os.img")).arg(&device.0).output().unwrap();
    run_well(Command::new("umount").arg(&folder));
    let expected = format!("put: {}: in use: mounted, or a part of a RAID, LVM or swap\n", device.0);
    assert_eq!((String::from_utf8_lossy(&output.stderr).as_ref(), output.status.code()), (expected.as_str(), Some(1)));
    run_well(Command::new("e2fsck").args(["-fn", &device.0]));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_partition_is_not_written_onto_its_disk() {
    let bench = Bench::new(64 * MIB);
    let device = Loop::new(&bench.disk);
    run_well(Command::new("addpart").args([&device.0, "1", "2048", "8192"]));
    let before = fs::read(&bench.disk).unwrap();
    // A node of its own: /dev may have no udev.
    let nodes = tempfile::tempdir().unwrap();
    let partition = nodes.path().join("p1").display().to_string();
    let name = device.0.trim_start_matches("/dev/");
    let numbers = fs::read_to_string(format!("/sys/block/{name}/{name}p1/dev")).unwrap();
    let (major, minor) = numbers.trim().split_once(':').unwrap();
    run_well(Command::new("mknod").args([&partition, "b", major, minor]));
    for (source, disk) in [(&partition, &device.0), (&device.0, &partition), (&device.0, &device.0)] {
        let output = put().args([source, disk]).output().unwrap();
        let expected = format!("put: {source}: the image is the disk itself, or a part of it\n");
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    }
    assert!(fs::read(&bench.disk).unwrap() == before);
}
