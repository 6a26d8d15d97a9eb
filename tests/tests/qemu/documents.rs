//! The commands of the documentation that need a machine, a test for each page.

use whit_tests::documents::{Tier, run};

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
