//! Images checked by the kernel: it mounts them read-write and shows the files that GNU tar extracts from the same archive.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::XattrFlags;
use whit_tests::archive;
use whit_tests::commands::{assert_clean, run_well};
use whit_tests::snapshot::{self, assert_same};
use whit_tests::tree::make_tree;
use whit_tools::disk::image::Options;

use super::{Image, build};

/// An image mounted in a mount namespace of its own, accessed through /proc.
pub(crate) struct Mounted {
    holder: Child,
    pub(crate) root: PathBuf,
}

impl Mounted {
    pub(crate) fn new(image: &Image) -> Self {
        let point = image.directory.path().join("mounted");
        fs::create_dir_all(&point).unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg("mount -o loop \"$0\" \"$1\" && echo mounted && read -r line; umount \"$1\"")
            .args([image.path.as_os_str(), point.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts; it is part of util-linux");
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n", "the kernel does not mount the image");
        let inside = point.strip_prefix("/").unwrap();
        let root = Path::new("/proc").join(holder.id().to_string()).join("root").join(inside);
        Self { holder, root }
    }

    /// Unmounts the image, and checks it by e2fsck.
    pub(crate) fn end(mut self, image: &Image) {
        drop(self.holder.stdin.take());
        assert!(self.holder.wait().unwrap().success(), "umount fails");
        assert_clean(&image.path);
    }
}

/// Extracts an archive by GNU tar.
pub(crate) fn extract(tar: &[u8], options: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new("tar")
        .args(["--extract", "--preserve-permissions", "--numeric-owner", "--directory"])
        .arg(directory.path())
        .args(options)
        .stdin(Stdio::piped())
        .spawn()
        .expect("tar starts");
    child.stdin.take().unwrap().write_all(tar).unwrap();
    assert!(child.wait().unwrap().success(), "tar does not extract its own archive");
    directory
}

pub(crate) const ATTRIBUTES: [&str; 2] = ["--xattrs", "--xattrs-include=*"];

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_mounted_image_has_the_files_that_tar_extracts() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    for format in
        [&["--format=gnu"][..], &["--format=gnu", "--sparse"], &["--format=pax", "--xattrs", "--xattrs-include=*"]]
    {
        let options = [format, &["--numeric-owner"]].concat();
        let tar = archive::of_directory(tree.path(), &options);
        let extracted = extract(&tar, &ATTRIBUTES);
        let image = build(&tar, &Options::default()).unwrap();
        let mounted = Mounted::new(&image);
        let found = snapshot::without_lost_found(snapshot::of_directory(&mounted.root));
        assert_same(&found, &snapshot::of_directory(extracted.path()));
        if format.contains(&"--xattrs") {
            assert!(found.values().filter(|seen| !seen.rest.attributes.is_empty()).count() >= 7, "no attributes seen");
        }
        mounted.end(&image);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn acls_as_text_are_kept() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    // GNU tar itself does not restore a directory's default ACL, so the image is compared with the tree.
    let options = ["--format=pax", "--acls", "--xattrs", "--xattrs-exclude=system.*", "--numeric-owner"];
    let image = build(&archive::of_directory(tree.path(), &options), &Options::default()).unwrap();
    let mounted = Mounted::new(&image);
    let found = snapshot::without_lost_found(snapshot::of_directory(&mounted.root));
    assert_same(&found, &snapshot::of_directory(tree.path()));
    mounted.end(&image);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn archives_of_libarchive_are_read() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    for options in [&["--format=pax"][..], &["--format=pax", "--options=xattrheader=LIBARCHIVE"]] {
        let mut bsdtar = Command::new("bsdtar");
        bsdtar.args(["-c", "--xattrs", "--acls", "--numeric-owner"]).args(options);
        // bsdtar changes times before 1970.
        let tar = run_well(bsdtar.arg("-C").arg(tree.path()).args(["--exclude=one", "--exclude=empty", "."]));
        let image = build(&tar, &Options::default()).unwrap();
        let mounted = Mounted::new(&image);
        let found = snapshot::without_lost_found(snapshot::of_directory(&mounted.root));
        let mut expected = snapshot::of_directory(tree.path());
        expected.retain(|path, _| path != b"one" && path != b"empty");
        assert_same(&found, &expected);
        mounted.end(&image);
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_kernel_writes_to_an_image() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    let tar = archive::of_directory(tree.path(), &["--format=pax"]);
    let image = build(&tar, &Options::default()).unwrap();
    let mounted = Mounted::new(&image);
    let root = &mounted.root;
    // New names split blocks of mkraw's hash tree; files grow, shrink, and are created and removed.
    for number in 0..2_000 {
        fs::write(root.join("many").join(format!("new-{number}")), number.to_string()).unwrap();
    }
    for number in (0..2_000).step_by(2) {
        fs::remove_file(root.join("many").join(format!("new-{number}"))).unwrap();
        assert_eq!(
            fs::read_to_string(root.join(format!("many/new-{}", number + 1))).unwrap(),
            (number + 1).to_string()
        );
    }
    fs::write(root.join("long"), vec![7; 5_000_000]).unwrap();
    fs::remove_file(root.join("sparse")).unwrap();
    fs::remove_dir_all(root.join("p".repeat(120))).unwrap();
    fs::create_dir(root.join("a/new directory")).unwrap();
    rustix::fs::setxattr(root.join("one"), "user.third", &[b'w'; 500], XattrFlags::empty()).unwrap();
    mounted.end(&image);
}
