//! Layers and archives that cannot be read: of other types, changed, cut.

use std::process::{Command, Output};

use serde_json::json;
use tempfile::TempDir;
use whit_tests::archive::{self, file, hard_link};
use whit_tests::tool;
use whit_tools::disk::image::Choice;

use super::{
    CONFIG, LAYER, MANIFEST, Parts, add_blob, as_tar, build, build_tar, config, digest, filter, layout, oci, refusal,
    saved, stored, write_folder,
};

/// Runs mkraw on `image` in a directory. No file may have more than 512 KiB.
fn limited(directory: &TempDir, disk: &str, image: &str) -> Output {
    let script = "trap '' XFSZ; ulimit -f 1024; exec \"$0\" -o \"$1\" \"$2\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(tool("mkraw")).args([disk, image]).current_dir(directory).output().unwrap()
}

#[test]
fn the_line_names_the_disk_or_the_image_that_is_at_fault() {
    let directory = tempfile::tempdir().unwrap();
    let link = archive::of(&[hard_link("h", "nothere")]);
    let large = archive::of(&[file("big", &[1; 1 << 20])]);
    std::fs::write(directory.path().join("link.tar"), &link).unwrap();
    write_folder(&layout(std::slice::from_ref(&link), &[]), &directory.path().join("linked"));
    write_folder(&layout(&[large], &[]), &directory.path().join("large"));
    let linked = format!("layer 1 (blobs/{}): h: is a hard link to nothere", digest(&link).replace(':', "/"));
    let full = "cannot write the disk: File too large (os error 27)";
    for (disk, image, expected) in [
        ("disk.img", "link.tar", "mkraw: link.tar: h: is a hard link to nothere, which does not exist".to_owned()),
        ("disk.img", "linked", format!("mkraw: linked: {linked}, which does not exist")),
        ("disk.img", "large", format!("mkraw: disk.img: {full}")),
        ("-", "large", format!("mkraw: -: {full}; it is first a temporary file, whose directory TMPDIR sets")),
    ] {
        let output = limited(&directory, disk, image);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("{expected}\n"));
        assert!(output.status.code() == Some(1) && !directory.path().join("disk.img").exists());
    }
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
fn a_wrong_size_of_a_part_is_refused_and_none_is_accepted() {
    let layer = archive::of(&[file("a", b"1")]);
    let config = config(std::slice::from_ref(&layer), "amd64").to_string().into_bytes();
    let image = |part: &str, size: &dyn Fn(u64) -> serde_json::Value| {
        let mut parts = Parts::new();
        let mut described = |name: &str, media_type: &str, bytes: &[u8]| {
            let mut descriptor = add_blob(&mut parts, media_type, bytes.to_vec());
            if name == part {
                descriptor["size"] = size(bytes.len() as u64);
            }
            descriptor
        };
        let config = described("config", CONFIG, &config);
        let layers = [described("layer", LAYER, &layer)];
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let manifest = described("manifest", MANIFEST, manifest.to_string().as_bytes());
        oci(parts, &[manifest])
    };
    for part in ["config", "layer", "manifest"] {
        let error = refusal(&image(part, &|length| json!(length + 1)));
        assert!(error.starts_with("blobs/sha256/") && error.contains(": has "), "{part}: {error}");
        assert!(error.ends_with(" are stated where it is listed: the archive is damaged; make it again"), "{error}");
        assert!(refusal(&image(part, &|_| json!(-1))).ends_with(": is invalid: it has an invalid size"), "{part}");
        // As for containerd, 0 is no statement.
        for size in [json!(null), json!(0)] {
            assert_eq!(build(&image(part, &|_| size.clone())).unwrap().listing(), ["a 1"], "{part}");
        }
    }
    let (length, error) = (layer.len(), refusal(&image("layer", &|_| json!(5))));
    assert!(error.contains(&format!(": has {length} bytes, but 5 are stated")), "{error}");
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
