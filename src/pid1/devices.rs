//! Block devices: finds the one that a source names, or lists all.
//!
//! /proc/partitions lists each device that has a size, and so a medium. sysfs has the names, the superblock has label and UUID.

#[cfg_attr(not(feature = "verity"), path = "stubs/verity.rs")]
#[cfg_attr(feature = "verity", path = "verity.rs")]
pub(crate) mod verity;

use core::ffi::CStr;
use core::num::NonZero;

use linux_raw_sys::general::S_IFBLK;
use rustix::fs::OFlags;
use whit::error::Errno;
use whit::features::Feature;
use whit::member;
use whit::probe::{self, Format, Place};
use whit::root::{Kind, RootSpec, device_number, is_written};
use whit::text::{Text, number};

use crate::console::{self, log_failure};
use crate::files::{self, Path};
use crate::message::{part, push_hexadecimal};
use crate::sys::block;
use crate::sys::c_str;
use crate::sys::call::{chdir, exists};
use crate::sys::fd::{self, Fd};

/// The device that is examined, or that was found. The fields used most come first, as in the machine.
#[repr(C)]
pub(crate) struct Device {
    /// The file system on it.
    format: Option<&'static Format>,
    /// The file system type of a source without a device: a directory that the host shares, or memory.
    tag: &'static [u8],
    /// Whether it was mounted read-only.
    pub(crate) read_only: bool,
    /// Whether it is mounted although it lacks a disk: the wait is over.
    pub(crate) is_late: bool,
    /// Whether its file system has disks that did not appear.
    lacks_a_disk: bool,
    /// Why it was not mounted.
    pub(crate) failure: Errno,
    /// The bytes that were read last.
    pub(crate) place: Place,
    /// The source for mount(2).
    pub(crate) path: Path,
}

impl Device {
    pub(crate) fn new() -> Self {
        let (read_only, is_late, lacks_a_disk, failure) = (false, false, false, Errno::NOENT);
        Self { format: None, tag: b"", read_only, is_late, lacks_a_disk, failure, place: [0; _], path: Path::new() }
    }

    /// Finds the device of a source. Whether the host has a tag is only known at mount(2).
    ///
    /// # Errors
    /// ENOENT when there is no such device; the errors of [`Device::probe`]; [`Errno::TWO_DEVICES`] and [`Errno::LACKS_A_DISK`].
    #[inline(never)]
    pub(crate) fn find(&mut self, spec: &RootSpec<'_>) -> Result<(), Errno> {
        let mut seen_all = self.is_late;
        loop {
            self.path.set(spec.name);
            (self.format, self.tag, self.lacks_a_disk) = (None, spec.kind.tag(), false);
            match spec.kind {
                _ if !self.tag.is_empty() => return Ok(()),
                Kind::Device => self.probe(),
                _ => self.search(Some(spec)),
            }?;
            if !self.lacks_a_disk() || self.is_late {
                return Ok(());
            }
            if seen_all {
                return Err(Errno::LACKS_A_DISK);
            }
            // The kernel learns of each disk that is probed.
            seen_all = true;
            let _ = self.search(Some(&RootSpec { kind: Kind::Device, ..*spec }));
        }
    }

    /// Whether its file system has disks that did not appear.
    pub(crate) fn lacks_a_disk(&self) -> bool {
        Feature::Members.is_enabled() && self.lacks_a_disk
    }

    /// Returns the file system types to try: the one of the tag, else `wanted`, else the one on the device; empty when none is known.
    pub(crate) fn fstypes<'a>(&self, wanted: &'a [u8]) -> &'a [u8] {
        match self.format {
            _ if !self.tag.is_empty() => self.tag,
            Some(format) if wanted.is_empty() => &format.fstype,
            _ => wanted,
        }
    }

    /// Grows the ext4 on the device, which is mounted at `mounted`, to the size of the device.
    pub(crate) fn grow(&self, mounted: &CStr) {
        let grown = fd::open(self.path.text(), OFlags::RDONLY)
            .and_then(|device| block::grow_ext4(&fd::open(mounted, OFlags::RDONLY)?, block::device_bytes(&device)));
        if let Err(errno) = grown {
            log_failure(c"grow ", self.path.text().to_bytes(), errno);
        }
    }

    /// Logs every device, a line each.
    pub(crate) fn log_all(&mut self) {
        let _ = self.search(None);
    }

    /// Examines each device until one matches the source, all of them if that is a number; logs all devices when there is no source. A
    /// member of a volume is passed over for another device.
    fn search(&mut self, spec: Option<&RootSpec<'_>>) -> Result<(), Errno> {
        let list = fd::open(c"/proc/partitions", OFlags::RDONLY)?;
        let mut at = 0;
        let mut found = Err(Errno::NOENT);
        let (mut path, mut format, mut lacks_a_disk, mut disk, mut wwid) = (Path::new(), None, false, 0, 0);
        while let Some(length) = self.go_to(&list, at) {
            at += length as u64 + 1;
            let Some(spec) = spec else {
                if length > 0 {
                    self.log(length);
                }
                continue;
            };
            if !self.matches_spec(spec) {
                continue;
            }
            match self.probe_current() {
                Ok(()) if !Feature::Members.is_enabled() => {
                    found = Ok(());
                    break;
                }
                Ok(()) => {
                    // Another one is another disk of one btrfs, or another path to one disk.
                    let other_disk = self.format.map_or(0, |format| format.disk(&self.place));
                    let other_wwid = self.wwid();
                    if found.is_ok() && disk == other_disk && (wwid == 0 || wwid != other_wwid) {
                        found = Err(Errno::TWO_DEVICES);
                        break;
                    }
                    found = Ok(());
                    (disk, wwid) = (other_disk, other_wwid);
                    path.set(self.path.text().to_bytes());
                    (format, lacks_a_disk) = (self.format, self.lacks_a_disk);
                    if spec.number.is_none() {
                        break;
                    }
                }
                Err(errno) if errno.is_member() && found.is_err() => found = Err(errno),
                Err(_) => {}
            }
        }
        if Feature::Members.is_enabled() && found.is_ok() {
            (self.path, self.format, self.lacks_a_disk) = (path, format, lacks_a_disk);
        }
        let _ = chdir(c"/");
        found
    }

    /// Returns a hash of the disk's name in the world; 0 if it has none.
    fn wwid(&mut self) -> u64 {
        let file = if exists(c"partition") { c"../device/wwid" } else { c"device/wwid" };
        // FNV-1's prime.
        let hash = |hash: u64, byte: &u8| hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(*byte);
        field(&mut self.place, file, b"").iter().fold(0, hash)
    }

    /// Reads the line at offset `at` of /proc/partitions, and makes the sysfs directory of its device the working directory. Returns
    /// the length of the line.
    fn go_to(&mut self, list: &Fd, at: u64) -> Option<usize> {
        read_place(&mut self.place, list, at);
        let length = self.place.iter().position(|byte| *byte == b'\n')?;
        *self.place.get_mut(length)? = 0;
        let mut start = length;
        while self.place.get(start.wrapping_sub(1)).is_some_and(|byte| *byte != b' ') {
            start -= 1;
        }
        let name = self.place.get(start..=length).unwrap_or_default();
        let _ = chdir(c"/sys/class/block");
        // Floppy and CD drives are skipped: reading from one may take seconds. Only a path selects one as root.
        if !matches!(name, [b'f', b'd', ..] | [b's', b'r', ..]) {
            let _ = chdir(c_str(name));
        }
        Some(length)
    }

    /// Logs the device whose line, of `length` bytes, was read last.
    fn log(&mut self, length: usize) {
        part!("{}", Text(self.place.get(..length).unwrap_or_default()));
        if let Err(errno) = self.probe_current()
            && errno.is_member()
        {
            part!(" {}", errno);
        } else if let Some(format) = self.format {
            part!(" {}", Text(&format.fstype));
            if Feature::DeviceNames.is_enabled() {
                if Feature::Members.is_enabled()
                    && let Some(uuid) = format.uuid(&self.place)
                {
                    console::push(b' ');
                    for (place, byte) in uuid.get().to_be_bytes().iter().enumerate() {
                        if matches!(place, 4 | 6 | 8 | 10) {
                            console::push(b'-');
                        }
                        push_hexadecimal(*byte);
                    }
                }
                part!(" {}", Text(format.label(&self.place).0));
            }
        }
        console::print();
    }

    /// Returns whether the source names the device whose sysfs directory is the working directory.
    fn matches_spec(&mut self, spec: &RootSpec<'_>) -> bool {
        match spec.kind {
            _ if !Feature::DeviceNames.is_enabled() => {
                device_number(field(&mut self.place, c"dev", b"")) == spec.number
            }
            Kind::Number => device_number(field(&mut self.place, c"dev", b"")) == spec.number,
            Kind::Uuid | Kind::Label => {
                let _ = self.probe_current();
                let Some(format) = self.format else { return false };
                if spec.kind == Kind::Uuid {
                    return format.uuid(&self.place) == spec.number;
                }
                let (label, width) = format.label(&self.place);
                is_written(label, width, spec.name)
            }
            // Of virtio-blk; or of NVMe, where the controller has it.
            Kind::Serial => {
                is_written(field(&mut self.place, c"serial", b""), 1, spec.name)
                    || is_written(field(&mut self.place, c"device/serial", b""), 1, spec.name)
            }
            // Of the namespace's subsystem; without multipath, of its controller.
            #[cfg(feature = "nvme-tcp")]
            Kind::Subsystem => is_written(field(&mut self.place, c"device/subsysnqn", b""), 1, spec.name),
            Kind::PartLabel => is_written(field(&mut self.place, c"uevent", b"PARTNAME="), 1, spec.name),
            Kind::PartUuid => self.partition_uuid(spec.offset) == spec.number,
            Kind::Device | Kind::Virtiofs | Kind::P9 | Kind::Tmpfs => {
                // It may be another disk of a btrfs.
                let _ = self.probe_current();
                false
            }
        }
    }

    /// Returns the UUID of the partition whose number is lower by `offset`, from the partition table of the disk: up to Linux 6.12 at
    /// least, the kernel does not export it.
    fn partition_uuid(&mut self, offset: u32) -> Option<NonZero<u128>> {
        let number = number(field(&mut self.place, c"uevent", b"PARTN="))?.wrapping_sub(offset);
        self.set_path(c"../uevent");
        let disk = fd::open(self.path.text(), OFlags::RDONLY).ok()?;
        // A GPT's header is in the second logical block: of 512 or of 4096 bytes.
        let mut block_bytes = 512;
        while block_bytes <= 4096 {
            read_place(&mut self.place, &disk, block_bytes);
            if let Some(entry) = probe::gpt_entry(&self.place, block_bytes, number) {
                read_place(&mut self.place, &disk, entry);
                return probe::gpt_uuid(&self.place);
            }
            block_bytes *= 8;
        }
        read_place(&mut self.place, &disk, 0);
        probe::msdos_uuid(&self.place, number)
    }

    /// Sets the path to the node of the device with this uevent file.
    fn set_path(&mut self, uevent: &CStr) {
        let name = field(&mut self.place, uevent, b"DEVNAME=");
        self.path.join(b"/dev", name);
    }

    /// Looks for a file system on the device whose sysfs directory is the working directory.
    #[inline(never)]
    fn probe_current(&mut self) -> Result<(), Errno> {
        self.set_path(c"uevent");
        self.probe()
    }

    /// Looks for a file system on the device, and tells the kernel about a disk of a btrfs.
    ///
    /// # Errors
    /// Those of open(2), and those from [`Errno::FIRST_MEMBER`] on.
    fn probe(&mut self) -> Result<(), Errno> {
        // Otherwise the previous device's would remain when this one cannot be opened.
        (self.format, self.lacks_a_disk) = (None, false);
        // An image's record may name any file in /dev: opening a terminal or a watchdog has an effect.
        if fd::status(self.path.text()).is_some_and(|status| status.kind != S_IFBLK) {
            return Err(Errno::NOTBLK);
        }
        let device = fd::open(self.path.text(), OFlags::RDONLY)?;
        if Feature::Members.is_enabled() {
            fd::read_at_random(&device);
        }
        let mut at = 0;
        while at <= probe::SECOND_PLACE {
            read_place(&mut self.place, &device, at);
            self.format = probe::identify(&self.place, at);
            if self.format.is_some() {
                break;
            }
            at += probe::SECOND_PLACE;
        }
        if !Feature::Members.is_enabled() {
            return Ok(());
        }
        if self.format.is_some_and(Format::has_disks) {
            self.lacks_a_disk = !block::has_all_disks(self.path.text());
        }
        member::check(block::device_bytes(&device), |at| {
            let mut bytes = [0; 4];
            fd::read_at(&device, &mut bytes, at);
            bytes
        })
    }
}

/// Reads a place of a device or of a list. Bytes that are missing, or cannot be read, are zeros.
#[inline(never)]
fn read_place(place: &mut Place, file: &Fd, at: u64) {
    let length = fd::read_at(file, place, at);
    place.get_mut(length..).unwrap_or_default().fill(0);
}

/// Returns the value of `key` in a small file of the working directory, up to the end of the line; empty when there is none.
fn field<'a>(place: &'a mut Place, file: &CStr, key: &[u8]) -> &'a [u8] {
    files::value_of(place, file, 0, b'\n', key)
}
