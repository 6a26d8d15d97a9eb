//! Directories as input, compared with GNU tar of the same directory and with the mounted image.

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use whit_tests::archive;
use whit_tests::commands::{assert_clean, run_well};
use whit_tests::snapshot::{self, assert_same};
use whit_tests::tool;
use whit_tests::tree::make_tree;
use whit_tools::disk::image::{self, Choice, Input, LeftOut, Options};

use super::Image;
use super::kernel::Mounted;

fn build(folder: &Path, options: &Options) -> Image {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let file = File::create_new(&path).unwrap();
    let input = Input::open(File::open(folder).unwrap(), &Choice::default()).unwrap();
    let summary = image::build_from(input, &file, options).unwrap();
    assert_clean(&path);
    Image { directory, path, summary }
}

fn assert_same_as_tar(tree: &Path) -> Image {
    let tar = archive::of_directory(tree, &["--format=pax", "--xattrs", "--xattrs-include=*"]);
    let options = Options::default();
    let image = build(tree, &options);
    let of_tar = super::build(&tar, &options).unwrap();
    assert!(
        fs::read(&image.path).unwrap() == fs::read(&of_tar.path).unwrap(),
        "the bytes differ from those for the tar"
    );
    image
}

#[test]
fn a_directory_gives_the_bytes_that_its_tar_gives() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), false);
    let image = assert_same_as_tar(tree.path());
    assert!(image.summary.allocated_bytes < 16 << 20, "holes are stored");
    assert_eq!(image.summary.left_out, LeftOut::default());
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn owners_devices_and_attributes_of_the_directory_are_kept() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    let image = assert_same_as_tar(tree.path());
    let mounted = Mounted::new(&image);
    let found = snapshot::without_lost_found(snapshot::of_directory(&mounted.root));
    assert_same(&found, &snapshot::of_directory(tree.path()));
    mounted.end(&image);
}

#[test]
fn large_holes_are_not_read() {
    let tree = tempfile::tempdir().unwrap();
    let sparse = File::create(tree.path().join("sparse")).unwrap();
    // Stored as zeros, this would take minutes and more space than the host has.
    sparse.set_len(8 << 40).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", (1 << 30) + 5).unwrap();
    let image = build(tree.path(), &Options::default());
    assert_eq!(image.summary.totals.content_bytes, 8 << 40);
    assert!(image.summary.allocated_bytes < 1 << 20);
    let ext4 = ext4_view::Ext4::load_from_path(&image.path).unwrap();
    let mut file = ext4.open("/sparse").unwrap();
    file.seek_to((1 << 30) + 5).unwrap();
    let mut bytes = [0; 13];
    assert_eq!(file.read_bytes(&mut bytes).unwrap(), 13);
    assert_eq!(&bytes, b"in the middle");
}

#[test]
fn sockets_and_the_output_itself_are_left_out() {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    fs::write(at("file"), "content").unwrap();
    drop(UnixListener::bind(at("socket")).unwrap());
    fs::write(at("disk.img"), "an old image").unwrap();
    let make = |output: &str| {
        let output =
            run_well(Command::new(tool("mkraw")).args(["-o", output]).arg(tree.path()).current_dir(tree.path()));
        String::from_utf8(output).unwrap()
    };
    let text = make("disk.img");
    assert!(
        text.contains("left out: 1 sockets\n") && text.contains("left out: 2 files that are this disk\n"),
        "{text}"
    );
    assert_clean(&at("disk.img"));
    let names: Vec<_> = snapshot::of_image(&at("disk.img")).into_keys().collect();
    assert_eq!(names, [&b""[..], b"file", b"lost+found"]);
}

#[test]
fn a_file_that_becomes_shorter_is_filled_with_zeros_and_named() {
    // The files of sysfs have less content than their size states.
    let image = build(Path::new("/sys/fs/ext4/features"), &Options::default());
    let changed = &image.summary.changed;
    assert!(changed.count > 0 && !changed.first.is_empty());
    let seen = &snapshot::of_image(&image.path)[&changed.first];
    assert!(seen.content.starts_with(b"supported\n\0") && seen.content.len() == 4096);
}

#[test]
fn unfinished_outputs_of_other_runs_are_left_out() {
    let tree = tempfile::tempdir().unwrap();
    for name in [".whit-aB3dE9", ".whit-short", ".whit", "file"] {
        fs::write(tree.path().join(name), "x").unwrap();
    }
    let image = build(tree.path(), &Options::default());
    assert_eq!((image.summary.left_out.unfinished, image.summary.changed.count), (1, 0));
    assert!(!snapshot::of_image(&image.path).contains_key(&b".whit-aB3dE9"[..]));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn mounted_file_systems_are_left_out() {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("mounted/hidden")).unwrap();
    fs::write(tree.path().join("mounted/hidden/file"), "").unwrap();
    let image = tree.path().with_extension("img");
    let script = "mount -t tmpfs -o mode=1711 none mounted && echo x >mounted/x && exec \"$0\" -o \"$1\" .";
    let output = run_well(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .args([tool("mkraw"), image.clone()])
            .current_dir(tree.path()),
    );
    assert!(String::from_utf8(output).unwrap().contains("left out: 1 mounted file systems"));
    assert_clean(&image);
    let seen = snapshot::of_image(&image);
    fs::remove_file(&image).unwrap();
    assert_eq!(seen.keys().cloned().collect::<Vec<_>>(), [&b""[..], b"lost+found", b"mounted"]);
    assert_eq!(seen[&b"mounted"[..]].mode & 0o7777, 0o1711);
}
