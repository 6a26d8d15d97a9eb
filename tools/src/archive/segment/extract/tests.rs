use super::*;
use crate::archive::newc::{Kind, Meta, Writer};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use tempfile::TempDir;

type Archive = Writer<Vec<u8>>;

fn archive(fill: impl FnOnce(&mut Archive)) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), 1_000_000_000);
    fill(&mut writer);
    writer.finish().unwrap().out
}

fn file(writer: &mut Archive, name: &str, text: &str) {
    writer.file(&[name], Meta::root(0o640), text.len() as u64, text.as_bytes()).unwrap();
}

fn link(writer: &mut Archive, name: &str, target: &str) {
    writer.node(name.as_bytes(), Meta::root(0o777), &Kind::Symlink(target.as_bytes().to_vec())).unwrap();
}

fn directory(writer: &mut Archive, name: &str, mode: u32) {
    writer.node(name.as_bytes(), Meta::root(mode), &Kind::Directory).unwrap();
}

/// Replaces an entry's name by one of the same length, which a writer may refuse.
fn renamed(mut bytes: Vec<u8>, old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let place = bytes.windows(old.len()).position(|window| window == old.as_bytes()).unwrap();
    bytes[place..place + new.len()].copy_from_slice(new.as_bytes());
    bytes
}

/// A directory with the target and a neighbour that must not change.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/file"), "untouched").unwrap();
        Self { folder }
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    fn extract(&self, bytes: &[u8]) -> Result<Extracted, Error> {
        let result = extract(Reader::new(bytes), &self.target());
        assert_eq!(fs::read_to_string(self.folder.path().join("outside/file")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(self.folder.path().join("outside")).unwrap().count(), 1);
        result
    }

    /// Returns the error for an archive, and checks that it leaves no file.
    fn refusal(bytes: &[u8]) -> String {
        let scene = Self::new();
        let error = scene.extract(bytes).expect_err("it was unpacked").to_string();
        assert!(!scene.target().exists(), "{error}");
        fs::create_dir(scene.target()).unwrap();
        assert!(scene.extract(bytes).is_err());
        assert_eq!(fs::read_dir(scene.target()).unwrap().count(), 0, "{error}");
        error
    }
}

#[test]
fn all_types_are_unpacked_with_their_metadata() {
    let bytes = archive(|writer| {
        directory(writer, "closed", 0o500);
        file(writer, "closed/file", "text");
        directory(writer, "tmp", 0o1777);
        writer.file(&["a", "tmp/b"], Meta { mode: 0o4711, uid: 5, gid: 6, mtime: None }, 4, &b"same"[..]).unwrap();
        link(writer, "link", "/nowhere");
        writer.node(b"pipe", Meta::root(0o622), &Kind::Fifo).unwrap();
        writer.node(b"socket", Meta::root(0o600), &Kind::Socket).unwrap();
        writer.nodes(&["null", "zero"], Meta::root(0o666), &Kind::Character(1, 3)).unwrap();
    });
    let scene = Scene::new();
    let extracted = scene.extract(&bytes).unwrap();
    let at = |name: &str| scene.target().join(name);
    let is_root = rustix::process::geteuid().is_root();
    let devices = if is_root { 0 } else { 2 };
    assert_eq!((extracted.files, extracted.directories, extracted.others), (3, 2, 5 - devices));
    assert_eq!((extracted.content_bytes, extracted.devices_left_out, extracted.segments.len()), (8, devices, 1));
    let mode = |name: &str| fs::symlink_metadata(at(name)).unwrap().mode();
    assert_eq!((mode("closed"), mode("closed/file"), mode("tmp")), (0o40_500, 0o100_640, 0o41_777));
    assert_eq!((mode("a"), mode("pipe"), mode("socket")), (0o104_711, 0o10_622, 0o140_600));
    let metadata = fs::metadata(at("tmp/b")).unwrap();
    assert_eq!((metadata.ino(), metadata.nlink()), (fs::metadata(at("a")).unwrap().ino(), 2));
    assert_eq!(fs::read(at("a")).unwrap(), b"same");
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("/nowhere"));
    for name in ["closed", "closed/file", "link", "pipe"] {
        assert_eq!(fs::symlink_metadata(at(name)).unwrap().mtime(), 1_000_000_000, "{name}");
    }
    if is_root {
        assert_eq!((metadata.uid(), metadata.gid()), (5, 6));
        let null = fs::metadata(at("null")).unwrap();
        assert_eq!((null.mode(), null.rdev(), null.nlink()), (0o20_666, rustix::fs::makedev(1, 3), 2));
    }
    fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_file_below_a_symbolic_link_stays_inside() {
    let folder = Scene::new();
    let outside = folder.folder.path().join("outside").to_str().unwrap().to_owned();
    for target in [outside.as_str(), "../outside", "../../../../../../../../..", "/"] {
        let bytes = archive(|writer| {
            link(writer, "link", target);
            file(writer, "link/file", "inside");
        });
        let scene = Scene::new();
        let result = scene.extract(&bytes);
        // The target must exist below the root; the root itself does.
        match target {
            "/" | "../../../../../../../../.." => {
                assert_eq!(result.unwrap().files, 1, "{target}");
                assert_eq!(fs::read(scene.target().join("file")).unwrap(), b"inside");
            }
            _ => assert!(result.unwrap_err().to_string().starts_with("link/file: cannot be created"), "{target}"),
        }
    }
    // Debian's /lib is a link to usr/lib.
    let merged = archive(|writer| {
        directory(writer, "usr", 0o755);
        directory(writer, "usr/lib", 0o755);
        link(writer, "lib", "/usr/lib");
        file(writer, "lib/modules/load", "x");
    });
    let scene = Scene::new();
    scene.extract(&merged).unwrap();
    assert_eq!(fs::read(scene.target().join("usr/lib/modules/load")).unwrap(), b"x");
}

#[test]
fn a_file_with_the_name_of_a_symbolic_link_replaces_it() {
    let scene = Scene::new();
    let outside = scene.folder.path().join("outside/file").to_str().unwrap().to_owned();
    let bytes = archive(|writer| {
        link(writer, "name", &outside);
        file(writer, "name", "inside");
        link(writer, "directory", &outside);
        directory(writer, "directory", 0o755);
        file(writer, "directory/file", "inside");
    });
    scene.extract(&bytes).unwrap();
    assert!(fs::symlink_metadata(scene.target().join("name")).unwrap().is_file());
    assert_eq!(fs::read(scene.target().join("directory/file")).unwrap(), b"inside");
}

#[test]
fn names_that_lead_outside_are_refused_and_absolute_ones_are_inside() {
    let bytes = archive(|writer| {
        directory(writer, "first", 0o755);
        file(writer, "aa/outside/file", "text");
    });
    for name in ["../outside/file", "a/../../x/file", "aa/outside/file/..", "..", "/../outside/fil"] {
        let mut padded = name.to_owned();
        while padded.len() < "aa/outside/file".len() {
            padded.push('\0');
        }
        if padded.len() == "aa/outside/file".len() {
            let error = Scene::refusal(&renamed(bytes.clone(), "aa/outside/file", &padded));
            assert!(error.contains("its name contains \"..\""), "{name}: {error}");
        }
    }
    for name in ["/a/outside/file", "//a/outside//ff", "./././a/././fff"] {
        let scene = Scene::new();
        scene.extract(&renamed(bytes.clone(), "aa/outside/file", name)).unwrap();
        assert!(scene.target().join("a").is_dir(), "{name}");
    }
}

#[test]
fn hard_links_join_only_names_of_the_same_archive() {
    let linked = |names: &[&str], text: &str| {
        archive(|writer| writer.file(names, Meta::root(0o600), text.len() as u64, text.as_bytes()).unwrap())
    };
    let scene = Scene::new();
    scene.extract(&[linked(&["a", "b"], "one"), linked(&["c", "d"], "two")].concat()).unwrap();
    let read = |name: &str| fs::read_to_string(scene.target().join(name)).unwrap();
    assert_eq!([read("a"), read("b"), read("c"), read("d")], ["one", "one", "two", "two"]);
}

/// Returns the entries of an archive without its trailer.
fn entries_of(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.windows(6).rposition(|window| window == b"070701").unwrap()]
}

/// Writes two names of one file, with `between` between them.
fn with_between(names: [&str; 2], between: &[u8]) -> Vec<u8> {
    let bytes = archive(|writer| writer.file(&names, Meta::root(0o600), 4, &b"text"[..]).unwrap());
    let second = entries_of(entries_of(&bytes)).len();
    [&bytes[..second], between, &bytes[second..]].concat()
}

#[test]
fn a_hard_link_to_a_replaced_file_does_not_link_the_new_one() {
    let scene = Scene::new();
    let outside = scene.folder.path().join("outside/file").to_str().unwrap().to_owned();
    let symlink = archive(|writer| link(writer, "a", &outside));
    scene.extract(&with_between(["a", "b"], entries_of(&symlink))).unwrap();
    assert_eq!(fs::read(scene.target().join("b")).unwrap(), b"text");
    // The first name now resolves to another file.
    let setup = archive(|writer| {
        directory(writer, "x", 0o755);
        directory(writer, "y", 0o755);
        file(writer, "y/a", "another");
        link(writer, "way", "x");
    });
    let other = archive(|writer| link(writer, "way", "y"));
    let bytes = [entries_of(&setup), &with_between(["way/a", "b"], entries_of(&other))].concat();
    assert_eq!(Scene::refusal(&bytes), "b: it is a hard link to a file that another entry has replaced");
}

#[test]
fn invalid_entries_are_refused_and_leave_nothing() {
    let with = |fill: &dyn Fn(&mut Archive)| {
        archive(|writer| {
            file(writer, "first", "text");
            fill(writer);
        })
    };
    let field = |number: usize, text: &str| {
        let mut bytes = archive(|writer| writer.node(b"dev", Meta::root(0o600), &Kind::Character(1, 3)).unwrap());
        bytes[6 + number * 8..14 + number * 8].copy_from_slice(text.as_bytes());
        bytes
    };
    for (bytes, message) in [
        (with(&|writer| file(writer, "first/second", "")), "first/second: cannot be created: Not a directory"),
        (
            with(&|writer| {
                directory(writer, "full", 0o755);
                file(writer, "full/file", "");
                file(writer, "full", "");
            }),
            "full: cannot be created: Directory not empty",
        ),
        (
            with(&|writer| {
                link(writer, "round", "round");
                file(writer, "round/file", "");
            }),
            "round/file: cannot be created: Too many levels of symbolic links",
        ),
        (field(2, "ffffffff"), "dev: its owner or group is 4294967295"),
        (field(3, "FFFFFFFF"), "dev: its owner or group is 4294967295"),
        (field(9, "00001000"), "dev: its device number does not fit"),
        (field(10, "00100000"), "dev: its device number does not fit"),
        (field(1, "00000000"), "mode with an unknown file type"),
        (with(&|_| ())[..200].to_vec(), "without a trailer"),
        (vec![0; 512], "contains no archive"),
        (vec![], "contains no archive"),
    ] {
        let error = Scene::refusal(&bytes);
        assert!(error.contains(message), "{message}: {error}");
    }
    let root = renamed(archive(|writer| file(writer, "xx", "")), "xx", "./");
    assert_eq!(Scene::refusal(&root), "./: it is an entry for the root, but not a directory");
}

#[test]
fn every_truncation_leaves_nothing() {
    let bytes = archive(|writer| {
        directory(writer, "a", 0o000);
        file(writer, "a/b", "text");
        link(writer, "c", "a");
    });
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 2;
    for length in 0..end {
        Scene::refusal(&bytes[..length]);
    }
    Scene::new().extract(&bytes[..end + 3]).unwrap();
}

#[test]
fn the_target_is_new_or_empty() {
    let scene = Scene::new();
    let bytes = archive(|writer| file(writer, "file", ""));
    fs::create_dir(scene.target()).unwrap();
    fs::write(scene.target().join("mine"), "").unwrap();
    let error_of = |result: Result<Extracted, Error>| result.unwrap_err().to_string();
    assert!(error_of(scene.extract(&bytes)).ends_with("target: is not empty; name a new directory, or an empty one"));
    assert_eq!(fs::read_dir(scene.target()).unwrap().count(), 1);
    let place = scene.target().join("mine");
    assert!(error_of(extract(Reader::new(bytes.as_slice()), &place)).contains("mine: Not a directory"));
    assert!(
        error_of(extract(Reader::new(bytes.as_slice()), &scene.target().join("a/b")))
            .contains("cannot be created: No such file")
    );
}

#[test]
fn too_many_names_are_refused() {
    let mut unpacker = Unpacker::new(Place::open(Path::new(".")).unwrap());
    unpacker.held_bytes = MAX_HELD_BYTES - HELD_BYTES - 4;
    assert!(unpacker.hold(b"four").is_ok());
    assert!(matches!(unpacker.hold(b""), Err(Problem::TooMany)));
}
