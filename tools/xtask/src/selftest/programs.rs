//! The programs that the tests need, and their installation.

use std::process::{Command, Stdio};

use whit_tools::machine::Machine;
use whit_tools::programs::{self, Program, QEMU};
use xtask::init::Toolchain;
use xtask::workspace;

use crate::steps::Tier;

/// The programs of other projects that the tests run; by a file of the package where none is in PATH.
const PROGRAMS: [Program; 44] = [
    QEMU,
    Machine::Aarch64.qemu(),
    Program { name: "/usr/lib/podman/aardvark-dns", package: "aardvark-dns" },
    Program { name: "/usr/lib/podman/netavark", package: "netavark" },
    // The package's only files are in a folder with Python's version.
    Program { name: "/var/lib/dpkg/info/python3-venv.list", package: "python3-venv" },
    Program { name: "bsdtar", package: "libarchive-tools" },
    Program { name: "buildah", package: "buildah" },
    Program { name: "busybox", package: "busybox-static" },
    Program { name: "bzip2", package: "bzip2" },
    Program { name: "catatonit", package: "catatonit" },
    Program { name: "containerd", package: "containerd" },
    Program { name: "cpio", package: "cpio" },
    Program { name: "curl", package: "curl" },
    Program { name: "dnsmasq", package: "dnsmasq-base" },
    Program { name: "docker-registry", package: "docker-registry" },
    Program { name: "e2fsck", package: "e2fsprogs" },
    Program { name: "gdisk", package: "gdisk" },
    Program { name: "go", package: "golang-go" },
    Program { name: "ip", package: "iproute2" },
    Program { name: "iptables", package: "iptables" },
    Program { name: "lz4", package: "lz4" },
    Program { name: "minisign", package: "minisign" },
    Program { name: "mkfs.btrfs", package: "btrfs-progs" },
    Program { name: "mkfs.erofs", package: "erofs-utils" },
    Program { name: "mkfs.f2fs", package: "f2fs-tools" },
    Program { name: "mkfs.vfat", package: "dosfstools" },
    Program { name: "mkfs.xfs", package: "xfsprogs" },
    Program { name: "mksquashfs", package: "squashfs-tools" },
    Program { name: "modinfo", package: "kmod" },
    Program { name: "mount", package: "mount" },
    Program { name: "openssl", package: "openssl" },
    Program { name: "podman", package: "podman" },
    Program { name: "python3", package: "python3" },
    Program { name: "rpmbuild", package: "rpm" },
    Program { name: "sfdisk", package: "fdisk" },
    Program { name: "skopeo", package: "skopeo" },
    Program { name: "strace", package: "strace" },
    Program { name: "umoci", package: "umoci" },
    Program { name: "unshare", package: "util-linux" },
    Program { name: "veritysetup", package: "cryptsetup-bin" },
    Program { name: "virt-xml-validate", package: "libvirt-clients" },
    Program { name: "xmllint", package: "libxml2-utils" },
    Program { name: "xz", package: "xz-utils" },
    Program { name: "zstd", package: "zstd" },
];

/// Installs missing programs, so that no test fails for lack of one.
pub(crate) fn prepare(tier: Tier) -> Result<(), String> {
    for tool in ["fmt", "clippy"] {
        let installed =
            workspace::cargo().args([tool, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !installed.is_ok_and(|status| status.success()) {
            return Err(format!("cargo {tool} is not installed: rustup component add rustfmt clippy"));
        }
    }
    if tier == Tier::Quick {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err("the tests in namespaces and machines need root; --quick leaves them out".into());
    }
    programs::install(&PROGRAMS, |line| println!("{line}"))?;
    prepare_aarch64()
}

/// Installs Debian's compiler for aarch64, unless another one has the standard library: the command of docs/aarch64.md.
fn prepare_aarch64() -> Result<(), String> {
    const INSTALL: &str = "dpkg --add-architecture arm64 && apt-get --quiet --quiet update && apt-get --quiet --quiet install --yes \
        --no-install-recommends rustc-web cargo-web libstd-rust-web-dev:arm64 lld";
    let Err(error) = Toolchain::of(Machine::Aarch64.triple()) else { return Ok(()) };
    println!("installing a compiler for aarch64");
    let status = Command::new("sh").args(["-c", INSTALL]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    if status.is_ok_and(|status| status.success()) { Ok(()) } else { Err(error) }
}
