//! The images that runvm takes: folders, standard input, and names, from podman or from a registry of Debian's docker-registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use whit_tests::deadline::output;
use whit_tests::debian::kernel;
use whit_tests::whole::busybox_tar;
use whit_tests::{init, tool};
use whit_tools::kernel::debian::Flavour;
use xtask::workspace;

type Outcome = (Option<i32>, String, String);

/// A folder with a cache, and the programs that runvm finds.
struct Host {
    folder: TempDir,
    /// The network namespace.
    network: Option<Network>,
}

impl Host {
    /// Makes a host with these programs and QEMU.
    fn with(programs: &[&str]) -> Self {
        let folder = tempfile::tempdir_in(workspace::target()).unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        for program in [&["qemu-system-x86_64"], programs].concat() {
            let link = folder.path().join("bin").join(program);
            std::os::unix::fs::symlink(Path::new("/usr/bin").join(program), link).unwrap();
        }
        fs::write(
            folder.path().join("storage.conf"),
            format!(
                "[storage]\ndriver = \"vfs\"\ngraphroot = \"{0}/storage\"\nrunroot = \"{0}/run\"\n",
                folder.path().display()
            ),
        )
        .unwrap();
        Self { folder, network: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Some(network) = &self.network {
            // PATH is that of the host.
            command = Command::new("/bin/ip");
            command.args(["netns", "exec", &network.0, program]);
        }
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"));
        command.env("HOME", self.folder.path());
        command
    }

    /// Runs a program that succeeds.
    fn well(&self, program: &str, arguments: &[&str]) -> String {
        let (status, shown, errors) = text(self.command(program).args(arguments));
        assert_eq!(status, Some(0), "{program} {arguments:?}: {errors}");
        shown
    }

    /// Returns a command of runvm for an image.
    fn runvm(&self, options: &[&str], image: &str) -> Command {
        let kernel = kernel(Flavour::Cloud, None);
        let mut command = self.command(tool("runvm").to_str().unwrap());
        command.arg("--kernel").arg(&kernel.vmlinuz).arg("--modules").arg(&kernel.modules).arg("--init").arg(init());
        command.args(["--accel", "tcg", "--nic", "none"]).args(options).arg(image);
        command.args(["/bin/busybox", "echo", "hello"]);
        command.env("WHIT_CACHE", self.path("cache")).env("PATH", self.path("bin"));
        command
    }

    fn run(&self, options: &[&str], image: &str) -> Outcome {
        text(&mut self.runvm(options, image))
    }
}

fn text(command: &mut Command) -> Outcome {
    let output = output(command);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What a run says that writes nothing else.
fn hello() -> Outcome {
    (Some(0), "hello\n".to_owned(), String::new())
}

/// A network namespace.
struct Network(String);

impl Network {
    fn new(name: &str) -> Self {
        let network = Self(format!("whit-names-{name}-{}", std::process::id()));
        for line in [format!("netns add {}", network.0), format!("-n {} link set lo up", network.0)] {
            assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "ip {line}");
        }
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A registry on the loopback interface of a host's namespace.
struct Registry(Child);

impl Registry {
    fn start(host: &Host) -> Self {
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:5000}}\n",
            host.path("registry").display()
        );
        fs::write(host.path("registry.yml"), config).unwrap();
        let mut command = host.command("docker-registry");
        command.args(["serve", "registry.yml"]).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self(command.spawn().unwrap());
        let wait =
            ["--silent", "--fail", "--retry", "60", "--retry-all-errors", "--retry-delay", "1", "--max-time", "60"];
        host.well("curl", &[&wait[..], &["http://127.0.0.1:5000/v2/"]].concat());
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_folder_and_standard_input_are_images() {
    let host = Host::with(&["tar"]);
    let root = host.path("root");
    fs::create_dir(&root).unwrap();
    host.well("tar", &["-xf", busybox_tar().to_str().unwrap(), "-C", "root"]);
    assert_eq!(host.run(&[], "root"), hello());
    let disks = || fs::read_dir(host.path("cache")).unwrap().flatten().filter(|entry| is_disk(&entry.path())).count();
    assert_eq!((host.run(&[], "root"), disks()), (hello(), 1));
    // A file changes: the disk is made again.
    fs::write(root.join("new"), "").unwrap();
    assert_eq!((host.run(&[], "root"), disks()), (hello(), 2));
    // From memory, too.
    assert_eq!((host.run(&["--no-disk"], "root"), disks()), (hello(), 2));
    let mut command = host.runvm(&[], "-");
    let tar = fs::File::open(busybox_tar()).unwrap();
    assert_eq!(text(command.stdin(tar)), hello());
    let left = fs::read_dir(host.path("cache")).unwrap().flatten();
    let left: Vec<_> =
        left.map(|entry| entry.file_name()).filter(|name| name.to_str().unwrap().starts_with("whit-")).collect();
    assert_eq!(left, [""; 0]);
    let (status, _, errors) = host.run(&["-i"], "-");
    assert_eq!((status, errors.contains("standard input is the image")), (Some(125), true), "{errors}");
}

fn is_disk(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_str().unwrap().starts_with("disk-"))
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_name_is_an_image_of_podmans() {
    let host = Host::with(&["podman"]);
    let option = "CMD [\"/bin/busybox\", \"echo\", \"hello\"]";
    host.well("podman", &["import", "--change", option, busybox_tar().to_str().unwrap(), "busy:1"]);
    assert_eq!(host.run(&[], "busy:1"), hello());
    // Its archive is kept by its ID.
    assert_eq!(host.run(&["--pull", "never"], "localhost/busy:1"), hello());
    let archives = fs::read_dir(host.path("cache")).unwrap().flatten();
    assert_eq!(archives.filter(|entry| entry.file_name().to_str().unwrap().starts_with("image-")).count(), 1);
    let (status, _, errors) = host.run(&["--pull", "never"], "other");
    let line = "runvm: other: no such file, and no image in podman or the cache; --pull never asks no registry\n";
    assert_eq!((status, errors.as_str()), (Some(125), line));
}

/// Makes a host with these programs, and a registry in its network namespace, which they know.
fn with_registry(programs: &[&str]) -> (Host, Registry) {
    let mut host = Host::with(programs);
    host.network = Some(Network::new(programs[0]));
    let folder = host.path(".config/containers");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("registries.conf"), "[[registry]]\nlocation = \"127.0.0.1:5000\"\ninsecure = true\n")
        .unwrap();
    let registry = Registry::start(&host);
    (host, registry)
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_name_is_an_image_that_podman_pulls() {
    let (host, registry) = with_registry(&["podman"]);
    let source = format!("tarball:{}", busybox_tar().display());
    host.well("skopeo", &["copy", "--quiet", &source, "docker://127.0.0.1:5000/busy:1"]);
    let name = "127.0.0.1:5000/busy:1";
    let fetched = format!("runvm: fetching the image {name}\n");
    assert_eq!(host.run(&[], name), (Some(0), "hello\n".to_owned(), fetched.clone()));
    assert_eq!(host.run(&[], name), hello());
    assert_eq!(host.run(&["--pull", "always"], name), (Some(0), "hello\n".to_owned(), fetched));
    let (status, _, errors) = host.run(&[], "127.0.0.1:5000/none");
    assert_eq!((status, errors.lines().count()), (Some(125), 2), "{errors}");
    assert!(errors.contains("runvm: 127.0.0.1:5000/none: no such file, and no image: podman: "), "{errors}");
    assert!(errors.contains("manifest unknown"), "{errors}");
    // podman has the image without the registry.
    drop(registry);
    assert_eq!(host.run(&[], name), hello());
}

/// Debian's docker starts no server here: this program stands in for it. It writes its arguments to a file, has an image once it was
/// pulled, and saves an archive of skopeo's in docker's form.
const DOCKER: &str = r#"#!/bin/sh
cd "${0%/*}/.." && printf '%s\n' "$*" >>docker.log
case "$1 $2" in
"image inspect") [ -e pulled ] && echo "sha256:1234 linux/$(/bin/cat platform)" ;;
"pull --quiet") : >pulled ;;
"save --") exec /bin/cat docker.tar ;;
esac
"#;

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_name_is_an_image_that_a_stand_in_for_docker_pulls_and_saves() {
    let host = Host::with(&[]);
    whit_tests::write_program(&host.path("bin/docker"), DOCKER.as_bytes());
    fs::write(host.path("platform"), "amd64").unwrap();
    let source = format!("tarball:{}", busybox_tar().display());
    host.well("skopeo", &["copy", "--quiet", &source, "docker-archive:docker.tar:busy:1"]);
    let fetched = (Some(0), "hello\n".to_owned(), "runvm: fetching the image busy:1\n".to_owned());
    assert_eq!((host.run(&[], "busy:1"), host.run(&[], "busy:1")), (fetched, hello()));
    let inspect = "image inspect --format {{.Id}} {{.Os}}/{{.Architecture}} -- busy:1\n";
    // Its archive is in the cache for the second run.
    let expected =
        format!("{inspect}pull --quiet --platform=linux/amd64 busy:1\n{inspect}save -- sha256:1234\n{inspect}");
    assert_eq!(fs::read_to_string(host.path("docker.log")).unwrap(), expected);
    // An image for another machine is none.
    fs::write(host.path("platform"), "arm64").unwrap();
    let (status, _, errors) = host.run(&["--pull", "never"], "busy:1");
    let line = "runvm: busy:1: no such file, and no image in docker or the cache; --pull never asks no registry\n";
    assert_eq!((status, errors.as_str()), (Some(125), line));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_name_is_an_image_of_a_registry() {
    let (host, registry) = with_registry(&["skopeo"]);
    let source = format!("tarball:{}", busybox_tar().display());
    for tag in ["1", "2"] {
        host.well("skopeo", &["copy", "--quiet", &source, &format!("docker://127.0.0.1:5000/busy:{tag}")]);
    }
    let fetched =
        |name: &str| (Some(0), "hello\n".to_owned(), format!("runvm: fetching the image 127.0.0.1:5000/{name}\n"));
    assert_eq!(host.run(&[], "127.0.0.1:5000/busy:1"), fetched("busy:1"));
    // Its blobs are named by their digests, and those that are there are not fetched again.
    let blobs = || {
        let blobs = fs::read_dir(host.path("cache/images/blobs/sha256")).unwrap().map(|blob| blob.unwrap().path());
        let mut blobs: Vec<_> =
            blobs.map(|path| (path.clone(), path.metadata().unwrap().modified().unwrap())).collect();
        blobs.sort();
        blobs
    };
    let before = blobs();
    for (path, _) in &before {
        let sum = host.well("sha256sum", &[path.to_str().unwrap()]);
        assert!(sum.starts_with(path.file_name().unwrap().to_str().unwrap()), "{sum}");
    }
    assert_eq!(host.run(&[], "127.0.0.1:5000/busy:2"), fetched("busy:2"));
    let layer = |blobs: &[(PathBuf, std::time::SystemTime)]| {
        blobs.iter().max_by_key(|(path, _)| path.metadata().unwrap().len()).unwrap().clone()
    };
    assert_eq!(layer(&blobs()), layer(&before));
    let (status, _, errors) = host.run(&[], "127.0.0.1:5000/none");
    assert_eq!((status, errors.lines().count()), (Some(125), 2), "{errors}");
    assert!(errors.contains("runvm: 127.0.0.1:5000/none: no such file, and no image: skopeo: "), "{errors}");
    assert!(errors.contains("manifest unknown"), "{errors}");
    // Without the registry.
    drop(registry);
    assert_eq!(host.run(&[], "127.0.0.1:5000/busy:1"), hello());
    let (status, _, errors) = host.run(&["--pull", "always"], "127.0.0.1:5000/busy:1");
    assert_eq!((status, errors.contains("connection refused")), (Some(125), true), "{errors}");
    // One disk for each manifest, however often it is used.
    let count = |folder: &str, start: &str| {
        let entries = fs::read_dir(host.path(folder)).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with(start)).count()
    };
    assert_eq!(count("cache", "disk-"), count("cache/images", "sha256-"));
    let left = fs::read_dir(host.path("cache/images")).unwrap().flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_str().unwrap().starts_with("whit-")));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_name_without_an_engine_is_one_clear_line() {
    let (status, shown, errors) = Host::with(&[]).run(&[], "busybox:latest");
    let line = "runvm: busybox:latest: no such file, and no podman, docker or skopeo that could have an image of that name; on \
                Debian: apt-get install skopeo\n";
    assert_eq!((status, shown.as_str(), errors.as_str()), (Some(125), "", line));
}
