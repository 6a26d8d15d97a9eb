//! Packages of distributions, and invalid ones.

use super::*;
use std::fs;
use std::process::Command;

/// Returns a tar of a directory with a module and other files.
fn tar(compression: &str) -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    let modules = root.path().join("usr/lib/modules/6.1/kernel");
    fs::create_dir_all(&modules).unwrap();
    fs::write(modules.join("nic.ko"), "a module").unwrap();
    fs::write(root.path().join("usr/lib/modules/6.1/modules.builtin"), "").unwrap();
    fs::write(root.path().join("usr/passwd"), "no module").unwrap();
    std::os::unix::fs::symlink("/etc", root.path().join("usr/lib/firmware")).unwrap();
    let output = Command::new("tar").arg("-C").arg(root.path()).args([compression, "-c", "./usr"]).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Returns a .deb as dpkg-deb makes it: members of odd and even length, and the data.
fn deb(data: &[u8]) -> Vec<u8> {
    let member = |name: &str, content: &[u8]| {
        let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len());
        [header.as_bytes(), content, if content.len().is_multiple_of(2) { b"" } else { b"\n" }].concat()
    };
    [deb::MAGIC, &member("debian-binary", b"2.0"), &member("control.tar.xz", b"??"), &member("data.tar.xz", data)]
        .concat()
}

fn open(bytes: &[u8]) -> Result<Vec<String>, String> {
    open_all(&[bytes])
}

fn open_all(packages: &[&[u8]]) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..packages.len()).map(|number| folder.path().join(number.to_string())).collect();
    for (path, bytes) in paths.iter().zip(packages) {
        fs::write(path, bytes).unwrap();
    }
    let progress = Progress::default();
    let package = Package::open(&paths, &progress).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    let mut pending = vec![package.directory().to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(package.directory()).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    // All of a package is read once, except data after its end.
    let bytes: u64 = packages.iter().map(|package| package.len() as u64).sum();
    assert!((bytes / 2..=bytes).contains(&progress.bytes()), "{} of {bytes}", progress.bytes());
    assert!(progress.files() >= found.len() as u64);
    Ok(found)
}

#[test]
fn packages_of_several_distributions_are_unpacked() {
    let expected = ["usr/lib/modules/6.1/kernel/nic.ko", "usr/lib/modules/6.1/modules.builtin"];
    for bytes in [deb(&tar("--xz")), deb(&tar("--gzip")), tar("--gzip"), tar("--xz"), tar("--create")] {
        assert_eq!(open(&bytes).unwrap(), expected);
    }
    // Alpine: a sequence of tars.
    let apk = [tar("--gzip"), tar("--gzip")].concat();
    assert_eq!(open(&apk).unwrap(), expected);
}

#[test]
fn a_hard_link_to_a_module_is_unpacked() {
    let root = tempfile::tempdir().unwrap();
    let modules = root.path().join("lib/modules/6.1");
    fs::create_dir_all(&modules).unwrap();
    fs::write(modules.join("a.ko"), "a module").unwrap();
    fs::hard_link(modules.join("a.ko"), modules.join("b.ko")).unwrap();
    let output = Command::new("tar").arg("-C").arg(root.path()).args(["-c", "./lib"]).output().unwrap();
    assert_eq!(open(&deb(&output.stdout)).unwrap(), ["lib/modules/6.1/a.ko", "lib/modules/6.1/b.ko"]);
}

#[test]
fn packages_of_one_kernel_are_unpacked_together() {
    let member = |name: &str| {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "content").unwrap();
        Command::new("tar").arg("-C").arg(root.path()).args(["-c", "."]).output().unwrap().stdout
    };
    let (firmware, module) = (member("usr/lib/firmware/a.bin"), tar("--gzip"));
    let expected =
        ["usr/lib/firmware/a.bin", "usr/lib/modules/6.1/kernel/nic.ko", "usr/lib/modules/6.1/modules.builtin"];
    assert_eq!(open_all(&[&firmware, &deb(&module)]).unwrap(), expected);
    // In any order, but one must have modules.
    assert_eq!(open_all(&[&module, &firmware]).unwrap(), expected);
    assert!(open_all(&[&firmware, &firmware]).unwrap_err().contains("/0: contains no kernel modules"));
    assert!(open_all(&[&module, b"neither"]).unwrap_err().contains("/1: cannot be read as"));
}

#[test]
fn truncated_and_invalid_packages_are_refused() {
    let whole = deb(&tar("--xz"));
    for length in (0..whole.len()).step_by(7) {
        let error = open(&whole[..length]).unwrap_err();
        assert!(error.contains("cannot be read as") || error.contains("no kernel modules"), "{length}: {error}");
    }
    assert!(open(b"not a package at all, whatever its name").unwrap_err().contains("cannot be read as"));
    let mut wrong = whole;
    wrong[deb::MAGIC.len() + 48..][..10].fill(b'x');
    assert!(open(&wrong).unwrap_err().contains("invalid size"));
}
