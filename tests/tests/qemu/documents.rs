//! The commands of the documentation that need a machine, a test for each page.

use std::fs::File;

use rustix::fs::{FlockOperation, flock};
use whit_tests::documents::{Scratch, Tier, run};

macro_rules! pages {
    ($($name:ident $page:literal $tier:ident)*) => {
        $(
            #[test]
            #[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
            fn $name() {
                run($page, Tier::$tier);
            }
        )*
    };
}

#[test]
#[ignore = "needs root and Debian's archive: cargo selftest runs it"]
fn a_program_that_a_block_leaves_ends_with_it() {
    let scratch = Scratch::new(Tier::Qemu);
    // The program inherits the lock.
    let shown = scratch.run("here", "exec 9>held; flock 9; setsid sleep 1000 >/dev/null 2>&1 & echo left");
    assert_eq!(shown, "left\n");
    let held = File::open(scratch.path("held")).unwrap();
    assert_eq!(flock(&held, FlockOperation::NonBlockingLockExclusive), Ok(()));
}

pages! {
    readme "README.md" Qemu
    configuration "docs/configuration.md" Qemu
    docker "docs/docker.md" Qemu
    boot "docs/boot.md" Qemu
    mkraw "docs/mkraw.md" Qemu
    mkcpio "docs/mkcpio.md" Qemu
    runvm "docs/runvm.md" Qemu
    network "docs/network.md" Qemu
    provisioning "docs/provisioning.md" Qemu
    netboot_installer "examples/netboot-installer/README.md" Qemu
}
