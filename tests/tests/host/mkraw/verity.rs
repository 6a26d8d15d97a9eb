//! Disks with a hash tree of dm-verity: veritysetup checks the tree, and makes the same one.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use whit_tests::archive;
use whit_tests::commands::{assert_clean, run_well};
use whit_tests::tool;
use whit_tools::disk::ext4::Size;
use whit_tools::disk::gpt;
use whit_tools::disk::image::{self, Options, Summary};
use whit_tools::disk::verity;

/// Builds a disk with a hash tree, in a new file.
fn disk(path: &Path, options: &Options) -> Summary {
    let _ = fs::remove_file(path); // from the case before
    let tar = archive::of(&[archive::file("file", &[7; 2_000_000]), archive::file("other", b"text")]);
    let options = Options { has_hash_tree: true, is_verified: true, ..options.clone() };
    let summary = image::build(
        tar.as_slice(),
        &File::options().read(true).write(true).create_new(true).open(path).unwrap(),
        &options,
    )
    .unwrap();
    assert_eq!(summary.totals.image_bytes, path.metadata().unwrap().len());
    summary
}

/// Returns the part of a disk that has the file system and its tree, and the length of the file system.
fn partition(disk: &Path, is_partitioned: bool) -> (PathBuf, u64) {
    let mut bytes = fs::read(disk).unwrap();
    if is_partitioned {
        bytes = bytes[gpt::ALIGNMENT as usize..bytes.len() - gpt::ALIGNMENT as usize].to_vec();
    }
    let blocks = u32::from_le_bytes(bytes[1024 + 4..1024 + 8].try_into().unwrap());
    let path = disk.with_extension("partition");
    fs::write(&path, bytes).unwrap();
    (path, u64::from(blocks) * 4096)
}

fn veritysetup(action: &str, data: &Path, hashes: &Path, more: &[&str]) -> Output {
    let output = Command::new("/usr/sbin/veritysetup").arg(action).args([data, hashes]).args(more).output();
    output.unwrap_or_else(|error| panic!("veritysetup: {error}; install cryptsetup-bin"))
}

#[test]
fn veritysetup_verifies_the_tree_and_finds_a_changed_bit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    for (size, is_partitioned) in [
        (Size::Min, false),
        (Size::Min, true),
        (Size::Exact(100 << 20), false),
        (Size::Exact(100 << 20), true),
        (Size::Exact((90 << 20) + 12_345), false),
        (Size::Auto, true),
    ] {
        let summary = disk(&path, &Options { size, is_partitioned, ..Options::default() });
        if let Size::Exact(bytes) = size {
            assert_eq!(path.metadata().unwrap().len(), bytes);
        }
        if is_partitioned {
            let verified = String::from_utf8(run_well(Command::new("sgdisk").arg("--verify").arg(&path))).unwrap();
            assert!(verified.contains("No problems found"), "{verified}");
        }
        let (part, length) = partition(&path, is_partitioned);
        assert_clean(&part);
        let (offset, hash) = (format!("--hash-offset={length}"), verity::digits(&summary.root_hash.unwrap()));
        let output = veritysetup("verify", &part, &part, &[&hash, &offset]);
        assert!(output.status.success(), "{size:?} {is_partitioned}: {output:?}");
        let file = OpenOptions::new().write(true).open(&part).unwrap();
        file.write_all_at(b"X", length / 2).unwrap();
        assert!(!veritysetup("verify", &part, &part, &[&hash, &offset]).status.success());
    }
}

#[test]
fn veritysetup_makes_the_same_tree() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    // 17,000 blocks have three levels.
    for options in [
        Options { size: Size::Min, ..Options::default() },
        Options { size: Size::Exact(70 << 20), has_journal: false, ..Options::default() },
    ] {
        let summary = disk(&path, &options);
        let (part, length) = partition(&path, false);
        let bytes = fs::read(&part).unwrap();
        let superblock = &bytes[length as usize..];
        let salt: String = superblock[88..120].iter().map(|byte| format!("{byte:02x}")).collect();
        let uuid = whit_tools::cli::uuid::text(summary.totals.uuid);
        let theirs = directory.path().join("theirs");
        fs::write(&theirs, b"").unwrap();
        let output = veritysetup(
            "format",
            &part,
            &theirs,
            &[&format!("--salt={salt}"), &format!("--uuid={uuid}"), &format!("--data-blocks={}", length / 4096)],
        );
        assert!(output.status.success(), "{output:?}");
        let shown = String::from_utf8(output.stdout).unwrap();
        let hash = verity::digits(&summary.root_hash.unwrap());
        assert!(shown.lines().any(|line| line.starts_with("Root hash:") && line.ends_with(&hash)), "{hash}: {shown}");
        let theirs = fs::read(&theirs).unwrap();
        assert!(theirs[..] == superblock[..theirs.len()], "the trees differ");
        assert!(superblock[theirs.len()..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn mkraw_prints_the_hash_and_inspect_shows_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("web.tar"), archive::of(&[archive::file("file", &[7; 100_000])])).unwrap();
    let mkraw = |arguments: &[&str]| {
        let output = Command::new(tool("mkraw")).args(arguments).current_dir(directory.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    for (name, more) in [("a.img", &[][..]), ("b.img", &[]), ("c.img", &["--gpt", "--verify"])] {
        let shown = mkraw(&[&["-o", name, "--verity", "web.tar"], more].concat());
        let hash =
            shown.lines().find_map(|line| line.strip_prefix("verity: roothash=")).unwrap_or_else(|| panic!("{shown}"));
        assert!(mkraw(&["inspect", name]).contains(&format!("verity    roothash={hash}, not checked\n")));
    }
    assert!(fs::read(at("a.img")).unwrap() == fs::read(at("b.img")).unwrap());
    let features = mkraw(&["inspect", "a.img"]);
    assert!(!features.contains("has_journal"), "{features}");
    let too_small = Command::new(tool("mkraw"))
        .args(["-o", "d.img", "--verity", "--size", "64K", "web.tar"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let message = String::from_utf8(too_small.stderr).unwrap();
    let smallest = message.split("the smallest size is ").nth(1).and_then(|rest| rest.split(' ').next());
    let smallest = smallest.unwrap_or_else(|| panic!("{message}"));
    mkraw(&["-o", "d.img", "--verity", "--verify", "--size", smallest, "web.tar"]);
}
