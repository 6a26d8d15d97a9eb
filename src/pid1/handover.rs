//! Hands PID 1 over to the image's own init: systemd, s6, busybox's. The root is switched as switch_root(8) does it, and the memory
//! of the initramfs is freed.

use linux_raw_sys::general::{AT_REMOVEDIR, MNT_DETACH};
use rustix::fs::OFlags;
use rustix::system::RebootCommand;
use whit::contract::{NOT_FOUND, ROOT};
use whit::mounts;
use whit::options::{Switch, Value};
use whit::text::split;

use crate::files;
use crate::filesystems::{self, Root, texts};
use crate::inside;
use crate::machine::Machine;
use crate::shutdown;
use crate::sys::call::{exists, unlink_at, unmount};
use crate::sys::fd::{self, Fd};
use crate::workload::{enter_root, execute, fill};

/// The kernel's default inits (init/main.c, kernel_init).
const INITS: &[u8] = b"/sbin/init /etc/init /bin/init /bin/sh";

/// Hands PID 1 to the image: to `init=`, to its entrypoint, or to the kernel's default inits. Returns the exit code when none of
/// them can be executed.
#[inline(never)] // Inlined, its room for paths would be on the stack below every later call.
pub(crate) fn hand_over(machine: &mut Machine<'_>) -> u8 {
    if let Some(network) = &mut machine.network {
        network.make_addresses_permanent();
    }
    if machine.options.has(Switch::Timing) {
        machine.timeline.print();
    }
    if let Some(root) = &machine.root {
        leave_initramfs(root);
    }
    let Machine { program, sources, options, .. } = machine;
    if let Err(code) = fill(program, sources).and_then(|()| enter_root(sources, options)) {
        return code;
    }
    // Not a container, even if docker left its mark in the image: without this variable, systemd detects one by it (its Container
    // Interface), and neither starts udev nor unmounts the root. Without the mark, systemd-detect-virt would report a container because
    // of the variable. podman's mark is in /run, which is empty.
    if exists(c"/.dockerenv") {
        let _ = program.env.set(b"container=", b"");
    }
    // `execute` returns only on failure.
    let mut code = NOT_FOUND;
    let given = options.value(Value::Init);
    for init in split(if given.is_empty() && program.argv.is_empty() { INITS } else { given }, b' ') {
        if !init.is_empty() {
            program.argv.clear();
            let _ = program.argv.push(init);
        }
        code = execute(program);
    }
    code
}

/// Unmounts the early mounts, which the root has too, and removes all files of the initramfs: no shell of it can be started any more.
/// The root is not at `/` yet.
fn leave_initramfs(root: &Root) {
    if inside::enter(ROOT, b"run").is_ok() {
        filesystems::mount_table(&mounts::HERE);
    }
    for ours in texts(b"/dev\0/proc\0/sys\0/tmp\0/run\0") {
        let _ = unmount(ours, MNT_DETACH);
    }
    // A rootfs is part of the initramfs; a / that is not in memory is no initramfs.
    if root.on_device
        && let Ok(directory) = fd::open(c"/", OFlags::DIRECTORY)
        && fd::is_in_memory(&directory)
    {
        remove_content(&directory);
    }
    // Ctrl-alt-del resets at once, as when the kernel starts an init.
    shutdown::reboot(RebootCommand::CadOn);
}

/// Removes the content of a directory, except mounts.
fn remove_content(directory: &Fd) {
    files::each_name(directory, &mut |name| {
        if unlink_at(directory, name, 0).is_err()
            && let Ok(below) = fd::open_below(directory, name)
        {
            remove_content(&below);
            let _ = unlink_at(directory, name, AT_REMOVEDIR);
        }
    });
}
