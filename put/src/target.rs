//! The disk: chosen by path, serial number or size, and opened exclusively.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, OFlags, fallocate, ioctl_blksszget, major, minor};
use rustix::io::Errno;

use crate::END_BYTES;
use crate::sys;

/// The time for a disk to appear, and the interval of the looks: /sys and links in /dev have no common event.
const APPEARS: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);
/// Zeros to write, and to compare with: memcmp(3) is faster than a loop in a program compiled for size.
pub(crate) static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Block devices that are no disks of a machine.
const NO_DISKS: [&str; 9] = ["loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd", "mtd"];

/// A disk as it is named by the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A device, or a file that stands for a disk of its size.
    Path(PathBuf),
    /// The only disk with this serial number.
    Serial(String),
    /// The only disk of a size within these limits.
    Size(u64, u64),
    /// The smallest disk.
    Smallest,
    /// The largest disk.
    Largest,
}

/// An open disk.
pub struct Target {
    /// The descriptor that holds it exclusively.
    pub file: File,
    /// The device.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Bytes of a logical sector.
    pub sector: u64,
    /// Its serial number, if it has one.
    pub serial: Option<String>,
    /// Its folder in /sys, of a block device.
    pub folder: Option<PathBuf>,
}

/// A disk of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    name: String,
    size: u64,
    serial: Option<String>,
}

impl Choice {
    /// Parses `/dev/NAME`, `SERIAL=TEXT`, `SIZE=smallest`, `SIZE=largest`, `SIZE=100G` or `SIZE=100G-2T`.
    ///
    /// # Errors
    /// One line.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(serial) = text.strip_prefix("SERIAL=").filter(|serial| !serial.is_empty()) {
            return Ok(Self::Serial(serial.into()));
        }
        match text.strip_prefix("SIZE=") {
            None => Ok(Self::Path(text.into())),
            Some("smallest") => Ok(Self::Smallest),
            Some("largest") => Ok(Self::Largest),
            Some(range) => {
                let (low, high) = range.split_once('-').unwrap_or((range, range));
                match (size(low), size(high)) {
                    (Some(low), Some(high)) if low <= high => Ok(Self::Size(low, high)),
                    _ => Err(format!("SIZE={range}: no size; examples: SIZE=100G-2T, SIZE=smallest")),
                }
            }
        }
    }

    /// Finds the device, for which it waits a while.
    ///
    /// # Errors
    /// One line with the disks that there are.
    pub fn find(&self, sys: &Path) -> Result<PathBuf, String> {
        let start = Instant::now();
        loop {
            let found = match self {
                Self::Path(path) if path.exists() => Ok(path.clone()),
                Self::Path(path) => Err(format!("{}: there is no such disk", path.display())),
                _ => self.select(&disks(sys)).map(|disk| Path::new("/dev").join(disk.name)),
            };
            let may_appear = match self {
                Self::Path(path) => path.starts_with("/dev"),
                _ => true,
            };
            if found.is_ok() || !may_appear || start.elapsed() > APPEARS {
                return found;
            }
            thread::sleep(LOOK);
        }
    }

    fn select(&self, disks: &[Disk]) -> Result<Disk, String> {
        let by_size = |largest: bool| {
            let size = disks.iter().map(|disk| disk.size);
            let size = if largest { size.max() } else { size.min() };
            disks.iter().filter(|disk| Some(disk.size) == size).collect::<Vec<_>>()
        };
        let (matching, what) = match self {
            Self::Path(path) => return Err(format!("{}: there is no such disk", path.display())),
            Self::Serial(serial) => {
                let has = |disk: &&Disk| disk.serial.as_ref() == Some(serial);
                (disks.iter().filter(has).collect(), format!("the serial number {serial}"))
            }
            Self::Size(low, high) => {
                let fits = |disk: &&Disk| (*low..=*high).contains(&disk.size);
                (disks.iter().filter(fits).collect(), format!("{low} to {high} bytes"))
            }
            Self::Smallest => (by_size(false), "the smallest size".into()),
            Self::Largest => (by_size(true), "the largest size".into()),
        };
        match matching.as_slice() {
            [disk] => Ok((*disk).clone()),
            [] => Err(format!("no disk has {what}; {}", list(disks))),
            several => Err(format!("{} disks have {what}: name one by its path; {}", several.len(), list(disks))),
        }
    }
}

/// Describes disks in one line.
fn list(disks: &[Disk]) -> String {
    if disks.is_empty() {
        return "there is no disk".into();
    }
    let one = |disk: &Disk| {
        let serial = disk.serial.as_ref().map(|serial| format!(", serial {serial}")).unwrap_or_default();
        format!("/dev/{} ({} bytes{serial})", disk.name, disk.size)
    };
    format!("there are {}", disks.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Parses a number of bytes with a suffix of binary units: `100G`.
pub fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Returns the machine's disks, by name: neither removable nor read-only, nor a path of NVMe multipath, which is hidden under the disk
/// (GENHD_FL_HIDDEN) and has no device in /dev.
fn disks(sys: &Path) -> Vec<Disk> {
    let Ok(entries) = fs::read_dir(sys.join("block")) else { return Vec::new() };
    let disk = |entry: fs::DirEntry| {
        let (name, folder) = (entry.file_name().into_string().ok()?, entry.path());
        let is_disk = !NO_DISKS.iter().any(|prefix| name.starts_with(prefix));
        let is_fixed =
            ["removable", "ro", "hidden"].iter().all(|file| attribute(&folder, file).as_deref() != Some("1"));
        let size = attribute(&folder, "size")?.parse::<u64>().ok()?.checked_mul(512)?;
        (is_disk && is_fixed && size > 0).then(|| Disk { name, size, serial: serial(&folder) })
    };
    let mut disks: Vec<Disk> = entries.flatten().filter_map(disk).collect();
    disks.sort_by(|one, other| one.name.cmp(&other.name));
    disks
}

fn attribute(folder: &Path, name: &str) -> Option<String> {
    Some(fs::read_to_string(folder.join(name)).ok()?.trim().to_owned())
}

/// Reads a serial number: virtio's, NVMe's, or the vital product data page 80 of SCSI and ATA.
fn serial(folder: &Path) -> Option<String> {
    let page = || {
        let bytes = fs::read(folder.join("device/vpd_pg80")).ok()?;
        Some(String::from_utf8_lossy(bytes.get(4..)?).trim_matches(['\0', ' ']).to_owned())
    };
    let found = attribute(folder, "serial").or_else(|| attribute(folder, "device/serial")).or_else(page);
    found.filter(|serial| !serial.is_empty())
}

/// Returns the folder of a block device in /sys.
fn folder(device: u64) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{}:{}", major(device), minor(device)))
}

impl Target {
    /// Opens a disk. It fails for one that is mounted or otherwise in use.
    ///
    /// # Errors
    /// One line.
    pub fn open(path: &Path) -> Result<Self, String> {
        let at = |error: io::Error| match Errno::from_io_error(&error) {
            Some(Errno::BUSY) => format!("{}: in use: mounted, or a part of a RAID, LVM or swap", path.display()),
            _ => format!("{}: {error}", path.display()),
        };
        let status = fs::metadata(path).map_err(at)?;
        let is_block = status.file_type().is_block_device();
        if !is_block && !status.is_file() {
            return Err(format!("{}: neither a block device nor a file", path.display()));
        }
        // Without O_CREAT, O_EXCL is for block devices (open(2)).
        let flags = if is_block { OFlags::EXCL } else { OFlags::empty() };
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits().cast_signed()).open(path);
        let file = file.map_err(at)?;
        let size = io::Seek::seek(&mut &file, io::SeekFrom::End(0)).map_err(at)?;
        let sector = if is_block { ioctl_blksszget(&file).map_err(|error| at(error.into()))?.into() } else { 512 };
        let folder = is_block.then(|| folder(status.rdev()));
        if size < 2 * END_BYTES {
            return Err(format!("{}: {size} bytes are too small for a disk", path.display()));
        }
        let serial = folder.as_deref().and_then(serial);
        Ok(Self { file, path: path.into(), size: size - size % sector, sector, serial, folder })
    }

    /// Returns whether a file is this disk, a partition of it, or the disk that this is a partition of.
    pub fn overlaps(&self, other: &Metadata) -> bool {
        let Ok(own) = self.file.metadata() else { return false };
        let is_one = (own.dev(), own.ino()) == (other.dev(), other.ino());
        if !other.file_type().is_block_device() {
            return is_one;
        }
        // A partition's folder in /sys is in its disk's.
        let real = |folder: &Path| fs::canonicalize(folder).ok();
        let folders = self.folder.as_deref().and_then(real).zip(real(&folder(other.rdev())));
        is_one
            || own.rdev() == other.rdev()
            || folders.is_some_and(|(own, other)| own.starts_with(&other) || other.starts_with(&own))
    }

    /// Describes an image that does not fit.
    pub fn too_small(&self, length: &str) -> String {
        format!("{}: the disk has {} bytes, the image {length}", self.path.display(), self.size)
    }

    /// Opens the disk for reads that bypass the page cache; without O_DIRECT where the file system has none.
    ///
    /// # Errors
    /// The open failed.
    pub fn open_uncached(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true);
        let direct = options.clone().custom_flags(OFlags::DIRECT.bits().cast_signed()).open(&self.path);
        direct.or_else(|_| {
            rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?;
            options.open(&self.path)
        })
    }

    /// Overwrites both ends of the disk with zeros: boot sectors, and both partition tables.
    ///
    /// # Errors
    /// A write failed.
    pub fn wipe_ends(&self) -> io::Result<()> {
        for start in [0, self.size - END_BYTES] {
            for at in (start..start + END_BYTES).step_by(ZEROS.len()) {
                self.file.write_all_at(&ZEROS, at)?;
            }
        }
        self.file.sync_data()
    }

    /// Makes a range read as zeros: by discarding it where that guarantees zeros, by the device's command for zeros
    /// (both are the kernel's blkdev_issue_zeroout(), as in BLKZEROOUT), or by writing them.
    ///
    /// # Errors
    /// A write failed.
    pub fn zero(&self, start: u64, length: u64) -> io::Result<()> {
        for flags in [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE] {
            if fallocate(&self.file, flags | FallocateFlags::KEEP_SIZE, start, length).is_ok() {
                return Ok(());
            }
        }
        let mut at = start;
        while at < start + length {
            let count = (start + length - at).min(ZEROS.len() as u64);
            self.file.write_all_at(&ZEROS[..count as usize], at)?;
            at += count;
        }
        Ok(())
    }

    /// Removes the old partitions from the kernel's list; those of a plain file or a partition do not exist.
    pub fn forget_partitions(&self) {
        let Some(entries) = self.folder.as_ref().and_then(|folder| fs::read_dir(folder).ok()) else { return };
        for entry in entries.flatten() {
            if let Some(Ok(number)) = attribute(&entry.path(), "partition").map(|number| number.parse()) {
                let _ = sys::delete_partition(self.file.as_fd(), number);
            }
        }
    }

    /// Adds the new partitions to the kernel's list. `None` are those of another kind of table, which the kernel reads.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn announce(&self, partitions: Option<&[(u32, whit_gpt::Partition)]>) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        if folder.join("partition").exists() {
            return Ok(());
        }
        let Some(partitions) = partitions else { return sys::read_partitions(self.file.as_fd()) };
        for (number, partition) in partitions {
            sys::add_partition(self.file.as_fd(), *number, partition.start, partition.length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<Disk> {
        let disk = |name: &str, size, serial: &str| Disk { name: name.into(), size, serial: Some(serial.into()) };
        vec![disk("nvme0n1", 1 << 40, "S1"), disk("sda", 100 << 30, "W1"), disk("sdb", 100 << 30, "W2")]
    }

    #[test]
    fn disks_are_selected_by_serial_and_size() {
        let select = |text: &str| Choice::parse(text).unwrap().select(&machine()).map(|disk| disk.name);
        assert_eq!(select("SERIAL=W2"), Ok("sdb".into()));
        assert_eq!(select("SIZE=largest"), Ok("nvme0n1".into()));
        assert_eq!(select("SIZE=200G-1T"), Ok("nvme0n1".into()));
        assert_eq!(select("SIZE=1T"), Ok("nvme0n1".into()));
        assert!(select("SIZE=smallest").unwrap_err().starts_with("2 disks have the smallest size"));
        assert!(select("SIZE=1G").unwrap_err().contains("/dev/sda (107374182400 bytes, serial W1)"));
        assert!(select("SERIAL=X").unwrap_err().starts_with("no disk has the serial number X"));
    }

    #[test]
    fn removable_read_only_and_hidden_disks_are_left_out() {
        let sys = std::env::temp_dir().join(format!("put-disks-{}", std::process::id()));
        for (name, flag) in [("nvme0n1", ""), ("nvme0c0n1", "hidden"), ("sda", "ro"), ("sdb", "removable")] {
            let folder = sys.join("block").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("size"), "2048\n").unwrap();
            for file in ["hidden", "ro", "removable"] {
                fs::write(folder.join(file), if file == flag { "1\n" } else { "0\n" }).unwrap();
            }
        }
        let found = disks(&sys);
        fs::remove_dir_all(&sys).unwrap();
        assert_eq!(found.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>(), ["nvme0n1"]);
    }

    #[test]
    fn texts_are_parsed() {
        assert_eq!(Choice::parse("/dev/sda"), Ok(Choice::Path("/dev/sda".into())));
        assert_eq!(size("100GiB"), Some(100 << 30));
        assert_eq!((size(""), size("1P"), size("99999999999T"), size("é")), (None, None, None, None));
        assert!(Choice::parse("SIZE=2T-1T").is_err() && Choice::parse("SIZE=").is_err());
    }
}
