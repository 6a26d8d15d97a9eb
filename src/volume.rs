//! Volumes, which `mount=` and `tmpfs=` mount in the root. Their options are those of fstab(5) and docker's `--tmpfs`.

use linux_raw_sys::general::{MS_NODEV, MS_NOEXEC, MS_NOSUID};

use crate::root::{self, Kind, RootSpec};
use crate::text::{position, split};

/// A mount in the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume<'a> {
    /// The source, for [`Volume::spec`].
    pub source: &'a [u8],
    /// The absolute path of the mount point in the root.
    pub path: &'a [u8],
    /// The file system type; empty if it is not given.
    pub fstype: &'a [u8],
    /// The mount options, as in the fourth field of fstab(5).
    pub options: &'a [u8],
    /// The default MS_* flags, which the options may clear.
    pub flags: u32,
}

impl<'a> Volume<'a> {
    /// Parses the source: one of the forms of `root=`, or `tmpfs`. Returns `None` for any other.
    pub fn spec(&self) -> Option<RootSpec<'a>> {
        match self.source {
            TMPFS => Some(RootSpec { kind: Kind::Tmpfs, name: TMPFS, number: None, offset: 0 }),
            source => root::parse(source, self.fstype),
        }
    }
}

/// Parses the value of `mount=`, `SOURCE:/PATH[:FSTYPE[:OPTIONS]]`, or `tmpfs=`, `/PATH[:OPTIONS]`.
///
/// In `mount=`, the path is the first field after the first that begins with a slash: a source may contain colons. A `tmpfs=` has
/// the flags noexec, nodev and nosuid by default, as docker's `--tmpfs`. Returns `None` without a source or path.
pub fn parse(text: &[u8], is_tmpfs: bool) -> Option<Volume<'_>> {
    let mut fields = split(text, b':');
    let (mut source, mut fstype, mut flags) = (TMPFS, TMPFS, MS_NOSUID | MS_NODEV | MS_NOEXEC);
    let mut path = fields.next()?;
    if !is_tmpfs {
        let mut source_length = path.len();
        loop {
            path = fields.next()?;
            if let [b'/', ..] = path {
                break;
            }
            source_length = source_length.checked_add(path.len())?.checked_add(1)?;
        }
        source = text.get(..source_length)?;
        fstype = fields.next().unwrap_or_default();
        flags = 0;
    }
    let is_whole = !source.is_empty() && matches!(path, [b'/', ..]);
    is_whole.then_some(Volume { source, path, fstype, options: fields.rest(), flags })
}

/// The type of a share whose one file, [`SHARED_FILE`](crate::contract::SHARED_FILE), is the volume: the path is that of a file.
pub const FILE: &[u8] = b"file";
/// The type of a tmpfs, which is also its source.
pub const TMPFS: &[u8] = b"tmpfs";

/// The effect of a mount option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountOption<'a> {
    /// Sets these MS_* flags.
    Set(u32),
    /// Clears these MS_* flags.
    Clear(u32),
    /// None: the option is not for the kernel.
    Nothing,
    /// An option of the file system, passed as data.
    Data(&'a [u8]),
}

/// The options that set a flag, in the order of the bits from MS_RDONLY = 1 on (include/uapi/linux/mount.h), and those that clear
/// it. A dash is a bit without an option.
const SET: &[u8] = b"ro nosuid nodev noexec sync - mand dirsync nosymfollow - noatime nodiratime";
const CLEARED: &[u8] = b"rw suid dev exec async - - - - - atime diratime";
/// The options without effect: those of fstab(5) for user space, the dash above, and the empty option.
const NOTHING: &[u8] = b"defaults nofail - ";

/// Returns the effect of an option (mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS").
pub fn mount_option(word: &[u8]) -> MountOption<'_> {
    let bit = |names| position(names, b' ', word).map(|place| 1u32.wrapping_shl(place));
    match (position(NOTHING, b' ', word), bit(SET), bit(CLEARED)) {
        (Some(_), ..) => MountOption::Nothing,
        (_, Some(flag), _) => MountOption::Set(flag),
        (_, _, Some(flag)) => MountOption::Clear(flag),
        _ => MountOption::Data(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::general::{MS_NOATIME, MS_NODIRATIME, MS_NOSYMFOLLOW, MS_RDONLY, MS_SYNCHRONOUS};

    fn volume<'a>(source: &'a str, path: &'a str, fstype: &'a str, options: &'a str) -> Option<Volume<'a>> {
        let [source, path, fstype, options] = [source, path, fstype, options].map(str::as_bytes);
        Some(Volume { source, path, fstype, options, flags: 0 })
    }

    #[test]
    fn a_colon_before_a_slash_ends_the_source() {
        for (text, expected) in [
            ("virtiofs:src:/data", volume("virtiofs:src", "/data", "", "")),
            ("/dev/vdb:/var/lib:ext4:ro,noatime", volume("/dev/vdb", "/var/lib", "ext4", "ro,noatime")),
            ("9p:a:/b::ro:x", volume("9p:a", "/b", "", "ro:x")),
            ("8:1:/b:", volume("8:1", "/b", "", "")),
            ("tmpfs:/", volume("tmpfs", "/", "", "")),
        ] {
            assert_eq!(parse(text.as_bytes(), false), expected, "{text}");
        }
        for text in ["", ":/a", "tmpfs", "/dev/vdb", "tmpfs:a", ":"] {
            assert_eq!(parse(text.as_bytes(), false), None, "{text}");
        }
    }

    #[test]
    fn every_truncation_is_parsed_or_refused() {
        let text = b"/dev/vdb:/var/lib:ext4:ro,noatime";
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end], false).is_some(), end > 9, "{end}");
        }
    }

    #[test]
    fn a_tmpfs_needs_only_a_path() {
        let flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
        let tmpfs = |path, options| Some(Volume { flags, ..volume("tmpfs", path, "tmpfs", options)? });
        assert_eq!(parse(b"/run:exec,size=1m", true), tmpfs("/run", "exec,size=1m"));
        assert_eq!(parse(b"/run", true), tmpfs("/run", ""));
        for text in ["", "run", ":/run"] {
            assert_eq!(parse(text.as_bytes(), true), None, "{text}");
        }
    }

    #[test]
    fn options_are_flags_or_data() {
        for (word, expected) in [
            ("ro", MountOption::Set(MS_RDONLY)),
            ("nosuid", MountOption::Set(MS_NOSUID)),
            ("nodev", MountOption::Set(MS_NODEV)),
            ("noexec", MountOption::Set(MS_NOEXEC)),
            ("sync", MountOption::Set(MS_SYNCHRONOUS)),
            ("nosymfollow", MountOption::Set(MS_NOSYMFOLLOW)),
            ("noatime", MountOption::Set(MS_NOATIME)),
            ("nodiratime", MountOption::Set(MS_NODIRATIME)),
            ("diratime", MountOption::Clear(MS_NODIRATIME)),
            ("remount", MountOption::Data(b"remount")),
            ("-", MountOption::Nothing),
            ("rw", MountOption::Clear(MS_RDONLY)),
            ("exec", MountOption::Clear(MS_NOEXEC)),
            ("async", MountOption::Clear(MS_SYNCHRONOUS)),
            ("nofail", MountOption::Nothing),
            ("defaults", MountOption::Nothing),
            ("", MountOption::Nothing),
            ("size=1m", MountOption::Data(b"size=1m")),
        ] {
            assert_eq!(mount_option(word.as_bytes()), expected, "{word}");
        }
    }
}
