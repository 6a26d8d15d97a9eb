//! What an input is: the forms of images in layers, as archives and folders, with members that do not belong.

use std::fs;
use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};
use whit_tests::archive::{self, directory, file, symlink};
use whit_tools::disk::image::{self, Choice, Options};

use super::{Parts, as_tar, build, build_path, build_tar, filter, layout, refusal, saved, web, write_folder};

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

/// Returns an archive as go-containerregistry writes it (pkg/v1/tarball: crane, kaniko, ko, Bazel): the configuration under its whole
/// digest, compressed layers under the digits of theirs, `manifest.json` last. This is from its source; Debian has none of them.
fn by_crane(layers: &[Vec<u8>]) -> Vec<u8> {
    let config = super::config(layers, "amd64").to_string().into_bytes();
    let config_name = super::digest(&config);
    let stored: Vec<Vec<u8>> = layers.iter().map(|layer| filter("gzip", &["-c"], layer)).collect();
    let names: Vec<String> = stored.iter().map(|layer| format!("{}.tar.gz", &super::digest(layer)[7..])).collect();
    let manifest = json!([{"Config": config_name, "RepoTags": ["web:1"], "Layers": names}]).to_string();
    let mut members = vec![file(&config_name, &config)];
    members.extend(names.iter().zip(&stored).map(|(name, layer)| file(name, layer)));
    members.push(file("manifest.json", manifest.as_bytes()));
    archive::of(&members)
}

#[test]
fn archives_of_crane_and_kaniko_are_read() {
    let expected = build(&layout(&web(), &[])).unwrap();
    let built = build_tar(&by_crane(&web()), &Choice::default()).unwrap();
    assert!(built.bytes() == expected.bytes());
    // kaniko stores an empty layer once, and lists it twice.
    let empty = archive::of(&[]);
    let layers = [web()[0].clone(), empty.clone(), web()[1].clone(), web()[2].clone(), empty];
    assert_eq!(build_tar(&by_crane(&layers), &Choice::default()).unwrap().listing(), expected.listing());
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

/// Its file has 1 TiB: a reader of what it skips would read for minutes.
#[test]
fn a_foreign_file_of_an_archive_is_not_read() {
    const SIZE: u64 = 1 << 40;
    let parts = layout(&[archive::of(&[file("a", b"1")])], &[]);
    let mut header = file("backup.img", b"");
    header[124..136].copy_from_slice(&[&[0x80, 0, 0, 0][..], &SIZE.to_be_bytes()].concat());
    archive::seal(&mut header);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    fs::write(&path, header).unwrap();
    let mut tar = fs::OpenOptions::new().append(true).open(&path).unwrap();
    tar.set_len(512 + SIZE).unwrap();
    tar.write_all(&as_tar(&parts)).unwrap();
    assert_eq!(build_path(&path, &Choice::default()).unwrap().listing(), build(&parts).unwrap().listing());
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
    // No index of OCI's.
    let parts = Parts::from(
        [("bin/sh", &b"x"[..]), ("index.json", b"{\"x\": 1}"), ("oci-layout", b"x")]
            .map(|(name, bytes)| (name.to_owned(), bytes.to_vec())),
    );
    let folder = tempfile::tempdir().unwrap();
    write_folder(&parts, folder.path());
    for built in [build(&parts), build_path(folder.path(), &Choice::default())] {
        let listing = built.unwrap().listing();
        for line in ["bin/sh x", "index.json {\"x\": 1}", "oci-layout x"] {
            assert!(listing.contains(&line.to_owned()), "{listing:?}");
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
