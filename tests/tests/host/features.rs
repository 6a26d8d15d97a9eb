//! The init without its optional features: it compiles without each of them, and mkcpio finds out which it has.

use std::fs;
use std::process::Command;

use whit_tests::debian::cloud_kernels;
use whit_tests::whole::busybox_tar;
use whit_tests::{init, init_of_features, tool};
use xtask::workspace;

/// Returns the features that can be left out: those of `whole`.
fn features() -> Vec<String> {
    let features = features_of("whole");
    assert!(features.len() > 20, "{features:?}");
    features
}

/// Returns the features of an init, as its feature in the manifest has them.
fn features_of(init: &str) -> Vec<String> {
    let manifest = fs::read_to_string(workspace::root().join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once(&format!("\n{init} = [")).unwrap();
    let (list, _) = rest.split_once(']').unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).filter(|feature| feature != "whole").collect()
}

#[test]
fn each_stub_belongs_to_a_feature() {
    let features = [features(), features_of("fleet")].concat();
    for entry in fs::read_dir(workspace::root().join("src/pid1/stubs")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let feature = if name == "network" { "dhcp" } else { &name.replace('_', "-") };
        assert!(features.iter().any(|known| known == feature), "{name}");
    }
}

/// Lints the init with some features, in the workspace's target directory, where its crates are compiled already.
fn lint(features: &str) {
    let output = workspace::cargo()
        .args(["clippy", "--quiet", "--profile", "init", "--package", "whit"])
        .args(["--no-default-features", "--features", features])
        .args(["--", "-D", "warnings"])
        .output()
        .unwrap();
    assert!(output.status.success(), "with {features:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// `cargo clippy --profile init -p whit` lints it with all of them.
#[test]
#[ignore = "checks the init as often as it has features: cargo selftest runs it"]
fn each_feature_can_be_left_out() {
    let features = features();
    lint("");
    for feature in &features {
        lint(&features.iter().filter(|other| *other != feature).map(String::as_str).collect::<Vec<_>>().join(","));
    }
}

#[test]
#[ignore = "compiles small inits: cargo selftest runs it"]
fn an_initramfs_with_the_smallest_init_is_less_than_21_kib() {
    let directory = tempfile::tempdir().unwrap();
    let initramfs = directory.path().join("initramfs.cpio.gz");
    let mut mkcpio = Command::new(tool("mkcpio"));
    let done = mkcpio.arg("--init").arg(init_of_features("")).arg("-o").arg(&initramfs).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let bytes = fs::metadata(&initramfs).unwrap().len();
    assert!(bytes < 21 * 1024, "{bytes} bytes");
}

#[test]
#[ignore = "needs Debian's archive: cargo selftest runs it"]
fn mkcpio_refuses_inputs_that_the_init_has_no_feature_for() {
    let kernel = &cloud_kernels()[0];
    let modules = kernel.modules.to_str().unwrap();
    let rootfs = busybox_tar();
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("initramfs.cpio");
    let errors_of = |features: &str, arguments: &[&str]| {
        let mut mkcpio = Command::new(tool("mkcpio"));
        let mkcpio = mkcpio.arg("--init").arg(init_of_features(features)).arg("-o").arg(&output).args(arguments);
        let done = mkcpio.output().unwrap();
        assert_eq!(output.exists(), done.status.success());
        let _ = fs::remove_file(&output);
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    for (feature, path, init_with_it, arguments) in [
        ("hardware", "/lib/modules/alias", "seed", &["--modules", modules, "--for", "qemu"][..]),
        ("rootfs", "/rootfs.needs", "seed", &["--rootfs", rootfs.to_str().unwrap()]),
        ("entropy", "/seed", "whole", &["--seed"]),
    ] {
        let init = init_of_features("");
        let advice = format!("it lacks the feature \"{feature}\", which --init {init_with_it} has");
        let error = format!("mkcpio: {}: does not read {path}: {advice}\n", init.display());
        assert_eq!(errors_of("", arguments), error);
        assert_eq!(errors_of(feature, arguments), "");
    }
    let mut mkcpio = Command::new(tool("mkcpio"));
    mkcpio.arg("--init").arg(init()).arg("-o").arg(&output).args(["--modules", modules, "--for", "verity"]);
    let error = String::from_utf8(mkcpio.output().unwrap().stderr).unwrap();
    assert!(error.ends_with(": it lacks the feature \"verity\", which --init fleet has\n"), "{error}");
}

mod long {
    use super::*;

    #[test]
    #[ignore = "checks the init as often as it has features: cargo selftest -- --long runs it"]
    fn each_feature_can_be_the_only_one() {
        features().iter().for_each(|feature| lint(feature));
        features_of("fleet").iter().for_each(|feature| lint(feature));
    }
}
