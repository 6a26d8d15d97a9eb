//! Debian's kernels and programs for tests, fetched once and kept below `target/debian`.

use whit_tools::kernel::debian::{Error, Flavour, Kernel, Store};
use whit_tools::machine::Machine;
use xtask::workspace;

/// The cloud kernels that tests boot: with plain modules, and with compressed ones.
const SERIES: [&str; 2] = ["6.1", "6.12"];

/// Opens the store of fetched packages, which fetches the missing ones. It is locked for other threads and processes.
pub fn store() -> Store {
    store_for(Machine::HOST)
}

/// Opens the store of a machine's packages.
pub fn store_for(machine: Machine) -> Store {
    Store::open_for(&workspace::target().join("debian"), machine, |line| println!("{line}"))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Returns a kernel that every release of Debian offers in some version; `series` selects the version.
pub fn kernel(flavour: Flavour, series: Option<&str>) -> Kernel {
    store().kernel(flavour, series).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the cloud kernels that a test boots. With `WHIT_KERNELS=all` these are all that this Debian offers; otherwise it is one,
/// chosen by the test's name, so that all tests together boot each kernel.
pub fn cloud_kernels() -> Vec<Kernel> {
    let mut kernels = all_cloud_kernels();
    if std::env::var_os("WHIT_KERNELS").is_none_or(|kernels| kernels != "all") {
        // libtest names a test's thread after the test.
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let sum: usize = name.bytes().map(usize::from).sum();
        kernels = vec![kernels.swap_remove(sum % kernels.len())];
    }
    kernels
}

/// Returns the cloud kernels of both kinds that this Debian offers; a missing one is reported as skipped.
pub fn all_cloud_kernels() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    for series in SERIES {
        match store().kernel(Flavour::Cloud, Some(series)) {
            Ok(kernel) => kernels.push(kernel),
            Err(error @ Error::NotOffered(_)) => println!("skipped: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(!kernels.is_empty(), "apt offers no cloud kernel of {}", SERIES.join(" or "));
    kernels
}

/// Returns the kernel of the same version as a cloud kernel, of a variant that Debian names so: `rt-amd64`, `arm64-16k`.
pub fn variant(cloud: &Kernel, machine: Machine, variant: &str) -> Kernel {
    let (version, _) = cloud.release.split_once("-cloud-").expect("a cloud kernel");
    let release = format!("{version}-{variant}");
    let name = format!("linux-image-{release}");
    let mut store = store_for(machine);
    let package = store.package(&name).or_else(|_| store.package(&format!("{name}-unsigned")));
    let package = package.unwrap_or_else(|error| panic!("{error}"));
    let lib = if package.join("usr/lib/modules").exists() { "usr/lib" } else { "lib" }; // since Debian 13, before
    Kernel {
        vmlinuz: package.join(format!("boot/vmlinuz-{release}")),
        modules: package.join(format!("{lib}/modules/{release}")),
        release,
    }
}
