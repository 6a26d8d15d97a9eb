//! Archives of other programs: those of tests/golden/images, and the same made anew by the programs that are installed. umoci and GNU tar
//! say which files they have.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use whit_tests::archive::{golden_archives, name_of as archive_name};
use whit_tests::commands::{assert_clean, run_well};
use whit_tests::snapshot::{self, Snapshot, assert_same};
use whit_tools::disk::image::{self, Choice, Options};

use super::Image;
use super::kernel::{ATTRIBUTES, Mounted};
use super::layers::digest;

/// Builds the disk of an archive or a folder. One of the archives has two images.
fn build(path: &Path) -> Result<Image, String> {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("disk.img");
    let file = File::create_new(&output).unwrap();
    let tag = path.to_str().unwrap().contains("multi").then(|| "two:1".to_owned());
    let choice = Choice { tag, ..Choice::default() };
    let summary =
        image::build_file(&File::open(path).unwrap(), &choice, &file, |_| Ok::<_, image::Error>(Options::default()));
    let summary = summary.map_err(|error| error.to_string())?;
    assert_clean(&output);
    Ok(Image { directory, path: output, summary })
}

/// Removes the root and what every disk of an image in layers has beside it.
fn without_root(mut snapshot: Snapshot) -> Snapshot {
    for path in ["", "lost+found", "dev", "proc", "sys"] {
        snapshot.remove(path.as_bytes());
    }
    snapshot
}

/// Describes files as `make.sh` does.
fn lines(snapshot: &Snapshot) -> BTreeSet<Vec<u8>> {
    let line = |(path, seen): (&Vec<u8>, &snapshot::Seen)| {
        let content = match seen.mode & 0o170_000 {
            0o100_000 => digest(&seen.content).as_bytes()["sha256:".len()..][..16].to_vec(),
            0o120_000 => seen.content.clone(),
            _ => b"-".to_vec(),
        };
        let (mode, (user, group), (seconds, nanoseconds)) = (seen.mode, seen.owner, seen.mtime);
        let start = format!("{mode:x} {user} {group} {seconds}.{nanoseconds:09} ");
        [start.as_bytes(), &content, b" ", path].concat()
    };
    snapshot.iter().map(line).collect()
}

fn assert_listed(name: &str, image: &Image, list: &Path) {
    let found = lines(&without_root(snapshot::of_image(&image.path)));
    let list = fs::read(list).unwrap();
    let expected = list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
    let shown = |one: &BTreeSet<Vec<u8>>, other| -> Vec<String> {
        one.difference(other).map(|line| line.escape_ascii().to_string()).collect()
    };
    assert_eq!(shown(&found, &expected), shown(&expected, &found), "{name}");
}

/// Unpacks an archive by GNU tar, or by its own program.
fn extracted(archive: &Path, options: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let is_bsdtar = archive_name(archive).starts_with("bsdtar");
    let mut program = Command::new(if is_bsdtar { "bsdtar" } else { "tar" });
    run_well(program.arg("-xpf").arg(archive).arg("-C").arg(folder.path()).args(if is_bsdtar { &[] } else { options }));
    folder
}

const REFUSED: &str =
    "has a manifest.json of docker's schema 1, which is no longer made; convert it, as `skopeo copy --format oci` does";

#[test]
fn archives_of_other_programs_have_the_files_that_these_extract() {
    let archives = golden_archives();
    assert!(archives.len() > 20);
    for archive in archives {
        let name = archive_name(&archive);
        let is_image = name.starts_with("image-");
        if name.starts_with("refused-") {
            assert_eq!(build(&archive).err().as_deref(), Some(REFUSED), "{name}");
            continue;
        }
        let image = build(&archive).unwrap_or_else(|error| panic!("{name}: {error}"));
        let list = if is_image { "image.list".to_owned() } else { format!("{name}.list") };
        assert_listed(&name, &image, &archive.with_file_name(list));
        if is_image {
            let folder = tempfile::Builder::new().prefix(&name).tempdir().unwrap();
            run_well(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder.path()));
            let unpacked = build(folder.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(fs::read(&unpacked.path).unwrap() == fs::read(&image.path).unwrap(), "{name} as a folder");
        }
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn archives_made_anew_are_mounted_with_the_files_that_these_extract() {
    let folder = tempfile::tempdir().unwrap();
    let script = golden_archives()[0].with_file_name("make.sh");
    run_well(Command::new("bash").arg(script).arg(folder.path()).env("KEEP_WORK", "1"));
    let mut archives: Vec<PathBuf> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    archives.retain(|path| path.extension().is_some_and(|end| end == "zst"));
    println!("{} archives", archives.len());
    assert!(archives.len() >= 3, "Go, Python, busybox, bsdtar, umoci: none is installed");
    for archive in archives {
        let name = archive_name(&archive);
        println!("{name}");
        if name.starts_with("refused-") {
            assert_eq!(build(&archive).err().as_deref(), Some(REFUSED), "{name}");
            continue;
        }
        let image = build(&archive).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = if name.starts_with("image-") {
            snapshot::of_directory(&folder.path().join("work/ref/rootfs"))
        } else {
            let options = [&ATTRIBUTES[..], &["--numeric-owner"]].concat();
            snapshot::of_directory(extracted(&archive, &options).path())
        };
        let mounted = Mounted::new(&image);
        assert_same(&without_root(snapshot::of_directory(&mounted.root)), &without_root(expected));
        mounted.end(&image);
    }
}
