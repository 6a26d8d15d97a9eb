//! Machines with a second terminal: who hears what the init says, and who may speak with whom.

use whit_tests::debian::cloud_kernels;
use whit_tests::whole::{Guest, alone, busybox_disk, said};

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn what_the_init_says_reaches_every_console_once() {
    for kernel in cloud_kernels() {
        // The last one is /dev/console; /dev/vcs1 is what the screen of the other shows.
        let command = alone(&kernel, &busybox_disk()).append(
            "console=tty0 console=ttyS0 entrypoint=/bin/sh -- -c \"/bin/busybox fold -w 80 /dev/vcs1; exit 7\"",
        );
        let mut guest = Guest::start(&command);
        let console = guest.end();
        let (before, screen) = console.split_once("whit: root /dev/vda on /mnt\n").unwrap();
        guest.assert(!before.contains("whit: "), "the serial console shows it once");
        let shown = said(screen, "");
        guest.assert(shown == ["root /dev/vda on /mnt", "exit 7", "power off"], &format!("the screen: {shown:?}"));
    }
}
