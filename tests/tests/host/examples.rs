//! The examples that no test can run: their files have the documented fields.

use std::process::Command;

use serde_json::Value;
use xtask::workspace;

/// The fields of Firecracker's configuration as its API documents them (src/firecracker/swagger/firecracker.yaml; the sections have
/// the names of the API's paths, docs/getting-started.md), and whether each is required.
const FIELDS: [(&str, &[(&str, bool)]); 4] = [
    ("boot-source", &[("kernel_image_path", true), ("initrd_path", false), ("boot_args", false)]),
    (
        "drives",
        &[
            ("drive_id", true),
            ("path_on_host", true),
            ("is_root_device", true),
            ("is_read_only", true),
            ("partuuid", false),
            ("cache_type", false),
            ("io_engine", false),
            ("rate_limiter", false),
            ("socket", false),
        ],
    ),
    (
        "network-interfaces",
        &[
            ("iface_id", true),
            ("host_dev_name", true),
            ("guest_mac", false),
            ("mtu", false),
            ("rx_rate_limiter", false),
            ("tx_rate_limiter", false),
        ],
    ),
    (
        "machine-config",
        &[
            ("vcpu_count", true),
            ("mem_size_mib", true),
            ("smt", false),
            ("cpu_template", false),
            ("track_dirty_pages", false),
            ("huge_pages", false),
        ],
    ),
];

#[test]
fn firecrackers_configuration_has_the_documented_fields() {
    let text = std::fs::read(workspace::root().join("examples/firecracker/config.json")).unwrap();
    let config: Value = serde_json::from_slice(&text).unwrap();
    for (section, value) in config.as_object().unwrap() {
        if section == "entropy" {
            continue; // A rate limiter at most.
        }
        let (_, fields) = FIELDS.iter().find(|(name, _)| name == section).unwrap_or_else(|| panic!("{section}"));
        let objects = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        for object in objects.iter().map(|object| object.as_object().unwrap()) {
            for name in object.keys() {
                assert!(fields.iter().any(|(field, _)| field == name), "{section}: {name}");
            }
            for (field, _) in fields.iter().filter(|(_, is_required)| *is_required) {
                assert!(object.contains_key(*field), "{section}: no {field}");
            }
        }
    }
    assert!(config["boot-source"]["boot_args"].as_str().unwrap().contains("root=/dev/vda"));
}

#[test]
fn the_netboot_installer_says_that_put_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let script = workspace::root().join("examples/netboot-installer/make.sh");
    let mut make = Command::new("/bin/sh");
    make.arg(script).args(["web.tar", "web.json"]).current_dir(folder.path()).env_remove("PUT");
    let output = make.env("PATH", folder.path()).env("KERNEL", "k").env("MODULES", "m").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.starts_with("make.sh: no put in PATH; ") && errors.lines().count() == 1, "{errors}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
