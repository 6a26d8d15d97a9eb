//! The script of a release's archive.

use std::fs;

use whit_tests::documents::{Scratch, Tier};
use xtask::workspace;

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_script_of_the_archive_boots_an_image_with_options() {
    let scratch = Scratch::new(Tier::Qemu);
    fs::copy(workspace::root().join("tools/xtask/src/dist/try"), scratch.path("try")).unwrap();
    let shown = scratch.run("try", "./try web.tar --config web.json --hostname tried --entrypoint /bin/hostname");
    assert!(shown.contains("tried\n"), "{shown}");
    let shown = scratch.run("try", "! ./try nowhere.tar");
    assert_eq!(shown, "try: nowhere.tar: no such file\n");
}
