//! Images that mkcpio --rootfs refuses: one line, and no file.

use super::*;

#[test]
fn bad_input_is_one_line_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let good = archive::of(&[file("x", &[1; 5000])]);
    fs::write(at("good.tar"), &good).unwrap();
    fs::write(at("cut.tar"), &good[..good.len() - 2000]).unwrap();
    fs::write(at("empty.tar"), "").unwrap();
    fs::write(at("note.txt"), "this is no tar".repeat(100)).unwrap();
    fs::write(at("layers.tar"), archive::of(&[file("oci-layout", b"{}"), file("index.json", b"{}")])).unwrap();
    fs::write(at("link.tar"), archive::of(&[hard_link("a", "b/c")])).unwrap();
    fs::write(at("parent.tar"), archive::of(&[file("f", b""), file("f/x", b"")])).unwrap();
    fs::write(at("target.tar"), archive::of(&[archive::symlink("l", &"t".repeat(4096))])).unwrap();
    fs::write(at("name.tar"), archive::of(&[file(&"n".repeat(256), b"")])).unwrap();
    let mut device = member("dev", b'3', "", b"");
    device[329..337].copy_from_slice(b"0010000\0"); // 4096
    archive::seal(&mut device);
    fs::write(at("device.tar"), archive::of(&[device])).unwrap();
    let cut = run_well(Command::new("gzip").arg("-c").arg(at("good.tar")));
    fs::write(at("cut.tar.gz"), &cut[..cut.len() - 9]).unwrap();
    fs::write(at("bad.json"), "{").unwrap();
    fs::write(at("good.json"), r#"{"Cmd": ["x"]}"#).unwrap();
    fs::write(at("record"), "user u\n").unwrap();
    {
        let large = tempfile::tempdir().unwrap();
        File::create(large.path().join("large")).unwrap().set_len(1 << 32).unwrap();
        fs::write(at("large.tar"), archive::of_directory(large.path(), &["--format=gnu", "--sparse"])).unwrap();
    }
    let before = fs::read_dir(folder.path()).unwrap().count();
    for (arguments, expected) in [
        (&["--rootfs", "cut.tar"][..], "mkcpio: cut.tar: ends at byte "),
        (&["--rootfs", "empty.tar"], "mkcpio: empty.tar: is empty; "),
        (&["--rootfs", "-"], "mkcpio: standard input: is empty; "),
        (&["--rootfs", "note.txt"], "mkcpio: note.txt: is not a tar archive; "),
        (&["--rootfs", "absent.tar"], "mkcpio: absent.tar: No such file"),
        (&["--rootfs", "layers.tar"], "mkcpio: layers.tar: is an image in layers, as `docker save` makes it; "),
        (&["--rootfs", "link.tar"], "mkcpio: link.tar: a: is a hard link to b/c, which does not exist"),
        (&["--rootfs", "parent.tar"], "mkcpio: parent.tar: f/x: one of its parents is not a directory"),
        (&["--rootfs", "target.tar"], "mkcpio: target.tar: l: the symbolic link's target is longer than 4095 bytes"),
        (&["--rootfs", "name.tar"], "mkcpio: \"rootfs/nnn"),
        (&["--rootfs", "device.tar"], "mkcpio: the number of device \"rootfs/dev\" does not fit 12 bits"),
        (
            &["--rootfs", "large.tar"],
            "mkcpio: \"rootfs/large\" has 4294967296 bytes; a file in a cpio archive must be smaller than 4 GiB",
        ),
        (&["--rootfs", "cut.tar.gz"], "mkcpio: cut.tar.gz: cannot be read: "),
        (
            &["--rootfs", "good.tar", "--add", "record:/rootfs/etc/"],
            "mkcpio: /rootfs/etc/record cannot be added, because /rootfs",
        ),
        (
            &["--rootfs", "good.tar", "--add", "record:/rootfs.end"],
            "mkcpio: /rootfs.end cannot be added, because /rootfs",
        ),
        (&["--rootfs", "good.tar", "--config", "bad.json"], "mkcpio: bad.json: is not JSON"),
        (
            &["--config", "good.json", "--record", "record"],
            "mkcpio: record: is /whit.conf in the initramfs, and so is --config without --rootfs",
        ),
    ] {
        let output = mkcpio(folder.path(), arguments, b"");
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        assert!(message.starts_with(expected) && message.lines().count() == 1, "{arguments:?}: {message}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before, "{arguments:?} leaves a file");
    }
}

#[test]
fn a_folder_that_is_no_root_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    fs::write(layout.join("index.json"), "{\"schemaVersion\":2,\"manifests\":[]}").unwrap();
    let refused = |output: Output| {
        assert!(!output.status.success() && !folder.path().join("out.cpio").exists());
        String::from_utf8(output.stderr).unwrap()
    };
    let error = refused(mkcpio(folder.path(), &["--rootfs", "layout"], b""));
    assert!(error.starts_with("mkcpio: layout: is an image in layers"), "{error}");
    let command = |image: &str| {
        let mut command = Command::new(tool("mkcpio"));
        command.args(["-o", "out.cpio", "--init", BUSYBOX, "--rootfs", image]).current_dir(folder.path());
        command
    };
    let error = refused(command("-").stdin(File::open(&layout).unwrap()).output().unwrap());
    assert_eq!(error, "mkcpio: standard input: is a directory; give its name instead of -\n");
    let mut command = command("layout");
    let error = refused(command.env("PATH", "/nowhere").output().unwrap());
    assert!(error.starts_with("mkcpio: layout: tar: ") && error.ends_with("; GNU tar packs a folder\n"), "{error}");
    assert_eq!(error.lines().count(), 1);
}
