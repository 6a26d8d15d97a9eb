//! The oldest kernel that Debian offers: the README promises Linux 5.6 and later, and this is the nearest version in the archive.

use whit_tests::debian::store;
use whit_tests::whole::{Guest, alone, busybox_disk};
use whit_tools::kernel::debian::Flavour;

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_oldest_kernel_of_debian_runs_a_workload() {
    let series = store().oldest_series(Flavour::Cloud).unwrap();
    let kernel = store().kernel(Flavour::Cloud, Some(&series)).unwrap();
    let release = kernel.release.clone();
    let mut guest = Guest::start(&alone(&kernel, &busybox_disk()).append("entrypoint=/bin/busybox -- uname -r"));
    guest.line(&release);
    guest.line("whit: exit 0");
    guest.end();
}
