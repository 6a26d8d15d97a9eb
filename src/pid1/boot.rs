//! The main part of the boot: waits for the root and the network at the same time.

use linux_raw_sys::general::MS_RDONLY;
use whit::contract::{ROOT, ROOTFS, ROOTFS_VALUE};
use whit::error::Errno;
use whit::features::Feature;
use whit::options::{Net, Switch, Time, Value};
use whit::root;
use whit::stage::Stage;
use whit::text::{Text, nth};
use whit::time::{NEVER, after_s};
use whit::volume::Volume;

use crate::console;
use crate::devices::Device;
use crate::end::End;
use crate::filesystems::{self, Root};
use crate::hardware;
use crate::machine::{Machine, now_ms};
use crate::message::{error, info, part};
use crate::mounting::mount_when_there;
use crate::network::CARRIER_S;
use crate::sources;
use crate::{files, overlay, remote, rootfs, supervise, volumes};

/// The outcome of the boot.
pub(crate) enum Outcome {
    /// The workload can start.
    Ready,
    /// There is no root; the reason is logged.
    Failed,
}

/// Mounts the root as soon as its device appears, then its overlay and volumes. Waits for a lease, unless `net=` turns that off.
pub(crate) fn prepare_root_and_network(machine: &mut Machine<'_>, device: &mut Device) -> Result<Outcome, End> {
    let started_ms = now_ms();
    let _ = files::make_directory(ROOT); // A failure shows again at the mount, and is logged there.
    let delayed_ms = after_s(started_ms, machine.options.time(Time::RootDelay));
    let deadline_ms = after_s(delayed_ms, machine.options.time(Time::RootWait));
    while now_ms() < delayed_ms {
        supervise::wait_or_end(machine, delayed_ms)?;
    }
    let Some(root) = wait_for_root(machine, deadline_ms, device)? else { return Ok(Outcome::Failed) };
    machine.timeline.reach(Stage::Root);
    let source = Text(device.path.text().to_bytes());
    info!("root {}{} on /mnt", source, if root.read_only { ", read-only," } else { "" });
    if Feature::Grow.is_enabled() && machine.options.has(Switch::Grow) && !root.read_only {
        device.grow(ROOT);
    }
    machine.root = Some(root);
    if !overlay::mount_overlay(machine, deadline_ms, device)? {
        return Ok(Outcome::Failed);
    }
    sources::read_image_record(machine);
    machine.clock.advance(&machine.sources);
    if !filesystems::bind_system_mounts() || !volumes::mount_volumes(machine, deadline_ms, device)? {
        return Ok(Outcome::Failed);
    }
    // A network card may appear after the root.
    let has_network = wait_for_lease(machine, started_ms)?;
    machine.stop_listening_for_devices();
    if !has_network {
        return Ok(Outcome::Failed);
    }
    machine.write_etc();
    Ok(Outcome::Ready)
}

/// Waits for the root and mounts it. Returns `None` when there is none; the reason is logged.
fn wait_for_root(machine: &mut Machine<'_>, deadline_ms: u64, device: &mut Device) -> Result<Option<Root>, End> {
    let options = machine.options;
    let (value, wanted) = (options.value(Value::Root), options.value(Value::RootFstype));
    let is_verified = options.is_verified;
    if is_verified && (!Feature::Verity.is_enabled() || value.is_empty() || value == ROOTFS_VALUE) {
        error!("roothash=: needs the init fleet, and a root= on a device");
        return Ok(None);
    }
    if value.is_empty() || value == ROOTFS_VALUE {
        device.path.set(ROOTFS.to_bytes());
        return Ok(rootfs::mount(options.read_only));
    }
    // The lower layer of an overlay is not written to.
    let is_lower = !options.value(Value::Overlay).is_empty();
    let root = Volume {
        source: value,
        path: ROOT.to_bytes(),
        fstype: wanted,
        options: options.value(Value::RootFlags),
        flags: if options.read_only || is_lower || is_verified { MS_RDONLY } else { 0 },
    };
    let source = root::parse(remote::device(value), wanted);
    if !remote::connect(machine, value, &source)? {
        return Ok(None);
    }
    if mount_when_there(machine, deadline_ms, device, c"/", &source, &root)? {
        return Ok(Some(Root { on_device: true, read_only: device.read_only }));
    }
    let errno = device.failure;
    if is_verified && errno == Errno::KEYREJECTED {
        return Ok(None); // The reason is logged.
    }
    part!("root={}: ", Text(value));
    match errno {
        _ if source.is_none() => {
            part!("not understood; it is MAJOR:MINOR or begins with one of {}", Text(root::PREFIXES))
        }
        Errno::NOENT => {
            let wait_s = u64::from(options.time(Time::RootWait));
            part!("no such device within {} s; are its modules in the initramfs?", wait_s)
        }
        _ if is_verified => {
            part!("mount: {}; a block differs from roothash=, or the file system's module is missing", errno)
        }
        errno => {
            /// By the index below.
            const ADVICE: &[u8] = if Feature::Members.is_enabled() {
                b"is there a file system on it? is its module loaded?,the file system is damaged: run fsck,\
                  is its module quota_v2 loaded?,rootflags=noload skips its journal,it needs its distribution's initramfs,\
                  remove one or give a path,rootflags=degraded does without"
            } else {
                b"is there a file system on it? is its module loaded?,the file system is damaged: run fsck"
            };
            let advice = match errno {
                // File systems call these EFSBADCRC and EFSCORRUPTED.
                Errno::BADMSG | Errno::UCLEAN => 1,
                _ if !Feature::Members.is_enabled() => 0,
                Errno::SRCH => 2,
                Errno::ROFS => 3,
                Errno::LACKS_A_DISK => 6,
                Errno::TWO_DEVICES => 5,
                _ if errno.is_member() => 4,
                _ => 0,
            };
            part!("mount: {}; {}", errno, Text(nth(ADVICE, advice)));
        }
    }
    console::print();
    if errno == Errno::NOENT || errno.is_own() {
        device.log_all();
    }
    Ok(None)
}

/// Waits for the first lease, or for an IPv6 address, at most `net.timeout`. Without an interface it waits only if the network is
/// required. Returns whether the workload may start.
pub(crate) fn wait_for_lease(machine: &mut Machine<'_>, started_ms: u64) -> Result<bool, End> {
    // Loads the drivers of the devices that have appeared by now.
    supervise::wait_or_end(machine, 0)?;
    let net = machine.options.net();
    let is_required = net == Net::Require;
    if matches!(net, Net::Background | Net::Off) {
        return Ok(true);
    }
    let wait_s = machine.options.time(Time::NetTimeout);
    let deadline_ms = after_s(started_ms, wait_s);
    let mut looks_again = Feature::Modules.is_enabled();
    loop {
        // The reason is logged.
        let Some(network) = &machine.network else { return Ok(!is_required) };
        let missing = if Feature::StaticIp.is_enabled() { network.missing() } else { None };
        if !network.has_interfaces() && missing.is_none() && !is_required && !hardware::may_load_network() {
            // A child that has just ended may have made a device.
            if core::mem::take(&mut looks_again) && supervise::wait_or_end(machine, 0)? {
                continue;
            }
            info!("network: no Ethernet interface");
            return Ok(true);
        }
        let is_ipv6 = Feature::Ipv6.is_enabled() && net == Net::Wait6;
        let grace_ms = if is_ipv6 { NEVER } else { network.grace_ms(is_required) };
        let has_address = if is_ipv6 {
            network.has_ipv6()
        } else {
            network.lease().is_some() || grace_ms != NEVER && now_ms() >= grace_ms
        };
        let awaits_time = network.lease().is_some() && machine.clock.awaits_answer(machine.options.value(Value::Ntp));
        if has_address && !awaits_time {
            return Ok(true);
        }
        let carrier_deadline_ms =
            if is_required || !Feature::Choice.is_enabled() { NEVER } else { network.carrier_deadline_ms() };
        let next_ms = deadline_ms.min(carrier_deadline_ms);
        if now_ms() >= next_ms {
            let outlook = if is_required { "" } else { "; the boot continues, with retries" };
            let wanted = if is_ipv6 { "global IPv6 address" } else { "lease" };
            if has_address {
                return Ok(true); // The NTP queries continue.
            }
            if let Some(name) = missing {
                error!("network: no interface {}", Text(name));
            }
            let (wanted, wait_s) = if next_ms < deadline_ms { ("carrier", CARRIER_S) } else { (wanted, wait_s) };
            error!("network: no {} within {} s{}", wanted, u64::from(wait_s), outlook);
            return Ok(!is_required);
        }
        supervise::wait_or_end(machine, if has_address { next_ms } else { next_ms.min(grace_ms) })?;
    }
}
