//! Containers of containerd as machines: Debian's containerd, with folders of its own, and its client `ctr`.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;
use whit_tests::deadline::{self, DEADLINE};
use whit_tests::whole::busybox_tar;
use whit_tests::write_program;
use xtask::workspace;

use super::engine::{processes, runtime_script, text};

/// The time between two questions to the server.
const PAUSE: Duration = Duration::from_millis(100);

/// A containerd, and a root of busybox's.
struct Containerd {
    folder: TempDir,
    /// containerd's own namespace; its runtime's state is in a folder of this name.
    namespace: String,
    server: Child,
}

impl Containerd {
    fn start() -> Self {
        let folder = tempfile::tempdir_in(workspace::target()).unwrap();
        let path = |name: &str| folder.path().join(name);
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{0}/socket\"\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{0}/opt\"\n",
            folder.path().display()
        );
        fs::write(path("config.toml"), config).unwrap();
        write_program(&path("runtime"), runtime_script("").as_bytes());
        fs::create_dir(path("rootfs")).unwrap();
        let tar = Command::new("tar").arg("-xf").arg(busybox_tar()).arg("-C").arg(path("rootfs")).status().unwrap();
        assert!(tar.success());
        let log = fs::File::create(path("log")).unwrap();
        let mut command = Command::new("containerd");
        command.arg("--config").arg(path("config.toml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let server = command.spawn().unwrap();
        let containerd = Self { folder, namespace: format!("whit-{}", std::process::id()), server };
        let begun = Instant::now();
        while containerd.ctr(&["version"]).0 != Some(0) {
            assert!(begun.elapsed() < DEADLINE, "{}", fs::read_to_string(containerd.path("log")).unwrap());
            sleep(PAUSE);
        }
        containerd
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ctr(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.path("socket")).args(["--namespace", &self.namespace]).args(words);
        text(deadline::output(command.stdin(Stdio::null())))
    }

    /// Runs a container.
    fn run(&self, options: &[&str], name: &str, script: &str) -> (Option<i32>, String, String) {
        let (runtime, root) = (self.path("runtime"), self.path("rootfs"));
        let before = ["run", "--rootfs", "--runc-binary", runtime.to_str().unwrap()];
        self.ctr(&[&before, options, &[root.to_str().unwrap(), name, "/bin/sh", "-c", script]].concat())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Its shims outlive it.
        processes(self.folder.path().to_str().unwrap()).into_iter().for_each(|(pid, _)| {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        });
        let _ = self.server.wait();
        // The roots of containers that a failure has left.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1));
        for point in points.filter(|point| PathBuf::from(point).starts_with(self.folder.path())) {
            let _ = unmount(point, UnmountFlags::DETACH);
        }
        let _ = fs::remove_dir_all(format!("/run/containerd/runc/{}", self.namespace));
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn containers_of_containerd_are_machines() {
    let containerd = Containerd::start();
    let (status, shown, errors) = containerd.run(&["--rm"], "one", "echo out; echo error >&2; exit 7");
    assert_eq!((status, shown.as_str(), errors.as_str()), (Some(7), "out\n", "error\n"));
    let options = ["--detach", "--memory-limit", "134217728", "--env", "A=1"];
    let (status, _, errors) = containerd.run(&options, "two", "trap 'exit 5' TERM; busybox sleep 1000 & wait");
    assert_eq!(status, Some(0), "{errors}");
    // A program beside the workload: it waits until the machine has booted.
    let exec =
        |id: &str, script: &str| containerd.ctr(&["task", "exec", "--exec-id", id, "two", "/bin/sh", "-c", script]);
    let script = "echo $A; busybox free -m | busybox awk '/Mem/ {print ($2 < 128)}'; exit 9";
    let (status, shown, errors) = exec("first", script);
    assert_eq!((status, shown.as_str()), (Some(9), "1\n1\n"), "{errors}");
    assert!(containerd.ctr(&["task", "ls"]).1.contains("RUNNING"));
    assert_eq!(containerd.ctr(&["task", "kill", "--signal", "TERM", "two"]).0, Some(0));
    let begun = Instant::now();
    while !containerd.ctr(&["task", "ls"]).1.contains("STOPPED") {
        assert!(begun.elapsed() < DEADLINE);
        sleep(PAUSE);
    }
    let (_, _, errors) = containerd.ctr(&["task", "rm", "two"]);
    assert!(errors.contains("task two exit with non-zero exit code 5"), "{errors}");
    assert_eq!(containerd.ctr(&["container", "rm", "two"]).0, Some(0));
    let left = fs::read_dir(format!("/run/containerd/runc/{}", containerd.namespace)).unwrap().count();
    assert_eq!(left, 0);
    let shims: Vec<_> = processes(" shim --report").into_iter().filter(|(_, line)| line.contains("/two")).collect();
    assert!(shims.is_empty(), "{shims:?}");
}
