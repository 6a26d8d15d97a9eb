//! Random trees and random sequences of entries, compared with a model of the result. e2fsck and --verify check each image.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use whit_tests::archive;
use whit_tests::commands::assert_clean;
use whit_tests::snapshot::{self, Rest, Seen, Snapshot, assert_same};
use whit_tools::disk::ext4;
use whit_tools::disk::image::{self, Options};

/// Few cases, because each makes an image. The seed is fixed, so that a failure is the same on every host.
fn config() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(20_260_101);
    ProptestConfig { cases: 48, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

fn verified_image(tar: &[u8]) -> Result<(tempfile::TempDir, Snapshot), image::Error> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    image::build(tar, &file, &Options { is_verified: true, ..Options::default() })?;
    assert_clean(&path);
    let mut seen = snapshot::of_image(&path);
    seen.remove(&b"lost+found"[..]);
    Ok((directory, seen))
}

/// A tree of the host.
#[derive(Clone, Debug)]
enum Tree {
    File { length: usize, seed: u8, mode: u32 },
    Link(String),
    Directory(BTreeMap<String, Tree>),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-e]{1,3}",
        2 => "[a-zA-Z0-9._ -]{1,40}é?".prop_filter("not . or ..", |name| !matches!(name.as_str(), "." | "..")),
        1 => proptest::string::string_regex("[x-z]{200,255}").unwrap(),
    ]
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..300_usize,
        2 => prop_oneof![Just(4095), Just(4096), Just(4097), Just(65_535), Just(65_536), Just(65_537)],
        1 => 100_000..400_000_usize,
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        4 => (length(), any::<u8>(), 0_u32..0o10_000).prop_map(|(length, seed, mode)| Tree::File { length, seed, mode }),
        1 => "[a-z/.]{1,300}".prop_map(Tree::Link),
    ];
    leaf.prop_recursive(5, 120, 30, |inner| {
        proptest::collection::btree_map(name(), inner, 0..30).prop_map(Tree::Directory)
    })
}

/// Returns bytes with runs of zeros, some long enough to be holes.
fn content(length: usize, seed: u8) -> Vec<u8> {
    let byte =
        |index: usize| if index / 70_000 % 2 == 1 { 0 } else { (index as u8).wrapping_mul(31).wrapping_add(seed) };
    (0..length).map(byte).collect()
}

fn write(tree: &Tree, path: &Path) {
    match tree {
        Tree::File { length, seed, mode } => {
            fs::write(path, content(*length, *seed)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o400)).unwrap();
        }
        Tree::Link(target) => symlink(target, path).unwrap(),
        Tree::Directory(children) => {
            fs::create_dir_all(path).unwrap();
            for (name, child) in children {
                write(child, &path.join(name));
            }
        }
    }
}

/// An entry of an archive. There are few names, so that entries collide.
#[derive(Clone, Debug)]
enum Step {
    Directory(String),
    File(String, u8),
    Link(String),
    HardLink(String, String),
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-c]", 1..4).prop_map(|parts| parts.join("/"))
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => path().prop_map(Step::Directory),
        4 => (path(), any::<u8>()).prop_map(|(path, seed)| Step::File(path, seed)),
        1 => path().prop_map(Step::Link),
        2 => (path(), path()).prop_map(|(path, target)| Step::HardLink(path, target)),
    ];
    proptest::collection::vec(step, 1..most)
}

/// The result of the entries in a container engine: paths with a file's content, a link's target, or none for directories.
#[derive(Clone, Debug, Default)]
struct Model(BTreeMap<String, Option<String>>);

const TARGET: &str = "nowhere";

impl Model {
    fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.0.get(path) == Some(&None)
    }

    fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.0.retain(|other, _| other != path && !other.starts_with(&below));
    }

    /// Applies a step; false when the entry cannot be placed, which other tests cover.
    fn apply(&mut self, step: &Step) -> bool {
        let (path, what) = match step {
            Step::Directory(path) => (path, None),
            Step::File(path, seed) => (path, Some(seed.to_string())),
            Step::Link(path) => (path, Some(TARGET.to_owned())),
            Step::HardLink(path, target) => match self.0.get(target) {
                Some(Some(content)) => (path, Some(content.clone())),
                _ => return false,
            },
        };
        let ancestors: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
        if ancestors.iter().any(|ancestor| self.0.contains_key(*ancestor) && !self.is_directory(ancestor)) {
            return false;
        }
        for ancestor in ancestors {
            self.0.insert(ancestor.to_owned(), None);
        }
        if !(what.is_none() && self.is_directory(path)) {
            self.remove(path);
        }
        self.0.insert(path.clone(), what);
        true
    }

    fn listing(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(path, what)| (path.clone(), what.clone().unwrap_or_else(|| "/".to_owned()))).collect()
    }
}

fn member(step: &Step) -> Vec<u8> {
    match step {
        Step::Directory(path) => archive::directory(path),
        Step::File(path, seed) => archive::file(path, seed.to_string().as_bytes()),
        Step::Link(path) => archive::symlink(path, TARGET),
        Step::HardLink(path, target) => archive::hard_link(path, target),
    }
}

fn listing(seen: &Snapshot) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let line = |(path, seen): (&Vec<u8>, &Seen)| {
        let is_directory = seen.mode & 0o170_000 == 0o040_000;
        (text(path), if is_directory { "/".to_owned() } else { text(&seen.content) })
    };
    seen.iter().filter(|(path, _)| !path.is_empty()).map(line).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_random_tree_is_unchanged_in_the_image(tree in tree(), options in 0..4_usize) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        match &tree {
            Tree::Directory(_) => write(&tree, &root),
            other => write(other, &root.join("only")),
        }
        let options =
            [&["--format=gnu"][..], &["--format=pax"], &["--format=gnu", "--sparse"], &["--format=pax", "--sparse"]][options];
        let (_image, found) = verified_image(&archive::of_directory(&root, options)).unwrap();
        let expected: Snapshot = snapshot::of_directory(&root)
            .into_iter()
            // GNU's own format has whole seconds.
            .map(|(path, seen)| (path, Seen { rest: Rest::default(), mtime: (seen.mtime.0, 0), ..seen }))
            .collect();
        let found = found.into_iter().map(|(path, seen)| (path, Seen { mtime: (seen.mtime.0, 0), ..seen })).collect();
        assert_same(&found, &expected);
    }

    #[test]
    fn random_entries_are_applied_one_after_the_other(steps in steps(40)) {
        let mut model = Model::default();
        let members: Vec<_> = steps.iter().filter(|step| model.apply(step)).map(member).collect();
        prop_assume!(!members.is_empty());
        let (_image, found) = verified_image(&archive::of(&members)).unwrap();
        prop_assert_eq!(listing(&found), model.listing());
    }

    #[test]
    fn random_bytes_and_random_changes_are_images_or_errors(
        noise in proptest::collection::vec(any::<u8>(), 0..2_000),
        steps in steps(12),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let output = tempfile::tempfile().unwrap();
        prop_assert!(image::build(noise.as_slice(), &output, &Options::default()).is_err());
        let mut model = Model::default();
        let members: Vec<_> = steps.iter().filter(|step| model.apply(step)).map(member).collect();
        let mut tar = archive::of(&members);
        for (at, byte) in changes {
            let at = at.index(tar.len());
            tar[at] = byte;
            // With a checksum that fits, the changed field is parsed.
            let header = at / 512 * 512;
            if tar[header + 257..].starts_with(b"ustar") {
                archive::seal(&mut tar[header..header + 512]);
            }
        }
        // A successful build has passed e2fsck; an error must be caused by the archive.
        if let Err(image::Error::FileSystem(error)) = verified_image(&tar) {
            prop_assert!(matches!(error, ext4::Error::Entry { .. } | ext4::Error::LinkTarget { .. }), "{error}");
        }
    }
}
