//! Archives that GNU tar does not write or does not extract, each with its expected result.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use ext4_view::Ext4;
use whit_tests::archive;
use whit_tests::snapshot::{self, Rest, Seen, Snapshot, assert_same};
use whit_tests::tree::make_tree;
use whit_tools::disk::ext4::{Error as Ext4Error, PathProblem, Problem};
use whit_tools::disk::image::{Error, Options};

use super::kernel::extract;
use super::{Image, build};
use archive::{directory, file, hard_link, member, symlink};

fn image(members: &[Vec<u8>]) -> Image {
    build(&archive::of(members), &Options::default()).unwrap()
}

fn refusal(members: &[Vec<u8>]) -> Error {
    build(&archive::of(members), &Options::default()).err().expect("it is refused")
}

fn open(image: &Image) -> Ext4 {
    Ext4::load_from_path(&image.path).unwrap()
}

/// Lists paths and contents of all files and links; directories end in a slash and have no content.
fn listing(image: &Image) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut list = Vec::new();
    for (path, seen) in snapshot::of_image(&image.path) {
        if path.is_empty() || path == b"lost+found" {
            continue;
        }
        let slash = if seen.mode & 0o170_000 == 0o040_000 { "/" } else { "" };
        list.push((text(&path) + slash, text(&seen.content)));
    }
    list
}

fn assert_listing(members: &[Vec<u8>], expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect();
    assert_eq!(listing(&image(members)), expected);
}

#[test]
fn ext4_view_reads_the_files_that_tar_extracts() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path(), false);
    for options in [&["--format=gnu"][..], &["--format=pax"], &["--format=gnu", "--sparse"]].into_iter().chain(
        ["--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"]
            .iter()
            .map(|version| &*Box::leak(Box::new(["--format=pax", "--sparse", *version])))
            .map(|options| &options[..]),
    ) {
        let tar = archive::of_directory(tree.path(), options);
        let extracted = extract(&tar, &[]);
        let image = build(&tar, &Options::default()).unwrap();
        let found = snapshot::without_lost_found(snapshot::of_image(&image.path));
        let expected: Snapshot = snapshot::of_directory(extracted.path())
            .into_iter()
            .map(|(path, seen)| (path, Seen { rest: Rest::default(), ..seen }))
            .collect();
        assert_same(&found, &expected);
        assert!(image.summary.allocated_bytes < 16 << 20, "{options:?}: holes are stored");
    }
}

#[test]
fn ustar_splits_long_paths_and_v7_has_no_magic() {
    let tree = tempfile::tempdir().unwrap();
    let deep = tree.path().join("d".repeat(90));
    std::fs::create_dir(&deep).unwrap();
    std::fs::write(deep.join("e".repeat(90)), "split").unwrap();
    let image = build(&archive::of_directory(tree.path(), &["--format=ustar"]), &Options::default()).unwrap();
    let path = format!("/{}/{}", "d".repeat(90), "e".repeat(90));
    assert_eq!(open(&image).read(path.as_str()).unwrap(), b"split");
    std::fs::rename(deep, tree.path().join("short")).unwrap();
    std::fs::rename(tree.path().join("short").join("e".repeat(90)), tree.path().join("short/file")).unwrap();
    let image = build(&archive::of_directory(tree.path(), &["--format=v7"]), &Options::default()).unwrap();
    assert_eq!(listing(&image), [("short/".to_owned(), String::new()), ("short/file".to_owned(), "split".to_owned())]);
}

#[test]
fn the_last_of_several_entries_counts() {
    assert_listing(
        &[file("a", b"first"), file("b", b"first"), file("a", b"second"), symlink("b", "second")],
        &[("a", "second"), ("b", "second")],
    );
    // A type may change to any other; a directory that stays keeps its entries.
    assert_listing(
        &[
            directory("x"),
            file("x/inner", b"kept"),
            directory("x"),
            directory("y"),
            file("y/inner", b"gone"),
            symlink("y", "x"),
            symlink("z", "x"),
            directory("z"),
            file("z/inner", b"own"),
        ],
        &[("x/", ""), ("x/inner", "kept"), ("y", "x"), ("z/", ""), ("z/inner", "own")],
    );
}

#[test]
fn replaced_content_is_not_in_the_image() {
    let secret = b"do not find me ".repeat(20_000);
    let image =
        image(&[file("a", &secret), directory("d"), file("d/b", &secret), file("a", b"new"), file("d", b"new")]);
    let bytes = std::fs::read(&image.path).unwrap();
    assert!(!bytes.windows(14).step_by(1).any(|window| window == b"do not find me"));
    assert!(image.summary.allocated_bytes < 1 << 20);
}

#[test]
fn hard_links_come_in_any_order() {
    let members = [
        hard_link("first", "second"),
        hard_link("second", "third"),
        file("third", b"content"),
        symlink("link", "target"),
        hard_link("other link", "./link"),
        hard_link("dir/made/for it", "/third"),
        hard_link("replaced", "third"),
        file("replaced", b"later"),
        hard_link("later wins", "comes at last"),
        file("later wins", b"later"),
        file("comes at last", b"last"),
        hard_link("third", "third"),
    ];
    let expected = [
        ("comes at last", "last"),
        ("dir/", ""),
        ("dir/made/", ""),
        ("dir/made/for it", "content"),
        ("first", "content"),
        ("later wins", "later"),
        ("link", "target"),
        ("other link", "target"),
        ("replaced", "later"),
        ("second", "content"),
        ("third", "content"),
    ];
    assert_listing(&members, &expected);
}

#[test]
fn a_link_may_replace_the_directory_that_its_target_is_in() {
    assert_listing(&[file("d/target", b"content"), hard_link("d", "d/target")], &[("d", "content")]);
}

#[test]
fn a_hard_link_to_nothing_names_both() {
    let error = refusal(&[file("a", b""), hard_link("b", "missing/c")]);
    assert_eq!(error.to_string(), "b: is a hard link to missing/c, which does not exist");
    let error = refusal(&[hard_link("a", "b"), hard_link("b", "a")]);
    assert!(matches!(error, Error::FileSystem(Ext4Error::LinkTarget { .. })));
}

#[test]
fn missing_parents_are_made_and_may_have_an_entry_later() {
    let image = image(&[file("a/b/file", b"x"), directory("a/b"), file("./c//d/", b"")]);
    let ext4 = open(&image);
    let seen = |path| {
        let metadata = ext4.metadata(path).unwrap();
        (metadata.mode() & 0o7777, metadata.uid(), metadata.gid(), metadata.modified().seconds())
    };
    assert_eq!(seen("/a"), (0o755, 0, 0, 0));
    assert_eq!(seen("/a/b"), (0o640, 1, 2, 1_000_000_000));
    assert_eq!(seen("/c/d"), (0o640, 1, 2, 1_000_000_000));
    assert!(ext4.metadata("/c/d").unwrap().is_dir());
}

#[test]
fn no_path_leads_out_of_the_image() {
    assert_listing(
        &[
            file("../../up", b"1"),
            file("/absolute", b"2"),
            file("a/../../b", b"3"),
            symlink("lib", "/usr/lib"),
            file("lib/inner", b"4"),
            symlink("out", "../../../etc"),
            file("out/passwd", b"5"),
        ],
        &[
            ("a/", ""),
            ("absolute", "2"),
            ("b", "3"),
            ("etc/", ""),
            ("etc/passwd", "5"),
            ("lib", "/usr/lib"),
            ("out", "../../../etc"),
            ("up", "1"),
            ("usr/", ""),
            ("usr/lib/", ""),
            ("usr/lib/inner", "4"),
        ],
    );
}

#[test]
fn the_archives_own_root_and_lost_found_are_used() {
    let image = image(&[directory("./"), directory("lost+found"), file("lost+found/x", b"kept")]);
    let ext4 = open(&image);
    for path in ["/", "/lost+found"] {
        assert_eq!(ext4.metadata(path).unwrap().mode() & 0o7777, 0o640, "{path}");
    }
    assert_eq!(ext4.read("/lost+found/x").unwrap(), b"kept");
}

#[test]
fn the_longest_target_fits_and_a_longer_one_does_not() {
    let target = "target/".repeat(585); // ext4-view requires names of at most 255 bytes
    assert_eq!(target.len(), 4095);
    assert_listing(&[symlink("link", &target)], &[("link", &target)]);
    for (target, problem) in [("t".repeat(4096), Problem::TargetTooLong), (String::new(), Problem::NoTarget)] {
        let Error::FileSystem(Ext4Error::Entry { path, problem: found }) = refusal(&[symlink("link", &target)]) else {
            panic!("another error")
        };
        assert_eq!((path.as_slice(), found), (&b"link"[..], problem));
    }
}

#[test]
fn entries_that_ext4_cannot_hold_are_refused_by_name() {
    let long = "n".repeat(256);
    for (members, path, problem) in [
        (vec![file(&long, b"")], long.as_str(), Problem::NameTooLong),
        (vec![file("f", b""), file("f/x", b"")], "f/x", PathProblem::NotADirectory.into()),
        (vec![symlink("l", "l"), file("l/x", b"")], "l/x", PathProblem::SymlinkLoop.into()),
        (vec![directory("d"), hard_link("h", "d")], "h", Problem::LinkToDirectory),
        (vec![directory("d"), file("d/..", b"")], "d/..", Problem::NamesADirectory),
    ] {
        let Error::FileSystem(Ext4Error::Entry { path: found_path, problem: found }) = refusal(&members) else {
            panic!("another error")
        };
        assert_eq!((found_path.as_slice(), found), (path.as_bytes(), problem));
    }
}

#[test]
fn tens_of_thousands_of_links_and_subdirectories_are_counted() {
    let mut links = vec![file("f", b"x")];
    links.extend((1..65_000).map(|number| hard_link(&format!("d{}/l{number}", number % 7), "f")));
    drop(image(&links)); // e2fsck counts them
    links.push(hard_link("one more", "f"));
    assert!(matches!(refusal(&links), Error::FileSystem(Ext4Error::Entry { problem: Problem::TooManyLinks, .. })));
    let directories: Vec<_> = (0..66_000).map(|number| directory(&format!("d{number}"))).collect();
    drop(image(&directories)); // more than a link count can hold: dir_nlink
}

#[test]
fn a_directory_with_two_levels_of_index_is_found_by_its_hashes() {
    // More leaves than a root has pointers: with long names, leaves have few entries.
    let name = |number: u32| format!("{number:05}{}", "é".repeat(100));
    let members: Vec<_> = (0..12_000).map(|number| file(&format!("d/{}", name(number)), b"")).collect();
    let ext4 = open(&image(&members));
    for number in (0..12_000).step_by(97) {
        assert!(ext4.exists(format!("/d/{}", name(number)).as_str()).unwrap(), "{number}");
    }
}

#[test]
fn an_archive_ends_at_its_end_mark_and_later_data_are_reported() {
    let (first, second) = (file("a", b"first"), archive::of(&[file("b", b"second")]));
    let only = [("a".to_owned(), "first".to_owned())];
    for (zeros, rest, after_end) in [
        (1024, &b""[..], None),
        (512, b"", None),
        (10_240, b"", None),
        (1024, &second, Some(2048)),
        (4096, &second, Some(5120)),
        // GNU tar ends here too, and calls it a lone zero block.
        (512, &second, Some(1536)),
        (1024, b"x", Some(2048)),
        (300_000, b"\0\0x", Some(301_026)),
    ] {
        let tar = [&first, &vec![0; zeros][..], rest].concat();
        let image = build(&tar, &Options::default()).unwrap();
        assert_eq!(listing(&image), only, "{zeros} zeros, {} bytes", rest.len());
        let offset = image.summary.after_end.map(|after| after.offset);
        assert_eq!(offset, after_end, "{zeros} zeros, {} bytes", rest.len());
    }
}

#[test]
fn an_archive_without_entries_is_an_empty_root() {
    for zeros in [512, 1024, 10_240] {
        let image = build(&vec![0; zeros], &Options::default()).unwrap();
        assert!(image.summary.is_empty && listing(&image).is_empty());
    }
}

#[test]
fn sparse_files_of_gnu_tar_keep_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["plain".to_owned(), "ü.img".to_owned(), "x".repeat(120), "é".repeat(60)];
    for name in &names {
        let sparse = File::create(folder.path().join(name)).unwrap();
        sparse.write_all_at(name.as_bytes(), 1 << 20).unwrap();
        sparse.set_len(3 << 20).unwrap();
    }
    for version in ["0.0", "0.1", "1.0"] {
        let option = format!("--sparse-version={version}");
        let tar = archive::of_directory(folder.path(), &["--format=pax", "--sparse", &option]);
        let image = build(&tar, &Options::default()).unwrap();
        let listed = listing(&image).into_iter().map(|(name, content)| (name, content.trim_matches('\0').to_owned()));
        let expected: BTreeMap<String, String> = names.iter().map(|name| (name.clone(), name.clone())).collect();
        assert_eq!(listed.collect::<BTreeMap<_, _>>(), expected, "{version}");
    }
}

#[test]
fn global_records_hold_until_they_are_reset() {
    // `git archive` starts with a comment; others set what all entries share.
    let record = |text: &str| format!("{} {text}\n", text.len() + 4).into_bytes();
    let global = |text: &str| member("pax_global_header", b'g', "", &record(text));
    let local = |text: &str| member("x", b'x', "", &record(text));
    let image = image(&[
        global("comment=1234567890"),
        file("a", b""),
        global("uid=70000"),
        file("b", b""),
        local("uid=80000"),
        file("c", b""),
        file("d", b""),
        global("mtime=5.25"),
        file("e", b""),
        member("pax_global_header", b'g', "", b"7 uid=\n"),
        file("f", b""),
    ]);
    let ext4 = open(&image);
    let seen = |path: &str| {
        let metadata = ext4.metadata(format!("/{path}").as_str()).unwrap();
        (metadata.uid(), metadata.modified().seconds())
    };
    let usual = 1_000_000_000;
    let expected = [(1, usual), (70_000, usual), (80_000, usual), (70_000, usual), (70_000, 5), (1, 5)];
    assert_eq!(["a", "b", "c", "d", "e", "f"].map(seen), expected);
}

#[test]
fn the_second_of_two_headers_for_one_entry_replaces_the_first() {
    // As GNU tar and Go read them.
    let record = |text: &str| member("x", b'x', "", format!("{} {text}\n", text.len() + 4).as_bytes());
    let image = image(&[record("path=other"), record("uid=80000"), file("a", b"1")]);
    assert_eq!(listing(&image), [("a".to_owned(), "1".to_owned())]);
    assert_eq!(open(&image).metadata("/a").unwrap().uid(), 80_000);
}

#[test]
fn a_name_that_ends_in_a_slash_is_a_directory_unless_it_has_content() {
    assert_listing(
        &[file("d/", b""), file("d/x", b"1"), file("f/", b"content")],
        &[("d/", ""), ("d/x", "1"), ("f", "content")],
    );
    let Error::FileSystem(Ext4Error::Entry { problem, .. }) = refusal(&[file("/", b"content")]) else {
        panic!("another error")
    };
    assert_eq!(problem, Problem::NamesADirectory);
}

#[test]
fn times_that_ext4_cannot_hold_are_moved_and_counted() {
    let record = |text: &str| format!("{} {text}\n", text.len() + 4).into_bytes();
    let late = member("x", b'x', "", &record("mtime=99999999999"));
    let early = member("x", b'x', "", &record("mtime=-9999999999"));
    let image = image(&[late, file("late", b""), early, file("early", b"")]);
    assert_eq!(image.summary.totals.times_clamped, 2);
    assert_eq!(open(&image).metadata("/late").unwrap().modified().seconds(), 15_032_385_535);
}

#[test]
fn unknown_types_are_files_and_labels_are_ignored() {
    assert_listing(
        &[member("volume", b'V', "", b""), member("contiguous", b'7', "", b"7"), member("odd", b'Q', "", b"Q")],
        &[("contiguous", "7"), ("odd", "Q")],
    );
}
