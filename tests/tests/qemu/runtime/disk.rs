//! A machine without virtiofs: its root is a disk.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use whit_tests::deadline::DEADLINE;
use whit_tests::debian::kernel;
use whit_tests::whole::busybox_tar;
use whit_tests::{init, tool};
use whit_tools::kernel::debian::Flavour;
use xtask::workspace;

use super::engine::{Engine, text};

/// Ends the machine of a test that has failed.
struct Ending<'a>(&'a Engine);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let _ = Command::new(self.0.runtime()).args(["delete", "--force", "a"]).output();
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn without_virtiofs_the_root_is_a_disk() {
    let engine = Engine::new();
    let _ending = Ending(&engine);
    let kernel = kernel(Flavour::Cloud, None);
    // A kernel whose modules are without that of virtiofs, as a file or built in.
    fs::create_dir(engine.path("modules")).unwrap();
    let modules = engine.path("modules").join(kernel.modules.file_name().unwrap());
    let script =
        "cp -a \"$1\" \"$2\"; find \"$2\" -name 'virtiofs.ko*' -delete; sed -i /virtiofs/d \"$2\"/modules.builtin";
    let made = Command::new("sh").args(["-ec", script, "sh"]).arg(&kernel.modules).arg(&modules).status().unwrap();
    assert!(made.success());
    let bundle = engine.path("bundle");
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    let tar = Command::new("tar").arg("-xf").arg(busybox_tar()).arg("-C").arg(bundle.join("rootfs")).status().unwrap();
    assert!(tar.success());
    fs::write(bundle.join("hosts"), "10.0.0.1 other\n").unwrap();
    let write = |destination: &str, source: &str, read_only: bool| {
        let script = "busybox cat /etc/hosts; busybox awk '$2 == \"/\" {print $3}' /proc/mounts; busybox df -m / | busybox awk 'NR == 2 {print ($4 > 3000)}'; echo x >/new && echo written; exit 6";
        let config = serde_json::json!({
            "ociVersion": "1.0.2", "root": { "path": "rootfs", "readonly": read_only },
            "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["/bin/sh", "-c", script] },
            "mounts": [{ "destination": destination, "type": "bind", "source": source, "options": ["bind"] }],
            "linux": { "namespaces": [{ "type": "network" }] },
        });
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    };
    let runtime = |words: &[&str]| {
        let mut command = Command::new(tool("whit-runtime"));
        command.env("WHIT_CACHE", workspace::target().join("tests-cache")).current_dir(&bundle).stdin(Stdio::null());
        command.arg("--root").arg(engine.root()).arg("--kernel").arg(&kernel.vmlinuz).arg("--modules").arg(&modules);
        command.arg("--init").arg(init()).args(["--accel", "tcg"]).args(words);
        // The machine has the streams of `create`.
        command.stdout(fs::File::create(bundle.join("out")).unwrap());
        command.stderr(fs::File::create(bundle.join("errors")).unwrap());
        let status = command.status().unwrap();
        (status.code(), fs::read_to_string(bundle.join("errors")).unwrap())
    };
    let run = |read_only: bool| {
        write("/etc/hosts", "hosts", read_only);
        let (status, errors) = runtime(&["create", "a"]);
        assert_eq!(status, Some(0), "{errors}");
        let script = Command::new(engine.runtime()).args(["start", "a"]).status().unwrap();
        assert!(script.success());
        let state = || text(Command::new(engine.runtime()).args(["state", "a"]).output().unwrap()).1;
        let begun = Instant::now();
        while !state().contains("\"stopped\"") {
            assert!(begun.elapsed() < DEADLINE);
            sleep(Duration::from_millis(100));
        }
        assert!(Command::new(engine.runtime()).args(["delete", "a"]).status().unwrap().success());
        let read = |name: &str| fs::read_to_string(bundle.join(name)).unwrap();
        (read("out"), read("errors"))
    };
    let line = format!(
        "whit-runtime: {}: the kernel has no virtiofs (CONFIG_VIRTIO_FS): the root is a disk of the machine's own\n",
        kernel.vmlinuz.display()
    );
    let (shown, errors) = run(false);
    assert_eq!((shown.as_str(), errors.as_str()), ("10.0.0.1 other\next4\n1\nwritten\n", line.as_str()));
    assert!(!bundle.join("rootfs/new").exists());
    let (shown, errors) = run(true);
    assert_eq!(shown, "10.0.0.1 other\next4\n1\n");
    assert!(errors.starts_with(&line) && errors.contains("/new: Read-only file system"), "{errors}");
    write("/data", ".", false);
    let (status, errors) = runtime(&["create", "a"]);
    assert_eq!((status, errors.lines().count()), (Some(1), 1), "{errors}");
    assert!(errors.ends_with(": a machine without virtiofs has no folders of its host\n"), "{errors}");
    assert_eq!(engine.left(), 0);
}
