//! Images of layers in OCI's and docker's formats: how their layers are stored and applied.

mod damage;
mod documents;
mod forms;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use whit_tests::archive::{self, directory, file, hard_link, symlink};
use whit_tests::commands::assert_clean;
use whit_tests::snapshot;
use whit_tools::disk::image::{self, Choice, Options};

/// The files of an archive by their names.
type Parts = BTreeMap<String, Vec<u8>>;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Returns the output of a program for this input.
fn filter(program: &str, options: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(program).args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(program);
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

/// Returns the digest, computed by coreutils.
pub(super) fn digest(bytes: &[u8]) -> String {
    let hash = String::from_utf8(filter("sha256sum", &[], bytes)).unwrap();
    format!("sha256:{}", &hash[..64])
}

/// Adds a blob; returns its descriptor.
fn add_blob(parts: &mut Parts, media_type: &str, bytes: Vec<u8>) -> Value {
    let digest = digest(&bytes);
    let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
    parts.insert(format!("blobs/{}", digest.replace(':', "/")), bytes);
    descriptor
}

fn config(layers: &[Vec<u8>], architecture: &str) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    json!({
        "os": "linux",
        "architecture": architecture,
        "config": {"Entrypoint": ["/bin/web"], "Cmd": ["-p", "80"], "Env": ["A=1"], "StopSignal": "SIGQUIT"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

/// Adds an image of these layers, each compressed by a program or by none; returns its manifest's descriptor.
fn add_image(parts: &mut Parts, layers: &[Vec<u8>], programs: &[&str], architecture: &str) -> Value {
    let config = config(layers, architecture).to_string().into_bytes();
    let config = add_blob(parts, CONFIG, config);
    let mut blobs = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let blob = match programs.get(number) {
            None | Some(&"") => layer.clone(),
            Some(program) => filter(program, &["-c"], layer),
        };
        blobs.push(add_blob(parts, LAYER, blob));
    }
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": blobs});
    add_blob(parts, MANIFEST, manifest.to_string().into_bytes())
}

/// Makes an OCI layout with these manifests.
fn oci(mut parts: Parts, manifests: &[Value]) -> Parts {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    parts.insert("index.json".to_owned(), index.to_string().into_bytes());
    parts.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec());
    parts
}

fn layout(layers: &[Vec<u8>], programs: &[&str]) -> Parts {
    let mut parts = Parts::new();
    let manifest = add_image(&mut parts, layers, programs, "amd64");
    oci(parts, &[manifest])
}

/// Makes an image as `docker save` wrote it before OCI layouts.
fn saved(layers: &[Vec<u8>]) -> Parts {
    let mut parts = Parts::new();
    let config = config(layers, "amd64").to_string().into_bytes();
    let config_name = format!("{}.json", &digest(&config)[7..]);
    let name = |layer: &Vec<u8>| format!("{}/layer.tar", &digest(layer)[7..]);
    let names: Vec<String> = layers.iter().map(name).collect();
    parts.extend(names.iter().cloned().zip(layers.iter().cloned()));
    let manifest = json!([{"Config": config_name, "RepoTags": ["web:1"], "Layers": names}]);
    parts.insert(config_name, config);
    parts.insert("manifest.json".to_owned(), manifest.to_string().into_bytes());
    parts
}

fn write_folder(parts: &Parts, folder: &Path) {
    for (name, bytes) in parts {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn as_tar(parts: &Parts) -> Vec<u8> {
    let members: Vec<Vec<u8>> = parts.iter().map(|(name, bytes)| file(name, bytes)).collect();
    archive::of(&members)
}

/// An image in a directory of its own, and its run record.
struct Built {
    directory: TempDir,
    record: String,
    allocated: u64,
}

impl Built {
    fn path(&self) -> PathBuf {
        self.directory.path().join("disk.img")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// Lists paths and contents; directories have a slash and their permissions.
    fn listing(&self) -> Vec<String> {
        let mut list = Vec::new();
        for (path, seen) in snapshot::of_image(&self.path()) {
            let path = String::from_utf8(path).unwrap();
            let content = String::from_utf8(seen.content).unwrap();
            if seen.mode & 0o170_000 == 0o040_000 {
                list.push(format!("{path}/ {:o}", seen.mode & 0o7777));
            } else {
                list.push(format!("{path} {content}"));
            }
        }
        // What every disk of a container has.
        const ALWAYS: [&str; 5] = ["/ 755", "lost+found/ 700", "dev/ 755", "proc/ 555", "sys/ 555"];
        list.retain(|line| !ALWAYS.contains(&line.as_str()));
        list
    }
}

fn build_path(path: &Path, choice: &Choice) -> Result<Built, String> {
    let directory = tempfile::tempdir().unwrap();
    let output = File::create_new(directory.path().join("disk.img")).unwrap();
    let build = || {
        let mut record = String::new();
        let summary = image::build_file(&File::open(path).unwrap(), choice, &output, |input| {
            record = input.config().map(|record| record.describe()).unwrap_or_default();
            Ok::<_, image::Error>(Options::default())
        })?;
        Ok((record, summary.allocated_bytes))
    };
    let (record, allocated) = build().map_err(|error: image::Error| error.to_string())?;
    assert_clean(&directory.path().join("disk.img"));
    Ok(Built { directory, record, allocated })
}

fn build_tar(tar: &[u8], choice: &Choice) -> Result<Built, String> {
    let input = tempfile::NamedTempFile::new().unwrap();
    fs::write(input.path(), tar).unwrap();
    build_path(input.path(), choice)
}

fn build(parts: &Parts) -> Result<Built, String> {
    build_tar(&as_tar(parts), &Choice::default())
}

fn refusal(parts: &Parts) -> String {
    build(parts).err().expect("it is refused")
}

fn chosen(tag: Option<&str>, platform: Option<&str>) -> Choice {
    Choice { tag: tag.map(str::to_owned), platform: platform.map(|text| text.parse().unwrap()), ..Choice::default() }
}

fn web() -> Vec<Vec<u8>> {
    let lower = [
        directory("bin"),
        file("bin/web", b"old"),
        directory("data"),
        file("data/a", &[b'a'; 300_000]),
        file("data/b", b"b"),
        directory("usr"),
        directory("usr/lib"),
        symlink("lib", "usr/lib"),
        file("kept", b"kept"),
        hard_link("kept-too", "kept"),
        file("gone", b"gone"),
    ];
    let middle =
        [file("bin/web", b"new"), file("lib/through-link", b"x"), file(".wh.gone", b""), file(".wh.kept", b"")];
    let upper = [
        directory("data"),
        file("data/c", b"c"),
        file("data/.wh..wh..opq", b""),
        hard_link("bin/again", "bin/web"),
        hard_link("data/.wh.c", "data/c"),
    ];
    [&lower[..], &middle, &upper].map(archive::of).to_vec()
}

const WEB: [&str; 11] = [
    "bin/ 640",
    "bin/again new",
    "bin/web new",
    "data/ 640",
    "data/c c",
    "kept-too kept",
    "lib usr/lib",
    "usr/ 640",
    "usr/lib/ 640",
    "usr/lib/through-link x",
    "",
];

#[test]
fn layers_are_applied_in_order_from_every_format_and_compression() {
    let first = build(&layout(&web(), &[])).unwrap();
    assert_eq!(first.listing(), WEB[..10]);
    assert_eq!(first.record, "/bin/web -p 80");
    assert!(first.allocated < 250_000, "{}: hidden files take space", first.allocated);
    for programs in [&["gzip", "zstd", "xz"][..], &["bzip2", "", "gzip"]] {
        assert!(build(&layout(&web(), programs)).unwrap().bytes() == first.bytes(), "{programs:?}");
    }
    for parts in [layout(&web(), &["gzip"]), saved(&web())] {
        assert!(build(&parts).unwrap().bytes() == first.bytes());
        let folder = tempfile::tempdir().unwrap();
        write_folder(&parts, folder.path());
        let built = build_path(folder.path(), &Choice::default()).unwrap();
        assert!(built.bytes() == first.bytes(), "a folder");
    }
}

/// Makes a layout of one image: its layers' contents, and how each is stored, with its media type.
fn stored(layers: &[(&[u8], &[u8], &str)]) -> Parts {
    let mut parts = Parts::new();
    let contents: Vec<Vec<u8>> = layers.iter().map(|(content, ..)| content.to_vec()).collect();
    let config = add_blob(&mut parts, CONFIG, config(&contents, "amd64").to_string().into_bytes());
    let blobs: Vec<Value> =
        layers.iter().map(|(_, stored, media_type)| add_blob(&mut parts, media_type, stored.to_vec())).collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": blobs});
    let manifest = add_blob(&mut parts, MANIFEST, manifest.to_string().into_bytes());
    oci(parts, &[manifest])
}

#[test]
fn layers_may_be_empty_in_several_frames_and_padded() {
    let layer = archive::of(&[file("a", b"1")]);
    let halves = layer.split_at(700);
    let frame = |skipped: &[u8]| [&[0x50, 0x2a, 0x4d, 0x18, skipped.len() as u8, 0, 0, 0], skipped].concat();
    let zeros = vec![0; 100_000];
    let zstd = |bytes: &[u8]| filter("zstd", &["-c"], bytes);
    for stored_as in [
        [filter("gzip", &["-c"], halves.0), filter("gzip", &["-c"], halves.1)].concat(),
        [filter("gzip", &["-c"], halves.0), filter("gzip", &["-c"], b""), filter("gzip", &["-c"], halves.1)].concat(),
        [filter("gzip", &["-c"], &layer), vec![0; 3]].concat(),
        [filter("gzip", &["-c"], &layer), zeros.clone()].concat(),
        [filter("bzip2", &["-c"], halves.0), filter("bzip2", &["-c"], halves.1), zeros].concat(),
        [frame(b"index"), zstd(halves.0), frame(b""), zstd(halves.1), frame(b"table of contents")].concat(),
        [filter("xz", &["-c"], halves.0), filter("xz", &["-c"], halves.1), vec![0; 8]].concat(),
    ] {
        assert_eq!(build(&stored(&[(&layer, &stored_as, LAYER)])).unwrap().listing(), ["a 1"]);
    }
    for program in ["cat", "gzip", "zstd", "bzip2", "xz"] {
        let empty = if program == "cat" { Vec::new() } else { filter(program, &["-c"], b"") };
        let parts = stored(&[(b"", &empty, LAYER), (&layer, &layer, LAYER), (b"", &empty, LAYER)]);
        assert_eq!(build(&parts).unwrap().listing(), ["a 1"], "{program}");
    }
    let parts = stored(&[(&layer, &[filter("gzip", &["-c"], &layer), b"more".to_vec()].concat(), LAYER)]);
    assert!(
        refusal(&parts).ends_with("gzip: other data follow the compressed data; remove them"),
        "{}",
        refusal(&parts)
    );
}

#[test]
fn replaced_files_take_no_space_and_leave_no_bytes() {
    let all = |text: &str, step: usize| {
        let files = (0..300).step_by(step).map(|number| file(&format!("d/{number:03}"), text.repeat(700).as_bytes()));
        archive::of(&files.collect::<Vec<_>>())
    };
    let single = build(&layout(&[all("upper", 1)], &[])).unwrap();
    let whole = build(&layout(&[all("lower", 1), all("upper", 1)], &[])).unwrap();
    assert_eq!(whole.listing(), single.listing());
    assert!(whole.allocated < single.allocated + 100_000, "{} {}", whole.allocated, single.allocated);
    // Every second one: there are more runs of free blocks than holes are made.
    let half = build(&layout(&[all("lower", 1), all("upper", 2)], &[])).unwrap();
    let bytes = half.bytes();
    let count = |wanted: &[u8]| bytes.windows(wanted.len()).filter(|window| *window == wanted).count();
    assert_eq!((count(b"lowerlower"), count(b"upperupper")), (150 * 699, 150 * 699));
}

#[test]
fn whiteouts_hide_lower_layers_alone_wherever_they_are() {
    let both = |lower: &[Vec<u8>], upper: &[Vec<u8>]| {
        let reversed: Vec<Vec<u8>> = upper.iter().rev().cloned().collect();
        let [one, other] = [upper, &reversed]
            .map(|upper| build(&layout(&[archive::of(lower), archive::of(upper)], &["", "gzip"])).unwrap().listing());
        assert_eq!(one, other);
        one
    };
    let wh = |path: &str| file(path, b"");
    // A link of the layer itself leads to no lower file.
    let lower = [file("b/k", b"kept")];
    assert_eq!(both(&lower, &[symlink("a", "b"), wh("a/.wh.k")]), ["a b", "b/ 755", "b/k kept"]);
    assert_eq!(both(&lower, &[symlink("a", "b"), wh("a/.wh..wh..opq")]), ["a b", "b/ 755", "b/k kept"]);
    let lower = [file("b/k", b"kept"), file("c/k", b"gone"), symlink("a", "c")];
    assert_eq!(both(&lower, &[symlink("a", "b"), wh("a/.wh.k")]), ["a b", "b/ 755", "b/k kept", "c/ 755"]);
    // What is below a name that the layer hides is not in the lower file, or behind the lower link.
    assert_eq!(both(&[file("x", b"old")], &[file("x/a", b"new"), wh(".wh.x")]), ["x/ 755", "x/a new"]);
    let lower = [directory("b"), symlink("x", "b"), file("b/old", b"1")];
    assert_eq!(both(&lower, &[file("x/a", b"new"), wh(".wh.x")]), ["b/ 640", "b/old 1", "x/ 755", "x/a new"]);
    assert_eq!(both(&lower, &[file("x/a", b"new"), wh(".wh..wh..opq")]), ["x/ 755", "x/a new"]);
    assert_eq!(both(&[file("x/old", b"1")], &[file("x/a", b"new"), wh(".wh.x")]), ["x/ 755", "x/a new"]);
    // A hard link that a lower layer has too is one of this layer.
    let lower = [file("c", b"1"), hard_link("b", "c")];
    assert_eq!(both(&lower, &[hard_link("b", "c"), wh(".wh.b")]), ["b 1", "c 1"]);
    assert_eq!(both(&lower, &[hard_link("b", "b"), wh(".wh.c")]), ["b 1"]);
    let lower = [file("f", b"")];
    let error = refusal(&layout(&[archive::of(&lower), archive::of(&[file("f/x", b"")])], &[]));
    assert!(error.ends_with("f/x: one of its parents is not a directory"), "{error}");
}
