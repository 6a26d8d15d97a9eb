//! The root and the network, waited for at the same time.

use rustix::fs::OFlags;
use rustix::system::{Uname, sethostname, uname};
use whit::options::{Net, Source};
use whit::record::{MAX_RECORD, Record};
use whit::root::{self, RootSpec};
use whit::text::Text;
use whit::time::{NEVER, after_s};

use crate::console::{failed, say, tell};
use crate::filesystems::{self, Root, RootProblem};
use crate::machine::{Machine, now_ms};
use crate::network::Network;
use crate::shutdown::End;
use crate::supervise::asked_to_end;
use crate::sys::fd;
use crate::sys::memory::Static;
use crate::timeline::Stage;
use crate::{complain, etc, files, said, volumes};

/// How it went.
pub(crate) enum Outcome {
    /// The workload can start.
    Ready,
    /// There is no root; why was said.
    Failed,
}

/// Mounts the root as soon as its device is there and, unless it is not wanted, waits for a lease.
pub(crate) fn prepare_root_and_network(machine: &mut Machine<'_>) -> Result<Outcome, End> {
    let started_ms = now_ms();
    let _ = files::make_directory(filesystems::ROOT); // What fails here fails at the mount, and is said there.
    let Some(root) = wait_for_root(machine, started_ms)? else { return Ok(Outcome::Failed) };
    machine.timeline.reach(Stage::Root);
    machine.stop_listening_for_devices();
    tell!("root {}{} on /mnt", Text(root.source), if root.read_only { ", read-only," } else { "" });
    machine.root = Some(root);
    read_image_record(machine);
    name_machine(machine.options.hostname);
    filesystems::furnish_root();
    if let Err(volumes::Missing) = volumes::mount_all(&machine.sources) {
        return Ok(Outcome::Failed);
    }
    wait_for_lease(machine, started_ms)?;
    etc::write(machine.network.as_ref().and_then(Network::lease));
    Ok(Outcome::Ready)
}

/// `None`: there is none; why was said.
fn wait_for_root<'a>(machine: &mut Machine<'a>, started_ms: u64) -> Result<Option<Root<'a>>, End> {
    let Some(value) = machine.options.root else {
        let embedded = filesystems::bind_embedded_root();
        if embedded.is_none() {
            say!("no root: neither root= on the command line nor an image in the initramfs at /rootfs");
        }
        return Ok(embedded);
    };
    let Some(spec) = root::parse(value) else {
        say!("root={}: not understood; give a device, as in root=/dev/vda", Text(value));
        return Ok(None);
    };
    let wait_s = machine.options.root_wait_s;
    let deadline_ms = wait_s.map_or(NEVER, |wait_s| after_s(started_ms, wait_s));
    loop {
        match filesystems::mount_root(spec, &machine.options) {
            Ok(root) => return Ok(Some(root)),
            Err(RootProblem::Refused(errno)) => {
                let RootSpec::Device(device) = spec;
                say!("root={}: mount: {}; is there a file system on it, and its module loaded?", Text(device), errno);
                return Ok(None);
            }
            Err(RootProblem::NotYet) => {}
        }
        // The next attempt is when a device has appeared or changed: nothing else can help.
        while !{
            let happened = machine.wait(deadline_ms);
            asked_to_end(&happened)?;
            happened.device
        } {
            if let Some(wait_s) = wait_s
                && now_ms() >= deadline_ms
            {
                say!(
                    "root={}: no such device within {} s; are its modules in the initramfs?",
                    Text(value),
                    u64::from(wait_s)
                );
                return Ok(None);
            }
        }
    }
}

/// Waits for the first lease, for as long as the options say; without an interface not at all.
fn wait_for_lease(machine: &mut Machine<'_>, started_ms: u64) -> Result<(), End> {
    if machine.options.net() != Net::Wait {
        return Ok(());
    }
    machine.handle_network();
    let wait_s = machine.options.net_timeout_s;
    let deadline_ms = after_s(started_ms, wait_s);
    loop {
        let Some(network) = &machine.network else { return Ok(()) };
        if !network.has_interfaces() {
            tell!("network: no Ethernet interface");
            return Ok(());
        }
        if network.lease().is_some() {
            return Ok(());
        }
        if now_ms() >= deadline_ms {
            say!("network: no lease within {} s; the boot goes on, and so does the search", u64::from(wait_s));
            return Ok(());
        }
        asked_to_end(&machine.wait(deadline_ms))?;
    }
}

/// Reads the record that mkraw left in the image, and the options again: the image's are the weakest.
fn read_image_record(machine: &mut Machine<'_>) {
    static BUFFER: Static<MAX_RECORD> = Static::new();
    let file = fd::open_inside(filesystems::ROOT, c"etc/whit.conf", OFlags::RDONLY);
    let text = file.and_then(|file| files::read_open(&file, BUFFER.take()));
    let Some(text) = said(Source::Image.name(), text) else { return };
    machine.sources.image = Record::decode(text);
    machine.options = machine.sources.options(&mut |source, complaint| {
        // The others were complained of before.
        if source == Source::Image {
            complain(source, complaint);
        }
    });
    if machine.options.net() == Net::Off {
        machine.network = None;
    }
}

/// The name that the machine was given; until then it is "(none)" (init/version.c).
#[inline(never)]
pub(crate) fn known_name(uname: &Uname) -> &[u8] {
    let name = uname.nodename().to_bytes();
    if name == b"(none)" { b"" } else { name }
}

/// Names the machine as it was asked, or `whit` when nobody else has named it.
fn name_machine(hostname: Option<&[u8]>) {
    let uname = uname();
    let unnamed = known_name(&uname).is_empty();
    let Some(name) = hostname.or(unnamed.then_some(b"whit")) else { return };
    if let Err(errno) = sethostname(name) {
        failed("hostname ", name, errno.into());
    }
}
