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
use whit_tools::disk::image::{self, Choice, Input, Options};

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
        list.retain(|line| line != "/ 755" && line != "lost+found/ 700");
        list
    }
}

fn build_path(path: &Path, choice: &Choice) -> Result<Built, String> {
    let directory = tempfile::tempdir().unwrap();
    let output = File::create_new(directory.path().join("disk.img")).unwrap();
    let build = || {
        let input = Input::open(File::open(path).unwrap(), choice)?;
        let record = input.config().map(|record| record.describe()).unwrap_or_default();
        Ok((record, image::build_from(input, &output, &Options::default())?.allocated_bytes))
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
    Choice { tag: tag.map(str::to_owned), platform: platform.map(|text| text.parse().unwrap()) }
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

const WEB: [&str; 14] = [
    "bin/ 640",
    "bin/again new",
    "bin/web new",
    "data/ 640",
    "data/c c",
    "dev/ 755",
    "kept-too kept",
    "lib usr/lib",
    "proc/ 555",
    "sys/ 555",
    "usr/ 640",
    "usr/lib/ 640",
    "usr/lib/through-link x",
    "",
];

#[test]
fn layers_are_applied_in_order_from_every_format_and_compression() {
    let first = build(&layout(&web(), &[])).unwrap();
    assert_eq!(first.listing(), WEB[..13]);
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
        let listing = built.listing();
        let own = listing.iter().filter(|line| !["dev/ 755", "proc/ 555", "sys/ 555"].contains(&line.as_str()));
        Ok::<String, String>(own.cloned().collect::<Vec<_>>().join(" "))
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
        // Without the last file's padding and the end mark it is still complete.
        let last = parts.values().last().unwrap().len();
        let complete = tar.len() - 1024 - (last.next_multiple_of(512) - last);
        for length in (0..complete).step_by(13).chain([511, 512, 513, complete - 1]) {
            assert!(build_tar(&tar[..length], &Choice::default()).is_err(), "cut at {length}");
        }
        assert!(build_tar(&tar[..complete], &Choice::default()).is_ok());
        for name in parts.keys() {
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
    assert!(refusal(&oci(parts, &[manifest])).starts_with("is not a container image: "));
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
fn layers_from_a_pipe_or_compressed_are_refused_in_one_line() {
    let tar = as_tar(&saved(&web()));
    let message = "is an archive of layers, as `docker save` makes it, which cannot be read in order: give it as an \
                uncompressed file, or unpacked as a folder";
    let output = tempfile::tempfile().unwrap();
    let error = image::build(tar.as_slice(), &output, &Options::default()).err().unwrap();
    assert_eq!(error.to_string(), message);
    let error = build_tar(&filter("gzip", &["-c"], &tar), &Choice::default()).err().unwrap();
    assert_eq!(error, message);
}
