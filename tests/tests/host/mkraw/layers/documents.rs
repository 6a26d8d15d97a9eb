//! The documents of an image in layers: indexes, manifests and configurations.

use serde_json::{Value, json};
use whit_tests::archive::{self, file};
use whit_tools::disk::image::Choice;

use super::{
    CONFIG, INDEX, LAYER, MANIFEST, Parts, add_blob, add_image, as_tar, build, build_path, build_tar, chosen, config,
    oci, refusal, saved, web, write_folder,
};

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
