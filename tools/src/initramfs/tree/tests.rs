use super::*;
use crate::archive::segment::{Member, entries};

fn archive(tree: &Tree) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), 0);
    tree.write(&mut writer).unwrap();
    writer.finish().unwrap().out
}

/// Returns `name mode nlink data` of each entry.
fn listing(tree: &Tree) -> Vec<String> {
    let line = |(member, data): &(Member, Vec<u8>)| {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        format!("{} {:o} {} {}", text(&member.name), member.header.mode, member.header.nlink, text(data))
    };
    entries(&archive(tree)).unwrap().iter().map(line).collect()
}

#[test]
fn parents_come_first_and_the_order_of_adding_does_not_matter() {
    let mut one = Tree::default();
    one.bytes("/usr/lib/a", 0o644, b"A".to_vec()).unwrap();
    one.directory("usr", 0o700).unwrap();
    let mut other = Tree::default();
    other.directory("./usr/", 0o700).unwrap();
    other.bytes("usr//lib/./a", 0o644, b"A".to_vec()).unwrap();
    assert_eq!(listing(&one), ["usr 40700 2 ", "usr/lib 40755 2 ", "usr/lib/a 100644 1 A"]);
    assert_eq!(archive(&one), archive(&other));
}

#[test]
fn a_later_file_replaces_an_earlier_one() {
    let mut tree = Tree::default();
    tree.symlink(b"a", b"b").unwrap();
    tree.bytes("a", 0o600, b"now".to_vec()).unwrap();
    assert_eq!(listing(&tree), ["a 100600 1 now"]);
}

#[test]
fn a_file_cannot_be_both_directory_and_not() {
    let mut tree = Tree::default();
    tree.bytes("bin/sh", 0o755, Vec::new()).unwrap();
    tree.bytes("bin-x", 0o755, Vec::new()).unwrap();
    assert!(matches!(tree.symlink(b"bin", b"usr/bin"), Err(Error::NotDirectory { .. })));
    assert!(matches!(tree.bytes("bin/sh/x", 0o755, Vec::new()), Err(Error::NotDirectory { .. })));
    assert!(matches!(tree.directory("a/../../b", 0o755), Err(Error::Name(_))));
    assert!(tree.directory("bin", 0o700).is_ok());
}

#[test]
fn a_directory_of_the_host_keeps_links_and_modes() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let source = tempfile::tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    fs::create_dir(at("z")).unwrap();
    fs::write(at("a"), "same").unwrap();
    fs::hard_link(at("a"), at("z/b")).unwrap();
    symlink("a", at("link")).unwrap();
    for (name, mode) in [("a", 0o4711), ("z", 0o1777), ("", 0o750)] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o620.into(), 0).unwrap();
    let mut tree = Tree::default();
    tree.add(b"data", source.path(), Owner::Root).unwrap();
    let mode = fs::metadata(at("pipe")).unwrap().mode();
    assert_eq!(
        listing(&tree),
        [
            "data 40750 2 ".to_owned(),
            "data/link 120777 1 a".to_owned(),
            format!("data/pipe {mode:o} 1 "),
            "data/z 41777 2 ".to_owned(),
            "data/a 104711 2 ".to_owned(),
            "data/z/b 104711 2 same".to_owned(),
        ]
    );
    let mut merged = Tree::default();
    merged.add(b"/", source.path(), Owner::Root).unwrap();
    merged.add(b"copy", &at("link"), Owner::Root).unwrap();
    assert!(listing(&merged).contains(&"copy 104711 1 same".to_owned()), "the link was followed, the file is another");
}

#[test]
fn errors_of_reading_have_the_path() {
    let mut tree = Tree::default();
    let error = tree.add(b"x", Path::new("/nowhere/x"), Owner::Root).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/x: No such file"), "{error}");
    let error = tree.file(b"x", 0o644, Path::new("/")).unwrap_err().to_string();
    assert_eq!(error, "/: not a regular file");
}
