//! Packages fetched from Debian's archive: they have the files that the demo and the machine tests need.

use std::process::{Command, Output};
use std::sync::Mutex;

use whit_tests::debian::{all_cloud_kernels, kernel, store};
use whit_tools::kernel::debian::{Flavour, Store};
use xtask::images;

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
#[ignore = "needs Debian's archive: cargo selftest runs it"]
fn each_kernel_comes_with_its_modules() {
    let mut kernels: Vec<_> = all_cloud_kernels()
        .into_iter()
        .map(|kernel| (kernel, "-cloud-amd64", "kernel/drivers/net/virtio_net.ko"))
        .collect();
    let e1000 = "kernel/drivers/net/ethernet/intel/e1000/e1000.ko";
    kernels.push((kernel(Flavour::Generic, None), "-amd64", e1000));
    for (kernel, suffix, module) in kernels {
        assert!(kernel.release.ends_with(suffix), "{}", kernel.release);
        // Documentation/arch/x86/boot.rst: "HdrS" at 0x202.
        assert_eq!(std::fs::read(&kernel.vmlinuz).unwrap()[0x202..0x206], *b"HdrS");
        let module = kernel.modules.join(module);
        assert!(module.is_file() || module.with_extension("ko.xz").is_file(), "{}", module.display());
    }
}

#[test]
#[ignore = "needs Debian's archive: cargo selftest runs it"]
fn a_package_that_is_not_offered_is_an_error_after_new_lists_are_fetched() {
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), |line| LINES.lock().unwrap().push(line.to_owned())).unwrap();
    for _ in 0..2 {
        let error = store.kernel(Flavour::Cloud, Some("2.4")).unwrap_err().to_string();
        assert_eq!(error, "apt offers no linux-image-2.4.*-cloud-amd64");
    }
    assert_eq!(*LINES.lock().unwrap(), ["fetching package lists"]);
    assert!(!folder.path().join("apt").exists(), "lists without the package are not kept");
}

#[test]
#[ignore = "needs Debian's archive: cargo selftest runs it"]
fn busybox_runs_without_libraries() {
    let busybox = store().busybox().unwrap();
    assert_eq!(run(busybox.to_str().unwrap(), &["echo", "whole"]).stdout, b"whole\n");
}

#[test]
#[ignore = "needs root and Debian's archive: cargo selftest runs it"]
fn the_nginx_tar_is_a_root_that_nginx_accepts() {
    let tar = images::nginx::tar(&mut store()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    run("tar", &["--extract", "--file", tar.to_str().unwrap(), "--directory", root.to_str().unwrap()]);
    let checked = run("chroot", &[root.to_str().unwrap(), "/usr/sbin/nginx", "-t"]);
    let output = String::from_utf8(checked.stderr).unwrap();
    assert!(output.contains("configuration file /etc/nginx/nginx.conf test is successful"), "{output}");
    let page = std::fs::read_to_string(root.join("var/www/html/index.html")).unwrap();
    assert!(page.contains("Welcome to nginx!"));
}

#[test]
#[ignore = "needs Debian's archive: cargo selftest runs it"]
fn the_nginx_tar_looks_like_an_export() {
    let tar = images::nginx::tar(&mut store()).unwrap();
    let listing = run("tar", &["--list", "--verbose", "--numeric-owner", "--file", tar.to_str().unwrap()]).stdout;
    let listing = String::from_utf8(listing).unwrap();
    let entries: Vec<Vec<&str>> = listing.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(entries.iter().all(|entry| entry[1] == "0/0"), "root owns everything");
    assert!(entries.iter().all(|entry| !entry[5].starts_with(['.', '/']) || entry[5] == ".dockerenv"));
    let has = |mode: &str, size: &str, name: &str| {
        entries
            .iter()
            .any(|entry| entry[0] == mode && (size.is_empty() || entry[2] == size) && entry[5..].join(" ") == name)
    };
    for (mode, size, name) in [
        ("-rw-r--r--", "0", ".dockerenv"),
        ("-rw-r--r--", "0", "dev/console"),
        ("-rw-r--r--", "0", "etc/hosts"),
        ("-rw-r--r--", "0", "etc/resolv.conf"),
        ("drwxr-xr-x", "0", "proc/"),
        ("drwxrwxrwt", "0", "tmp/"),
        ("lrwxrwxrwx", "0", "bin -> usr/bin"),
        ("lrwxrwxrwx", "0", "lib64 -> usr/lib64"),
        ("-rwxr-xr-x", "", "usr/sbin/nginx"),
    ] {
        assert!(has(mode, size, name), "{mode} {size} {name} in\n{listing}");
    }
    let names: Vec<&str> = entries.iter().map(|entry| entry[5].split('/').next().unwrap()).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert!(tar.metadata().unwrap().len() > 10_000_000);
}
