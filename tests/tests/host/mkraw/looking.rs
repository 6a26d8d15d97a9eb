//! Images shown by `mkraw inspect`, and read back by --verify.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use whit_tests::archive;
use whit_tests::commands::{run, run_well};
use whit_tests::tool;
use whit_tests::tree::make_tree;
use whit_tools::disk::ext4::Size;
use whit_tools::disk::image::{self, Options};

use super::kernel::Mounted;
use super::{Image, build};

fn inspect(image: &Path, options: &[&str]) -> Vec<u8> {
    run_well(Command::new(tool("mkraw")).arg("inspect").arg(image).args(options))
}

fn text(image: &Path, options: &[&str]) -> String {
    String::from_utf8(inspect(image, options)).unwrap()
}

fn options() -> Options {
    Options { run_record: "entrypoint /bin/web\ncmd a\\nb\nuser 1:2\n".to_owned(), ..Options::default() }
}

#[test]
fn a_report_describes_the_image_and_its_run_record() {
    let tar = archive::of(&[archive::directory("etc"), archive::file("etc/name", b"web\n")]);
    for (options, partition) in [
        (options(), false),
        (Options { is_partitioned: true, ..options() }, true),
        (Options { size: Size::Exact(20 << 30), ..options() }, false),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.img");
        let mut label = [0; 16];
        label[..3].copy_from_slice(b"web");
        let options = Options { label, time: 1_700_000_000, uuid: Some([0xab; 16]), ..options };
        image::build(tar.as_slice(), &File::create_new(&path).unwrap(), &options).unwrap();
        let report = text(&path, &[]);
        for line in [
            "label     web\n",
            "UUID      abababab-abab-abab-abab-abababababab\n",
            "made      2023-11-14 22:13:20 UTC, last written 2023-11-14 22:13:20 UTC\n",
            "runs      /bin/web 'a\nb' (user 1:2)\n",
            "record    entrypoint /bin/web\n          cmd a\\nb\n          user 1:2\n",
        ] {
            assert!(report.contains(line), "{line:?} is not in {report}");
        }
        assert_eq!(report.contains("partition "), partition, "{report}");
        assert_eq!(inspect(&path, &["--cat", "/etc/name"]), b"web\n");
        assert_eq!(inspect(&path, &["--cat", "etc/name"]), b"web\n");
        let tree = text(&path, &["--tree"]);
        let paths: Vec<&str> = tree.lines().map(|line| line.split(' ').next_back().unwrap()).collect();
        let mounted = ["/dev", "/proc", "/sys", "/proc/mounts"];
        assert!(mounted.iter().all(|path| paths.contains(path)), "docker's mount points and /etc/mtab: {paths:?}");
        let own: Vec<&str> = paths.into_iter().filter(|path| !mounted.contains(path)).collect();
        assert_eq!(own, ["/", "/etc", "/etc/name", "/etc/whit.conf", "/lost+found"]);
        assert!(tree.contains("drw-r-----   2         1:2        4096 2001-09-09 01:46:40 /etc\n"), "{tree}");
    }
}

#[test]
fn every_file_is_shown_unchanged() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), false);
    let image = build(&archive::of_directory(tree.path(), &["--format=pax"]), &Options::default()).unwrap();
    let listed = text(&image.path, &["--tree"]);
    let found = run_well(Command::new("find").arg(tree.path()).args(["-printf", "\\n"]));
    assert_eq!(listed.lines().count(), found.len() + 1, "all files and lost+found");
    for line in ["/a/link59 -> target/target/", "/a/latin-\\xe9 and \\xff\\n newline\n", "\nprw", "/fifo\n"] {
        assert!(listed.contains(line), "{line}");
    }
    for name in ["empty", "one", "block", "more", "long", "sparse", "zeros", "a/b/another name"] {
        assert!(inspect(&image.path, &["--cat", name]) == fs::read(tree.path().join(name)).unwrap(), "{name}");
    }
}

#[test]
fn holes_are_read_as_zeros_in_both_layouts() {
    let mut content = vec![0; 1_000_001];
    content[300_000] = 1;
    let tar = archive::of(&[archive::file("f", &content)]);
    for size in [Size::Auto, Size::Exact(20 << 30)] {
        let image = build(&tar, &Options { size, ..Options::default() }).unwrap();
        assert!(inspect(&image.path, &["--cat", "/f"]) == content, "{size:?}");
    }
}

#[test]
fn files_that_cannot_be_shown_are_one_line() {
    let image = build(&archive::of(&[archive::directory("d"), archive::file("f", b"")]), &Options::default()).unwrap();
    fs::write(image.directory.path().join("text"), "no image").unwrap();
    let path = image.path.to_str().unwrap();
    for (arguments, expected) in [
        (&[path, "--cat", "/none"][..], "/none: file not found"),
        (&[path, "--cat", "/f/x"], "/f/x: "),
        (&[path, "--cat", "/d"], "/d: is not a regular file"),
        (&["none"], "none: No such file"),
        (&["text"], "text: has no ext4 file system"),
        (&["."], ".: Is a directory"),
    ] {
        let output =
            run(Command::new(tool("mkraw")).arg("inspect").args(arguments).current_dir(image.directory.path()));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && errors.lines().count() == 1, "{arguments:?}: {errors}");
        assert!(errors.starts_with("mkraw: ") && errors.contains(expected), "{arguments:?}: {errors}");
    }
    let output =
        run(Command::new("sh").args(["-c", "\"$0\" inspect \"$1\" --tree | true"]).args([&tool("mkraw"), &image.path]));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn images_of_other_programs_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("tree")).unwrap();
    fs::write(directory.path().join("tree/file"), "content").unwrap();
    for options in [
        &["-t", "ext4"][..],
        &["-t", "ext4", "-b", "1024", "-O", "^64bit"],
        &["-t", "ext2"],
        &["-t", "ext4", "-O", "inline_data"],
    ] {
        let path = directory.path().join("disk.img");
        let _ = fs::remove_file(&path); // from the case before
        run_well(
            Command::new("mke2fs")
                .arg("-q")
                .args(options)
                .arg("-d")
                .arg(directory.path().join("tree"))
                .arg(&path)
                .arg("20M"),
        );
        if options.contains(&"inline_data") {
            // Neither reader supports it; the superblock is shown in any case.
            assert!(text(&path, &[]).contains("\nruns      unknown: "), "{options:?}");
            continue;
        }
        assert!(text(&path, &[]).contains("\nruns      nothing is set"), "{options:?}");
        assert_eq!(inspect(&path, &["--cat", "file"]), b"content", "{options:?}");
        assert!(text(&path, &["--tree"]).contains(" /file\n"), "{options:?}");
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_image_that_was_not_unmounted_is_reported() {
    let image = build(&archive::of(&[archive::file("f", b"")]), &Options::default()).unwrap();
    let mounted = Mounted::new(&image);
    fs::write(mounted.root.join("written"), "by the machine").unwrap();
    run_well(Command::new("sync").arg("--file-system").arg(&mounted.root));
    let copy = image.directory.path().join("copy.img");
    fs::copy(&image.path, &copy).unwrap();
    mounted.end(&image);
    assert!(text(&copy, &[]).contains("needs_recovery"));
    let output = run(Command::new(tool("mkraw")).arg("inspect").arg(&copy).arg("--tree"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("run e2fsck -p first"));
    run_well(Command::new("e2fsck").args(["-p", "-v"]).arg(&copy));
    assert!(text(&copy, &["--tree"]).contains(" /written\n"));
    assert_eq!(inspect(&copy, &["--cat", "written"]), b"by the machine");
}

fn verified(tar: &[u8], options: Options) -> Image {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let summary = image::build(tar, &file, &Options { is_verified: true, ..options }).unwrap();
    Image { directory, path, summary }
}

#[test]
fn verification_does_not_change_the_image() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), false);
    let tar = archive::of_directory(tree.path(), &["--format=pax", "--xattrs", "--xattrs-include=*"]);
    let image = verified(&tar, options());
    assert!(fs::read(&image.path).unwrap() == fs::read(build(&tar, &options()).unwrap().path).unwrap());
    drop(verified(&tar, Options { size: Size::Exact(20 << 30), has_journal: false, ..options() }));
    drop(verified(&tar, Options { is_partitioned: true, ..options() }));
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_image_with_all_that_root_can_archive_is_verified() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), true);
    drop(verified(
        &archive::of_directory(tree.path(), &["--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner"]),
        options(),
    ));
}

#[test]
fn many_links_and_subdirectories_are_verified() {
    let mut members = vec![archive::file("f", b"x")];
    members.extend((0..66_000).map(|number| archive::directory(&format!("d{number}"))));
    members.extend((0..3_000).map(|number| archive::hard_link(&format!("d7/{number}"), "f")));
    drop(verified(&archive::of(&members), options()));
}
