//! Images of layers: as folders and archives, in OCI's and docker's formats, intact and damaged.

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
fn digest(bytes: &[u8]) -> String {
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

#[test]
fn an_archive_may_have_links_folders_and_names_that_start_with_a_dot() {
    let parts = saved(&web());
    let mut members = vec![directory("./")];
    for (name, bytes) in &parts {
        match name.strip_suffix("/layer.tar") {
            // podman and skopeo store a layer under its hash, and a link at docker's name.
            Some(hash) => members.extend([
                file(&format!("./{hash}.tar"), bytes),
                directory(&format!("./{hash}/")),
                symlink(&format!("./{name}"), &format!("../{hash}.tar")),
            ]),
            None => members.push(file(&format!("./{name}"), bytes)),
        }
    }
    let built = build_tar(&archive::of(&members), &Choice::default()).unwrap();
    assert!(built.bytes() == build(&parts).unwrap().bytes());
}

#[test]
fn one_of_several_images_is_chosen() {
    let mut parts = Parts::new();
    let image = |parts: &mut Parts, name: &str, architecture: &str| {
        add_image(parts, &[archive::of(&[file("name", name.as_bytes())])], &[], architecture)
    };
    let named = |mut descriptor: Value, name: &str| {
        descriptor["annotations"] = json!({"io.containerd.image.name": name});
        descriptor
    };
    let for_platform = |mut descriptor: Value, os: &str, architecture: &str| {
        descriptor["platform"] = json!({"os": os, "architecture": architecture});
        descriptor
    };
    let web = named(image(&mut parts, "web", "amd64"), "docker.io/library/web:1");
    let amd64 = for_platform(image(&mut parts, "db amd64", "amd64"), "linux", "amd64");
    let arm64 = for_platform(image(&mut parts, "db arm64", "arm64"), "linux", "arm64");
    let note = add_blob(&mut parts, MANIFEST, br#"{"config": {}, "layers": []}"#.to_vec());
    let note = for_platform(note, "unknown", "unknown");
    let mut absent = for_platform(arm64.clone(), "linux", "riscv64");
    absent["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [amd64, arm64, note, absent]});
    let inner = named(add_blob(&mut parts, INDEX, inner.to_string().into_bytes()), "docker.io/library/db:2");
    let tar = as_tar(&oci(parts, &[web, inner]));
    let name = |tag, platform| {
        let built = build_tar(&tar, &chosen(tag, platform))?;
        Ok::<String, String>(built.listing().join(" "))
    };
    assert_eq!(name(Some("web:1"), None).unwrap(), "name web");
    assert_eq!(name(Some("db:2"), None).unwrap(), "name db amd64");
    assert_eq!(name(Some("2"), Some("linux/arm64")).unwrap(), "name db arm64");
    assert_eq!(name(None, Some("linux/arm64")).unwrap(), "name db arm64");
    let all = "docker.io/library/web:1 (linux/amd64), docker.io/library/db:2 (linux/amd64)";
    assert_eq!(
        name(None, None).unwrap_err(),
        format!("contains several images; select one with --tag or --platform: {all}")
    );
    assert!(name(Some("x"), None).unwrap_err().starts_with(&format!("has no image x; it has {all}, ")));
    let error = name(None, Some("linux/riscv64")).unwrap_err();
    assert!(error.starts_with("lists docker.io/library/db:2 (linux/riscv64), but does not contain it"), "{error}");
    let error = build_tar(&archive::of(&[file("a", b"")]), &chosen(Some("x"), None)).err().unwrap();
    assert_eq!(error, "is not an archive of layers, so --tag and --platform do not apply");
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
    let lower = [file("f", b"")];
    let error = refusal(&layout(&[archive::of(&lower), archive::of(&[file("f/x", b"")])], &[]));
    assert!(error.ends_with("f/x: one of its parents is not a directory"), "{error}");
}

#[test]
fn layers_that_cannot_be_read_are_refused_by_what_they_are() {
    let layer = archive::of(&[file("a", b"1")]);
    let squashfs = "application/vnd.oci.image.layer.v1.squashfs";
    let parts = stored(&[(&layer, &layer, LAYER), (b"hsqs", b"hsqs", squashfs)]);
    let expected = format!("layer {} is of type {squashfs}; only tars can be read", digest(b"hsqs"));
    assert_eq!(refusal(&parts), expected);
    let in_toto = "application/vnd.in-toto+json";
    let error = refusal(&stored(&[(b"{}", b"{}", in_toto)]));
    assert_eq!(error, format!("contains no image; it has {in_toto}"));
    let error = refusal(&stored(&[(b"hsqs", b"hsqs", LAYER)]));
    assert!(error.ends_with(": is not a tar archive"), "{error}");
    // Not the content that the configuration has the digest of.
    let error = refusal(&stored(&[(b"other", &filter("gzip", &["-c"], &layer), LAYER)]));
    assert!(error.contains(&format!("does not match its digest {}", digest(b"other"))), "{error}");

    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    for (media_type, url) in
        [(foreign, None), (foreign, Some("https://example.com/l")), (LAYER, Some("https://example.com/l"))]
    {
        let mut parts = Parts::new();
        let config =
            add_blob(&mut parts, CONFIG, config(std::slice::from_ref(&layer), "amd64").to_string().into_bytes());
        let mut blob = json!({"mediaType": media_type, "digest": digest(&layer), "size": layer.len()});
        if let Some(url) = url {
            blob["urls"] = json!([url]);
        }
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [blob]});
        let manifest = add_blob(&mut parts, MANIFEST, manifest.to_string().into_bytes());
        let mut parts = oci(parts, &[manifest]);
        let error = refusal(&parts);
        assert!(error.ends_with(&format!("; add it from {}", url.unwrap_or("its publisher"))), "{error}");
        // It may be there.
        add_blob(&mut parts, media_type, layer.clone());
        assert_eq!(build(&parts).unwrap().listing(), ["a 1"]);
    }
}

#[test]
fn documents_may_leave_out_media_types_and_start_with_a_byte_order_mark() {
    let layer = archive::of(&[file("a", b"1")]);
    let mut parts = Parts::new();
    let marked = |document: Value| [b"\xef\xbb\xbf", document.to_string().as_bytes()].concat();
    let bare = |parts: &mut Parts, bytes: Vec<u8>| {
        let mut descriptor = add_blob(parts, "", bytes);
        descriptor.as_object_mut().unwrap().remove("mediaType");
        descriptor
    };
    let config = bare(&mut parts, marked(config(std::slice::from_ref(&layer), "amd64")));
    let blob = bare(&mut parts, layer);
    let manifest = bare(&mut parts, marked(json!({"schemaVersion": 2, "config": config, "layers": [blob]})));
    let inner = bare(&mut parts, marked(json!({"schemaVersion": 2, "manifests": [manifest]})));
    let mut parts = oci(parts, &[inner]);
    let index = [b"\xef\xbb\xbf", parts["index.json"].as_slice()].concat();
    parts.insert("index.json".to_owned(), index);
    let built = build(&parts).unwrap();
    assert_eq!((built.listing(), built.record.as_str()), (vec!["a 1".to_owned()], "/bin/web -p 80"));

    // Go writes an empty list as null.
    let mut parts = Parts::new();
    let config = json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": null}});
    parts.insert("config.json".to_owned(), config.to_string().into_bytes());
    let manifest = json!([{"Config": "config.json", "RepoTags": null, "Layers": null}]);
    parts.insert("manifest.json".to_owned(), marked(manifest));
    assert!(build(&parts).unwrap().listing().is_empty());
}

#[test]
fn nested_indexes_are_read_once() {
    let mut parts = Parts::new();
    let mut inner = add_image(&mut parts, &[archive::of(&[file("a", b"1")])], &[], "amd64");
    for _ in 0..4 {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": vec![inner; 1000]});
        inner = add_blob(&mut parts, INDEX, index.to_string().into_bytes());
    }
    let parts = oci(parts, &vec![inner; 1000]);
    assert_eq!(build(&parts).unwrap().listing(), ["a 1"]);
}

#[test]
fn signatures_and_lists_of_packages_are_no_images() {
    let mut parts = Parts::new();
    let image = add_image(&mut parts, &[archive::of(&[file("a", b"1")])], &[], "riscv64");
    let mut manifests = vec![image];
    for (config_type, layer_type, artifact_type) in [
        (CONFIG, "application/vnd.dev.cosign.simplesigning.v1+json", None),
        (CONFIG, "text/spdx+json", None),
        ("application/vnd.oci.empty.v1+json", "application/vnd.cyclonedx+json", Some("application/vnd.cyclonedx+json")),
        ("application/vnd.cncf.helm.config.v1+json", LAYER, None),
    ] {
        let config = add_blob(&mut parts, config_type, b"{}".to_vec());
        let layer = add_blob(&mut parts, layer_type, b"{}".to_vec());
        let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        if let Some(artifact_type) = artifact_type {
            manifest["artifactType"] = json!(artifact_type);
        }
        manifests.push(add_blob(&mut parts, MANIFEST, manifest.to_string().into_bytes()));
    }
    assert_eq!(build(&oci(parts.clone(), &manifests)).unwrap().listing(), ["a 1"]);
    let error = refusal(&oci(parts, &manifests[1..]));
    assert_eq!(
        error,
        "contains no image; it has application/vnd.dev.cosign.simplesigning.v1+json, text/spdx+json, \
         application/vnd.cyclonedx+json, application/vnd.cncf.helm.config.v1+json"
    );
}

#[test]
fn every_changed_byte_of_a_part_is_refused() {
    let small = [archive::of(&[file("a", b"content"), file("b", b"")])];
    for (parts, index) in [(layout(&small, &["gzip"]), "index.json"), (saved(&small), "manifest.json")] {
        assert!(build(&parts).is_ok());
        for name in parts.keys().filter(|name| *name != index && *name != "oci-layout") {
            for at in (0..parts[name].len()).step_by(7) {
                let mut parts = parts.clone();
                parts.get_mut(name).unwrap()[at] ^= 0x41;
                let error = refusal(&parts);
                assert!(error.contains("does not match its digest sha256:"), "{name}, byte {at}: {error}");
            }
        }
    }
}

#[test]
fn every_cut_of_an_archive_is_refused() {
    let small = [archive::of(&[file("a", b"content")]), archive::of(&[file(".wh.a", b"")])];
    for parts in [layout(&small, &["gzip"]), saved(&small)] {
        let tar = as_tar(&parts);
        // Without the marker of a layout, the last file's padding and the end mark it is still complete.
        let needed: Parts = parts.clone().into_iter().filter(|(name, _)| name != "oci-layout").collect();
        let last = needed.values().last().unwrap().len();
        let complete = as_tar(&needed).len() - 1024 - (last.next_multiple_of(512) - last);
        for length in (0..complete).step_by(13).chain([511, 512, 513, complete - 1]) {
            assert!(build_tar(&tar[..length], &Choice::default()).is_err(), "cut at {length}");
        }
        assert!(build_tar(&tar[..complete], &Choice::default()).is_ok());
        for name in needed.keys() {
            let mut parts = parts.clone();
            parts.remove(name);
            assert!(build(&parts).is_err(), "{name} is missing");
        }
    }
    let mut parts = layout(&small, &[]);
    let layer = digest(&small[1]).replace(':', "/");
    parts.remove(&format!("blobs/{layer}")).unwrap();
    assert_eq!(
        refusal(&parts),
        format!("layer 2 (blobs/{layer}): refers to blobs/{layer}, which is missing; make the archive again")
    );
}

#[test]
fn an_archive_that_is_no_image_is_an_error() {
    let mut parts = Parts::new();
    let config = add_blob(&mut parts, "application/vnd.cncf.helm.config.v1+json", b"{}".to_vec());
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": []});
    let manifest = add_blob(&mut parts, MANIFEST, manifest.to_string().into_bytes());
    assert_eq!(refusal(&oci(parts, &[manifest])), "contains no image; it has application/vnd.cncf.helm.config.v1+json");
    assert_eq!(refusal(&oci(Parts::from([(format!("{}/json", "0".repeat(64)), vec![])]), &[])), "contains no image");

    let mut windows = config_of_windows();
    let manifest = windows.1.take();
    assert!(refusal(&oci(windows.0, &[manifest])).starts_with("is an image for windows/amd64"));

    let mut parts = saved(&web());
    parts.insert("manifest.json".to_owned(), br#"[{"Config": "../../etc/passwd", "Layers": []}]"#.to_vec());
    let folder = tempfile::tempdir().unwrap();
    write_folder(&parts, folder.path());
    let error = build_path(folder.path(), &Choice::default()).err().unwrap();
    assert_eq!(error, "refers to ../../etc/passwd, which is missing; make the archive again");
    parts.insert("manifest.json".to_owned(), b"[{\"Config\": 1, \"Layers\": []}]".to_vec());
    assert_eq!(refusal(&parts), "manifest.json: is invalid: an image has no Config");
}

fn config_of_windows() -> (Parts, Value) {
    let mut parts = Parts::new();
    let config = json!({"os": "windows", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}});
    let config = add_blob(&mut parts, CONFIG, config.to_string().into_bytes());
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": []});
    let manifest = add_blob(&mut parts, MANIFEST, manifest.to_string().into_bytes());
    (parts, manifest)
}

#[test]
fn layers_from_a_pipe_are_refused_in_one_line() {
    let message =
        "is an image in layers, as `docker save` makes it, which cannot be read from a pipe: give it as a file";
    let output = tempfile::tempfile().unwrap();
    for parts in [saved(&web()), layout(&web(), &[])] {
        let error = image::build(as_tar(&parts).as_slice(), &output, &Options::default()).err().unwrap();
        assert_eq!(error.to_string(), message);
    }
}

/// Returns the folder that skopeo's `dir:` makes of a layout's parts.
fn directory_of(layout: &Parts) -> Parts {
    let index: Value = serde_json::from_slice(&layout["index.json"]).unwrap();
    let blob = |digest: &str| layout[&format!("blobs/{}", digest.replace(':', "/"))].clone();
    let manifest = blob(index["manifests"][0]["digest"].as_str().unwrap());
    let blobs = layout.iter().filter_map(|(name, bytes)| Some((name.strip_prefix("blobs/sha256/")?.to_owned(), bytes)));
    let mut parts: Parts =
        blobs.filter(|(_, bytes)| **bytes != manifest).map(|(name, bytes)| (name, bytes.clone())).collect();
    parts.insert("manifest.json".to_owned(), manifest);
    parts.insert("version".to_owned(), b"Directory Transport Version: 1.1\n".to_vec());
    parts
}

#[test]
fn the_whole_table_of_contents_decides_what_an_input_is() {
    let layers = [archive::of(&[file("a", b"1")])];
    let expected = build(&layout(&layers, &[])).unwrap().listing();
    let mut unmarked = layout(&layers, &[]);
    unmarked.remove("oci-layout");
    let mut jib = saved(&layers);
    let manifest: Value = serde_json::from_slice(&jib["manifest.json"]).unwrap();
    let config = jib.remove(manifest[0]["Config"].as_str().unwrap()).unwrap();
    let manifest = json!([{"Config": "config.json", "RepoTags": [], "Layers": manifest[0]["Layers"]}]);
    jib.insert("config.json".to_owned(), config);
    jib.insert("manifest.json".to_owned(), manifest.to_string().into_bytes());
    for parts in [layout(&layers, &[]), unmarked, saved(&layers), jib, directory_of(&layout(&layers, &[]))] {
        let members: Vec<Vec<u8>> = parts.iter().map(|(name, bytes)| file(&format!("./{name}"), bytes)).collect();
        for other in [
            directory("./ingest"),
            directory("./blobs"),
            file("./._index.json", b"\0\x05\x16\x07"),
            file("README", b"x"),
            file("./index.json.lock", b""),
            file("usr/share/doc/x", b"x"),
            symlink("latest", "index.json"),
        ] {
            for first in [true, false] {
                let mut all = members.clone();
                all.insert(if first { 0 } else { all.len() }, other.clone());
                let mut reversed = all.clone();
                reversed.reverse();
                for members in [all, reversed] {
                    let built = build_tar(&archive::of(&members), &Choice::default());
                    assert_eq!(
                        built.unwrap().listing(),
                        expected,
                        "{first} {:?}",
                        String::from_utf8_lossy(&other[..20])
                    );
                }
            }
        }
        for program in ["gzip", "zstd", "xz"] {
            // The foreign member comes first, so that only the end shows layers.
            let tar = archive::of(&[&[file("usr/x", b"")][..], &members].concat());
            for tar in [archive::of(&members), tar] {
                let built = build_tar(&filter(program, &["-c"], &tar), &Choice::default());
                assert_eq!(built.unwrap().listing(), expected, "{program}");
            }
        }
        let folder = tempfile::tempdir().unwrap();
        write_folder(&parts, folder.path());
        fs::write(folder.path().join("README"), "").unwrap();
        assert_eq!(build_path(folder.path(), &Choice::default()).unwrap().listing(), expected);
    }
}

#[test]
fn a_root_may_have_the_names_of_an_image_in_layers() {
    let hash = "0123456789abcdef".repeat(4);
    for other in [
        file("manifest.json", b"[]"),
        file("manifest.json", b"{\"name\": \"app\"}"),
        file("manifest.json", b"[{\"Config\": \"c.json\", \"Layers\": [\"l.tar\"]}]"),
        file("index.json", b"{\"manifests\": []}"),
        file("oci-layout", b"{}"),
        file("repositories", b"{}"),
        file(&hash, b"x"),
        file(&format!("{hash}/layer.tar"), b"x"),
        file(&format!("blobs/sha256/{hash}"), b"x"),
    ] {
        for members in [[file("bin/sh", b"x"), other.clone()], [other.clone(), file("bin/sh", b"x")]] {
            let listing = build_tar(&archive::of(&members), &Choice::default()).unwrap().listing();
            assert!(listing.contains(&"bin/sh x".to_owned()) && listing.len() > 2, "{listing:?}");
        }
    }
}

#[test]
fn a_part_of_an_image_is_refused_by_its_name() {
    let parts = layout(&[archive::of(&[file("a", b"1")])], &[]);
    let mut unlisted = parts.clone();
    unlisted.remove("index.json");
    assert!(
        refusal(&unlisted).starts_with("has the blobs of an OCI layout, but no index.json"),
        "{}",
        refusal(&unlisted)
    );
    let mut old = saved(&[archive::of(&[file("a", b"1")])]);
    old.remove("manifest.json");
    assert!(refusal(&old).starts_with("has layers as docker saves them, but no manifest.json"), "{}", refusal(&old));
    let below: Parts = parts.iter().map(|(name, bytes)| (format!("saved/{name}"), bytes.clone())).collect();
    let expected = "has an image in layers in its folder saved; give the content of that folder";
    assert_eq!(refusal(&below), expected);
    let folder = tempfile::tempdir().unwrap();
    write_folder(&below, folder.path());
    assert_eq!(build_path(folder.path(), &Choice::default()).err().unwrap(), expected);
}

#[test]
fn a_layer_may_be_a_sparse_member() {
    let layer = archive::of(&[file("a", b"1")]);
    let parts = layout(&[[&layer[..], &[0; 1 << 20]].concat()], &[]);
    let folder = tempfile::tempdir().unwrap();
    write_folder(&parts, folder.path());
    for name in parts.keys() {
        // Punches holes, which tar finds.
        let status = Command::new("fallocate").arg("--dig-holes").arg(folder.path().join(name)).status().unwrap();
        assert!(status.success());
    }
    let tar = archive::of_directory(folder.path(), &["--sparse", "--format=pax"]);
    assert!(tar.len() < 200_000);
    assert_eq!(build_tar(&tar, &Choice::default()).unwrap().listing(), ["a 1"]);
}
