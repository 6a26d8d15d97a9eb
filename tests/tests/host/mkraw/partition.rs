//! Disks with a partition table: sgdisk and sfdisk check the table, e2fsck the file system in the partition.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;

use whit_tests::archive;
use whit_tests::commands::{assert_clean, run, run_well};
use whit_tools::disk::ext4::Size;
use whit_tools::disk::gpt;
use whit_tools::disk::image::{self, Options};

fn disk(directory: &Path, options: Options) -> std::path::PathBuf {
    let path = directory.join("disk.img");
    let _ = fs::remove_file(&path); // from the case before
    let tar = archive::of(&[archive::file("file", &[7; 500_000])]);
    let output = File::create_new(&path).unwrap();
    let summary = image::build(tar.as_slice(), &output, &Options { is_partitioned: true, ..options }).unwrap();
    assert_eq!(summary.totals.image_bytes, path.metadata().unwrap().len());
    path
}

fn label(text: &[u8]) -> [u8; 16] {
    let mut label = [0; 16];
    label[..text.len()].copy_from_slice(text);
    label
}

#[test]
fn both_tables_have_one_root_partition() {
    let directory = tempfile::tempdir().unwrap();
    for size in [Size::Auto, Size::Min, Size::Exact(100 << 20), Size::Exact((100 << 20) + 3 * 512), Size::Percent(10)] {
        let path = disk(directory.path(), Options { size, label: label(b"web"), ..Options::default() });
        let verified = String::from_utf8(run_well(Command::new("sgdisk").arg("--verify").arg(&path))).unwrap();
        assert!(verified.contains("No problems found") && !verified.contains("Caution"), "{size:?}: {verified}");
        let dump = String::from_utf8(run_well(Command::new("sfdisk").arg("--dump").arg(&path))).unwrap();
        let partition: Vec<&str> = dump.lines().filter(|line| line.contains("start=")).collect();
        assert_eq!(partition.len(), 1, "{dump}");
        let (start, length) = (gpt::ALIGNMENT, gpt::partition_length(path.metadata().unwrap().len()));
        for part in [
            format!("start={:>12},", start / 512),
            format!("size={:>12},", length / 512),
            "type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709,".to_owned(),
            "name=\"web\"".to_owned(),
        ] {
            assert!(partition[0].contains(&part), "{size:?}: {part} is not in {}", partition[0]);
        }
        let partition = directory.path().join("partition.img");
        let mut file = File::open(&path).unwrap();
        file.seek(SeekFrom::Start(start)).unwrap();
        std::io::copy(&mut file.take(length), &mut File::create(&partition).unwrap()).unwrap();
        assert_clean(&partition);
        let ext4 = ext4_view::Ext4::load_from_path(&partition).unwrap();
        assert_eq!(ext4.read("/file").unwrap(), [7; 500_000]);
    }
}

#[test]
fn a_table_is_repaired_from_its_copy() {
    let directory = tempfile::tempdir().unwrap();
    let path = disk(directory.path(), Options::default());
    let before = fs::read(&path).unwrap();
    let mut damaged = before.clone();
    damaged[512..1024].fill(0);
    fs::write(&path, damaged).unwrap();
    // r: recovery, b: the header from its copy, w: write, y: yes.
    let script = "printf 'r\\nb\\nw\\ny\\n' | gdisk \"$0\"";
    let output = run(Command::new("sh").args(["-c", script]).arg(&path));
    assert!(fs::read(&path).unwrap() == before, "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_same_input_gives_the_same_disk() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = |options| fs::read(disk(directory.path(), options)).unwrap();
    let first = bytes(Options::default());
    assert!(bytes(Options::default()) == first);
    let other = bytes(Options { uuid: Some([1; 16]), ..Options::default() });
    assert_ne!(first[1024 + 16..1024 + 32], other[1024 + 16..1024 + 32], "another UUID, another partition GUID");
    assert_ne!(first[512 + 56..512 + 72], other[512 + 56..512 + 72], "another UUID, another disk GUID");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_kernel_mounts_the_partition() {
    let directory = tempfile::tempdir().unwrap();
    let path = disk(directory.path(), Options::default());
    let script = "mkdir mnt && mount -o loop,offset=1048576 disk.img mnt && cmp mnt/file expected && umount mnt";
    fs::write(directory.path().join("expected"), [7; 500_000]).unwrap();
    run_well(Command::new("unshare").args(["--mount", "sh", "-ec", script]).current_dir(directory.path()));
    assert!(path.exists());
}

#[test]
fn a_size_that_is_too_small_names_the_smallest_possible() {
    let tar = archive::of(&[archive::file("file", &[7; 500_000])]);
    let build = |bytes| {
        let options = Options { is_partitioned: true, size: Size::Exact(bytes), ..Options::default() };
        image::build(tar.as_slice(), &tempfile::tempfile().unwrap(), &options)
    };
    let Err(image::Error::FileSystem(whit_tools::disk::ext4::Error::TooSmall(least))) = build(6 << 20) else {
        panic!("it fits")
    };
    assert!(build(least).is_ok());
    assert!(build(least - 512).is_err() && build(0).is_err());
}
