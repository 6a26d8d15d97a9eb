//! mkcpio takes modules from an .rpm as from a .deb. rpmbuild and dpkg-deb make both packages of Debian's kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use whit_tests::deadline::Deadline;
use whit_tests::terminal::{read_until, resize, terminal};
use whit_tests::{debian, tool, use_standard_umask};
use whit_tools::kernel::debian::Flavour;

/// A static program; Debian's package busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// The compressions of a payload by rpmbuild (rpm's macros.in, _binary_payload), and the name that the package has for each.
const PAYLOADS: [(&str, &str); 6] = [
    ("w0.ufdio", "(none)"),
    ("w1.gzdio", "gzip"),
    ("w1.xzdio", "xz"),
    ("w1.zstdio", "zstd"),
    ("w1.bzdio", "bzip2"),
    ("w1.lzdio", "lzma"),
];

/// A package of a folder's files.
const SPEC: &str = "Name: kernel\nVersion: 1\nRelease: 1\nSummary: a kernel\nLicense: GPL-2.0-only\nAutoReqProv: no\n\
                    %description\nA kernel.\n%install\ncp -a %{from}/. %{buildroot}\n%files\n/\n";

/// Runs a program that must succeed; returns its output.
fn run(program: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).env_remove("SOURCE_DATE_EPOCH").output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; cargo selftest installs it"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Modules that no virtual machine needs, left out to save time: the others are compressed six times.
const LEFT_OUT: [&str; 4] = ["drivers/infiniband", "drivers/media", "drivers/net/ethernet", "net/netfilter"];

/// Makes a folder with `tree`: modules of Debian's kernel as in its package, one of them with a second name elsewhere.
fn folder() -> (tempfile::TempDir, String) {
    use_standard_umask();
    let kernel = debian::kernel(Flavour::Cloud, Some("6.12"));
    let folder = tempfile::tempdir().unwrap();
    let modules = folder.path().join("tree/lib/modules");
    fs::create_dir_all(&modules).unwrap();
    run("cp", &["-a", kernel.modules.to_str().unwrap(), modules.to_str().unwrap()], folder.path());
    for left_out in LEFT_OUT {
        fs::remove_dir_all(modules.join(&kernel.release).join("kernel").join(left_out)).unwrap();
    }
    // rpm stores the content with the name that sorts last, which is not the module's.
    let modules = modules.join(&kernel.release);
    let module = run("find", &[".", "-name", "virtio_blk.ko*"], &modules);
    fs::create_dir_all(folder.path().join("tree/usr/share")).unwrap();
    fs::hard_link(modules.join(module.trim()), folder.path().join("tree/usr/share/linked")).unwrap();
    std::os::unix::fs::symlink("/usr/src", modules.join("build")).unwrap();
    (folder, kernel.release)
}

/// Makes a package of the files below `tree`.
fn rpm(folder: &Path, tree: &str, payload: &str) -> PathBuf {
    fs::write(folder.join("kernel.spec"), SPEC).unwrap();
    let (top, from) = (folder.join("rpmbuild"), folder.join(tree));
    let definitions = [
        format!("_topdir {}", top.display()),
        format!("from {}", from.display()),
        format!("_binary_payload {payload}"),
        format!("_rpmfilename {tree}.rpm"),
        "_build_id_links none".to_owned(),
        // Nothing is stripped.
        "__os_install_post %{nil}".to_owned(),
    ];
    let definitions = definitions.iter().flat_map(|definition| ["--define", definition]);
    let arguments: Vec<&str> = ["-bb", "--quiet"].into_iter().chain(definitions).chain(["kernel.spec"]).collect();
    run("rpmbuild", &arguments, folder);
    top.join("RPMS").join(tree).with_extension("rpm")
}

fn deb(folder: &Path) -> PathBuf {
    let root = folder.join("tree");
    fs::create_dir(root.join("DEBIAN")).unwrap();
    let control = "Package: kernel\nVersion: 1\nArchitecture: amd64\nMaintainer: nobody <>\nDescription: a kernel\n";
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    run("dpkg-deb", &["-Znone", "--build", "tree", "kernel.deb"], folder);
    fs::remove_dir_all(root.join("DEBIAN")).unwrap();
    folder.join("kernel.deb")
}

fn initramfs(folder: &Path, packages: &[&Path]) -> Vec<u8> {
    let from: Vec<&str> = packages.iter().map(|package| package.to_str().unwrap()).collect();
    let packages = from.iter().flat_map(|package| ["--modules", package]);
    let arguments = ["-o", "out", "--init", BUSYBOX, "--for", "virtio,xfs", "--report"];
    let arguments: Vec<&str> = arguments.into_iter().chain(packages).collect();
    let said = run(tool("mkcpio").to_str().unwrap(), &arguments, folder);
    assert!(said.contains("modules loaded by device or on demand: ") && said.contains(&from.join(", ")), "{said}");
    fs::read(folder.join("out")).unwrap()
}

#[test]
#[ignore = "needs Debian's archive: cargo selftest runs it"]
fn every_payload_of_rpmbuild_gives_the_initramfs_that_the_deb_gives() {
    let (folder, release) = folder();
    let expected = initramfs(folder.path(), &[&deb(folder.path())]);
    let names = run(tool("mkcpio").to_str().unwrap(), &["list", "--names", "out"], folder.path());
    assert!(names.contains("virtio_blk.ko") && names.contains("xfs.ko"), "{release}: {names}");
    for (payload, name) in PAYLOADS {
        let package = rpm(folder.path(), "tree", payload);
        let output = run("rpm", &["-qp", "--qf", "%{PAYLOADCOMPRESSOR}", package.to_str().unwrap()], folder.path());
        assert_eq!(output, name, "{payload}");
        assert!(initramfs(folder.path(), &[&package]) == expected, "{payload}");
    }
    // In two packages, as in Fedora: the lists of modules, and the modules.
    let (core, modules) = (folder.path().join("core/lib/modules").join(&release), Path::new("tree/lib/modules"));
    fs::create_dir_all(&core).unwrap();
    let (core, modules) = (core.to_str().unwrap(), modules.join(&release));
    run("sh", &["-ec", &format!("mv {}/modules.* {core}", modules.display())], folder.path());
    let parts = ["core", "tree"].map(|tree| rpm(folder.path(), tree, "w1.zstdio"));
    assert!(initramfs(folder.path(), &[&parts[0], &parts[1]]) == expected);
    assert!(initramfs(folder.path(), &[&parts[1], &parts[0]]) == expected);
}

mod long {
    use super::*;

    #[test]
    #[ignore = "fetches Debian's kernel and takes a minute: cargo selftest -- --long runs it"]
    fn a_file_of_4_gib_in_the_package_changes_its_format_and_not_the_initramfs() {
        let (folder, _) = folder();
        let expected = initramfs(folder.path(), &[&deb(folder.path())]);
        let huge = fs::File::create(folder.path().join("tree/usr/huge")).unwrap();
        huge.set_len(1 << 32).unwrap();
        let package = rpm(folder.path(), "tree", "w1.zstdio");
        let needs = run("rpm", &["-qp", "--requires", package.to_str().unwrap()], folder.path());
        assert!(needs.contains("rpmlib(LargeFiles)"), "{needs}");
        assert!(initramfs(folder.path(), &[&package]) == expected);
        // It takes long and shows its progress.
        let (ours, theirs) = terminal();
        resize(&ours, 24, 80);
        let mut mkcpio = Command::new(tool("mkcpio"));
        mkcpio.args(["--dry-run", "--init", BUSYBOX, "--for", "virtio", "--modules"]).arg(package);
        let mut child = mkcpio.stdout(Stdio::null()).stderr(theirs).spawn().unwrap();
        let deadline = Deadline::of(&child);
        let mut output = String::new();
        for words in [" of ", " files, ", " left"] {
            read_until(&ours, &mut output, words);
        }
        drop(deadline);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
