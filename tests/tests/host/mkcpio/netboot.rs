//! `mkcpio --netboot`: what it refuses, and that it then leaves nothing. Firmware starts its folders in `qemu`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use whit_tests::tool;

/// A file that begins as a kernel with an EFI stub does, and its configuration.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vmlinuz-1.0"), pe(0)).unwrap();
    fs::write(folder.path().join("config-1.0"), "CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_GZIP=y\n").unwrap();
    folder
}

/// A PE file without sections, whose headers have room for some.
fn pe(room: u32) -> Vec<u8> {
    let mut file = vec![0; 1024];
    file[..2].copy_from_slice(b"MZ");
    file[0x3c] = 0x40;
    file[0x40..0x44].copy_from_slice(b"PE\0\0");
    file[0x54] = 240; // SizeOfOptionalHeader
    file[0x58 + 36..0x58 + 40].copy_from_slice(&512_u32.to_le_bytes()); // FileAlignment
    file[0x58 + 60..0x58 + 64].copy_from_slice(&room.to_le_bytes()); // SizeOfHeaders
    file
}

fn mkcpio(folder: &Path, arguments: &[&str]) -> Output {
    let always = ["--init", "/bin/busybox", "--netboot", "new"];
    Command::new(tool("mkcpio")).args(always).args(arguments).current_dir(folder).output().unwrap()
}

#[test]
fn the_folder_has_all_files_and_another_run_replaces_them() {
    let folder = folder();
    fs::write(folder.path().join("stub"), pe(1024)).unwrap();
    for words in ["a=1", "a=2 b=\"c d\""] {
        let arguments = ["--kernel", "vmlinuz-1.0", "--stub", "stub", "--cmdline", words];
        let output = mkcpio(folder.path(), &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |name: &str| fs::read(folder.path().join("new").join(name)).unwrap();
        for name in ["boot.ipxe", "pxelinux.cfg/default"] {
            assert!(String::from_utf8(read(name)).unwrap().contains(&format!(" {words}\n")), "{name}");
        }
        assert_eq!(read("kernel"), pe(0));
        let (image, initramfs) = (read("boot.efi"), read("initramfs"));
        for part in [words.as_bytes(), &initramfs, b".linux\0\0"] {
            assert!(image.windows(part.len()).any(|window| window == part));
        }
    }
    assert!(String::from_utf8(fs::read(folder.path().join("new/grub/grub.cfg")).unwrap()).unwrap().contains("'b=c d'"));
    let mut names: Vec<_> =
        fs::read_dir(folder.path().join("new")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["boot.efi", "boot.ipxe", "grub", "initramfs", "kernel", "pxelinux.cfg"]);
}

#[test]
fn what_no_boot_loader_starts_is_refused_and_leaves_nothing() {
    let folder = folder();
    fs::write(folder.path().join("full"), pe(0)).unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for (arguments, expected) in [
        (vec!["--kernel", "config-1.0"], "config-1.0: is no kernel with an EFI stub"),
        (vec!["--kernel", "missing"], "missing: No such file"),
        (vec!["--kernel", "vmlinuz-1.0", "--cmdline", "a=$b"], "--cmdline: '$' has another meaning"),
        (vec!["--kernel", "vmlinuz-1.0", "--stub", "config-1.0"], "config-1.0: is not systemd-stub"),
        (vec!["--kernel", "vmlinuz-1.0", "--stub", "full"], "full: has no room for five more section headers"),
        (vec!["--kernel", "vmlinuz-1.0", "--netboot", "file"], "cannot be used multiple times"),
        (vec!["--kernel", "vmlinuz-1.0", "-o", "x"], "cannot be used with"),
        (vec!["--kernel", "vmlinuz-1.0", "--seed"], "cannot be used with"),
    ] {
        let output = mkcpio(folder.path(), &arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(expected), "{arguments:?}: {message}");
        assert!(!folder.path().join("new").exists(), "{arguments:?}");
    }
}
