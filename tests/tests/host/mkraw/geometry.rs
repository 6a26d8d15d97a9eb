//! Sizes, extents and growth: e2fsck checks every image that `build` makes.

use std::process::Command;

use ext4_view::Ext4;
use whit_tests::archive;
use whit_tests::commands::{assert_clean, run, run_well};
use whit_tools::disk::ext4::{Error as Ext4Error, Size};
use whit_tools::disk::image::{Error, Options};

use super::build;

fn sized(size: Size) -> Options {
    Options { size, ..Options::default() }
}

#[test]
fn every_size_is_a_clean_file_system_of_that_size() {
    let tar = archive::of(&[archive::file("file", b"content")]);
    let block = 4096;
    let group = 128 << 20;
    for bytes in [
        8 << 20,
        (8 << 20) + block + 1,
        group - block,
        group,
        group + block,
        group + 63 * block,
        group + 64 * block,
        3 * group + 100 * block,
        26 * group,
        128 * group,
        129 * group,
        300 * group + 65 * block,
    ] {
        let image = build(&tar, &sized(Size::Exact(bytes))).unwrap();
        assert_eq!(image.path.metadata().unwrap().len(), bytes);
        assert!(image.summary.allocated_bytes < 2 << 20, "{bytes}: {} allocated", image.summary.allocated_bytes);
    }
    for bytes in [0, 1, 1 << 20, 10 << 30, 20 << 30] {
        let image = build(&tar, &sized(Size::Free(bytes))).unwrap();
        // ext4-view does not support meta_bg, which starts at 16 GiB.
        if bytes < 16 << 30 {
            let ext4 = Ext4::load_from_path(&image.path).unwrap();
            assert_eq!(ext4.read("/file").unwrap(), b"content");
        }
        assert!(image.summary.totals.image_bytes >= bytes + (4 << 20));
    }
}

#[test]
fn a_size_that_is_too_small_names_the_smallest_possible() {
    let tar = archive::of(&[archive::file("file", &[7; 5_000_000])]);
    let Err(Error::FileSystem(Ext4Error::TooSmall(least))) = build(&tar, &sized(Size::Exact(8 << 20))) else {
        panic!("it fits")
    };
    build(&tar, &sized(Size::Exact(least))).unwrap();
    assert!(matches!(build(&tar, &sized(Size::Exact(least - 4096))), Err(Error::FileSystem(Ext4Error::TooSmall(_)))));
    assert!(matches!(build(&tar, &sized(Size::Exact(0))), Err(Error::FileSystem(Ext4Error::TooSmall(_)))));
}

#[test]
fn the_smallest_size_is_the_smallest() {
    for content in [0, 1_000_000, 200 << 20] {
        let tar = archive::of(&[archive::file("file", &vec![7; content])]);
        let bytes = build(&tar, &sized(Size::Min)).unwrap().summary.totals.image_bytes;
        assert!(bytes < content as u64 + (5 << 20), "{bytes} bytes for {content}");
        assert!(build(&tar, &sized(Size::Exact(bytes))).is_ok());
        assert!(build(&tar, &sized(Size::Exact(bytes - 4096))).is_err());
        let twice = build(&tar, &sized(Size::Percent(100))).unwrap().summary.totals.image_bytes;
        assert!(twice >= 2 * bytes && twice < 2 * bytes + (32 << 20), "{twice} is not twice {bytes}");
    }
}

#[test]
fn the_number_of_inodes_is_the_requested_one() {
    let members: Vec<_> = (0..100).map(|number| archive::file(&format!("f{number}"), b"")).collect();
    let tar = archive::of(&members);
    let with = |inodes| build(&tar, &Options { inodes: Some(inodes), ..Options::default() });
    for (requested, made) in [(112, 112), (113, 128), (1_000_000, 1_000_000)] {
        let image = with(requested).unwrap();
        let text = String::from_utf8(run_well(Command::new("dumpe2fs").arg("-h").arg(&image.path))).unwrap();
        let line = text.lines().find(|line| line.starts_with("Inode count:")).unwrap();
        let count: u64 = line.split_whitespace().last().unwrap().parse().unwrap();
        assert!((made..made + 1_000).contains(&count), "{line} for {requested}");
    }
    let error = with(110).err().unwrap().to_string();
    assert_eq!(error, "the files need 111 inodes: give that many or more, or leave out the number");
}

#[test]
fn without_a_journal_it_is_smaller_and_clean() {
    let tar = archive::of(&[archive::file("file", &[7; 1_000_000])]);
    let options = |has_journal| Options { has_journal, size: Size::Min, ..Options::default() };
    let [with, without] = [true, false].map(|has_journal| build(&tar, &options(has_journal)).unwrap());
    let bytes = |image: &super::Image| image.summary.totals.image_bytes;
    assert_eq!(bytes(&with) - bytes(&without), 4 << 20);
    let text = String::from_utf8(run_well(Command::new("dumpe2fs").arg("-h").arg(&without.path))).unwrap();
    assert!(!text.to_lowercase().contains("journal"), "{text}");
    assert_eq!(Ext4::load_from_path(&without.path).unwrap().read("/file").unwrap(), [7; 1_000_000]);
}

#[test]
fn extent_trees_of_every_depth_hold_the_file() {
    const PIECE: usize = 64 << 10;
    for pieces in [3, 4, 5, 341, 1500] {
        // Every other piece is a hole.
        let mut content = vec![0; pieces * 2 * PIECE];
        for (index, piece) in content.chunks_exact_mut(2 * PIECE).enumerate() {
            piece[index % PIECE] = 1 + (index % 255) as u8;
        }
        let image = build(&archive::of(&[archive::file("f", &content)]), &Options::default()).unwrap();
        let read = Ext4::load_from_path(&image.path).unwrap().read("/f").unwrap();
        assert!(read == content, "{pieces} extents");
    }
}

#[test]
fn files_across_the_copies_of_the_superblock_are_intact() {
    // 420 MiB cross groups 1 and 3, in files that do not end at a piece's boundary, so that pieces are split at any place.
    let content = |number: u8| vec![number | 1; 7_777_777];
    let members: Vec<_> = (0..56).map(|number| archive::file(&format!("f{number}"), &content(number))).collect();
    let image = build(&archive::of(&members), &Options::default()).unwrap();
    let ext4 = Ext4::load_from_path(&image.path).unwrap();
    for number in 0..56 {
        assert!(ext4.read(format!("/f{number}").as_str()).unwrap() == content(number), "f{number}");
    }
    // With a copy of the superblock, e2fsck does not trust the flags of unused groups, so it always reports their bitmaps. Here it
    // must report nothing else.
    for block in ["32768", "98304"] {
        let output = run(Command::new("e2fsck").args(["-fn", "-b", block, "-B", "4096"]).arg(&image.path));
        let text = String::from_utf8_lossy(&output.stdout);
        let passes: Vec<_> = text.lines().take(5).map(|line| &line[..6]).collect();
        assert_eq!(passes, ["Pass 1", "Pass 2", "Pass 3", "Pass 4", "Pass 5"], "{text}");
        assert!(!text.contains("lock bitmap differences") && !text.contains("count wrong"), "{text}");
    }
}

#[test]
fn resize2fs_grows_and_shrinks_it() {
    let members: Vec<_> = (0..500).map(|number| archive::file(&format!("f{number}"), &[1; 10_000])).collect();
    let image = build(&archive::of(&members), &Options::default()).unwrap();
    for size in ["1G", "20G", "200M"] {
        run_well(Command::new("resize2fs").arg("-f").arg(&image.path).arg(size));
        assert_clean(&image.path);
        let read = Ext4::load_from_path(&image.path).unwrap().read("/f499").unwrap();
        assert_eq!(read, [1; 10_000], "{size}");
    }
}
